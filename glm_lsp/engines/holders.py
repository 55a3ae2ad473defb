"""Who has a slot, and is seen to have it: the keeper and the worker named in the lock; and their end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from glm_lsp.core.errors import NOTICES
from glm_lsp.engines import rendezvous
from glm_lsp.engines.rendezvous import Lock, Place

T = TypeVar("T")
MOMENT_S = 1.0
SILENCE_S = 3.0
"""Whoever has not greeted for so long may be no worker: it is looked again whether there is one."""
_KEEPER_S = 3.0
"""A keeper that is well leaves word of its worker's end in less, and lets go of the lock."""
_BURIAL_S = 20.0
"""The system takes a while to bury a process with a large model."""
_PAUSE_S = 0.05
_notices = logging.getLogger(NOTICES)
_MODULE = b"glm_lsp.engines.worker"


class Waiting:
    """Says what is waited for, once, to a person who has waited for a moment."""

    def __init__(self, at: Place) -> None:
        self._place: Place | None = at
        self._at = time.monotonic() + MOMENT_S

    def tell(self) -> None:
        if (at := self._place) is not None and time.monotonic() >= self._at:
            self._place = None
            _notices.warning(
                "Waiting for the worker of slot '%s'%s: it does not answer yet, or saves what it has read.",
                at.slot,
                told(at),
            )


def told(at: Place) -> str:
    """The processes, for a sentence, in parentheses after a space; empty where they are not known."""
    found = rendezvous.named(at)
    if sys.platform == "linux":
        found = tuple(pid for pid in found if _has(at, pid))
    return f" (process{'es' if len(found) > 1 else ''} {' and '.join(map(str, found))})" if found else ""


async def while_held(
    at: Place,
    seen: tuple[int, int],
    greeting: Coroutine[Any, Any, T | None],
    patience_s: float,
    waiting: Waiting | None = None,
) -> T | None:
    """Wait for a greeting at the socket marked `seen`; None as soon as it shows that no worker is there.

    Raises TimeoutError after `patience_s`, and what `greeting` raises.
    """
    until = time.monotonic() + patience_s
    task = asyncio.ensure_future(greeting)
    try:
        while True:
            left = max(until - time.monotonic(), 0.0)
            done, _ = await asyncio.wait({task}, timeout=min(left, MOMENT_S if waiting else SILENCE_S))
            if done:
                return task.result()
            if waiting:
                waiting.tell()
            if not rendezvous.held(at) or rendezvous.mark(at) != seen:
                return None
            if not left:
                raise TimeoutError
    finally:
        if task.cancel():
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def end(at: Place) -> tuple[int, ...]:
    """Kill worker and keeper and take away their names: return the process ids that were killed.

    Empty where nobody is seen to have the lock, which the system has to tell: on Linux only.
    """
    ended: list[int] = []
    # The worker first: its keeper can then leave word, and goes by itself.
    for pid, patience_s in zip(reversed(rendezvous.named(at)), (_KEEPER_S, _BURIAL_S), strict=False):
        if rendezvous.held(at) and _kill(at, pid):
            ended.append(pid)
            until = time.monotonic() + patience_s
            while rendezvous.held(at) and time.monotonic() < until:  # noqa: ASYNC110 (no event)
                await asyncio.sleep(_PAUSE_S)
    lock = Lock(at)
    if ended and lock.acquire():
        rendezvous.leave(at)
        lock.release()
    return tuple(ended)


def _kill(at: Place, pid: int) -> bool:
    """Kill a process that is seen to have the lock; false if it is another one."""
    if sys.platform != "linux":
        return False
    try:
        handle = os.pidfd_open(pid)  # from now on the number means nobody else
    except OSError:
        return False
    try:
        if not _has(at, pid):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def _has(at: Place, pid: int) -> bool:
    """Whether that is a process of ours that runs the slot's worker or keeper and has this very lock open."""
    process = Path(f"/proc/{pid}")
    try:
        lock = at.lock.lstat()
        words = (process / "cmdline").read_bytes().split(b"\0")
        if process.stat().st_uid != os.geteuid() or _MODULE not in words or at.slot.encode() not in words:
            return False
        for handle in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                status = handle.stat()
                if (status.st_dev, status.st_ino) == (lock.st_dev, lock.st_ino):
                    return True
    except OSError:
        pass
    return False
