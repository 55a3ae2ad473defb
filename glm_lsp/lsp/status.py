"""The custom request `glm-lsp/status`: what serves, what is indexed, what the last completion cost.

Parameters: none. Result: `{"version", "engine", "model", "local", "files", "symbols", "references",
"skipped", "indexing", "running", "documents", "last"}`; `engine` and `model` are those of completions,
`problem` says why there is none, `counting` how their tokens are counted and how often that was too few.
`last` holds the figures of the last completion.
"""

from __future__ import annotations

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


def status_of(server: Server, runtime: Runtime) -> dict[str, Any]:
    """The result of the request."""
    reports = server.indexing.reports.values()
    return {
        "version": __version__,
        **_engine(runtime),
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


def _engine(runtime: Runtime) -> dict[str, Any]:
    try:
        facts = runtime.router.engine(Work.TYPING).facts
    except GlmError as error:
        return {"engine": None, "model": None, "local": None, "problem": str(error)}
    said = runtime.router.counting(Work.TYPING)
    return {"engine": facts.name, "model": facts.model, "local": facts.local, "counting": said}
