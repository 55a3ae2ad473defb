"""llama.cpp behind a small, checked surface: load, feed, read logits, know what the KV cache holds.

One thread makes every call but `Context.interrupt`, which may come from any.
"""

from __future__ import annotations

import ctypes
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as _bindings
import numpy as np
import numpy.typing as npt

from glm_lsp.core.errors import ConfigError, EngineDied, ModelFileError, UsageError

L: Any = _bindings
"""The bindings' own annotations describe ctypes objects that they do not accept; they are of no help here."""
Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

_WARN, _ERROR = 3, 4
_KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8}
_last_errors: deque[str] = deque(maxlen=8)


def _on_log(level: int, text: bytes, _data: object) -> None:
    """Called from native threads: keep the text, do no more. The bundled callback has the levels wrong."""
    if level == _ERROR:
        _last_errors.append(text.decode("utf-8", "replace").strip())


_log_callback: Any = L.llama_log_callback(_on_log)


def start() -> None:
    """Prepare the library; once per process."""
    L.llama_log_set(_log_callback, None)
    L.llama_backend_init()


def last_errors() -> str:
    """What llama.cpp has complained about since it was last asked, for a message."""
    text = "; ".join(_last_errors)
    _last_errors.clear()
    return f" llama.cpp says: {text}" if text else ""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where and how to run a model: nothing is left to a default that may differ between machines."""

    context_tokens: int
    batch_tokens: int
    threads: int
    gpu_layers: int = 0
    kv_type: str = "f16"


class Interrupted(Exception):  # noqa: N818 (an event, not a fault)
    """`Context.interrupt` stopped an evaluation; finished micro-batches stay in the KV cache."""


class Model:
    """A loaded model and its vocabulary. `on_progress` gets 0 to 1 while it loads."""

    def __init__(self, path: Path, gpu_layers: int, on_progress: Callable[[float], None]) -> None:
        if gpu_layers and not L.llama_supports_gpu_offload():
            raise ConfigError(
                "model.gpu_layers is set, but the installed llama-cpp-python is built without GPU support; "
                "set it to 0 or reinstall llama-cpp-python with a GPU backend."
            )

        def progress(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        callback: Any = L.llama_progress_callback(progress)
        params: Any = L.llama_model_default_params()
        params.n_gpu_layers = gpu_layers
        # Repacked weights (AMX and the like) end glm-dsa's graph in an assertion, or give nonsense, where the
        # file has eight-bit or f16 attention matrices: seen with llama.cpp of llama-cpp-python 0.3.36.
        params.use_extra_bufts = False
        params.progress_callback = callback
        self.handle: Any = L.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelFileError(f"llama.cpp cannot load the model file {path}.{last_errors()}")
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


class Context:
    """One sequence in a KV cache. `feed` appends, `keep` cuts back; logits are of the last token fed."""

    def __init__(self, model: Model, placement: Placement) -> None:
        self._model = model
        params: Any = L.llama_context_default_params()
        params.n_ctx = placement.context_tokens
        params.n_batch = params.n_ubatch = placement.batch_tokens
        params.n_seq_max = 1
        params.n_threads = params.n_threads_batch = placement.threads
        # Explicit: 'auto' may differ between machines, and a quantised cache needs it.
        params.flash_attn_type = 1
        params.type_k = params.type_v = _KV_TYPES[placement.kv_type]
        params.kv_unified = True
        params.no_perf = True
        self._handle: Any = L.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ConfigError(
                f"llama.cpp cannot make a context of {placement.context_tokens} tokens.{last_errors()}"
            )
        self._memory: Any = L.llama_get_memory(self._handle)
        self.context_tokens = placement.context_tokens
        self.batch_tokens = min(placement.batch_tokens, int(L.llama_n_batch(self._handle)))
        self._held: Ids = np.zeros(self.context_tokens, np.int32)
        self._count = 0
        self._has_logits = False
        self._logits_at = 0
        self._logits: Logits = np.zeros(0, np.float32)
        self._make_batch()
        self._make_switch()

    def _make_batch(self) -> None:
        """A batch over our own arrays: filled by slices, nothing is allocated per step."""
        size = self.batch_tokens
        self._tokens: Ids = np.zeros(size, np.int32)
        self._positions: Ids = np.zeros(size, np.int32)
        self._wanted: npt.NDArray[np.int8] = np.zeros(size, np.int8)
        self._sequences: Ids = np.ones(size, np.int32)
        self._sequence: Ids = np.zeros(1, np.int32)
        self._sequence_at: npt.NDArray[np.uint64] = np.full(size, self._sequence.ctypes.data, np.uint64)
        batch: Any = L.llama_batch()
        batch.token = _pointer(self._tokens, L.llama_token)
        batch.pos = _pointer(self._positions, L.llama_pos)
        batch.logits = _pointer(self._wanted, ctypes.c_int8)
        batch.n_seq_id = _pointer(self._sequences, ctypes.c_int32)
        batch.seq_id = _pointer(self._sequence_at, ctypes.POINTER(L.llama_seq_id))
        self._batch = batch

    def _make_switch(self) -> None:
        """The abort predicate is libc's strlen over one byte: no Python runs between two operations.

        An empty string has length 0 (go on); with its byte set it has length 1 (stop).
        """
        self._switch = ctypes.create_string_buffer(2)
        strlen: Any = (ctypes.CDLL(None) if os.name == "posix" else ctypes.CDLL("msvcrt")).strlen
        address = ctypes.cast(strlen, ctypes.c_void_p).value
        self._predicate: Any = L.ggml_abort_callback(address)
        L.llama_set_abort_callback(self._handle, self._predicate, ctypes.addressof(self._switch))

    def interrupt(self) -> None:
        """Stop the evaluation that is running, or the next one. From any thread."""
        self._switch[0] = b"\1"

    def resume(self) -> None:
        """Forget an `interrupt`."""
        self._switch[0] = b"\0"

    @property
    def count(self) -> int:
        """Tokens in the KV cache."""
        return self._count

    def common(self, tokens: Ids) -> int:
        """How many of these tokens, from the first on, the KV cache holds already."""
        length = min(self._count, len(tokens))
        differing = np.flatnonzero(self._held[:length] != tokens[:length])
        return int(differing[0]) if len(differing) else length

    def keep(self, count: int) -> None:
        """Cut the sequence back to `count` tokens. Never a shift: that corrupts this architecture."""
        if count >= self._count:
            return
        self._has_logits = False
        if not L.llama_memory_seq_rm(self._memory, 0, count, -1):
            # A recurrent memory cannot be cut in the middle: start from nothing.
            L.llama_memory_clear(self._memory, True)
            count = 0
        self._count = count

    def feed(self, tokens: Sequence[int] | Ids, want_logits: bool = True) -> None:
        """Append at most a batch of tokens. Raises Interrupted, or EngineDied if llama.cpp refuses.

        Whatever happens, `count` is what the KV cache holds afterwards.
        """
        size, start = len(tokens), self._count
        if not 0 < size <= self.batch_tokens or start + size > self.context_tokens:
            raise EngineDied(
                f"{size} tokens at {start} do not fit a batch of {self.batch_tokens}; report this."
            )
        self._tokens[:size] = tokens
        if int(self._tokens[:size].min()) < 0 or int(self._tokens[:size].max()) >= self._model.size:
            raise EngineDied("A token outside the vocabulary was to be evaluated; report this.")
        self._positions[:size] = np.arange(start, start + size, dtype=np.int32)
        self._wanted[:size] = 0
        self._wanted[size - 1] = want_logits
        self._batch.n_tokens = size
        result = int(L.llama_decode(self._handle, self._batch))
        if result == 0:
            self._held[start : start + size] = self._tokens[:size]
            self._count = start + size
            self._has_logits = want_logits
            return
        # The logits buffer still shows old rows, and nothing of the failed micro-batch stays.
        self._has_logits = False
        kept = max(int(L.llama_memory_seq_pos_max(self._memory, 0)) + 1, 0)
        self._held[start:kept] = self._tokens[: kept - start]
        self._count = kept
        if result == 2:
            raise Interrupted
        raise EngineDied(f"llama.cpp could not evaluate {size} tokens (result {result}).{last_errors()}")

    def logits(self) -> Logits:
        """The logits after the last token: a view, valid until the next `feed`."""
        if not self._has_logits:
            raise EngineDied("There are no logits to choose a token from; report this.")
        address = ctypes.addressof(L.llama_get_logits(self._handle).contents)
        if address != self._logits_at:
            row: Any = (ctypes.c_float * self._model.size).from_address(address)
            self._logits = np.frombuffer(row, np.float32)
            self._logits_at = address
        return self._logits

    def close(self) -> None:
        """Free the KV cache. Before the model: the other order is a segmentation fault."""
        if self._handle:
            L.llama_free(self._handle)
            self._handle = None


class Grammar:
    """A GBNF grammar that follows the answer. Raises UsageError if it cannot be parsed."""

    def __init__(self, model: Model, text: str, root: str) -> None:
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


def _pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    c: Any = ctypes
    return c.cast(array.ctypes.data, c.POINTER(kind))
