"""Tiny models of other architectures, with random weights and the bundled model's vocabulary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from models import NANO

WIDTH, HEADS, KV_HEADS, HIDDEN, LAYERS, VOCABULARY = 64, 4, 2, 128, 2, 8192
HEAD = WIDTH // HEADS
WRITERS = ("llama", "qwen2", "gemma3", "glm4moe")
"""Decoders: one dense, one with biases, one with a sliding window, one with experts."""


def write(path: Path, architecture: str) -> Path:
    """Write a model of one of `WRITERS`, or of `bert`, which makes embeddings only."""
    import gguf  # noqa: PLC0415

    writer = gguf.GGUFWriter(path, architecture)
    for field in gguf.GGUFReader(NANO.gguf_path).fields.values():
        if field.name.startswith("tokenizer."):
            kind = field.types[0]
            sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS if architecture == "bert" else KV_HEADS)
    made = _Tensors(writer)
    made.add("token_embd.weight", VOCABULARY, WIDTH)
    (_embedder if architecture == "bert" else _decoder)(writer, made, architecture)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class _Tensors:
    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._random = np.random.default_rng(0)

    def add(self, name: str, *shape: int) -> None:
        """Matrices are random, vectors ones."""
        matrix = len(shape) > 1
        data = self._random.standard_normal(shape) * 0.05 if matrix else np.ones(shape)
        self._writer.add_tensor(name, data.astype(np.float32))


def _decoder(writer: Any, made: _Tensors, architecture: str) -> None:
    writer.add_layer_norm_rms_eps(1e-5)
    made.add("output_norm.weight", WIDTH)
    made.add("output.weight", VOCABULARY, WIDTH)
    norms = ["attn_norm"]
    if architecture == "gemma3":
        writer.add_key_length(HEAD)
        writer.add_value_length(HEAD)
        writer.add_sliding_window(32)
        norms += ["ffn_norm", "post_attention_norm", "post_ffw_norm"]
    elif architecture == "glm4moe":
        writer.add_expert_count(4)
        writer.add_expert_used_count(2)
        writer.add_expert_feed_forward_length(32)
        writer.add_leading_dense_block_count(1)
        writer.add_expert_shared_count(1)
        writer.add_rope_dimension_count(HEAD // 2)
        writer.add_key_length(HEAD)
        writer.add_value_length(HEAD)
        norms.append("post_attention_norm")
    else:
        norms.append("ffn_norm")
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for norm in norms:
            made.add(f"{at}{norm}.weight", WIDTH)
        for part, size in (("q", WIDTH), ("k", KV_HEADS * HEAD), ("v", KV_HEADS * HEAD)):
            made.add(f"{at}attn_{part}.weight", size, WIDTH)
            if architecture == "qwen2":
                made.add(f"{at}attn_{part}.bias", size)
            if architecture == "gemma3" and part != "v":
                made.add(f"{at}attn_{part}_norm.weight", HEAD)
        made.add(f"{at}attn_output.weight", WIDTH, WIDTH)
        if architecture == "glm4moe" and layer:
            _experts(made, at)
        else:
            made.add(f"{at}ffn_gate.weight", HIDDEN, WIDTH)
            made.add(f"{at}ffn_up.weight", HIDDEN, WIDTH)
            made.add(f"{at}ffn_down.weight", WIDTH, HIDDEN)


def _experts(made: _Tensors, at: str) -> None:
    made.add(f"{at}ffn_gate_inp.weight", 4, WIDTH)
    made.add(f"{at}exp_probs_b.bias", 4)
    for part, shape in (("gate", (32, WIDTH)), ("up", (32, WIDTH)), ("down", (WIDTH, 32))):
        made.add(f"{at}ffn_{part}_exps.weight", 4, *shape)
        made.add(f"{at}ffn_{part}_shexp.weight", *shape)


def _embedder(writer: Any, made: _Tensors, _architecture: str) -> None:
    import gguf  # noqa: PLC0415

    writer.add_token_type_count(2)
    writer.add_layer_norm_eps(1e-5)
    writer.add_causal_attention(False)
    writer.add_pooling_type(gguf.PoolingType.MEAN)
    for name in ("token_embd_norm.weight", "token_embd_norm.bias"):
        made.add(name, WIDTH)
    made.add("token_types.weight", 2, WIDTH)
    made.add("position_embd.weight", 4096, WIDTH)
    for layer in range(LAYERS):
        at = f"blk.{layer}."
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            made.add(f"{at}{name}.weight", WIDTH, WIDTH)
            made.add(f"{at}{name}.bias", WIDTH)
        for name in ("attn_output_norm", "layer_output_norm"):
            made.add(f"{at}{name}.weight", WIDTH)
            made.add(f"{at}{name}.bias", WIDTH)
        made.add(f"{at}ffn_up.weight", HIDDEN, WIDTH)
        made.add(f"{at}ffn_up.bias", HIDDEN)
        made.add(f"{at}ffn_down.weight", WIDTH, HIDDEN)
        made.add(f"{at}ffn_down.bias", WIDTH)
