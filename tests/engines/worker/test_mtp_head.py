"""The layer that foretells tokens: fed and read rightly, by a computation of its own, and kept consistent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

import mtp_by_hand as by_hand  # noqa: E402
from foretelling import MtpRoom, Weights, exact, random_layer, room_of, write  # noqa: E402
from models import some_tokens  # noqa: E402

from glm_lsp.engines.worker import mtp  # noqa: E402
from glm_lsp.engines.worker.context import Interrupted, Rows  # noqa: E402
from glm_lsp.engines.worker.mtp import MtpWindow, Shown  # noqa: E402
from glm_lsp.engines.worker.mtp_policy import Guess  # noqa: E402

IDS = some_tokens(90)


@pytest.fixture(scope="module")
def weights() -> Weights:
    return exact(random_layer())


@pytest.fixture(scope="module")
def room(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MtpRoom]:
    room = room_of(write(tmp_path_factory.mktemp("mtp") / "random.gguf", weights))
    yield room
    room.close()


@pytest.fixture(scope="module")
def states(room: MtpRoom) -> np.ndarray:
    """The model's, after each of IDS."""
    return room.states(IDS)


def after(room: MtpRoom, ids: np.ndarray, states: np.ndarray, start: int) -> np.ndarray:
    """llama.cpp's logits after the last entry."""
    room.head.clear(None, start)
    assert room.head.feed(ids, states)
    return room.head.logits().copy()


def check_near(found: np.ndarray, expected: np.ndarray, within: float = 0.02) -> None:
    """Equal, but for the embeddings' sixteen bits in llama.cpp's products."""
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert np.abs(found - expected).max() < within * expected.std()
    assert found.argmax() == expected.argmax()


class TestWiring:
    @pytest.mark.parametrize(("start", "count"), [(1, 1), (1, 5), (1, 64), (1, 80), (20, 40), (3000, 9)])
    def test_the_logits_are_those_computed_by_hand(
        self, room: MtpRoom, weights: Weights, states: np.ndarray, start: int, count: int
    ) -> None:
        """Each entry a token with the model's state before it, at the token's position, however far on."""
        first = start % 89
        ids, before = IDS[first : first + count], states[first - 1 : first - 1 + count]
        expected = by_hand.states(weights, ids, before, start)
        check_near(after(room, ids, before, start), by_hand.logits(expected[-1]))

    @pytest.mark.parametrize(
        "wrong",
        [
            pytest.param((0, 0), id="the state of the token itself"),
            pytest.param((-1, 1), id="another token"),
        ],
    )
    def test_another_wiring_gives_others(
        self, room: MtpRoom, weights: Weights, states: np.ndarray, wrong: tuple[int, int]
    ) -> None:
        expected = by_hand.logits(by_hand.states(weights, IDS[1:31], states[:30], 1)[-1])
        state, token = wrong
        found = after(room, IDS[1 + token : 31 + token], states[1 + state : 31 + state], 1)
        assert np.abs(found - expected).max() > 0.3 * expected.std()

    def test_a_second_guess_goes_on_from_the_layers_own_state(
        self, room: MtpRoom, weights: Weights, states: np.ndarray
    ) -> None:
        ids, before = IDS[1:41], states[:40]
        after(room, ids, before, 1)
        for _ in range(3):
            guess, state = room.head.guess()
            expected = by_hand.states(weights, ids, before, 1)
            assert np.allclose(state[0], expected[-1], atol=0.02)
            chances = np.exp(by_hand.logits(expected[-1]))
            assert guess.token == chances.argmax()
            assert guess.chance == pytest.approx(chances.max() / chances.sum(), rel=0.05)
            ids, before = np.append(ids, np.int32(guess.token)), np.concatenate([before, state])
            assert room.head.feed(ids[-1:], state)

    def test_the_models_states_are_those_that_its_logits_are_made_of(
        self, room: MtpRoom, states: np.ndarray
    ) -> None:
        sequence = room.machine.context.sequence()
        sequence.feed(IDS[:60], Rows.NONE)
        sequence.feed(IDS[60:64], Rows.ALL)
        for row, state in zip(room.machine.context.all_logits(), states[60:64], strict=True):
            # Batches of other sizes: the model itself is not exact.
            check_near(row, by_hand.logits(state), within=0.05)
        sequence.close()


class TestStates:
    """What a feed keeps, and that the model's logits are the same whatever it keeps."""

    @pytest.mark.parametrize("rows", [Rows.LAST, Rows.ALL])
    def test_all_or_those_with_logits(self, room: MtpRoom, states: np.ndarray, rows: Rows) -> None:
        logits: list[np.ndarray] = []
        for which in (Shown.NONE, Shown.ALL, Shown.CHOSEN, Shown.NONE, Shown.CHOSEN):
            room.head.show(which)
            sequence = room.machine.context.sequence()
            sequence.feed(IDS[:40], rows)
            logits.append(room.machine.context.all_logits().copy())
            if which is not Shown.NONE:
                count = 40 if which is Shown.ALL or rows is Rows.ALL else 1
                found = room.head.shown(count)
                assert np.corrcoef(found.ravel(), states[40 - count : 40].ravel())[0, 1] > 0.999
            sequence.close()
        room.head.show(Shown.NONE)
        for other in logits[1:]:
            for row, first in zip(other, logits[0], strict=True):
                check_near(row, first, within=0.05)


class Windowed:
    """A window over IDS, as an answer fills it."""

    def __init__(self, room: MtpRoom, states: np.ndarray, most: int = 64) -> None:
        self.head = room.head
        self.head.clear(None, 0)
        self.states = states
        self.window = MtpWindow(room.head, most)

    def saw(self, start: int, end: int) -> Windowed:
        self.window.saw(start, self.states[start:end])
        return self

    def guesses(self, count: int, upto: int) -> list[Guess]:
        """After token `upto` - 1."""
        return list(islice(self.window.guesses(IDS[:upto]), count))


def same(some: list[Guess], others: list[Guess]) -> bool:
    """But for the last bits, which depend on how many entries were read at once.

    Later guesses of random weights are a matter of such bits.
    """
    (one, *_), (other, *_) = some, others
    return len(some) == len(others) and one.token == other.token and abs(one.chance - other.chance) < 0.02


class TestWindow:
    @pytest.fixture
    def fresh(self, room: MtpRoom, states: np.ndarray) -> list[Guess]:
        """What is guessed after 70 tokens where all were seen at once."""
        return Windowed(room, states).saw(0, 69).guesses(4, 70)

    def test_what_was_read_is_gone_on_with(
        self, room: MtpRoom, states: np.ndarray, fresh: list[Guess]
    ) -> None:
        one = Windowed(room, states).saw(0, 50)
        assert one.window.behind(50) == 49
        one.guesses(3, 51)
        for upto in (51, 55, 69):
            one.saw(one.window._end, upto)
            assert one.window.behind(upto) == upto - one.window._true
            found = one.guesses(4, upto + 1)
        assert same(found, fresh)

    def test_guesses_that_were_refused_leave_nothing(
        self, room: MtpRoom, states: np.ndarray, fresh: list[Guess]
    ) -> None:
        one = Windowed(room, states).saw(0, 60)
        for upto in range(60, 70):
            one.saw(upto - 1, upto)
            found = one.guesses(4, upto)
        one.saw(68, 69)
        found = one.guesses(4, 70)
        assert one.window.behind(69) == 0
        assert same(found, fresh)

    def test_whoever_comes_between_only_costs_the_reading(
        self, room: MtpRoom, states: np.ndarray, fresh: list[Guess]
    ) -> None:
        one = Windowed(room, states).saw(0, 66)
        one.guesses(2, 67)
        one.saw(66, 69)
        assert one.window.behind(69) < 5
        MtpWindow(room.head, 16).saw(0, states[:5])
        other = MtpWindow(room.head, 16)
        other.saw(0, states[:8])
        list(islice(other.guesses(IDS[:9]), 2))
        assert one.window.behind(69) > 60
        assert same(one.guesses(4, 70), fresh)

    def test_a_gap_in_what_was_seen_begins_anew(self, room: MtpRoom, states: np.ndarray) -> None:
        one = Windowed(room, states).saw(0, 20)
        one.guesses(2, 21)
        one.saw(40, 69)
        assert one.window.behind(69) == 28
        assert same(one.guesses(4, 70), Windowed(room, states).saw(40, 69).guesses(4, 70))

    def test_without_the_last_tokens_state_there_is_nothing(self, room: MtpRoom, states: np.ndarray) -> None:
        one = Windowed(room, states)
        assert one.window.behind(0) == one.window.behind(5) == -1
        one.saw(0, 5)
        assert one.window.behind(4) == one.window.behind(6) == -1
        assert one.window.behind(5) == 4
        one.saw(1, 3)
        assert one.window.behind(3) == 2

    def test_it_holds_the_last_tokens_of_a_long_text(self, room: MtpRoom, states: np.ndarray) -> None:
        one = Windowed(room, states, most=16)
        for start in range(69):
            one.saw(start, start + 1)
        assert one.window.behind(69) == 15
        few = Windowed(room, states, most=16).saw(53, 69)
        assert same(one.guesses(3, 70), few.guesses(3, 70))
        many = Windowed(room, states, most=16).saw(0, 69)
        assert many.window.behind(69) == 15

    def test_when_its_cells_are_full_the_last_tokens_are_read_anew(
        self, room: MtpRoom, states: np.ndarray, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mtp, "CELLS", 40)
        one = Windowed(room, states, most=16)
        for upto in range(1, 80):
            one.saw(upto - 1, upto)
            assert len(one.guesses(3, upto + 1)) == 3
            assert one.head.end - one.head.start <= 40

    def test_an_interruption_leaves_what_is_true(
        self, room: MtpRoom, states: np.ndarray, fresh: list[Guess]
    ) -> None:
        context = room.machine.context
        one = Windowed(room, states, most=80).saw(0, 69)
        for when in (0, 1, 2, 3):
            guesses = one.window.guesses(IDS[:70])
            for _ in range(when):
                next(guesses)
            context.interrupt()
            with pytest.raises(Interrupted):
                next(guesses)
            context.resume()
            assert one.head.end <= 70 + when
        assert same(one.guesses(4, 70), fresh)

    def test_what_llama_refuses_ends_the_guesses(self, room: MtpRoom, states: np.ndarray) -> None:
        one = Windowed(room, states).saw(0, 69)
        ids = IDS[:70].copy()
        ids[69] = 1 << 30
        assert list(one.window.guesses(ids)) == []
        assert len(one.guesses(4, 70)) == 4


def test_what_it_takes_is_told(room: MtpRoom, weights: Weights, tmp_path: Path) -> None:
    loaded: Any = room.loaded
    assert loaded.mtp_unused == ""
    assert sum(room.head.buffers.values()) > 0
    assert loaded.kv_bytes == sum(loaded.context.buffers.values()) + sum(room.head.buffers.values())
