"""Write a checkpoint as a GGUF for llama.cpp: `python export.py RUN_DIRECTORY nano.gguf [f32|f16|q8_0]`.

The file appears in one move, so that a program that has the old one mapped keeps it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from corpus import SPECIAL_IDS, WORDS, load_tokenizer
from metadata import ARCHITECTURE, add_shape
from model import Nano, Shape
from numpy.typing import NDArray
from tokenizers import Tokenizer

from glm_lsp.core.template import SPECIAL_TOKENS

KINDS = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
DESCRIPTION = (
    "A small model of GLM-5.2's architecture for trying and testing offline, not for work. "
    "Trained from nothing on the Python standard library's source."
)
# GLM-5.2's chat form with thinking off. The product never executes it; other programs that load the file may.
CHAT_TEMPLATE = """[gMASK]<sop>
{%- for message in messages -%}
<|{{ message.role }}|>{% if message.role == 'assistant' %}<think></think>{% endif %}{{ message.content }}
{%- endfor -%}
{%- if add_generation_prompt %}<|assistant|><think></think>{% endif -%}
"""


def load_model(run: Path) -> Nano:
    """The float32 model of a run's checkpoint, ready to be read."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    model = Nano(Shape(**state["shape"]))
    model.load_state_dict({**state["optimiser"]["master"], **state["biases"]})
    return model.eval()


def export(model: Nano, tokenizer: Tokenizer, path: Path, kind: str = "q8_0") -> None:
    """Write `model` to `path` with its matrices as `kind`."""
    part = path.with_name(path.name + ".part")
    writer = gguf.GGUFWriter(part, ARCHITECTURE)
    _describe(writer, kind)
    s = model.shape
    own = [layer == 0 for layer in range(s.layers)]
    add_shape(writer, s, indexer_top_k=s.context, own_indexer=own)
    _add_tokenizer(writer, tokenizer)
    for name, value in (tensors(model) | _indexer(model.shape)).items():
        add_tensor(writer, name, value, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.replace(path)


def tensors(model: Nano) -> dict[str, NDArray[np.float32]]:
    """Every trained tensor under llama.cpp's name, in numpy's order; views of the model's memory."""
    s = model.shape
    state = {n: v.detach().numpy() for n, v in model.state_dict().items()}
    found = {"token_embd.weight": state["embedding.weight"], "output_norm.weight": state["out_norm"]}
    for i in range(s.layers):
        mine = {n.removeprefix(f"blocks.{i}."): v for n, v in state.items() if n.startswith(f"blocks.{i}.")}
        found |= {f"blk.{i}.{name}": value for name, value in layer_tensors(s, i, mine).items()}
    return found


def layer_tensors(
    s: Shape, index: int, mine: dict[str, NDArray[np.float32]]
) -> dict[str, NDArray[np.float32]]:
    """One block's, from its state as numpy arrays."""
    layer = {theirs: mine[ours] for theirs, ours in _NAMES.items()}
    # Per head: k_b takes a query into the latent, so its rows are the latent's; v_b brings a value out.
    k_b = mine["attention.k_b.weight"].reshape(s.heads, s.nope, s.latent)
    layer["attn_k_b.weight"] = k_b.transpose(0, 2, 1)
    layer["attn_v_b.weight"] = mine["attention.v_b.weight"].reshape(s.heads, s.value, s.latent)
    if index < s.dense_layers:
        return layer | {f"ffn_{p}.weight": mine[f"mix.{p}.weight"] for p in ("gate", "up", "down")}
    layer |= {"ffn_gate_inp.weight": mine["mix.router.weight"], "exp_probs_b.bias": mine["mix.bias"]}
    for p in ("gate", "up", "down"):
        layer |= {f"ffn_{p}_exps.weight": mine[f"mix.{p}"]}
        layer |= {f"ffn_{p}_shexp.weight": mine[f"mix.shared.{p}.weight"]}
    return layer


_NAMES = {
    "attn_norm.weight": "attention_norm",
    "attn_q_a.weight": "attention.q_a.weight",
    "attn_q_a_norm.weight": "attention.q_a_norm",
    "attn_q_b.weight": "attention.q_b.weight",
    "attn_kv_a_mqa.weight": "attention.kv_a.weight",
    "attn_kv_a_norm.weight": "attention.kv_a_norm",
    "attn_output.weight": "attention.out.weight",
    "ffn_norm.weight": "mix_norm",
}
"""llama.cpp's names and ours, where they differ in nothing else."""


def _indexer(s: Shape) -> dict[str, NDArray[np.float32]]:
    """Placeholders: with top-k at least the context the indexer chooses everything, whatever it computes."""
    random = np.random.default_rng(0)

    def small(*size: int) -> NDArray[np.float32]:
        return (random.standard_normal(size) * 0.02).astype(np.float32)

    return {
        "blk.0.indexer.k_norm.weight": np.ones(s.indexer_width, np.float32),
        "blk.0.indexer.k_norm.bias": np.zeros(s.indexer_width, np.float32),
        "blk.0.indexer.proj.weight": small(s.indexer_heads, s.width),
        "blk.0.indexer.attn_k.weight": small(s.indexer_width, s.width),
        "blk.0.indexer.attn_q_b.weight": small(s.indexer_heads * s.indexer_width, s.query_rank),
    }


def _describe(writer: gguf.GGUFWriter, kind: str) -> None:
    writer.add_name("nano")
    writer.add_description(DESCRIPTION)
    writer.add_author("The glm-lsp authors")
    writer.add_license("MIT")
    writer.add_license_name("MIT; trained on the Python standard library, PSF-2.0")
    writer.add_languages(["en"])
    writer.add_file_type(int(KINDS[kind]))


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer) -> None:
    model: dict[str, Any] = json.loads(tokenizer.to_str())["model"]
    words = sorted(model["vocab"], key=model["vocab"].__getitem__)
    merges = [m if isinstance(m, str) else " ".join(m) for m in model["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("glm4")
    writer.add_token_list([*words, *SPECIAL_TOKENS])
    writer.add_token_types([gguf.TokenType.NORMAL] * WORDS + [gguf.TokenType.CONTROL] * len(SPECIAL_TOKENS))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(SPECIAL_IDS["[gMASK]"])
    writer.add_add_bos_token(False)
    writer.add_eos_token_id(SPECIAL_IDS["<|endoftext|>"])
    writer.add_unk_token_id(SPECIAL_IDS["<|endoftext|>"])
    writer.add_pad_token_id(SPECIAL_IDS["<|endoftext|>"])
    writer.add_eot_token_id(SPECIAL_IDS["<|user|>"])
    writer.add_eom_token_id(SPECIAL_IDS["<|observation|>"])
    for short, name in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle")):
        writer.add_uint32(f"tokenizer.ggml.fim_{short}_token_id", SPECIAL_IDS[f"<|code_{name}|>"])
    writer.add_chat_template(CHAT_TEMPLATE)


def add_tensor(writer: gguf.GGUFWriter, name: str, value: NDArray[np.float32], kind: str) -> None:
    """Vectors, the router, the indexer and the stacked `k_b` and `v_b` stay exact.

    In `q8_0` the experts, half of the weights, have eight bits; the other matrices are bf16. The reason:
    llama-cpp-python 0.3.36, built for AMX, repacks eight-bit and f16 matrices, and then crashes or computes
    nonsense on them (`use_extra_bufts` off avoids it; this file needs no such care).
    """
    value = np.ascontiguousarray(value, np.float32)
    exact = value.ndim == 1 or any(p in name for p in ("ffn_gate_inp", "indexer", "attn_k_b", "attn_v_b"))
    if kind == "f32" or exact:
        writer.add_tensor(name, value)
    elif kind == "f16":
        writer.add_tensor(name, value.astype(np.float16))
    else:
        raw = gguf.GGMLQuantizationType.Q8_0 if "_exps" in name else gguf.GGMLQuantizationType.BF16
        writer.add_tensor(name, gguf.quants.quantize(value, raw), raw_dtype=raw)


def main() -> None:
    run, path = Path(sys.argv[1]), Path(sys.argv[2])
    export(load_model(run), load_tokenizer(run), path, *sys.argv[3:4])
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
