"""The context that all requests of a repository to one engine share: the ledgers, kept between requests.

Completion, actions and refactors get the same system text and trunk and differ in their tails, so an engine
evaluates the trunk once. Files are read through `Sources` only; what it refuses is reported in `dropped`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from glm_lsp.core import layout, pack
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.errors import BudgetError, PolicyError, UsageError
from glm_lsp.core.generation import Engine, Prompt, Role, Segment, Thinking, Tokenizer
from glm_lsp.core.graph import Graph
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.rank import Candidate, Place, needed, prepare, rank, rank_for_task
from glm_lsp.core.snapshot import Snapshot, Sources
from glm_lsp.core.values import (
    Block,
    BlockKind,
    Budget,
    Document,
    Dropped,
    Refusal,
    RefusalKind,
    RepoIndex,
    Span,
    SymbolKind,
)
from glm_lsp.features import prompts

_BLOCKS = (SymbolKind.CLASS, SymbolKind.FUNCTION, SymbolKind.METHOD)
BODY_SHARE = 0.4
"""Of the head: what bodies may take. Signatures show ten times more definitions per token: the rest."""
MOST_BODIES = 12
MOST_NEEDED = 24
"""Definitions, best first, whose signatures a place cannot do without."""
MOST_LATE_BODIES = 3
"""Definitions that one request may append to the log."""
LATE_BODY_SHARE = 0.25
"""Of the log's share: the largest body that is appended."""
EDITS_SHARE = 0.4
"""Of the log's share: what appended bodies leave to edits."""
MOST_LEDGERS = 3
NEAR_BEFORE, NEAR_AFTER = 60, 20
"""Lines around the cursor whose names count as used near it."""
COUNTED_TEXTS = 4096
MOST_RECENT = 20
MOST_KNOWN = 100


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


_Known = tuple[str, tuple[str, ...]]
Fits = Callable[[int, int], bool]
"""Whether a tail whose window starts at this line (first) fits this many tokens (second)."""


class Session:
    """One repository with one engine. Requests may overlap; the ledger advances for one at a time."""

    def __init__(self, sources: Sources, engine: Engine, tokenizer: Tokenizer, profile: ModelProfile) -> None:
        self.sources = sources
        self.engine = engine
        self.tokenizer = tokenizer
        self.profile = profile
        self.count = lru_cache(maxsize=COUNTED_TEXTS)(tokenizer.count)
        self._graph = Graph(RepoIndex())
        self._ledgers: dict[int, Ledger] = {}
        self.known: dict[str, _Known] = {}
        """Digest and lines of files as they were last read."""
        self._recent: dict[str, None] = {}
        self._epochs = 0
        self._lock = asyncio.Lock()
        self._renewing = asyncio.Lock()

    async def prepare(self, snapshot: Snapshot, path: str) -> None:
        """Work out ahead, off the event loop, what the next request about a file would wait for."""
        graph = await self.graph(snapshot)
        await asyncio.to_thread(prepare, graph, path)

    async def gather(
        self, snapshot: Snapshot, path: str, offset: int, budget: Budget, *, task: str = ""
    ) -> Trunk:
        """The trunk for a request about `path` at byte `offset`, all edits told.

        With a `task` in words, what it names counts as needed, and all that the file uses.
        Raises PolicyError for a file that must not be sent, UsageError for a place that is not there and
        BudgetError where not even the system text fits.
        """
        document = await self.document(snapshot, path)
        check_offset(document, offset)
        visit = _Visit(
            self, snapshot, document, offset, budget=self.budget_tokens(snapshot, budget), task=task
        )
        return await self._advance(visit)

    async def gather_typing(
        self, snapshot: Snapshot, document: Document, offset: int, budget_tokens: int, fits: Fits
    ) -> Trunk:
        """As `gather`, for a completion: edits in the window where somebody types wait for the tail."""
        return await self._advance(_Visit(self, snapshot, document, offset, budget=budget_tokens, fits=fits))

    def budget_tokens(self, snapshot: Snapshot, budget: Budget) -> int:
        """Tokens that a prompt may have: the setting's or the profile's, within what `budget` leaves."""
        wanted = snapshot.settings.integer("context.budget_tokens") or self.profile.prompt_tokens
        return min(wanted, budget.prompt_tokens)

    async def document(self, snapshot: Snapshot, path: str) -> Document:
        """The file as it is in the editor, else on disk. Raises PolicyError or UsageError with the reason."""
        found = await self.read(snapshot, path)
        if isinstance(found, Document):
            return found
        if found.kind is RefusalKind.POLICY:
            raise PolicyError(found.reason)
        raise UsageError(found.reason)

    def overhead(self, thinking: Thinking = Thinking.OFF) -> int:
        """The template's own tokens."""
        probe = Prompt((Segment(Role.SYSTEM, "x"),), 0)
        return pack.prompt_tokens(probe, self.count, thinking, self.profile.template) - self.count("x")

    async def read(self, snapshot: Snapshot, path: str) -> Document | Refusal:
        """The gate: the policy's word counts for open files as well, then the editor's text."""
        found = await self.sources.read(path)
        opened = snapshot.documents.get(path)
        if opened is None or (isinstance(found, Refusal) and found.kind is RefusalKind.POLICY):
            return found
        most = snapshot.settings.integer("index.max_file_bytes")
        if len(opened.data) > most:
            size = f"{path} has {len(opened.data)} bytes, more than the {most} of index.max_file_bytes"
            return Refusal(path, RefusalKind.UNREADABLE, f"{size}; raise it to include the file.")
        if b"\0" in opened.data:
            return Refusal(path, RefusalKind.UNREADABLE, f"{path} is a binary file.")
        return opened

    async def _advance(self, visit: _Visit) -> Trunk:
        async with self._lock:
            path = visit.document.path
            self._recent.pop(path, None)
            self._recent[path] = None
            while len(self._recent) > MOST_RECENT:
                del self._recent[next(iter(self._recent))]
            old = self._ledgers.get(visit.budget)
            new = await visit.advance(old) if old else None
            if new is None or new.log_room < 0:
                self._epochs += 1
                new = await visit.begin(self._epochs)
            self._ledgers.pop(visit.budget, None)
            self._ledgers[visit.budget] = new
            while len(self._ledgers) > MOST_LEDGERS:
                del self._ledgers[next(iter(self._ledgers))]
            return visit.trunk(new)

    async def graph(self, snapshot: Snapshot) -> Graph:
        """The snapshot's index, made askable; brought up to date only when somebody asks."""
        if self._graph.index is snapshot.index:
            return self._graph
        async with self._renewing:
            if self._graph.index is not snapshot.index:
                self._graph = await asyncio.to_thread(self._graph.renewed, snapshot.index)
            return self._graph

    @property
    def recent(self) -> tuple[str, ...]:
        """Files that requests were about, the latest last."""
        return tuple(self._recent)


def check_offset(document: Document, offset: int) -> None:
    """Raise UsageError unless byte `offset` is a place between two characters of the document."""
    size = len(document.data)
    if not 0 <= offset <= size:
        raise UsageError(
            f"The place is outside the file: {document.path} has {size} bytes, and byte {offset} was meant."
        )
    if offset < size and document.data[offset] & 0xC0 == 0x80:
        raise UsageError(
            f"Byte {offset} of {document.path} is inside a character; give the place before or after it."
        )


class _Visit:
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
            raise BudgetError(
                f"A prompt budget of {self.budget} tokens is too small: the system text has {self.fixed}. "
                "Raise context.budget_tokens or --budget."
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

    async def _lines(self, path: str) -> _Known | Refusal:
        """Digest and lines of a file. One that is known as the index has it now is not read again."""
        if path == self.document.path:
            return self.document.digest, self.lines
        opened = self.snapshot.documents.get(path)
        digest = opened.digest if opened else self._outline_digest(path)
        known = self.session.known.get(path)
        if known is not None and digest and known[0] == digest:
            return known
        found = await self.session.read(self.snapshot, path)
        if isinstance(found, Refusal):
            return found
        if len(self.session.known) >= MOST_KNOWN:
            self.session.known.clear()
        known = self.session.known[path] = (found.digest, pack.lines_of(found.data))
        return known

    async def _current(self, path: str) -> tuple[str, ...] | None:
        """A followed file's lines as they are now, none where it is gone; None where it may not be sent."""
        found = await self._lines(path)
        if isinstance(found, Refusal):
            return None if found.kind is RefusalKind.POLICY else pack.lines_of(b"")
        return found[1]
