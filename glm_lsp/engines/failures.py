"""The errors that a worker names in its frames, and what is left of one that has died."""

from __future__ import annotations

import asyncio
import time

from glm_lsp.core import errors
from glm_lsp.core.errors import EngineDied, EngineError, EngineUnavailable, GlmError
from glm_lsp.engines import rendezvous
from glm_lsp.engines.frames import Failed
from glm_lsp.engines.rendezvous import Place

AGAIN = "The next request starts it again."
OBITUARY_S = 5.0
"""The keeper writes it as soon as the system has buried a worker, which takes a while for a large one."""
_PAUSE_S = 0.02

_ERRORS: dict[str, type[GlmError]] = {
    kind.__name__: kind
    for kind in (
        *(errors.ConfigError, errors.ModelFileError, errors.PromptTooLong, errors.PolicyError),
        *(errors.UsageError, errors.EngineUnavailable, errors.EngineDied, errors.EngineStalled),
    )
}


def error_named(kind: str, message: str) -> GlmError:
    """The error of that name; one that is unknown is a death."""
    return _ERRORS.get(kind, EngineDied)(message)


def error_of(failed: Failed) -> GlmError:
    """The error that a worker's refusal stands for."""
    return error_named(failed.kind, failed.message)


async def how_it_ended(at: Place, pid: int, *, loading: bool) -> EngineError:
    """Wait for the word that the keeper leaves of a worker that has hung up, and make an error of it."""
    until = time.monotonic() + OBITUARY_S
    while (found := rendezvous.obituary(at, pid=pid)) is None:
        if time.monotonic() > until:
            return EngineDied(
                f"The embedded engine's worker hung up and left no word why; its log is {at.log}. {AGAIN}"
            )
        await asyncio.sleep(_PAUSE_S)
    if not found.kind:
        return EngineUnavailable(found.message)
    error = error_named(found.kind, found.message)
    if isinstance(error, EngineDied) and loading:
        return EngineDied(f"While it loaded the model: {error}")
    return error if isinstance(error, EngineError) else EngineDied(found.message)
