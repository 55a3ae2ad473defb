"""The custom request `glm-lsp/status`: what serves, what is indexed, what the last completion cost.

Parameters: none. Result: `{"version", "engine", "model", "local", "files", "symbols", "references",
"skipped", "indexing", "running", "documents", "last"}`; `engine` and `model` are those of completions,
`problem` says why there is none or why the last one failed, `counting` how their tokens are counted and how
often that was too few. `last` holds the figures of the last completion. `state` says it in one word (see
`State`), `loading` how much of the model is loaded (0 to 1, null while none is being loaded), `jobs` what the
machine's worker has to do, for whomever, `speed` how many tokens per second it reads (`prefill`) and writes
(`decode`) at the depth of the last prompt, null where that is not measured.

The notification `glm/statusChanged`, without content: the answer is another one now. Sent to clients with
`{"statusChanges": true}` in their `initializationOptions`, never twice within `PAUSE_S`.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from glm_lsp import __version__
from glm_lsp.core.errors import GlmError
from glm_lsp.core.generation import Work
from glm_lsp.lsp.indexing import WATCHING

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.features.complete import Completion
    from glm_lsp.lsp.server import Server

STATUS = "glm-lsp/status"
CHANGED = "glm/statusChanged"
PAUSE_S = 0.3


class State(StrEnum):
    """In the order in which the first that holds is told."""

    MISSING = "missing"
    """There is no engine; `problem` says why and what mends it."""
    FAILING = "failing"
    """The last request failed; `problem` says why."""
    LOADING = "loading"
    INDEXING = "indexing"
    WORKING = "working"
    READY = "ready"


class Changes:
    """Tells a client that knows the message that its status is another one."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._timer: asyncio.TimerHandle | None = None

    def tell(self) -> None:
        """Soon, and once for all that changes until then."""
        if self._timer is None and self._server.client.status_changes:
            self._timer = asyncio.get_running_loop().call_later(PAUSE_S, self._send)

    def _send(self) -> None:
        self._timer = None
        self._server.protocol.notify(CHANGED, {})


class Figures:
    """What the last completion cost; None where the engine does not say."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}

    def completion(self, found: Completion) -> None:
        usage = found.usage
        self.last = {
            "prompt_tokens": found.prompt.tokens,
            "reason": found.reason,
            "evaluated_tokens": usage.evaluated_tokens if usage else None,
            "cached_tokens": usage.cached_tokens if usage else None,
            "output_tokens": usage.output_tokens if usage else None,
            "prefill_seconds": usage.prefill_seconds if usage else None,
            "decode_seconds": usage.decode_seconds if usage else None,
        }


async def status_of(server: Server, runtime: Runtime) -> dict[str, Any]:
    """The result of the request."""
    reports = server.indexing.reports.values()
    found = {"version": __version__, **await _engine(runtime, server.figures.last.get("prompt_tokens") or 0)}
    if not found.get("problem") and server.failure:
        found["problem"] = server.failure
    return {
        **found,
        "state": _state(server, found).value,
        "files": sum(report.files for report in reports),
        "symbols": sum(report.symbols for report in reports),
        "references": sum(report.references for report in reports),
        "skipped": sum(len(report.skipped) for report in reports),
        "indexing": server.indexing.busy,
        "running": [name for name in server.protocol.running if not name.startswith((STATUS, WATCHING))],
        "live_completions": server.completions.live,
        "progress": list(server.progress.tokens),
        "documents": len(server.documents),
        "last": server.figures.last,
    }


def _state(server: Server, found: dict[str, Any]) -> State:
    if found["engine"] is None:
        return State.MISSING
    if found.get("problem"):
        return State.FAILING
    if found["loading"] is not None:
        return State.LOADING
    if server.indexing.busy:
        return State.INDEXING
    return State.WORKING if server.completions.live or server.progress.tokens else State.READY


async def _engine(runtime: Runtime, depth: int) -> dict[str, Any]:
    nothing: dict[str, Any] = {"loading": None, "jobs": [], "speed": None}
    try:
        engine = runtime.router.engine(Work.TYPING)
    except GlmError as error:
        return {**nothing, "engine": None, "model": None, "local": None, "problem": str(error)}
    facts, said = engine.facts, runtime.router.counting(Work.TYPING)
    found = {"engine": facts.name, "model": facts.model, "local": facts.local, "counting": said}
    from glm_lsp.engines.embedded import EmbeddedEngine  # noqa: PLC0415 (after `initialize`)

    if not isinstance(engine, EmbeddedEngine):
        return {**nothing, **found}
    try:
        worker = await engine.status()
    except GlmError as error:
        return {**nothing, **found, "loading": engine.loading, "problem": str(error)}
    jobs = [
        {"client": job.client, "state": job.state, "done": job.done, "total": job.total}
        for job in (worker.jobs if worker else ())
    ]
    measured = [speed for speed in (worker.speeds if worker else ()) if speed.decode > 0]
    near = max((s for s in measured if s.depth <= depth), key=lambda s: s.depth, default=None)
    speed = near or next(iter(measured), None)
    said_speed = {"prefill": speed.prefill, "decode": speed.decode} if speed else None
    return {**found, "loading": engine.loading, "jobs": jobs, "speed": said_speed}
