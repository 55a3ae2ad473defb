"""Saved prompts on their way from the disk into memory, read and checked beside the thread of the model.

Gigabytes take seconds, in which others may be served; only handing them to llama.cpp is that thread's. What
is read ahead, for nobody yet, makes way for whoever waits, between two blocks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import Found

Data = tuple[memoryview, Ids]


class Reading(Enum):
    """It is still being read: ask again when something has arrived."""

    READING = 0


class Loads(Protocol):
    """What is asked of the saved prompts."""

    def load(self, found: Found, wanted: Callable[[], bool]) -> Data | None: ...


@dataclass(eq=False, slots=True)
class _Fetch:
    found: Found
    ahead: bool
    done: bool = False
    data: Data | None = None


class Fetcher:
    """One is read at a time, and held until it is taken. Only the thread that runs the model asks."""

    def __init__(self, saved: Loads) -> None:
        self.on_arrival: Callable[[], None] = lambda: None
        """Called from the reading thread."""
        self.arrivals = 0
        """So many have been read, well or not."""
        self._saved = saved
        self._now: _Fetch | None = None
        self._ready: dict[str, _Fetch] = {}

    @property
    def busy(self) -> bool:
        """Something is being read just now."""
        return self._now is not None and not self._now.done

    def ahead(self, found: Found) -> None:
        """Read it for whoever will come; not if anything is being read already."""
        if not self.busy:
            self._start(found, ahead=True)

    def take(self, found: Found) -> Data | Reading | None:
        """What was read, once; None where it is damaged or gone. It is begun if need be."""
        self._sort()
        if (fetch := self._ready.pop(found.entry, None)) is not None:
            return fetch.data
        now = self._now
        if now is not None and now.found.entry == found.entry:
            now.ahead = False
        elif now is None or now.ahead:
            self._start(found, ahead=False)
        return Reading.READING

    def arrived(self) -> tuple[Found, Data] | None:
        """What was read ahead, or for somebody who has gone; nothing is held any longer."""
        self._sort()
        ready = list(self._ready.values())
        self._ready.clear()
        return next(((f.found, f.data) for f in reversed(ready) if f.data is not None), None)

    def _sort(self) -> None:
        now = self._now
        if now is not None and now.done:
            self._ready[now.found.entry] = now
            self._now = None

    def _start(self, found: Found, *, ahead: bool) -> None:
        # Whoever still reads sees that it is not wanted any more.
        self._now = fetch = _Fetch(found, ahead)
        threading.Thread(target=self._read, args=(fetch,), name="saved-kv-read", daemon=True).start()

    def _read(self, fetch: _Fetch) -> None:
        """A thread of its own."""
        if fetch.ahead and sys.platform == "linux":
            # And the threads that it starts: the model's go first.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        try:
            fetch.data = self._saved.load(fetch.found, lambda: self._now is fetch)
        finally:
            fetch.done = True
            self.arrivals += 1
            self.on_arrival()
