"""Warm-up: the engine reads what the next request will begin with, while nobody waits for it."""

from __future__ import annotations

from contextlib import aclosing

from glm_lsp.core.errors import BudgetError, PolicyError, UsageError
from glm_lsp.core.generation import GenerateRequest, Prompt, Usage, Work
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.features.asking import OnProgress, silent
from glm_lsp.features.complete import mode, pack_context
from glm_lsp.features.session import Session


async def warm(
    session: Session, snapshot: Snapshot, path: str, offset: int, on_progress: OnProgress = silent
) -> Usage | None:
    """Have the trunk of a completion at byte `offset` of `path` read. None where there is nothing to do.

    The engine interrupts it for anything else. Raises an EngineError.
    """
    if not session.engine.facts.warms or not snapshot.settings.flag("worker.warm_up"):
        return None
    try:
        prompt = await pack_context(session, snapshot, path, offset, idle=True)
    except (BudgetError, PolicyError, UsageError):
        return None  # the request itself will say so, to somebody who asked
    request = GenerateRequest(_trunk(prompt), max_tokens=0, thinking=mode(snapshot), work=Work.IDLE)
    usage: Usage | None = None
    async with aclosing(session.engine.generate(request)) as stream:
        async for chunk in stream:
            if chunk.prefill and chunk.prefill.total_tokens:
                done, total = chunk.prefill.done_tokens, chunk.prefill.total_tokens
                on_progress(f"reading the repository, {total:,} tokens", 100 * done // total)
            usage = chunk.usage or usage
    return usage


def _trunk(prompt: Prompt) -> Prompt:
    """The shared part alone: the tail will be another one by then."""
    shared = prompt.segments[: prompt.trunk_segments]
    return Prompt(
        shared,
        sum(segment.tokens for segment in shared),
        form=prompt.form,
        budget_tokens=prompt.budget_tokens,
        trunk_segments=len(shared),
    )
