"""Whether another process still gets on. A stall is the absence of progress, whatever the clock says.

A busy machine, a slow disk and a machine that stands still for a while are no fault of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import Process
from pathlib import Path
from typing import NamedTuple

TICK_S = 1.0


class _Life(NamedTuple):
    """What a process has done so far, as the system counts it."""

    cpu_s: float
    faults: int
    """Pages that it has asked for: those that come from a slow disk are progress as well."""
    ready: bool
    """It runs, or would if it were given a processor."""


class Vigil:
    """Watches a process from which something is awaited, and kills its group when that will not come.

    It may neither be without progress for `patience_s` nor use so much processor time between two signs.
    The seconds are those in which we ran ourselves: where we did not, the process had no time either.
    """

    def __init__(self, process: Process, patience_s: float) -> None:
        self.patience_s = patience_s
        self.signs = 0
        """Counted up by whoever hears of the process."""
        self.why = ""
        """Of what it died, where we ended it; completes the sentence `it …`."""
        self._process = process
        self._task = asyncio.create_task(self._watch())

    def end(self) -> None:
        self._task.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        signs, life, cpu_s, silent_s = -1, _life(self._process.pid), 0.0, 0.0
        while self._process.returncode is None:
            since, tick_s = loop.time(), min(TICK_S, self.patience_s / 4)
            await asyncio.sleep(tick_s)
            before, life = life, _life(self._process.pid)
            if signs != self.signs:
                signs, cpu_s = self.signs, life.cpu_s if life is not None else 0.0
                silent_s = 0.0
            elif life is not None and (life.ready or life != before):
                silent_s = 0.0
            else:
                silent_s += min(loop.time() - since, 2 * tick_s)
            if silent_s >= self.patience_s:
                self._kill(f"made no progress for {self.patience_s:g} s")
            elif life is not None and life.cpu_s - cpu_s >= self.patience_s:
                self._kill(f"took more than {self.patience_s:g} s of processor time")

    def _kill(self, why: str) -> None:
        self.why = why
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _life(pid: int) -> _Life | None:
    """None where the system does not tell."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return _Life(
            (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK"),
            int(words[7]) + int(words[9]),
            words[0] == b"R",
        )
    except (OSError, ValueError, IndexError):
        return None
