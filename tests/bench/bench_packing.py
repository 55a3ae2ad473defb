"""How long a prompt of 32k tokens takes after an edit: `python -m tests.bench.bench_packing [--record]`.

Real packages side by side as one repository (1.3 million lines). In held-out function bodies words are typed
one by one; each makes a new snapshot, and what is timed is from there to the prompt (`pack_context`): the
graph brought up to date, the ledger moved on, ranking, counting. Wall time, and processor time beside it,
for the machine may do other things. `--record` writes the section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from glm_lsp.core.lazy import Outlines
from glm_lsp.core.settings import Settings
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, Refusal, RefusalKind, RepoIndex
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.features.complete import pack_context
from glm_lsp.features.session import Session
from tests.bench import corpora
from tests.bench.bench_recall import RESULTS, recorded
from tests.bench.bench_server import table
from tests.bench.probe import percentile
from tests.bench.recall_corpora import REPORTED, load
from tests.bench.recall_places import index_of
from tests.bench.recall_truth import Held
from tests.bench.rows import circumstances
from tests.features.stage import PROFILE

HEADING = "## Packing"
COMMAND = "python -m tests.bench.bench_packing --record"
TOGETHER = ("django", "sympy", "viem", "werkzeug", "@reduxjs/toolkit")
BUDGET_TOKENS = 32_768
GOAL_MS = 15.0
TYPED = ["value", "=", "self.compute", "(", "other", ")", "+", "helper", "[", "key", "]", "\n"]


@dataclass
class Times:
    """Milliseconds: wall and processor, of one kind of request."""

    wall: list[float] = field(default_factory=list[float])
    processor: list[float] = field(default_factory=list[float])


@dataclass
class Desk:
    """A repository in memory where somebody types. Implements `Sources`."""

    files: Mapping[str, bytes]
    outlines: Outlines
    opened: dict[str, Document] = field(default_factory=dict[str, Document])
    revision: int = 0

    async def read(self, path: str) -> Document | Refusal:
        if path in self.opened:
            return self.opened[path]
        if path not in self.files:
            return Refusal(path, RefusalKind.UNREADABLE, f"{path} does not exist.")
        return self._document(path, self.files[path])

    def edit(self, path: str, data: bytes) -> Snapshot:
        """The snapshot in which the editor has this text."""
        self.opened = {**self.opened, path: self._document(path, data)}
        self.outlines = self.outlines.changed({path: outline(path, data, language_of(path))})
        self.revision += 1
        index = RepoIndex(self.outlines, self.revision)
        return Snapshot("/repository", self.revision, self.opened, index, Settings({}))

    def _document(self, path: str, data: bytes) -> Document:
        return Document(path, data, digest(data), language_of(path), self.revision, held=())


async def type_into(desk: Desk, session: Session, held: Held, words: int) -> tuple[Times, Times]:
    """A jump to the place of a body that is not there, then word by word. As the server does, what a file
    needs is prepared when it is opened."""
    jump, typing = Times(), Times()
    data, offset = (
        desk.opened[held.path].data if held.path in desk.opened else desk.files[held.path],
        held.start,
    )
    if held.path in desk.opened:
        return jump, typing
    data = data[:offset] + data[held.end :]
    snapshot = desk.edit(held.path, data)
    await session.prepare(snapshot, held.path)
    for number in range(words + 1):
        if number:
            word = (TYPED[(number - 1) % len(TYPED)] + " ").encode()
            data, offset = data[:offset] + word + data[offset:], offset + len(word)
            snapshot = desk.edit(held.path, data)
        wall, processor = time.perf_counter(), time.process_time()
        await pack_context(session, snapshot, held.path, offset, BUDGET_TOKENS)
        times = typing if number else jump
        times.wall.append(1000 * (time.perf_counter() - wall))
        times.processor.append(1000 * (time.process_time() - processor))
    return jump, typing


def measure(files: Mapping[str, bytes], places: Sequence[Held], tokenizer: GgufTokenizer, words: int) -> str:
    """The table."""
    desk = Desk(files, Outlines(index_of(files).outlines))
    engine = ScriptedEngine("", facts=replace(FACTS, context_tokens=4 * BUDGET_TOKENS))
    session = Session(desk, engine, tokenizer, PROFILE)

    async def run() -> tuple[Times, Times]:
        jump, typing = Times(), Times()
        for held in places:
            for whole, part in zip((jump, typing), await type_into(desk, session, held, words), strict=True):
                whole.wall += part.wall
                whole.processor += part.processor
        return jump, typing

    jump, typing = asyncio.run(run())
    both = Times(jump.wall + typing.wall, jump.processor + typing.processor)
    lines = sum(data.count(b"\n") for data in files.values())
    rows = [
        _row(f"a word typed ({len(typing.wall)} requests)", typing),
        _row(f"the first request at a new place ({len(jump.wall)})", jump),
        _row(f"all, {lines:,} lines in {len(files):,} files", both, goal=True),
    ]
    return table(rows, ("what", "wall", "processor time", "goal"))


def _row(what: str, times: Times, *, goal: bool = False) -> tuple[str, str, str, str]:
    def said(values: list[float]) -> str:
        found = f"p50 {statistics.median(values):.1f} ms, p95 {percentile(values, 0.95):.1f} ms"
        return f"{found}, largest {max(values):.1f} ms"

    met = "met" if percentile(times.wall, 0.95) <= GOAL_MS else "MISSED"
    bound = f"p95 at most {GOAL_MS:.0f} ms (wall: {met})" if goal else ""
    return what, said(times.wall), said(times.processor), bound


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_packing", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--places", type=int, default=8, help="of each package (8)")
    parser.add_argument("--words", type=int, default=16, help="typed at each place (16)")
    args = parser.parse_args(arguments)
    tokenizer = GgufTokenizer(corpora.vocabulary())
    files: dict[str, bytes] = {}
    places: list[Held] = []
    for package in REPORTED:
        if package.name in TOGETHER:
            found = load(package, 24, lambda _: 0)
            top = package.name.replace("/", "-").lstrip("@")
            files |= {f"{top}/{path}": data for path, data in found.files.items()}
            places += [replace(held, path=f"{top}/{held.path}") for held in found.held[: args.places]]
    section = f"{measure(files, places, tokenizer, args.words)}\n\n{circumstances(False)}\n"
    print(section)
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), section, HEADING, COMMAND))
    return 0


if __name__ == "__main__":
    sys.exit(main())
