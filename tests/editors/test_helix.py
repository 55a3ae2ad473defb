"""The shipped `editors/helix/languages.toml` in a real Helix, driven through tmux."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import HERE, SETUPS, Home, driven
from .screen import Screen

pytestmark = [pytest.mark.editors, pytest.mark.slow]

BODY = "\n    width, height = box\n    return width * height"
Start = Callable[..., "Helix"]
DOCSTRING = '    """Say what this does, shortly."""\n'


class Helix(Screen):
    def __init__(self, program: Path, home: Home, *, automatic: bool = True) -> None:
        """Without `automatic` it completes only when asked."""
        config = home.root / "config" / "helix"
        config.mkdir(parents=True)
        shutil.copy(SETUPS / "helix" / "languages.toml", config)
        (config / "config.toml").write_text(
            "[editor]\nidle-timeout = 50\ncompletion-timeout = 50\nlsp.display-progress-messages = true\n"
            f"auto-completion = {str(automatic).lower()}\n"
        )
        self.file = home.repository / "inventory.py"
        self.before = self.file.read_text()
        self.notes = home.root / "notes"
        self.notes.mkdir()
        environment = {**home.environment, "GLM_TEST_NOTES": str(self.notes)}
        super().__init__([str(program), "inventory.py"], Home(home.root, home.repository, environment))
        assert self.sees(r"def count_lines"), self.text()

    def leave_insert_mode(self) -> None:
        """A slow Helix reads Escape and the next key as one key with Alt: wait until it has read Escape."""
        self.keys("Escape")
        assert self.sees(r"^ *NOR "), self.text()

    def written(self) -> str:
        """The buffer, by writing it to its file."""
        self.leave_insert_mode()
        self.type(":w!")
        self.keys("Enter")
        time.sleep(0.5)
        return self.file.read_text()

    def at_end(self, text: str) -> None:
        """Type on a new line at the end of the file."""
        self.leave_insert_mode()
        self.type("geo")
        self.keys("Home")
        self.keys("C-k")
        self.type(text)

    def documents(self) -> None:
        """Choose the action that documents `count_lines`, as soon as it is listed."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.keys("Escape")
            self.type("gg/def count_lines")
            self.keys("Enter")
            self.type(" a")
            if self.sees(r"Document count_lines", 3):
                break
        assert self.sees(r"Document count_lines", 1), self.text()
        self.keys("Enter")  # the docstring is the first offer


@pytest.fixture
def helix(terminal_editors: Path) -> Iterator[Start]:
    open_: list[Helix] = []

    def start(home: Home, *, automatic: bool = True) -> Helix:
        open_.append(Helix(driven(terminal_editors / "hx"), home, automatic=automatic))
        return open_[-1]

    yield start
    for one in open_:
        one.close()


def test_helix_completes_and_undoes_an_edit(helix: Start, home: Home) -> None:
    screen = helix(home.scripted(typing=BODY, delay_s=1.5))
    screen.documents()
    assert screen.sees(r"^ *glm-lsp: Document count_lines", 20), screen.text()  # progress
    assert screen.sees(r'"""Say what this does, shortly\."""'), screen.text()
    assert screen.written() == screen.before.replace("    total = 0\n", DOCSTRING + "    total = 0\n")
    screen.type("u")
    assert screen.until(lambda: screen.written() == screen.before), screen.text()

    screen.at_end("def area(box):")
    assert screen.sees(r"width, height = box +text"), screen.text()
    screen.keys("Tab")
    screen.keys("Enter")
    assert screen.written().endswith("def area(box):" + BODY + "\n"), screen.text()
    screen.type("u")
    assert screen.until(lambda: screen.written().endswith("result\ndef area(box):\n")), screen.text()
    screen.type("u")
    assert screen.until(lambda: screen.written() == screen.before), screen.text()

    screen.at_end("def area(box):")
    assert screen.sees(r"width, height = box +text"), screen.text()
    screen.type("  # wide")
    assert screen.until(lambda: "width, height" not in screen.text(), 10), screen.text()


def test_helix_neither_waits_for_glm_nor_asks_it_what_others_know(helix: Start, home: Home) -> None:
    programs = home.root / "neighbour"
    programs.mkdir()
    (programs / "ty").write_text(f"#!/bin/sh\nexec {sys.executable} {HERE / 'neighbour.py'}\n")
    (programs / "ty").chmod(0o755)
    slow = home.scripted(typing="ighbour_of(ours)", delay_s=4.0)
    path = f"{programs}:{slow.environment['PATH']}"
    screen = helix(Home(home.root, home.repository, {**slow.environment, "PATH": path}))
    assert screen.until((screen.notes / "pid").exists), screen.text()
    time.sleep(2)
    screen.at_end("x = ne")
    assert screen.sees(r"neighbour_item", 3), screen.text()
    assert "neighbour_of" not in screen.text()
    assert screen.sees(r"neighbour_of\(ours\)"), screen.text()
    assert "neighbour_item" in screen.text()
    screen.keys("C-c")
    screen.leave_insert_mode()
    screen.type(" k")
    assert screen.sees(r"The neighbour says what it is\."), screen.text()
    assert not (screen.notes / "hovers").exists()


def test_helix_goes_on_after_deaths(helix: Start, home: Home) -> None:
    # Asked for by hand: what tells of a death while somebody types is soon written over.
    screen = helix(home.scripted(typing=" + 1", dies="The engine has died."), automatic=False)
    assert screen.until((screen.notes / "pid").exists), screen.text()
    time.sleep(2)
    screen.at_end("total = 2")
    screen.keys("C-x")
    assert screen.sees(r"The engine has died"), screen.text()
    screen.type("1")
    screen.keys("C-x")
    assert screen.sees(r"\+ 1 +text"), screen.text()
    first = int((screen.notes / "pid").read_text())
    os.kill(first, signal.SIGKILL)
    screen.leave_insert_mode()
    time.sleep(1)
    screen.type(":lsp-restart glm-lsp")
    screen.keys("Enter")
    assert screen.until(lambda: int((screen.notes / "pid").read_text() or first) != first), screen.text()
    time.sleep(2)
    screen.at_end("total = 3")
    screen.keys("C-x")
    assert screen.sees(r"\+ 1 +text"), screen.text()


@pytest.mark.embedded
def test_helix_and_the_bundled_model(helix: Start, home: Home) -> None:
    screen = helix(home)
    screen.documents()
    assert screen.sees(r'^ *\d+ +"""[A-Z].*\."""'), screen.text()
    assert re.sub(r'    """[A-Z].*\."""\n(?=    total)', "", screen.written()) == screen.before

    offered = False
    for text in ("x = os.path.jo", "if not os.path.ex", "for path in join_na"):
        screen.at_end(text)
        screen.keys("C-x")
        offered = screen.sees(r" text\b", 15)
        if offered:
            break
    assert offered, screen.text()
