"""What one call into llama.cpp is given: tokens of one sequence, over arrays that are filled by slices."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from glm_lsp.engines.worker.llama import Ids, L, pointer

States = npt.NDArray[np.float32]
"""(tokens, width): a model's hidden state for each token."""


class Batch:
    """Room for `size` tokens; nothing is allocated per call. `handle.n_tokens` says how many there are."""

    def __init__(self, size: int, width: int = 0) -> None:
        """With a `width`, each token comes with a state of so many numbers."""
        self.tokens: Ids = np.zeros(size, np.int32)
        self.positions: Ids = np.zeros(size, np.int32)
        self.wanted: npt.NDArray[np.int8] = np.zeros(size, np.int8)
        """1 where logits are wanted."""
        self.states: States = np.zeros((size if width else 0, width), np.float32)
        self.sequence: Ids = np.zeros(1, np.int32)
        """Every token is of one and the same sequence: one number, pointed to by all."""
        self._pointers: npt.NDArray[np.uint64] = np.full(size, self.sequence.ctypes.data, np.uint64)
        self._ones: Ids = np.ones(size, np.int32)
        handle: Any = L.llama_batch()
        handle.token = pointer(self.tokens, L.llama_token)
        handle.pos = pointer(self.positions, L.llama_pos)
        handle.logits = pointer(self.wanted, ctypes.c_int8)
        handle.n_seq_id = pointer(self._ones, ctypes.c_int32)
        handle.seq_id = pointer(self._pointers, ctypes.POINTER(L.llama_seq_id))
        if width:
            handle.embd = pointer(self.states, ctypes.c_float)
        self.handle = handle

    def fill(self, ids: Sequence[int] | Ids, start: int, *, every: bool = False, last: bool = True) -> None:
        """Hold these tokens, from position `start` on; logits are wanted of every one, the last, or none."""
        size = len(ids)
        self.tokens[:size] = ids
        self.positions[:size] = np.arange(start, start + size, dtype=np.int32)
        self.wanted[:size] = every
        self.wanted[size - 1] = last
        self.handle.n_tokens = size

    def hold(self, token: int, position: int) -> None:
        """As `fill` with one token, whose logits are wanted: where microseconds count."""
        self.tokens[0], self.positions[0], self.wanted[0] = token, position, 1
        self.handle.n_tokens = 1
