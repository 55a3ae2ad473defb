"""How much memory a model takes, in main memory and on the GPU, before it is loaded. Pure.

The weights are counted tensor by tensor. The buffers are an estimate with measured factors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.gguf import Tensor
from glm_lsp.engines.probe import KV_SCALE, ModelFacts, gigabytes
from glm_lsp.engines.worker.placement import Placement, expert_layers, overrides

_PER_CELL = 8.5
_PER_CHOSEN_CELL = 32.0
_CHOSEN_CELLS = 4096
"""Buffer bytes per token of a batch: for each cell, and more for those that the indexer chooses."""
_LAYER = re.compile(r"blk\.(\d+)\.")
EXPERTS = re.compile(r"blk\.\d+\.ffn_\w+_(?:ch)?exps\.")
"""Tensors of which a token needs a part only."""


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes in one kind of memory."""

    weights: int
    kv: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.buffers

    def told(self, what: str) -> str:
        """The sum of memory of that kind, and what it is for."""
        return (
            f"{gigabytes(self.total)} of {what} (weights {gigabytes(self.weights)}, "
            f"KV cache {gigabytes(self.kv)}, buffers {gigabytes(self.buffers)})"
        )


def needs(facts: ModelFacts, placement: Placement, kv_bytes_f16: int) -> tuple[Need, Need]:
    """What the placement takes of main memory and of the GPU's; `kv_bytes_f16` is per token."""
    first = first_gpu_layer(facts.layers, placement.gpu_layers)
    kept = [re.compile(pattern) for pattern in placement.overrides]
    host = gpu = largest_kept = 0
    for tensor in facts.tensors:
        size = tensor.end - tensor.start
        if not _on_gpu(tensor, first, facts.layers):
            host += size
        elif any(pattern.search(tensor.name) for pattern in kept):
            host += size
            largest_kept = max(largest_kept, size)
        else:
            gpu += size
    kv = int(kv_bytes_f16 * KV_SCALE[placement.kv_type] * placement.kv_tokens)
    kv_gpu = kv * max(facts.layers - first, 0) // max(facts.layers, 1)
    per_token = _PER_CELL * placement.kv_tokens + _PER_CHOSEN_CELL * min(placement.kv_tokens, _CHOSEN_CELLS)
    buffers = int(placement.batch_tokens * (per_token + 4 * facts.vocabulary))
    if not placement.gpu_layers:
        return Need(host, kv, buffers), Need(0, 0, 0)
    # Prompts bring the experts that they need to the GPU, one stack at a time, while the next is on its way.
    return Need(host, kv - kv_gpu, 0), Need(gpu, kv_gpu, buffers + 2 * largest_kept)


def on_host(facts: ModelFacts, placement: Placement) -> Iterator[Tensor]:
    """The tensors that stay in main memory."""
    first = first_gpu_layer(facts.layers, placement.gpu_layers)
    kept = [re.compile(pattern) for pattern in placement.overrides]
    for tensor in facts.tensors:
        if not _on_gpu(tensor, first, facts.layers) or any(p.search(tensor.name) for p in kept):
            yield tensor


def first_gpu_layer(layers: int, gpu_layers: int) -> int:
    """Layers from this one on are on the GPU; `layers` stands for the output layer, one more for none."""
    return 0 if gpu_layers < 0 else max(layers + 1 - gpu_layers, 0)


def _on_gpu(tensor: Tensor, first: int, layers: int) -> bool:
    if match := _LAYER.match(tensor.name):
        return int(match[1]) >= first
    return tensor.name.startswith("output") and layers >= first


def check_host(need: Need, free_bytes: int | None, *, mapped: bool = False) -> None:
    """Raise ConfigError with the figures if main memory would not do: better than the OOM killer.

    Mapped weights need no room: what finds none is read from the disk again, see `paging`.
    """
    firm = need.kv + need.buffers
    if free_bytes is None or (firm if mapped else need.total) <= free_bytes:
        return
    slowly = firm <= free_bytes and "run it slowly from the disk (model.mmap = true, model.mlock = false)"
    raise ConfigError(
        f"The model needs {need.told('memory')}, but only {gigabytes(free_bytes)} are free. Lower "
        "model.kv_tokens or model.context_tokens, choose a smaller quantisation, "
        f"{f'{slowly}, ' if slowly else ''}or end other programs."
    )


def check_gpu(facts: ModelFacts, placement: Placement, kv_bytes_f16: int, free_bytes: int | None) -> None:
    """Raise ConfigError if the GPU has too little left now, with a placement that would fit."""
    need = needs(facts, placement, kv_bytes_f16)[1]
    if free_bytes is None or need.total <= free_bytes:
        return
    alternatives = _alternatives(facts, placement)
    fitting = (n for n, other in alternatives if needs(facts, other, kv_bytes_f16)[1].total <= free_bytes)
    found = next(fitting, None)
    remedy = (
        f"With model.cpu_expert_layers = {found} it would fit; or lower" if found is not None else "Lower"
    )
    raise ConfigError(
        f"What is placed on the GPU needs {need.told('its memory')}, but only {gigabytes(free_bytes)} are "
        f"free now. {remedy} model.gpu_layers, model.kv_tokens or model.batch_tokens, or end other programs "
        "there."
    )


def _alternatives(facts: ModelFacts, placement: Placement) -> Iterator[tuple[int, Placement]]:
    """The same placement with the experts of more and more layers in main memory."""
    for count in range(1, len(expert_layers(facts.tensor_names)) + 1):
        more = overrides(facts.tensor_names, count, ())
        yield count, replace(placement, overrides=(*placement.overrides, *more))
