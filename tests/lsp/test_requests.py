"""Requests that overlap, are cancelled or fail: one reply each, and nothing left behind."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lsp.editor import Editor
from tests.lsp.wire import WAIT_S

TEXT = "def add(a, b):\n    return \n"
END = len(TEXT) - 1
CANCELLED = -32800


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "util.py").write_text(TEXT)
    return root


def counts(editor: Editor) -> tuple[int, int]:
    """Generations that were stopped, and that still run."""
    engine = editor.ask("test/engine")
    return engine["cancelled"], engine["live"]


def eventually(condition: Callable[[], bool]) -> None:
    """Wait for what the server does without saying so: a condition asks it."""
    until = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def items(editor: Editor, requests: list) -> list[int]:
    return [len(editor.result(request)["items"]) for request in requests]


@pytest.mark.parametrize("name", ["neovim", "helix"])
def test_a_newer_request_supersedes_the_older(name: str, project: Path) -> None:
    with Editor(name, project, script={"typing": "a + b", "held": True}) as editor:
        uri = editor.open("util.py")
        editor.settle()
        requests = [editor.complete(uri, END) for _ in range(4)]
        editor.ask("test/script", {"held": False})
        assert items(editor, requests) == [0, 0, 0, 1]
        assert counts(editor)[1] == 0


def test_typing_supersedes(project: Path) -> None:
    with Editor("neovim", project, script={"typing": "a + b", "delay_s": 60}) as editor:
        uri = editor.open("util.py")
        request = editor.inline(uri, END)
        eventually(lambda: counts(editor)[1] == 1)
        editor.type(uri, END, "a")
        assert items(editor, [request]) == [0]
        eventually(lambda: counts(editor) == (1, 0))


def written(editor: Editor, uri: str, index: int, **how: bool) -> list[str]:
    """The texts after taking each suggestion."""
    return [editor.accept(uri, item) for item in editor.result(editor.inline(uri, index, **how))["items"]]


def asked(editor: Editor) -> int:
    return editor.ask("test/engine")["requests"]


def test_typing_along_asks_nothing_again(project: Path) -> None:
    """Letter by letter, a letter taken back, and by both kinds of request: one generation."""
    with Editor("vscode", project, script={"typing": "a + b"}) as editor:
        uri = editor.open("util.py")
        whole = TEXT[:END] + "a + b\n"
        assert written(editor, uri, END) == [whole]
        for n, letter in enumerate("a + "):
            editor.type(uri, END + n, letter)
            assert written(editor, uri, END + n + 1) == [whole]
        editor.type(uri, END + 3, "", removed=1)
        assert written(editor, uri, END + 3) == [whole]
        assert asked(editor) == 1
        editor.type(uri, END + 3, "-")
        written(editor, uri, END + 4)
        assert asked(editor) == 2


def test_a_bracket_that_the_editor_closes_is_typed_along(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "sum((a, b))"}) as editor:
        uri = editor.open("util.py")
        whole = TEXT[:END] + "sum((a, b))\n"
        assert written(editor, uri, END) == [whole]
        editor.type(uri, END, "sum()")
        assert written(editor, uri, END + 4) == [whole]
        assert asked(editor) == 1


def test_what_is_being_written_goes_on_while_it_is_typed(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "alpha + beta", "trickle_s": 0.4}) as editor:
        uri = editor.open("util.py")
        first = editor.inline(uri, END)
        eventually(lambda: editor.ask("test/engine")["written"] >= 1)
        editor.type(uri, END, "al")
        assert items(editor, [first]) == [0]
        assert written(editor, uri, END + 2) == [TEXT[:END] + "alpha + beta\n"]
        assert counts(editor) == (0, 0)
        assert asked(editor) == 1


def test_what_is_being_written_ends_when_something_else_is_typed(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "alpha + beta", "trickle_s": 60}) as editor:
        uri = editor.open("util.py")
        first = editor.inline(uri, END)
        eventually(lambda: editor.ask("test/engine")["written"] >= 1)
        editor.type(uri, END, "x")
        assert items(editor, [first]) == [0]
        eventually(lambda: counts(editor)[1] == 0)


def test_what_is_being_written_ends_when_nobody_asks_again(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "alpha + beta", "trickle_s": 60}) as editor:
        uri = editor.open("util.py")
        editor.inline(uri, END)
        eventually(lambda: editor.ask("test/engine")["written"] >= 1)
        editor.type(uri, END, "a")
        eventually(lambda: counts(editor)[1] == 0)


def test_who_asks_again_gets_another_one_beside_it(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "a + b"}) as editor:
        uri = editor.open("util.py")
        assert written(editor, uri, END, invoked=True) == [TEXT[:END] + "a + b\n"]
        editor.ask("test/script", {"typing": "b + a"})
        both = [TEXT[:END] + "b + a\n", TEXT[:END] + "a + b\n"]
        assert written(editor, uri, END, invoked=True) == both
        assert written(editor, uri, END) == both[:1]


def test_a_closed_document_keeps_nothing(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "a + b"}) as editor:
        for _ in range(2):
            uri = editor.open("util.py")
            written(editor, uri, END)
            editor.close(uri)
        assert asked(editor) == 2


def test_two_documents_do_not_supersede_each_other(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "a + b", "delay_s": 0.1}) as editor:
        one, two = editor.open("util.py"), editor.open("other.py", TEXT)
        assert items(editor, [editor.inline(one, END), editor.inline(two, END)]) == [1, 1]


def test_a_cancelled_completion_stops_the_engine(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "a + b", "delay_s": 60}) as editor:
        uri = editor.open("util.py")
        request = editor.inline(uri, END)
        eventually(lambda: counts(editor)[1] == 1)
        editor.cancel(request)
        assert editor.reply(request)["error"]["code"] == CANCELLED
        eventually(lambda: counts(editor) == (1, 0))


def start_slow_command(editor: Editor) -> int | str:
    uri = editor.open("util.py")
    chosen = next(a for a in editor.actions(uri, 0, 0) if a["title"].startswith("Document"))
    running = editor.run(chosen)
    eventually(lambda: counts(editor)[1] == 1)
    return running


SLOW = {"docstring": "Add two numbers and return it.", "delay_s": 60}


def test_a_cancelled_command_stops_the_engine(project: Path) -> None:
    with Editor("vscode", project, script=SLOW) as editor:
        running = start_slow_command(editor)
        editor.cancel(running)
        assert editor.reply(running)["error"]["code"] == CANCELLED
        eventually(lambda: counts(editor) == (1, 0))
        assert editor.documents[editor.uri("util.py")].text == TEXT


@pytest.mark.parametrize("name", ["vscode", "helix"])
def test_the_progress_button_stops_the_engine(name: str, project: Path) -> None:
    with Editor(name, project, script=SLOW) as editor:
        running = start_slow_command(editor)
        editor.until(lambda: any(v[0].get("cancellable") for v in editor.progress.values()))
        token = next(t for t, v in editor.progress.items() if v[0].get("cancellable"))
        editor.notify("window/workDoneProgress/cancel", {"token": token})
        assert editor.result(running)["status"] == ("started" if name == "helix" else "cancelled")
        eventually(lambda: counts(editor) == (1, 0))
        assert editor.documents[editor.uri("util.py")].text == TEXT


def test_shutdown_ends_what_runs(project: Path) -> None:
    with Editor("vscode", project, script=SLOW) as editor:
        running = start_slow_command(editor)
        stop = editor.send("shutdown")
        assert editor.reply(running)["error"]["code"] == CANCELLED
        assert editor.result(stop) is None
        editor.notify("exit")
        assert editor.wire.process.wait(WAIT_S) == 0


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_leaves_nothing_behind(project: Path, seed: int) -> None:
    """Requests, edits and cancellations in any order: one reply each (the editor sees to it), nothing
    running."""
    rng = random.Random(seed)
    with Editor("vscode", project, script={"typing": "a + b", "delay_s": 0.002}) as editor:
        uri = editor.open("util.py")
        sent: list = []
        for _ in range(300):
            act = rng.random()
            if act < 0.4:
                sent.append(editor.inline(uri, rng.randrange(END), invoked=rng.random() < 0.5))
            elif act < 0.6:
                editor.type(uri, rng.randrange(END), rng.choice(["x", "", "\n", "𝄞"]), rng.randrange(2))
            elif act < 0.9 and sent:
                editor.cancel(rng.choice(sent))
            else:
                model = editor.documents[uri]
                where = {"start": model.position(0), "end": model.position(0)}
                context = {"diagnostics": []}
                params = {"textDocument": {"uri": uri}, "range": where, "context": context}
                sent.append(editor.send("textDocument/codeAction", params))
        for request in sent:
            editor.reply(request)
        editor.settle()
        assert counts(editor)[1] == 0
        model = editor.documents[uri]
        length = editor.ask("test/text", {"uri": uri})
        assert length == model.text


def test_a_failing_engine_is_told_once_and_again_after_it_has_worked(project: Path) -> None:
    with Editor("neovim", project, script={"typing": "a + b", "fail": "No credit: top up."}) as editor:
        uri = editor.open("util.py")
        for _ in range(4):
            assert items(editor, [editor.inline(uri, END)]) == [0]
        assert [m for m in editor.shown if "No credit" in m] == ["glm-lsp: No credit: top up."]
        editor.ask("test/script", {"fail": ""})
        assert items(editor, [editor.inline(uri, END)]) == [1]
        editor.ask("test/script", {"fail": "No credit: top up."})
        assert items(editor, [editor.inline(uri, 0)]) == [0]
        assert len([m for m in editor.shown if "No credit" in m]) == 2


def test_a_failing_command_says_why(project: Path) -> None:
    with Editor("vscode", project, script={"fail": "No credit: top up."}) as editor:
        uri = editor.open("util.py")
        chosen = next(a for a in editor.actions(uri, 0, 0) if a["title"].startswith("Explain"))
        assert editor.result(editor.run(chosen))["status"] == "failed"
        assert editor.shown == ["glm-lsp: No credit: top up."]
