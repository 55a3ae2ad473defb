"""How answers are made, as the settings have it: with how much thinking, and drawn how."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar
from weakref import WeakSet

from glm_lsp.core.errors import NOTICES, BudgetError, EngineDied
from glm_lsp.core.generation import GenerateRequest, Thinking, Work
from glm_lsp.core.settings import BY_NAME, Settings, Source
from glm_lsp.core.values import Budget
from glm_lsp.features import prompts
from glm_lsp.features.session import Session

T = TypeVar("T")
AGAIN_TEMPERATURE = 0.8
BOUND = "thinking.reasoning_tokens"
_MODES = {
    Work.TYPING: "thinking.completion",
    Work.IDLE: "thinking.completion",
    Work.ACTION: "thinking.action",
    Work.REFACTOR: "thinking.refactor",
}
_notices = logging.getLogger(NOTICES)
_told: WeakSet[Session] = WeakSet()


def mode(settings: Settings, work: Work) -> Thinking:
    """Whether such work thinks."""
    return Thinking(settings.text(_MODES[work]))


def thinking(settings: Settings, work: Work, context_tokens: int, reply_tokens: int) -> tuple[Thinking, int]:
    """The mode for a class of work, and its bound in tokens: 0 with thinking off.

    A bound that nobody has set is at most half of what the reply leaves of the engine's context.
    """
    found = mode(settings, work)
    if found is Thinking.OFF:
        return found, 0
    bound = settings.integer(BOUND)
    return found, bound if _chosen(settings) else min(bound, _half(context_tokens, reply_tokens))


def budget(session: Session, settings: Settings, work: Work, reply_tokens: int) -> Budget:
    """What reply and thinking leave for a prompt. Raises BudgetError where thinking leaves too little."""
    context = session.engine.facts.context_tokens
    _, reasoning = thinking(settings, work, context, reply_tokens)
    made = Budget(context, reply_tokens, reasoning)
    if mode(settings, work) is Thinking.OFF:
        return made
    least = session.count(prompts.system()) + session.overhead()
    if made.prompt_tokens < least:
        most = _half(context, reply_tokens)
        fits = most > 0 and context - reply_tokens - most >= least
        lower = f"lower {BOUND} to {most:,}, or " if fits and _chosen(settings) else ""
        raise BudgetError(
            f"Thinking leaves no room for a prompt: the engine holds {context:,} tokens, of which the reply "
            f"may take {reply_tokens:,} and thinking {reasoning:,} ({BOUND}), and the system text alone has "
            f"{least:,}; {lower}set {_MODES[work]} to off."
        )
    if reasoning < settings.integer(BOUND) and session not in _told:
        _told.add(session)
        _notices.warning(
            "Thinking may take %s tokens, half of what the reply leaves of the engine's %s; %s changes that.",
            f"{reasoning:,}",
            f"{context:,}",
            BOUND,
        )
    return made


def remedy(otherwise: str, thinking: Thinking) -> str:
    """What to do where a prompt does not fit, as the end of a sentence: thinking takes room too."""
    return otherwise if thinking is Thinking.OFF else f"lower {BOUND}, or {otherwise}"


def drawn(request: GenerateRequest, settings: Settings, attempt: int = 0) -> GenerateRequest:
    """The request, with its tokens drawn as the settings say: by default the likeliest one always.

    Who asks again wants something else: from the second `attempt` on it is drawn with some freedom.
    """
    temperature = settings.number("sampling.temperature")
    return replace(
        request,
        temperature=max(temperature, AGAIN_TEMPERATURE) if attempt else temperature,
        top_p=settings.number("sampling.top_p"),
        seed=settings.integer("sampling.seed") + attempt,
    )


async def once_more(error: EngineDied, again: Awaitable[T]) -> T:
    """What `again` gives, after an engine has died of `error`; told, unless it dies of the same again."""
    said = "The engine ended in the middle, and was asked once more: %s"
    try:
        answer = await again
    except EngineDied as second:
        if str(second) != str(error):
            _notices.warning(said, error)
        raise
    _notices.warning(said, error)
    return answer


def _half(context_tokens: int, reply_tokens: int) -> int:
    return max((context_tokens - reply_tokens) // 2, 0)


def _chosen(settings: Settings) -> bool:
    """Whether somebody has set the bound. An editor may send the defaults too."""
    origin = settings.origin.get(BOUND, Source.DEFAULT)
    return origin not in (Source.DEFAULT, Source.CLIENT) or settings[BOUND] != BY_NAME[BOUND].default
