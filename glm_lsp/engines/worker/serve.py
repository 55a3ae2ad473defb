"""The worker's main thread: it loads the model, then answers request after request, one step at a time.

It alone calls llama.cpp. After each step it asks the scheduler whether somebody more urgent waits.
"""

from __future__ import annotations

import time

from glm_lsp.core.errors import GlmError
from glm_lsp.engines.frames import Load, Ready
from glm_lsp.engines.worker.listener import Listener
from glm_lsp.engines.worker.loading import Loaded, open_model
from glm_lsp.engines.worker.scheduler import Scheduler


class Server:
    """Serves until the listener says that it is time to end."""

    def __init__(self, listener: Listener, scheduler: Scheduler) -> None:
        self._listener = listener
        self._scheduler = scheduler

    def run(self) -> int:
        """Serve; return the exit status: 0 after a good end, 1 where llama.cpp is in no state to go on."""
        load = self._listener.wanted()
        if load is None:
            self._listener.finish()
            return 0
        try:
            loaded = self._open(load)
        except GlmError as error:
            self._listener.end(str(error), kind=type(error).__name__)
            self._listener.finish()
            return 0
        while (job := self._scheduler.next()) is not None:
            del job
        loaded.close()
        self._listener.finish()
        return 0

    def _open(self, load: Load) -> Loaded:
        started = time.perf_counter()
        loaded = open_model(load, self._listener.loading)
        self._listener.pulse.rest()
        self._listener.loaded(
            Ready(
                load.context_tokens,
                loaded.model.size,
                time.perf_counter() - started,
                loaded.placement.threads,
                loaded.sentence,
            )
        )
        return loaded
