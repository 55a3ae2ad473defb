"""Where a model's weights and KV cache go, and with how many threads it runs."""

from __future__ import annotations

from dataclasses import dataclass

KV_TYPES = {"f32": 0, "f16": 1, "q8_0": 8, "q4_0": 2}
"""ggml's numbers for the types of the KV cache. K and V are of the same type on glm-dsa."""


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
    """-1: all."""
    cpu_expert_layers: int = 0
    tensor_overrides: tuple[str, ...] = ()
    kv_type: str = "f16"
    mmap: bool = True
    mlock: bool = False

    def refused(self, what: str, said: str) -> str:
        """The sentence for memory that was not to be had; `said` is llama.cpp's own word."""
        where = "model.kv_tokens, model.context_tokens or model.batch_tokens"
        if self.gpu_layers:
            where += ", or model.gpu_layers (or raise model.cpu_expert_layers)"
        return (
            f"There was no memory for {what} ({self.kv_tokens:,} tokens as {self.kv_type}, batches of "
            f"{self.batch_tokens}). Lower {where}, or end other programs.{said}"
        )
