"""A GBNF grammar that follows an answer."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from glm_lsp.core.errors import UsageError
from glm_lsp.engines.worker import gbnf
from glm_lsp.engines.worker.llama import L, Logits, last_errors
from glm_lsp.engines.worker.model import Model


class Grammar:
    """A GBNF grammar that follows the answer. Raises UsageError if llama.cpp cannot work with it."""

    def __init__(self, model: Model, text: str, root: str = gbnf.ROOT) -> None:
        gbnf.check(text, root)
        self._handle: Any = L.llama_sampler_init_grammar(model.vocab, text.encode(), root.encode())
        if not self._handle:
            raise UsageError(f"The grammar of the request cannot be parsed.{last_errors()}")
        kind: Any = L.llama_token_data
        self._one: Any = (kind * 1)()
        self._all: Any = (kind * model.size)()
        self._table: Any = np.frombuffer(
            self._all, np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
        )

    def permits(self, token: int) -> bool:
        """Whether the grammar allows this token next."""
        self._one[0].id, self._one[0].logit = token, 0.0
        self._apply(self._one, 1)
        return self._one[0].logit == 0.0

    def mask(self, logits: Logits) -> Logits:
        """A copy in which what is not allowed has minus infinity. Slow: tries the whole vocabulary."""
        self._table["id"] = np.arange(len(logits), dtype=np.int32)
        self._table["logit"] = logits
        self._apply(self._all, len(logits))
        masked = np.full(len(logits), -np.inf, np.float32)
        masked[self._table["id"]] = self._table["logit"]
        return masked

    def accept(self, token: int) -> None:
        """Go on past a token; it must have been permitted, else llama.cpp ends the process."""
        L.llama_sampler_accept(self._handle, token)

    def close(self) -> None:
        if self._handle:
            L.llama_sampler_free(self._handle)
            self._handle = None

    def _apply(self, data: Any, size: int) -> None:
        candidates: Any = L.llama_token_data_array(data, size, -1, False)
        L.llama_sampler_apply(self._handle, ctypes.byref(candidates))
