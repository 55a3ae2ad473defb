"""One run over some files: what has changed is outlined, what has not is kept, and the rest left out.

Runs of many files take turns with those of other processes on the same repository: who waited finds what
the other one has saved, and does nothing twice.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from glm_lsp.core.values import FileOutline
from glm_lsp.workspace.discovery import Listing, Skipped
from glm_lsp.workspace.encoding import Facts
from glm_lsp.workspace.held import Held
from glm_lsp.workspace.indexer import Indexer
from glm_lsp.workspace.known import Known, Plan
from glm_lsp.workspace.messages import Job
from glm_lsp.workspace.stamps import Stat

FEW = 64
"""Files up to this number are outlined without waiting for other processes."""
WAIT_S = 0.05
PACE_S, PACE_STEP_S = 20.0, 0.5
"""So long is looked back to tell the pace, and so often it is noted."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class IndexReport:
    """What an index run found. `bytes` and `seconds` are of this run; `skipped` is sorted by path."""

    files: int
    symbols: int
    references: int
    bytes: int
    seconds: float
    skipped: tuple[Skipped, ...]
    held_back: tuple[Held, ...] = ()


class Pace:
    """How long the rest of a run takes, by how fast it went lately.

    What was known already is passed in one step at the beginning and says nothing about it, and neither does
    the time that another process was waited for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first = 0
        self._seen: deque[tuple[float, int]] = deque()

    def left_s(self, done: int, total: int) -> float | None:
        """Seconds; None as long as nobody can say."""
        now, seen = self._clock(), self._seen
        if done <= 0 or done < self._first or not self._first:
            seen.clear()
            self._first = max(done, 0)
        if done <= self._first:
            return None  # what was known, and the start of the first process
        if not seen or now - seen[-1][0] >= PACE_STEP_S:
            seen.append((now, done))
            while now - seen[0][0] > PACE_S and len(seen) > 2:
                seen.popleft()
        elapsed_s, files = now - seen[0][0], done - seen[0][1]
        return (total - done) * elapsed_s / files if files > 1 and elapsed_s >= PACE_STEP_S else None


class Telling:
    """What a person is told while an index is made: no time that nobody can know yet, and what takes it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace(clock)

    def text(self, done: int, total: int) -> str:
        """A phrase. Before anything is listed `total` is 0."""
        if not total:
            return "listing files"
        left_s = self._pace.left_s(done, total)
        if done >= total:
            return f"{total:,} files, saving"
        if left_s is None:
            return f"{done:,} of {total:,} files"
        left = f"{left_s:.0f} s" if left_s < 100 else f"{left_s / 60:.0f} min"
        return f"{done:,} of {total:,} files, {left} left"


class Run:
    """Brings what is known up to date with some files. Used once."""

    def __init__(
        self,
        known: Known,
        job: Job,
        workers: int,
        progress: Progress | None = None,
        took: Callable[[str, FileOutline | None], None] | None = None,
    ) -> None:
        """`took` is told of each outline as soon as it is there."""
        self._known = known
        self._progress, self._took = progress, took
        self._plan = Plan()
        self._left: list[Skipped] = []
        self._same: list[str] = []
        self._done = self._total = 0
        self._indexer = Indexer(job, self, workers=workers)

    def begin(self) -> None:
        """Where nothing is known, make ready for many files while they are still being listed."""
        if not self._known.saved:
            self._indexer.begin()

    async def end(self) -> None:
        """Leave nothing behind. Awaited by who has called `begin`, whatever came of it."""
        await self._indexer.end()

    async def bring(
        self, paths: Sequence[str], *, whole: bool, stats: Mapping[str, Stat] | None = None
    ) -> None:
        """Look at `paths`; with `whole` there are no other files. Raises GlmError where nothing starts.

        `stats`: what has just been seen of them, if anything.
        """
        self._total = len(paths)
        known = self._known
        plan = self._plan = await asyncio.to_thread(known.check, paths, whole=whole, stats=stats or {})
        waited = False
        try:
            if len(plan.todo) > FEW:
                while not known.take_turn():
                    waited = True
                    self._say(0)
                    await asyncio.sleep(WAIT_S)
            if waited:
                await asyncio.to_thread(known.load, again=True)
                plan = self._plan = await asyncio.to_thread(known.check, paths, whole=whole)
            if plan.kept:
                self._say(len(plan.kept))
            if plan.todo:
                sizes = {path: seen.size for path, seen in plan.stats.items()}
                await self._indexer.run(plan.todo, plan.digests, sizes)
            await asyncio.to_thread(self._close, paths if whole else None, len(plan.todo) > FEW)
        finally:
            known.end_turn()

    def _close(self, paths: Sequence[str] | None, many: bool) -> None:
        for path in self._same:
            self._known.same(path, self._plan.stats.get(path))
        for skipped in self._left:
            self._known.leave(skipped, self._plan.stats.get(skipped.path))
        if paths is not None:
            self._known.keep_only(paths)
        if many or paths is not None:
            self._known.save()

    def outlined(self, path: str, record: bytes, first: Facts) -> None:
        found = self._known.add(path, record, first, self._plan.stats.get(path))
        if self._took is not None:
            self._took(path, found)
        self._say(1)

    def unchanged(self, path: str) -> None:
        self._same.append(path)
        self._say(1)

    def skipped(self, skipped: Skipped) -> None:
        self._left.append(skipped)
        if self._took is not None:
            self._took(skipped.path, None)
        self._say(1)

    def _say(self, more: int) -> None:
        self._done += more
        if self._progress is not None:
            self._progress(self._done, self._total)


def report(known: Known, listing: Listing, seconds: float) -> IndexReport:
    """What there is now of the files that were listed."""
    symbols = references = size = files = 0
    held: list[Held] = []
    skipped = list(listing.skipped)
    for path in listing.paths:
        outline = known.outline(path)
        if outline is None:
            if reason := known.reason(path):
                skipped.append(Skipped(path, reason))
            continue
        files += 1
        more = known.counts(path)
        symbols, references, size = symbols + more[0], references + more[1], size + outline.size_bytes
        held += [Held(path, place, outline.digest) for place in outline.held]
    held.sort(key=lambda h: (h.path, h.line))
    skipped.sort(key=lambda s: s.path)
    return IndexReport(files, symbols, references, size, seconds, tuple(skipped), tuple(held))
