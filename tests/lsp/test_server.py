"""What a person does in each editor, with the real server and a scripted engine.

`Editor` judges every message; these tests say what must come of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lsp.editor import NAMES, Editor

GHOST_TEXT = {"vscode", "neovim"}
UTIL = "def add(a, b):\n    return a + b\n"
MAIN = 'from util import add\n\n\ndef greet(name):\n    """𝄞 é"""\n    return \n'


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "util.py").write_text(UTIL)
    (root / "main.py").write_text(MAIN)
    return root


def item_of(result: dict) -> dict:
    assert len(result["items"]) == 1, result
    return result["items"][0]


def action(editor: Editor, uri: str, start: int, end: int, title: str, **context: object) -> dict:
    """The one action whose title begins so."""
    listed = editor.actions(uri, start, end, **context)
    found = [a for a in listed if a["title"].startswith(title)]
    assert len(found) == 1, [a["title"] for a in listed]
    return found[0]


def carry_out(editor: Editor, chosen: dict) -> str:
    """Choose an action and wait for its end; its status."""
    ended = len([m for m in editor.seen if m.get("method") == "$/progress"])
    status = editor.result(editor.run(chosen))["status"]
    if status == "started":
        assert editor.name == "helix"
        editor.settle()
    if status in ("applied", "explained"):
        assert len([m for m in editor.seen if m.get("method") == "$/progress"]) >= ended
    return status


def test_a_completion_is_the_models_text_at_the_cursor(name: str, project: Path) -> None:
    with Editor(name, project, script={"typing": 'add("hello, ", name)'}) as editor:
        uri = editor.open("main.py")
        text = editor.documents[uri].text
        item = item_of(editor.result(editor.complete(uri, len(text) - 1)))
        assert editor.accept(uri, item) == text[:-1] + 'add("hello, ", name)\n'
        assert ("insertText" in item) == (name in GHOST_TEXT)


def test_the_menu_item_replaces_the_word_that_is_being_typed(project: Path) -> None:
    with Editor("helix", project, script={"typing": "urn add(name, name)"}) as editor:
        uri = editor.open("main.py", "𝄞 = 1\nret")
        item = item_of(editor.result(editor.complete(uri, len("𝄞 = 1\nret"))))
        assert item["label"] == item["filterText"] == "return add(name, name)"
        assert editor.accept(uri, item) == "𝄞 = 1\nreturn add(name, name)"


@pytest.mark.parametrize(("popup", "items"), [("auto", 0), ("always", 1), ("never", 0)])
def test_ghost_text_and_menu_are_not_offered_twice(project: Path, popup: str, items: int) -> None:
    options = {"completion": {"popup": popup}}
    with Editor("vscode", project, options=options, script={"typing": "name"}) as editor:
        uri = editor.open("main.py")
        position = editor.documents[uri].position(len(MAIN) - 1)
        params = {"textDocument": {"uri": uri}, "position": position, "context": {"triggerKind": 1}}
        assert len(editor.ask("textDocument/completion", params)["items"]) == items


def test_a_docstring_is_written_where_it_is_missing(name: str, project: Path) -> None:
    with Editor(name, project, script={"docstring": "Add two numbers and return the sum."}) as editor:
        uri = editor.open("util.py")
        carry_out(editor, action(editor, uri, 0, 0, "Document add"))
        wanted = 'def add(a, b):\n    """Add two numbers and return the sum."""\n    return a + b\n'
        assert editor.documents[uri].text == wanted
        assert (project / "util.py").read_text() == UTIL, "only the editor writes"


def test_line_ends_are_the_documents_own(name: str, project: Path) -> None:
    with Editor(name, project, script={"docstring": "Add two numbers and return the sum."}) as editor:
        uri = editor.open("util.py", UTIL.replace("\n", "\r\n"))
        carry_out(editor, action(editor, uri, 0, 0, "Document add"))
        assert editor.documents[uri].text.count("\r\n") == editor.documents[uri].text.count("\n") == 3


def test_an_explanation_is_shown_and_changes_nothing(name: str, project: Path) -> None:
    with Editor(name, project, script={"other": "It *adds*.\u202e\x1b[2J"}) as editor:
        uri = editor.open("util.py")
        carry_out(editor, action(editor, uri, 0, 0, "Explain add"))
        assert editor.documents[uri].text == UTIL
        if editor.can["window"].get("showDocument"):
            path = Path(editor.opened[0].removeprefix("file://"))
            shown = path.read_text()
            assert path.stat().st_mode & 0o777 == 0o600
            assert not path.is_relative_to(project)
        else:
            shown = editor.shown[0]
        assert "It *adds*.\\u202e\\u001b[2J" in shown


def test_a_client_that_shows_explanations_itself_gets_them_as_results(project: Path) -> None:
    with Editor("vscode", project, script={"other": "It adds."}, options={"results": True}) as editor:
        uri = editor.open("util.py")
        chosen = action(editor, uri, 0, 0, "Explain add")
        assert editor.result(editor.run(chosen)) == {"status": "explained", "message": "", "text": "It adds."}
        assert editor.opened == editor.shown == []


def test_what_was_listed_before_an_edit_can_still_be_explained(project: Path) -> None:
    with Editor("vscode", project, script={"other": "It adds."}, options={"results": True}) as editor:
        uri = editor.open("util.py")
        chosen = action(editor, uri, 0, 0, "Explain add")
        editor.type(uri, len(UTIL), "# Ω")
        assert editor.result(editor.run(chosen)) == {"status": "explained", "message": "", "text": "It adds."}
        editor.type(uri, 0, "", removed=len(UTIL) - 4)  # the listed range is past the end by now
        assert editor.result(editor.run(chosen))["status"] == "explained"


def replacing(old: str, new: str) -> str:
    """An answer in the edit format."""
    return f"=== file util.py\n<<<<<<< SEARCH\n{old}\n=======\n{new}\n>>>>>>> REPLACE\n=== end\n"


def test_an_instruction_in_a_comment_is_followed(name: str, project: Path) -> None:
    text = "def add(a, b):\n    # glm: use sum\n    return a + b\n"
    answer = replacing("    # glm: use sum\n    return a + b", "    return sum((a, b))")
    with Editor(name, project, script={"other": answer}) as editor:
        uri = editor.open("util.py", text)
        carry_out(editor, action(editor, uri, 0, len(text), "Refactor: use sum"))
        assert editor.documents[uri].text == "def add(a, b):\n    return sum((a, b))\n"


def test_an_instruction_from_the_clients_prompt_is_followed(project: Path) -> None:
    answer = replacing("    return a + b", "    return sum((a, b))")
    with Editor("neovim", project, script={"other": answer}) as editor:
        uri = editor.open("util.py")
        chosen = action(editor, uri, 0, len(UTIL), "Refactor by instruction")
        assert editor.result(editor.run(chosen))["status"] == "refused"
        assert "instruction" in editor.shown[-1]
        chosen["command"]["arguments"][0]["instruction"] = "use sum"
        assert editor.result(editor.run(chosen))["status"] == "applied"
        assert editor.documents[uri].text == "def add(a, b):\n    return sum((a, b))\n"


def test_a_diagnostic_is_fixed(name: str, project: Path) -> None:
    text = "def add(a, b):\n    return a + c\n"
    answer = replacing("    return a + c", "    return a + b")
    with Editor(name, project, script={"other": answer}) as editor:
        uri = editor.open("util.py", text)
        at = {"start": editor.documents[uri].position(30), "end": editor.documents[uri].position(31)}
        diagnostic = {"range": at, "message": "Undefined name `c`", "code": "F821", "source": "ruff"}
        chosen = action(editor, uri, 30, 30, "Fix", diagnostics=[diagnostic], only=["quickfix"])
        assert chosen.get("diagnostics", [diagnostic]) == [diagnostic]
        carry_out(editor, chosen)
        assert editor.documents[uri].text == "def add(a, b):\n    return a + b\n"


def test_a_document_that_has_moved_on_is_left_alone(name: str, project: Path) -> None:
    """The edit was made for a text that is gone: a sentence, and nothing changes."""
    script = {"docstring": "Add two numbers and return it.", "held": True}
    with Editor(name, project, script=script) as editor:
        uri = editor.open("util.py")
        running = editor.run(action(editor, uri, 0, 0, "Document add"))
        editor.until(lambda: editor.ask("test/engine")["requests"] == 1)
        editor.type(uri, 0, "# new\n")
        editor.ask("test/script", {"held": False})
        editor.result(running)
        editor.settle()
        assert editor.documents[uri].text == "# new\n" + UTIL
        assert any("has changed" in message for message in editor.shown)


def test_an_action_listed_for_an_older_text_is_a_conflict(project: Path) -> None:
    with Editor("vscode", project) as editor:
        uri = editor.open("util.py")
        chosen = action(editor, uri, 0, 0, "Document add")
        editor.type(uri, 0, "x = 1\n")
        assert editor.result(editor.run(chosen))["status"] == "conflict"
        assert editor.ask("test/engine")["requests"] == 0


def test_an_editor_that_refuses_the_edit_is_believed(project: Path) -> None:
    no = {"workspace/applyEdit": lambda m: {"applied": False, "failureReason": "read-only"}}
    with Editor("vscode", project, answers=no, script={"docstring": "Add two numbers and return."}) as editor:
        uri = editor.open("util.py")
        assert editor.result(editor.run(action(editor, uri, 0, 0, "Document add")))["status"] == "conflict"
        assert "read-only" in editor.shown[-1]


def test_who_discards_an_edit_is_told_nothing(project: Path) -> None:
    no = {"workspace/applyEdit": lambda m: {"applied": False, "failureReason": "discarded"}}
    with Editor("neovim", project, answers=no, script={"docstring": "Add two numbers and return."}) as editor:
        uri = editor.open("util.py")
        assert editor.result(editor.run(action(editor, uri, 0, 0, "Document add")))["status"] == "cancelled"
        assert editor.shown == []


@pytest.mark.parametrize("answer", [ValueError("no"), NotImplemented], ids=["refused", "never answered"])
def test_work_goes_on_without_the_progress_that_was_not_granted(project: Path, answer: object) -> None:
    with Editor(
        "vscode",
        project,
        answers={"window/workDoneProgress/create": lambda m: answer},
        script={"docstring": "Add two numbers and return it."},
    ) as editor:
        uri = editor.open("util.py")
        assert editor.result(editor.run(action(editor, uri, 0, 0, "Document add")))["status"] == "applied"
        assert editor.progress == {}


def test_resolving_returns_an_action_unchanged(project: Path) -> None:
    foreign = {"title": "Organise", "kind": "source.organizeImports", "data": {"jsonrpc": "2.0", "id": [1]}}
    with Editor("vscode", project) as editor:
        uri = editor.open("util.py")
        ours = action(editor, uri, 0, 0, "Document add")
        assert editor.ask("codeAction/resolve", ours) == ours
        assert editor.ask("codeAction/resolve", foreign) == foreign


def test_listing_asks_no_model_and_honours_the_kinds_asked_for(name: str, project: Path) -> None:
    with Editor(name, project) as editor:
        uri = editor.open("util.py")
        assert {a["title"] for a in editor.actions(uri, 0, 0)} >= {"Document add", "Explain add"}
        assert [a["title"] for a in editor.actions(uri, 0, 0, only=["refactor"])] == [
            "Document add",
            "Continue here",
        ]
        assert editor.actions(uri, 0, 0, only=["source.organizeImports"]) == []
        assert editor.ask("test/engine")["requests"] == 0


def test_status_says_what_serves_and_what_is_indexed(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "name"}) as editor:
        uri = editor.open("main.py")
        editor.result(editor.inline(uri, len(MAIN) - 1))
        editor.settle()
        status = editor.ask("glm-lsp/status")
        assert (status["engine"], status["local"], status["files"]) == ("scripted", True, 2)
        assert status["last"]["prompt_tokens"] > 0


def test_an_engine_that_died_and_was_asked_again_is_told(project: Path) -> None:
    with Editor("vscode", project, script={"dies": "The worker was ended by SIGKILL."}) as editor:
        uri = editor.open("util.py")
        chosen = action(editor, uri, 0, 0, "Document")
        assert carry_out(editor, chosen) == "applied"
        assert any("SIGKILL" in told and "asked once more" in told for told in editor.shown), editor.shown
