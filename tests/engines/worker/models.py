"""The bundled model for tests of the worker, as it is and rewritten into files that are harder to take."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from glm_lsp.core import profiles
from glm_lsp.engines.frames import Load

NANO = profiles.load("nano")
BATCH = 64
NOISE = 0.2
"""In units of the logits' standard deviation. Chunks of other sizes are computed by other kernels, which on
this model makes 0.02 to 0.05; a wrong position makes 3 to 5."""
ENVIRONMENT = {**os.environ, "OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"}
"""For processes of their own: an assertion in llama.cpp ends its process."""


def load_of(**options: Any) -> Load:
    """What a client asks for: one thread, and a KV cache of f32, so that equal means equal."""
    values = {
        "path": NANO.gguf_path,
        "architecture": NANO.architecture,
        "context_tokens": 1024,
        "kv_tokens": 2048,
        "batch_tokens": BATCH,
        "kv_type": "f32",
        "kv_bytes_per_token_f16": NANO.kv_bytes_per_token_f16,
        "threads": 1,
    }
    return Load(**{**values, **options})


def some_tokens(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 8000, count).astype(np.int32)


def rewrite(
    target: Path,
    *,
    metadata: Mapping[str, str | int] | None = None,
    tensor: Callable[[Any, Any], None] | None = None,
    tensors_of_a_part: int = 0,
) -> None:
    """Write the bundled model once more, with other metadata, other tensors, or in parts.

    `tensor` gets the writer and one of the reader's tensors.
    """
    import gguf  # noqa: PLC0415

    metadata = metadata or {}
    reader = gguf.GGUFReader(NANO.gguf_path)
    writer = gguf.GGUFWriter(
        target,
        str(metadata.get("general.architecture", NANO.architecture)),
        split_max_tensors=tensors_of_a_part,
    )
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in {"general.architecture", *metadata}:
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    for key, value in metadata.items():
        if key != "general.architecture":
            (writer.add_uint32 if isinstance(value, int) else writer.add_string)(key, value)
    for each in reader.tensors:
        (tensor or _as_it_is)(writer, each)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _as_it_is(writer: Any, tensor: Any) -> None:
    writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)


def feed_all(sequence: Any, ids: Sequence[int] | np.ndarray, batch: int = BATCH) -> None:
    """Evaluate as a prompt is: in chunks that end on absolute multiples of the batch."""
    ids = np.asarray(ids, np.int32)
    goal = sequence.count + len(ids)
    while sequence.count < goal:
        left = goal - sequence.count
        sequence.feed(ids[len(ids) - left :][: batch - sequence.count % batch])


def alone(context: Any, *parts: np.ndarray) -> np.ndarray:
    """The logits after `parts`, evaluated from nothing with nothing else in the cache.

    Chunks end where parts do: the bits depend on it.
    """
    assert context.used_cells == 0
    sequence = context.sequence()
    for ids in parts:
        feed_all(sequence, ids)
    logits = context.logits().copy()
    sequence.close()
    return logits


def distance(logits: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(logits - expected).max() / expected.std())
