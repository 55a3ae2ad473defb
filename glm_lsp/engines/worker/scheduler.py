"""Who is served next. Pure: no llama.cpp, no clock; work is what the main thread says it has measured.

The most urgent goes first; among equals the client that has had the least work done for it, then the oldest
request. Idle work (`Work.IDLE`) is the least urgent of all, so it runs only when there is nothing else.

Requests come from the listener's thread, which never waits here; the thread that runs the model does, in
`next`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from glm_lsp.engines.frames import Cancelled, Generate, Progress, Reply
from glm_lsp.engines.worker.pieces import INTERRUPTED_S

SLICE_S = 30.0
"""So much work is done for a client before an equally urgent one of another client has its turn."""


class State(StrEnum):
    WAITING = "waiting"
    RUNNING = "running"
    PAUSED = "paused"
    """It has begun, and something more urgent, or somebody else's turn, came between."""


@dataclass(eq=False, slots=True)
class Job:
    """One request on its way. `cancelled` may be set from another thread at any time."""

    client: int
    request: Generate
    send: Callable[[Reply], None]
    arrived: int = 0
    state: State = State.WAITING
    cancelled: bool = False
    blocked: bool = False
    """There is no room in the KV cache beside those that have begun; tried again when one of them ends."""
    slice_s: float = 0.0
    """Work done for it since it last had to wait."""
    work: Any = None
    """What the thread that runs the model keeps with it: None until it has begun."""


class Scheduler:
    """The jobs of all clients.

    `interrupt` stops the call into llama.cpp that is running, `left_s` foretells its end. Both are
    called from the listener's thread.
    """

    def __init__(
        self,
        interrupt: Callable[[], None] = lambda: None,
        left_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.interrupt = interrupt
        self.left_s = left_s
        self.stirred = False
        """Somebody has come, gone or changed since the thread that runs the model has set this to false."""
        self._changed = threading.Condition()
        self._jobs: list[Job] = []
        self._running: Job | None = None
        self._arrived = 0
        self._served: dict[int, float] = {}
        self._closed = False
        self._aside = False
        self._nudged = False

    # From the listener's thread.

    def submit(self, client: int, request: Generate, send: Callable[[Reply], None]) -> None:
        """Take a request in. It hears how many go first, if any do."""
        with self._changed:
            if self._closed:
                return
            self._arrived += 1
            job = Job(client, request, send, self._arrived)
            if not any(other.client == client for other in self._jobs):
                self._join(client)
            self._jobs.append(job)
            if first := self._before(job):
                send(Progress(request.id, 0, 0, waiting=first))
            self._stir()
            if self._aside:
                self.interrupt()
            self._hurry()

    def cancel(self, client: int, identity: int) -> None:
        """Stop a request; one that has not begun is told so at once. Unknown ones are ignored."""
        with self._changed:
            for job in [j for j in self._jobs if j.client == client and j.request.id == identity]:
                self._stop(job, tell=True)
            self._stir()

    def drop(self, client: int) -> None:
        """The client has gone: stop everything that it had asked for."""
        with self._changed:
            for job in [j for j in self._jobs if j.client == client]:
                self._stop(job, tell=False)
            self._served.pop(client, None)
            self._stir()

    def working_for(self) -> Collection[int]:
        """The clients with work, waiting or running."""
        with self._changed:
            return {job.client for job in self._jobs if not job.cancelled}

    def close(self) -> None:
        """Take nothing more and stop what runs; `next` gives None from now on."""
        with self._changed:
            self._closed = True
            for job in list(self._jobs):
                self._stop(job, tell=False)
            if self._aside:
                self.interrupt()
            self._stir()

    def nudge(self) -> None:
        """There may be room again, or something to do beside all jobs: `next` looks, and ends its wait."""
        self.unblock()
        with self._changed:
            self._nudged = True
            self._stir()
            self._hurry()

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs in the order in which they would be served as things are."""
        with self._changed:
            return tuple(sorted(self._jobs, key=self._rank))

    # From the thread that runs the model.

    @property
    def closed(self) -> bool:
        return self._closed

    def next(self, wait_s: float | None = None) -> Job | None:
        """Wait for the job to go on with, and make it the running one; None when closed or after `wait_s`.

        Or when nudged while there is none.
        Cancelled ones that have begun come first: what they hold is to be let go.
        """
        with self._changed:
            self._pause()
            self._changed.wait_for(lambda: self._closed or self._nudged or self._best() is not None, wait_s)
            self._nudged = False
            job = self._best()
            if job is None or (self._closed and not job.cancelled):
                return None
            if job.state is not State.RUNNING:
                job.state, job.slice_s = State.RUNNING, 0.0
            self._running = job
            return job

    def aside(self) -> bool:
        """Whether there is no job, so that something else may be done: whoever comes interrupts it.

        To be called before each call into llama.cpp that is for none, and `back` after it.
        """
        with self._changed:
            self._aside = not self._jobs and not self._closed
            return self._aside

    def back(self) -> None:
        """Whatever was done for no job is done, or interrupted."""
        with self._changed:
            self._aside = False

    def should_yield(self, job: Job) -> bool:
        """Whether another goes first now: a more urgent one, or an equal one whose turn it is."""
        # Without the lock, because this is asked after every token; a change a moment later is seen the next
        # time. `copy` of a list is one step of the interpreter.
        return any(self._precedes(other, job) for other in self._jobs.copy())

    def worked(self, job: Job, seconds: float) -> None:
        """So much work was done for a job."""
        job.slice_s += seconds
        if job.client in self._served:
            self._served[job.client] += seconds

    def block(self, job: Job) -> None:
        """There is no room for it until another ends."""
        with self._changed:
            job.blocked = True

    def unblock(self) -> None:
        """There may be room again."""
        with self._changed:
            for job in self._jobs:
                job.blocked = False
            self._stir()

    def finish(self, job: Job) -> None:
        """The job has ended, however it did."""
        with self._changed:
            if job in self._jobs:
                self._jobs.remove(job)
            if self._running is job:
                self._running = None
            for other in self._jobs:
                other.blocked = False
            self._stir()

    # With the lock held.

    def _stir(self) -> None:
        self.stirred = True
        self._changed.notify_all()

    def _join(self, client: int) -> None:
        """Whoever comes anew, or again, gets no credit for the time in which it asked for nothing."""
        active = {job.client for job in self._jobs if not job.cancelled}
        least = min((self._served.get(other, 0.0) for other in active), default=0.0)
        self._served[client] = max(self._served.get(client, 0.0), least)

    def _stop(self, job: Job, *, tell: bool) -> None:
        if job.work is None and job is not self._running:
            self._jobs.remove(job)
            if tell:
                job.send(Cancelled(job.request.id, 0))
            return
        job.cancelled = True
        if job is self._running:
            self.interrupt()

    def _hurry(self) -> None:
        """Interrupt what runs if it keeps something more urgent waiting for too long."""
        job = self._running
        if job is not None and self.should_yield(job) and self.left_s() > INTERRUPTED_S:
            self.interrupt()

    def _pause(self) -> None:
        job = self._running
        self._running = None
        if job is not None:
            job.state = State.WAITING if job.work is None else State.PAUSED

    def _rank(self, job: Job) -> tuple[bool, int, float, int]:
        return not job.cancelled, job.request.urgency, self._served.get(job.client, 0.0), job.arrived

    def _best(self) -> Job | None:
        return min((j for j in self._jobs if j.cancelled or not j.blocked), key=self._rank, default=None)

    def _before(self, job: Job) -> int:
        """How many go first as things are: those that rank before it, and an equal one in its slice."""
        rank = self._rank(job)
        return sum(
            other is not job
            and not other.cancelled
            and (
                self._rank(other) < rank
                or (other is self._running and other.request.urgency <= job.request.urgency)
            )
            for other in self._jobs
        )

    def _precedes(self, other: Job, job: Job) -> bool:
        if other is job:
            return False
        if other.cancelled:
            return True
        if other.blocked or other.request.urgency > job.request.urgency:
            return False
        if other.request.urgency < job.request.urgency:
            return True
        return (
            other.client != job.client
            and job.slice_s >= SLICE_S
            and self._served.get(other.client, 0.0) < self._served.get(job.client, 0.0)
        )
