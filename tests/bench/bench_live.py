"""The index while somebody works: `python -m tests.bench.bench_live [--record] [--root DIR] [--edits N]`.

Over the tree of `bench_index` (about a million lines), in one process as in the server: an edit of an open
document until a snapshot has the outline of the new text, beside outlining that text from nothing; what the
first completion waits for; and a burst of changed files until one snapshot has them. Files of 100 to 5,000
lines, drawn with a seed. Processor time stands beside wall time, which a busy machine makes poor.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from glm_lsp.core.graph import Graph
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.core.syntax import language_of, outline, supported
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from glm_lsp.disk.store import CACHE_VARIABLE
from glm_lsp.workspace.repository import Repository
from tests.bench import index_trees
from tests.bench.rows import RESULTS, Row, block, circumstances

HEADING = "## Live index"
COMMAND = "python -m tests.bench.bench_live --record"
LINES = range(100, 5001)
GOAL_MS = 20.0
BURST = 3000


@dataclass
class Figures:
    """Milliseconds of each edit."""

    wall: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])
    anew: list[float] = field(default_factory=list[float])
    """Processor time for the outline of the same text from nothing."""


def p95(values: Sequence[float]) -> float:
    return sorted(values)[int(0.95 * (len(values) - 1))]


async def edits(repository: Repository, count: int, seed: int = 4) -> Figures:
    """Type words and delete them, here and there in files that are opened for it."""
    chance, figures = random.Random(seed), Figures()
    outlines = repository.snapshot().index.outlines
    paths = sorted(p for p, o in outlines.items() if o.lines in LINES and supported(language_of(p)))
    for _ in range(max(1, count // 8)):
        path = chance.choice(paths)
        data = (repository.root / path).read_bytes().removeprefix(b"\xef\xbb\xbf")
        language = language_of(path)
        repository.update(Document(path, data, digest(data), language, 0))
        await repository.settle()
        for version in range(1, 9):
            at = data.rfind(b"\n", 0, chance.randrange(len(data))) + 1
            data = data[:at] + b"word = other(3)\n" + data[at:] if version % 2 else data[: at - 1] + data[at:]
            document = Document(path, data, digest(data), language, version)
            start = time.perf_counter(), time.process_time()
            repository.update(document)
            await repository.settle()
            found = repository.snapshot().index.outlines[path]
            figures.wall.append(1000 * (time.perf_counter() - start[0]))
            figures.processor.append(1000 * (time.process_time() - start[1]))
            assert found.digest == document.digest
            begun = time.process_time()
            assert outline(path, data, language).symbols == found.symbols
            figures.anew.append(1000 * (time.process_time() - begun))
        repository.forget(path)
        await repository.settle()
    return figures


async def burst(repository: Repository, count: int) -> tuple[int, float, int]:
    """So many files changed at once: their number, seconds until a snapshot has them, and revisions."""
    paths = [p for p in repository.snapshot().index.outlines if supported(language_of(p))][:count]
    for path in paths:
        with (repository.root / path).open("ab") as file:
            file.write(b"\n\n")
    before, start = repository.snapshot().revision, time.perf_counter()
    await repository.refresh(paths)
    snapshot = repository.snapshot()
    return len(paths), time.perf_counter() - start, snapshot.revision - before


async def rows(root: Path, count: int, changed: int) -> list[Row]:
    """All figures of one tree, a copy of which is changed."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, f"{scratch}/cache")
        copy = Path(shutil.copytree(root, f"{scratch}/tree", symlinks=True))
        first = Repository(copy, DEFAULTS)
        await first.index()
        start = time.process_time()
        Graph(first.snapshot().index)
        anew_s = time.process_time() - start
        await first.close()
        repository = Repository(copy, DEFAULTS)
        report = await repository.index()
        lines = sum(o.lines for o in repository.snapshot().index.outlines.values())
        start = time.process_time()
        graph = Graph(repository.snapshot().index)
        graph_s = time.process_time() - start
        figures = await edits(repository, count)
        renewed: list[float] = []
        for path in list(repository.snapshot().index.outlines)[:: max(1, report.files // 50)]:
            data = b"x = 1\n"
            repository.update(Document(path, data, digest(data), "python", 1))
            await repository.settle()
            start = time.process_time()
            graph = graph.renewed(repository.snapshot().index)
            renewed.append(1000 * (time.process_time() - start))
            repository.forget(path)
            await repository.settle()
            graph = graph.renewed(repository.snapshot().index)
        files, burst_s, revisions = await burst(repository, changed)
        await repository.close()
    wall, processor, anew = figures.wall, figures.processor, figures.anew
    return [
        Row(
            f"{lines:,} lines in {report.files:,} files: an edit to a new snapshot, p95 of {len(wall)}",
            f"{p95(wall):.1f} ms wall, {p95(processor):.1f} ms processor time",
            f"outlined from nothing: {p95(anew):.1f} ms processor time",
            f"≤ {GOAL_MS:g} ms",
            p95(wall) <= GOAL_MS,
        ),
        Row(
            "the same, median",
            f"{statistics.median(wall):.1f} ms wall, {statistics.median(processor):.1f} ms processor time",
            f"outlined from nothing: {statistics.median(anew):.1f} ms",
        ),
        Row(
            "names and links of the index, which the first completion waits for, saved",
            f"{1000 * graph_s:.0f} ms processor time",
            f"made anew: {1000 * anew_s:.0f} ms",
        ),
        Row("the same after an edit, p95", f"{p95(renewed):.1f} ms processor time"),
        Row(
            f"{files:,} files changed at once, to one snapshot",
            f"{burst_s:.1f} s wall",
            f"{revisions} revision{'s' if revisions != 1 else ''}",
        ),
    ]


def recorded(results: str, section: str) -> str:
    """RESULTS.md with this section in place of an earlier one."""
    kept = re.sub(rf"^{HEADING}\n.*?(?=^## |\Z)", "", results, flags=re.MULTILINE | re.DOTALL)
    return kept.rstrip("\n") + "\n\n\n" + section + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--root", type=Path, help="a tree to measure on instead")
    parser.add_argument("--edits", type=int, default=800)
    args = parser.parse_args()
    root = args.root or index_trees.made().root
    found = asyncio.run(rows(root, args.edits, BURST))
    section = f"{HEADING}\n\n`{COMMAND}`\n\n" + block("Live", found, circumstances(raised=False))
    print(section)
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(encoding="utf-8"), section), encoding="utf-8")


if __name__ == "__main__":
    main()
