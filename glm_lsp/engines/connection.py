"""A client's conversation with the worker: found or started, greeted, asked, cancelled; its death told.

The worker serves other clients too: closing a connection ends what was asked for through it, nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from typing import TypeAlias

from glm_lsp import __version__
from glm_lsp.core.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineStalled,
    EngineUnavailable,
    UsageError,
)
from glm_lsp.engines import holders, rendezvous
from glm_lsp.engines.failures import AGAIN, OBITUARY_S, error_named, error_of, how_it_ended
from glm_lsp.engines.frames import (
    Alive,
    Ask,
    Cancel,
    Cancelled,
    Done,
    Failed,
    FrameError,
    Generate,
    Hello,
    Load,
    Loading,
    Progress,
    Ready,
    Refused,
    Reply,
    ReplyReader,
    Request,
    Status,
    Stop,
    Text,
    Welcome,
    encode,
)
from glm_lsp.engines.holders import Waiting
from glm_lsp.engines.rendezvous import Door, Place

Answer: TypeAlias = Progress | Text | Done | Cancelled | Failed
Replies: TypeAlias = "asyncio.Queue[Answer | None]"
"""What one request gets back, in order; None when there will be no more."""

_READ_BYTES = 1 << 16
_LONGEST_PAUSE_S = 0.25
_SHORTEST_PAUSE_S = 0.01
_ASK_S = 10.0
_END_S = 60.0
"""So long nothing may be heard from a worker that starts, saves or is buried, before it counts as hanging."""
_SILENT_ENDS = 3
"""So many workers of ours may end before they listen, leaving no word, until that is given up."""


async def reach(at: Place, load: Load, client: str, stall_s: float) -> Connection:
    """Connect to the slot's worker, starting one if there is none; the model may be loading still.

    Raises EngineUnavailable (another model is loaded for others, a directory that is not ours), EngineDied
    (it ends before it listens) or EngineStalled (whoever has the slot says nothing for `stall_s`).
    """
    since = time.monotonic()
    keeper, silent, pause = 0, 0, _SHORTEST_PAUSE_S
    while True:
        seen = rendezvous.mark(at)
        if door := await rendezvous.knock(at):
            try:
                connection = await holders.while_held(at, seen, _greet(at, door, load, client), stall_s)
            except TimeoutError:
                break
            if connection is not None:
                return connection
        if not rendezvous.held(at):
            if keeper:
                ended = rendezvous.obituary(at, keeper=keeper)
                if ended is not None and ended.kind:
                    raise error_named(ended.kind, ended.message)
                silent += ended is None
            if silent >= _SILENT_ENDS:
                raise EngineDied(
                    f"The embedded engine's worker was started {silent} times, and each time ended before it "
                    f"listened and without a word: look whether {at.directory} is full, and at {at.log}."
                )
            keeper = await rendezvous.start(at)
        elif door is None and time.monotonic() - since > stall_s:
            break
        pause = await _longer(pause)
    raise EngineStalled(
        f"A worker{holders.told(at)} has the lock {at.lock}, but has not answered for {stall_s:.0f} s "
        f"(engine.stall_seconds); its log is {at.log}. {_REMEDY.format(at.slot)}"
    )


_REMEDY = "If it does not come back, end it: glm-lsp worker stop --slot {} --force."


async def _longer(pause: float) -> float:
    await asyncio.sleep(pause)
    return min(pause * 1.5, _LONGEST_PAUSE_S)


async def _greet(at: Place, door: Door, load: Load | None, client: str) -> Connection | None:
    """Say hello; None if the worker is just ending, so that another one may be started."""
    door.writer.write(encode(Hello(door.token, client, os.getpid(), load, version=__version__)))
    reader = ReplyReader()
    replies: deque[Reply] = deque()
    try:
        while not replies:
            data = await door.reader.read(_READ_BYTES)
            if not data:
                door.writer.close()
                return None
            replies.extend(reader.read(data))
    except FrameError:
        door.writer.close()
        if not rendezvous.held(at):
            return None
        raise EngineUnavailable(
            "The worker that runs is of another version of glm-lsp; end it with glm-lsp worker stop."
        ) from None
    except OSError:
        door.writer.close()
        return None
    except BaseException:
        door.writer.close()
        raise
    match replies.popleft():
        case Welcome() as welcome:
            return Connection(at, door, reader, replies, welcome)
        case Refused(ending=True):
            door.writer.close()
            return None
        case Refused() as refused:
            door.writer.close()
            raise EngineUnavailable(refused.message)
        case _:
            door.writer.close()
            if not rendezvous.held(at):
                return None
            raise EngineUnavailable(f"Whoever listens at {at.socket} is no worker of glm-lsp; end it.")


async def ask(at: Place) -> Status | None:
    """The worker's live figures; None if there is no worker. Raises an EngineError."""
    connection = await _visit(at, Waiting(at))
    if connection is None:
        return None
    try:
        return await connection.ask(_ASK_S)
    finally:
        await connection.close()


async def stop(at: Place, *, force: bool = False) -> str | None:
    """End the worker and wait until it is gone: return an empty string.

    A sentence where it refuses, None where there is none. One that just starts, or ends, is waited for.
    Raises an EngineError.
    """
    since, waiting = time.monotonic(), Waiting(at)
    pause, there = _SHORTEST_PAUSE_S, False
    while (connection := await _visit(at, waiting)) is None:
        if not rendezvous.held(at):
            return "" if there else None
        if time.monotonic() - since > _END_S:
            raise _hangs(at)
        there = True
        waiting.tell()
        pause = await _longer(pause)
    try:
        if refused := await connection.stop(waiting, force=force):
            return refused.message
    except TimeoutError:
        raise _hangs(at) from None
    finally:
        await connection.close()
    since, pause = time.monotonic(), _SHORTEST_PAUSE_S
    while _there(at, connection.pid):
        if time.monotonic() - since > _END_S:
            raise _hangs(at)
        pause = await _longer(pause)
    return ""


def _there(at: Place, pid: int) -> bool:
    """Whether that worker has the slot still. Somebody may have started another one the moment it let go."""
    named = rendezvous.named(at)
    return rendezvous.held(at) and (not named or pid in named)


def _hangs(at: Place) -> EngineStalled:
    return EngineStalled(
        f"The worker of slot '{at.slot}'{holders.told(at)} does not answer; its log is {at.log}. "
        f"{_REMEDY.format(at.slot)}"
    )


async def _visit(at: Place, waiting: Waiting | None = None) -> Connection | None:
    """Connect without needing the model."""
    seen = rendezvous.mark(at)
    if (door := await rendezvous.knock(at)) is None:
        return None
    try:
        return await holders.while_held(at, seen, _greet(at, door, None, "visitor"), _ASK_S, waiting)
    except TimeoutError:
        raise _hangs(at) from None


class Connection:
    """A greeted worker, made by `reach`. Once `alive` is false a new one is needed."""

    def __init__(
        self, at: Place, door: Door, reader: ReplyReader, early: deque[Reply], welcome: Welcome
    ) -> None:
        self.pid = welcome.pid
        self.placement = ""
        self.counted = False
        """The engine has taken note of its death."""
        self._at = at
        self._door = door
        self._frames = reader
        self._requests: dict[int, Replies] = {}
        self._life_at = time.monotonic()
        self._settled = asyncio.Event()
        self._loading: float | None = 0.0
        self._refusal: Failed | None = None
        self._refused_at = 0.0
        self._end: EngineError | None = None
        self._statuses: deque[asyncio.Future[Status]] = deque()
        self._refused: asyncio.Future[Refused | None] | None = None
        self._closing = False
        self._alive = True
        for reply in early:
            self._take(reply)
        self._task = asyncio.create_task(self._listen(), name="embedded worker")

    @property
    def alive(self) -> bool:
        return self._alive and not self._closing

    @property
    def loading(self) -> float | None:
        """0 to 1 while the model is loaded, else None."""
        return self._loading

    def refusal(self, since_s: float) -> ConfigError | None:
        """Why the worker does not load the model, if it said so no longer ago; it has ended, or is about to.

        Whatever else it said when it ended (it was stopped, it hung) is no reason not to start another.
        """
        if self._refusal is None or time.monotonic() >= self._refused_at + since_s:
            return None
        error = error_of(self._refusal)
        return error if isinstance(error, ConfigError) else None

    async def ready(self, stall_s: float) -> Failed | None:
        """Wait until the model is loaded; return the worker's refusal if it cannot be."""
        while not self._settled.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience(stall_s)):
                    await self._settled.wait()
        if self._end is not None and self._refusal is None:
            raise self._end
        return self._refusal

    def submit(self, request: Generate) -> Replies:
        """Send a request. Raises UsageError if it cannot be sent at all."""
        replies: Replies = asyncio.Queue()
        if not self._alive:
            replies.put_nowait(self._refusal)
            return replies
        try:
            self._write(request)
        except FrameError as error:
            raise UsageError(f"The request cannot be sent to the model: {error}") from error
        self._requests[request.id] = replies
        return replies

    async def next(self, replies: Replies, stall_s: float) -> Answer:
        """Wait for the next reply. Raises EngineDied, or EngineStalled after `stall_s` without progress."""
        while True:
            reply = None
            try:
                async with asyncio.timeout(self._patience(stall_s)):
                    reply = await replies.get()
            except TimeoutError:
                continue
            if reply is not None:
                return reply
            raise self._end or EngineUnavailable("The embedded engine is closed.")

    def cancel(self, identity: int) -> None:
        """Stop a request in the worker, waiting or running; its last reply is then Cancelled."""
        if self._alive:
            self._write(Cancel(identity))

    def forget(self, identity: int) -> None:
        """Take no more replies for a request."""
        self._requests.pop(identity, None)

    async def ask(self, patience_s: float = _ASK_S) -> Status:
        """Live figures. Raises an EngineError."""
        future: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._statuses.append(future)
        if self._alive:
            self._write(Ask())
        elif self._task.done():
            self._tell_visitors()  # else they are told when it is known how it ended
        try:
            async with asyncio.timeout(patience_s):
                return await future
        except TimeoutError:
            raise EngineStalled(f"The worker has not answered for {patience_s:.0f} s.") from None

    async def stop(self, waiting: Waiting | None = None, *, force: bool) -> Refused | None:
        """Ask the worker to end; its refusal, or None when it has hung up.

        Raises TimeoutError if it does neither and gives no sign of life for `_END_S`.
        """
        self._refused = asyncio.get_running_loop().create_future()
        if not self._alive:
            return None
        self._write(Stop(force))
        while (left := self._life_at + _END_S - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, holders.MOMENT_S)):
                    return await asyncio.shield(self._refused)
            if waiting:
                waiting.tell()
        raise TimeoutError

    async def close(self) -> None:
        """Hang up. The worker cancels what it does for us and goes on for others."""
        self._closing = True
        self._hang_up()
        if self._alive:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._finish()
        with contextlib.suppress(OSError):
            await self._door.writer.wait_closed()

    def _patience(self, stall_s: float) -> float:
        """Seconds that may still pass without progress. Hangs up when there are none left."""
        # The worker and its keeper end a hang themselves after `stall_s`: their word is more exact than ours.
        left = self._life_at + stall_s + OBITUARY_S - time.monotonic()
        if left > 0 or not self._alive:
            return max(left, 1.0)
        self._end = EngineStalled(
            f"The embedded engine gave no sign of life for {stall_s:.0f} s (engine.stall_seconds). {AGAIN}"
        )
        self._alive = False
        self._hang_up()
        raise self._end

    def _hang_up(self) -> None:
        """At once: a worker that reads no more must not keep us until it has read the rest."""
        self._door.writer.transport.abort()

    def _write(self, request: Request) -> None:
        if not self._door.writer.is_closing():
            self._door.writer.write(encode(request))

    async def _listen(self) -> None:
        """Take replies until the worker hangs up, then tell everybody who waits."""
        try:
            while data := await self._door.reader.read(_READ_BYTES):
                for reply in self._frames.read(data):
                    self._take(reply)
        except FrameError as error:
            self._end = EngineDied(f"The embedded engine's worker sent no frames any more: {error} {AGAIN}")
        except OSError:
            pass  # the same as hanging up
        self._alive = False
        self._hang_up()
        if self._end is None and self._refusal is None and not self._closing:
            self._end = await how_it_ended(self._at, self.pid, loading=self._loading is not None)
        self._finish()

    def _finish(self) -> None:
        self._alive = False
        self._loading = None
        for replies in self._requests.values():
            replies.put_nowait(self._refusal)
        self._requests.clear()
        self._settled.set()
        self._tell_visitors()

    def _tell_visitors(self) -> None:
        while self._statuses:
            if not (waiting := self._statuses.popleft()).done():
                waiting.set_exception(self._end or EngineUnavailable("The worker has ended."))
        if self._refused is not None and not self._refused.done():
            self._refused.set_result(None)

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, Alive):
            self._life_at = max(self._life_at, time.monotonic() - reply.stuck_s)
            return
        self._life_at = time.monotonic()
        match reply:
            case Loading():
                self._loading = reply.fraction
            case Ready():
                self._loading = None
                self.placement = reply.placement
                self._settled.set()
            case Failed(id=None):
                self._alive = False
                self._refusal, self._refused_at = reply, self._life_at
                # What it says of single requests from now on is only a consequence.
                for replies in self._requests.values():
                    replies.put_nowait(reply)
                self._requests.clear()
            case Progress() | Text() | Done() | Cancelled() | Failed():
                # After this error it has said that it cannot go on, and ends.
                self._alive = self._alive and not (isinstance(reply, Failed) and reply.kind == "EngineDied")
                if reply.id in self._requests:
                    self._requests[reply.id].put_nowait(reply)
            case Status():
                if self._statuses and not (waiting := self._statuses.popleft()).done():
                    waiting.set_result(reply)
            case Refused():
                if self._refused is not None and not self._refused.done():
                    self._refused.set_result(reply)
            case Welcome():
                pass
