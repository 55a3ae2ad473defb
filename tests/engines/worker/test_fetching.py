"""Reading a saved prompt keeps nobody waiting but whoever wants it; what was used last is there at once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from saving import CAP, WAIT_S, put, saving, state, tokens

from glm_lsp.engines.frames import Done

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from rooms import OTHER, SOURCE, Room  # noqa: E402
from test_loop import ACTION, TYPING, Desk, request, until  # noqa: E402

from glm_lsp.engines.worker.fetching import Fetcher, Reading  # noqa: E402
from glm_lsp.engines.worker.keeping import Keeping  # noqa: E402
from glm_lsp.engines.worker.kvfile import BLOCK_BYTES  # noqa: E402
from glm_lsp.engines.worker.saved import Found, SavedKv  # noqa: E402

LONG = SOURCE + OTHER


class Disk:
    """Saved prompts that are read when the test says so."""

    def __init__(self) -> None:
        self.gates: dict[str, threading.Event] = {}
        self.given_up: list[str] = []
        self.begun: list[str] = []

    def load(self, found: Found, wanted: Callable[[], bool]) -> Any:
        self.begun.append(found.entry)
        gate = self.gates.setdefault(found.entry, threading.Event())
        while not gate.wait(0.005):
            if not wanted():
                self.given_up.append(found.entry)
                return None
        return None if found.entry == "damaged" else (state(10), tokens(found.tokens))

    def finish(self, entry: str) -> None:
        self.gates.setdefault(entry, threading.Event()).set()


def found(entry: str, count: int = 5) -> Found:
    return Found(count, entry, count, 10)


def taken(fetcher: Fetcher, entry: str) -> Any:
    """What is read, when it is."""
    ends = time.monotonic() + 120
    while isinstance(data := fetcher.take(found(entry)), Reading):
        assert time.monotonic() < ends
        time.sleep(0.005)
    return data


def test_it_is_read_beside_the_caller_and_handed_out_once() -> None:
    disk = Disk()
    fetcher = Fetcher(disk)
    arrivals: list[int] = []
    fetcher.on_arrival = lambda: arrivals.append(fetcher.arrivals)
    assert fetcher.take(found("a")) is Reading.READING
    assert fetcher.busy
    disk.finish("a")
    data = taken(fetcher, "a")
    assert data[1].tolist() == tokens(5).tolist()
    assert arrivals == [1]
    assert not fetcher.busy
    assert fetcher.arrived() is None
    assert fetcher.take(found("a")) is Reading.READING, "once"


def test_what_is_read_ahead_makes_way_for_whoever_waits_for_something_else() -> None:
    disk = Disk()
    fetcher = Fetcher(disk)
    fetcher.ahead(found("old"))
    disk.finish("new")
    assert taken(fetcher, "new") is not None
    until(lambda: disk.given_up == ["old"])
    assert fetcher.arrived() is None


def test_who_wants_what_is_read_ahead_gets_it_and_nobody_takes_its_place() -> None:
    disk = Disk()
    fetcher = Fetcher(disk)
    fetcher.ahead(found("a"))
    assert fetcher.take(found("a")) is Reading.READING
    assert fetcher.take(found("b")) is Reading.READING
    disk.finish("a")
    disk.finish("b")
    assert taken(fetcher, "b") is not None
    assert taken(fetcher, "a") is not None
    assert disk.begun == ["a", "b"], "each was read once"


def test_a_damaged_one_is_nothing() -> None:
    disk = Disk()
    fetcher = Fetcher(disk)
    disk.finish("damaged")
    assert taken(fetcher, "damaged") is None


def test_reading_is_given_up_between_two_blocks(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, said):
        ids = tokens(300)
        put(saved, ids, state(3 * BLOCK_BYTES))
        best = saved.best(ids)
        assert best is not None
        asked: list[int] = []
        assert saved.load(best, lambda: asked.append(1) or len(asked) < 2) is None
        assert len(asked) == 2
        assert saved.load(best) is not None, "it is as good as before"
        assert said == []


def test_the_newest_is_the_one_that_was_used_last(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, _):
        assert saved.newest() is None
        for number in range(3):
            put(saved, tokens(300 + number, number), state(1000))
        for at, number in enumerate((2, 0, 1)):
            name = saved.best(tokens(300 + number, number))
            assert name is not None
            os.utime(tmp_path / name.entry, (1000 + at, 1000 + at))
        newest = saved.newest()
        assert newest is not None
        assert (newest.tokens, newest.entry_tokens) == (301, 301)
    with saving(tmp_path, identity="another model") as (saved, _):
        assert saved.newest() is None


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    room = Room.open(context_tokens=1024, kv_tokens=4096)
    yield room
    room.close()


class Worker:
    """A new worker with what the last ones have saved; it reads from the disk when `gate` is open."""

    def __init__(self, room: Room, directory: Path) -> None:
        self.gate = threading.Event()
        self.read: list[int] = []
        self.saved = SavedKv(directory, "nano", CAP, lambda _: None)
        load = self.saved.load

        def gated(found: Found, wanted: Callable[[], bool] = lambda: True) -> Any:
            assert self.gate.wait(120)
            self.read.append(found.tokens)
            return load(found, wanted)

        self.saved.load = gated  # type: ignore[method-assign]
        # As if reading were slow here: else nothing so short would be worth the disk.
        keeping = Keeping(self.saved, 3000.0, lambda start, end: (end - start) * 0.1)
        self.machine = room.fresh(keeping=keeping)
        self.desk = Desk(room)

    def close(self) -> None:
        self.gate.set()
        self.desk.close()
        self.machine.pool.close(WAIT_S)
        assert self.desk.failure == []


@pytest.fixture
def shelf(room: Room, tmp_path: Path) -> Path:
    """What a worker leaves behind that has answered about two repositories, about LONG last."""
    worker = Worker(room, tmp_path / "kv")
    worker.gate.set()
    for number, user in enumerate((OTHER + SOURCE, LONG), 1):
        assert isinstance(worker.desk.end(worker.desk.ask(request(number, user=user))), Done)
    worker.close()
    newest = worker.saved.best(room.ids(request(2, user=LONG)))
    assert newest is not None
    for path in (tmp_path / "kv").glob("*.kv"):
        then = time.time() - (0 if path.name == newest.entry else 3600)
        os.utime(path, (then, then))
    return tmp_path / "kv"


def test_what_was_used_last_is_in_the_cache_before_anybody_asks(room: Room, shelf: Path) -> None:
    worker = Worker(room, shelf)
    worker.gate.set()
    trunk = room.trunk(request(1, user=LONG))
    until(lambda: worker.machine.pool.trunks == (trunk,))
    done = worker.desk.end(worker.desk.ask(request(1, user=LONG, max_tokens=1)))
    again = worker.desk.end(worker.desk.ask(request(2, user=LONG, max_tokens=1)))
    worker.close()
    assert done.restored_tokens == done.cached_tokens == trunk
    assert again.restored_tokens == 0
    assert again.cached_tokens >= trunk
    assert worker.read == [trunk]


def test_a_keystroke_elsewhere_is_answered_while_the_disk_is_read(room: Room, shelf: Path) -> None:
    worker = Worker(room, shelf)
    waits = worker.desk.ask(request(1, ACTION, LONG, max_tokens=2))
    # Nobody can end before the gate is open, but who needs nothing from the disk.
    typed = worker.desk.end(worker.desk.ask(request(2, TYPING, SOURCE[:200], max_tokens=2), client=2))
    assert isinstance(typed, Done)
    assert waits not in worker.desk.ends
    assert worker.desk.loop._pulse.stuck_s() == worker.desk.loop.left_s() == 0.0, "no call hangs"
    worker.gate.set()
    done = worker.desk.end(waits)
    worker.close()
    trunk = room.trunk(request(1, user=LONG))
    assert done.restored_tokens == done.cached_tokens == trunk
    assert worker.read == [trunk], "read once, though it was begun for nobody"


def test_who_waits_for_another_one_does_not_wait_for_what_is_read_ahead(room: Room, shelf: Path) -> None:
    worker = Worker(room, shelf)
    user = OTHER + SOURCE
    waits = worker.desk.ask(request(1, ACTION, user, max_tokens=2))
    worker.gate.set()
    done = worker.desk.end(waits)
    worker.close()
    assert done.restored_tokens == room.trunk(request(1, user=user))


def test_cancelling_does_not_wait_for_the_disk(room: Room, shelf: Path) -> None:
    worker = Worker(room, shelf)
    waits = worker.desk.ask(request(1, ACTION, LONG, max_tokens=2))
    worker.desk.scheduler.cancel(1, 1)
    worker.desk.end(waits)
    assert not worker.gate.is_set()
    worker.close()
