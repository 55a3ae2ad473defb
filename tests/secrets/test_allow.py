"""What the user finds to be no secret is shown; nobody else can say so, and its fingerprint tells nothing."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.__main__ import main
from glm_lsp.core.generation import GenerateRequest, Prompt, Role, Segment
from glm_lsp.core.secrets import censored, find, fingerprint, masked
from glm_lsp.core.settings import Settings
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.gate import Gate
from glm_lsp.workspace import config
from glm_lsp.workspace.repository import Repository
from tests.lsp.editor import Editor

FALSE = "9f86d0Kx1e4fWq7bZ2Lp"
TRUE = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
TEXT = f"token = '{FALSE}'\nkey = '{TRUE}'\n"
PRINT = fingerprint(FALSE.encode())


def document(text: str = TEXT) -> Document:
    return Document("a.py", text.encode(), digest(text.encode()), "python")


def request(text: str) -> GenerateRequest:
    return GenerateRequest(Prompt((Segment(Role.USER, text),), 0), 10)


def test_the_allowed_text_is_shown_and_no_other() -> None:
    shown = masked(document(), allowed=[PRINT])
    assert FALSE in shown.data.decode()
    assert TRUE not in shown.data.decode()
    assert [p.line for p in shown.held or ()] == [1]


@pytest.mark.parametrize("changed", [FALSE + "x", FALSE[:-1] + "q"])
def test_another_text_is_another_matter(changed: str) -> None:
    shown = masked(document(TEXT.replace(FALSE, changed)), allowed=[PRINT])
    assert changed not in shown.data.decode()


def test_it_passes_wherever_it_moves_and_through_the_last_gate() -> None:
    said = f"rotate token='{FALSE}' and '{TRUE}'"
    assert FALSE in censored(said, [PRINT])
    assert TRUE not in censored(said, [PRINT])
    passed = Gate(ScriptedEngine("x"), [PRINT]).passed(request(f"token = '{FALSE}'"))
    assert FALSE in passed.prompt.segments[0].text
    passed = Gate(ScriptedEngine("x")).passed(request(f"token = '{FALSE}'"))
    assert FALSE not in passed.prompt.segments[0].text


def test_a_fingerprint_tells_nothing_of_its_text() -> None:
    assert len(PRINT) == 16
    assert PRINT not in (digest(FALSE.encode()), fingerprint(b"other"))


def test_neither_an_editor_nor_a_repository_may_allow_anything(tmp_path: Path) -> None:
    given = config.load({"secrets": {"allow": [PRINT]}}, environ={}, user_file=tmp_path / "none.toml")
    assert given.texts("secrets.allow") == ()
    assert any("secrets.allow" in problem.message for problem in given.problems)
    (tmp_path / "glm-lsp.toml").write_text(f'[secrets]\nallow = ["{PRINT}"]\n')
    assert [p.name for p in config.problems_in(tmp_path)] == ["glm-lsp.toml"]


async def test_an_index_that_was_made_without_it_does_not_answer_for_one_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text(TEXT)
    for allowed, count in (((), 2), ((PRINT,), 1), ((), 2)):
        repository = Repository(root, Settings({"secrets.allow": allowed}))
        try:
            report = await repository.index()
            read = await repository.read("a.py")
            repository.update(document(TEXT + "x = 1\n"))
            opened = repository.snapshot().documents["a.py"]
        finally:
            await repository.close()
        assert len(report.held_back) == count
        assert isinstance(read, Document)
        assert (FALSE in read.data.decode()) is (FALSE in opened.data.decode()) is bool(allowed)


def test_the_remedy_that_is_told_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `index` and `context` print is put into the settings file as it stands: then the text is shown."""
    root, own = tmp_path / "repo", tmp_path / "settings.toml"
    root.mkdir()
    (root / "a.py").write_text(f"token = '{FALSE}'\n\n\ndef use(value='{FALSE}'):\n    return token\n")
    own.write_text("")
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"GLM_LSP_{name}", str(tmp_path / "own" / name.lower()))
    monkeypatch.setenv("GLM_LSP_CONFIG", str(own))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(root)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        capsys.readouterr()
        assert main(list(arguments)) == 0
        return capsys.readouterr().out

    place = f"{root / 'a.py'}:5:5"
    for command in (("index", str(root)), ("context", place)):
        said = run(*command)
        assert PRINT in said
        assert FALSE not in said
        assert str(own) in said.replace("\n", "")
        own.write_text(said[said.index("[secrets]") :])
        assert PRINT not in run(*command)
        held = json.loads(run(*command, "--format", "json"))["held_back"]
        assert held == []
        own.write_text("")
    assert FALSE not in run("context", place, "--format", "json")
    own.write_text(f'[secrets]\nallow = ["{PRINT}"]\n')
    assert FALSE in run("context", place, "--format", "json")


@pytest.mark.parametrize("client", ["vscode", "neovim", "helix"])
def test_hover_tells_how_to_allow_a_place_and_not_what_stands_there(tmp_path: Path, client: str) -> None:
    root, own = tmp_path / "repo", tmp_path / "settings.toml"
    root.mkdir()
    own.write_text('[secrets]\nallow = ["0123456789abcdef"]\n')
    text = f"# é🔒\nx = 1\ntoken = '{FALSE}'\n"
    with Editor(client, root, env={"GLM_LSP_CONFIG": str(own)}) as editor:
        uri = editor.open("a.py", text)

        def hover(at: int) -> dict[str, Any] | None:
            position = editor.documents[uri].position(at)
            return editor.ask("textDocument/hover", {"textDocument": {"uri": uri}, "position": position})

        told = hover(text.index(FALSE) + 3)
        assert told is not None
        said = told["contents"]["value"]
        assert f'allow = ["0123456789abcdef", "{PRINT}"]' in said
        assert FALSE not in said
        start = told["range"]["start"]
        assert (start["line"], start["character"]) == (2, 9)
        assert hover(2) is hover(text.index("x = 1")) is None


def test_in_a_text_full_of_places_looking_stays_cheap() -> None:
    text = "".join(f"token_{n} = '{FALSE}{n}'\n" for n in range(1_100))
    data = text.encode()
    assert len(find("a.py", data).places) == 1_100
    assert len(masked(document(text), allowed=[PRINT]).held or ()) == 1_100
