"""llama.cpp's library: the bindings, started once, and what it says in its log.

One thread makes every call into it but `context.Context.interrupt`, which may come from any.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections import deque
from typing import Any

import llama_cpp.llama_cpp as _bindings
import numpy as np
import numpy.typing as npt

L: Any = _bindings
"""The bindings' own annotations describe ctypes objects that they do not accept; they are of no help here."""
Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]

NO_MEMORY = re.compile(r"(?i)(unable|failed|could not|cannot) (to )?allocate|out of memory|bad_alloc")
"""What llama.cpp's complaint has in it where memory was refused."""
_ERROR, _CONTINUED = 4, 5
_KEPT_LINES = 20_000
"""A model of 80 layers has some thousand tensors, and each may have its line."""


class _Log:
    """What was said since it was last asked for: errors always, all lines while somebody listens."""

    def __init__(self) -> None:
        self.errors: deque[str] = deque(maxlen=8)
        self.lines: deque[str] | None = None
        self.level = 0

    def take(self, level: int, text: bytes) -> None:
        """Called from native threads: keep the text, do no more."""
        # The bundled callback has the levels wrong, and a continued line has the level of the one before.
        self.level = level = self.level if level == _CONTINUED else level
        if level == _ERROR:
            self.errors.append(text.decode("utf-8", "replace").strip())
        if self.lines is not None:
            self.lines.append(text.decode("utf-8", "replace").rstrip())


_log = _Log()


def _on_log(level: int, text: bytes, _data: object) -> None:
    _log.take(level, text)


_log_callback: Any = L.llama_log_callback(_on_log)


def start() -> None:
    """Prepare the library; again is no harm."""
    L.llama_log_set(_log_callback, None)
    L.llama_backend_init()


def extension() -> Any | None:
    """The bindings of llama.cpp's experimental calls; None where this version has none, or others."""
    try:
        return importlib.import_module("llama_cpp.llama_cpp_ext")
    except (ImportError, AttributeError):
        return None


def last_errors() -> str:
    """What llama.cpp has complained about since it was last asked, for a message."""
    text = "; ".join(_log.errors)
    _log.errors.clear()
    return f" llama.cpp says: {text}." if text else ""


class listening:  # noqa: N801 (reads as a statement: `with listening() as lines`)
    """While this is entered, every line of llama.cpp's log is kept in what it gives."""

    def __enter__(self) -> deque[str]:
        _log.lines = lines = deque[str](maxlen=_KEPT_LINES)
        return lines

    def __exit__(self, *_: object) -> None:
        _log.lines = None


def pointer(array: npt.NDArray[Any], kind: Any) -> Any:
    """A C pointer to an array's memory; the array must outlive it."""
    c: Any = ctypes
    return c.cast(array.ctypes.data, c.POINTER(kind))
