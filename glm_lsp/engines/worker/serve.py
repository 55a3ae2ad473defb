"""The worker's main thread: it loads the model, joins the parts and serves until it is time to end."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from glm_lsp.core.errors import ConfigError, GlmError
from glm_lsp.core.layout import LAYOUT_VERSION
from glm_lsp.disk.store import Store, default_directory
from glm_lsp.engines.frames import Load, Ready, Status
from glm_lsp.engines.probe import ModelFacts
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import identity, measuring, mtp_costs, noises, shelf
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.devices import devices
from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.generation import Machine
from glm_lsp.engines.worker.keeping import Keeping
from glm_lsp.engines.worker.listener import Listener
from glm_lsp.engines.worker.llama import Ids
from glm_lsp.engines.worker.loading import Loaded, open_model
from glm_lsp.engines.worker.loop import Chore, Loop
from glm_lsp.engines.worker.mtp_drafts import Mtp
from glm_lsp.engines.worker.mtp_policy import MtpRecord, could_pay
from glm_lsp.engines.worker.placement import Placement
from glm_lsp.engines.worker.saved import SavedKv
from glm_lsp.engines.worker.scheduler import Scheduler
from glm_lsp.engines.worker.trunks import Pool
from glm_lsp.engines.worker.vocabulary import Vocabulary

_SAMPLE = """def total(values: list[int]) -> int:
    '''Return the sum of the values that are above zero.'''
    return sum(value for value in values if value > 0)
"""
LAST_SAVING_S = 60.0
"""What has not been written so long after the end has begun is given up: somebody may wait for the slot."""


@dataclass(slots=True)
class _Parts:
    loaded: Loaded
    machine: Machine
    saved: SavedKv
    costs: Store
    mtp_unused: str
    """Why the layer that foretells tokens is not run; empty: it is, or there is none."""

    @property
    def mtp(self) -> str:
        """The same, and how it does where it is run."""
        record = self.machine.mtp.record if self.machine.mtp is not None else None
        return record.told if record is not None else self.mtp_unused and f"not run: {self.mtp_unused}"

    def close(self) -> None:
        self.costs.close()
        self.loaded.close()


@dataclass(slots=True)
class _MtpMeasuring:
    """The layer that foretells tokens is measured once it is known what verifying its guesses costs."""

    parts: _Parts
    ids: Ids
    kept: mtp_costs.Kept

    def step(self) -> bool:
        """All at once. Raises Interrupted."""
        parts, machine = self.parts, self.parts.machine
        head, processors = parts.loaded.mtp, not parts.loaded.placement.gpu_layers
        if head is None or not machine.costs.ratios:
            return False
        found = mtp_costs.table(
            head, machine.context, self.ids, machine.costs, self.kept, processors=processors
        )
        if found is None:
            parts.mtp_unused = "what it costs could not be measured"
        elif not could_pay(machine.costs, found):
            parts.mtp_unused = mtp_costs.too_dear(found)
        else:
            machine.mtp, parts.mtp_unused = Mtp(head, MtpRecord(machine.costs, found)), ""
        return False

    def rest(self) -> None:
        """It holds nothing between its steps."""


NO_MEMORY_LEFT = (
    "The worker got no more memory from the system. Lower model.kv_tokens or model.context_tokens, take a "
    "smaller model, or end other programs."
)


class Server:
    """Serves until the listener says that it is time to end."""

    def __init__(self, listener: Listener, scheduler: Scheduler) -> None:
        self._listener = listener
        self._scheduler = scheduler
        self._notes: list[str] = []
        self._unsaved = ""

    def run(self) -> int:
        """Serve; return the exit status: 0 after a good end, 1 where llama.cpp is in no state to go on."""
        try:
            load = self._listener.wanted()
            return 0 if load is None else self._serve(load)
        except GlmError as error:
            self._listener.end(str(error), kind=type(error).__name__)
            return 1
        except MemoryError:
            # llama.cpp tells of its own; this is all that the interpreter says of ours.
            self._listener.end(NO_MEMORY_LEFT, kind=ConfigError.__name__)
            return 1
        finally:
            self._listener.finish(self._unsaved)

    def _serve(self, load: Load) -> int:
        started = time.perf_counter()
        parts = self._open(load)
        chores, lasting = _unknown(load, parts), _noise(load, parts)
        loop = Loop(parts.machine, self._scheduler, self._listener.pulse, chores, lasting)
        self._listener.fill = partial(self._fill, parts, loop)
        self._listener.pulse.rest()
        loaded = parts.loaded
        seconds = time.perf_counter() - started
        self._listener.loaded(
            Ready(load.context_tokens, loaded.model.size, seconds, loaded.placement.threads, loaded.sentence)
        )
        loop.run()
        parts.machine.pool.close(LAST_SAVING_S)
        self._unsaved = parts.saved.unsaved
        parts.close()
        return 0

    def _open(self, load: Load) -> _Parts:
        """Raises ConfigError."""
        loaded = open_model(load, self._listener.loading, mtp_unused=partial(_mtp_unused, load))
        self._notes += loaded.notes
        figures = Figures(loaded.context.batch_tokens)
        saved = SavedKv(
            shelf.default_shelf(), _identity(load, loaded), load.saved_kv_bytes, self._notes.append
        )
        keeping = Keeping(saved, load.kv_bytes_per_token_f16, figures.evaluate_s)
        vocabulary = Vocabulary(GgufTokenizer(load.path), loaded.model.piece, loaded.model.ends)
        machine = Machine(
            model=loaded.model,
            context=loaded.context,
            vocabulary=vocabulary,
            pool=Pool(loaded.context, keeping),
            figures=figures,
            context_tokens=load.context_tokens,
        )
        return _Parts(loaded, machine, saved, Store(_costs_directory()), loaded.mtp_unused)

    def _fill(self, parts: _Parts, loop: Loop, status: Status) -> Status:
        """Complete a status. In the listener's thread."""
        return msgspec.structs.replace(
            loop.status(status, self._listener.name_of),
            measuring=bool(loop.chores),
            state="measuring" if loop.chores and status.state == "ready" else status.state,
            kv_bytes=parts.loaded.kv_bytes,
            mtp=parts.mtp,
            saved_bytes=parts.saved.bytes_on_disk,
            notes=tuple(self._notes),
        )


def _unknown(load: Load, parts: _Parts) -> list[Chore]:
    """What is to be measured about drafts, in idle time. What is known from before is the machine's now."""
    if not load.drafts:
        return []
    loaded, machine = parts.loaded, parts.machine
    ids = machine.vocabulary.encode([(_SAMPLE, False)]).ids
    kept = measuring.Kept(parts.costs, _costs_identity(load, loaded))
    chores: list[Chore] = []

    def know(costs: CostTable) -> None:
        machine.costs = replace(costs, deep=machine.costs.deep)

    if (known := kept.read()) is not None:
        know(known)
    else:
        processors = not loaded.placement.gpu_layers
        chores.append(measuring.Measuring(loaded.context, ids, kept, processors=processors, then=know))
    if loaded.mtp is not None:
        mtp_kept = mtp_costs.Kept(parts.costs, _mtp_identity(load, loaded.facts, loaded.placement))
        mtp = _MtpMeasuring(parts, ids, mtp_kept)
        if chores or mtp_kept.read() is None:
            parts.mtp_unused = "what it costs is measured as soon as there is nothing else to do"
            chores.append(mtp)
        else:
            mtp.step()
    return chores


def _noise(load: Load, parts: _Parts) -> Chore | None:
    """What noise there is at the depths that requests come to, to be called after `_unknown`."""
    if not load.drafts:
        return None
    machine = parts.machine
    kept = noises.Kept(parts.costs, _costs_identity(load, parts.loaded))

    def know(costs: CostTable) -> None:
        machine.costs = costs

    know(replace(machine.costs, deep=kept.read()))
    return noises.Listening(machine.context, machine.pool, kept, lambda: machine.costs, know)


def _costs_directory() -> Path:
    return default_directory() / "costs"


def _mtp_unused(load: Load, facts: ModelFacts, placement: Placement) -> str:
    """Whether it was measured before that the layer cannot pay here."""
    store = Store(_costs_directory())
    try:
        known = mtp_costs.Kept(store, _mtp_identity(load, facts, placement)).read()
    finally:
        store.close()
    return "" if known is None or known.pays else mtp_costs.too_dear(known.costs)


def _costs_identity(load: Load, loaded: Loaded) -> str:
    return f"{_identity(load, loaded)} {loaded.placement} {loaded.sentence}"


def _mtp_identity(load: Load, facts: ModelFacts, placement: Placement) -> str:
    gpus = [device.name for device in devices()] if placement.gpu_layers else []
    return f"{_named(load, facts, placement.batch_tokens)} {placement} {gpus}"


def _identity(load: Load, loaded: Loaded) -> str:
    return _named(load, loaded.facts, loaded.context.batch_tokens)


def _named(load: Load, facts: ModelFacts, batch_tokens: int) -> str:
    return identity.identity(
        facts,
        kv_type=load.kv_type,
        flash_attention=True,
        template=load.template,
        layout_version=LAYOUT_VERSION,
        engine_version=identity.engine_version(),
        batch_tokens=batch_tokens,
    )
