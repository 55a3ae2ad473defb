"""The layer that foretells tokens, computed with numpy alone: what llama.cpp's graph is compared with.

Written from the architecture's description: no absorbed matrices, no cache, all positions at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from foretelling import bundled, normed

HEADS, NOPE, ROPE, LATENT, VALUE = 4, 32, 32, 96, 64
EXPERTS_USED, SCALE, ROPE_BASE = 2, 2.5, 10_000.0


def states(w: Mapping[str, np.ndarray], ids: np.ndarray, before: np.ndarray, start: int) -> np.ndarray:
    """What the layer makes of tokens at `start` …, each with the state before it: (tokens, width)."""
    embedded = bundled("token_embd.weight")[ids]
    parts = (
        normed(embedded) * w["nextn.enorm.weight"],
        normed(before) * w["nextn.hnorm.weight"],
    )
    x = np.concatenate(parts, axis=1) @ w["nextn.eh_proj.weight"].T
    x = x + _attention(w, normed(x) * w["attn_norm.weight"], start + np.arange(len(ids)))
    x = x + _experts(w, normed(x) * w["ffn_norm.weight"])
    return normed(x) * w["nextn.shared_head_norm.weight"]


def logits(rows: np.ndarray) -> np.ndarray:
    """The head is the table of embeddings."""
    return rows @ bundled("token_embd.weight").T


def _attention(w: Mapping[str, np.ndarray], x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    count = len(x)
    query = normed(x @ w["attn_q_a.weight"].T) * w["attn_q_a_norm.weight"]
    query = (query @ w["attn_q_b.weight"].T).reshape(count, HEADS, NOPE + ROPE)
    both = x @ w["attn_kv_a_mqa.weight"].T
    latent = normed(both[:, :LATENT]) * w["attn_kv_a_norm.weight"]
    turned_key = _turn(both[:, None, LATENT:], positions)
    # Per head, the latent unfolds into keys and values.
    key = np.einsum("tl,hln->thn", latent, w["attn_k_b.weight"])
    value = np.einsum("tl,hvl->thv", latent, w["attn_v_b.weight"])
    scores = np.einsum("ahn,bhn->hab", query[..., :NOPE], key)
    scores += np.einsum("ahr,br->hab", _turn(query[..., NOPE:], positions), turned_key[:, 0])
    scores = scores / np.sqrt(NOPE + ROPE) + np.triu(np.full((count, count), -np.inf), 1)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    mixed = np.einsum("hab,bhv->ahv", weights, value).reshape(count, HEADS * VALUE)
    return mixed @ w["attn_output.weight"].T


def _turn(x: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Neighbouring pairs are turned by angles that grow with the position."""
    angles = np.outer(positions, ROPE_BASE ** -(np.arange(0, ROPE, 2) / ROPE))[:, None]
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = np.empty_like(x)
    turned[..., 0::2] = even * np.cos(angles) - odd * np.sin(angles)
    turned[..., 1::2] = even * np.sin(angles) + odd * np.cos(angles)
    return turned


def _experts(w: Mapping[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    chances = 1 / (1 + np.exp(-(x @ w["ffn_gate_inp.weight"].T)))
    chosen = np.argsort(-(chances + w["exp_probs_b.bias"]), axis=1)[:, :EXPERTS_USED]
    mixed = _gated(x, *(w[f"ffn_{part}_shexp.weight"] for part in ("gate", "up", "down")))
    for at, experts in enumerate(chosen):
        shares = chances[at, experts] / chances[at, experts].sum() * SCALE
        for expert, share in zip(experts, shares, strict=True):
            parts = (w[f"ffn_{part}_exps.weight"][expert] for part in ("gate", "up", "down"))
            mixed[at] += share * _gated(x[at], *parts)
    return mixed


def _gated(x: np.ndarray, gate: np.ndarray, up: np.ndarray, down: np.ndarray) -> np.ndarray:
    inner = x @ gate.T
    return (inner / (1 + np.exp(-inner)) * (x @ up.T)) @ down.T
