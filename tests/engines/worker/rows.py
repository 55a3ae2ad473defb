"""Sequences that evaluate nothing, with logits that are a matter of form: exact in any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from glm_lsp.engines.worker.cells import Cells

BATCH = 16


class Row:
    """A sequence that evaluates nothing."""

    def __init__(self, context: Rows, identity: int) -> None:
        self.context, self.id = context, identity
        self._tokens = np.zeros(0, np.int32)
        self.cells = np.zeros(0, np.int32)

    @property
    def count(self) -> int:
        return len(self._tokens)

    @property
    def tokens(self) -> np.ndarray:
        return self._tokens

    @property
    def own_cells(self) -> int:
        return self.context.cells.alone(self.cells)

    def common(self, ids: np.ndarray) -> int:
        size = min(self.count, len(ids))
        differing = np.flatnonzero(self._tokens[:size] != ids[:size])
        return int(differing[0]) if len(differing) else size

    def feed(self, ids: np.ndarray, wanted: Any = None) -> None:
        assert self in self.context.rows
        self.context.evaluating()
        assert len(ids) <= self.context.free_cells
        self._tokens = np.concatenate([self._tokens, ids])
        self.cells = np.concatenate([self.cells, self.context.cells.take(len(ids))])
        self.context.evaluated += len(ids)
        rows = len(ids) if wanted is None or wanted.name == "ALL" else 1
        self.context.last = self._tokens[-rows - 1 :], rows

    def feed_one(self, token: int) -> None:
        self.feed(np.asarray([token], np.int32))

    def cut(self, count: int) -> None:
        assert self in self.context.rows
        self.context.cells.drop(self.cells[count:])
        self._tokens, self.cells = self._tokens[:count], self.cells[:count]

    def fork(self, count: int) -> Row:
        other = self.context.sequence()
        other._tokens, other.cells = self._tokens[:count], self.cells[:count]
        self.context.cells.share(other.cells)
        return other

    def close(self) -> None:
        self.cut(0)
        self.context.rows.remove(self)


class Rows:
    """A context of such sequences."""

    def __init__(self, kv_tokens: int, sequences: int = 16, vocabulary: int = 0) -> None:
        self.kv_tokens, self.sequences, self.batch_tokens = kv_tokens, sequences, BATCH
        self.cells = Cells(kv_tokens)
        self.rows: list[Row] = []
        self.evaluated = 0
        self.vocabulary = vocabulary
        self.last = (np.zeros(0, np.int32), 0)
        self.evaluating: Callable[[], None] = lambda: None

    @property
    def free_cells(self) -> int:
        return self.kv_tokens - self.cells.used

    @property
    def free_sequences(self) -> int:
        return self.sequences - len(self.rows)

    def sequence(self) -> Row:
        assert self.free_sequences
        self.rows.append(Row(self, len(self.rows)))
        return self.rows[-1]

    def restore(self, _data: object, ids: np.ndarray) -> Row:
        row = self.sequence()
        row.feed(ids)
        self.evaluated -= len(ids)
        return row

    def resume(self) -> None: ...

    def all_logits(self) -> np.ndarray:
        """What follows depends on the last two tokens alone, so that answers soon go in circles."""
        tokens, count = self.last
        pairs = [
            tokens[max(len(tokens) - count + n - 1, 0) : len(tokens) - count + n + 1] for n in range(count)
        ]
        seeds = [int(pair.sum()) % 23 for pair in pairs]
        return np.stack(
            [np.random.default_rng(seed).normal(0, 3, self.vocabulary).astype(np.float32) for seed in seeds]
        )
