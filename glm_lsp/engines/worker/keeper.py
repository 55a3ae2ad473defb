"""The keeper of a worker holds the slot's lock, waits for the worker's end and leaves word of how it was.

It is small and runs nothing native, so it outlives what ends a worker: failed assertions, the system's lack
of memory, a hang. Over a pipe the worker says every few seconds that it lives, how long its silence may last,
and at the end why it goes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

from glm_lsp.engines import rendezvous
from glm_lsp.engines.rendezvous import BUSY, Lock, Obituary, Place

FAREWELL = "!"
"""Begins a line by which a worker says why it goes: the kind of the error (or a dash), and the sentence."""
UNSAVED = "?"
"""Begins a line by which it says why what it has read is not saved."""
AGAIN = "The next request starts it again."
_PATIENCE_S = 300.0
_SECOND_CHANCE_S = 1.0
_LAST_WORDS = 3
_READ_BYTES = 1 << 16


class _Beats:
    """What comes through the pipe. Read by a thread of its own; a pipe cannot be waited for everywhere."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self._at = time.monotonic()
        self._patience_s = _PATIENCE_S
        self._ended = False
        self._changed = threading.Event()
        self.farewell: tuple[str, str] | None = None
        self.unsaved = ""
        threading.Thread(target=self._read, daemon=True).start()

    def wait(self) -> float:
        """Wait for the end of the pipe, or for a silence that is too long: return its seconds, else 0."""
        while True:
            self._changed.clear()
            if self._ended:
                return 0.0
            if self._left() > 0:
                self._changed.wait(self._left())
            elif not self._changed.wait(_SECOND_CHANCE_S) and self._left() <= 0:
                # Had we been stopped ourselves, the beats that waited in the pipe would have come by now.
                return self._patience_s

    def _left(self) -> float:
        return self._at + self._patience_s - time.monotonic()

    def _read(self) -> None:
        rest = b""
        while data := os.read(self._handle, _READ_BYTES):
            self._at = time.monotonic()
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line.decode("utf-8", "replace"))
        self._ended = True
        self._changed.set()

    def _take(self, line: str) -> None:
        if line.startswith(FAREWELL):
            kind, _, sentence = line.removeprefix(FAREWELL).strip().partition(" ")
            self.farewell = ("" if kind == "-" else kind, sentence)
        elif line.startswith(UNSAVED):
            self.unsaved = line.removeprefix(UNSAVED).strip()
        else:
            try:
                patience_s = float(line)
            except ValueError:
                return  # whatever native code, or a .pth file, has printed before the pipe was ours alone
            if patience_s != self._patience_s:
                self._patience_s = patience_s
                self._changed.set()


def keep(at: Place) -> int:
    """Take the slot, leave whoever started us, and keep a worker until its end. `BUSY` if it is taken."""
    lock = Lock(at)
    if not lock.acquire():
        return BUSY
    # Nobody else's by now: what was left there would have clients wait for somebody who is no worker.
    rendezvous.leave(at)
    lock.name()
    try:
        # Before we leave: whoever started us is told where there can be none.
        log = _new_log(at)
    except OSError as error:
        sys.stderr.write(f"its log {at.log} cannot be made ({error.strerror or error}).\n")
        return 1
    if hasattr(os, "fork"):
        # Nobody may have to wait for us: who started us reads our process id and sees a child that has ended.
        if child := os.fork():
            sys.stdout.write(f"{child}\n")
            sys.stdout.flush()
            return 0
        os.setsid()
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123 (needs the descriptor, not a path)
        os.dup2(nothing.fileno(), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status, silence_s, beats, pid = _worker(at, lock)
    kind, message = _ending(at, status, silence_s, beats.farewell)
    rendezvous.leave(at)
    try:
        rendezvous.publish(at, Obituary(pid, os.getpid(), kind, message, beats.unsaved))
    except OSError as error:
        sys.stderr.write(f"{message} (This cannot be written to {at.last}: {error.strerror or error}.)\n")
    lock.release()
    return 0


def _worker(at: Place, lock: Lock) -> tuple[int, float, _Beats, int]:
    """Run a worker to its end: its status, the silence for which it was ended, its beats, its process id."""
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", "glm_lsp.engines.worker", at.slot, "--kept"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        cwd=at.directory,
        # The lock goes along: while a worker lives it is held, whatever happens to us.
        pass_fds=(lock.handle,) if os.name == "posix" else (),
    )
    lock.name(os.getpid(), worker.pid)
    assert worker.stdout is not None  # noqa: S101 (asked for a pipe)

    def end(_number: int, _frame: object) -> None:
        worker.terminate()

    signal.signal(signal.SIGTERM, end)
    beats = _Beats(worker.stdout.fileno())
    if silence_s := beats.wait():
        worker.kill()
    return worker.wait(), silence_s, beats, worker.pid


def _new_log(at: Place) -> int:
    """An empty log; the one before is kept beside it."""
    if os.path.lexists(at.log):
        at.log.replace(at.old_log)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    return os.open(at.log, flags, 0o600)


def _ending(at: Place, status: int, silence_s: float, farewell: tuple[str, str] | None) -> tuple[str, str]:
    """The kind of error that a client raises, and the sentence."""
    if silence_s:
        return "EngineStalled", (
            f"The embedded engine's worker gave no sign of life for {silence_s:.0f} s (engine.stall_seconds) "
            f"and was ended. {AGAIN}"
        )
    if farewell is not None:
        return farewell
    if status < 0:
        try:
            name = signal.Signals(-status).name
        except ValueError:
            name = f"signal {-status}"
        cause = _CAUSES.get(name, "")
        how = f"was ended by {name}{f' ({cause})' if cause else ''}"
    else:
        how = f"ended with status {status}"
    remedy = f" {_OUT_OF_MEMORY}" if -status == getattr(signal, "SIGKILL", 0) else ""
    said = last_words(at.log)
    return "EngineDied", (
        f"The embedded engine's worker {how}. {AGAIN}{remedy}{f' Its last words: {said}' if said else ''}"
    )


def last_words(log: Path) -> str:
    """The last lines of a log: what llama.cpp says when an assertion fails."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ_BYTES))
            lines = file.read(_READ_BYTES).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return " | ".join(deque((line.strip()[:300] for line in lines if line.strip()), _LAST_WORDS))


_OUT_OF_MEMORY = "If memory ran out, lower model.kv_tokens or model.context_tokens, or end other programs."
_CAUSES = {
    "SIGKILL": "from outside, or by the system for lack of memory",
    "SIGABRT": "an assertion in llama.cpp failed",
    "SIGSEGV": "llama.cpp crashed",
    "SIGBUS": "llama.cpp crashed, perhaps because the model file was changed while it was in use",
    "SIGILL": "llama.cpp was built for another processor",
    "SIGTERM": "from outside",
}
