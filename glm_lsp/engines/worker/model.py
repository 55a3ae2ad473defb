"""A loaded model: its weights, where they are, and its vocabulary."""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from glm_lsp.core.errors import ModelFileError
from glm_lsp.engines.worker.devices import cpu_buffers
from glm_lsp.engines.worker.llama import NO_MEMORY, L, last_errors, listening
from glm_lsp.engines.worker.placement import Placement

_BUFFER = re.compile(r"(\S+) +model buffer size = +([\d.]+) MiB")
_OVERRIDDEN = re.compile(r"tensor (\S+) \(\d+ MiB \S+\) buffer type overridden to (\S+)")
_STRANGE = re.compile(r"tensor '(.*?)' has invalid ggml type (-?\d+)")
_MLOCK = re.compile(r"failed to mlock|mlock not supported")


class _Override(ctypes.Structure):
    """llama_model_tensor_buft_override, which the bindings leave opaque."""

    _fields_ = (("pattern", ctypes.c_char_p), ("buffers", ctypes.c_void_p))


class Model:
    """A model as llama.cpp has loaded it. `on_progress` gets 0 to 1 meanwhile."""

    def __init__(self, path: Path, placement: Placement, on_progress: Callable[[float], None]) -> None:
        """Raises ModelFileError where llama.cpp refuses the file, or where memory is refused to it."""
        self.buffers: dict[str, int] = {}
        """Bytes of weights by llama.cpp's name of the memory; `CPU_Mapped` is the file itself."""
        self.overridden: dict[str, str] = {}
        """Tensors that an override has placed, with the memory they went to."""
        self.unlocked = ""
        """What the system said where it refused to lock the weights in memory."""

        def progress(fraction: float, _data: object) -> bool:
            on_progress(fraction)
            return True

        callback: Any = L.llama_progress_callback(progress)
        kept = _overrides(placement.overrides)
        params = _parameters(placement)
        params.progress_callback = callback
        params.tensor_buft_overrides = ctypes.cast(kept, ctypes.c_void_p) if placement.overrides else None
        no_devices: Any = (ctypes.c_void_p * 1)()
        if not placement.gpu_layers:
            # Else a build with a GPU would take memory there for nothing.
            params.devices = ctypes.cast(no_devices, ctypes.c_void_p)
        with listening() as lines:
            self.handle: Any = L.llama_model_load_from_file(os.fsencode(path), params)
        if not self.handle:
            raise ModelFileError(_refusal(path, placement, last_errors()))
        self._read(lines)
        self.vocab: Any = L.llama_model_get_vocab(self.handle)
        self.size = int(L.llama_vocab_n_tokens(self.vocab))
        self._buffer = ctypes.create_string_buffer(1024)
        if L.llama_model_is_recurrent(self.handle) or L.llama_model_is_hybrid(self.handle):
            self.close()
            raise ModelFileError(
                f"The model in {path} has a recurrent memory, which cannot be shared between prompts; "
                "choose a model with attention alone."
            )
        if L.llama_model_has_encoder(self.handle):
            self.close()
            raise ModelFileError(f"The model in {path} reads with an encoder; choose one that only writes.")

    def _read(self, lines: Iterable[str]) -> None:
        """What llama.cpp has said about where things went."""
        sizes: Counter[str] = Counter()
        for line in lines:
            if match := _BUFFER.search(line):
                sizes[match[1]] += int(float(match[2]) * (1 << 20))
            elif match := _OVERRIDDEN.search(line):
                self.overridden[match[1]] = match[2]
            elif _MLOCK.search(line):
                self.unlocked = line.partition("warning: ")[2].splitlines()[0]
        self.buffers = dict(sizes)

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to a text; empty for special tokens."""
        count = L.llama_token_to_piece(self.vocab, token, self._buffer, len(self._buffer), 0, False)
        return ctypes.string_at(self._buffer, max(count, 0))

    def ends(self, token: int) -> bool:
        """The model ends its turn with this token."""
        return bool(L.llama_vocab_is_eog(self.vocab, token))

    def close(self) -> None:
        """Free the weights; the contexts must be closed before."""
        if self.handle:
            L.llama_model_free(self.handle)
            self.handle = None


def _parameters(placement: Placement) -> Any:
    params: Any = L.llama_model_default_params()
    params.n_gpu_layers = placement.gpu_layers
    # Repacked weights (AMX and the like) end glm-dsa's graph in an assertion, or give nonsense, where the
    # file has eight-bit or f16 attention matrices: seen with llama.cpp of llama-cpp-python 0.3.36.
    params.use_extra_bufts = False
    params.load_mtp = placement.mtp
    if placement.mmap and placement.gpu_layers and not placement.mlock:
        # Some GPUs cannot take weights from a mapped file; llama.cpp knows which.
        params.load_mode = L.LLAMA_LOAD_MODE_AUTO
    else:
        modes = (
            (L.LLAMA_LOAD_MODE_NONE, L.LLAMA_LOAD_MODE_MLOCK),
            (L.LLAMA_LOAD_MODE_MMAP, L.LLAMA_LOAD_MODE_MMAP_MLOCK),
        )
        params.load_mode = modes[placement.mmap][placement.mlock]
    return params


def _overrides(patterns: tuple[str, ...]) -> Any:
    """A list for llama.cpp, ended by an empty entry; it must live until the load returns."""
    entries: Any = (_Override * (len(patterns) + 1))()
    for entry, pattern in zip(entries, patterns, strict=False):
        entry.pattern, entry.buffers = pattern.encode(), cpu_buffers()
    return entries


def _refusal(path: Path, placement: Placement, said: str) -> str:
    if NO_MEMORY.search(said):
        return placement.refused("the model's weights", said)
    if match := _STRANGE.search(said):
        return (
            f"The model file {path} has tensor '{match[1]}' in a quantisation that the installed llama.cpp "
            f"does not know (type {match[2]}); choose a file with another one, or update llama-cpp-python."
        )
    if "regex" in said.lower() or ("regular expression" in said.lower()):
        shown = ", ".join(f"'{pattern}'" for pattern in placement.overrides)
        return f"llama.cpp cannot read a regular expression of model.tensor_overrides ({shown}).{said}"
    return f"llama.cpp cannot load the model file {path}.{said}"
