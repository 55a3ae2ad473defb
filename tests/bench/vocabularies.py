"""Real vocabularies without weights, and real source in many languages, from llama-cpp-python's own source.

The source distribution is fetched by pip into the bench cache, once; nothing of it is kept here.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.bench import llama_bench
from tests.bench.llama_bench import PACKAGE, Missing

Encode = Callable[[str], list[int]]
STAND_IN = "ggml-vocab-qwen2.gguf"
"""Of GLM's size: 151,936 tokens."""
SUFFIXES = (
    *(".c", ".cpp", ".h", ".cu", ".m", ".metal", ".swift", ".kt", ".kts", ".py", ".ts", ".js", ".mjs"),
    *(
        ".svelte",
        ".html",
        ".css",
        ".sh",
        ".md",
        ".json",
        ".yml",
        ".toml",
        ".cmake",
        ".txt",
        ".jinja",
        ".glsl",
    ),
)


def root() -> Path:
    """The unpacked llama.cpp of the installed version. Raises Missing where it cannot be had."""
    folder = llama_bench.cache() / f"llama-cpp-python-{version(PACKAGE)}"
    for known in folder.glob("*/vendor/llama.cpp"):
        return known
    if os.environ.get("GLM_LSP_NO_FETCH"):
        raise Missing(f"{folder} has no source of llama.cpp, and GLM_LSP_NO_FETCH forbids fetching it.")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return llama_bench._source(folder) / "vendor" / "llama.cpp"  # pyright: ignore[reportPrivateUsage]
    except (Missing, OSError, StopIteration) as error:
        raise Missing(f"The source of llama.cpp cannot be had: {error}") from error


def vocabulary(name: str = STAND_IN) -> Path:
    """The file. Raises Missing."""
    path = root() / "models" / name
    if not path.is_file():
        raise Missing(f"{path} is not in the source distribution.")
    return path


def sources(each: int = 3, largest: int = 200_000) -> list[Path]:
    """Files of every kind in `SUFFIXES` that there is: `each` of a kind, spread over the tree."""
    base = root()
    found: list[Path] = []
    for suffix in SUFFIXES:
        paths = sorted(p for p in base.rglob(f"*{suffix}") if p.is_file() and p.stat().st_size <= largest)
        found += paths[:: max(1, len(paths) // each)][:each]
    return found


def relabelled(path: Path, pre: str, target: Path) -> Path:
    """The same vocabulary with another pre-tokenizer's name: a head only, so nothing else moves."""
    data = path.read_bytes()
    key = b"tokenizer.ggml.pre"
    start = data.index(key) + len(key) + 4
    (length,) = struct.unpack_from("<Q", data, start)
    name = pre.encode()
    target.write_bytes(data[:start] + struct.pack("<Q", len(name)) + name + data[start + 8 + length :])
    return target


def encoder(llama: Any, path: Path) -> tuple[Encode, Callable[[], None]]:
    """llama.cpp's own tokenizer for a file, and what frees it. `llama` is `llama_cpp.llama_cpp`."""
    llama.llama_log_set(_quiet(llama), None)
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(str(path).encode(), params)
    if not model:
        raise Missing(f"llama.cpp cannot load {path}.")
    vocabulary = llama.llama_model_get_vocab(model)

    def encode(text: str) -> list[int]:
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        count = llama.llama_tokenize(vocabulary, data, len(data), buffer, len(buffer), False, False)
        return list(buffer[:count])

    return encode, lambda: llama.llama_model_free(model)


@cache
def _quiet(llama: Any) -> Any:
    """A listener for llama.cpp's log that says nothing; it must live as long as the library."""
    return llama.llama_log_callback(lambda *_: None)
