"""Directories in which files may appear are looked for, however many there are."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace import look, repository
from glm_lsp.workspace.ignore import Ignore
from glm_lsp.workspace.look import within
from glm_lsp.workspace.repository import Repository
from tests.workspace.trees import grow


def test_ten_thousand_empty_directories_are_all_found(tmp_path: Path) -> None:
    """The rest was passed over without a word: what came into them was not noticed."""
    for n in range(10_100):
        (tmp_path / f"d{n}").mkdir()
    assert len(within(tmp_path, Ignore(tmp_path), "")) == 10_101


async def test_those_that_are_too_many_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(30):
        (tmp_path / f"d{n}").mkdir()
    one = Repository(grow(tmp_path, {"a.py": "x = 1\n"}), DEFAULTS)
    await one.index()
    with caplog.at_level(logging.WARNING):
        assert len(one.directories()) == 31
        assert not caplog.messages
        for module in (look, repository):
            monkeypatch.setattr(module, "MOST_DIRECTORIES", 10)
        await one.index()
        one.directories()
    await one.close()
    assert [m.partition(": ")[2] for m in caplog.messages] == [
        "new files in those that hold none yet are noticed when the repository is opened again, not at once."
    ]
