"""What the indexing processes and who started them say to each other, and who is started when."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.errors import GlmError
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace import indexer
from glm_lsp.workspace.indexer import COMMAND, Indexer
from glm_lsp.workspace.messages import Answer, Batch, Found, Job, answers, frame
from glm_lsp.workspace.repository import Repository
from tests.workspace.trees import Taken, grow

FILES = {f"f{n:02}.py": f"def f{n}(): ...\n" for n in range(30)}


def job(root: Path, **changes: object) -> Job:
    values: dict[str, object] = {"cache": "", "max_file_bytes": 10**6, "file_cpu_s": 5.0}
    return Job(**{"root": str(root), "memory_bytes": 2 << 30, **values, **changes})  # type: ignore[arg-type]


def told(root: Path, batch: Batch) -> Sequence[Sequence[Answer]]:
    """What a process answers to one batch, frame by frame, after it has said that it is ready."""
    done = subprocess.run(COMMAND, input=frame(job(root)) + frame(batch), capture_output=True, check=True)
    found, at = list[Sequence[Answer]](), 0
    while at < len(done.stdout):
        size = int.from_bytes(done.stdout[at : at + 4], "big")
        found.append(answers(done.stdout[at + 4 : at + 4 + size]))
        at += 4 + size
    return found[1:]


def test_quick_answers_come_together_and_careful_ones_at_once(tmp_path: Path) -> None:
    names = list(grow(tmp_path, FILES) and FILES)
    together = told(tmp_path, Batch(names, [""] * len(names)))
    careful = told(tmp_path, Batch(names, [""] * len(names), careful=True))
    assert len(together) < len(names) / 2
    assert [len(found) for found in careful] == [1] * len(names)
    for said in (together, careful):
        assert [a.path for found in said for a in found if isinstance(a, Found)] == names


async def test_a_query_with_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    """It was told of each file that it crashed the parser."""
    broken = """
import sys
from tree_sitter import QueryError
from glm_lsp.workspace import outliner
def outline(*_, **more):
    raise QueryError("Invalid node type at row 3, column 4: clas_definition")
outliner.outline = outline
sys.exit(outliner.main())
"""
    root, taken = grow(tmp_path, FILES), Taken()
    one = Indexer(job(root), taken, workers=2, command=(sys.executable, "-P", "-c", broken))
    with pytest.raises(GlmError) as raised:
        await one.run(list(FILES))
    assert str(raised.value) == (
        "The process that indexes files cannot use its query for python: "
        "Invalid node type at row 3, column 4: clas_definition."
    )
    assert (taken.found, taken.left) == ([], {})


@given(sizes=st.lists(st.integers(0, 1 << 19), max_size=300))
def test_every_file_is_in_one_batch_and_the_smallest_batches_come_last(sizes: list[int]) -> None:
    paths = [f"f{n:03}" for n in range(len(sizes))]
    size_of = dict(zip(paths, sizes, strict=True))
    made = indexer._batches(paths, {"f000": "d"}, size_of)  # pyright: ignore[reportPrivateUsage]
    assert Counter(path for batch in made for path in batch.paths) == Counter(paths)
    assert all(len(batch.paths) <= indexer.BATCH_FILES for batch in made)
    assert all(batch.digests == ["d" if p == "f000" else "" for p in batch.paths] for batch in made)
    totals = [sum(size_of[path] for path in batch.paths) for batch in made]
    if totals:
        assert totals[-1] == min(totals)


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="children are counted in /proc")
async def test_a_process_that_was_started_ahead_and_is_not_needed_is_ended(tmp_path: Path) -> None:
    before = children()
    repository = Repository(grow(tmp_path / "none", {"logo.png": b"\x89PNG"}), DEFAULTS)
    assert (await repository.index()).files == 0
    assert children() == before
    run = asyncio.create_task(repository.index())
    while children() == before:  # noqa: ASYNC110 (nobody tells)
        await asyncio.sleep(0)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert children() == before
    await repository.close()


async def test_one_that_was_started_ahead_may_wait_for_as_long_as_it_must(tmp_path: Path) -> None:
    """While a large tree is listed, or another process has its turn."""
    taken = Taken()
    one = Indexer(job(grow(tmp_path, FILES)), taken, workers=1, stall_s=0.2)
    one.begin()
    while not children():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    while children():  # noqa: ASYNC110 (until somebody has lost patience with it)
        await asyncio.sleep(0.01)
    await one.run(["f00.py"])
    await one.end()
    assert (taken.found, taken.left) == (["f00.py"], {})


async def test_more_answers_than_files_end_the_process_and_not_us(tmp_path: Path) -> None:
    chatty = """
import sys
from glm_lsp.workspace import outliner
from glm_lsp.workspace.messages import Same
real = outliner.frame
outliner.frame = lambda found: real([*found, *(Same("x") for _ in found[1:])])
sys.exit(outliner.main())
"""
    root, taken = grow(tmp_path, FILES), Taken()
    await Indexer(job(root), taken, workers=1, command=(sys.executable, "-P", "-c", chatty)).run(list(FILES))
    assert sorted([*taken.found, *taken.left]) == list(FILES)


async def test_where_something_is_known_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = grow(tmp_path / "repo", FILES)
    for again in (False, True):
        repository = Repository(root, DEFAULTS)
        assert (await repository.index()).files == len(FILES)
        await repository.close()
        if not again:
            monkeypatch.setattr(indexer, "COMMAND", ("/nowhere",))
            monkeypatch.delattr(Indexer, "begin")
