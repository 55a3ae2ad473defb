"""Reading ahead: while nobody types, the engine reads what the next completion will begin with.

Started by what somebody did last, once, and seen as progress where it takes long. Whatever else the engine is
asked for goes first.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from glm_lsp.core.errors import GlmError
from glm_lsp.core.generation import Work
from glm_lsp.lsp.documents import Place

if TYPE_CHECKING:
    from glm_lsp.lsp.server import Server

log = logging.getLogger(__name__)

IDLE_S = 2.0
"""Nobody types when nothing has come for this long."""
PATIENCE_S = 1.0
"""What is read sooner is not shown."""


class Warming:
    """At most one reading at a time, for the place where somebody was last."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._last: tuple[str, Place] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def touched(self, uri: str, place: Place | None = None) -> None:
        """Somebody is at `place` of a document; None where only the document is known."""
        if place is None:
            place = self._last[1] if self._last is not None and self._last[0] == uri else Place(0, 0)
        self._last = (uri, place)
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(IDLE_S, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if self._server.runtime is None or self._last is None:
            return
        if self._server.indexing.busy or (self._task is not None and not self._task.done()):
            self._arm()
            return
        self._task = self._server.protocol.spawn(self._read(*self._last), "reading ahead")

    async def _read(self, uri: str, place: Place) -> None:
        server = self._server
        runtime, document = server.runtime, server.documents.get(uri)
        if runtime is None or document is None or not server.settings.flag("completion.enabled"):
            return
        offset = document.offset(place) if place.line < document.lines else 0
        from glm_lsp.features.warm import warm  # noqa: PLC0415 (after `initialize`)

        said = ("", 0)

        def hear(message: str, percentage: int | None) -> None:
            nonlocal said
            said = (message, percentage or 0)

        try:
            view = server.folders.view(runtime, server.settings, uri)
            session = await runtime.session_soon(view.home.repository, Work.TYPING)
            work = asyncio.create_task(warm(session, view.snapshot, view.document.path, offset, hear))
            try:
                await asyncio.wait({work}, timeout=PATIENCE_S)
                if not work.done():
                    async with server.progress.work("Reading ahead", work.cancel, percentage=0) as report:
                        while not work.done():
                            report.say(*said)
                            await asyncio.wait({work}, timeout=PATIENCE_S)
            finally:
                work.cancel()
            if not work.cancelled() and (usage := work.result()) is not None:
                log.info("read ahead: %s of %s tokens", usage.evaluated_tokens, usage.prompt_tokens)
        except GlmError as error:
            log.info("%s", error)  # whoever asks for something will be told
