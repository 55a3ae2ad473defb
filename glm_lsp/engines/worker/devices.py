"""The GPUs that llama.cpp sees, with what is free on them now."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any

from llama_cpp import _ggml  # pyright: ignore[reportPrivateUsage]

_GPU, _INTEGRATED = 1, 2


@dataclass(frozen=True, slots=True)
class Device:
    name: str
    free_bytes: int
    total_bytes: int


def devices() -> tuple[Device, ...]:
    """GPUs, dedicated ones and others; empty for a build that knows none."""
    return tuple(
        _device(handle)
        for handle in (_get(at) for at in range(int(_function("ggml_backend_dev_count", ctypes.c_size_t)())))
        if _function("ggml_backend_dev_type", ctypes.c_int, ctypes.c_void_p)(handle) in (_GPU, _INTEGRATED)
    )


def cpu_buffers() -> int:
    """The address of the buffer type of main memory."""
    return int(_function("ggml_backend_cpu_buffer_type", ctypes.c_void_p)())


def _get(at: int) -> Any:
    return _function("ggml_backend_dev_get", ctypes.c_void_p, ctypes.c_size_t)(at)


def _device(handle: Any) -> Device:
    name = _function("ggml_backend_dev_name", ctypes.c_char_p, ctypes.c_void_p)(handle)
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    kinds = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    _function("ggml_backend_dev_memory", None, *kinds)(handle, ctypes.byref(free), ctypes.byref(total))
    return Device(name.decode("utf-8", "replace"), free.value, total.value)


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """One of ggml's functions, which the bindings do not declare. Their library brings in those it needs."""
    function: Any = getattr(_ggml.libggml, name)
    function.restype, function.argtypes = result, list(arguments)
    return function
