"""The generation that runs for a document's completions, and what earlier ones have suggested there.

A generation belongs to a place in a text, not to a request. Who types along with it, asks again or asks in
another manner (ghost text and menu) waits for the same one; what was suggested before is at hand without any.
It ends when the text goes another way, or when nobody has waited for it for `GRACE_S`; one that somebody was
not made to wait for goes on to its end, which is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from glm_lsp.core.held import Asked, Held
from glm_lsp.core.values import Suggestion

GRACE_S = 1.0
"""Between two requests of somebody who types along."""
MOST_DOCUMENTS = 64
Hear = Callable[[str], None]
"""Takes the text of an answer as far as it has come."""
Work = Callable[[Hear], Coroutine[Any, Any, Suggestion | None]]
Spawn = Callable[[Coroutine[Any, Any, Any], str], "asyncio.Task[Any]"]


class Unanswered(Enum):
    """Why there is no suggestion."""

    NOTHING = auto()
    """The generation has ended without one."""
    SUPERSEDED = auto()
    """The text is another one by now, or there is a newer request."""
    LATE = auto()
    """The generation goes on; `ready` will be called."""


@dataclass(slots=True, eq=False)
class _Stream:
    """One generation."""

    asked: Asked
    task: asyncio.Task[Suggestion | None]
    heard: bytes = b""
    waiting: int = 0
    timer: asyncio.TimerHandle | None = None
    late: bool = False
    """Somebody wants to be told when it ends."""

    def rest(self) -> None:
        """Nobody waits any more: end it soon, at once where nothing of it can be typed along with."""
        if self.waiting or self.late or self.task.done():
            return
        if not self.heard:
            self.task.cancel()
        elif self.timer is None:
            self.timer = asyncio.get_running_loop().call_later(GRACE_S, self.task.cancel)

    def join(self) -> None:
        self.waiting += 1
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def leave(self) -> None:
        self.waiting -= 1
        self.rest()


@dataclass(slots=True)
class _Known:
    """What there is for one document."""

    held: Held = field(default_factory=Held)
    stream: _Stream | None = None
    superseded: dict[str, asyncio.Future[None]] = field(default_factory=dict[str, "asyncio.Future[None]"])
    """By manner, what ends the wait of the last request."""


class Live:
    """Of all documents of a server, by URI."""

    def __init__(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self._known: dict[str, _Known] = {}

    @property
    def running(self) -> int:
        """Generations that run."""
        streams = (known.stream for known in self._known.values())
        return sum(stream is not None and not stream.task.done() for stream in streams)

    def held(self, uri: str, data: bytes, offset: int) -> list[Suggestion]:
        """What was suggested for a place before, the newest first."""
        known = self._known.get(uri)
        return known.held.find(data, offset) if known is not None else []

    async def suggestion(
        self,
        uri: str,
        manner: str,
        asked: Asked,
        work: Work,
        *,
        anew: bool = False,
        patience_s: float | None = None,
        ready: Callable[[], None] = lambda: None,
    ) -> Suggestion | Unanswered:
        """What the generation for a place says.

        `anew`: not what is running already. The last request of each manner waits, earlier ones do not. After
        `patience_s` it does not wait any longer, and `ready` is called if something comes of it.
        """
        known = self._known_of(uri)
        self.supersede(uri, manner)
        loop = asyncio.get_running_loop()
        superseded = known.superseded[manner] = loop.create_future()
        until = None if patience_s is None else loop.time() + patience_s
        try:
            while True:
                stream, joined = self._stream(known, asked, work, anew=anew)
                left_s = None if until is None else max(until - loop.time(), 0.0)
                stream.join()
                try:
                    await asyncio.wait(
                        {stream.task, superseded}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                    )
                    if not superseded.done() and not stream.task.done():
                        if not stream.late:  # once, however often it is asked for
                            stream.task.add_done_callback(lambda task: self._ended(uri, task, ready))
                        stream.late = True
                        return Unanswered.LATE
                finally:
                    stream.leave()
                if superseded.done() or stream.task.cancelled():
                    return Unanswered.SUPERSEDED
                found = known.held.find(asked.data, asked.offset) if stream.task.result() else []
                if found:
                    return found[0]
                if not joined:
                    return Unanswered.NOTHING
                anew = True  # it went on in another way than what was typed: ask for what is there now
        finally:
            if known.superseded.get(manner) is superseded:
                del known.superseded[manner]
            superseded.cancel()

    def _ended(self, uri: str, task: asyncio.Task[Suggestion | None], ready: Callable[[], None]) -> None:
        if uri in self._known and not task.cancelled() and task.exception() is None and task.result():
            ready()

    def _stream(self, known: _Known, asked: Asked, work: Work, *, anew: bool) -> tuple[_Stream, bool]:
        """The generation for a place, and whether it ran before."""
        now = known.stream
        if now is not None and not now.task.done():
            since = now.asked.since(asked.data, asked.offset)
            if not anew and since is not None and (now.heard.startswith(since[0]) or not since[0]):
                return now, True
            now.task.cancel()

        def hear(text: str) -> None:
            stream.heard = text.encode()

        async def run() -> Suggestion | None:
            found = await work(hear)
            if found is not None:
                known.held.keep(asked, found.text)
            return found

        stream = known.stream = _Stream(asked, self._spawn(run(), "completion"))
        return stream, False

    def supersede(self, uri: str, manner: str = "") -> None:
        """Answer who waits, of one manner or of all; what they wait for goes on for a moment."""
        known = self._known.get(uri)
        for key in [key for key in (known.superseded if known else ()) if manner in ("", key)]:
            superseded = known.superseded.pop(key) if known else None
            if superseded is not None and not superseded.done():
                superseded.set_result(None)

    def edited(self, uri: str, text: Callable[[], bytes]) -> None:
        """A document has another text: what no longer fits ends.

        What was suggested in others was suggested before this was known, and is not offered again.
        """
        for other, theirs in self._known.items():
            if other != uri:
                theirs.held.clear()
        known = self._known.get(uri)
        if known is None:
            return
        self.supersede(uri)
        stream = known.stream
        if stream is None or stream.task.done():
            return
        if not stream.heard or not stream.asked.follows(stream.heard, text()):
            stream.task.cancel()

    def forget(self, uri: str) -> None:
        """A document is closed."""
        self.supersede(uri)
        known = self._known.pop(uri, None)
        if known is not None and known.stream is not None:
            known.stream.task.cancel()

    def _known_of(self, uri: str) -> _Known:
        known = self._known.pop(uri, None) or _Known()
        self._known[uri] = known
        for other in list(self._known)[:-MOST_DOCUMENTS]:
            self.forget(other)
        return known
