"""From what a client asks for to a model that answers: every check first, then llama.cpp."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines import probe
from glm_lsp.engines.frames import Load
from glm_lsp.engines.worker import llama
from glm_lsp.engines.worker.context import Context
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.placement import Placement


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model with its context."""

    model: Model
    context: Context
    placement: Placement
    facts: probe.ModelFacts
    sentence: str
    """Where weights and KV cache are."""
    notes: tuple[str, ...] = ()
    """What the user should know: a refused lock, a poor KV type …"""

    def close(self) -> None:
        """Free both, in the order that llama.cpp survives."""
        self.context.close()
        self.model.close()


def open_model(load: Load, on_progress: Callable[[float], None]) -> Loaded:
    """Check, plan, load. Raises ConfigError: every failure is a sentence that names what to do."""
    facts = probe.model_facts(load.path)
    if facts.architecture != load.architecture:
        raise ConfigError(
            f"The model file {load.path} is of architecture '{facts.architecture}', but the model profile "
            f"is for '{load.architecture}'; set model.profile to one that fits."
        )
    placement = Placement(
        context_tokens=load.context_tokens,
        kv_tokens=max(load.kv_tokens, load.context_tokens),
        batch_tokens=load.batch_tokens,
        threads=load.threads or probe.machine().cores,
        batch_threads=load.batch_threads,
        gpu_layers=load.gpu_layers,
        cpu_expert_layers=load.cpu_expert_layers,
        tensor_overrides=load.tensor_overrides,
        kv_type=load.kv_type,
        mmap=load.mmap,
        mlock=load.mlock,
    )
    llama.start()
    model = Model(Path(load.path), placement, on_progress)
    context = Context(model, placement)
    return Loaded(model, context, placement, facts, "In main memory.")
