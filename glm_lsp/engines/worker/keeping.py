"""When an evaluated prompt is worth the disk, and when the disk is worth reading.

Saving begins with a copy of the state (`CachedSequence.save`), one call on the thread that runs the model:
nothing else can be done meanwhile, so it is made when nobody has asked for anything for much longer than it
takes. Writing is another thread's. Times are estimates from bytes and from speeds measured here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from glm_lsp.engines import probe
from glm_lsp.engines.probe import gigabytes
from glm_lsp.engines.worker.fetching import Data, Fetcher
from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import NEAR_SHARE, Found, SavedKv

LEAST_TOKENS = 256
"""Shorter ones are evaluated anew."""
LEAST_GAIN_S = 1.0
NEW_SHARE, NEW_SHARE_AT_END = 1 / 8, 1 / 32
REWRITE_S = 10.0
"""What is saved already, or nearly, is written again only when so much of it would be new, and evaluating
that would take longer: the loss is bounded, and the disk is not worn out by a prompt that grows line by
line."""
TIMES_THE_COST = 4.0
LEAST_IDLE_S, IDLE_PER_STALL = 2.0, 20.0
"""Idle for so many times the copy's length: then a keystroke meets it rarely, and waits little for it."""
EVICTION_STALL_S, EVICTION_SHARE = 0.25, 0.02
"""An eviction is made for somebody who waits: the copy may delay them so long, or by such a share."""
ASK_AGAIN_S = 60.0
"""A prompt that was not worth it is looked at again when it has grown, or after so long."""
_COPY_BYTES_S = 1e9
_READ_BYTES_S = 3e8
_SPARE_BYTES = 512 << 20


class Kept(Protocol):
    """What is asked of a sequence (`context.CachedSequence`)."""

    id: int

    @property
    def count(self) -> int: ...
    @property
    def tokens(self) -> Ids: ...
    def common(self, ids: Ids) -> int: ...
    def cut(self, count: int) -> None: ...
    def save(self) -> memoryview: ...


K_co = TypeVar("K_co", bound=Kept, covariant=True)


class Restoring(Protocol[K_co]):
    """What is asked of a context."""

    def restore(self, data: bytes | memoryview, tokens: Ids) -> K_co | None: ...


class Keeping:
    """The policy for one context. Only the thread that runs the model calls it.

    `bytes_per_token` is a first guess, corrected by the first state seen. `evaluate_s(start, end)` foretells
    how long evaluating tokens `start` to `end` of a prompt takes here, in seconds.
    """

    def __init__(
        self,
        saved: SavedKv,
        bytes_per_token: float,
        evaluate_s: Callable[[int, int], float],
        free_bytes: Callable[[], int | None] = lambda: probe.machine().free_bytes,
    ) -> None:
        self.fetcher = Fetcher(saved)
        self._saved = saved
        self._bytes_per_token = bytes_per_token
        self._evaluate_s = evaluate_s
        self._free_bytes = free_bytes
        self._copy_bytes_s = _COPY_BYTES_S
        self._declined: dict[int, tuple[int, float]] = {}

    def better(self, ids: Ids, held: int) -> Found | None:
        """A saved prompt that is sooner read than evaluated, where `held` tokens are in memory already.

        Restoring takes `entry_tokens` cells at first, and needs them free.
        """
        found = self._saved.best(ids)
        return found if found is not None and self._gains(found, held) else None

    def _gains(self, found: Found, held: int) -> bool:
        if found.tokens - held < LEAST_TOKENS:
            return False
        return self._evaluate_s(held, found.tokens) > self.restore_s(found.data_bytes)

    def restore(self, context: Restoring[K_co], found: Found, ids: Ids) -> K_co | None:
        """Bring a saved prompt into the KV cache, cut to what it has in common with `ids`; None if it is
        damaged, gone, or refused by llama.cpp. Raises what `Context.restore` raises."""
        loaded = self._saved.load(found)
        sequence = self.place(context, found, loaded) if loaded is not None else None
        if sequence is not None:
            sequence.cut(sequence.common(ids))
        return sequence

    def place(self, context: Restoring[K_co], found: Found, loaded: Data) -> K_co | None:
        """The same with what the fetcher has read, whole."""
        sequence = context.restore(*loaded)
        if sequence is None:
            self._saved.reject(found, "llama.cpp does not take it")
        return sequence

    def read_ahead(self) -> None:
        """Begin to read what was used last, if that is sooner done than evaluating it."""
        found = self._saved.newest()
        if found is not None and self._gains(found, 0):
            self.fetcher.ahead(found)

    def save_idle(self, sequence: Kept, idle_s: float) -> bool:
        """Save a prompt if that is worth it and nobody has asked for anything for long enough."""
        if idle_s < max(LEAST_IDLE_S, IDLE_PER_STALL * self.stall_s(sequence.count)):
            return False
        now = time.monotonic()
        count, asked = self._declined.get(sequence.id, (-1, 0.0))
        if count == sequence.count and now - asked < ASK_AGAIN_S:
            return False
        if self._worth(sequence, NEW_SHARE) and self._save(sequence):
            return True
        self._declined[sequence.id] = sequence.count, now
        return False

    def save_evicted(self, sequence: Kept) -> bool:
        """Save a prompt that has to leave the KV cache for somebody who waits, if the delay is small."""
        gain_s = self._worth(sequence, NEW_SHARE)
        if self.stall_s(sequence.count) > max(EVICTION_STALL_S, EVICTION_SHARE * gain_s) or not gain_s:
            return False
        return self._save(sequence)

    def save_last(self, sequences: Sequence[Kept], wait_s: float) -> int:
        """At the worker's orderly end: save what is worth it, the dearest first; how many were saved.

        Whatever is not written after `wait_s` seconds is given up.
        """
        until = time.monotonic() + wait_s
        worth = [(self._worth(sequence, NEW_SHARE_AT_END), sequence) for sequence in sequences]
        count = 0
        for gain_s, sequence in sorted(worth, key=lambda pair: -pair[0]):
            # One copy at a time: there may be no memory for two.
            if not gain_s or not self._saved.drain(max(until - time.monotonic(), 0.0)):
                break
            # A longer one may have been saved in this very loop.
            count += bool(self._worth(sequence, NEW_SHARE_AT_END)) and self._save(sequence)
        self._saved.close(max(until - time.monotonic(), 0.0))
        return count

    def stall_s(self, tokens: int) -> float:
        """How long copying the state of so many tokens keeps the model from its work."""
        return tokens * self._bytes_per_token / self._copy_bytes_s

    def restore_s(self, data_bytes: int) -> float:
        """How long reading, checking and loading so much takes."""
        return data_bytes / (self._saved.read_bytes_s or _READ_BYTES_S) + data_bytes / self._copy_bytes_s

    def _worth(self, sequence: Kept, new_share: float) -> float:
        """The seconds that saving is expected to save; 0 where it is not worth it."""
        count = sequence.count
        size = int(count * self._bytes_per_token)
        if count < LEAST_TOKENS or not self._saved.wanted(sequence.tokens, size):
            return 0.0
        found = self._saved.best(sequence.tokens)
        start = found.tokens if found is not None else 0
        gain_s = self._evaluate_s(start, count)
        enough = gain_s >= LEAST_GAIN_S and self._evaluate_s(0, count) >= TIMES_THE_COST * self.restore_s(
            size
        )
        if found is not None and start >= NEAR_SHARE * max(count, found.entry_tokens):
            enough = enough and gain_s >= REWRITE_S
        return gain_s if enough and count - start >= max(new_share * count, LEAST_TOKENS) else 0.0

    def _save(self, sequence: Kept) -> bool:
        size = int(sequence.count * self._bytes_per_token)
        free = self._free_bytes()
        if free is not None and free < 1.25 * size + _SPARE_BYTES:
            self._saved.unsaved = (
                f"A prompt of {sequence.count:,} tokens ({gigabytes(size)}) is not saved, because there is "
                "not enough free memory to copy it."
            )
            self._saved.tell("memory to save", self._saved.unsaved)
            return False
        started = time.perf_counter()
        data = sequence.save()
        seconds = max(time.perf_counter() - started, 1e-6)
        self._bytes_per_token = len(data) / sequence.count
        if len(data) > 16 << 20:
            # Smaller ones say more about the call than about the copy.
            self._copy_bytes_s = len(data) / seconds
        return self._saved.save(sequence.tokens, data)
