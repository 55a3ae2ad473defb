"""Where a model's weights and KV cache go, and with how many threads it runs. Pure: no llama.cpp.

`plan` judges what a client asks for against the model file, before anything is loaded. Every refusal is a
sentence that names the setting to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.frames import Load
from glm_lsp.engines.probe import ModelFacts

KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "q4_0": 2}
"""ggml's numbers for the types of the KV cache. K and V are of the same type on glm-dsa."""
POOR_KV = "A KV cache of q4_0 changes a third of this architecture's choices: take q8_0 or f16 for real work."
_EXPERTS = re.compile(r"blk\.(\d+)\.ffn_(?:up|down|gate|gate_up)_(?:ch)?exps\.")
_LEAST_BATCH = 16


@dataclass(frozen=True, slots=True)
class Placement:
    """How to run a model: nothing is left to a default that may differ between machines."""

    context_tokens: int
    """Of one sequence."""
    kv_tokens: int
    """Cells that all sequences share."""
    batch_tokens: int
    threads: int
    """While decoding."""
    batch_threads: int = 0
    """While evaluating prompts; 0: as many as `threads`."""
    gpu_layers: int = 0
    """-1: all. The output layer counts as one, the first to go there."""
    overrides: tuple[str, ...] = ()
    """Regular expressions of tensors that stay in main memory, whatever `gpu_layers` says."""
    kv_type: str = "f16"
    mmap: bool = True
    mlock: bool = False
    mtp: bool = False
    """With the layer that foretells tokens."""

    @property
    def mapped(self) -> bool:
        """Weights in main memory are the file's own pages, which the system may drop and read again."""
        return self.mmap and not self.mlock

    def refused(self, what: str, said: str) -> str:
        """The sentence for memory that was not to be had; `said` is llama.cpp's own word."""
        lower = "model.kv_tokens, model.context_tokens or model.batch_tokens"
        if self.gpu_layers:
            lower = f"model.gpu_layers (or raise model.cpu_expert_layers), {lower}"
        return (
            f"There is not enough memory for {what} ({self.kv_tokens:,} tokens of KV cache as "
            f"{self.kv_type}, batches of {self.batch_tokens}). Lower {lower}, or end other programs.{said}"
        )


def plan(load: Load, facts: ModelFacts, cores: int) -> Placement:
    """What `load` asks for, checked against the model file. Raises ConfigError."""
    _check_model(load, facts)
    if load.kv_type not in KV_TYPES:
        raise ConfigError(f"model.kv_type '{load.kv_type}' is unknown; choose one of {', '.join(KV_TYPES)}.")
    return Placement(
        context_tokens=load.context_tokens,
        kv_tokens=max(load.kv_tokens, load.context_tokens),
        batch_tokens=max(min(load.batch_tokens, load.context_tokens), _LEAST_BATCH),
        threads=load.threads or cores,
        batch_threads=load.batch_threads,
        gpu_layers=load.gpu_layers,
        overrides=overrides(facts.tensor_names, load.cpu_expert_layers, load.tensor_overrides),
        kv_type=load.kv_type,
        mmap=load.mmap,
        mlock=load.mlock,
    )


def _check_model(load: Load, facts: ModelFacts) -> None:
    if facts.architecture != load.architecture:
        raise ConfigError(
            f"The model file {load.path} is of architecture '{facts.architecture}', but the model profile "
            f"is for '{load.architecture}'; set model.profile to one that fits."
        )
    trained = facts.trained_context_tokens
    if trained and load.context_tokens > trained:
        raise ConfigError(
            f"model.context_tokens is {load.context_tokens:,}, but the model was trained for {trained:,} and "
            "writes nonsense beyond; set it to that or less."
        )
    if load.context_tokens < 1 or load.batch_tokens < 1:
        raise ConfigError("model.context_tokens and model.batch_tokens must be at least 1.")


def expert_layers(names: Iterable[str]) -> tuple[int, ...]:
    """The layers that have experts, in order."""
    found = (_EXPERTS.match(name) for name in names)
    return tuple(sorted({int(match[1]) for match in found if match}))


def overrides(names: tuple[str, ...], cpu_expert_layers: int, patterns: tuple[str, ...]) -> tuple[str, ...]:
    """The expressions for llama.cpp: experts of the last `cpu_expert_layers` layers, then the user's own.

    Raises ConfigError where an expression is none, or fits no tensor: llama.cpp would be silent about it.
    """
    found: list[str] = []
    if cpu_expert_layers:
        layers = expert_layers(names)
        if not layers:
            raise ConfigError("model.cpu_expert_layers is set, but the model has no experts; set it to 0.")
        chosen = layers if cpu_expert_layers < 0 else layers[-cpu_expert_layers:]
        numbers = "|".join(map(str, chosen))
        found.append(rf"blk\.({numbers})\.ffn_(up|down|gate|gate_up)_(ch|)exps")
    for pattern in patterns:
        try:
            compiled = re.compile(pattern)
        except re.error as error:
            raise ConfigError(
                f"model.tensor_overrides has '{pattern}', which is no regular expression: {error}."
            ) from error
        if not any(map(compiled.search, names)):
            raise ConfigError(
                f"model.tensor_overrides has '{pattern}', which fits none of the model's {len(names)} "
                f"tensors; they are named like {', '.join(names[:1] + names[-1:])}."
            )
        found.append(pattern)
    return tuple(found)
