"""What a prompt shows of other files is what they hold now, however fast one goes from one to the next."""

from __future__ import annotations

from pathlib import Path

from tests.lsp.editor import Editor
from tests.lsp.test_requests import eventually

RECORDING = str(Path(__file__).parents[1] / "secrets" / "recording_server.py")
LIB = "def rate(value):\n    return value * 2\n"
USE = "from lib import rate\n\n\ndef use(value):\n    return rate(value)\n"


def test_an_edit_is_told_to_a_request_in_another_file_that_comes_at_once(tmp_path: Path) -> None:
    (tmp_path / "lib.py").write_text(LIB)
    (tmp_path / "use.py").write_text(USE)
    with Editor("vscode", tmp_path, command=(RECORDING,), script={"index": True}) as editor:
        lib, use = editor.open("lib.py"), editor.open("use.py")
        editor.settle()
        editor.result(editor.complete(lib, len(LIB)))
        editor.result(editor.complete(use, len(USE)))
        assert "value * 2" in editor.ask("test/prompts")[-1]
        for factor in range(3, 8):
            at = editor.documents[lib].text.index("* ") + 2
            editor.type(lib, at, str(factor), 1)
            editor.result(editor.complete(use, len(USE)))
            assert f"value * {factor}" in editor.ask("test/prompts")[-1]


def test_the_first_completion_after_a_file_is_created_knows_what_it_defines(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    (root / "lib.py").write_text(LIB)
    (root / "main.py").write_text("import lib\nx = lib.rate(\n")
    with Editor("vscode", root, command=(RECORDING,), script={"index": True}) as editor:
        main = editor.open("main.py")
        editor.settle()
        editor.result(editor.complete(main, len(editor.documents[main].text) - 1))
        (root / "fresh.py").write_text("def fresh_thing(gamma):\n    return gamma\n")
        changes = [{"uri": editor.uri("fresh.py"), "type": 1}]
        editor.notify("workspace/didChangeWatchedFiles", {"changes": changes})
        eventually(lambda: editor.ask("glm-lsp/status")["files"] == 3)
        new = "from fresh import fresh_thing\nx = fresh_thing(\n"
        editor.type(main, 0, new, removed=len(editor.documents[main].text))
        editor.result(editor.complete(main, len(new) - 1))
        assert "def fresh_thing(gamma):" in editor.ask("test/prompts")[-1]
