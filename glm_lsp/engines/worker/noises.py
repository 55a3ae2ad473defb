"""The noise between batches at every depth: measured in idle time, over what the KV cache holds, and kept.

A token of a sequence that nobody uses is evaluated once more alone and once more among others, from the
prefix that is held: nothing is read again to come to that depth.
"""

from __future__ import annotations

import hashlib
import time
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import replace

import msgspec
import numpy as np

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.context import CachedSequence, Context, Rows
from glm_lsp.engines.worker.costs import ENOUGH, CostTable, NoiseAt
from glm_lsp.engines.worker.drafts import Speculator
from glm_lsp.engines.worker.figures import DEPTHS
from glm_lsp.engines.worker.llama import Ids, Logits
from glm_lsp.engines.worker.trunks import Pool

WINDOW = 64
"""Tokens that are compared in a row: what differs in the cache differs in all that follows."""
SIZES = (2, 4, 8, 16)
CAUTION = 2.0
"""The largest difference seen is not the largest there is."""
BUDGET_S = 600.0
"""No more than that of one worker's idle time: a model that is slow learns of its noise in many days."""
_BEST = 4
"""So many of a token's best candidates are compared."""
_VERSION = 1


class Window:
    """Some tokens of a sequence, evaluated alone and then in batches of one size, a call at a time."""

    def __init__(self, source: CachedSequence, at: int, size: int) -> None:
        """Raises NoSequence."""
        self.at, self.largest = at, 0.0
        self._size = size
        self.ids: Ids = source.tokens[at : at + WINDOW].copy()
        self._sequence = source.fork(at)
        self._alone: list[tuple[Ids, Logits]] = []
        self._compared = 0

    def step(self, context: Context) -> bool:
        """One call into llama.cpp; true: there is more to do. Raises Interrupted or NoRoom."""
        if (done := len(self._alone)) < WINDOW:
            self._sequence.feed(self.ids[done : done + 1], Rows.ALL)
            row = context.logits()
            best = np.argpartition(row, -_BEST)[-_BEST:].astype(np.int32)
            self._alone.append((best, row[best]))
            if done + 1 == WINDOW:
                self._sequence.cut(self.at)
            return True
        start, size = self._compared, min(self._size, context.batch_tokens)
        end = min(start + size, WINDOW)
        self._sequence.feed(self.ids[start:end], Rows.ALL)
        for row, (best, values) in zip(context.all_logits(), self._alone[start:end], strict=True):
            # How far any two of them have moved apart.
            self.largest = max(self.largest, float(np.ptp(row[best] - values)))
        self._compared = end
        return end < WINDOW

    def close(self) -> None:
        self._sequence.close()


class Kept:
    """What is known on the disk, beside c(k) and by the same identity."""

    def __init__(self, store: Store, identity: str) -> None:
        self._store = store
        self._key = f"noise-{_VERSION}-" + hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def read(self) -> tuple[NoiseAt, ...]:
        """What lies on the disk is checked: what cannot be is nothing."""
        try:
            found = msgspec.msgpack.decode(
                self._store.get(self._key) or b"", type=tuple[tuple[int, int, float], ...]
            )
        except msgspec.MsgspecError:
            return ()
        depths = [depth for depth, _, _ in found]
        sound = depths == sorted(set(depths) & set(DEPTHS))
        sound = sound and all(tokens > 0 and 0 <= noise < np.inf for _, tokens, noise in found)
        return tuple(NoiseAt(*each) for each in found) if sound else ()

    def write(self, found: tuple[NoiseAt, ...]) -> None:
        """For the next load, and to go on from."""
        self._store.set(self._key, msgspec.msgpack.encode([(n.depth, n.tokens, n.noise) for n in found]))


class Listening:
    """Work for idle time (`loop.Chore`) that is done for now when every depth that is held was measured."""

    def __init__(
        self,
        context: Context,
        pool: Pool,
        kept: Kept,
        costs: Callable[[], CostTable],
        then: Callable[[CostTable], None],
    ) -> None:
        """`costs` tells what is known now, `then` gets it with what was found."""
        self._context, self._pool = context, pool
        self._kept, self._costs, self._then = kept, costs, then
        self._window: Window | None = None
        self._seen: set[tuple[int, bytes]] = set()
        self._left_s = BUDGET_S

    def step(self) -> bool:
        """One call into llama.cpp, if there is anything to compare. Raises Interrupted, NoRoom, NoSequence.

        A window that is interrupted is begun again: it is short, and its sequence may be gone by then.
        """
        if self._window is None and (self._left_s <= 0 or not self._begin()):
            return False
        window = self._window
        if window is None:
            return False
        started = time.perf_counter()
        try:
            more = window.step(self._context)
        finally:
            self._left_s -= time.perf_counter() - started
        if not more:
            self._seen.add(_key(window.at, window.ids))
            self._learn(window)
            self.rest()
        return True

    def rest(self) -> None:
        if self._window is not None:
            self._window.close()
            self._window = None

    def _begin(self) -> bool:
        """Look for tokens that were not compared yet, at a depth where more are wanted: the deepest first."""
        costs = self._costs()
        if not Speculator(costs, np.zeros(0, np.int32)).useful:
            return False  # nothing is drafted
        enough = {each.depth for each in costs.deep if each.tokens >= ENOUGH}
        for sequence in self._pool.idle:
            for at in range((sequence.count // WINDOW - 1) * WINDOW, 0, -WINDOW):
                wanted = DEPTHS[bisect_right(DEPTHS, at) - 1] not in enough
                if wanted and _key(at, sequence.tokens[at : at + WINDOW]) not in self._seen:
                    self._window = Window(sequence, at, SIZES[len(self._seen) % len(SIZES)])
                    return True
        return False

    def _learn(self, window: Window) -> None:
        depth = DEPTHS[bisect_right(DEPTHS, window.at) - 1]
        costs = self._costs()
        known = {each.depth: each for each in costs.deep}
        old = known.get(depth, NoiseAt(depth, 0, 0.0))
        known[depth] = NoiseAt(depth, old.tokens + WINDOW, max(old.noise, CAUTION * window.largest))
        deep = tuple(known[at] for at in sorted(known))
        self._kept.write(deep)
        self._then(replace(costs, deep=deep))


def _key(at: int, ids: Ids) -> tuple[int, bytes]:
    return at, hashlib.blake2b(ids.tobytes(), digest_size=8).digest()
