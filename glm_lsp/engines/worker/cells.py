"""Which cells of the KV cache are in use, counted as llama.cpp counts them: a shared one once."""

from __future__ import annotations

import numpy as np

from glm_lsp.engines.worker.llama import Ids


class Cells:
    """So many numbered cells, each with its number of holders. The numbers are ours, not llama.cpp's."""

    def __init__(self, size: int) -> None:
        self.used = 0
        self._holders: Ids = np.zeros(size, np.int32)
        self._stack: Ids = np.arange(size, dtype=np.int32)[::-1].copy()

    def take(self, count: int) -> Ids:
        """Free cells for one holder; there must be so many."""
        top = len(self._stack) - self.used
        taken = self._stack[top - count : top].copy()
        self._holders[taken] = 1
        self.used += count
        return taken

    def take_one(self) -> int:
        """One free cell, for a token of an answer; there must be one. Arrays cost several times as much."""
        self.used += 1
        taken = int(self._stack[len(self._stack) - self.used])
        self._holders[taken] = 1
        return taken

    def share(self, cells: Ids) -> None:
        """One more holder for each."""
        self._holders[cells] += 1

    def drop(self, cells: Ids) -> None:
        """One holder less for each; those without any are free again."""
        self._holders[cells] -= 1
        gone = cells[self._holders[cells] == 0]
        self.used -= len(gone)
        top = len(self._stack) - self.used
        self._stack[top - len(gone) : top] = gone

    def alone(self, cells: Ids) -> int:
        """How many of them have one holder only."""
        return int(np.count_nonzero(self._holders[cells] == 1))
