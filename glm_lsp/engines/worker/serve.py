"""The worker's main thread: it loads the model, joins the parts and serves until it is time to end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import msgspec

from glm_lsp.core.errors import GlmError
from glm_lsp.core.layout import LAYOUT_VERSION
from glm_lsp.disk.store import Store, default_directory
from glm_lsp.engines.frames import Load, Ready, Status
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import identity, measuring, shelf
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.generation import Machine
from glm_lsp.engines.worker.keeping import Keeping
from glm_lsp.engines.worker.listener import Listener
from glm_lsp.engines.worker.loading import Loaded, open_model
from glm_lsp.engines.worker.loop import Loop
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


@dataclass(frozen=True, slots=True)
class _Parts:
    loaded: Loaded
    machine: Machine
    saved: SavedKv


class Server:
    """Serves until the listener says that it is time to end."""

    def __init__(self, listener: Listener, scheduler: Scheduler) -> None:
        self._listener = listener
        self._scheduler = scheduler
        self._notes: list[str] = []

    def run(self) -> int:
        """Serve; return the exit status: 0 after a good end, 1 where llama.cpp is in no state to go on."""
        try:
            load = self._listener.wanted()
            return 0 if load is None else self._serve(load)
        except GlmError as error:
            self._listener.end(str(error), kind=type(error).__name__)
            return 1
        finally:
            self._listener.finish()

    def _serve(self, load: Load) -> int:
        started = time.perf_counter()
        parts = self._open(load)
        loop = Loop(parts.machine, self._scheduler, self._listener.pulse)
        self._listener.fill = partial(self._fill, parts, loop)
        self._listener.pulse.rest()
        loaded = parts.loaded
        seconds = time.perf_counter() - started
        self._listener.loaded(
            Ready(load.context_tokens, loaded.model.size, seconds, loaded.placement.threads, loaded.sentence)
        )
        loop.run()
        parts.machine.pool.close(LAST_SAVING_S)
        loaded.close()
        return 0

    def _open(self, load: Load) -> _Parts:
        """Raises ConfigError."""
        loaded = open_model(load, self._listener.loading)
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
            costs=self._costs(load, loaded, vocabulary),
        )
        return _Parts(loaded, machine, saved)

    def _costs(self, load: Load, loaded: Loaded, vocabulary: Vocabulary) -> CostTable:
        """What drafts cost here: measured at the first load, then known."""
        if not load.drafts:
            return CostTable()
        placement = loaded.placement
        where = f"{_identity(load, loaded)} {placement} {loaded.sentence}"
        store = Store(default_directory() / "costs")
        self._listener.pulse.beat()
        try:
            return measuring.table(
                loaded.context,
                vocabulary.encode([(_SAMPLE, False)]).ids,
                store,
                where,
                processors=not placement.gpu_layers,
            )
        finally:
            store.close()

    def _fill(self, parts: _Parts, loop: Loop, status: Status) -> Status:
        """Complete a status. In the listener's thread."""
        return msgspec.structs.replace(
            loop.status(status, self._listener.name_of),
            kv_bytes=sum(parts.loaded.context.buffers.values()),
            saved_bytes=parts.saved.bytes_on_disk,
            notes=tuple(self._notes),
        )


def _identity(load: Load, loaded: Loaded) -> str:
    return identity.identity(
        loaded.facts,
        kv_type=load.kv_type,
        flash_attention=True,
        template=load.template,
        layout_version=LAYOUT_VERSION,
        engine_version=identity.engine_version(),
        batch_tokens=loaded.context.batch_tokens,
    )
