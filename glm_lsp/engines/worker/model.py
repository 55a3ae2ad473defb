"""A loaded model: its weights and its vocabulary."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.worker.llama import L, last_errors
from glm_lsp.engines.worker.placement import Placement


class Model:
    """A model as llama.cpp has loaded it. `on_progress` gets 0 to 1 meanwhile."""

    def __init__(self, path: Path, placement: Placement, on_progress: Callable[[float], None]) -> None:
        """Raises ConfigError where llama.cpp refuses the file."""

        def progress(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        callback: Any = L.llama_progress_callback(progress)
        params: Any = L.llama_model_default_params()
        params.n_gpu_layers = placement.gpu_layers
        # Repacked weights (AMX and the like) end glm-dsa's graph in an assertion, or give nonsense, where the
        # file has eight-bit or f16 attention matrices: seen with llama.cpp of llama-cpp-python 0.3.36.
        params.use_extra_bufts = False
        params.progress_callback = callback
        self.handle: Any = L.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ConfigError(f"llama.cpp cannot load the model file {path}.{last_errors()}")
        self.vocab: Any = L.llama_model_get_vocab(self.handle)
        self.size = int(L.llama_vocab_n_tokens(self.vocab))
        self._buffer = ctypes.create_string_buffer(1024)

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for special tokens."""
        count = L.llama_token_to_piece(self.vocab, token, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[: max(count, 0)]

    def ends(self, token: int) -> bool:
        """The model ends its turn with this token."""
        return bool(L.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        """Free the weights; the contexts must be closed before."""
        if self.handle:
            L.llama_model_free(self.handle)
            self.handle = None
