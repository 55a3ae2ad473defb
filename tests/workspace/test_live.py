"""Two windows follow one repository while branches are switched and a formatter runs.

Both end where a new index would begin.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace.repository import Repository
from glm_lsp.workspace.watcher import Watcher
from tests.workspace.trees import git, grow

MANY = 2000
FORMAT = (sys.executable, "-m", "ruff", "format", "-q", "--no-cache")
QUIET_S = 2.5
WAIT_S = 90.0


def told(repository: Repository) -> dict[str, str]:
    """Everything that the index says of each file, as a digest."""
    outlines = repository.snapshot().index.outlines
    return {
        path: hashlib.blake2b(repr((o.digest, o.symbols, o.references)).encode(), digest_size=8).hexdigest()
        for path, o in outlines.items()
    }


async def fresh(root: Path, cache: Path) -> dict[str, str]:
    """What an index says that was made from nothing."""
    before, os.environ["GLM_LSP_CACHE"] = os.environ["GLM_LSP_CACHE"], os.fspath(cache)
    try:
        repository = Repository(root, DEFAULTS)
        await repository.index()
        found = told(repository)
        await repository.close()
        return found
    finally:
        os.environ["GLM_LSP_CACHE"] = before


async def window(root: Path) -> None:
    """A process like a server's: at each line of stdin, what its index says once nothing changes any more."""
    repository, runs = Repository(root, DEFAULTS), 0
    last = time.monotonic()

    async def changed(paths: Collection[str]) -> None:
        nonlocal last, runs
        last, runs = float("inf"), runs + 1
        await repository.refresh(paths)
        last = time.monotonic()

    await repository.index()
    watcher = Watcher(root, repository.directories, changed, lambda _: None)
    task = asyncio.create_task(watcher.run())
    await watcher.watching.wait()
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        last = max(last, time.monotonic())
        while time.monotonic() - last < QUIET_S:  # noqa: ASYNC110 (nobody says when nothing happens)
            await asyncio.sleep(0.1)
        print(json.dumps({"told": told(repository), "runs": runs}), flush=True)
        runs = 0
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await repository.close()


@contextmanager
def windows(root: Path, count: int) -> Generator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "tests.workspace.test_live", os.fspath(root)]
    opened = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        assert [answer(one, ask=False) for one in opened] == ["ready"] * count
        yield opened
    finally:
        for one in opened:
            one.communicate(timeout=WAIT_S)


def answer(one: subprocess.Popen[str], *, ask: bool = True) -> Any:
    assert one.stdin is not None
    assert one.stdout is not None
    if ask:
        one.stdin.write("\n")
        one.stdin.flush()
    line = one.stdout.readline().strip()
    return json.loads(line) if ask else line


def module(number: int, word: str) -> str:
    return (
        f'"""Module {number}."""\nfrom d{number % 20} import m{number}\n\n'
        f"class C{number}:\n    def {word}_{number}(self, a,b):\n        return m{number}(a) +b\n"
    )


async def check(root: Path, opened: list[subprocess.Popen[str]], cache: Path) -> list[int]:
    """All windows say what a new index says; how many runs each of them took for it."""
    expected = await fresh(root, cache)
    said = [await asyncio.to_thread(answer, one) for one in opened]
    for one in said:
        wrong = [p for p in {**one["told"], **expected} if one["told"].get(p) != expected.get(p)]
        assert wrong == []
    return [one["runs"] for one in said]


async def test_two_windows_a_switch_of_branches_and_a_formatter(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {f"d{n % 20}/f{n}.py": module(n, "one") for n in range(MANY)})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "one")
    git(root, "checkout", "-qb", "other")
    for n in range(0, MANY, 5):
        (root / f"d{n % 20}/f{n}.py").unlink()
    grow(root, {f"new{n % 7}/deep/f{n}.py": module(n, "three") for n in range(0, MANY, 5)})
    grow(root, {f"d{n % 20}/f{n}.py": module(n, "two") for n in range(MANY) if n % 5})
    git(root, "add", "-A")
    git(root, "commit", "-qm", "two")
    with windows(root, 2) as opened:
        git(root, "checkout", "-q", "main")
        runs = await check(root, opened, tmp_path / "cache1")
        assert max(runs) <= 8
        git(root, "checkout", "-q", "other")
        git(root, "checkout", "-q", "main")
        git(root, "checkout", "-q", "other")
        await check(root, opened, tmp_path / "cache2")
        await asyncio.to_thread(subprocess.run, [*FORMAT, os.fspath(root)], check=True)
        runs = await check(root, opened, tmp_path / "cache3")
        assert max(runs) <= 12
    with windows(root, 1) as opened:
        await check(root, opened, tmp_path / "cache4")


if __name__ == "__main__":
    asyncio.run(window(Path(sys.argv[1])))
