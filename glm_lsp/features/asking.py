"""One question to an engine: from the shared trunk and a tail to the whole answer, with progress.

An answer that ends early because it is too long is told apart; an engine that dies in the middle is asked
once more. Whatever else it raises goes to the caller, who decides whether a unit or the whole run is over.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass

from glm_lsp.core.errors import NOTICES, BudgetError, EngineDied, PromptTooLong
from glm_lsp.core.generation import (
    Engine,
    Finish,
    GenerateRequest,
    Prompt,
    Role,
    Segment,
    Thinking,
    Usage,
    Work,
)
from glm_lsp.core.rank import Candidate
from glm_lsp.core.settings import Settings
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Budget
from glm_lsp.features import manner
from glm_lsp.features.session import Session, Trunk

_notices = logging.getLogger(NOTICES)

OnProgress = Callable[[str, int | None], None]
"""Called with a phrase and a percentage (None where the end is not known)."""


_OPENING_CHARS = 200
"""How much of an answer is compared with its opening."""


def silent(message: str, percentage: int | None = None) -> None:
    """Progress that nobody wants to see."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`text` begins with what we began for the model. `cut`: it ended at its length, not at its end."""

    text: str
    cut: bool
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Byte `offset` in the file that a question is about, and the task in words where there is one."""

    path: str
    offset: int
    task: str = ""
    wanted: tuple[Candidate, ...] = ()
    """Definitions that the shared context should tell, in place of what the file uses."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked at the end of the prompt, and how the answer may look.

    `before` stands between the shared context and the instruction: what many questions in a row have in
    common, and which only grows. Empty, or text that begins with `#` and ends with a newline.
    """

    instruction: str
    prefill: str = ""
    max_tokens: int = 1024
    stop: tuple[str, ...] = ()
    grammar: str = ""
    opening: tuple[str, ...] = ()
    """An answer that begins like none of these is not read on: tokens are dear. Empty: any."""
    work: Work = Work.ACTION
    source: str = ""
    """Text that the answer is expected to repeat, with changes."""
    before: str = ""


async def consult(
    session: Session, snapshot: Snapshot, place: Place, question: Question, on_progress: OnProgress = silent
) -> Answer:
    """Ask about a place in a file, with the repository's shared context before the question.

    A prompt that is too long for the engine is made smaller, once. Raises BudgetError if the question does
    not fit beside the context, an EngineError, and what `gather` raises.
    """
    settings = snapshot.settings
    prompt = await prompt_for(session, snapshot, place, question)
    try:
        return await ask(session.engine, prompt, question, settings, on_progress)
    except PromptTooLong as error:
        _notices.warning("The prompt was too long for the engine, and is made smaller: %s", error)
        budget = _budget(session, snapshot, question)
        session.shrink(prompt, error, budget.reply_tokens + budget.reasoning_tokens)
        prompt = await prompt_for(session, snapshot, place, question)
        return await ask(session.engine, prompt, question, settings, on_progress)


async def prompt_for(
    session: Session, snapshot: Snapshot, place: Place, question: Question, budget: Budget | None = None
) -> Prompt:
    """The prompt that asks a question, within `budget`: by default what the engine and the settings leave.

    Raises as `consult` does, but for what an engine says.
    """
    engine, count = session.engine, session.tokenizer.count
    budget = budget or _budget(session, snapshot, question)
    trunk = await _trunk(session, snapshot, place, budget)
    tail = count(question.before) + count(question.instruction) + count(question.prefill)
    if tail > trunk.room:
        remedy = session.raise_what(snapshot, trunk.budget_tokens)
        remedy = manner.remedy(remedy, manner.mode(snapshot.settings, question.work))
        raise BudgetError(
            f"{place.path}: the question takes {tail:,} tokens, and {trunk.room:,} are left for it. "
            f"Narrow the selection, or {remedy}."
        )
    said = [text for text in (question.before, question.instruction) if text]
    segments = [Segment(Role.USER, text, count(text)) for text in said]
    if question.prefill and engine.facts.prefill and not (question.opening and budget.reasoning_tokens):
        segments.append(Segment(Role.ASSISTANT, question.prefill, count(question.prefill)))
    return Prompt(
        (*trunk.segments, *segments),
        trunk.tokens + sum(segment.tokens for segment in segments),
        trunk.blocks,
        trunk.dropped,
        budget_tokens=trunk.budget_tokens,
        trunk_segments=len(trunk.segments),
    )


async def room_for(
    session: Session, snapshot: Snapshot, place: Place, question: Question, budget: Budget | None = None
) -> int:
    """Tokens that a question about a place may take, beside the shared context and the answer."""
    budget = budget or _budget(session, snapshot, question)
    return (await _trunk(session, snapshot, place, budget)).room


async def _trunk(session: Session, snapshot: Snapshot, place: Place, budget: Budget) -> Trunk:
    return await session.gather(
        snapshot, place.path, place.offset, budget, task=place.task, wanted=place.wanted
    )


def _budget(session: Session, snapshot: Snapshot, question: Question) -> Budget:
    return manner.budget(session, snapshot.settings, question.work, question.max_tokens)


async def ask(
    engine: Engine, prompt: Prompt, q: Question, settings: Settings, on_progress: OnProgress = silent
) -> Answer:
    """The whole answer. Raises an EngineError; a prompt that is too long for the engine is one."""
    mode, reasoning = manner.thinking(settings, q.work, engine.facts.context_tokens, q.max_tokens)
    if prompt.prefill:
        mode, reasoning = Thinking.OFF, 0
    request = GenerateRequest(
        prompt,
        q.max_tokens,
        thinking=mode,
        reasoning_tokens=reasoning,
        stop=q.stop if prompt.prefill or not q.prefill else (),  # what we began, the model may write itself
        grammar=q.grammar if engine.facts.grammar else "",
        heal=bool(prompt.prefill),
        work=q.work,
        source=q.source,
    )
    request = manner.drawn(request, settings)
    try:
        return await _collect(engine, request, q.opening, on_progress)
    except EngineDied as error:
        return await manner.once_more(error, _collect(engine, request, q.opening, on_progress))


def _begins(text: str, opening: tuple[str, ...]) -> bool:
    """Whether a text, as far as it goes, begins like one of `opening`."""
    text = text.lstrip()
    return not opening or any(text.startswith(o) or o.startswith(text) for o in opening)


async def _collect(
    engine: Engine, request: GenerateRequest, opening: tuple[str, ...], on_progress: OnProgress
) -> Answer:
    begun = request.prompt.prefill
    text = ""
    finish: Finish | None = None
    usage: Usage | None = None
    async with aclosing(engine.generate(request)) as stream:
        async for chunk in stream:
            if chunk.prefill and chunk.prefill.total_tokens:
                done, total = chunk.prefill.done_tokens, chunk.prefill.total_tokens
                on_progress(f"reading {total:,} tokens", 100 * done // total)
            if chunk.reasoning:
                on_progress("thinking", None)
            if chunk.text:
                text += chunk.text
                on_progress(f"writing, {len(text):,} characters", None)
            finish, usage = chunk.finish or finish, chunk.usage or usage
            if len(text) < _OPENING_CHARS and not (_begins(begun + text, opening) or _begins(text, opening)):
                return Answer(begun + text, False, usage)
    if finish is None:
        raise EngineDied("The engine's answer ended in the middle; ask again.")
    whole = text if begun and text.lstrip().startswith(begun) else begun + text  # some begin once more
    return Answer(whole, finish is Finish.LENGTH, usage)
