"""The worker's door: one thread with an event loop that greets clients, takes their requests, sends replies.

It never calls llama.cpp and never waits for the thread that does; that one never waits for a client. What it
also does: say every few seconds that the worker lives, end it when a call does not come back, and when nobody
has needed it for long enough.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import itertools
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from glm_lsp import __version__
from glm_lsp.engines import frames, rendezvous
from glm_lsp.engines.frames import (
    PROTOCOL,
    Alive,
    Ask,
    Cancel,
    Failed,
    FrameError,
    Generate,
    Hello,
    Load,
    Loading,
    Ready,
    Refused,
    Reply,
    Request,
    RequestReader,
    Status,
    Stop,
    Welcome,
    encode,
)
from glm_lsp.engines.rendezvous import Obituary, Place
from glm_lsp.engines.worker import conflict
from glm_lsp.engines.worker.clients import MOST_CLIENTS, MOST_VISITORS, Client, Desk, Outbox, say
from glm_lsp.engines.worker.keeper import AGAIN, FAREWELL, UNSAVED
from glm_lsp.engines.worker.pulse import Pulse

BEAT_S = 2.0
_FIRST_CLIENT_S = 30.0
"""Whoever started us has so long to come."""
_GREETING_S = 60.0
_FAREWELL_S = 1.0
_READ_BYTES = 1 << 20
_STALL_S = 300.0
_LINGER_S = 900.0


@dataclass(slots=True)
class _Times:
    """On the monotonic clock."""

    started: float = field(default_factory=time.monotonic)
    empty_since: float | None = field(default_factory=time.monotonic)
    """None while there are clients."""


class Listener:
    """Made and started by the main thread, which then waits in `wanted` for what to load."""

    def __init__(self, at: Place, beats: int, desk: Desk) -> None:
        self.pulse = Pulse()
        self.fill: Callable[[Status], Status] = lambda status: status
        """Completes a status with what the main thread knows."""
        self._at = at
        self._beats = beats
        if hasattr(os, "set_blocking"):
            os.set_blocking(beats, False)
        self._desk = desk
        self._token = rendezvous.new_token(at)
        self._clients: dict[int, Client] = {}
        self._numbers = itertools.count(1)
        self._times = _Times()
        self._model: conflict.Loaded | None = None
        self._linger_s = _LINGER_S
        self._wanted = threading.Event()
        self._fraction = 0.0
        self._ready: Ready | None = None
        self._ending = False
        self._loop = asyncio.new_event_loop()
        self._outbox = Outbox(self._loop, self._deliver)
        self._server: asyncio.Server | None = None
        self._socket_inode = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="listener", daemon=True)

    # For the main thread.

    def start(self) -> None:
        """Listen from now on. Raises OSError if there can be no socket."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    def wanted(self) -> Load | None:
        """Wait for the first client; None if it is time to end before there is one."""
        self._wanted.wait()
        return None if self._ending or self._model is None else self._model.load

    def loading(self, fraction: float) -> None:
        """So much of the model is loaded."""
        self.pulse.beat()
        self._fraction = fraction
        self._broadcast(Loading(fraction))

    def loaded(self, ready: Ready) -> None:
        self._ready = ready
        self._broadcast(ready)

    def end(self, message: str, *, kind: str = "") -> None:
        """Close the door, tell everybody, and have the main thread end. From any thread.

        `kind` is the error that clients raise; a good end is empty, and theirs is then EngineUnavailable.
        """
        self._loop.call_soon_threadsafe(self._end, message, kind)

    def finish(self, unsaved: str = "") -> None:
        """Send what is left, hang up and stop listening. `unsaved`: why what was read is not saved."""
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(_FAREWELL_S + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if unsaved:
            say(unsaved)
            self._tell_keeper(f"{UNSAVED} {' '.join(unsaved.split())}")

    def send(self, client: int, reply: Reply) -> None:
        """From any thread; returns at once. Text may wait a moment for more, all else takes it along."""
        self._outbox.put(client, reply)

    def _broadcast(self, reply: Reply) -> None:
        for number in list(self._clients):
            self.send(number, reply)

    # In the listener's thread.

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        finally:
            self._loop.close()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        await self._listen()
        self._keep(self._loop.create_task(self._watch()))

    async def _listen(self) -> None:
        start = asyncio.start_server if sys.platform == "win32" else asyncio.start_unix_server
        self._server = await start(self._serve, sock=rendezvous.listen(self._at))
        self._socket_inode = self._at.socket.lstat().st_ino

    def _deliver(self, number: int, data: bytes) -> None:
        if (client := self._clients.get(number)) is not None:
            client.send(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client: Client | None = None
        try:
            requests = RequestReader()
            async with asyncio.timeout(_GREETING_S):
                client, early = await self._greet(reader, writer, requests)
            if client is None:
                return
            for body in early:
                self._take(client, frames.request(body))
            while data := await reader.read(_READ_BYTES):
                for request in requests.read(data):
                    self._take(client, request)
        except FrameError as error:
            say(f"A client sent something else than frames, and is dropped: {error}")
        except (OSError, TimeoutError):
            pass  # the same as hanging up
        finally:
            writer.close()
            if client is not None:
                self._gone(client)

    async def _greet(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, requests: RequestReader
    ) -> tuple[Client | None, list[bytes]]:
        """Whoever has come, if welcome, and the frames that came behind the greeting. Raises FrameError."""
        if not rendezvous.same_user(writer.get_extra_info("socket")):
            return None, []
        bodies: list[bytes] = []
        while not bodies:
            if not (data := await reader.read(_READ_BYTES)):
                return None, []
            bodies = requests.feed(data)
        greeting = frames.greeting(bodies[0])
        if self._ending:
            return None, []
        if not hmac.compare_digest(greeting.token.encode(), self._token.encode()):
            refused = Refused("The worker was shown a token that is not its own; ask again.")
            await self._refuse(writer, refused)
            return None, []
        if greeting.protocol != PROTOCOL:
            await self._give_way(writer, "it is of another version of glm-lsp")
            return None, []
        hello = frames.request(bodies[0])
        if not isinstance(hello, Hello):
            raise FrameError("A greeting was to come first.")
        if hello.load is not None and (
            differing := conflict.difference(
                self._model, hello.load, hello.version, served=bool(self._served())
            )
        ):
            await self._give_way(writer, differing)
            return None, []
        if hello.load is not None and len(self._served()) >= MOST_CLIENTS:
            refused = Refused(f"The worker has {MOST_CLIENTS} clients already; close some windows.")
            await self._refuse(writer, refused)
            return None, []
        client = Client(next(self._numbers), hello.client[:80], hello.pid, hello.load, writer)
        self._welcome(client)
        return client, bodies[1:]

    def _welcome(self, client: Client) -> None:
        client.send(encode(Welcome(os.getpid(), __version__)))
        self._clients[client.number] = client
        if client.load is None:
            self._make_way()
            return
        self._times.empty_since = None
        # Its patience may be shorter than the last one's, and is the keeper's from now on.
        self._wake.set()
        self._linger_s = client.load.linger_s
        if self._model is None:
            self._model = conflict.Loaded.now(client.load)
            self._wanted.set()
        client.send(encode(Loading(self._fraction) if self._ready is None else self._ready))

    def _make_way(self) -> None:
        """Drop the visitors who came first, where there are too many."""
        visitors = [client for client in self._clients.values() if client.load is None]
        for visitor in visitors[:-MOST_VISITORS]:
            visitor.writer.transport.abort()
            self._gone(visitor)

    async def _give_way(self, writer: asyncio.StreamWriter, differing: str) -> None:
        """Refuse a client that needs another worker, and end where nobody else needs this one."""
        refused = conflict.refusal(differing, self._model, self._served())
        await self._refuse(writer, refused)
        if refused.ending:
            self._end(f"The worker gave way to another: {differing}.", "")

    async def _refuse(self, writer: asyncio.StreamWriter, refused: Refused) -> None:
        writer.write(encode(refused))
        with contextlib.suppress(OSError):
            await writer.drain()

    def _served(self) -> list[Client]:
        return [client for client in self._clients.values() if client.load is not None]

    def _take(self, client: Client, request: Request) -> None:
        if self._ending:
            return
        match request:
            case Generate() if client.load is not None:
                self._desk.submit(client.number, request, lambda reply: self.send(client.number, reply))
            case Cancel():
                self._desk.cancel(client.number, request.id)
            case Ask():
                client.send(encode(self._status()))
            case Stop():
                self._stop(client, force=request.force)
            case _:
                raise FrameError(f"A {type(request).__name__} is out of place here.")

    def _stop(self, client: Client, *, force: bool) -> None:
        busy = set(self._desk.working_for()) - {client.number}
        names = ", ".join(sorted(c.name for c in self._clients.values() if c.number in busy))
        if busy and not force:
            client.send(
                encode(
                    Refused(f"The worker has work to do for {names}; add --force to stop it all the same.")
                )
            )
            return
        self._end("The worker was stopped by glm-lsp worker stop.", "")

    def _gone(self, client: Client) -> None:
        self._clients.pop(client.number, None)
        self._desk.drop(client.number)
        if client.load is not None and not self._served():
            self._times.empty_since = time.monotonic()

    def _status(self) -> Status:
        now, times = time.monotonic(), self._times
        load = self._model.load if self._model is not None else None
        idle = 0.0 if times.empty_since is None else now - times.empty_since
        served = self._served()
        return self.fill(
            Status(
                pid=os.getpid(),
                version=__version__,
                model=load.path if load is not None else "",
                state=self._state(),
                uptime=now - times.started,
                idle_for=idle,
                ends_in=-1.0 if served else max(self._patience_for_clients_s() - idle, 0.0),
                clients=tuple(map(str, served)),
                kv_tokens=load.kv_tokens if load is not None else 0,
                placement=self._ready.placement if self._ready is not None else "",
            )
        )

    def _state(self) -> str:
        return "loading" if self._ready is None else "working" if self._desk.working_for() else "ready"

    def name_of(self, number: int) -> str:
        """What a person would call that client."""
        client = self._clients.get(number)
        return client.name if client is not None else "somebody who has left"

    # Life and death.

    async def _watch(self) -> None:
        """Beat, and look after everything that only time shows."""
        while not self._ending:
            patience_s = self._patience_s()
            stuck_s = self.pulse.stuck_s()
            self._tell_keeper(f"{patience_s}")
            for client in self._served():
                client.send(encode(Alive(stuck_s)))
            if stuck_s > patience_s:
                await self._give_up(stuck_s)
            if self._times.empty_since is not None:
                await self._linger()
            await self._look_at_socket()
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(BEAT_S, patience_s / 4)):
                    await self._wake.wait()
        while True:
            # Saving what was read may take a while: the keeper is to know that we live, and whoever stops us.
            stuck_s = self.pulse.stuck_s()
            if stuck_s > self._patience_s():
                say(f"A call into llama.cpp has not come back for {stuck_s:.0f} s; we end without it.")
                os._exit(1)
            self._tell_keeper(f"{self._patience_s()}")
            for client in self._clients.values():
                client.send(encode(Alive(stuck_s)))
            await asyncio.sleep(BEAT_S)

    def _patience_s(self) -> float:
        served = [client.load.stall_s for client in self._clients.values() if client.load is not None]
        return max(served, default=self._model.load.stall_s if self._model is not None else _STALL_S)

    def _patience_for_clients_s(self) -> float:
        return self._linger_s if self._model is not None else _FIRST_CLIENT_S

    async def _linger(self) -> None:
        since = self._times.empty_since
        if since is not None and time.monotonic() - since >= self._patience_for_clients_s():
            self._end("The worker ended because nobody needed it any more.", "")

    async def _look_at_socket(self) -> None:
        """Temporary directories are cleaned now and then, and nobody would find us any more."""
        if self._ending or rendezvous.found(self._at, self._socket_inode):
            return
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(OSError):
            self._token = rendezvous.new_token(self._at)
            await self._listen()

    async def _give_up(self, stuck_s: float) -> None:
        """A call into llama.cpp hangs. Nothing in this process can end it but the end of the process."""
        sentence = (
            f"The embedded engine made no progress for {stuck_s:.0f} s (engine.stall_seconds) in one call of "
            f"llama.cpp, and ended itself. {AGAIN}"
        )
        self._end(sentence, "EngineStalled")
        await self._hang_up()
        os._exit(1)

    def _end(self, message: str, kind: str) -> None:
        if self._ending:
            return
        self._ending = True
        if self._server is not None:
            self._server.close()
        rendezvous.leave(self._at)
        line = " ".join(message.split())
        self._tell_keeper(f"{FAREWELL} {kind or '-'} {line}")
        self._outbox.flush()
        for client in self._served():
            client.send(encode(Failed(None, kind or "EngineUnavailable", message)))
        self._desk.close()
        self._wanted.set()
        if self._model is not None and self._ready is None and not kind:
            # Loading cannot be interrupted, and nothing of it is worth keeping.
            self._keep(self._loop.create_task(self._leave_at_once()))

    async def _leave_at_once(self) -> None:
        await self._hang_up()
        os._exit(0)

    async def _hang_up(self) -> None:
        """Send what is left to those who read, and close every connection."""
        self._outbox.flush()
        clients = list(self._clients.values())
        for client in clients:
            client.writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_S):
                await asyncio.gather(*(c.writer.wait_closed() for c in clients), return_exceptions=True)

    def _tell_keeper(self, line: str) -> None:
        try:
            os.write(self._beats, f"{line}\n".encode())
        except BlockingIOError:
            pass  # it does not read just now
        except OSError:
            # Our keeper is gone, and with it whoever would tell how we end.
            rendezvous.leave(self._at)
            sentence = f"The process that kept the embedded engine's worker was killed, so it ended. {AGAIN}"
            rendezvous.publish(self._at, Obituary(os.getpid(), 0, "EngineDied", sentence))
            os._exit(1)
