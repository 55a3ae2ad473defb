"""Stopping a worker ends, whatever the worker, its clients and those who elect anew do meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glm_lsp.core.errors import EngineError
from glm_lsp.engines import connection, holders, rendezvous
from glm_lsp.engines.frames import Generate
from glm_lsp.engines.rendezvous import MAIN, Lock, Place, place
from tests.engines.living import STALL_S, client, gone, load_of, until, workers

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.usefixtures("llama", "runtime"),
]
LONG_S = 40.0
"""Nothing here takes so long; what would hang fails instead."""


@contextmanager
def keen(at: Place) -> Iterator[threading.Event]:
    """Somebody who takes the slot the moment it is free, and names itself."""
    over, has = threading.Event(), threading.Event()

    def wait() -> None:
        lock = Lock(at)
        while not over.wait(0.001):
            if not has.is_set() and lock.acquire():
                lock.name(os.getpid(), os.getpid())
                has.set()
        lock.release()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield has
    finally:
        over.set()
        thread.join()


@pytest.mark.embedded
async def test_another_that_takes_the_slot_at_once_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_END_S", 5.0)
    at = place(MAIN)
    async with client() as worker:
        pid = worker.pid
        with keen(at) as taken:
            assert await connection.stop(at) == ""
            await gone(pid)
            assert await asyncio.to_thread(taken.wait, LONG_S)


async def test_one_that_just_starts_is_waited_for_and_stopped() -> None:
    at = place(MAIN)
    for _ in range(3):
        assert await rendezvous.start(at)
        async with asyncio.timeout(LONG_S):
            assert await connection.stop(at) == ""
        await until(lambda: not workers(at))


@pytest.mark.embedded
async def test_clients_that_elect_while_others_stop_leave_no_worker_behind() -> None:
    at = place(MAIN)
    for number in range(6):
        reaching = [
            asyncio.create_task(connection.reach(at, load_of(), f"window {n}", STALL_S)) for n in range(3)
        ]
        await asyncio.sleep(0.15 * number)
        assert await connection.stop(at, force=True) in {"", None}
        for reached in await asyncio.gather(*reaching, return_exceptions=True):
            if isinstance(reached, connection.Connection):
                await reached.close()
            else:
                assert isinstance(reached, EngineError)
        assert await connection.stop(at, force=True) in {"", None}
        await until(lambda: not workers(place(MAIN)))


WORKS = """
import os, sys, time
from glm_lsp.engines.frames import Ready
from glm_lsp.engines.rendezvous import MAIN, Lock, place
from glm_lsp.engines.worker.listener import Listener
from glm_lsp.engines.worker.scheduler import Scheduler

lock = Lock(place(MAIN))
assert lock.acquire()
lock.name(os.getpid(), os.getpid())
reading, writing = os.pipe()
listener = Listener(place(MAIN), writing, Scheduler())
listener.start()
print("open", flush=True)
listener.wanted()
if sys.argv[1] == "ready":
    time.sleep(0.5)
    listener.pulse.beat()
    listener.loaded(Ready(4096, 8192, 0.0, 1))
time.sleep(600)
sys.exit(9)
"""
"""A worker whose call does not come back: the one that loads the model, or the next, begun soon after."""


@pytest.mark.parametrize(("state", "status"), [("loading", 0), ("ready", 1)])
async def test_a_call_that_does_not_come_back_does_not_keep_a_worker_that_was_stopped(
    state: str, status: int
) -> None:
    """Nothing of a load is worth waiting for; of what is ready the patience that its clients have."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WORKS, state, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"open\n"
    made = await connection.reach(place(MAIN), load_of(stall_s=4.0), "test", STALL_S)
    if state == "ready":
        assert await made.ready(STALL_S) is None
    assert await made.stop(force=True) is None
    assert await process.wait() == status
    await made.close()


@pytest.mark.embedded
async def test_leaving_a_worker_that_reads_no_more_takes_no_time() -> None:
    """Although it was sent more than fits on the way to it."""
    at = place(MAIN)
    async with client() as worker:
        assert await worker.ready(STALL_S) is None
        for pid in rendezvous.named(at):
            os.kill(pid, signal.SIGSTOP)
        worker.submit(Generate(1, (("x" * (8 << 20), False),), 8))
        async with asyncio.timeout(LONG_S):
            await worker.close()
    assert len(await holders.end(at)) == 2
    await until(lambda: not workers(at))
