"""Any jobs in one small cache: each gets its own answer or is cancelled, nobody waits for ever, nobody dies.

The loop, scheduler, pool and generations are the real ones; evaluating is replaced by counting.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.engines.frames import Cancelled, Done, Failed, Generate, Reply

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from rooms import ENDLESS, SOURCE, Room, chat  # noqa: E402
from rows import Rows  # noqa: E402

from glm_lsp.engines.worker import scheduler as scheduling  # noqa: E402
from glm_lsp.engines.worker.figures import Figures  # noqa: E402
from glm_lsp.engines.worker.loop import Loop  # noqa: E402
from glm_lsp.engines.worker.pulse import Pulse  # noqa: E402
from glm_lsp.engines.worker.scheduler import Job, Scheduler  # noqa: E402
from glm_lsp.engines.worker.trunks import Pool  # noqa: E402

KV_TOKENS = 400
END = (Done, Cancelled, Failed)


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    room = Room.open()
    yield room
    room.close()


@dataclass
class Ask:
    """A request at a time, and for some the time when its client goes; times count steps of the machine."""

    at: int
    client: int
    urgency: int
    user: int
    max_tokens: int
    gone_at: int | None = None
    heard: list[Reply] = field(default_factory=list)

    def request(self, identity: int) -> Generate:
        users = (SOURCE[:300], SOURCE[:700], SOURCE[100:500], SOURCE[200:900])
        text = users[self.user]
        return chat(
            text,
            f"def step_{identity}(",
            identity=identity,
            urgency=self.urgency,
            max_tokens=self.max_tokens,
            grammar=ENDLESS if self.max_tokens else "",
        )


asks = st.builds(
    Ask,
    at=st.integers(0, 120),
    client=st.integers(1, 3),
    urgency=st.integers(0, 3),
    user=st.integers(0, 3),
    max_tokens=st.integers(0, 250),
    gone_at=st.none() | st.integers(0, 200),
)


class Stuck(Scheduler):
    """A scheduler whose wait is over when nothing can happen any more."""

    arrive: Callable[[], bool]

    def next(self, wait_s: float | None = None) -> Job | None:
        while (job := super().next(0)) is None and not self.closed:
            if not self.arrive():
                assert not self.jobs, [(j.request.id, j.state, j.blocked) for j in self.jobs]
                self.close()
        return job


class Desk:
    """A machine over so many cells, and clients that come and go by its steps."""

    def __init__(self, room: Room, todo: list[Ask], kv_tokens: int = KV_TOKENS) -> None:
        self.context: Any = Rows(kv_tokens, vocabulary=room.machine.model.size)
        self.machine = replace(
            room.machine,
            context=self.context,
            pool=Pool(self.context),
            figures=Figures(self.context.batch_tokens),
            context_tokens=kv_tokens,
        )
        self.todo = {n: ask for n, ask in enumerate(todo, 1)}
        self.coming = sorted(self.todo, key=lambda n: self.todo[n].at)
        self.steps = 0
        self.scheduler = Stuck()
        self.scheduler.arrive = self.arrive
        self.context.interrupt = lambda: None
        self.context.evaluating = self.step
        self.loop = Loop(self.machine, self.scheduler, Pulse())
        self.scheduler.left_s = lambda: 0.0

    def arrive(self) -> bool:
        """The next one comes at once where nobody else is left."""
        if not self.coming:
            return False
        self.steps = max(self.steps, self.todo[self.coming[0]].at)
        self.step()
        return True

    def step(self) -> None:
        self.steps += 1
        while self.coming and self.todo[self.coming[0]].at <= self.steps:
            number = self.coming.pop(0)
            ask = self.todo[number]
            self.scheduler.submit(ask.client, ask.request(number), ask.heard.append)
        for number, ask in self.todo.items():
            if ask.gone_at is not None and ask.at <= ask.gone_at <= self.steps and number not in self.coming:
                self.scheduler.cancel(ask.client, number)

    def run(self) -> None:
        self.loop.run()


def text(ask: Ask) -> str:
    return "".join(getattr(reply, "text", "") for reply in ask.heard)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(todo=st.lists(asks, min_size=2, max_size=8), slice_s=st.sampled_from([0.0, 30.0]))
def test_everybody_ends_with_what_they_would_have_heard_alone(
    room: Room, todo: list[Ask], slice_s: float
) -> None:
    todo = [replace(ask, heard=[]) for ask in todo]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "SLICE_S", slice_s)
        desk = Desk(room, todo)
        desk.run()
    for number, ask in desk.todo.items():
        ends = [reply for reply in ask.heard if isinstance(reply, END)]
        assert len(ends) == 1
        assert not isinstance(ends[0], Failed), ends
        if isinstance(ends[0], Cancelled):
            assert ask.gone_at is not None
            continue
        alone = Desk(room, [replace(ask, at=0, gone_at=None, heard=[])])
        alone.todo = {number: alone.todo[1]}
        alone.coming = [number]
        alone.run()
        assert text(ask) == text(alone.todo[number])
        done = ends[0]
        assert done.output_tokens == alone.todo[number].heard[-1].output_tokens
    assert desk.context.cells.used == len(
        set().union(*(row.cells.tolist() for row in desk.context.rows)) if desk.context.rows else set()
    )
    assert not desk.machine.pool._leases


def test_two_long_answers_that_end_early_do_not_wait_for_each_other(room: Room) -> None:
    """Both at their longest do not fit, but neither is at first."""
    asked = [Ask(0, 1, 1, 0, 400), Ask(0, 2, 1, 2, 400)]
    prompts = sum(len(room.ids(ask.request(n))) for n, ask in enumerate(asked, 1))
    desk = Desk(room, asked, prompts + 500)
    order: list[int] = []
    for number, ask in desk.todo.items():
        ask.heard = Noted(order, number)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "SLICE_S", 0.0)
        desk.run()
    first_end = min(i for i, n in enumerate(order) if order.count(n) and n < 0)
    assert {1, 2} <= set(order[:first_end]), "the second has begun before the first has ended"


class Noted(list[Reply]):
    """Whose replies came in which order; a negative number is an end."""

    def __init__(self, order: list[int], number: int) -> None:
        super().__init__()
        self._order, self._number = order, number

    def append(self, reply: Reply) -> None:
        super().append(reply)
        if isinstance(reply, END):
            self._order.append(-self._number)
        elif getattr(reply, "text", ""):
            self._order.append(self._number)


def test_when_the_cache_is_full_the_last_to_begin_gives_way_and_reads_its_end_again(room: Room) -> None:
    asked = [Ask(0, 1, 1, 0, 400), Ask(0, 2, 1, 2, 400), Ask(5, 3, 1, 3, 20)]
    prompts = [len(room.ids(ask.request(n))) for n, ask in enumerate(asked, 1)]
    desk = Desk(room, asked, prompts[0] + prompts[1] + 500)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling, "SLICE_S", 0.0)
        desk.run()
    ends = [ask.heard[-1] for ask in desk.todo.values()]
    assert all(isinstance(end, Done) for end in ends)
    assert [end.output_tokens for end in ends if isinstance(end, Done)] == [400, 400, 20]
    again = [end.evaluated_again for end in ends if isinstance(end, Done)]
    assert again[0] == 0
    assert sum(again) > 0


def test_a_cache_that_says_no_where_there_should_be_room_is_relieved(room: Room) -> None:
    """llama.cpp's count and ours are two; where they differ somebody idle gives way, and nobody dies."""
    from glm_lsp.engines.worker.context import NoRoom  # noqa: PLC0415

    desk = Desk(room, [Ask(0, 1, 1, 0, 20), Ask(50, 2, 1, 2, 20)])
    refused = 0
    step = desk.step

    def full() -> None:
        nonlocal refused
        step()
        if desk.machine.pool._idle and refused < 2:
            refused += 1
            raise NoRoom("there is none")

    desk.context.evaluating = full
    desk.run()
    assert refused == 2
    assert all(isinstance(ask.heard[-1], Done) for ask in desk.todo.values())
