"""The main thread's loop with the real model: clients of all kinds at once, each with its own answer."""

from __future__ import annotations

import itertools
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from models import BATCH

from glm_lsp.core.errors import EngineDied
from glm_lsp.engines.frames import Cancelled, Done, Failed, Generate, Progress, Reply, Status, Text

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from rooms import ENDLESS, OTHER, SOURCE, Room, chat  # noqa: E402
from saving import CAP, WAIT_S  # noqa: E402

from glm_lsp.disk.store import Store  # noqa: E402
from glm_lsp.engines.worker import loop as looping  # noqa: E402
from glm_lsp.engines.worker.context import NoRoom  # noqa: E402
from glm_lsp.engines.worker.costs import SIZES, CostTable, Rounds  # noqa: E402
from glm_lsp.engines.worker.keeping import Keeping  # noqa: E402
from glm_lsp.engines.worker.loop import Loop  # noqa: E402
from glm_lsp.engines.worker.measuring import Kept, Measuring  # noqa: E402
from glm_lsp.engines.worker.pulse import Pulse  # noqa: E402
from glm_lsp.engines.worker.saved import SavedKv  # noqa: E402
from glm_lsp.engines.worker.scheduler import Scheduler  # noqa: E402

TYPING, ACTION, REFACTOR, IDLE = range(4)
END = (Done, Cancelled, Failed)
BLANK = Status(
    *(1, "", "", "working", 0.0, 0.0, -1.0, (), (), 0, 0, 0, ()),
    *(0, 0, 0, 0, 0, 0, (), (), -1.0, 0, ""),
)


class Desk:
    """The loop in a thread of its own, and what its clients hear."""

    def __init__(self, room: Room, *chores: Any) -> None:
        self.scheduler = Scheduler()
        self.loop = Loop(room.machine, self.scheduler, Pulse(), chores)
        self.heard: dict[tuple[int, int], list[Reply]] = {}
        self.works: dict[tuple[int, int], Any] = {}
        self.ends: list[tuple[int, int]] = []
        self.changed = threading.Condition()
        self.failure: list[BaseException] = []
        self.typed_out = False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.loop.run()
        except BaseException as error:
            self.failure.append(error)

    def ask(self, request: Generate, client: int = 1) -> tuple[int, int]:
        key = client, request.id
        self.heard[key] = []

        def send(reply: Reply) -> None:
            for job in self.scheduler.jobs:
                if (job.client, job.request.id) == key and job.work is not None:
                    self.works[key] = job.work
            with self.changed:
                self.heard[key].append(reply)
                if isinstance(reply, END):
                    self.ends.append(key)
                self.changed.notify_all()

        self.scheduler.submit(client, request, send)
        return key

    def wait(self, condition: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 120)

    def end(self, key: tuple[int, int]) -> Any:
        self.wait(lambda: key in self.ends)
        return self.heard[key][-1]

    def text(self, key: tuple[int, int]) -> str:
        return "".join(r.text for r in self.heard[key] if isinstance(r, Text))

    def tokens(self, key: tuple[int, int]) -> list[int]:
        work = self.works[key]
        return work._ids[work.total : work._end].tolist()

    def writing(self, key: tuple[int, int], tokens: int = 3) -> None:
        """Wait until an answer has begun."""
        self.wait(lambda: sum(isinstance(r, Text) for r in self.heard[key]) >= tokens)

    def close(self) -> None:
        self.scheduler.close()
        self.thread.join()


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    room = Room.open(context_tokens=1024, kv_tokens=4096)
    yield room
    room.close()


@pytest.fixture
def desk(room: Room) -> Iterator[Desk]:
    room.fresh()
    desk = Desk(room)
    yield desk
    desk.close()


def request(identity: int, urgency: int = ACTION, user: str = SOURCE, **options: Any) -> Generate:
    return chat(user, identity=identity, urgency=urgency, grammar=ENDLESS, **options)


def test_keystrokes_come_between_and_the_background_goes_on_as_if_nothing_had_been(
    room: Room, desk: Desk
) -> None:
    long = desk.ask(request(1, REFACTOR, max_tokens=120), client=1)
    desk.writing(long)
    for number in range(2, 6):
        assert isinstance(desk.end(desk.ask(request(number, TYPING, max_tokens=3), client=2)), Done)
    done = desk.end(long)
    assert desk.ends[-1] == long
    assert done.interrupted >= 1
    assert done.evaluated_again == 0
    desk.close()
    room.fresh()
    alone = room.begin(request(1, REFACTOR, max_tokens=120))
    alone.finish()
    room.check_same(request(1), alone.ids, desk.tokens(long))


def test_clients_at_once_get_what_they_would_get_alone(room: Room, desk: Desk) -> None:
    users = (SOURCE, OTHER, SOURCE[: len(SOURCE) // 2])
    requests = [
        request(number, number % 4, users[number % 3], max_tokens=5 + 3 * number) for number in range(9)
    ]
    keys = [desk.ask(each, client=each.id % 2) for each in requests]
    for key in keys:
        assert isinstance(desk.end(key), Done)
    desk.close()
    for key, each in zip(keys, requests, strict=True):
        room.fresh()
        alone = room.begin(each)
        alone.finish()
        room.check_same(each, alone.ids, desk.tokens(key))


def test_cancelling_stops_the_running_one_and_leaves_the_others(desk: Desk) -> None:
    long = desk.ask(request(1, max_tokens=900))
    waiting = desk.ask(request(2, max_tokens=900))
    other = desk.ask(request(3, max_tokens=5), client=2)
    desk.writing(long)
    desk.scheduler.cancel(1, 2)
    desk.scheduler.cancel(1, 1)
    assert desk.end(waiting) == Cancelled(2, 0)
    assert 0 < desk.end(long).output_tokens < 900
    assert isinstance(desk.end(other), Done)


def test_what_was_done_for_cancelled_requests_is_counted(room: Room, desk: Desk) -> None:
    totals = room.machine.figures.totals
    prompt, output = totals.prompt, totals.output
    key = desk.ask(request(1, max_tokens=200))
    desk.writing(key)
    desk.scheduler.cancel(1, 1)
    assert isinstance(desk.end(key), Cancelled)
    work = desk.works[key]
    assert totals.prompt == prompt + work.total
    assert 3 <= totals.output - output < 200


def test_a_client_that_is_gone_leaves_nothing_behind(desk: Desk) -> None:
    long = desk.ask(request(1, REFACTOR, max_tokens=900))
    desk.ask(request(2, IDLE, max_tokens=900))
    desk.writing(long)
    desk.scheduler.drop(1)
    assert isinstance(desk.end(desk.ask(request(1, IDLE, max_tokens=2), client=2)), Done)
    assert not desk.scheduler.jobs
    assert not desk.scheduler.working_for()


def test_a_bad_request_is_a_sentence_and_the_next_is_answered(desk: Desk) -> None:
    for bad in (
        chat(SOURCE * 12, identity=1),
        chat(identity=2, grammar="root ::= ("),
        chat(identity=3, temperature=-1.0),
    ):
        failed = desk.end(desk.ask(bad))
        assert isinstance(failed, Failed)
        assert failed.kind in {"PromptTooLong", "UsageError"}
    assert isinstance(desk.end(desk.ask(request(9, max_tokens=2))), Done)


def test_the_status_shows_who_waits_for_what(desk: Desk) -> None:
    long = desk.ask(request(1, REFACTOR, max_tokens=300), client=1)
    desk.writing(long)
    desk.ask(request(2, IDLE), client=2)
    status = desk.loop.status(BLANK, {1: "editor", 2: "warm-up"}.__getitem__)
    assert [(job.client, job.state) for job in status.jobs] == [
        ("editor", "writing"),
        ("warm-up", "waiting"),
    ]
    assert status.jobs[0].done == status.jobs[0].total > 0
    assert 0 < status.kv_tokens_used <= status.kv_tokens
    desk.scheduler.cancel(1, 1)
    desk.end(long)
    desk.end((2, 2))
    status = desk.loop.status(BLANK, str)
    assert status.jobs == ()
    assert status.trunks
    assert status.prompt_tokens > status.reused_tokens > 0
    # What was cancelled counts as well.
    assert status.output_tokens > 24
    assert status.speeds[0].prefill > 0
    assert status.speeds[0].decode > 0


def test_the_first_who_waits_hears_it(desk: Desk) -> None:
    long = desk.ask(request(1, max_tokens=60))
    desk.writing(long)
    waiting = desk.ask(request(2, max_tokens=1))
    desk.end(waiting)
    first, *rest = [r for r in desk.heard[waiting] if isinstance(r, Progress)]
    assert (first.waiting, first.total) == (1, 0)
    assert rest[-1].done == rest[-1].total > 0
    assert rest[-1].waiting == 0


def test_trunks_survive_the_worker_on_the_disk(room: Room, tmp_path: Path) -> None:
    def worker(serve: Callable[[Desk], Done]) -> Done:
        saved = SavedKv(tmp_path / "kv", "nano", CAP, lambda _: None)
        # As if reading were slow here: else nothing so short would be worth the disk.
        machine = room.fresh(keeping=Keeping(saved, 3000.0, lambda start, end: (end - start) * 0.1))
        desk = Desk(room)
        done = serve(desk)
        desk.close()
        machine.pool.close(WAIT_S)
        return done

    user = SOURCE + OTHER
    first = worker(lambda desk: desk.end(desk.ask(request(1, user=user))))
    second = worker(lambda desk: desk.end(desk.ask(request(1, user=user, max_tokens=1))))
    assert first.restored_tokens == first.cached_tokens == 0
    assert second.restored_tokens == second.cached_tokens == room.trunk(request(1, user=user))


def test_an_unexpected_end_of_llama_is_told_and_ends_the_loop(desk: Desk, room: Room) -> None:
    # A sequence that was closed behind the pool's back is what no request can cause.
    key = desk.ask(request(1, max_tokens=900))
    desk.writing(key)
    desk.scheduler.jobs[0].work._lease.sequence._closed = True
    assert desk.end(key).kind == "EngineDied"
    desk.thread.join()
    assert isinstance(desk.failure[0], EngineDied)


def test_how_long_the_running_call_takes_is_foretold(room: Room) -> None:
    loop = Loop(room.fresh(), Scheduler(), Pulse())
    generation = room.begin(request(1))
    assert loop.left_s() == 0.0
    assert generation.next_s() == -1.0, "nothing is measured"
    generation.finish()
    assert 0 < room.begin(request(2, user=OTHER)).next_s() < math.inf


def test_a_batch_that_takes_long_is_interrupted_for_a_keystroke(room: Room, desk: Desk) -> None:
    """Whatever the figures say: the background's prompt is read once, and the keystroke ends first."""
    desk.scheduler.left_s = lambda: 1.0
    assert room.machine.context.batch_tokens == BATCH
    warm = desk.ask(request(1, IDLE, SOURCE + OTHER, max_tokens=0))
    desk.wait(lambda: any(isinstance(r, Progress) for r in desk.heard[warm]))
    for number in range(2, 8):
        typed = desk.ask(request(number, TYPING, OTHER, max_tokens=2), client=2)
        assert isinstance(desk.end(typed), Done)
    done = desk.end(warm)
    assert done.evaluated_again == 0
    reads = [r.done for r in desk.heard[warm] if isinstance(r, Progress) and r.total]
    assert reads == sorted(reads)
    assert all(a // BATCH == (b - 1) // BATCH for a, b in itertools.pairwise(sorted(set(reads))))


def test_somebody_who_types_without_a_pause_does_not_keep_the_background_from_getting_on(
    room: Room, desk: Desk
) -> None:
    """Each keystroke comes in the middle of a batch, and the next one before a whole batch could end."""
    machine, calls = room.machine, 0
    evaluate = machine.context.evaluate

    def interrupted(sequence: int, start: int, ids: Any, rows: Any) -> int:
        nonlocal calls
        job = desk.scheduler._running
        if job is not None and job.request.urgency == IDLE and not desk.typed_out:
            calls += 1
            desk.ask(request(calls + 1, TYPING, OTHER, max_tokens=1), client=2)
        return evaluate(sequence, start, ids, rows)

    machine.context.evaluate = interrupted
    left_s = desk.loop.left_s
    desk.scheduler.left_s = lambda: 1.0 if left_s() else 0.0
    try:
        warm = desk.ask(request(1, IDLE, SOURCE, max_tokens=0))
        done = desk.end(warm)
    finally:
        del machine.context.evaluate
        desk.typed_out = True
    assert isinstance(done, Done)
    assert done.evaluated_again == 0
    assert 4 < calls - 1 <= done.interrupted <= calls


class TestMeasuring:
    """What drafts cost is measured while nobody wants anything, in pieces that anybody may interrupt."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = Store(tmp_path / "costs")
        yield store
        store.close()

    def measuring(self, room: Room, store: Store) -> Measuring:
        machine = room.fresh()

        def know(costs: CostTable) -> None:
            machine.costs = costs

        ids = machine.vocabulary.encode([(SOURCE, False)]).ids
        return Measuring(machine.context, ids, Kept(store, "here"), processors=True, then=know)

    def test_a_request_comes_between_and_what_was_measured_is_kept(
        self, room: Room, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looping, "IDLE_S", 0.02)
        chore = self.measuring(room, store)
        machine, sizes = room.machine, list[int]()
        add = Rounds.add

        def noted(rounds: Rounds, *seconds: float) -> None:
            sizes.append(rounds.size)
            add(rounds, *seconds)

        monkeypatch.setattr(Rounds, "add", noted)
        evaluate, asked = machine.context.evaluate, list[tuple[int, int]]()

        def interrupted(sequence: int, start: int, ids: Any, rows: Any) -> int:
            # In the middle of what is measured.
            if len(asked) < len(sizes) // 3 and not desk.scheduler.jobs:
                asked.append(desk.ask(request(len(asked) + 1, TYPING, max_tokens=2)))
            return evaluate(sequence, start, ids, rows)

        monkeypatch.setattr(machine.context, "evaluate", interrupted)
        desk = Desk(room, chore)
        until(lambda: not desk.loop.chores)
        desk.close()
        assert desk.failure == []
        assert len(asked) > 4
        for key in asked:
            done = desk.heard[key][-1]
            assert isinstance(done, Done)
            assert done.drafted_tokens == 0
        most = [size for size in SIZES if size <= BATCH]
        assert sizes == [*most, *most, *most], "no size is measured again because of an interruption"
        assert len(machine.costs.ratios) == BATCH
        assert Kept(store, "here").read() == machine.costs
        assert machine.context.used_cells == sum(machine.pool.trunks) + sum(
            idle.sequence.own_cells for idle in machine.pool._idle
        )

    def test_whoever_comes_while_it_is_measured_does_not_wait_for_it(
        self, room: Room, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looping, "IDLE_S", 0.02)
        chore = self.measuring(room, store)
        begun, interruptions = threading.Event(), list[str]()
        machine = room.machine
        step, interrupt = chore.step, machine.context.interrupt

        def slow() -> bool:
            step()
            begun.set()
            return True

        monkeypatch.setattr(chore, "step", slow)
        monkeypatch.setattr(machine.context, "interrupt", lambda: (interruptions.append(""), interrupt()))
        desk = Desk(room, chore)
        assert begun.wait(120)
        assert isinstance(desk.end(desk.ask(request(1, IDLE, max_tokens=2))), Done)
        begun.clear()
        assert begun.wait(120), "it goes on afterwards"
        desk.close()
        assert desk.failure == []

    def test_no_room_for_it_is_no_harm(
        self, room: Room, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(looping, "IDLE_S", 0.02)
        chore = self.measuring(room, store)
        tried: list[int] = []

        def full() -> bool:
            tried.append(1)
            raise NoRoom("There are no cells.")

        monkeypatch.setattr(chore, "step", full)
        desk = Desk(room, chore)
        until(lambda: len(tried) > 2)
        assert isinstance(desk.end(desk.ask(request(1, max_tokens=2))), Done)
        desk.close()
        assert desk.failure == []
        assert desk.loop.chores == [chore]


def until(true: Callable[[], bool]) -> None:
    """Wait for something that has no event."""
    ends = time.monotonic() + 240
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)
