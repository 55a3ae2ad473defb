"""What a GGUF of this architecture says of the model's shape; trained or random, the keys are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gguf

ARCHITECTURE = "glm-dsa"


def add_shape(writer: gguf.GGUFWriter, s: Any, *, indexer_top_k: int, own_indexer: Sequence[bool]) -> None:
    """Write the sizes of `s`, a shape with the names of `model.Shape`.

    `own_indexer` says of each layer whether it has one; the others share the one before.
    """
    writer.add_vocab_size(s.vocabulary)
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.width)
    writer.add_block_count(s.layers)
    writer.add_leading_dense_block_count(s.dense_layers)
    writer.add_feed_forward_length(s.dense_hidden)
    writer.add_layer_norm_rms_eps(s.epsilon)
    # One key for all heads is cached: the latent and the turned part.
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(1)
    writer.add_q_lora_rank(s.query_rank)
    writer.add_kv_lora_rank(s.latent)
    writer.add_key_length(s.latent + s.rope)
    writer.add_value_length(s.latent)
    writer.add_key_length_mla(s.head)
    writer.add_value_length_mla(s.value)
    writer.add_rope_dimension_count(s.rope)
    writer.add_rope_freq_base(s.rope_base)
    writer.add_expert_count(s.experts)
    writer.add_expert_used_count(s.experts_used)
    writer.add_expert_shared_count(s.experts_shared)
    writer.add_expert_feed_forward_length(s.expert_hidden)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)
    writer.add_expert_weights_norm(True)
    writer.add_expert_weights_scale(s.expert_scale)
    writer.add_expert_group_count(1)
    writer.add_expert_group_used_count(1)
    writer.add_indexer_head_count(s.indexer_heads)
    writer.add_indexer_key_length(s.indexer_width)
    writer.add_indexer_top_k(indexer_top_k)
    writer.add_array(f"{ARCHITECTURE}.attention.indexer.types", list(own_indexer))
