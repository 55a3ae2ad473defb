"""From what a client asks for to a model that answers: every check first, then llama.cpp."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines import probe
from glm_lsp.engines.frames import Load
from glm_lsp.engines.worker import llama
from glm_lsp.engines.worker.context import Context
from glm_lsp.engines.worker.devices import Device, devices
from glm_lsp.engines.worker.memory import Need, check_gpu, check_host, needs
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.placement import POOR_KV, Placement, plan


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
    """What the user should know: weights that could not be locked in memory, a poor type of KV cache."""

    def close(self) -> None:
        """Free both, in the order that llama.cpp survives."""
        self.context.close()
        self.model.close()


def open_model(
    load: Load,
    on_progress: Callable[[float], None] = lambda _: None,
    *,
    machine: Callable[[], probe.MachineFacts] = probe.machine,
    gpus: Callable[[], Sequence[Device]] = devices,
) -> Loaded:
    """Check, plan, load. Raises ConfigError: every failure is a sentence that names what to do.

    Free memory is looked at directly before it is taken, not when somebody planned with it.
    """
    facts = probe.model_facts(load.path)
    placement = plan(load, facts, machine().cores)
    llama.start()
    kv_bytes = facts.kv_bytes_f16 or load.kv_bytes_per_token_f16
    host, _ = needs(facts, placement, kv_bytes)
    check_host(host, machine().free_bytes)
    if placement.gpu_layers:
        _check_gpus(facts, placement, kv_bytes, gpus())
    model = Model(Path(load.path), placement, on_progress)
    try:
        # Somebody else may have taken the memory meanwhile, and the KV cache is filled with zeros at once.
        check_host(Need(0, host.kv, host.buffers), machine().free_bytes)
        context = Context(model, placement)
    except ConfigError:
        model.close()
        raise
    return Loaded(
        model, context, placement, facts, _sentence(model, context, placement), _notes(model, load, facts)
    )


def _check_gpus(
    facts: probe.ModelFacts, placement: Placement, kv_bytes: int, found: Sequence[Device]
) -> None:
    if not found:
        raise ConfigError(
            "model.gpu_layers is set, but the installed llama-cpp-python sees no GPU (it may be built "
            "without support for one); set it to 0, or reinstall llama-cpp-python with a GPU backend."
        )
    free = sum(device.free_bytes for device in found)
    known = all(device.total_bytes for device in found)
    check_gpu(facts, placement, kv_bytes, free if known else None)


def _sentence(model: Model, context: Context, placement: Placement) -> str:
    """Where everything is, as llama.cpp has said itself."""
    weights = _places(model.buffers)
    cells = f"{placement.kv_tokens:,} tokens as {placement.kv_type}"
    threads = f"{placement.threads} thread{'s' if placement.threads > 1 else ''}"
    if placement.batch_threads not in (0, placement.threads):
        threads += f" for writing and {placement.batch_threads} for reading"
    return f"Weights: {weights}. KV cache: {_places(context.buffers)} ({cells}). {threads.capitalize()}."


def _places(buffers: dict[str, int]) -> str:
    return (
        ", ".join(f"{probe.gigabytes(size)} {_place(name)}" for name, size in sorted(buffers.items()) if size)
        or "nowhere known"
    )


def _place(name: str) -> str:
    if name.startswith("CPU"):
        return "in main memory, mapped from the file" if "Mapped" in name else "in main memory"
    return f"on {name.removesuffix('_Mapped')}"


def _notes(model: Model, load: Load, facts: probe.ModelFacts) -> tuple[str, ...]:
    notes: list[str] = []
    if load.mlock and model.unlocked:
        notes.append(
            "model.mlock is set, but the system refuses to lock the weights in memory, so they may be "
            f"swapped out ({model.unlocked}). Raise the limit (ulimit -l), or unset it."
        )
    if load.kv_type == "q4_0":
        notes.append(POOR_KV)
    if load.drafts and facts.draft_layers:
        notes.append(probe.MTP_UNUSED)
    return tuple(notes)
