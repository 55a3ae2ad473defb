"""While nobody types the engine reads ahead: seen where it takes long, and only where it may."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from tests.lsp.editor import WAIT_S, Editor
from tests.lsp.test_server import MAIN, UTIL

QUIET_S = 4.0
"""Longer than an editor has to be idle before anything is read."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "util.py").write_text(UTIL)
    (root / "main.py").write_text(MAIN)
    return root


def engine_once(editor: Editor, **wanted: int) -> dict[str, Any]:
    """What the engine saw, as soon as it is what is wanted."""
    until = time.monotonic() + WAIT_S
    while True:
        seen: dict[str, Any] = editor.ask("test/engine")
        if wanted.items() <= seen.items():
            return seen
        assert time.monotonic() < until, seen
        time.sleep(0.2)


def test_an_open_file_is_read_ahead_once(project: Path) -> None:
    with Editor("vscode", project, script={"warms": True}) as editor:
        editor.open("main.py")
        engine_once(editor, ahead=1, live=0)
        time.sleep(QUIET_S)
        assert editor.ask("test/engine")["ahead"] == 1
        assert not any("Reading ahead" in str(told) for told in editor.progress.values())


def test_what_takes_long_is_shown_and_can_be_stopped(project: Path) -> None:
    with Editor("vscode", project, script={"warms": True, "delay_s": 60.0}) as editor:
        editor.open("main.py")
        editor.until(lambda: any("Reading ahead" in str(told) for told in editor.progress.values()))
        token = next(t for t, told in editor.progress.items() if "Reading ahead" in str(told))
        assert editor.progress[token][0]["cancellable"]
        editor.notify("window/workDoneProgress/cancel", {"token": token})
        engine_once(editor, cancelled=1, live=0)
        editor.until(lambda: editor.progress[token][-1]["kind"] == "end")


@pytest.mark.parametrize(
    ("script", "options"),
    [({}, {}), ({"warms": True}, {"worker": {"warm_up": False}})],
    ids=["an engine that bills for it", "turned off"],
)
def test_nothing_is_read_where_nobody_wants_it(
    project: Path, script: dict[str, Any], options: dict[str, Any]
) -> None:
    with Editor("vscode", project, script=script, options=options) as editor:
        editor.open("main.py")
        time.sleep(QUIET_S)
        assert editor.ask("test/engine")["requests"] == 0
