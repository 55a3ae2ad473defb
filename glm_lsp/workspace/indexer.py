"""Outlines of many files, made in other processes that may die.

The event loop only passes batches on and takes results in; it never does so for longer than `SLICE_S`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec

from glm_lsp.core.errors import GlmError
from glm_lsp.workspace.discovery import Skipped
from glm_lsp.workspace.encoding import Facts, facts
from glm_lsp.workspace.messages import (
    MAX_FRAME_BYTES,
    Answer,
    Batch,
    Broken,
    Found,
    Job,
    Left,
    Ready,
    answers,
    frame,
    too_slow,
)
from glm_lsp.workspace.vigil import Vigil

SLICE_S = 0.002
BATCH_FILES, BATCH_BYTES = 32, 1 << 18
"""A batch ends with the file that reaches one of these."""
BUFFER_BYTES = 1 << 20
"""Of answers that wait to be looked at."""
START_S = 60.0
STALL_S = 120.0
"""A process that gets no further for so long, stuck in the file system perhaps, is ended. See `Vigil`."""
KEEP_S = 5.0
"""What a process has sent it keeps for the next time, which takes it some milliseconds."""
STARTS = 3
"""What a process dies of before it has a file comes from outside, and may be over: it is tried so often."""
COMMAND = (sys.executable, "-P", "-m", "glm_lsp.workspace.outliner")
"""`-P` and a root directory of `/`: nothing is imported from where the user happens to be."""


_FAULTS = frozenset(
    {signal.SIGVTALRM, signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT}
)
"""Signals of a parser that lost its way. Others come from outside: from who needs the memory, for one."""


@dataclass(slots=True)
class _Worker:
    process: Process
    vigil: Vigil
    pending: deque[str]

    async def done(self) -> None:
        """Let the process keep what it has found last, and end it."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), KEEP_S)
        await self.end()

    async def end(self) -> None:
        """End the process and wait for it: nothing is left behind, not even when we are cancelled."""
        self.vigil.end()
        process = self.process
        if process.stdin is not None:
            process.stdin.close()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        await asyncio.shield(process.wait())

    def how(self) -> str:
        """How it ended, for a sentence."""
        ended = self.process.returncode or 0
        return self.vigil.why or (
            f"was ended by {signal.Signals(-ended).name}" if ended < 0 else f"ended with status {ended}"
        )


class Results(Protocol):
    """Takes what an indexer finds: one call for each file in all, on the event loop."""

    def outlined(self, path: str, record: bytes, first: Facts) -> None:
        """The outline of a file, as `encoding` has it."""
        ...

    def unchanged(self, path: str) -> None:
        """The file still has the digest that was named."""
        ...

    def skipped(self, skipped: Skipped) -> None: ...


class Indexer:
    """A run over a list of files."""

    def __init__(
        self,
        job: Job,
        results: Results,
        *,
        workers: int,
        command: Sequence[str] = COMMAND,
        stall_s: float = STALL_S,
    ) -> None:
        self._job = job
        self._results = results
        self._workers = workers
        self._command = command
        self._stall_s = stall_s
        self._queue: deque[Batch] = deque()
        self._ahead: asyncio.Task[_Worker] | None = None

    def begin(self) -> None:
        """Start a process that `run` will most likely need: its imports take as long as a listing does."""
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._start())

    async def end(self) -> None:
        """End the process that was begun, where nobody has needed it."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            ahead.cancel()
            found = (await asyncio.gather(ahead, return_exceptions=True))[0]
            if isinstance(found, _Worker):
                await found.end()

    async def run(
        self,
        paths: Sequence[str],
        known: Mapping[str, str] | None = None,
        sizes: Mapping[str, int] | None = None,
    ) -> None:
        """Outline every file whose digest is not the one in `known`. Cancelling ends the processes.

        `sizes`, in bytes, as far as they are known: what is small comes last, so that nobody is waited for.
        Raises GlmError where no process can be started.
        """
        self._queue.extend(_batches(paths, known or {}, sizes or {}))
        count = min(self._workers, len(self._queue))
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(count):
                    group.create_task(self._serve())
        except* GlmError as errors:
            failure = errors.exceptions[0]
        if failure is not None:  # raised up there, Python before 3.11.4 would wrap it in a group again
            raise failure from None

    async def _serve(self) -> None:
        """Work on batches, with a new process whenever one dies."""
        worker: _Worker | None = None
        try:
            while self._queue:
                batch = self._queue.popleft()
                if worker is None:
                    worker = await self._started()
                worker.pending.extend(batch.paths)
                try:
                    await self._feed(worker, batch)
                except (OSError, EOFError, msgspec.MsgspecError):
                    await self._mourn(worker, batch)
                    worker = None
            if worker is not None:
                await worker.done()
        finally:
            if worker is not None:
                await worker.end()

    async def _started(self) -> _Worker:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return await self._start()
        try:
            worker = await asyncio.shield(ahead)
        except asyncio.CancelledError:
            self._ahead = ahead  # for `end`
            raise
        worker.vigil.signs += 1
        if worker.process.returncode is None and not worker.vigil.why:
            return worker
        await worker.end()  # it waited for longer than one may that has work
        return await self._start()

    async def _start(self) -> _Worker:
        why = ""
        for _ in range(STARTS):
            try:
                process = await asyncio.create_subprocess_exec(
                    *self._command,
                    stdin=PIPE,
                    stdout=PIPE,
                    stderr=DEVNULL,
                    cwd="/",
                    start_new_session=True,
                    limit=BUFFER_BYTES,
                )
            except OSError as error:
                why = f"cannot be made ({error.strerror or error})"
                continue
            worker = _Worker(process, Vigil(process, START_S), deque())
            ready = False
            try:
                if process.stdin is not None:
                    process.stdin.write(frame(self._job))
                async for _ in self._answers(worker, 1):
                    worker.vigil.patience_s, ready = self._stall_s, True
                    return worker
            except asyncio.IncompleteReadError:
                await process.wait()  # how it ends is to be told, and the vigil sees to it that it does
            except (OSError, EOFError, msgspec.MsgspecError):
                pass
            finally:
                if not ready:
                    await worker.end()
            why = worker.how()
        raise GlmError(
            f"The process that indexes files does not start: it {why}, {STARTS} times; "
            f"run `{' '.join(self._command)} </dev/null` to see why."
        )

    async def _feed(self, worker: _Worker, batch: Batch) -> None:
        """Send one batch and take its answers."""
        process = worker.process
        if process.stdin is None:
            raise EOFError
        process.stdin.write(frame(batch))
        await process.stdin.drain()
        again: list[str] = []
        async for message in self._answers(worker, len(batch.paths)):
            if isinstance(message, Broken):
                raise GlmError(f"The process that indexes files {message.reason}.")
            if isinstance(message, Ready) or not worker.pending or message.path != worker.pending[0]:
                raise EOFError
            worker.pending.popleft()
            if isinstance(message, Left):
                self._results.skipped(Skipped(message.path, message.reason))
                continue
            if not isinstance(message, Found):
                self._results.unchanged(message.path)
                continue
            try:
                first = facts(message.outline)
            except ValueError:
                again.append(message.path)
                continue
            self._results.outlined(message.path, message.outline, first)
        if again and batch.fresh:
            for path in again:
                self._results.skipped(Skipped(path, "has an outline that cannot be read"))
        elif again:
            self._queue.append(Batch(again, [""] * len(again), fresh=True))

    async def _answers(self, worker: _Worker, count: int) -> AsyncIterator[Answer]:
        loop = asyncio.get_running_loop()
        stdout = worker.process.stdout
        if stdout is None:
            raise EOFError
        until = loop.time() + SLICE_S
        while count > 0:
            size = int.from_bytes(await stdout.readexactly(4), "big")
            if size > MAX_FRAME_BYTES:
                raise EOFError
            found = answers(await stdout.readexactly(size))
            worker.vigil.signs += 1
            count -= len(found)
            for answer in found:
                yield answer
                if loop.time() >= until:
                    # What is in the buffer already is handed out without waiting: let others run.
                    await asyncio.sleep(0)
                    until = loop.time() + SLICE_S

    async def _mourn(self, worker: _Worker, batch: Batch) -> None:
        """Leave out the file that the process died of, and put the rest of its batch back.

        Which file that was shows where each answer comes at once: all that is left is tried again like that.
        What the file itself is to blame for goes to another process first, which remembers it.
        """
        await worker.end()
        if not worker.pending:
            return
        digests = batch.digests[-len(worker.pending) :]
        if not (batch.careful or batch.blame or len(batch.paths) == 1):
            self._queue.appendleft(Batch(list(worker.pending), digests, batch.fresh, careful=True))
            return
        culprit = worker.pending.popleft()
        ended = worker.process.returncode or 0
        if worker.pending:
            self._queue.appendleft(Batch(list(worker.pending), digests[1:], batch.fresh, careful=True))
        if worker.vigil.why:
            reason = f"held up the parser, which {worker.vigil.why}"
        elif ended == -signal.SIGVTALRM:
            reason = too_slow(self._job)
        else:
            reason = "crashed the parser"
        if -ended in _FAULTS and not batch.blame:
            self._queue.appendleft(Batch([culprit], [""], blame=reason))
        else:
            self._results.skipped(Skipped(culprit, reason))


def _batches(paths: Sequence[str], digests: Mapping[str, str], sizes: Mapping[str, int]) -> list[Batch]:
    """Files that lie together, in parts that take about as long.

    The smallest come last, so that at the end nobody is waited for; the others as they lie, so that the pace
    of some tells that of all.
    """
    parts: list[tuple[int, list[str]]] = []
    part, size = list[str](), 0
    for path in paths:
        part.append(path)
        size += sizes.get(path, 0)
        if len(part) >= BATCH_FILES or size >= BATCH_BYTES:
            parts.append((size, part))
            part, size = [], 0
    if part:
        parts.append((size, part))
    last = sorted(parts, key=lambda p: p[0])[: max(len(parts) // 8, 1)][::-1]
    ends = {id(part) for part in last}
    ordered = [*(part for part in parts if id(part) not in ends), *last]
    return [Batch(part, [digests.get(path, "") for path in part]) for _, part in ordered]
