"""However often it is interrupted, a job gets on; and what nobody interrupts is read in whole batches."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.pieces import INTERRUPTED_S, MOST_IN_A_ROW, Pieces

BATCH = 256


def experts(size: int) -> float:
    """Seconds of so many tokens on a mixture of experts at home: the first ones are the dearest."""
    used = 256 * (1 - (1 - 8 / 256) ** size)
    return 0.25 * (17.4 + 2.83 * used) / (17.4 + 2.83 * 8) + 0.002 * size


class Typist:
    """A job that is interrupted after each gap, as `Loop` does it: unless the call is soon over, or firm."""

    def __init__(self, gaps: list[float], *, measured: bool, batch: int = BATCH) -> None:
        self.figures = Figures(batch)
        if measured:
            for size in (1, 12, batch):
                self.figures.read(0, size, experts(size))
        self.pieces = Pieces(batch, lambda size: self.figures.piece_s(0, size))
        self.gaps = itertools.cycle(gaps)
        self.batch = batch
        self.done = self.lost_in_a_row = 0
        self.ends: list[int] = []
        self.waits: list[float] = []

    def read(self, target: int, most_calls: int = 100_000) -> bool:
        left = next(self.gaps)
        for _ in range(most_calls):
            end = self.pieces.end(self.done, target)
            size = end - self.done
            takes = experts(size)
            if takes > left:
                foretold = self.figures.batch_s(0, size, writing=False)
                left_s = abs(foretold - left) if foretold >= 0 else 1e9
                if not self.pieces.firm and left_s > INTERRUPTED_S:
                    self.pieces.interrupted(size, left)
                    self.pieces.paused()
                    self.lost_in_a_row += 1
                    assert self.lost_in_a_row <= MOST_IN_A_ROW
                    left = next(self.gaps)
                    continue
                self.waits.append(takes - left)
            self.figures.read(self.done, size, takes)
            self.pieces.finished(takes)
            if takes > left:
                self.pieces.paused()
                left = next(self.gaps) + takes
            left -= takes
            self.lost_in_a_row = 0
            self.done = end
            self.ends.append(end)
            if end == target:
                return True
        return False


def test_what_is_not_interrupted_is_read_in_whole_batches() -> None:
    typist = Typist([1e9], measured=True)
    assert typist.read(1000)
    assert typist.ends == [256, 512, 768, 1000]


@pytest.mark.parametrize("measured", [False, True])
@pytest.mark.parametrize("gap", [0.1, 0.35, 1.0, 3.0])
def test_a_batch_that_takes_longer_than_the_gaps_between_keystrokes_is_read_all_the_same(
    gap: float, measured: bool
) -> None:
    assert experts(BATCH) > 3.0
    typist = Typist([gap], measured=measured)
    assert typist.read(2048)


def test_a_keystroke_waits_for_little_once_speeds_are_known() -> None:
    typist = Typist([0.4], measured=True)
    assert typist.read(2048)
    assert max(typist.waits, default=0) <= INTERRUPTED_S + experts(1)


def test_after_the_typing_whole_batches_come_back() -> None:
    typist = Typist([0.4] * 40 + [1e9], measured=True)
    assert typist.read(8192)
    assert typist.ends[-8:] == [8192 - 256 * n for n in range(7, -1, -1)]


def test_one_that_is_always_lost_is_waited_for_in_the_end() -> None:
    pieces = Pieces(BATCH, lambda _: 0.001)
    for number in range(MOST_IN_A_ROW):
        assert not pieces.firm, number
        pieces.interrupted(pieces.end(0, BATCH), 5.0)
    assert pieces.firm
    pieces.finished(1.0)
    assert not pieces.firm


@given(
    batch=st.integers(1, 600),
    gaps=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=20),
    target=st.integers(1, 3000),
    measured=st.booleans(),
)
def test_whatever_the_gaps_each_token_is_read_once_and_no_piece_crosses_a_batch(
    batch: int, gaps: list[float], target: int, measured: bool
) -> None:
    typist = Typist(gaps, measured=measured, batch=batch)
    assert typist.read(target)
    for start, end in itertools.pairwise((0, *typist.ends)):
        assert start < end
        assert (end - 1) // batch == start // batch


@given(start=st.integers(0, 3).map(lambda n: BATCH * n), rest=st.integers(1, 700))
def test_no_small_rest_is_left_by_pieces_that_need_not_be_small(start: int, rest: int) -> None:
    pieces = Pieces(BATCH, lambda size: 9.0 if size > 64 else 0.001)
    pieces.interrupted(BATCH, 1.0)
    target = start + rest
    assert pieces.most == 64
    while start < target:
        end = pieces.end(start, target)
        assert end - start >= 64 or (start % BATCH == 0 and end == target)
        assert pieces.even(start, end, target)
        start = end


def test_small_pieces_are_known_as_such() -> None:
    pieces = Pieces(BATCH, lambda _: 0.0)
    assert not pieces.even(0, 32, 1000)
    assert not pieces.even(256, 263, 300)
    assert pieces.even(256, 263, 263)
    assert pieces.even(0, 256, 1000)
