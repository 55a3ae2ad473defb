"""A context's costs, measured when a model is first loaded on a machine and placement, and kept on the disk.

And the noise between batches: a token's logits differ in their last bits with the number of tokens evaluated
beside it, so that two candidates that are nearly equal may change places.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

import msgspec
import numpy as np

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.context import CachedSequence, Context, Interrupted, NoRoom, NoSequence, Rows
from glm_lsp.engines.worker.costs import BUDGET_S, SIZES, CostTable, measure
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
        self._sequence.feed(self._ids[: self._depth], Rows.NONE)

    def feed(self, size: int, start: int = 0) -> Logits:
        """The logits after each of `size` tokens; those before `start` stay, the rest is fed anew."""
        at = self._depth + start
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


def measure_noise(scratch: Scratch, budget_s: float = BUDGET_S / 2) -> float:
    """How much the distance between a token's two best logits differs between batches, with caution.

    Over as many tokens as the budget has time for.
    """
    ends = time.perf_counter() + budget_s
    alone: list[Logits] = []
    while len(alone) < min(_NOISE_TOKENS, scratch.most) and time.perf_counter() < ends - budget_s / 2:
        alone.append(scratch.feed(1, len(alone))[0].copy())
    best = np.argpartition(np.stack(alone), -2, axis=1)[:, -2:]
    apart = _apart(np.stack(alone), best)
    largest = 0.0
    for size in (s for s in _NOISE_SIZES if s <= len(alone)):
        for at in range(0, len(alone) - size + 1, size):
            if time.perf_counter() > ends:
                break
            found = np.abs(_apart(scratch.feed(size, at), best[at : at + size]) - apart[at : at + size])
            largest = max(largest, float(found.max()))
    return _CAUTION * largest


def _apart(rows: Logits, pairs: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> Logits:
    found = np.take_along_axis(rows, pairs, axis=1)
    return found[:, 1] - found[:, 0]


def table(context: Context, text: Ids, store: Store, identity: str, *, processors: bool) -> CostTable:
    """The costs of this context: from the disk, else measured and kept.

    Measuring takes a thousand single steps, or half a minute where those are slow.

    `identity` names whatever they depend on: model file, engine, placement; `processors` says that nothing
    but processors works for it. Where nothing can be measured
    (no room, interrupted) the table is empty, and the next load tries again.
    """
    key = f"costs-{_VERSION}-" + hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
    if (kept := _decode(store.get(key))) is not None:
        return kept
    scratch: Scratch | None = None
    try:
        scratch = Scratch(context, text, processors)
        found = CostTable(measure(scratch.seconds, scratch.most), measure_noise(scratch))
    except Interrupted:
        context.resume()
        return CostTable()
    except (NoRoom, NoSequence):
        return CostTable()
    finally:
        if scratch is not None:
            scratch.close()
    store.set(key, msgspec.msgpack.encode((found.ratios, found.noise)))
    return found


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
