"""An editor in a tmux of its own: keys go in, the screen is what a user sees."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Home


class Screen:
    """`sees` waits until the screen matches."""

    def __init__(self, command: list[str], home: Home) -> None:
        if shutil.which("tmux") is None:
            pytest.skip("no tmux here to drive a terminal with: install tmux first")
        self._tmux = ["tmux", "-S", str(home.root / "tmux"), "-f", os.devnull]
        start = [*self._tmux, "new-session", "-d", "-x", "110", "-y", "40", "-s", "editor"]
        environment = {**home.environment, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        environment |= {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
        told = f"{shlex.join(command)}; sleep 1"
        subprocess.run([*start, told], env=environment, cwd=home.repository, check=True)
        subprocess.run([*self._tmux, "set", "-s", "escape-time", "0"], check=True)

    def text(self) -> str:
        command = [*self._tmux, "capture-pane", "-p", "-t", "editor"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def keys(self, *keys: str) -> None:
        """By tmux's names: `Enter`, `C-x`, `M-Right`."""
        subprocess.run([*self._tmux, "send-keys", "-t", "editor", *keys], check=True)
        time.sleep(0.2)

    def type(self, text: str) -> None:
        self.keys("-l", text)

    def sees(self, pattern: str, seconds: float = 60) -> bool:
        return self.until(lambda: re.search(pattern, self.text(), re.MULTILINE) is not None, seconds)

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> bool:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.1)
        return False

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


def grown(file: Path, before: str) -> bool:
    """Whether something was written to the file."""
    return len(file.read_text()) > len(before)
