"""What a status bar shows: what serves, what it does, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lsp.editor import Editor

MAIN = "from util import add\n\n\ndef greet(name):\n    \n"
TOLD: dict[str, Any] = {"statusChanges": True}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "main.py").write_text(MAIN)
    return root


def told(editor: Editor) -> int:
    return sum(message.get("method") == "glm/statusChanged" for message in editor.seen)


def state(editor: Editor) -> str:
    return editor.ask("glm-lsp/status")["state"]


def test_who_wants_to_know_is_told_of_changes_and_asks_what_they_are(project: Path) -> None:
    script = {"typing": "return name", "held": True}
    with Editor("vscode", project, script=script, options=TOLD) as editor:
        uri = editor.open("main.py")
        editor.settle()
        editor.until(lambda: told(editor) > 0)
        assert state(editor) == "ready"
        before = told(editor)
        asked = editor.inline(uri, len(MAIN) - 1)
        editor.until(lambda: told(editor) > before)
        assert state(editor) == "working"
        before = told(editor)
        editor.ask("test/script", {"held": False})
        editor.result(asked)
        editor.until(lambda: told(editor) > before)
        status = editor.ask("glm-lsp/status")
        assert (status["state"], status["loading"], status["jobs"]) == ("ready", None, [])


def test_what_failed_is_said_until_it_works_again(project: Path) -> None:
    with Editor("vscode", project, script={"fail": "No credit: top up."}, options=TOLD) as editor:
        uri = editor.open("main.py")
        editor.result(editor.inline(uri, len(MAIN) - 1))
        status = editor.ask("glm-lsp/status")
        assert (status["state"], status["problem"]) == ("failing", "No credit: top up.")
        editor.ask("test/script", {"fail": ""})
        editor.settle()
        editor.result(editor.inline(uri, len(MAIN) - 1, invoked=True))
        assert state(editor) == "ready"


def test_who_has_not_asked_for_it_is_told_nothing(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "return name"}) as editor:
        uri = editor.open("main.py")
        editor.result(editor.inline(uri, len(MAIN) - 1))
        editor.settle()
        assert told(editor) == 0
