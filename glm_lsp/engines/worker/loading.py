"""From what a client asks for to a model that answers: every check first, then llama.cpp."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from glm_lsp.core.errors import ConfigError, GlmError, ModelFileError
from glm_lsp.engines import probe
from glm_lsp.engines.frames import Load
from glm_lsp.engines.worker import llama, paging
from glm_lsp.engines.worker.context import Context
from glm_lsp.engines.worker.devices import Device, devices
from glm_lsp.engines.worker.memory import Need, check_gpu, check_host, needs
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.mtp import BATCH, CELLS, MtpHead, layer_of
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
    mtp: MtpHead | None = None
    """The layer that foretells tokens, where the file carries one and it is to run."""
    mtp_unused: str = ""
    """Why it is not run, where the file carries one."""

    @property
    def kv_bytes(self) -> int:
        """Of all KV caches."""
        mtp = self.mtp.buffers if self.mtp is not None else {}
        return sum(self.context.buffers.values()) + sum(mtp.values())

    def close(self) -> None:
        """Free all, in the order that llama.cpp survives."""
        if self.mtp is not None:
            self.mtp.close()
        self.context.close()
        self.model.close()


def open_model(
    load: Load,
    on_progress: Callable[[float], None] = lambda _: None,
    *,
    machine: Callable[[], probe.MachineFacts] = probe.machine,
    gpus: Callable[[], Sequence[Device]] = devices,
    mtp_unused: Callable[[probe.ModelFacts, Placement], str] = lambda _facts, _placement: "",
) -> Loaded:
    """Check, plan, load. Raises ConfigError: every failure is a sentence that names what to do.

    Free memory is looked at directly before it is taken, not when somebody planned with it. `mtp_unused` may
    say why the layer that foretells tokens is not to be loaded; what is amiss with it alone is no failure.
    """
    facts = probe.model_facts(load.path)
    _check_trunk(facts)
    placement = plan(load, facts, machine().cores)
    llama.start()
    opening = _Opening(load, facts, placement, _Free(machine, gpus))
    if load.drafts and facts.draft_layers:
        opening.consider_mtp(mtp_unused)
    slow = opening.slow(opening.check())
    model = opening.model(on_progress)
    try:
        # Somebody else may have taken the memory meanwhile, and the KV cache is filled with zeros at once.
        opening.check_context()
        context = Context(model, opening.placement)
    except ConfigError:
        model.close()
        raise
    mtp = opening.mtp(model, context) if opening.placement.mtp else None
    placement = opening.placement
    return Loaded(
        model,
        context,
        placement,
        facts,
        _sentence(model, context, placement),
        (*slow, *_notes(model, load)),
        mtp,
        opening.mtp_unused,
    )


@dataclass(frozen=True, slots=True)
class _Free:
    """Who tells what memory is free now."""

    machine: Callable[[], probe.MachineFacts]
    gpus: Callable[[], Sequence[Device]]


class _Opening:
    """The steps of one load, which may find on the way that the layer that foretells tokens does not go."""

    def __init__(self, load: Load, facts: probe.ModelFacts, placement: Placement, free: _Free) -> None:
        self.placement = placement
        self.mtp_unused = ""
        self._load = load
        self._all = facts
        self._facts = _without_mtp(facts)
        self._free = free
        self._kv_bytes = facts.kv_bytes_f16 or load.kv_bytes_per_token_f16

    def consider_mtp(self, unused: Callable[[probe.ModelFacts, Placement], str]) -> None:
        """Load the layer too, if nothing speaks against it."""
        with_it = replace(self.placement, mtp=True)
        if layer_of(self._all) < 0:
            self.mtp_unused = "it is of a kind that llama.cpp does not run"
        else:
            self.mtp_unused = unused(self._all, with_it)
        if self.mtp_unused:
            return
        bare, self._facts = self._facts, self._all
        try:
            self.check()
            self.placement = with_it
        except ConfigError:
            self._facts = bare
            self.mtp_unused = "memory does not do for it beside the model"

    def check(self) -> int | None:
        """The bytes of main memory that are free. Raises ConfigError if memory would not do."""
        host, _ = needs(self._facts, self.placement, self._kv_bytes)
        free = self._free.machine().free_bytes
        check_host(host, free, mapped=self.placement.mapped)
        if self.placement.gpu_layers:
            _check_gpus(self._facts, self.placement, self._kv_bytes, self._free.gpus())
        return free

    def slow(self, free: int | None) -> tuple[str, ...]:
        """What to expect of a model that is larger than memory."""
        host, _ = needs(self._facts, self.placement, self._kv_bytes)
        found = paging.paging(self._facts, self.placement, host, free)
        if found is None:
            return ()
        speed = paging.read_bytes_s(self._all.path)
        return (paging.sentence(found, host, free or 0, self.placement.batch_tokens, speed),)

    def check_context(self) -> None:
        """The same when the weights are there."""
        host, _ = needs(self._facts, self.placement, self._kv_bytes)
        check_host(Need(0, host.kv, host.buffers), self._free.machine().free_bytes)

    def model(self, on_progress: Callable[[float], None]) -> Model:
        """Raises ModelFileError where llama.cpp refuses the file, with or without the layer."""
        path = Path(self._load.path)
        if self.placement.mtp:
            try:
                return Model(path, self.placement, on_progress)
            except ModelFileError as error:
                self._leave_mtp(error)
        return Model(path, self.placement, on_progress)

    def mtp(self, model: Model, context: Context) -> MtpHead | None:
        """The layer, ready to run, or None and the reason."""
        # Its KV cache has one layer of few cells.
        one = replace(self._all, tensors=(), layers=1)
        small = replace(self.placement, kv_tokens=CELLS, batch_tokens=BATCH)
        row = self._kv_bytes // max(self._all.layers - 1, 1)
        try:
            host, _ = needs(one, small, row)
            check_host(host, self._free.machine().free_bytes)
            if small.gpu_layers:
                _check_gpus(one, small, row, self._free.gpus())
            return MtpHead(model, self.placement, context)
        except ConfigError as error:
            self._leave_mtp(error)
            return None

    def _leave_mtp(self, error: GlmError) -> None:
        self.mtp_unused = str(error).removesuffix(".")
        self.placement = replace(self.placement, mtp=False)
        self._facts = _without_mtp(self._all)


def _check_trunk(facts: probe.ModelFacts) -> None:
    """Raise ModelFileError for a file with nothing but the layer that foretells tokens."""
    if facts.draft_layers and "blk.0.attn_norm.weight" not in facts.tensor_names:
        raise ModelFileError(
            f"The model file {facts.path} holds only the layer that foretells tokens (MTP), not the model "
            "itself; set model.path to the model's own file."
        )


def _without_mtp(facts: probe.ModelFacts) -> probe.ModelFacts:
    """What is loaded where that layer is not: memory is counted for that."""
    mine = re.compile(rf"blk\.{layer_of(facts)}\.")
    return replace(facts, tensors=tuple(tensor for tensor in facts.tensors if not mine.match(tensor.name)))


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


def _notes(model: Model, load: Load) -> tuple[str, ...]:
    notes: list[str] = []
    if load.mlock and model.unlocked:
        notes.append(
            "model.mlock is set, but the system refuses to lock the weights in memory, so they may be "
            f"swapped out ({model.unlocked}). Raise the limit (ulimit -l), or unset it."
        )
    if load.kv_type == "q4_0":
        notes.append(POOR_KV)
    return tuple(notes)
