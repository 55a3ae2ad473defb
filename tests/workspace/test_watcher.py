"""Files that other programs change are noticed, with our own watcher or without one."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace.repository import Repository
from glm_lsp.workspace.watcher import Watcher
from tests.workspace.trees import git, grow

FILES = {
    ".gitignore": "out/\n",
    "a.py": "def one(): ...\n",
    "pkg/b.py": "def two(): ...\n",
    "pkg/deep/c.py": "def three(): ...\n",
}
WAIT_S = 30.0


def names(repository: Repository) -> dict[str, list[str]]:
    """What is defined in each Python file."""
    outlines = repository.snapshot().index.outlines
    return {p: [s.name for s in o.symbols] for p, o in sorted(outlines.items()) if p.endswith(".py")}


@asynccontextmanager
async def watched(root: Path) -> AsyncIterator[tuple[Repository, list[Collection[str]]]]:
    """A repository that follows the disk, and what it was told."""
    repository = Repository(root, DEFAULTS)
    told: list[Collection[str]] = []

    async def changed(paths: Collection[str]) -> None:
        await repository.refresh(paths)
        told.append(paths)

    await repository.index()
    watcher = Watcher(root, repository.directories, changed, lambda _: None)
    task = asyncio.create_task(watcher.run())
    try:
        await asyncio.wait_for(watcher.watching.wait(), WAIT_S)
        yield repository, told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await repository.close()


async def check(repository: Repository, expected: dict[str, list[str]]) -> None:
    """The index comes to be this."""
    async with asyncio.timeout(WAIT_S):
        while names(repository) != expected:  # noqa: ASYNC110 (nobody else says when)
            await asyncio.sleep(0.02)


BEFORE = {"a.py": ["one"], "pkg/b.py": ["two"], "pkg/deep/c.py": ["three"]}
LINK = {"a.py": ["one"], "pkg/b.py": ["two"]}


def replaced_by_a_directory(root: Path) -> None:
    (root / "a.py").unlink()
    grow(root, {"a.py/inner.py": "def four(): ...\n"})


def replaced_by_a_link(root: Path) -> None:
    elsewhere = root.parent / "elsewhere"
    grow(elsewhere, {"c.py": "def evil(): ...\n"})
    shutil.rmtree(root / "pkg/deep")
    (root / "pkg/deep").symlink_to(elsewhere)


CHANGES: dict[str, tuple[Callable[[Path], object], dict[str, list[str]]]] = {
    "written": (lambda r: grow(r, {"a.py": "def uno(): ...\n"}), {**BEFORE, "a.py": ["uno"]}),
    "new": (lambda r: grow(r, {"pkg/new.py": "def four(): ...\n"}), {**BEFORE, "pkg/new.py": ["four"]}),
    "in new directories": (
        lambda r: grow(r, {"x/y/z.py": "def four(): ...\n"}),
        {**BEFORE, "x/y/z.py": ["four"]},
    ),
    "ignored": (
        lambda r: grow(r, {"out/x.py": "def no(): ...\n", "a.py": "def uno(): ...\n"}),
        {**BEFORE, "a.py": ["uno"]},
    ),
    "deleted": (lambda r: (r / "a.py").unlink(), {p: n for p, n in BEFORE.items() if p != "a.py"}),
    "renamed": (
        lambda r: (r / "a.py").rename(r / "pkg/z.py"),
        {"pkg/b.py": ["two"], "pkg/deep/c.py": ["three"], "pkg/z.py": ["one"]},
    ),
    "a directory moved": (
        lambda r: (r / "pkg").rename(r / "moved"),
        {"a.py": ["one"], "moved/b.py": ["two"], "moved/deep/c.py": ["three"]},
    ),
    "a directory deleted": (lambda r: shutil.rmtree(r / "pkg"), {"a.py": ["one"]}),
    "a file replaced by a directory": (
        replaced_by_a_directory,
        {"a.py/inner.py": ["four"], **{p: n for p, n in BEFORE.items() if p != "a.py"}},
    ),
    "a link swapped in": (replaced_by_a_link, LINK),
    "other rules": (
        lambda r: grow(r, {".gitignore": "deep/\n"}),
        {"a.py": ["one"], "pkg/b.py": ["two"]},
    ),
}


@pytest.mark.parametrize("with_git", [False, True], ids=["plain", "git"])
@pytest.mark.parametrize(("change", "expected"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_on_disk_is_noticed(
    tmp_path: Path, change: Callable[[Path], object], expected: dict[str, list[str]], with_git: bool
) -> None:
    root = grow(tmp_path / "root", FILES)
    if with_git:
        git(root, "init", "-q")
    async with watched(root) as (repository, _):
        assert names(repository) == BEFORE
        change(root)
        await check(repository, expected)


async def test_a_switch_of_branches_is_few_changes_of_the_index(tmp_path: Path) -> None:
    many = 300
    root = grow(tmp_path / "root", {f"d{n % 20}/f{n}.py": f"def a{n}(): ...\n" for n in range(many)})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "one")
    git(root, "branch", "before")
    grow(root, {f"d{n % 20}/f{n}.py": f"def b{n}(): ...\n" for n in range(many)})
    git(root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qam", "two")
    async with watched(root) as (repository, told):
        revision = repository.snapshot().revision
        git(root, "checkout", "-q", "before")
        await check(repository, {f"d{n % 20}/f{n}.py": [f"a{n}"] for n in sorted(range(many), key=str)})
        assert len(told) <= 5
        assert repository.snapshot().revision - revision <= len(told) + 1


async def test_what_appears_in_a_new_directory_later_is_noticed(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", FILES)
    async with watched(root) as (repository, told):
        (root / "empty/inside").mkdir(parents=True)
        async with asyncio.timeout(WAIT_S):
            while not told:  # noqa: ASYNC110 (likewise)
                await asyncio.sleep(0.02)
        grow(root, {"empty/inside/n.py": "def four(): ...\n"})
        await check(repository, {**BEFORE, "empty/inside/n.py": ["four"]})


STARVED = """
import asyncio, sys
from pathlib import Path
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace.repository import Repository
from glm_lsp.workspace.watcher import Watcher

async def main(root):
    repository = Repository(root, DEFAULTS)
    await repository.index()
    watcher = Watcher(root, repository.directories, repository.refresh, print, poll_s=0.1)
    task = asyncio.create_task(watcher.run())
    await watcher.watching.wait()
    (root / "a.py").write_text("def uno(): ...")
    async with asyncio.timeout(60):
        while repository.snapshot().index.outlines["a.py"].symbols[0].name != "uno":
            await asyncio.sleep(0.05)
    print("polls", watcher.polls)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await repository.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_without_watches_everything_is_looked_at_now_and_then(tmp_path: Path) -> None:
    """In a name space of its own, whose limit really is that low."""
    if not shutil.which("unshare"):
        pytest.skip("there is no unshare here")
    root = grow(tmp_path / "root", {**FILES, **{f"d{n}/f.py": "" for n in range(20)}})
    script = 'echo 5 > /proc/sys/user/max_inotify_watches || exit 77; exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", script, sys.executable, STARVED, str(root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("no name spaces here")
    assert done.returncode == 0, done.stderr
    said, polls = done.stdout.splitlines()
    assert "max_user_watches" in said
    assert polls == "polls True"
