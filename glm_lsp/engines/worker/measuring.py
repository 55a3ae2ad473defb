"""A context's costs, measured in idle time after a model's first load on a machine and placement, and kept.

And the noise between batches: a token's logits differ in their last bits with the number of tokens evaluated
beside it, so that two candidates that are nearly equal may change places.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.context import CachedSequence, Context, Interrupted, NoRoom, NoSequence, Rows
from glm_lsp.engines.worker.costs import BUDGET_S, SIZES, CostTable, Rounds
from glm_lsp.engines.worker.llama import Ids, Logits

DEPTH = 64
"""Tokens before those that are measured."""
_NOISE_TOKENS = 48
_NOISE_SIZES = (2, 4, 8, 16)
_CAUTION = 2.0
"""The largest difference seen among so few tokens is not the largest there is."""
_VERSION = 1


class Scratch:
    """A sequence for measuring: the same tokens are fed at the same depth again and again."""

    def __init__(self, context: Context, text: Ids, processors: bool) -> None:
        """`text` is any text of the model's language, repeated as needed. Raises NoSequence, NoRoom."""
        self._context = context
        self._processors = processors
        self._depth = min(DEPTH, context.batch_tokens, context.free_cells // 2)
        self.most = min(context.batch_tokens, context.free_cells - self._depth, SIZES[-1])
        if not len(text) or self._depth < 1 or self.most < 1:
            raise NoRoom("There are no tokens, or no cells, to measure with.")
        self._ids = np.resize(text, self._depth + self.most).astype(np.int32)
        self._sequence: CachedSequence = context.sequence()
        try:
            self._sequence.feed(self._ids[: self._depth], Rows.NONE)
        except BaseException:
            self._sequence.close()
            raise

    def feed(self, size: int, start: int = 0) -> Logits:
        """The logits after each of `size` tokens; those before `start` stay, the rest is fed anew."""
        at = self._depth + start
        if (held := self._sequence.count) < at:
            self._sequence.feed(self._ids[held:at], Rows.NONE)
        self._sequence.cut(at)
        self._sequence.feed(self._ids[at : at + size], Rows.ALL)
        return self._context.all_logits()

    def seconds(self, size: int) -> float:
        """How long that takes: by the wall, or where only processors work by their time.

        The latter does not count what other programs take meanwhile.
        """
        self._sequence.cut(self._depth)
        started, worked = time.perf_counter(), time.process_time()
        self.feed(size)
        worked = time.process_time() - worked
        return worked if self._processors else time.perf_counter() - started

    def close(self) -> None:
        self._sequence.close()


class Noise:
    """How much the distance between a token's two best logits differs between batches.

    Over as many tokens as the budget has time for, in steps.
    """

    def __init__(self, most: int, budget_s: float = BUDGET_S / 2) -> None:
        self._most = min(_NOISE_TOKENS, most)
        self._budget_s = self._left_s = budget_s
        self._alone: list[Logits] = []
        self._largest = 0.0
        self._todo: list[tuple[int, int]] | None = None

    def step(self, scratch: Scratch) -> bool:
        """Evaluate a token alone, or several at once; true: there is more to do. Raises Interrupted."""
        started = time.perf_counter()
        if self._todo is None:
            self._alone.append(scratch.feed(1, len(self._alone))[0].copy())
            if len(self._alone) >= self._most or self._left_s < self._budget_s / 2:
                count = len(self._alone)
                self._todo = [
                    (size, at)
                    for size in _NOISE_SIZES
                    if size <= count
                    for at in range(0, count - size + 1, size)
                ]
        elif self._todo:
            size, at = self._todo[0]
            rows = np.stack(self._alone[at : at + size])
            best = np.argpartition(rows, -2, axis=1)[:, -2:]
            found = np.abs(_apart(scratch.feed(size, at), best) - _apart(rows, best))
            self._largest = max(self._largest, float(found.max()))
            self._todo.pop(0)
        self._left_s -= time.perf_counter() - started
        return self._todo is None or (bool(self._todo) and self._left_s > 0)

    @property
    def result(self) -> float:
        """What was seen, with caution."""
        return _CAUTION * self._largest


def _apart(rows: Logits, pairs: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Logits:
    found = np.take_along_axis(rows, pairs, axis=1)
    return found[:, 1] - found[:, 0]


class Measuring:
    """The costs of a context, measured in steps (`loop.Chore`), and kept on the disk when all is known."""

    def __init__(
        self,
        context: Context,
        text: Ids,
        kept: Kept,
        *,
        processors: bool,
        then: Callable[[CostTable], None] = lambda _: None,
    ) -> None:
        """`processors` says that nothing but processors works for it; `then` gets what was found."""
        self._context = context
        self._text = text
        self._kept = kept
        self._processors = processors
        self._then = then
        self._scratch: Scratch | None = None
        self._rounds: Rounds | None = None
        self._noise: Noise | None = None

    def step(self) -> bool:
        """Compare one size with a single step. Raises Interrupted, NoRoom or NoSequence: try again later."""
        scratch = self._scratch
        if scratch is None:
            self._scratch = scratch = Scratch(self._context, self._text, self._processors)
        if self._rounds is None or self._noise is None:
            # Whatever is first about a context is slow.
            scratch.feed(1)
            self._rounds, self._noise = Rounds(scratch.most), Noise(scratch.most)
        if size := min(self._rounds.size, scratch.most):
            self._rounds.add(scratch.seconds(1), scratch.seconds(size), scratch.seconds(1))
            return True
        if self._noise.step(scratch):
            return True
        found = CostTable(self._rounds.ratios, self._noise.result)
        self._kept.write(found)
        self._then(found)
        return False

    def rest(self) -> None:
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None


class Kept:
    """The table on the disk. `identity` names whatever it depends on: model file, engine, placement."""

    def __init__(self, store: Store, identity: str) -> None:
        self._store = store
        self._key = f"costs-{_VERSION}-" + hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()

    def read(self) -> CostTable | None:
        """What was kept. What lies on the disk is checked."""
        return _decode(self._store.get(self._key))

    def write(self, found: CostTable) -> None:
        """For the next load."""
        self._store.set(self._key, msgspec.msgpack.encode((found.ratios, found.noise)))


def table(context: Context, text: Ids, store: Store, identity: str, *, processors: bool) -> CostTable:
    """The costs of this context at once: from the disk, else measured and kept.

    Where nothing can be measured (no room, interrupted) the table is empty.
    """
    kept = Kept(store, identity)
    if (known := kept.read()) is not None:
        return known
    found: list[CostTable] = []
    measuring = Measuring(context, text, kept, processors=processors, then=found.append)
    try:
        while measuring.step():
            pass
    except Interrupted:
        context.resume()
    except (NoRoom, NoSequence):
        pass
    finally:
        measuring.rest()
    return found[0] if found else CostTable()


def _decode(data: bytes | None) -> CostTable | None:
    """What lies on the disk is checked: a table that cannot be is none."""
    try:
        ratios, noise = msgspec.msgpack.decode(data or b"", type=tuple[tuple[float, ...], float])
    except msgspec.MsgspecError:
        return None
    return CostTable(ratios, noise) if _sound(ratios) and 0 <= noise < np.inf else None


def _sound(ratios: Sequence[float]) -> bool:
    array = np.asarray(ratios, np.float64)
    return bool(
        0 < len(array) <= SIZES[-1]
        and np.isfinite(array).all()
        and array[0] == 1.0
        and (np.diff(array) >= 0).all()
    )
