"""Write a model of GLM-5.2's architecture with random weights: `python -m tests.bench.random_model FILE`.

For measuring speed: prefill and decode cost what a trained model of that shape costs, the text is nonsense.
The vocabulary is the bundled model's, so prompts are encoded as ever. The same arguments give the same bytes.
Tensors are made one at a time and written at once: a large file takes little memory. The indexer chooses
2,048 tokens of all, as that of the large model does.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from glm_lsp.core import profiles
from tests.models.nano_files import training_importable

training_importable()

from metadata import ARCHITECTURE, add_shape  # noqa: E402

Q8_0, BF16, F32 = (gguf.GGMLQuantizationType[name] for name in ("Q8_0", "BF16", "F32"))
_BLOCK = np.dtype([("scale", np.float16), ("values", np.int8, 32)])
_DEVIATION = 73.3
"""Of evenly spread whole numbers from -127 to 127."""
_SHARED = ("tokenizer.", "general.file_type")


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; the names are those of its metadata."""

    width: int = 2048
    layers: int = 12
    dense_layers: int = 1
    dense_hidden: int = 6144
    heads: int = 16
    query_rank: int = 768
    latent: int = 512
    rope: int = 64
    nope: int = 128
    value: int = 128
    experts: int = 16
    experts_used: int = 4
    experts_shared: int = 1
    expert_hidden: int = 1024
    expert_scale: float = 2.5
    epsilon: float = 1e-5
    rope_base: float = 1e6
    context: int = 131_072
    indexer_heads: int = 8
    indexer_width: int = 128
    indexer_top_k: int = 2048
    indexer_every: int = 4
    vocabulary: int = 8192

    @property
    def head(self) -> int:
        return self.nope + self.rope

    @property
    def kv_bytes_f16(self) -> int:
        """Of the KV cache, per token."""
        indexers = -(-self.layers // self.indexer_every)
        return 2 * (self.layers * (self.latent + self.rope) + indexers * self.indexer_width)


@dataclass(frozen=True, slots=True)
class Planned:
    """A tensor to be: `shape` as numpy has it. Vectors are ones or zeros."""

    name: str
    shape: tuple[int, ...]
    kind: Any
    fill: float | None = None

    @property
    def bytes(self) -> int:
        count = int(np.prod(self.shape))
        return {Q8_0: count // 32 * 34, BF16: count * 2, F32: count * 4}[self.kind]


def shape_of(gb: float) -> Shape:
    """A shape whose file has about so many GB of 10^9 bytes: the number of experts is chosen."""
    small = Shape(width=1024, layers=8, dense_hidden=2048, heads=8, expert_hidden=512)
    base = small if gb < 0.5 else Shape()
    shapes = (replace(base, experts=experts) for experts in range(base.experts_used, 257, 2))
    return min(shapes, key=lambda shape: abs(_bytes(shape) - gb * 1e9))


def _bytes(shape: Shape) -> int:
    return sum(tensor.bytes for tensor in tensors(shape))


def tensors(s: Shape) -> Iterator[Planned]:
    """Every tensor, in the order of the file."""
    yield Planned("token_embd.weight", (s.vocabulary, s.width), BF16)
    yield Planned("output_norm.weight", (s.width,), F32, 1.0)
    yield Planned("output.weight", (s.vocabulary, s.width), BF16)
    for layer in range(s.layers):
        for tensor in (*_attention(s, layer), *_mix(s, layer)):
            yield Planned(f"blk.{layer}.{tensor.name}", tensor.shape, tensor.kind, tensor.fill)


def _attention(s: Shape, layer: int) -> Iterator[Planned]:
    yield Planned("attn_norm.weight", (s.width,), F32, 1.0)
    yield Planned("attn_q_a.weight", (s.query_rank, s.width), BF16)
    yield Planned("attn_q_a_norm.weight", (s.query_rank,), F32, 1.0)
    yield Planned("attn_q_b.weight", (s.heads * s.head, s.query_rank), BF16)
    yield Planned("attn_kv_a_mqa.weight", (s.latent + s.rope, s.width), BF16)
    yield Planned("attn_kv_a_norm.weight", (s.latent,), F32, 1.0)
    yield Planned("attn_k_b.weight", (s.heads, s.latent, s.nope), BF16)
    yield Planned("attn_v_b.weight", (s.heads, s.value, s.latent), BF16)
    yield Planned("attn_output.weight", (s.width, s.heads * s.value), BF16)
    if layer % s.indexer_every == 0:
        yield Planned("indexer.k_norm.weight", (s.indexer_width,), F32, 1.0)
        yield Planned("indexer.k_norm.bias", (s.indexer_width,), F32, 0.0)
        yield Planned("indexer.proj.weight", (s.indexer_heads, s.width), F32)
        yield Planned("indexer.attn_k.weight", (s.indexer_width, s.width), BF16)
        yield Planned("indexer.attn_q_b.weight", (s.indexer_heads * s.indexer_width, s.query_rank), BF16)


def _mix(s: Shape, layer: int) -> Iterator[Planned]:
    yield Planned("ffn_norm.weight", (s.width,), F32, 1.0)
    if layer < s.dense_layers:
        yield from _feed_forward("", (s.dense_hidden, s.width), BF16)
        return
    yield Planned("ffn_gate_inp.weight", (s.experts, s.width), F32)
    yield Planned("exp_probs_b.bias", (s.experts,), F32, 0.0)
    yield from _feed_forward("_exps", (s.experts, s.expert_hidden, s.width), Q8_0)
    yield from _feed_forward("_shexp", (s.expert_hidden, s.width), BF16)


def _feed_forward(suffix: str, shape: tuple[int, ...], kind: Any) -> Iterator[Planned]:
    *stack, hidden, width = shape
    for part in ("gate", "up"):
        yield Planned(f"ffn_{part}{suffix}.weight", (*stack, hidden, width), kind)
    yield Planned(f"ffn_down{suffix}.weight", (*stack, width, hidden), kind)


def values(tensor: Planned, seed: int) -> np.ndarray:
    """A tensor's bytes: its name and the seed decide them. Deviation 1/sqrt(width), as in training."""
    if tensor.fill is not None:
        return np.full(tensor.shape, tensor.fill, np.float32)
    random = np.random.Generator(np.random.PCG64([seed, zlib.crc32(tensor.name.encode())]))
    deviation = tensor.shape[-1] ** -0.5
    if tensor.kind == Q8_0:
        blocks = np.empty(int(np.prod(tensor.shape)) // 32, _BLOCK)
        blocks["scale"] = deviation / _DEVIATION
        numbers = np.frombuffer(random.bytes(len(blocks) * 32), np.int8).reshape(-1, 32)
        np.maximum(numbers, -127, out=blocks["values"])
        return blocks.view(np.uint8)
    numbers = random.standard_normal(tensor.shape, np.float32) * np.float32(deviation)
    return numbers if tensor.kind == F32 else (numbers.view(np.uint32) >> 16).astype(np.uint16)


def write(path: Path, shape: Shape, seed: int = 0) -> None:
    """Write the model; it appears under its name when it is whole."""
    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(part, ARCHITECTURE)
    _describe(writer, shape)
    planned = list(tensors(shape))
    for tensor in planned:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.bytes, raw_dtype=tensor.kind
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in planned:
        writer.write_tensor_data(values(tensor, seed))
    writer.close()
    part.replace(path)


def _describe(writer: gguf.GGUFWriter, s: Shape) -> None:
    for field in gguf.GGUFReader(profiles.load("nano").gguf_path).fields.values():
        if field.name.startswith(_SHARED) and field.name != "tokenizer.chat_template":
            kind = field.types[0]
            sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    writer.add_name("random")
    writer.add_description("Random weights, for measuring speed.")
    own = [layer % s.indexer_every == 0 for layer in range(s.layers)]
    add_shape(writer, s, indexer_top_k=s.indexer_top_k, own_indexer=own)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--gb", type=float, default=1.5, help="size of the file in GB of 10^9 bytes")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    shape = shape_of(options.gb)
    write(options.path, shape, options.seed)
    print(f"{options.path}: {options.path.stat().st_size / 1e9:.2f} GB, {shape}")
    print(f"{shape.kv_bytes_f16} bytes of KV cache per token as f16")


if __name__ == "__main__":
    main()
