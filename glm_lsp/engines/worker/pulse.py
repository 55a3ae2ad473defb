"""Whether the main thread comes back from llama.cpp: noted by it, watched by the listener's thread."""

from __future__ import annotations

import sys
import time


def _major_faults() -> int:
    """Pages that this process had to wait for from the disk."""
    if sys.platform == "win32":
        return 0
    import resource  # noqa: PLC0415

    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt


class Pulse:
    """`beat` before each call into llama.cpp and on each sign from within, `rest` when it has come back."""

    def __init__(self) -> None:
        self._since = 0.0
        self._faults = 0
        self._read_at = 0.0

    def beat(self) -> None:
        self._since = time.monotonic()

    def rest(self) -> None:
        self._since = 0.0

    def stuck_s(self) -> float:
        """For how long the running call has shown no progress; 0 where none runs.

        Weights that are still read from the disk are progress: a mapped model of hundreds of gigabytes is
        read by its first evaluation, and that may take longer than any patience.
        """
        since, now = self._since, time.monotonic()
        if not since:
            return 0.0
        if (faults := _major_faults()) != self._faults:
            self._faults, self._read_at = faults, now
        return now - max(since, self._read_at)
