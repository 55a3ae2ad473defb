"""The worker's door by itself, with nobody behind it who answers in time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from glm_lsp.core.errors import EngineStalled, EngineUnavailable
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.connection import Connection
from glm_lsp.engines.failures import error_of
from glm_lsp.engines.frames import Done, Failed, Generate, Ready, Reply, Text
from glm_lsp.engines.rendezvous import MAIN, place
from glm_lsp.engines.worker import clients
from glm_lsp.engines.worker import listener as worker_listener
from glm_lsp.engines.worker.clients import Send
from glm_lsp.engines.worker.listener import Listener
from tests.engines.living import load_of, until

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="sockets of POSIX"),
    pytest.mark.usefixtures("runtime"),
]
READY = Ready(4096, 8192, 0.0, 1)
ASKED = (("Go on.\n", False),)


class Parrot:
    """A desk that sends the same answer to everybody, from the listener's own thread."""

    def __init__(self, replies: Callable[[int], list[Reply]]) -> None:
        self.replies = replies
        self.dropped: list[int] = []

    def submit(self, client: int, request: Generate, send: Send) -> None:
        for reply in self.replies(request.id):
            send(reply)

    def cancel(self, client: int, identity: int) -> None:
        """It has answered already."""

    def drop(self, client: int) -> None:
        self.dropped.append(client)

    def working_for(self) -> list[int]:
        return []

    def close(self) -> None:
        """Nothing runs."""


@contextmanager
def opened(desk: Parrot) -> Iterator[Listener]:
    """A listener in this process; what it tells its keeper goes nowhere."""
    reading, writing = os.pipe()
    listener = Listener(place(MAIN), writing, desk)
    listener.start()
    try:
        yield listener
    finally:
        listener.end("The test is over.")
        listener.finish()
        os.close(reading)
        os.close(writing)


@asynccontextmanager
async def visiting(listener: Listener, stall_s: float = 60.0) -> AsyncIterator[Connection]:
    made = await connection.reach(place(MAIN), load_of(stall_s=stall_s), "test", stall_s)
    listener.loaded(READY)
    try:
        yield made
    finally:
        await made.close()


async def test_a_client_that_does_not_read_is_dropped_and_others_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(clients, "MOST_PENDING_BYTES", 4 << 20)
    desk = Parrot(lambda identity: [Text(identity, "x" * (1 << 20))] * 16)
    with opened(desk) as listener:
        async with visiting(listener) as reads:
            door = await rendezvous.knock(place(MAIN))
            assert door is not None
            lazy = await connection._greet(place(MAIN), door, load_of(stall_s=60.0), "lazy")
            assert lazy is not None
            lazy._task.cancel()
            door.reader._transport.pause_reading()  # type: ignore[attr-defined]
            lazy.submit(Generate(1, ASKED, 8))
            await until(lambda: desk.dropped == [2])
            desk.replies = lambda identity: [Text(identity, "y")]
            replies = reads.submit(Generate(1, ASKED, 8))
            assert isinstance(await reads.next(replies, 60.0), Text)
            await lazy.close()
    assert "lazy (process" in capsys.readouterr().err


async def test_a_client_that_leaves_is_dropped_with_its_work() -> None:
    desk = Parrot(lambda _: [])
    with opened(desk) as listener:
        async with visiting(listener) as leaves:
            leaves.submit(Generate(1, ASKED, 8))
            assert (await leaves.ask()).clients
        await until(lambda: desk.dropped == [1])


async def test_a_long_call_is_no_stall_while_it_shows_progress() -> None:
    with opened(Parrot(lambda _: [])) as listener:
        async with visiting(listener, stall_s=1.0) as waits:
            replies = waits.submit(Generate(1, ASKED, 8))
            waiting = asyncio.create_task(waits.next(replies, 1.0))
            for _ in range(20):
                listener.pulse.beat()
                await asyncio.sleep(0.1)
            listener.pulse.rest()
            assert not waiting.done()
            done = Done(1, "stop", 1, 0, 1, 0, 0.0, 0.0)  # type: ignore[arg-type]
            listener.send(1, done)
            assert await waiting == done


HANGS = """
import os, time
from glm_lsp.engines.frames import Ready
from glm_lsp.engines.rendezvous import MAIN, place
from glm_lsp.engines.worker.listener import Listener
from glm_lsp.engines.worker.scheduler import Scheduler

reading, writing = os.pipe()
listener = Listener(place(MAIN), writing, Scheduler())
listener.start()
print("open", flush=True)
listener.wanted()
listener.loaded(Ready(4096, 8192, 0.0, 1))
listener.pulse.beat()
while True:
    time.sleep(600)
"""


async def test_a_call_that_does_not_come_back_ends_the_worker_with_a_sentence() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", HANGS, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    made = await connection.reach(place(MAIN), load_of(stall_s=1.0), "test", 1.0)
    refusal = await made.next(made.submit(Generate(1, ASKED, 8)), 1.0)
    assert isinstance(refusal, Failed)
    with pytest.raises(EngineStalled, match=r"no progress for . s .*one call of llama.cpp, and ended itself"):
        raise error_of(refusal)
    assert await process.wait() == 1
    await made.close()


async def test_visitors_take_nobodys_place_and_are_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_listener, "MOST_CLIENTS", 2)
    monkeypatch.setattr(worker_listener, "MOST_VISITORS", 3)
    with opened(Parrot(lambda _: [])) as listener:
        async with visiting(listener), visiting(listener):
            with pytest.raises(EngineUnavailable, match="has 2 clients already"):
                await connection.reach(place(MAIN), load_of(stall_s=60.0), "third", 60.0)
            first, *others = [await connection._visit(place(MAIN)) for _ in range(4)]
            assert first is not None
            await until(lambda: not first.alive)
            for visitor in (first, *others):
                assert visitor is not None
                assert visitor is first or (await visitor.ask()).clients
                await visitor.close()
            assert await connection.ask(place(MAIN)) is not None
