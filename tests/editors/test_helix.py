"""The shipped `editors/helix/languages.toml` in a real Helix, driven through tmux."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import SETUPS, Home

pytestmark = [pytest.mark.editors, pytest.mark.embedded, pytest.mark.slow]


class Screen:
    """A Helix in a tmux of its own. `sees` waits until the screen matches."""

    def __init__(self, helix: Path, home: Home) -> None:
        self._tmux = ["tmux", "-S", str(home.root / "tmux"), "-f", os.devnull]
        start = [*self._tmux, "new-session", "-d", "-x", "110", "-y", "40", "-s", "hx"]
        command = f"{helix} inventory.py; sleep 1"
        environment = {**home.environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        subprocess.run([*start, command], env=environment, cwd=home.repository, check=True)
        subprocess.run([*self._tmux, "set", "-s", "escape-time", "0"], check=True)

    def text(self) -> str:
        done = subprocess.run([*self._tmux, "capture-pane", "-p", "-t", "hx"], capture_output=True, text=True)
        return done.stdout

    def keys(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", "-t", "hx", *keys], check=True)
        time.sleep(0.3)

    def type(self, text: str) -> None:
        self.keys("-l", text)

    def sees(self, pattern: str, seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if re.search(pattern, self.text(), re.MULTILINE):
                return True
            time.sleep(0.1)
        return False

    def leave_insert_mode(self) -> None:
        """A slow Helix reads Escape and the next key as one key with Alt: wait until it has read Escape."""
        self.keys("Escape")
        assert self.sees(r"^ *NOR "), self.text()

    def write(self, file: Path, before: str, seconds: float = 60) -> None:
        """Write the file until it has grown; the message about it gives way to the server's progress."""
        end = time.monotonic() + seconds
        while len(file.read_text()) <= len(before):
            assert time.monotonic() < end, self.text()
            self.type(":w")
            self.keys("Enter")
            time.sleep(0.5)

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def helix(terminal_editors: Path, home: Home) -> Iterator[Screen]:
    if shutil.which("tmux") is None:
        pytest.skip("no tmux here to drive Helix with: install tmux first")
    config = home.root / "config" / "helix"
    config.mkdir(parents=True)
    shutil.copy(SETUPS / "helix" / "languages.toml", config)
    (config / "config.toml").write_text(
        "[editor]\nidle-timeout = 50\ncompletion-timeout = 50\nlsp.display-progress-messages = true\n"
    )
    screen = Screen(terminal_editors / "hx", home)
    yield screen
    screen.close()


def test_helix_documents_a_function_and_offers_completions(helix: Screen, home: Home) -> None:
    file = home.repository / "inventory.py"
    before = file.read_text()
    assert helix.sees(r"def count_lines"), helix.text()
    # The server answers code actions as soon as it has attached.
    end = time.monotonic() + 60
    while time.monotonic() < end:
        helix.keys("Escape")
        helix.type("gg/def count_lines")
        helix.keys("Enter")
        helix.type(" a")
        if helix.sees(r"Document count_lines", 3):
            break
    assert helix.sees(r"Document count_lines", 1), helix.text()
    helix.keys("Enter")  # the docstring is the first offer
    assert helix.sees(r'^ *\d+ +"""[A-Z].*\."""'), helix.text()
    helix.write(file, before)
    after = file.read_text()
    assert re.sub(r'    """[A-Z].*\."""\n(?=    total)', "", after) == before

    offered = False
    for text in ("x = os.path.jo", "if not os.path.ex", "for path in join_na"):
        helix.type("geo")
        helix.type(text)
        helix.keys("C-x")
        if helix.sees(r"glm|\(sparkle\)|Text|text", 15):
            offered = True
            break
        helix.leave_insert_mode()
    assert offered, helix.text()
    helix.leave_insert_mode()
    helix.type(":q!")
    helix.keys("Enter")
