"""What batches cost on this machine: measured in bounds, kept on the disk, and never believed unread."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.costs import BUDGET_S, ROUNDS, SIZES, Rounds

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


class Feeds:
    """A machine of which every evaluation takes what `seconds` says, on a clock of its own."""

    def __init__(self, seconds: dict[int, float] | None = None, each: float = 0.01) -> None:
        self.now = 0.0
        self.sizes: list[int] = []
        self._seconds = seconds or {}
        self._each = each

    def __call__(self, size: int) -> float:
        self.sizes.append(size)
        took = self._seconds.get(size, self._each * (1 + 0.1 * (size - 1)))
        self.now += took
        return took


def measure(feeds: Callable[[int], float], most: int, budget_s: float = BUDGET_S) -> tuple[float, ...]:
    """As the worker does it, without a pause."""
    rounds = Rounds(most, budget_s)
    while size := rounds.size:
        rounds.add(feeds(1), feeds(size), feeds(1))
    return rounds.ratios


class TestMeasure:
    def test_costs_of_every_size_in_single_steps(self) -> None:
        feeds = Feeds()
        ratios = measure(feeds, 128)
        assert ratios == pytest.approx([1 + 0.1 * k for k in range(128)])
        assert feeds.sizes.count(128) == ROUNDS

    def test_no_larger_than_the_batch(self) -> None:
        feeds = Feeds()
        assert len(measure(feeds, 64)) == 64
        assert max(feeds.sizes) == 64

    def test_slow_machines_leave_out_what_there_is_no_time_for(self) -> None:
        feeds = Feeds(each=1.0)
        ratios = measure(feeds, 128, budget_s=20.0)
        assert 1 < len(ratios) < 128
        assert feeds.now < 20 + 2 + 2 * max(feeds.sizes)

    def test_one_step_that_is_interrupted_by_the_machine_does_not_count(self) -> None:
        feeds = Feeds()
        spoiled = itertools.count()
        ratios = measure(lambda size: feeds(size) * (50 if size == 8 and next(spoiled) == 1 else 1), 16)
        assert ratios[7] == pytest.approx(1.7)

    @given(st.dictionaries(st.sampled_from(SIZES), st.floats(1e-6, 1)))
    def test_never_falling(self, seconds: dict[int, float]) -> None:
        feeds = Feeds(seconds)
        ratios = measure(feeds, 128)
        assert ratios[0] == 1.0
        assert (np.diff(ratios) >= 0).all()


INSTALL = "llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'"


@pytest.fixture(scope="module")
def context() -> Iterator[object]:
    pytest.importorskip("llama_cpp", reason=INSTALL)
    from models import load_of  # noqa: PLC0415

    from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

    opened = open_model(load_of(), lambda _: None)
    yield opened.context
    opened.close()


@pytest.fixture(scope="module")
def text() -> np.ndarray:
    from models import NANO  # noqa: PLC0415

    from glm_lsp.engines.tokenizers import GgufTokenizer  # noqa: PLC0415

    return np.asarray(GgufTokenizer(NANO.gguf_path).encode(Path(__file__).read_text()), np.int32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.mark.embedded
class TestTable:
    """On the bundled model."""

    def test_measured_once_and_kept(self, context: object, text: np.ndarray, store: Store) -> None:
        from glm_lsp.engines.worker import measuring  # noqa: PLC0415

        before = context.used_cells
        found = measuring.table(context, text, store, "here", processors=True)
        assert context.used_cells == before
        assert len(found.ratios) == 64
        assert 0 < found.noise < 1
        assert measuring.table(context, text[:0], store, "here", processors=True) == found
        assert measuring.table(context, text[:0], store, "elsewhere", processors=True).ratios == ()

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"\xc1",
            msgspec.msgpack.encode(((), 0.0)),
            msgspec.msgpack.encode(((1.0, 0.5), 0.0)),
            msgspec.msgpack.encode(((1.0, float("nan")), 0.0)),
            msgspec.msgpack.encode(((2.0,), 0.0)),
            msgspec.msgpack.encode(((1.0,), -1.0)),
            msgspec.msgpack.encode(((1.0,) * 100_000, 0.0)),
            msgspec.msgpack.encode({"ratios": 1}),
        ],
    )
    def test_what_lies_on_the_disk_is_checked(
        self, value: bytes, context: object, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from glm_lsp.engines.worker import measuring  # noqa: PLC0415

        keys: list[str] = []
        monkeypatch.setattr(store, "get", lambda key: keys.append(key) or value)
        assert measuring.table(context, np.zeros(0, np.int32), store, "x", processors=True).ratios == ()
        assert keys

    def test_an_interrupted_measurement_is_none(
        self, context: object, text: np.ndarray, store: Store
    ) -> None:
        from glm_lsp.engines.worker import measuring  # noqa: PLC0415

        before = context.used_cells
        context.interrupt()
        assert measuring.table(context, text, store, "stopped", processors=True).ratios == ()
        assert context.used_cells == before
