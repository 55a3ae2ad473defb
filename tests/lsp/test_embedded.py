"""The whole way with the bundled model: `glm-lsp serve` as an editor starts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_lsp.core import profiles
from tests.lsp.editor import Editor

pytestmark = pytest.mark.embedded
COMMAND = ("-m", "glm_lsp", "serve")
ENV = {"GLM_LSP_MODEL_THREADS": "1"}
TEXT = '''"""Numbers."""

import math


def area(radius):
    """Return the area of a circle."""
    return math.pi * radius ** 2


def distance(x, y):
    return math.sqrt(x * x + y * y)


class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = \n'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    pytest.importorskip(
        "llama_cpp", reason="the embedded engine is not installed: pip install 'glm-lsp[embedded]'"
    )
    if not Path(profiles.load("nano").gguf_path).is_file():
        pytest.skip("the bundled model is not in this tree")
    root = tmp_path / "project"
    root.mkdir()
    (root / "numbers.py").write_text(TEXT)
    return root


@pytest.mark.parametrize("name", ["neovim", "helix"])
def test_typing_and_an_action(name: str, project: Path) -> None:
    """What the model writes is its own affair; that it fits the text is ours."""
    with Editor(name, project, command=COMMAND, env=ENV) as editor:
        uri = editor.open("numbers.py")
        end = len(TEXT) - 1
        found = editor.result(editor.complete(uri, end))
        for item in found["items"]:
            assert editor.accept(uri, item).startswith(TEXT[:end])
        editor.type(uri, end, "y")
        editor.result(editor.complete(uri, end + 1))
        status = editor.ask("glm-lsp/status")
        assert (status["engine"], status["local"]) == ("embedded", True)
        assert status["last"]["prompt_tokens"] > 0
        assert status["loading"] is None
        assert all(job["client"] for job in status["jobs"])
        assert status["speed"] is None or status["speed"]["decode"] > 0
        at = TEXT.index("def distance")
        chosen = next(a for a in editor.actions(uri, at, at) if a["title"].startswith("Document"))
        outcome = editor.result(editor.run(chosen))["status"]
        editor.settle()
        added = len(editor.documents[uri].text) > len(TEXT) + 1
        assert added or outcome != "applied"
        assert (
            editor.documents[uri].text.replace(added_docstring(editor.documents[uri].text), "")
            == TEXT[:end] + "y\n"
        )


def added_docstring(text: str) -> str:
    """The line under `distance`, if it is a docstring."""
    line = text[text.index("def distance") :].split("\n")[1]
    return line + "\n" if line.strip().startswith('"""') else "\0"


def test_cancelling_stops_the_model(project: Path) -> None:
    with Editor("vscode", project, command=COMMAND, env=ENV) as editor:
        uri = editor.open("numbers.py")
        for _ in range(5):
            editor.cancel(editor.inline(uri, len(TEXT) - 1))
        editor.settle()
        last = editor.reply(editor.inline(uri, len(TEXT) - 1, invoked=True))
        assert "result" in last


def test_a_model_file_that_cannot_be_read_is_a_sentence(project: Path) -> None:
    broken = project.parent / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\xff" * 100)
    env = {**ENV, "GLM_LSP_MODEL_PATH": str(broken)}
    with Editor("vscode", project, command=COMMAND, env=env) as editor:
        uri = editor.open("numbers.py")
        for _ in range(3):
            assert editor.result(editor.inline(uri, len(TEXT) - 1))["items"] == []
        assert len(editor.shown) == 1 and "broken.gguf" in editor.shown[0], editor.shown
