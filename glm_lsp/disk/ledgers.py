"""Ledgers that a user's windows and commands share, below the user's cache directory.

The worker shares whatever beginnings of prompts are the same; so that they are the same, a client publishes
what it has told the engine, and one that has told nothing yet goes on from there. Two states are kept by
key: the epoch's first one and the latest; of small budgets the last ones of some epochs before, too. They
hold source text, so the directory is the user's alone; what is damaged, too old or too large is not there.
Everything here can be made again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from glm_lsp.core.ledger import LEAN_TOKENS, Ledger
from glm_lsp.core.told import Told
from glm_lsp.disk.store import Store

SIZE_LIMIT_BYTES = 64 << 20
MOST_BYTES = 4 << 20
"""A larger state is not kept."""
MOST_AGE_S = 14 * 86_400.0
PAUSE_S = 2.0
"""A log that grows is published when it has not grown for so long."""
BEGIN_S, POLL_S = 10.0, 0.05
"""So long one who begins an epoch is waited for, looked for so often."""
BUSY = -2
FORM = 2
MOST_LEFT = 6
"""Epochs of a small budget, whose heads serve one place, that are kept beside the latest."""
_T = TypeVar("_T")


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    form: int
    begun: float
    """When the epoch began, in seconds since 1970: one that began earlier never takes a later one's place."""
    saved: float
    told: Told


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[_Kept]).decode


class SharedLedgers:
    """`latest` and `publish` for the sessions of one process, on one event loop.

    What touches the disk runs in one thread of its own. Publishing returns at once: a new epoch is written
    as soon as possible, a log that has grown after a pause or by `close`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        publishes: bool = True,
        pause_s: float = PAUSE_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        """With `publishes` false it only reads: for a client that has nothing evaluated."""
        self._directory, self._publishes, self._pause_s, self._now = directory, publishes, pause_s, now
        self._thread: ThreadPoolExecutor | None = None
        self._store: Store | None = None
        self._begun: dict[str, float] = {}
        """When epochs began, by what their heads say."""
        self._heads: dict[str, str] = {}
        """The head that was published last, by key."""
        self._waiting: dict[str, Ledger] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._writing: set[asyncio.Future[None]] = set()

    async def latest(self, key: str) -> tuple[Told, ...]:
        """What was published last under this key, its epoch's first state, and what was left before that."""
        found = await self._run(lambda: self._read(key))
        for kept in found:
            self._begun[_head(kept.told.heading)] = kept.begun
        return tuple(kept.told for kept in found)

    def publish(self, key: str, ledger: Ledger) -> None:
        """Others may go on from this state."""
        if not self._publishes:
            return
        head = _head(tuple(block.text for block in ledger.head_blocks))
        first = head not in self._begun
        self._begun.setdefault(head, self._now())
        self._waiting[key] = ledger
        if key in self._timers:
            self._timers.pop(key).cancel()
        if first or self._heads.get(key, head) != head:
            self._write_soon(key)
        else:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(self._pause_s, self._write_soon, key)
        self._heads[key] = head

    @contextlib.asynccontextmanager
    async def beginning(self, key: str) -> AsyncGenerator[None]:
        """While one process is in here, others that come wait; what it has published is written at the end.

        Nobody waits longer than `BEGIN_S`: two who begin at once read more than they must, and that is all.
        """
        if not self._publishes:
            yield
            return
        waited = 0.0
        while (handle := await self._locking(key)) == BUSY and waited < BEGIN_S:
            await asyncio.sleep(POLL_S)
            waited += POLL_S
        try:
            yield
            await self._settled(key)
        finally:
            if handle >= 0:
                os.close(handle)

    async def _locking(self, key: str) -> int:
        """As `_locked`; whoever is cancelled meanwhile leaves no lock behind."""
        task = asyncio.ensure_future(self._run(lambda: self._locked(key)))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_released)
            raise

    def _locked(self, key: str) -> int:
        """The handle of a lock that is ours until it is closed, `BUSY`, or -1 where nothing can be locked."""
        self._opened()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._directory / f"begin-{key[:2]}.lock", flags, 0o600)
        except OSError:
            return -1
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            return BUSY if isinstance(error, BlockingIOError) else -1
        return handle

    async def _settled(self, *keys: str) -> None:
        for key in keys:
            self._write_soon(key)
        await asyncio.gather(*self._writing, return_exceptions=True)

    async def close(self) -> None:
        """Write what waits."""
        await self._settled(*self._waiting)
        if self._thread is not None:
            await self._run(self._shut)
            self._thread.shutdown()
            self._thread = None

    def _write_soon(self, key: str) -> None:
        if key in self._timers:
            self._timers.pop(key).cancel()
        ledger = self._waiting.pop(key, None)
        if ledger is None:
            return
        task = asyncio.ensure_future(self._run(lambda: self._write(key, ledger)))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "ledgers")
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _opened(self) -> Store:
        if self._store is None:
            self._store = Store(self._directory, SIZE_LIMIT_BYTES)
        return self._store

    def _shut(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None

    def _read(self, key: str) -> tuple[_Kept, ...]:
        latest, first, left = _names(key)
        kept = [self._one(name) for name in (latest, first)]
        return (*(each for each in kept if each is not None), *self._several(left))

    def _one(self, name: str) -> _Kept | None:
        found = self._several(name)
        return found[0] if found else None

    def _several(self, name: str) -> list[_Kept]:
        """What is kept under a name, as far as it is sound and not too old."""
        data = self._opened().get(name)
        if data is None:
            return []
        with contextlib.suppress(msgspec.MsgspecError, ValueError):
            found = _decode(data)
            fresh = [k for k in found if k.form == FORM and 0 <= self._now() - k.saved <= MOST_AGE_S]
            if fresh:
                return fresh
        self._opened().drop([name])
        return []

    def _write(self, key: str, ledger: Ledger) -> None:
        told = Told.of(ledger)
        begun = self._begun[_head(told.heading)]
        latest, first, left = _names(key)
        there = self._one(latest)
        if there is not None and there.begun > begun:
            return
        data = _encode([_Kept(FORM, begun, self._now(), told)])
        if len(data) > MOST_BYTES:
            return
        values = {latest: data}
        if there is None or there.told.heading != told.heading:
            values[first] = data
            if there is not None and ledger.budget_tokens < LEAN_TOKENS:
                before = [k for k in self._several(left) if k.told.heading != told.heading]
                values[left] = _encode([there, *before][:MOST_LEFT])
        self._opened().set_many(values)


class Offered:
    """The ledgers of one repository, engine and set of rules: other `facts`, other ledgers."""

    def __init__(self, ledgers: SharedLedgers, facts: Mapping[str, object]) -> None:
        self._ledgers, self._facts = ledgers, facts

    async def latest(self, budget_tokens: int) -> tuple[Told, ...]:
        return await self._ledgers.latest(self._key(budget_tokens))

    def publish(self, budget_tokens: int, ledger: Ledger) -> None:
        self._ledgers.publish(self._key(budget_tokens), ledger)

    def beginning(self, budget_tokens: int) -> contextlib.AbstractAsyncContextManager[None]:
        return self._ledgers.beginning(self._key(budget_tokens))

    def _key(self, budget_tokens: int) -> str:
        facts = msgspec.json.encode({**self._facts, "budget": budget_tokens}, order="deterministic")
        return hashlib.blake2b(facts, digest_size=24).hexdigest()


def _released(locking: asyncio.Future[int]) -> None:
    if not locking.cancelled() and locking.exception() is None and locking.result() >= 0:
        os.close(locking.result())


def _names(key: str) -> tuple[str, str, str]:
    return f"{key}/latest", f"{key}/first", f"{key}/left"


def _head(texts: Sequence[str]) -> str:
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()
