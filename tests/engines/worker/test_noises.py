"""How far the last bits move logits, by depth: no choice that drafts could change goes uncounted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.costs import DEEPER, ENOUGH, FEW, CostTable, NoiseAt

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
INSTALL = "llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'"
EAGER = tuple(1 + 0.05 * k for k in range(64))
CONTEXT = 4096
DEEP = 2048
FIRST = 0.05
ALONE = 0.2


@pytest.mark.parametrize(
    ("deep", "depth", "noise"),
    [
        ((), 0, FEW * FIRST),
        ((), 100_000, FEW * FIRST),
        ((NoiseAt(0, ENOUGH, ALONE),), 10, ALONE),
        ((NoiseAt(0, ENOUGH, ALONE),), 5000, DEEPER * ALONE),
        ((NoiseAt(0, ENOUGH, 0.01),), 10, FIRST),
        ((NoiseAt(0, ENOUGH - 1, ALONE),), 10, FEW * ALONE),
        ((NoiseAt(0, ENOUGH, ALONE), NoiseAt(2048, 64, 0.3)), 3000, DEEPER * 0.3),
        ((NoiseAt(0, ENOUGH, ALONE), NoiseAt(2048, ENOUGH, 0.3)), 3000, 0.3),
        ((NoiseAt(0, ENOUGH, ALONE), NoiseAt(2048, ENOUGH, 0.3)), 2047, DEEPER * ALONE),
        ((NoiseAt(0, ENOUGH, ALONE), NoiseAt(2048, ENOUGH, 0.1)), 3000, ALONE),
        ((NoiseAt(2048, ENOUGH, 0.3),), 10, FEW * FIRST),
    ],
)
def test_what_is_reckoned_with(deep: tuple[NoiseAt, ...], depth: int, noise: float) -> None:
    assert CostTable((1.0,), FIRST, deep).noise_at(depth) == pytest.approx(noise)


@pytest.mark.parametrize("deep", [(), (NoiseAt(0, ENOUGH, ALONE),)])
def test_deeper_is_never_taken_for_quieter_than_what_is_known(deep: tuple[NoiseAt, ...]) -> None:
    table = CostTable((1.0,), FIRST, deep)
    assert np.all(np.diff([table.noise_at(depth) for depth in range(0, 20_000, 100)]) >= 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """The bundled model, but for its indexer, which chooses fewer positions than the context has."""
    pytest.importorskip("llama_cpp", reason=INSTALL)
    from models import rewrite  # noqa: PLC0415
    from rooms import Room  # noqa: PLC0415

    path = tmp_path_factory.mktemp("model") / "sparse.gguf"
    rewrite(path, metadata={"glm-dsa.attention.indexer.top_k": DEEP})
    room = Room.open(path=str(path), context_tokens=CONTEXT, kv_tokens=2 * CONTEXT)
    yield room
    room.close()


@pytest.mark.embedded
class TestModel:
    """On the bundled model, in the depth of its context."""

    def listening(self, room: object, store: Store) -> object:
        from glm_lsp.engines.worker.noises import Kept, Listening  # noqa: PLC0415

        machine = room.machine

        def know(costs: CostTable) -> None:
            machine.costs = costs

        return Listening(machine.context, machine.pool, Kept(store, "here"), lambda: machine.costs, know)

    def request(self, room: object, tokens: int, **options: object) -> object:
        from rooms import ENDLESS, chat  # noqa: PLC0415

        code = sorted((Path(__file__).parents[3] / "glm_lsp/engines/worker").glob("*.py"))
        text = "".join(path.read_text(encoding="utf-8") for path in code)[: 4 * tokens]
        while len(room.ids(chat(text))) > tokens:
            text = text[: -len(text) // 50]
        return chat(text, text[-1200:-600], grammar=ENDLESS, **options)

    def test_greedy_answers_differ_only_where_it_is_counted(self, room: object) -> None:
        """Where the indexer leaves positions out too, and while few tokens were compared."""
        request = self.request(room, DEEP + 100, max_tokens=60)
        costs = CostTable(EAGER, FIRST)
        room.fresh()
        plain = room.begin(request)
        plain.finish()
        assert plain.total > DEEP
        room.fresh(costs=costs)
        drafted = room.begin(request)
        done = drafted.finish()
        assert done.drafted_tokens > 5
        differing = [n for n, (a, b) in enumerate(zip(plain.ids, drafted.ids, strict=False)) if a != b]
        if differing:
            at = differing[0]
            ids = np.concatenate([room.ids(request), np.asarray(plain.ids[:at], np.int32)])
            pair = room.logits_after(ids)[[plain.ids[at], drafted.ids[at]]]
            assert done.near_ties > 0
            assert abs(float(pair[0] - pair[1])) <= costs.noise_at(len(ids))

    def test_measured_where_something_is_held_and_kept(self, room: object, store: Store) -> None:
        from glm_lsp.engines.worker.noises import WINDOW, Kept  # noqa: PLC0415

        machine = room.fresh(costs=CostTable(EAGER, FIRST))
        room.answer(self.request(room, 1400, max_tokens=2))
        used, rows = machine.context.used_cells, machine.context.free_sequences
        listening = self.listening(room, store)
        steps = 0
        while listening.step():
            steps += 1
            if steps == WINDOW // 2:
                listening.rest()  # somebody came between
                assert machine.context.used_cells == used
        assert (machine.context.used_cells, machine.context.free_sequences) == (used, rows)
        first, second = machine.costs.deep
        assert (first.depth, first.tokens, second.depth) == (0, ENOUGH, 1024)
        assert 0 < second.tokens <= ENOUGH
        assert min(first.noise, second.noise) > 0
        assert Kept(store, "here").read() == machine.costs.deep
        assert Kept(store, "elsewhere").read() == ()
        assert not listening.step(), "nothing is compared twice"

    def test_no_choice_moves_further_than_is_reckoned_with(self, room: object, store: Store) -> None:
        """Neither among few tokens that were compared, nor among many."""
        from models import feed_all  # noqa: PLC0415

        from glm_lsp.engines.worker import measuring  # noqa: PLC0415
        from glm_lsp.engines.worker.noises import CAUTION, Window  # noqa: PLC0415

        ids = room.ids(self.request(room, 600))
        machine = room.fresh()
        few = measuring.table(machine.context, ids[:64], store, "few", processors=True)
        sequence = machine.context.sequence()
        feed_all(sequence, ids)
        largest = 0.0
        for at in range(64, 512, 64):
            window = Window(sequence, at, 4)
            while window.step(machine.context):
                pass
            window.close()
            largest = max(largest, window.largest)
        assert 0 < largest <= few.noise_at(512)
        many = replace(few, deep=(NoiseAt(0, ENOUGH, CAUTION * largest),))
        assert largest < many.noise_at(512)

    def test_in_idle_time_between_requests(
        self, room: object, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from rooms import ENDLESS, chat  # noqa: PLC0415

        from glm_lsp.engines.frames import Done, Reply  # noqa: PLC0415
        from glm_lsp.engines.worker import loop as looping  # noqa: PLC0415
        from glm_lsp.engines.worker.pulse import Pulse  # noqa: PLC0415
        from glm_lsp.engines.worker.scheduler import Scheduler  # noqa: PLC0415

        monkeypatch.setattr(looping, "IDLE_S", 0.02)
        room.fresh(costs=CostTable(EAGER, FIRST))
        listening, scheduler = self.listening(room, store), Scheduler()
        step, steps, ends = listening.step, list[bool](), list[Reply]()

        def ask() -> None:
            request = chat(identity=len(ends) + 1, max_tokens=2, grammar=ENDLESS)
            scheduler.submit(1, request, lambda reply: isinstance(reply, Done) and ends.append(reply))

        def stepped() -> bool:
            steps.append(step())
            if len(steps) == 30:
                ask()  # in the middle of a window
            elif not steps[-1] and len(ends) > 1:
                scheduler.close()
            return steps[-1]

        monkeypatch.setattr(listening, "step", stepped)
        ask()
        looping.Loop(room.machine, scheduler, Pulse(), (), listening).run()
        assert len(ends) == 2
        assert [each.depth for each in room.machine.costs.deep] == [0]

    def test_nothing_is_measured_where_nothing_is_drafted(self, room: object, store: Store) -> None:
        from rooms import chat  # noqa: PLC0415

        for ratios in ((), (1.0, 2.0, 3.0)):
            machine = room.fresh(costs=CostTable(ratios, FIRST))
            room.answer(chat(max_tokens=2))
            assert not self.listening(room, store).step()
            assert machine.costs.deep == ()


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode([(0, 64)]),
        msgspec.msgpack.encode([(0, 64, -1.0)]),
        msgspec.msgpack.encode([(0, 64, float("nan"))]),
        msgspec.msgpack.encode([(0, 0, 0.1)]),
        msgspec.msgpack.encode([(7, 64, 0.1)]),
        msgspec.msgpack.encode([(2048, 64, 0.1), (0, 64, 0.1)]),
        msgspec.msgpack.encode([(0, 64, 0.1), (0, 64, 0.1)]),
    ],
)
def test_what_lies_on_the_disk_is_checked(
    value: bytes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("llama_cpp", reason=INSTALL)
    from glm_lsp.engines.worker.noises import Kept  # noqa: PLC0415

    monkeypatch.setattr(store, "get", lambda _: value)
    assert Kept(store, "x").read() == ()
