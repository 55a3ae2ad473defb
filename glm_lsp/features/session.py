"""The context that all requests of a repository to one engine share: the ledgers, kept between requests.

Completion, actions and refactors get the same system text and trunk and differ in their tails, so an engine
evaluates the trunk once. Files are read through `Sources` only; what it refuses is reported in `dropped`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from glm_lsp.core import ledger as ledgers
from glm_lsp.core import pack
from glm_lsp.core.errors import PolicyError, PromptTooLong, UsageError
from glm_lsp.core.generation import Engine, Prompt, Role, Segment, Thinking, Tokenizer
from glm_lsp.core.graph import Graph
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.rank import Candidate, prepare
from glm_lsp.core.secrets import masked
from glm_lsp.core.snapshot import Snapshot, Sources
from glm_lsp.core.told import Told
from glm_lsp.core.values import Budget, Document, Refusal, RefusalKind, RepoIndex
from glm_lsp.features.gate import Gate
from glm_lsp.features.turn import turned
from glm_lsp.features.visit import Fits, Known, Trunk, Visit

__all__ = ["Session", "Trunk", "check_offset"]

MOST_LEDGERS = 3
SMALLER = 0.6
"""What is left of a prompt that was too long, where the engine does not say how long it may be."""
LEAST_TOKENS = 256
"""An engine that takes fewer takes nothing that helps."""
MOST_RECENT = 20
MUCH_TOLD = 300
"""Tokens that one request adds to the log: then an earlier state of it may be nearer to how things are."""
MOST_PAST = 6
"""Such states that are kept."""
MOST_LEFT = 6
MOST_KNOWN = 100
MOST_AHEAD = 24
"""Imported files that are read before anybody needs them."""


class Ledgers(Protocol):
    """What the clients of one engine tell each other, for one repository and one set of rules.

    By budget in tokens. Never another repository's, and nothing that was made under other rules of what may
    enter a prompt.
    """

    async def latest(self, budget_tokens: int) -> tuple[Told, ...]:
        """States to go on from, the best first; none where there is none."""
        ...

    def publish(self, budget_tokens: int, ledger: Ledger) -> None:
        """Others may go on from this state. Returns at once."""
        ...

    def beginning(self, budget_tokens: int) -> AbstractAsyncContextManager[None]:
        """While one client begins an epoch, the others wait: at the end they find what was published."""
        ...


class Session:
    """One repository with one engine. Requests may overlap; the ledger advances for one at a time.

    With `shared`, an epoch is begun only where no other client's can be taken over (`Visit.take_over`).
    """

    def __init__(
        self,
        sources: Sources,
        engine: Engine,
        tokenizer: Tokenizer,
        profile: ModelProfile,
        shared: Ledgers | None = None,
        *,
        allowed: frozenset[str] = frozenset(),
    ) -> None:
        """`allowed`: fingerprints of what passes the gate (`core.secrets.allow`)."""
        self.sources = sources
        self._allowed = allowed
        self._engine = Gate(engine, allowed)
        self.tokenizer = tokenizer
        self.profile = profile
        self._shared = shared
        self.count = tokenizer.count
        """Not remembered here: a bound that learns counts the same text otherwise."""
        self._most = 0
        """Tokens of a prompt, since the engine has refused a longer one; 0: it has not."""
        self._graph = Graph(RepoIndex())
        self._ledgers: dict[int, Ledger] = {}
        self._past: dict[int, list[Ledger]] = {}
        """Earlier states of ledgers: how things were before many changed at once."""
        self._left: dict[int, list[Told]] = {}
        """By budget: epochs that were left for others, the latest first."""
        self._known: dict[str, Known] = {}
        """Digest and lines of files as they were last read."""
        self._files: dict[int, int] = {}
        """By budget: how many files the index had at the last request."""
        self._recent: dict[str, None] = {}
        self.waiting: object = None
        """What a visit has found of files that have changed and are not used where it was (`Visit`)."""
        self.parses: dict[str, tuple[str, bool]] = {}
        """Digest of open files that have changed, and whether they parse."""
        self._epochs = 0
        self._lock = asyncio.Lock()
        self._renewing = asyncio.Lock()

    @property
    def engine(self) -> Engine:
        """What is asked; everything that is said to it passes the gate for secrets."""
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = Gate(engine, self._allowed)

    async def prepare(self, snapshot: Snapshot, path: str) -> None:
        """Work out ahead, off the event loop, what the next request about a file would wait for."""
        graph = await self.graph(snapshot)
        await asyncio.to_thread(self._count_ahead, graph, path)
        for near in sorted(graph.imported(path))[:MOST_AHEAD]:
            await self.lines(snapshot, near)

    def _count_ahead(self, graph: Graph, path: str) -> None:
        for target in prepare(graph, path):
            if (symbol := graph.symbol(target)) is not None:
                self.count(pack.signature_lines(symbol) + "\n")

    async def gather(
        self,
        snapshot: Snapshot,
        path: str,
        offset: int,
        budget: Budget,
        *,
        task: str = "",
        wanted: Sequence[Candidate] = (),
    ) -> Trunk:
        """The trunk for a request about `path` at byte `offset`, all edits told.

        With a `task` in words, what it names counts as needed, and all that the file uses. With `wanted`
        definitions these are what is needed, so that requests about many files share all of the trunk.
        Raises PolicyError for a file that must not be sent, UsageError for a place that is not there and
        BudgetError where not even the system text fits.
        """
        document = await self.document(snapshot, path)
        check_offset(document, offset)
        visit = Visit(
            self,
            snapshot,
            document,
            offset,
            budget=self.budget_tokens(snapshot, budget),
            task=task,
            wanted=wanted,
        )
        return await self._advance(visit)

    async def gather_typing(
        self,
        snapshot: Snapshot,
        document: Document,
        offset: int,
        budget_tokens: int,
        fits: Fits,
        *,
        turns: bool = False,
        idle: bool = False,
    ) -> Trunk:
        """As `gather`, for a completion: edits in the window where somebody types wait for the tail.

        `turns`: the tail begins the model's answer, which may stay in the log.
        """
        visit = Visit(self, snapshot, document, offset, budget=budget_tokens, fits=fits, turns=turns)
        visit.idle = idle
        return await self._advance(visit)

    def budget_tokens(self, snapshot: Snapshot, budget: Budget) -> int:
        """Tokens that a prompt may have: the setting's or the profile's, within what `budget` leaves."""
        most = min(self._wanted_tokens(snapshot), budget.prompt_tokens)
        return min(most, self._most) if self._most else most

    def shrink(self, prompt: Prompt, error: PromptTooLong, reply_tokens: int) -> None:
        """The engine has refused this prompt as too long: from now on they are smaller.

        By its own figures where it gives some, but neither by almost nothing nor by almost all.
        """
        share = SMALLER
        if error.counted > 0 and error.taken > 0:
            share = 0.98 * (error.taken - reply_tokens) / error.counted
        self._most = max(int(prompt.tokens * min(max(share, 0.2), 0.9)), LEAST_TOKENS)

    def _wanted_tokens(self, snapshot: Snapshot) -> int:
        return snapshot.settings.integer("context.budget_tokens") or self.profile.prompt_tokens

    def raise_what(self, snapshot: Snapshot, budget_tokens: int) -> str:
        """Where a prompt does not fit into `budget_tokens`: what to raise, as the end of a sentence."""
        if self._most and budget_tokens <= self._most:
            return "raise what the engine holds, for it has refused a longer prompt"
        if budget_tokens >= self._wanted_tokens(snapshot):
            return "raise context.budget_tokens or --budget"
        if not self.engine.facts.local:
            limit = "remote.context_tokens"
        elif snapshot.settings.text("typing_model.path"):
            limit = "model.context_tokens (for typing: typing_model.context_tokens)"
        else:
            limit = "model.context_tokens"
        return f"raise {limit}, or --budget where it is given"

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
        """The gate: the policy's word counts for open files too, else it is the editor's text; no secrets."""
        found = await self.sources.read(path)
        opened = snapshot.documents.get(path)
        if isinstance(found, Refusal) and (opened is None or found.kind is RefusalKind.POLICY):
            return found
        if opened is None:
            return _shown(found) if isinstance(found, Document) else found
        most = snapshot.settings.integer("index.max_file_bytes")
        if len(opened.data) > most:
            size = f"{path} has {len(opened.data)} bytes, more than the {most} of index.max_file_bytes"
            return Refusal(path, RefusalKind.UNREADABLE, f"{size}; raise it to include the file.")
        if b"\0" in opened.data:
            return Refusal(path, RefusalKind.UNREADABLE, f"{path} is a binary file.")
        return _shown(opened, open_=True)

    async def lines(self, snapshot: Snapshot, path: str) -> Known | Refusal:
        """Digest and lines of a file. One that is known as the index has it now is not read again."""
        opened, outline = snapshot.documents.get(path), snapshot.index.outlines.get(path)
        digest = opened.digest if opened else outline.digest if outline else ""
        known = self._known.get(path)
        if known is not None and digest and known[0] == digest:
            return known
        found = await self.read(snapshot, path)
        return found if isinstance(found, Refusal) else (found.digest, self.lines_of(found))

    def lines_of(self, document: Document) -> tuple[str, ...]:
        """A document's lines, the same value as long as its text is the same."""
        known = self._known.get(document.path)
        if known is None or known[0] != document.digest:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            known = self._known[document.path] = document.digest, pack.lines_of(document.data)
        return known[1]

    async def _advance(self, visit: Visit) -> Trunk:
        async with self._lock:
            path = visit.document.path
            self._recent.pop(path, None)
            self._recent[path] = None
            while len(self._recent) > MOST_RECENT:
                del self._recent[next(iter(self._recent))]
            files = len(visit.snapshot.index.outlines)
            visit.files_moved = self._files.get(visit.budget, files) != files
            old = self._ledgers.get(visit.budget)
            new = await visit.advance(old) if old and not self._outgrown(old) else None
            over = new is None or new.log_room < 0 or ledgers.pays(new, visit.idle)
            if new is None or over or (old and ledgers.evaluated(new, old) > MUCH_TOLD):
                new = await self._turned(visit, old, new, over)
            if self._shared is not None and (old is None or new.segments != old.segments):
                self._shared.publish(visit.budget, new)
            self._ledgers.pop(visit.budget, None)
            self._ledgers[visit.budget] = new
            self._files[visit.budget] = files
            while len(self._ledgers) > MOST_LEDGERS:
                left = next(iter(self._ledgers))
                del self._ledgers[left], self._files[left]
            return visit.trunk(new)

    def _outgrown(self, ledger: Ledger) -> bool:
        """Whether the trunk has more tokens by now than it was counted with, by more than the log's room."""
        if self.tokenizer.exact:
            return False
        now = sum(self.count(segment.text) for segment in ledger.segments)
        return now - ledger.head_tokens - ledger.log_tokens > max(ledger.log_room, 0)

    async def _turned(self, visit: Visit, old: Ledger | None, new: Ledger | None, over: bool) -> Ledger:
        """What is cheaper than `new`: another client's epoch, an earlier state of this one, a new one."""
        self._epochs += 1
        past = self._past.setdefault(visit.budget, [])
        if over and (taken := await self._taken_over(visit, old)):
            past.clear()
            self._leave(visit, old)
            return taken
        kept = await turned(visit, old, new, past, self._epochs) if old and new else None
        if kept is None:
            past.clear()
            begun = await self._begun(visit, old)
            self._leave(visit, old)
            return begun
        if old is not None and not over:
            past.append(old)
        del past[:-MOST_PAST]
        return kept

    async def _begun(self, visit: Visit, old: Ledger | None) -> Ledger:
        """A new epoch, unless another client has begun one meanwhile that serves."""
        if self._shared is None:
            return await visit.begin(self._epochs)
        async with self._shared.beginning(visit.budget):
            begun = await self._taken_over(visit, old)
            if begun is None:
                begun = await visit.begin(self._epochs)
                self._shared.publish(visit.budget, begun)
        return begun

    def _leave(self, visit: Visit, old: Ledger | None) -> None:
        """Remember an epoch of a small budget, whose head serves one place: somebody may come back to it."""
        if old is not None and not visit.lean:
            left = self._left.setdefault(visit.budget, [])
            left[:] = [Told.of(old), *left][:MOST_LEFT]

    async def _taken_over(self, visit: Visit, over: Ledger | None) -> Ledger | None:
        """Another epoch, moved on to this place; None where none serves, or only the one `over`.

        Another client's, or one that was left before: an engine may still hold what it has read of these.
        """
        shared = await self._shared.latest(visit.budget) if self._shared else ()
        for told in (*shared, *self._left.get(visit.budget, ())):
            if over is None or told.heading != tuple(block.text for block in over.head_blocks):
                new = await visit.take_over(told, self._epochs)
                if new is not None:
                    return new
        return None

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


def _shown(document: Document, *, open_: bool = False) -> Document | Refusal:
    """The document without its secrets, whoever it comes from."""
    document = masked(document, open_=open_)
    if document.left_out:
        return Refusal(
            document.path, RefusalKind.POLICY, f"{document.path} is left out: {document.left_out}."
        )
    return document


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
