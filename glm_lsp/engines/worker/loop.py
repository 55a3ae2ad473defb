"""The main thread's work once a model is loaded: the scheduler's next job, one step at a time.

Between two steps it asks whether somebody else goes first. A call into llama.cpp that would keep something
urgent waiting for too long is interrupted from within by whoever takes the request in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from glm_lsp.core.errors import EngineDied, GlmError
from glm_lsp.engines.frames import Done, Failed, JobStatus, Status
from glm_lsp.engines.worker.context import Interrupted, NoRoom, NoSequence
from glm_lsp.engines.worker.generation import Blocked, Generation, Machine
from glm_lsp.engines.worker.scheduler import Job, Scheduler, State

IDLE_S = 1.0
"""How often an idle worker looks whether a trunk is worth saving."""


class Pulse(Protocol):
    """Who watches that calls into llama.cpp come back."""

    def beat(self) -> None: ...

    def rest(self) -> None: ...


class Chore(Protocol):
    """Work for nobody, done while nobody has asked for anything."""

    def step(self) -> bool:
        """Do a little; true: there is more to do. Raises Interrupted: what was done before is not lost."""
        ...

    def rest(self) -> None:
        """Let go of the KV cache: somebody may need it, and it may be long until the next step."""
        ...


class Loop:
    """Answers requests with one machine until the scheduler is closed. One thread runs it.

    `chores` are done in idle time, one after the other. `lasting` comes after them, again and again: when it
    has no more to do for now, it is asked again the next time that nobody wants anything.
    """

    def __init__(
        self,
        machine: Machine,
        scheduler: Scheduler,
        pulse: Pulse,
        chores: Iterable[Chore] = (),
        lasting: Chore | None = None,
    ) -> None:
        self._machine = machine
        self._scheduler = scheduler
        self._pulse = pulse
        self.chores = list(chores)
        """What is left to do of them. To be looked at from any thread."""
        self._lasting = lasting
        self._step: tuple[Generation, float] | None = None
        """What runs, and since when."""
        self._idle_since = time.monotonic()
        scheduler.interrupt = machine.context.interrupt
        scheduler.left_s = self.left_s

    def left_s(self) -> float:
        """How long the running call into llama.cpp is expected to take still. From any thread.

        0 for one that is waited for in any case, because its like has been interrupted too often.
        """
        step = self._step
        if step is None:
            return 0.0
        generation, started = step
        if generation.firm:
            return 0.0
        expected_s = generation.next_s()
        # One that is overdue is expected to be late as long again; of one unknown, anything.
        return abs(started + expected_s - time.monotonic()) if expected_s >= 0 else math.inf

    def run(self) -> None:
        """Serve until the scheduler is closed. Raises EngineDied, after which this process is of no use."""
        scheduler, pool = self._scheduler, self._machine.pool
        pool.read_ahead(scheduler.nudge)
        while True:
            # What has arrived from the disk ends the wait, too.
            job = scheduler.next(IDLE_S)
            if job is not None:
                self._serve(job)
                self._idle_since = time.monotonic()
            elif scheduler.closed:
                return
            elif not scheduler.jobs:
                self._idle()

    def status(self, status: Status, name_of: Callable[[int], str]) -> Status:
        """Complete a status with what is known here. From any thread."""
        machine = self._machine
        context, figures, costs = machine.context, machine.figures, machine.costs
        totals = figures.totals
        return msgspec.structs.replace(
            status,
            jobs=tuple(_job_status(job, name_of(job.client)) for job in self._scheduler.jobs),
            kv_tokens=context.kv_tokens,
            kv_tokens_used=context.used_cells,
            trunks=machine.pool.trunks,
            prompt_tokens=totals.prompt,
            reused_tokens=totals.reused,
            restored_tokens=totals.restored,
            output_tokens=totals.output,
            drafted_tokens=totals.drafted,
            accepted_tokens=totals.accepted,
            speeds=figures.speeds,
            draft_costs=costs.ratios,
            near_ties=totals.near_ties,
            mtp_drafted_tokens=totals.mtp_drafted,
            mtp_accepted_tokens=totals.mtp_accepted,
            draft_noise=costs.noise_at(0),
            draft_noises=tuple((n.depth, n.tokens, costs.noise_at(n.depth)) for n in costs.deep),
            eta_error=figures.eta_error,
        )

    def _serve(self, job: Job) -> None:
        """Go on with a job until it ends or somebody else goes first."""
        try:
            generation = self._generation(job)
            while self._goes_on(job):
                arrivals = self._machine.pool.arrivals
                outcome = self._do(job, generation)
                if isinstance(outcome, Done):
                    self._end(job)
                    job.send(outcome)
                    return
                if outcome is Blocked.BLOCKED:
                    self._scheduler.block(job)
                    if self._machine.pool.arrivals != arrivals:
                        # It has come in this very moment, and nobody will say so again.
                        self._scheduler.unblock()
                    return
            if job.cancelled:
                self._end(job)
                job.send(generation.cancel())
            else:
                generation.pause()
        except GlmError as error:
            self._end(job)
            job.send(Failed(job.request.id, type(error).__name__, str(error)))
            if isinstance(error, EngineDied):
                raise

    def _generation(self, job: Job) -> Generation:
        generation = job.work
        if generation is None:
            job.work = generation = Generation(self._machine, job.request, job.send)
        else:
            generation.resume()
        return generation

    def _goes_on(self, job: Job) -> bool:
        # An interruption that came too late was meant for a call that is over. Whoever sends one has noted
        # its reason before, so the reason is looked for after this and before the next call.
        self._machine.context.resume()
        self._scheduler.stirred = False
        return not (job.cancelled or self._scheduler.should_yield(job))

    def _do(self, job: Job, generation: Generation) -> Done | Blocked | None:
        started = time.monotonic()
        self._step = generation, started
        self._pulse.beat()
        try:
            return generation.step(self._stirred)
        finally:
            self._pulse.rest()
            self._step = None
            self._scheduler.worked(job, time.monotonic() - started)

    def _stirred(self) -> bool:
        return self._scheduler.stirred

    def _end(self, job: Job) -> None:
        if isinstance(job.work, Generation):
            # Editors cancel most of what they ask for, and have it read all the same.
            self._machine.figures.totals.add(job.work.spent())
            job.work.close()
        self._scheduler.finish(job)

    def _idle(self) -> None:
        """What is to be done while nobody has asked for anything: as long as that is so."""
        pool = self._machine.pool
        try:
            self._pulse.beat()
            pool.take_in()
            pool.save_idle(time.monotonic() - self._idle_since)
            # What is read and checked meanwhile takes processors, and would be measured as ours.
            chores = self.chores or ([self._lasting] if self._lasting is not None else [])
            if chores and not pool.reading and time.monotonic() - self._idle_since >= IDLE_S:
                self._do_chores(chores)
        finally:
            self._pulse.rest()

    def _do_chores(self, chores: list[Chore]) -> None:
        context, scheduler = self._machine.context, self._scheduler
        context.resume()
        try:
            while chores and scheduler.aside():
                self._pulse.beat()
                if not chores[0].step():
                    chores.pop(0).rest()
        except Interrupted:
            context.resume()
        except (NoRoom, NoSequence):
            pass  # perhaps the next time
        finally:
            scheduler.back()
            for chore in chores[:1]:
                chore.rest()


def _job_status(job: Job, client: str) -> JobStatus:
    generation = job.work
    begun = isinstance(generation, Generation)
    state = job.state.value
    if job.state is State.RUNNING:
        state = "writing" if begun and generation.writing else "reading"
    return JobStatus(
        client=client,
        urgency=job.request.urgency,
        state=state,
        done=generation.done if begun else 0,
        total=generation.total if begun else 0,
        seconds_left=generation.seconds_left if begun else -1.0,
    )
