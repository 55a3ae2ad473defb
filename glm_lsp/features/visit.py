"""One request's work on a ledger: move it on to a place, or begin an epoch around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from glm_lsp.core import layout, pack
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.errors import BudgetError
from glm_lsp.core.generation import Segment
from glm_lsp.core.graph import Graph
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.rank import Candidate, Place, needed, rank, rank_for_task
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.told import Told
from glm_lsp.core.values import Block, BlockKind, Document, Dropped, Refusal, RefusalKind, Span, SymbolKind
from glm_lsp.features import prompts

if TYPE_CHECKING:
    from glm_lsp.features.session import Session

_BLOCKS = frozenset(SymbolKind) - {SymbolKind.VARIABLE}
BODY_SHARE = 0.4
"""Of the head: what bodies may take. Signatures show ten times more definitions per token: the rest."""
MOST_BODIES = 12
MOST_NEEDED = 24
"""Definitions, best first, whose signatures a place cannot do without."""
MOST_URGENT = 4
"""Of these, so many must be shown where another client's epoch is taken over."""
MOST_LATE_BODIES = 3
"""Definitions that one request may append to the log."""
LATE_BODY_SHARE = 0.25
"""Of the log's share: the largest body that is appended."""
EDITS_SHARE = 0.4
"""Of the log's share: what appended bodies leave to edits."""
NEAR_BEFORE, NEAR_AFTER = 60, 20
"""Lines around the cursor whose names count as used near it."""


@dataclass(frozen=True, slots=True)
class Trunk:
    """What stands above the tail. `tokens` counts it with the template's own; the tail may take `room`."""

    segments: tuple[Segment, ...]
    tokens: int
    room: int
    blocks: tuple[Block, ...]
    dropped: tuple[Dropped, ...]
    budget_tokens: int
    document: Document
    epoch: int
    window_start: int = 0
    """The first line that a completion's tail shows."""


Known = tuple[str, tuple[str, ...]]
"""Digest and lines of a file as it was last read."""
Fits = Callable[[int, int], bool]
"""Whether a tail whose window starts at this line (first) fits this many tokens (second)."""


class Visit:
    """One request's work on a ledger."""

    def __init__(
        self,
        session: Session,
        snapshot: Snapshot,
        document: Document,
        offset: int,
        *,
        budget: int,
        fits: Fits | None = None,
        task: str = "",
    ) -> None:
        self.session, self.snapshot, self.document, self.offset = session, snapshot, document, offset
        self.budget, self.fits, self.task, self.count = budget, fits, task, session.count
        self.lines = pack.lines_of(document.data)
        self.cursor_line = document.data.count(b"\n", 0, offset)
        self.dropped: list[Dropped] = []
        self.system = prompts.system()
        self.fixed = self.count(self.system) + session.overhead()
        outline = snapshot.index.outlines.get(document.path)
        symbols = outline.symbols if outline else ()
        self.starts = sorted({s.start_line for s in symbols if s.kind in _BLOCKS})

    async def begin(self, epoch: int) -> Ledger:
        """A new epoch around this place."""
        if self.fixed > self.budget:
            remedy = self.session.raise_what(self.snapshot, self.budget)
            raise BudgetError(
                f"A prompt budget of {self.budget} tokens is too small: the system text has {self.fixed}; "
                f"{remedy}."
            )
        graph, count = await self.session.graph(self.snapshot), self.count
        empty = ledgers.begin(epoch, self.budget, self.system, blocks=(), files={}, count=count)
        placed = self._placed(empty)
        candidates = await asyncio.to_thread(self._ranked, graph, placed)
        room = self.budget - self.fixed - int(self.budget * ledgers.LOG_SHARE) - self.tail_room()
        wanted = [c for c in candidates if c.certain and self._has_body(c)][:MOST_BODIES]
        files = await self._files(c.path for c in wanted)
        bodies = await asyncio.to_thread(pack.bodies, wanted, files, count, int(room * BODY_SHARE))
        shown = {(b.path, name) for b in bodies.blocks for name in b.symbols}
        rest = [c for c in candidates if (c.path, c.symbol.qualified) not in shown]
        outline = await asyncio.to_thread(pack.outline, graph, rest, count, room - bodies.tokens)
        outlined = {b.path: self._outline_digest(b.path) for b in outline.blocks}
        begun = ledgers.begin(
            epoch,
            self.budget,
            self.system,
            blocks=(*outline.blocks, *bodies.blocks),
            files=files,
            count=count,
            dropped=(*self.dropped, *bodies.dropped, *outline.dropped),
        )
        begun = replace(begun, window=placed.window, outlined=outlined)
        return ledgers.follow(begun, self.document.path, self.lines)

    async def take_over(self, told: Told, epoch: int) -> Ledger | None:
        """Another client's epoch, moved on to this place; None where it may not or had better not be.

        It may not where something that it shows is refused by now (ignored, a secret), or is gone in a way
        that the log cannot tell. It had better not where the log has no room for what has changed and for
        the `MOST_URGENT` definitions that this place needs most: that is all it takes, for a head that was
        chosen for another place costs a little, and reading a new one as much as the whole prompt.
        """
        ledger = await asyncio.to_thread(told.ledger, epoch, self.budget, self.system, self.count)
        tokens = ledger.head_tokens + self.session.overhead()
        if tokens + int(self.budget * ledgers.LOG_SHARE) + self.tail_room() > self.budget:
            return None
        for path in told.paths:
            if path != self.document.path:
                found = await self.session.read(self.snapshot, path)
                gone = isinstance(found, Refusal) and path not in ledger.tracked
                if gone or (isinstance(found, Refusal) and found.kind is RefusalKind.POLICY):
                    return None
        graph = await self.session.graph(self.snapshot)
        for path, names in told.signatures.items():
            if not names <= graph.symbols(path).keys() and (self.fits is None or path != self.document.path):
                return None
        new = await self.advance(ledger)
        if new is None or new.log_room < 0:
            return None
        wanted = [c for c in self._needed(graph, new) if not self._in_window(c, new)][:MOST_URGENT]
        return new if all(new.shows(c.path, c.symbol.qualified) for c in wanted) else None

    async def advance(self, ledger: Ledger) -> Ledger | None:
        """The ledger moved on to this request; None where what it shows may no longer be sent."""
        before = ledger.window
        if self.fits is not None:
            ledger = self._placed(ledger)
        for path in list(ledger.tracked):
            lines = await self._current(path)
            if lines is None:
                return None
            ledger = ledgers.with_edits(ledger, path, lines, self.count, self.fits is not None)
        for path, digest in list(ledger.outlined.items()):
            now = self._outline_digest(path)
            if now != digest and (self.fits is None or path != self.document.path):
                symbols = (await self.session.graph(self.snapshot)).symbols(path)
                ledger = ledgers.with_signatures(ledger, path, now, symbols, self.count)
        ledger = ledgers.follow(ledger, self.document.path, self.lines)
        after = ledger.window
        if self.fits is None or before is None or after is None:
            return await self._with_needed(ledger)
        if before.path != after.path:
            return await self._with_needed(ledger, elsewhere=True)
        if before.start_line != after.start_line:
            return await self._with_needed(ledger)
        # What is appended moves the tail, which is then evaluated anew: within a window only the most needed.
        return ledger if before.cursor_line == after.cursor_line else await self._with_most_needed(ledger)

    async def _with_needed(self, ledger: Ledger, elsewhere: bool = False) -> Ledger | None:
        """Append what is used here for certain and not shown yet: signatures first, then source.

        None where somebody works in another file than before (`elsewhere`) and the log has no room for the
        signatures that are missing there: a new epoch serves that place better.
        """
        share = ledger.budget_tokens * ledgers.LOG_SHARE
        graph = await self.session.graph(self.snapshot)
        wanted = [c for c in self._needed(graph, ledger) if not self._in_window(c, ledger)]
        missing = [c for c in wanted[:MOST_NEEDED] if not ledger.shows(c.path, c.symbol.qualified)]
        room = int(ledger.log_room - EDITS_SHARE * share)
        signatures = pack.outline(graph, missing, self.count, room)
        if elsewhere and signatures.dropped:
            return None
        outlined = {b.path: self._outline_digest(b.path) for b in signatures.blocks}
        late = [replace(b, kind=BlockKind.LOG) for b in signatures.blocks]
        ledger = ledgers.with_log(ledger, late, self.count)
        ledger = replace(ledger, outlined={**outlined, **ledger.outlined})
        return await self._with_bodies(ledger, [c for c in missing if self._has_body(c)][:MOST_LATE_BODIES])

    async def _with_most_needed(self, ledger: Ledger) -> Ledger:
        graph = await self.session.graph(self.snapshot)
        best = self._needed(graph, ledger)[: 2 * MOST_LATE_BODIES]
        missing = [c for c in best if self._has_body(c) and not ledger.shows(c.path, c.symbol.qualified)]
        return await self._with_bodies(ledger, missing[:MOST_LATE_BODIES])

    async def _with_bodies(self, ledger: Ledger, wanted: Sequence[Candidate]) -> Ledger:
        share = ledger.budget_tokens * ledgers.LOG_SHARE
        files = await self._files(c.path for c in wanted)
        for candidate in wanted:
            lines = files.get(candidate.path)
            if lines is None or ledger.tracked.get(candidate.path, lines) != lines:
                continue
            block = pack.body(candidate, lines, self.count)
            if block.tokens <= min(LATE_BODY_SHARE * share, ledger.log_room - EDITS_SHARE * share):
                ledger = ledgers.with_source(ledger, block, lines, self.count)
        return ledger

    def _in_window(self, candidate: Candidate, ledger: Ledger) -> bool:
        """Whether the tail shows where the candidate is defined."""
        window = ledger.window
        if candidate.path != self.document.path or self.fits is None or window is None:
            return False
        return window.start_line <= candidate.symbol.start_line <= self.cursor_line + layout.SUFFIX_LINES

    def trunk(self, ledger: Ledger) -> Trunk:
        tokens = sum(s.tokens for s in ledger.segments) + self.session.overhead()
        return Trunk(
            segments=ledger.segments,
            tokens=tokens,
            room=self.budget - tokens,
            blocks=ledger.blocks,
            dropped=tuple(dict.fromkeys((*ledger.dropped, *self.dropped))),
            budget_tokens=self.budget,
            document=self.document,
            epoch=ledger.epoch,
            window_start=ledger.window.start_line if ledger.window else 0,
        )

    def tail_room(self) -> int:
        """Tokens kept free for the tail through an epoch."""
        left = self.budget - self.fixed - int(self.budget * ledgers.LOG_SHARE)
        return min(int(self.budget * ledgers.TAIL_SHARE), left)

    def _placed(self, ledger: Ledger) -> Ledger:
        fits, room = self.fits, self.tail_room()
        return ledgers.place_window(
            ledger,
            self.document.path,
            self.lines,
            starts=self.starts,
            cursor_line=self.cursor_line,
            most_lines=self.snapshot.settings.integer("context.window_lines"),
            fits=(lambda start: fits(start, room)) if fits else (lambda start: True),
        )

    def _ranked(self, graph: Graph, ledger: Ledger) -> tuple[Candidate, ...]:
        if self.task:
            return rank_for_task(graph, [self.document.path], self.task)
        return rank(graph, self._place(ledger))

    def _needed(self, graph: Graph, ledger: Ledger) -> tuple[Candidate, ...]:
        """As `_ranked`, what is certain only."""
        if self.task:
            return tuple(c for c in self._ranked(graph, ledger) if c.certain)
        return needed(graph, self._place(ledger))

    def _place(self, ledger: Ledger) -> Place:
        first = max(0, self.cursor_line - NEAR_BEFORE)
        near = "\n".join(self.lines[first : self.cursor_line + NEAR_AFTER])
        window = ledger.window if ledger.window and ledger.window.path == self.document.path else None
        start = pack.line_offset(self.document.data, window.start_line if window else self.cursor_line)
        hidden = Span(min(start, self.offset), self.offset)
        recent = tuple(p for p in self.session.recent if p != self.document.path)
        return Place(self.document.path, self.offset, near, self.cursor_line - first, (hidden,), recent)

    def _has_body(self, candidate: Candidate) -> bool:
        """Whether its source says more than its signature, and is not what the tail shows."""
        symbol = candidate.symbol
        around = bool(self.task) or symbol.span.start <= self.offset <= symbol.span.end
        return symbol.kind in _BLOCKS and not (around and candidate.path == self.document.path)

    def _outline_digest(self, path: str) -> str:
        outline = self.snapshot.index.outlines.get(path)
        return outline.digest if outline else ""

    async def _files(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The lines of files that may be shown and are as the index knows them; the others are reported."""
        files: dict[str, tuple[str, ...]] = {}
        for path in dict.fromkeys(paths):
            found = await self._lines(path)
            if isinstance(found, Refusal):
                self.dropped.append(Dropped(path, (), 0, found.reason))
            elif found[0] == self._outline_digest(path):
                files[path] = found[1]
        return files

    async def _lines(self, path: str) -> Known | Refusal:
        if path == self.document.path:
            return self.document.digest, self.lines
        return await self.session.lines(self.snapshot, path)

    async def _current(self, path: str) -> tuple[str, ...] | None:
        """A followed file's lines as they are now, none where it is gone; None where it may not be sent."""
        found = await self._lines(path)
        if isinstance(found, Refusal):
            return None if found.kind is RefusalKind.POLICY else pack.lines_of(b"")
        return found[1]
