"""Who goes next: nothing is lost, nothing served twice, the urgent first, and equals get equal work."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from glm_lsp.engines.frames import Cancelled, Generate, Progress, Reply
from glm_lsp.engines.worker.scheduler import INTERRUPTED_S, SLICE_S, Job, Scheduler, State

TYPING, ACTION, REFACTOR, IDLE = range(4)


class Desk:
    """A scheduler, and what its clients have heard."""

    def __init__(self, left_s: float = 0.0) -> None:
        self.interruptions = 0
        self.heard: dict[tuple[int, int], list[Reply]] = {}
        self.scheduler = Scheduler(self._interrupt, lambda: left_s)

    def _interrupt(self) -> None:
        self.interruptions += 1

    def submit(self, client: int, identity: int, urgency: int = ACTION) -> None:
        heard = self.heard.setdefault((client, identity), [])
        self.scheduler.submit(client, Generate(identity, (), 1, urgency=urgency), heard.append)

    def next(self) -> Job | None:
        return self.scheduler.next(0)

    def begin(self) -> Job:
        """The next job, begun."""
        job = self.next()
        assert job is not None
        job.work = job.work or "begun"
        return job

    def order(self, work_s: float = 1.0) -> list[tuple[int, int]]:
        """Serve everything, each job in one piece; return (client, id) in the order of service."""
        order: list[tuple[int, int]] = []
        while (job := self.next()) is not None:
            order.append((job.client, job.request.id))
            self.scheduler.worked(job, work_s)
            self.scheduler.finish(job)
        return order


@pytest.mark.parametrize(
    ("submitted", "expected"),
    [
        ([(1, 1, REFACTOR), (1, 2, TYPING), (2, 3, ACTION)], [2, 3, 1]),
        ([(1, 1, IDLE), (2, 2, REFACTOR), (1, 3, REFACTOR)], [2, 3, 1]),
        ([(1, 1, ACTION), (1, 2, ACTION), (1, 3, ACTION)], [1, 2, 3]),
        ([(1, 1, ACTION), (1, 2, ACTION), (1, 3, ACTION), (2, 4, ACTION)], [1, 4, 2, 3]),
    ],
)
def test_urgency_then_the_least_served_then_age(
    submitted: list[tuple[int, int, int]], expected: list[int]
) -> None:
    desk = Desk()
    for client, identity, urgency in submitted:
        desk.submit(client, identity, urgency)
    assert [identity for _, identity in desk.order()] == expected


def test_who_waits_hears_how_many_go_first() -> None:
    desk = Desk()
    for identity, urgency in enumerate((REFACTOR, TYPING, ACTION, IDLE)):
        desk.submit(1, identity, urgency)
    firsts = [[r.waiting for r in heard if isinstance(r, Progress)] for heard in desk.heard.values()]
    assert firsts == [[], [], [1], [3]]


@pytest.mark.parametrize(
    ("running", "arriving", "same_client", "work_s", "yields"),
    [
        (REFACTOR, TYPING, True, 0.0, True),
        (REFACTOR, TYPING, False, 0.0, True),
        (TYPING, REFACTOR, False, 100.0, False),
        (ACTION, ACTION, True, 2 * SLICE_S, False),
        (ACTION, ACTION, False, SLICE_S / 2, False),
        (ACTION, ACTION, False, SLICE_S, True),
        (REFACTOR, IDLE, False, 2 * SLICE_S, False),
    ],
)
def test_when_a_job_gives_way(
    running: int, arriving: int, same_client: bool, work_s: float, yields: bool
) -> None:
    desk = Desk()
    desk.submit(1, 1, running)
    job = desk.begin()
    desk.submit(1 if same_client else 2, 2, arriving)
    desk.scheduler.worked(job, work_s)
    assert desk.scheduler.should_yield(job) is yields
    if yields:
        assert desk.begin().request.id == 2
    assert job.state is (State.PAUSED if yields else State.RUNNING)


@pytest.mark.parametrize(
    ("urgency", "left_s", "interruptions"),
    [
        (TYPING, INTERRUPTED_S * 2, 1),
        (TYPING, INTERRUPTED_S / 2, 0),
        (IDLE, INTERRUPTED_S * 2, 0),
    ],
)
def test_a_long_call_is_interrupted_for_the_urgent_only(
    urgency: int, left_s: float, interruptions: int
) -> None:
    desk = Desk(left_s)
    desk.submit(1, 1, REFACTOR)
    desk.begin()
    desk.submit(2, 2, urgency)
    assert desk.interruptions == interruptions


def test_cancelling_stops_what_runs_and_forgets_what_waits() -> None:
    desk = Desk()
    desk.submit(1, 1)
    job = desk.begin()
    desk.submit(1, 2)
    for identity in (2, 1, 99):
        desk.scheduler.cancel(1, identity)
    desk.scheduler.cancel(2, 1)
    assert desk.heard[1, 2][-1] == Cancelled(2, 0)
    assert job.cancelled
    assert desk.interruptions == 1
    assert desk.scheduler.jobs == (job,)


def test_a_paused_job_that_is_cancelled_lets_go_before_anything_else() -> None:
    desk = Desk()
    desk.submit(1, 1, REFACTOR)
    paused = desk.begin()
    desk.submit(2, 2, TYPING)
    running = desk.begin()
    desk.scheduler.cancel(1, 1)
    assert desk.scheduler.should_yield(running)
    assert desk.next() is paused


def test_who_comes_late_gets_no_credit_for_it() -> None:
    """A client that asked for nothing for an hour does not push the others aside for an hour."""
    desk = Desk()
    desk.submit(1, 0)
    job = desk.begin()
    desk.scheduler.worked(job, 3600.0)
    for identity in (1, 2, 3):
        desk.submit(1, identity)
        desk.submit(2, identity)
    desk.scheduler.finish(job)
    assert [client for client, _ in desk.order()] in ([1, 2, 1, 2, 1, 2], [2, 1, 2, 1, 2, 1])


def test_what_does_not_fit_waits_for_an_end() -> None:
    desk = Desk()
    desk.submit(1, 1, REFACTOR)
    first = desk.begin()
    desk.submit(2, 2, TYPING)
    second = desk.begin()
    desk.scheduler.block(second)
    assert desk.next() is first
    assert not desk.scheduler.should_yield(first)
    desk.scheduler.finish(first)
    assert desk.next() is second


def test_what_has_come_for_the_urgent_interrupts_what_runs_meanwhile() -> None:
    desk = Desk(left_s=10.0)
    desk.submit(2, 2, TYPING)
    urgent = desk.begin()
    desk.scheduler.block(urgent)
    desk.submit(1, 1, REFACTOR)
    assert desk.begin().request.id == 1
    assert desk.interruptions == 0
    desk.scheduler.nudge()
    assert desk.interruptions == 1
    assert desk.next() is urgent


def test_what_is_done_for_nobody_is_interrupted_by_whoever_comes() -> None:
    desk = Desk()
    assert desk.scheduler.aside()
    desk.submit(1, 1, IDLE)
    assert desk.interruptions == 1
    assert not desk.scheduler.aside()
    desk.scheduler.back()
    desk.submit(1, 2, IDLE)
    assert desk.interruptions == 1
    desk.order()
    assert desk.scheduler.aside()
    desk.scheduler.close()
    assert desk.interruptions == 2
    assert not desk.scheduler.aside()


def test_a_nudge_ends_the_wait_for_a_job() -> None:
    desk = Desk()
    desk.scheduler.nudge()
    assert desk.scheduler.next(None) is None


def test_closing_ends_the_wait() -> None:
    desk = Desk()
    ended: list[Job | None] = []
    thread = threading.Thread(target=lambda: ended.append(desk.scheduler.next()))
    thread.start()
    desk.scheduler.close()
    thread.join()
    desk.submit(1, 1)
    assert ended == [None]
    assert desk.scheduler.jobs == ()


class Machine(RuleBasedStateMachine):
    """Random clients against a model of what must hold. One job runs at a time, in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.waiting: dict[tuple[int, int], int] = {}
        """(client, id) to urgency: submitted and not ended."""
        self.stopped: set[tuple[int, int]] = set()
        """Cancelled after they had begun: to be handed out once more."""
        self.ended: set[tuple[int, int]] = set()
        self.begun: set[tuple[int, int]] = set()
        self.running: Job | None = None
        self.count = 0
        self.served: dict[int, float] = {}

    @rule(client=st.integers(1, 4), urgency=st.integers(0, 3))
    def submit(self, client: int, urgency: int) -> None:
        self.count += 1
        self.desk.submit(client, self.count, urgency)
        self.waiting[client, self.count] = urgency

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        self._cancel(data.draw(st.sampled_from(sorted(self.waiting))), tell=True)

    @rule(client=st.integers(1, 4))
    def drop(self, client: int) -> None:
        gone = [key for key in self.waiting if key[0] == client]
        self.desk.scheduler.drop(client)
        for key in gone:
            self._note_cancelled(key)

    def _cancel(self, key: tuple[int, int], *, tell: bool) -> None:
        self.desk.scheduler.cancel(*key)
        self._note_cancelled(key)
        if tell and key in self.ended:
            assert self.desk.heard[key][-1] == Cancelled(key[1], 0)

    def _note_cancelled(self, key: tuple[int, int]) -> None:
        del self.waiting[key]
        holds = key in self.begun
        (self.stopped if holds else self.ended).add(key)

    @rule(work_s=st.floats(0, 2 * SLICE_S), ends=st.booleans())
    def work(self, work_s: float, ends: bool) -> None:
        """What the main thread does: take the next, work, ask, give way or end."""
        scheduler = self.desk.scheduler
        job = self.running if self.running is not None else self.desk.next()
        if job is None:
            assert not self.waiting
            assert not self.stopped
            return
        key = job.client, job.request.id
        assert key not in self.ended
        assert key in self.waiting or key in self.stopped
        if self.running is None and key not in self.stopped:
            assert not self.stopped, "what is to let go goes first"
            assert job.request.urgency == min(self.waiting.values())
        job.work, self.running = "begun", job
        self.begun.add(key)
        if not job.cancelled:
            scheduler.worked(job, work_s)
        if job.cancelled or ends:
            scheduler.finish(job)
            self.waiting.pop(key, None)
            self.stopped.discard(key)
            self.ended.add(key)
            self.running = None
        elif scheduler.should_yield(job):
            self.running = None

    @invariant()
    def nothing_is_lost_and_nothing_is_there_twice(self) -> None:
        there = [(job.client, job.request.id) for job in self.desk.scheduler.jobs]
        assert len(there) == len(set(there))
        assert set(there) == set(self.waiting) | self.stopped

    @invariant()
    def nobody_urgent_waits_for_less(self) -> None:
        job = self.running
        if job is not None and not job.cancelled:
            more = [u for u in self.waiting.values() if u < job.request.urgency]
            assert bool(more) <= self.desk.scheduler.should_yield(job)

    def teardown(self) -> None:
        """Everything that is left is served, the urgent first."""
        if self.running is not None:
            self.waiting.pop((self.running.client, self.running.request.id), None)
            self.stopped.discard((self.running.client, self.running.request.id))
            self.desk.scheduler.finish(self.running)
        order = [key for key in self.desk.order() if key not in self.stopped]
        assert sorted(order) == sorted(self.waiting)
        urgencies = [self.waiting[key] for key in order]
        assert urgencies == sorted(urgencies)


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


@pytest.mark.parametrize("piece_s", [0.5, SLICE_S, 3 * SLICE_S])
def test_equals_get_equal_work(piece_s: float) -> None:
    """Three clients with endless work each: none is behind by more than two slices, ever."""
    desk = Desk()
    served = {1: 0.0, 2: 0.0, 3: 0.0}
    for client in served:
        desk.submit(client, 1)
    for _ in range(2000):
        job = desk.begin()
        while True:
            desk.scheduler.worked(job, piece_s)
            served[job.client] += piece_s
            assert max(served.values()) - min(served.values()) <= 2 * max(SLICE_S, piece_s)
            if desk.scheduler.should_yield(job):
                break
