"""`editors/emacs/glm-lsp.el` in a real Emacs, in a terminal: keys go in, the screen is read."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import HERE, SETUPS, Home, driven
from .screen import Screen

pytestmark = [pytest.mark.editors, pytest.mark.slow]

BODY = "\n    width, height = box\n    return width * height"
DOCSTRING = '"""Say what this does, shortly."""'


class Emacs(Screen):
    """An Emacs with one file, and a way to ask it what it knows."""

    def __init__(self, program: Path, home: Home) -> None:
        self.file = home.repository / "inventory.py"
        self._said = home.root / "said"
        environment = {**home.environment, "GLM_SETUP": str(SETUPS), "GLM_SAYS": str(self._said)}
        command = [str(program), "-nw", "-Q", "-l", str(HERE / "emacs_init.el"), str(self.file)]
        super().__init__(command, Home(home.root, home.repository, environment))
        assert self.sees(r"A small inventory"), self.text()
        assert self.until(self.attached), self.text()

    def says(self, form: str, seconds: float = 20) -> str:
        """What a form of Lisp is."""
        self._said.unlink(missing_ok=True)
        self.keys("C-g")
        self.keys("F9")
        self.type(form)
        self.keys("Enter")
        assert self.until(self._said.exists, seconds), self.text()
        time.sleep(0.05)
        return self._said.read_text()

    def text_says(self, form: str) -> str:
        """The same of a form that is a string."""
        return json.loads(json.loads(self.says(f"(json-encode {form})")))

    def buffer(self) -> str:
        """The text of the file as Emacs has it."""
        return self.text_says('(with-current-buffer "inventory.py" (buffer-string))')

    def servers(self) -> str:
        """The text of the file as the server has it."""
        return self.text_says(
            '(with-current-buffer "inventory.py" (eglot--signal-textDocument/didChange)'
            " (jsonrpc-request (eglot-current-server) :test/text"
            " (list :uri (eglot-path-to-uri buffer-file-name))))"
        )

    def script(self, **changes: object) -> None:
        told = json.dumps(json.dumps(changes))
        read = f"(json-parse-string {told} :false-object :json-false)"
        said = self.says(f"(jsonrpc-request (eglot-current-server) :test/script {read})")
        assert said == "nil", said

    def attached(self, to: str = "nil") -> bool:
        """Whether a server that is not `to` has answered."""
        return (
            self.says(f"(let ((s (eglot-current-server))) (and s (not (eq s {to})) (jsonrpc-running-p s) t))")
            == "t"
        )

    def completes(self, typed: str, after: str, seconds: float = 30) -> bool:
        """At the end of the file, `typed` becomes `after` by C-M-i."""
        self.end()
        self.type(typed)
        self.keys("C-M-i")
        # Nothing is asked of an Emacs that waits for an answer: a key ends its waiting.
        return self.sees(re.escape(after.rsplit("\n", maxsplit=1)[-1]), seconds) and self.buffer().endswith(
            after
        )

    def reset(self, text: str) -> None:
        self.keys("C-g")
        self.says(f'(with-current-buffer "inventory.py" (erase-buffer) (insert {elisp(text)}))')
        self.says('(progn (delete-other-windows) (switch-to-buffer "inventory.py") nil)')

    def document(self) -> None:
        """Choose the action that documents `count_lines`."""
        self.says('(progn (goto-char (point-min)) (search-forward "def count_lines") nil)')
        self.keys("F5")
        assert self.sees(r"Document count_lines|\[eglot\]"), self.text()
        self.type("Doc")  # a space would complete, too
        self.keys("Tab", "Enter")

    def end(self) -> None:
        """To a new line at the end of the file."""
        self.keys("C-g")
        self.keys("M->")


def elisp(text: str) -> str:
    """A text as it is written in Lisp."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@pytest.fixture
def emacs(terminal_editors: Path) -> Iterator[Callable[[Home], Emacs]]:
    open_: list[Emacs] = []

    def start(home: Home) -> Emacs:
        open_.append(Emacs(driven(terminal_editors / "emacs"), home))
        return open_[-1]

    yield start
    for one in open_:
        one.close()


def test_emacs_completes_in_its_own_units(emacs: Callable[[Home], Emacs], home: Home) -> None:
    """Behind characters of which each counts otherwise in each of the three encodings."""
    screen = emacs(home.scripted(typing="en(face)"))
    server = "(eglot-current-server)"
    assert "utf-32" in screen.says(f"(plist-get (eglot--capabilities {server}) :positionEncoding)")
    assert '"python"' in screen.says(f"(eglot--languages {server})")
    typed = 'face = "😀𝔘é"; size = l'
    assert screen.completes(typed, "return result\n" + typed + "en(face)"), screen.text()
    assert screen.servers() == screen.buffer()
    screen.says('(with-current-buffer "inventory.py" (undo-boundary) (undo 3) nil)')
    assert screen.servers() == screen.buffer()


def test_emacs_shows_ghost_text_by_its_own_preview(emacs: Callable[[Home], Emacs], home: Home) -> None:
    screen = emacs(home.scripted(typing="ame(face)\n    return size"))
    screen.says('(with-current-buffer "inventory.py" (completion-preview-mode 1))')
    screen.end()
    screen.type("size = ren")
    assert screen.sees(r"size = rename\(face\)"), screen.text()
    screen.keys("Tab")
    assert screen.sees(r"^ +return size"), screen.text()
    assert screen.buffer().endswith("size = rename(face)\n    return size"), screen.buffer()
    assert screen.servers() == screen.buffer()


def test_typing_on_in_emacs_ends_what_it_waited_for(emacs: Callable[[Home], Emacs], home: Home) -> None:
    screen = emacs(home.scripted(typing="nothing_else", held=True))
    before = screen.buffer()
    screen.end()
    screen.type("value = zz")
    screen.keys("C-M-i")
    screen.type("yx")
    assert screen.until(lambda: screen.buffer() == before + "value = zzyx"), screen.text()
    screen.script(held=False)
    time.sleep(1)
    assert screen.buffer() == before + "value = zzyx"


def test_emacs_shows_an_edit_first_and_undoes_it(emacs: Callable[[Home], Emacs], home: Home) -> None:
    screen = emacs(home.scripted(typing=BODY, other="It counts lines."))
    before = screen.buffer()
    screen.script(held=True)
    screen.document()
    assert screen.sees(r"^\[eglot\] inventory glm-lsp/\d+: Document count_lines"), screen.text()  # progress
    screen.type("#")  # no answer is waited for: Emacs goes on
    assert screen.until(lambda: "#" in screen.buffer()), screen.text()
    screen.keys("BSpace")
    screen.script(held=False)
    assert screen.until(lambda: screen.buffer() == before)
    screen.document()
    assert screen.sees(r'^\+ +"""Say what this does'), screen.text()
    assert screen.buffer() == before
    window = screen.says("(buffer-name (window-buffer (selected-window)))")
    assert "inventory.py" in window, window

    screen.keys("C-x", "o")
    screen.keys("C-c", "C-a")
    assert screen.until(lambda: DOCSTRING in screen.buffer()), screen.text()
    screen.says('(with-current-buffer "inventory.py" (undo-boundary) (undo) nil)')
    assert screen.buffer() == before

    screen.reset(before)
    screen.keys("F7")
    assert screen.sees(r"It counts lines\."), screen.text()
    assert "inventory.py" in screen.says("(buffer-name (window-buffer (selected-window)))")


def test_emacs_goes_on_after_deaths(emacs: Callable[[Home], Emacs], home: Home) -> None:
    screen = emacs(home.scripted(typing=BODY))
    before = screen.buffer()
    screen.script(dies="The engine has died.", typing=" + 1")
    screen.end()
    screen.type("total = 2")
    screen.keys("C-M-i")
    assert screen.sees("The engine ended in the middle"), screen.text()
    screen.reset(before)
    assert screen.completes("total = 3", "total = 3 + 1"), screen.text()

    screen.reset(before)
    screen.says("(setq first-server (eglot-current-server))")
    pid = int(screen.says("(plist-get (jsonrpc-request (eglot-current-server) :test/process nil) :pid)"))
    time.sleep(4)  # Eglot starts a server again that has lived for three seconds
    os.kill(pid, signal.SIGKILL)
    assert screen.until(lambda: screen.attached("first-server")), screen.text()
    assert screen.completes("def area(box):", "def area(box):" + BODY), screen.text()


def test_what_another_program_writes_is_known_in_emacs(emacs: Callable[[Home], Emacs], home: Home) -> None:
    """To the next request: this client watches the files itself, and tells."""
    screen = emacs(home.scripted(typing="1)"))
    assert screen.completes("x = abs(", "x = abs(1)"), screen.text()
    ledger = "def post_entry(account, amount, currency):\n    return account, amount, currency\n"
    (home.repository / "ledger.py").write_text(ledger)
    time.sleep(1)
    screen.end()
    screen.keys("Enter")
    screen.type("from ledger import post_entry")
    screen.keys("Enter")
    assert screen.completes("post_entry(", "post_entry(1)"), screen.text()
    prompt = screen.text_says("(plist-get (jsonrpc-request (eglot-current-server) :test/prompt nil) :text)")
    assert "def post_entry(account, amount, currency)" in prompt, prompt
    screen.keys("F6")
    assert screen.sees(r"^engine +scripted"), screen.text()


@pytest.mark.embedded
def test_emacs_and_the_bundled_model(emacs: Callable[[Home], Emacs], home: Home) -> None:
    screen = emacs(home)
    before = screen.buffer()
    screen.document()
    assert screen.sees(r'^\+ +"""[A-Z].*\."""', 90), screen.text()
    screen.reset(before)
    places = (
        "def total(directory):\n    return su",
        "x = os.path.jo",
        "for path in join_names(",
        "if not os.path.ex",
    )
    found = False
    for place in places:
        screen.reset(before + place)
        screen.end()
        shown = screen.text()
        screen.keys("C-M-i")
        screen.until(lambda: screen.text() != shown, 15)  # noqa: B023 (called here)
        time.sleep(1)
        found = len(screen.buffer()) > len(before + place)
        if found:
            break
    assert found, screen.text()
