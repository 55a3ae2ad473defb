"""One request's work on a ledger: move it on to a place, or begin an epoch around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from glm_lsp.core import layout, lean, pack, shares
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.errors import BudgetError
from glm_lsp.core.generation import Segment
from glm_lsp.core.graph import Graph
from glm_lsp.core.ledger import Ledger, Window
from glm_lsp.core.rank import Candidate, Place, needed, rank, rank_for_task
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.told import Told
from glm_lsp.core.values import Block, Document, Dropped, Refusal, RefusalKind, Span, SymbolKind
from glm_lsp.features import head, late, outlines, prompts

if TYPE_CHECKING:
    from glm_lsp.features.session import Session

_BLOCKS = frozenset(SymbolKind) - {SymbolKind.VARIABLE}
MOST_TOLD, MOST_TOLD_RECENT, RECENT = 120, 600, 4
"""Tokens of edits at once to a file that nobody works on, and to one of the last files worked on."""
MOST_REST_BYTES = 4096
MOST_URGENT = 4
"""Of these, so many must be told where another client's epoch is taken over; the others can wait."""
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
    suffix_lines: int = layout.SUFFIX_LINES
    """Lines after the cursor's that it shows."""
    before: str = ""
    """Where that is not all that the line has: what it shows of the cursor's line before the cursor."""
    after: tuple[str, ...] = ()
    """The suffix that it shows, where that is not all that the lines have."""
    place: str = ""
    """Its title, where that is more than the path."""


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
        turns: bool = False,
        task: str = "",
        wanted: Sequence[Candidate] = (),
    ) -> None:
        """`wanted`: what the trunk should tell, nearest first, in place of what is found for this place.

        `turns`: the answer is begun for the model, so that what was typed can be left standing as an answer.
        """
        self.wanted, self.turns = tuple(wanted), turns
        self.session, self.snapshot, self.document, self.offset = session, snapshot, document, offset
        self.budget, self.fits, self.task, self.count = budget, fits, task, session.count
        self.lines = session.lines_of(document)
        self.cursor_line = document.data.count(b"\n", 0, offset)
        begins = document.data.rfind(b"\n", 0, offset) + 1
        self.before = pack.lines_of(document.data[begins:offset])[0]
        rest = pack.lines_of(document.data[offset:][:MOST_REST_BYTES])[0]
        following = self.lines[self.cursor_line + 1 :][: lean.MOST_SUFFIX_LINES]
        self.after = lean.suffix_of((rest, *following))
        self.dropped: list[Dropped] = []
        self.idle = False
        """Nobody waits for the answer."""
        self.files_moved = False
        """Whether the index has more or fewer files than at the last request with this budget."""
        self.system = prompts.system()
        self.fixed = self.count(self.system) + session.overhead()
        outline = snapshot.index.outlines.get(document.path)
        symbols = outline.symbols if outline else ()
        self.symbols = tuple(s for s in symbols if s.kind in _BLOCKS)
        self.starts = sorted({s.start_line for s in self.symbols})
        self.lean = budget >= ledgers.LEAN_TOKENS
        """Whether the trunk tells files, and the tail little."""
        share = snapshot.settings.number("context.log_share")
        self.log_share = int(budget * share) if share else ledgers.log_share(budget)

    async def begin(self, epoch: int) -> Ledger:
        """A new epoch around this place."""
        if self.fixed > self.budget:
            remedy = self.session.raise_what(self.snapshot, self.budget)
            raise BudgetError(
                f"A prompt budget of {self.budget} tokens is too small: the system text has {self.fixed}; "
                f"{remedy}."
            )
        if said := shares.objection(self.snapshot.settings, self.budget, self.fixed):
            raise BudgetError(said)
        graph, count = await self.session.graph(self.snapshot), self.count
        empty = ledgers.begin(epoch, self.budget, self.system, blocks=(), files={}, count=count)
        placed = empty if self.lean else self._placed(empty)
        candidates = await asyncio.to_thread(self._ranked, graph, placed)
        room = self.budget - self.fixed - self.log_share - self.tail_room()
        make = head.of_files if self.lean and not self.wanted else head.of_definitions
        chosen = await make(self, graph, candidates, room)
        outlined = {b.path: self.outline_digest(b.path) for b in chosen.outline}
        begun = ledgers.begin(
            epoch,
            self.budget,
            self.system,
            blocks=(*chosen.outline, *chosen.sources),
            files=chosen.files,
            count=count,
            dropped=(*self.dropped, *chosen.dropped),
        )
        known = {block.path: graph.symbols(block.path) for block in begun.head_blocks} if self.lean else {}
        begun = replace(begun, window=placed.window, outlined=outlined, known=known, log_most=self.log_share)
        begun = ledgers.follow(begun, self.document.path, self.lines)
        if self.fits is None:
            return begun
        if self.lean:
            begun = self._begun(begun, self.fits, None, stands=False)
        # What whoever takes this epoch over at this place would have to add.
        begun = await late.with_needed(self, begun, most=MOST_URGENT) or begun
        return lean.bound(begun) if self.lean else begun

    async def take_over(self, told: Told, epoch: int) -> Ledger | None:
        """Another client's epoch, moved on to this place; None where it may not or had better not be.

        It may not where something that it shows is refused by now (ignored, a secret), or is gone in a way
        that the log cannot tell. It had better not where the log has no room for what has changed and for
        the `MOST_URGENT` definitions that this place needs most: that is all it takes, for a head that was
        chosen for another place costs a little, and reading a new one as much as the whole prompt. For a
        completion only these are added, so that one at the same place evaluates nothing again.
        """
        ledger = await asyncio.to_thread(told.ledger, epoch, self.budget, self.system, self.count)
        ledger = replace(ledger, log_most=self.log_share)
        tokens = ledger.head_tokens + self.session.overhead()
        if tokens + self.log_share + self.tail_room() > self.budget:
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
        new = await self.advance(ledger, most=MOST_URGENT if self.fits is not None else late.MOST_NEEDED)
        if new is None or new.log_room < 0:
            return None
        if self.lean:
            return new  # its head is for anywhere in the repository
        wanted = [c for c in self.needed(graph, new) if not late.in_window(self, c, new)][:MOST_URGENT]
        return new if all(late.told_of(self, c, new) for c in wanted) else None

    async def advance(self, ledger: Ledger, most: int = late.MOST_NEEDED) -> Ledger | None:
        """The ledger moved on to this request; None where what it shows may no longer be sent.

        Where it comes from another place, `most` definitions of those that this one needs are told of.
        """
        before = ledger.window
        ledger = replace(ledger, requests=ledger.requests + 1)
        if self.lean:
            return await self._advance_lean(ledger, most)
        told = await self._told(self._placed(ledger) if self.fits is not None else ledger)
        if told is None:
            return None
        ledger = ledgers.follow(told, self.document.path, self.lines)
        after = ledger.window
        if self.fits is None or before is None or after is None:
            return await late.with_needed(self, ledger, most=most)
        if before.path != after.path:
            return await late.with_needed(self, ledger, elsewhere=True)
        if before.start_line != after.start_line:
            return await late.with_needed(self, ledger)
        # What is appended moves the tail, which is then evaluated anew: within a window only the most needed.
        same = before.cursor_line == after.cursor_line and not self.anew(before)
        return ledger if same else await late.with_most_needed(self, ledger)

    async def _advance_lean(self, ledger: Ledger, most: int) -> Ledger | None:
        """As `advance`: the tail goes on where it can, else it is left in the log, and another one begins."""
        path, old = self.document.path, ledger.window
        ledger = ledgers.follow(ledger, path, self.lines)
        if self.fits is not None and old is not None and self._goes_on(ledger, old, self.fits):
            window = lean.typed(old, self.before, self.lines, self.cursor_line)
            same = replace(ledger, window=window)
            told = await self._told(same)
            if told is None:
                return None
            if len((await late.with_named(self, told, old)).log) == len(same.log):
                return told
        stood = ledgers.left(ledger, self.count)
        if self.fits is not None:
            stands = len(stood.log) > len(ledger.log)
            stood = self._begun(stood, self.fits, old, stands=stands)
        told = await self._told(stood)
        if told is None:
            return None
        moved = await late.with_needed(self, told, most=most)
        return lean.bound(moved) if moved is not None else None

    def anew(self, before: Window) -> bool:
        """Whether the names on the cursor's line may mean something else than when its window was last shown:
        lines above it have changed (an import, for one), or files have come or gone.
        """
        line = self.cursor_line
        return self.files_moved or before.lines[:line] != self.lines[:line]

    def _goes_on(self, ledger: Ledger, window: Window, fits: Fits) -> bool:
        most = self.snapshot.settings.integer("context.window_lines")
        return (
            lean.stays(ledger, self.document.path, self.lines, self.cursor_line, self.after)
            and self.cursor_line - window.start_line <= most
            and fits(window.start_line, self.tail_room())
        )

    async def _told(self, ledger: Ledger) -> Ledger | None:
        """The ledger that tells what has changed in each followed file, but where somebody types.

        None where what it shows may no longer be sent.
        """
        typing = self.fits is not None
        for path in list(ledger.tracked):
            lines = await self._current(path)
            if lines is None:
                return None
            most = self._most_told(path) if self.lean else None
            ledger = ledgers.with_edits(ledger, path, lines, self.count, typing=typing, most=most)
        return await outlines.told(self, ledger)

    def _most_told(self, path: str) -> int | None:
        """Tokens of edits to a file that are told; of more only that there are. None: all."""
        if path == self.document.path:
            return None
        return MOST_TOLD_RECENT if path in self.session.recent[-RECENT:] else MOST_TOLD

    def trunk(self, ledger: Ledger) -> Trunk:
        tokens = sum(s.tokens for s in ledger.segments) + ledger.turn_tokens + self.session.overhead()
        window = ledger.window if self.fits is not None else None
        return Trunk(
            segments=ledger.segments,
            tokens=tokens,
            room=self.budget - tokens,
            blocks=ledger.blocks,
            dropped=tuple(dict.fromkeys((*ledger.dropped, *self.dropped))),
            budget_tokens=self.budget,
            document=self.document,
            epoch=ledger.epoch,
            window_start=window.start_line if window else 0,
            suffix_lines=max(1, len(window.after) - 1) if window and window.after else layout.SUFFIX_LINES,
            before=window.before if window and window.clip else "",
            after=window.after if window else (),
            place=window.at if window else "",
        )

    def tail_room(self) -> int:
        """Tokens kept free for the tail through an epoch."""
        left = self.budget - self.fixed - self.log_share
        share = self.snapshot.settings.number("context.tail_share")
        return min(int(self.budget * share) if share else ledgers.tail_share(self.budget), left)

    def _begun(self, ledger: Ledger, fits: Fits, old: Window | None, *, stands: bool) -> Ledger:
        room = self.tail_room()
        return lean.place(
            ledger,
            self.document.path,
            self.lines,
            after=self.after,
            before=self.before,
            language=self.document.language,
            old=old,
            stands=stands,
            starts=self.starts,
            cursor_line=self.cursor_line,
            fits=lambda start: fits(start, room),
            inside=self._inside,
            turn=self.turns,
        )

    def _inside(self, line: int) -> str:
        """The innermost definition that begins above a line and ends at the cursor or after it."""
        around = [s for s in self.symbols if s.start_line < line and s.end_line >= self.cursor_line]
        return max(around, key=lambda s: s.start_line).qualified if around else ""

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
        if self.wanted:
            return self.wanted
        if self.task:
            return rank_for_task(graph, [self.document.path], self.task)
        return rank(graph, self._place(ledger))

    def needed(self, graph: Graph, ledger: Ledger) -> tuple[Candidate, ...]:
        """As `_ranked`, what is certain only."""
        if self.task or self.wanted:
            return tuple(c for c in self._ranked(graph, ledger) if c.certain)
        return needed(graph, self._place(ledger))

    def _place(self, ledger: Ledger) -> Place:
        first = max(0, self.cursor_line - NEAR_BEFORE)
        near = self.near()
        window = ledger.window if ledger.window and ledger.window.path == self.document.path else None
        start = pack.line_offset(self.document.data, window.start_line if window else self.cursor_line)
        hidden = Span(min(start, self.offset), self.offset)
        recent = tuple(p for p in self.session.recent if p != self.document.path)
        changed = self.snapshot.history.partners(self.document.path)
        line = self.cursor_line - first
        return Place(self.document.path, self.offset, near, line, (hidden,), recent, changed)

    def near(self) -> str:
        """The text around the cursor."""
        return "\n".join(self.lines[max(0, self.cursor_line - NEAR_BEFORE) : self.cursor_line + NEAR_AFTER])

    def has_body(self, candidate: Candidate) -> bool:
        """Whether its source says more than its signature, and is not what the tail shows."""
        symbol = candidate.symbol
        around = bool(self.task) or symbol.span.start <= self.offset <= symbol.span.end
        return symbol.kind in _BLOCKS and not (around and candidate.path == self.document.path)

    def outline_digest(self, path: str) -> str:
        outline = self.snapshot.index.outlines.get(path)
        return outline.digest if outline else ""

    async def files(self, paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The lines of files that may be shown and are as the index knows them; the others are reported."""
        files: dict[str, tuple[str, ...]] = {}
        for path in dict.fromkeys(paths):
            found = await self._lines(path)
            if isinstance(found, Refusal):
                self.dropped.append(Dropped(path, (), 0, found.reason))
            elif found[0] == self.outline_digest(path):
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
