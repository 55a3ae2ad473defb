"""Files that hold a word are found by their bytes; what cannot be read holds none."""

from __future__ import annotations

import os
from pathlib import Path

from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace.repository import Repository
from glm_lsp.workspace.search import holding


def test_words_are_found_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = "load"\n')
    (tmp_path / "b.md").write_text("loading\n")
    (tmp_path / "c.py").write_text("nothing\n")
    (tmp_path / ".env").write_text("load=1\n")
    (tmp_path / "out.txt").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe.txt")
    paths = ["a.py", "b.md", "c.py", ".env", "out.txt", "pipe.txt", "gone.py", "../x", "d\0.py"]
    assert holding(tmp_path, paths, ["load", "root"], 1000) == {"a.py", "b.md"}
    assert holding(tmp_path, paths, ["load"], 5) == frozenset()
    assert holding(tmp_path, paths, ["", "gone"], 1000) == frozenset()


async def test_only_what_is_indexed_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('x = "load"\n')
    (tmp_path / "ignored.py").write_text("load\n")
    (tmp_path / ".gitignore").write_text("ignored.py\n")
    repository = Repository(tmp_path, DEFAULTS)
    await repository.index()
    assert await repository.holding(["a.py", "ignored.py"], ["load"]) == {"a.py"}
    await repository.close()
