"""A task in words as the prompts that a refactor sends: how large a unit may be, and what each is made of.

The trunk tells every unit the same definitions; a unit's question stands below it. `room` is asked by those
who send the prompts and by those who only show them, so that both speak of the same ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from glm_lsp.core import pack
from glm_lsp.core.closure import Closure
from glm_lsp.core.errors import BudgetError, PolicyError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Block, BlockKind, Budget, Dropped, Span
from glm_lsp.features import manner, retrieval
from glm_lsp.features.asking import Place, prompt_for, room_for
from glm_lsp.features.editing import format_of, instruction_for, question_of, refused_for
from glm_lsp.features.retrieval import Gathered
from glm_lsp.features.session import Session
from glm_lsp.features.units import Unit

DECIDED_SHARE = 8
"""One part in so many of a unit's room is for what was decided about the definitions."""


@dataclass(frozen=True, slots=True)
class UnitPrompt:
    """A prompt of its own. `tokens` are those of all of it, `own_tokens` of what the others do not share."""

    unit: Unit
    tokens: int
    own_tokens: int
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a task's prompts are made of: `shared` stands at the beginning of each.

    No prompt has more than `budget_tokens`; `decided_tokens` are kept free in each for what the units before
    it have decided.
    """

    closure: Closure
    shared: tuple[Block, ...]
    units: tuple[UnitPrompt, ...]
    dropped: tuple[Dropped, ...]
    budget_tokens: int
    decided_tokens: int = 0

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All of them in the order of the prompts, what is shared once."""
        return (*self.shared, *(block for unit in self.units for block in unit.blocks))

    @property
    def largest(self) -> UnitPrompt | None:
        return max(self.units, key=lambda unit: unit.tokens, default=None)

    @property
    def all_tokens(self) -> int:
        """What an engine reads of all prompts: what they share once."""
        if not self.units:
            return 0
        own = sum(unit.own_tokens for unit in self.units)
        return own + max(unit.tokens - unit.own_tokens for unit in self.units)


def size(session: Session, snapshot: Snapshot, task: str) -> Callable[[Unit], int]:
    """The tokens of a unit's question."""

    def tokens(unit: Unit) -> int:
        text = instruction_for(unit, task, format_of(session, snapshot), "")
        return session.tokenizer.count(text)

    return tokens


async def room(
    session: Session, snapshot: Snapshot, task: str, gathered: Gathered, budget: Budget | None = None
) -> tuple[int, int]:
    """Tokens that a unit of what a task touches may take, and those kept free for what was decided.

    `budget` and what is raised as for `room_for`.
    """
    wanted, files = gathered.closure.shared, gathered.closure.files()
    question = question_of("", session, snapshot)
    rooms = [  # where the trunk has been to the last file too, it tells all that it will
        await room_for(session, snapshot, Place(path, 0, task, wanted), question, budget)
        for path in dict.fromkeys((files[0], files[-1]))
    ]
    whole = max(min(rooms) - _begun(session, snapshot), 0)
    most = whole * (DECIDED_SHARE - 1) // DECIDED_SHARE
    return most, most // (DECIDED_SHARE - 1)


async def task_context(
    session: Session, snapshot: Snapshot, task: str, paths: Sequence[str], budget_tokens: int
) -> TaskContext:
    """What the prompts of a refactor would be made of within `budget_tokens`, and what would be left out.

    No engine is asked. `paths` only decide between several definitions of one name. Raises BudgetError where
    not even the system text fits.
    """
    settings = snapshot.settings
    values = {**settings.values, "context.budget_tokens": budget_tokens}
    snapshot = replace(snapshot, settings=replace(settings, values=values))
    gathered = await retrieval.touched(session, snapshot, task, paths)
    left = retrieval.left_out(gathered, session.count)
    if not gathered.closure.files():
        return TaskContext(gathered.closure, (), (), left, budget_tokens)
    reply, context = question_of("", session, snapshot).max_tokens, session.engine.facts.context_tokens
    _, reasoning = manner.thinking(settings, Work.REFACTOR, context, reply)
    budget = Budget(budget_tokens + reply + reasoning, reply, reasoning)
    most, decided = await room(session, snapshot, task, gathered, budget)
    measure = size(session, snapshot, task)
    units, refused = retrieval.work(gathered, measure, most)
    shown: list[UnitPrompt] = []
    missed = [*refused]
    shared: tuple[Block, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    for number, unit in enumerate(units, 1):
        asked = instruction_for(unit, task, format_of(session, snapshot), "")
        place = Place(unit.document.path, unit.offset, task, gathered.closure.shared)
        try:
            question = question_of(asked, session, snapshot)
            prompt = await prompt_for(session, snapshot, place, question, budget)
        except (BudgetError, PolicyError, UsageError) as error:
            missed.append(refused_for(unit.document.path, error))
            continue
        own = sum(s.tokens for s in prompt.segments[prompt.trunk_segments :])
        blocks = _blocks(unit, gathered, session.count, f"unit {number} of {len(units)}")
        shown.append(UnitPrompt(unit, prompt.tokens, own, blocks))
        shared, dropped = prompt.blocks, prompt.dropped
    documents, missing = gathered.documents, {r.path for r in missed}
    dropped = (
        *dropped,
        *(
            Dropped(r.path, (), session.count(documents[r.path].data.decode()), r.reason)
            for r in missed
            if r.path in documents
        ),
        *(d for d in left if d.path not in missing),
    )
    return TaskContext(gathered.closure, shared, tuple(shown), dropped, budget_tokens, decided)


def _begun(session: Session, snapshot: Snapshot) -> int:
    """Tokens of the answer's beginning, which stands in the prompt too."""
    return session.tokenizer.count(question_of("", session, snapshot).prefill)


def _blocks(unit: Unit, gathered: Gathered, count: Callable[[str], int], prefix: str) -> tuple[Block, ...]:
    """A unit's ranges as blocks, each with the reason of the surest place in it."""
    found: list[Block] = []
    path, data = unit.document.path, unit.document.data
    sites = [s for s in gathered.closure.sites if s.path == path and (s.certain or s.likely)]
    for start, end in unit.ranges:
        here = sorted(
            (s for s in sites if start <= s.line < end), key=lambda s: (not s.certain, s.distance, s.line)
        )
        text = replace(unit, ranges=((start, end),)).shown(anchors=True)
        first, last = pack.line_offset(data, start), pack.line_offset(data, end)
        reason = (
            here[0].reason + ("" if here[0].certain else " (uncertain)") if here else "the file's first lines"
        )
        names = tuple(dict.fromkeys(s.scope for s in here if s.scope))
        found.append(
            Block(
                BlockKind.TAIL, path, Span(first, last), text, count(text), 0.0, start, end - 1, names,
                f"{prefix}: {reason}" + (f", {len(here)} places" if len(here) > 1 else ""),
            )
        )  # fmt: skip
    return tuple(found)
