"""A slow engine, or none: the repository says the rest of the line, and the engine's answer follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lsp.editor import Editor
from tests.lsp.test_requests import eventually

PARAMETERS = "(client, limit, message):\n    client.send(message"
TEXT = "".join(f"def f{n}{PARAMETERS}, timeout=limit)\n\n\n" for n in range(6)) + f"def run{PARAMETERS}"
ECHO = f"{TEXT}, timeout=limit)"
ENGINE = ", urgent=True)"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "util.py").write_text(TEXT)
    return root


def written(editor: Editor, uri: str, **how: bool) -> list[str]:
    reply = editor.result(editor.inline(uri, len(editor.documents[uri].text), **how))
    return [editor.accept(uri, item) for item in reply["items"]]


def readied(editor: Editor) -> int:
    return sum(message.get("method") == "glm/inlineReady" for message in editor.seen)


def test_while_the_engine_is_slow_the_repository_says_it(project: Path) -> None:
    """And what the engine says later is offered when the editor asks again, as it is told to."""
    options: dict[str, Any] = {"inlineReady": True}
    script = {"typing": ENGINE, "held": True}
    with Editor("vscode", project, script=script, options=options) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri) == [ECHO]
        assert readied(editor) == 0
        editor.ask("test/script", {"held": False})
        editor.until(lambda: readied(editor) == 1)
        assert written(editor, uri, invoked=True) == [TEXT + ENGINE]
        assert editor.ask("test/engine")["requests"] == 1


def test_an_editor_that_does_not_know_the_message_gets_it_with_the_next_request(project: Path) -> None:
    with Editor("neovim", project, script={"typing": ENGINE, "held": True}) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri) == [ECHO]
        editor.ask("test/script", {"held": False})
        eventually(lambda: editor.ask("test/engine")["live"] == 0)
        assert written(editor, uri) == [TEXT + ENGINE]
        assert readied(editor) == 0


def test_a_menu_gets_the_same(project: Path) -> None:
    with Editor("helix", project, script={"typing": ENGINE, "held": True}) as editor:
        uri = editor.open("util.py")
        reply = editor.result(editor.complete(uri, len(TEXT)))
        assert reply["isIncomplete"] is True
        assert [editor.accept(uri, item) for item in reply["items"]] == [ECHO]
        editor.ask("test/script", {"held": False})


def test_without_an_engine_the_repository_says_it(project: Path) -> None:
    with Editor("vscode", project, script={"fail": "No credit: top up."}) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri) == [ECHO]


def test_a_quick_engine_has_the_word(project: Path) -> None:
    with Editor("vscode", project, script={"typing": ENGINE}) as editor:
        uri = editor.open("util.py")
        editor.settle()
        assert written(editor, uri) == [TEXT + ENGINE]


def test_who_asks_for_one_waits_for_the_engine(project: Path) -> None:
    with Editor("vscode", project, script={"typing": ENGINE, "delay_s": 0.6}) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri, invoked=True) == [TEXT + ENGINE]


def test_where_it_is_not_wanted_it_is_not_said(project: Path) -> None:
    env = {"GLM_LSP_COMPLETION_ECHO": "false"}
    with Editor("vscode", project, script={"fail": "No credit: top up."}, env=env) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri) == []


def test_typing_something_else_ends_the_engine_that_nobody_waits_for(project: Path) -> None:
    with Editor("vscode", project, script={"typing": ENGINE, "held": True}) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri) == [ECHO]
        editor.type(uri, len(TEXT), ")\n")
        eventually(lambda: editor.ask("test/engine")["live"] == 0)
