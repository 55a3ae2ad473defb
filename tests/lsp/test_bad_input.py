"""Whatever comes: a sentence, the protocol's own error where there is a request, and nothing lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.editor import Editor

INVALID_PARAMS, REQUEST_FAILED = -32602, -32803
TEXT = "def add(a, b):\n    return \n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "util.py").write_text(TEXT)
    return root


def at(uri: str, line: int, character: int) -> dict[str, Any]:
    return {"textDocument": {"uri": uri}, "position": {"line": line, "character": character}}


def inline(uri: str, line: int, character: int, kind: int = 1) -> dict[str, Any]:
    return {**at(uri, line, character), "context": {"triggerKind": kind}}


def check_error(editor: Editor, method: str, params: Any, code: int, words: str) -> None:
    """The request fails so, in a sentence with these words, and the server goes on."""
    error = editor.reply(editor.send(method, params))["error"]
    assert error["code"] == code, error
    assert words in error["message"], error
    assert editor.ask("glm-lsp/status")["version"]


def command(name: str, *arguments: Any) -> dict[str, Any]:
    return {"command": f"glm-lsp.{name}", "arguments": list(arguments)}


def test_requests_that_cannot_be_served(project: Path) -> None:
    with Editor("vscode", project) as editor:
        uri, other = editor.open("util.py"), "file:///not/open.py"
        here = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
        listing = {"textDocument": {"uri": other}, "range": here, "context": {"diagnostics": []}}
        run = "workspace/executeCommand"
        for method, params, words in (
            ("textDocument/inlineCompletion", inline(other, 0, 0), "open.py is not open"),
            (
                "textDocument/inlineCompletion",
                inline(uri, 3, 0),
                "Line 4 is past the end of util.py, which has 3 lines",
            ),
            ("textDocument/inlineCompletion", inline("nonsense", 0, 0), "nonsense is not open"),
            ("textDocument/codeAction", listing, "not open"),
            (run, command("docstring", {"uri": other, "range": here}), "not open"),
            (run, command("destroy", {}), "There is no command"),
            (run, command("docstring"), "takes one object"),
            (run, command("docstring", uri), "takes one object"),
            (run, command("docstring", {"uri": 7}), "`uri` must be"),
            (run, command("docstring", {"uri": uri}), "`range` must be"),
            (run, command("docstring", {"uri": uri, "range": {"start": 1}}), "`range` must be"),
            (
                run,
                command("docstring", {"uri": uri, "position": {"line": -1, "character": 0}}),
                "`range` must be",
            ),
            (run, command("docstring", {"uri": uri, "range": here, "version": "1"}), "`version`"),
            (
                run,
                command("refactor", {"uri": uri, "range": here, "instruction": "x" * 5000}),
                "`instruction`",
            ),
            (run, command("refactor", {"uri": uri, "range": here, "instruction": ["x"]}), "`instruction`"),
        ):
            check_error(editor, method, params, INVALID_PARAMS, words)


def test_a_character_past_the_end_of_its_line_is_the_end(project: Path) -> None:
    with Editor("vscode", project, script={"typing": "a + b"}) as editor:
        uri = editor.open("util.py")
        item = editor.ask("textDocument/inlineCompletion", inline(uri, 1, 2**31 - 1))["items"][0]
        assert item["range"]["start"] == {"line": 1, "character": 11}


ANSWERED = {
    "an empty file": ("empty.py", "", "python"),
    "only a byte order mark": ("bom.py", "\ufeff", "python"),
    "an unknown language": ("notes.xyz", "some text\n", "klingon"),
    "no language": ("notes", "some text\n", ""),
    "CRLF and astral characters": ("crlf.py", "𝄞 = 1\r\nx = \r\n", "python"),
    "carriage returns alone": ("mac.py", "a = 1\rb = \r", "python"),
    "half a character": ("half.py", "a = '\ud834'\n", "python"),
    "odd line separators": ("odd.py", "a\u2028b\x0cc\x85\n", "python"),
    "a broken program": ("broken.py", "def (:\n  )]}\n\t\x1b[2J\n", "python"),
    "no file": ("untitled:Untitled-1", "x = ", "python"),
    "another scheme": ("git:/a/b.py?ref", "x = ", "python"),
    "a name with spaces and signs": ("ö ä %20#.py", "x = ", "python"),
}


@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("client", ["vscode", "emacs"])
def test_odd_texts_are_served(project: Path, client: str, name: str) -> None:
    path, text, language = ANSWERED[name]
    with Editor(client, project, script={"typing": "answer"}) as editor:
        uri = editor.open(
            path, text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace"), language
        )
        end = len(editor.documents[uri].text)
        found = editor.result(editor.complete(uri, end))
        assert len(found["items"]) == 1
        assert editor.accept(uri, found["items"][0]) == editor.documents[uri].text + "answer"
        editor.actions(uri, 0, end)
        editor.type(uri, end, "é𝄞")
        assert editor.ask("test/text", {"uri": uri}) == editor.documents[uri].text


@pytest.mark.parametrize("name", ["untitled:Untitled-1", "new.py", "gone/new.py"])
def test_what_is_not_on_disk_is_served_in_a_git_repository(project: Path, name: str) -> None:
    subprocess.run(["git", "init", "-q", str(project)], check=True)
    with Editor("vscode", project, script={"typing": "answer"}) as editor:
        uri = editor.open(name, "x = ", "python")
        assert len(editor.result(editor.complete(uri, 4))["items"]) == 1


REFUSED = {
    "binary": ("data.py", "a\0b", "binary"),
    "over the limit": ("big.py", "x = 1\n" * 200_000, "1,200,000 bytes"),
    "named like a secret": (".env", "KEY=1\n", ".env"),
    "a key": ("id_rsa", "x\n", "id_rsa"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_texts_that_nothing_is_suggested_in(project: Path, name: str) -> None:
    """Told once while typing, an error where it was asked for; no model sees it."""
    path, text, words = REFUSED[name]
    with Editor("vscode", project) as editor:
        uri = editor.open(path, text)
        for _ in range(3):
            assert editor.result(editor.inline(uri, 0))["items"] == []
        assert len(editor.shown) == 1 and words in editor.shown[0]
        here = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 0}}
        check_error(editor, "textDocument/inlineCompletion", inline(uri, 0, 0), REQUEST_FAILED, words)
        run = command("explain", {"uri": uri, "range": here})
        check_error(editor, "workspace/executeCommand", run, REQUEST_FAILED, words)
        assert editor.actions(uri, 0, 0) == []
        assert editor.ask("test/engine")["requests"] == 0
        editor.type(uri, 0, "y")
        assert editor.ask("test/text", {"uri": uri}) == editor.documents[uri].text


def spoil(root: Path) -> None:
    (root / "latin.py").write_bytes(b"# caf\xe9\n")
    (root / "binary.py").write_bytes(b"\0" * 100)
    (root / "huge.py").write_bytes(b"x = 1\n" * 200_000)
    (root / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    (root / "loop").symlink_to(root)
    (root / "dangling.py").symlink_to("nowhere")
    (root / "empty.py").touch()


def test_a_tree_with_bad_files_is_indexed(project: Path) -> None:
    spoil(project)
    with Editor("vscode", project, script={"typing": "a + b"}) as editor:
        uri = editor.open("util.py")
        editor.settle()
        assert len(editor.result(editor.inline(uri, len(TEXT) - 1))["items"]) == 1
        assert editor.ask("glm-lsp/status")["files"] >= 2


def test_broken_files_of_the_project_are_told_in_one_message(project: Path) -> None:
    (project / "tsconfig.json").write_text('{"compilerOptions": ')
    (project / "package.json").write_text('{"name": 3}')
    with Editor("vscode", project) as editor:
        editor.open("util.py")
        editor.settle()
        (told,) = [message for message in editor.shown if "Imports may not be found" in message]
    assert "package.json: `name` is a number" in told
    assert "And 1 more; `glm-lsp index` lists them." in told


FOLDERS: dict[str, Callable[[Path], list[Path]]] = {
    "none": lambda root: [],
    "one that does not exist": lambda root: [root / "gone"],
    "a file": lambda root: [root / "util.py"],
    "two, one in the other": lambda root: [root, root / "inner"],
}


@pytest.mark.parametrize("name", FOLDERS)
def test_any_folders_will_do(project: Path, name: str) -> None:
    (project / "inner").mkdir()
    with Editor("vscode", project, folders=FOLDERS[name](project), script={"typing": "a + b"}) as editor:
        uri = editor.open("util.py")
        assert len(editor.result(editor.inline(uri, len(TEXT) - 1))["items"]) == 1


def test_notifications_about_what_is_not_open_are_told(project: Path) -> None:
    with Editor("vscode", project) as editor:
        document = {"uri": editor.uri("gone.py"), "version": 2}
        editor.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": ""}]})
        editor.notify("textDocument/didClose", {"textDocument": {"uri": editor.uri("gone.py")}})
        editor.notify("workspace/didChangeWatchedFiles", {"changes": [{"uri": "x:y", "type": 1}]})
        editor.notify("window/workDoneProgress/cancel", {"token": "unknown"})
        editor.notify("$/cancelRequest", {"id": 4711})
        editor.ask("glm-lsp/status")
        assert len(editor.shown) == 1 and "gone.py is not open" in editor.shown[0]
