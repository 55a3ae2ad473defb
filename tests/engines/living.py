"""What tests of the worker's life share: processes, and clients that need the bundled model."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from glm_lsp.core import profiles
from glm_lsp.core.settings import Settings
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.connection import Connection
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.frames import Load, Reply, ReplyReader, Request, encode
from glm_lsp.engines.rendezvous import MAIN, Place, place

STALL_S = 60.0


def load_of(**changes: Any) -> Load:
    """What the bundled model's engine asks a worker for, with changes."""
    wanted = EmbeddedEngine(
        Settings({"model.threads": 1, "worker.drafts": False}), profiles.load("nano")
    )._load()
    return msgspec.structs.replace(wanted, **changes)


@asynccontextmanager
async def client(
    name: str = "test", *, stall_s: float = STALL_S, **changes: Any
) -> AsyncIterator[Connection]:
    """A connection to the machine's worker, which is started if need be."""
    made = await connection.reach(place(MAIN), load_of(stall_s=stall_s, **changes), name, stall_s)
    try:
        yield made
    finally:
        await made.close()


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that has no event."""
    while not true():  # noqa: ASYNC110 (it has none)
        await asyncio.sleep(0.02)


async def gone(pid: int) -> None:
    """Wait until no such process is left."""
    await until(lambda: not exists(pid))


def exists(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    with contextlib.suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not Path("/proc/self").exists()


def workers(at: Place) -> list[int]:
    """The process ids of all workers, keepers included, whose runtime directory this is."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().split(b"\0")
            ours = f"{rendezvous.RUNTIME_VARIABLE}={at.directory}".encode()
            if b"glm_lsp.engines.worker" in words and ours in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return [pid for pid in found if exists(pid)]


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


async def raw(at: Place, *frames: Request | bytes) -> list[Reply]:
    """Send frames as they are; return what comes back before the other side hangs up, or falls silent."""
    door = await rendezvous.knock(at)
    assert door is not None
    for frame in frames:
        door.writer.write(frame if isinstance(frame, bytes) else encode(frame))
    replies: list[Reply] = []
    reader = ReplyReader()
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(3.0):
            while data := await door.reader.read(1 << 16):
                replies += reader.read(data)
    door.writer.close()
    return replies


def token_of(at: Place) -> str:
    return at.token.read_text(encoding="ascii")
