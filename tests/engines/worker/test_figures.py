"""Forecasts out of what was measured: exact where it was, a line elsewhere, and honest about nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.engines.worker.figures import DEPTHS, GUESS_TOKENS_S, Costs, Figures

BATCH = 256


def cost(depth: float) -> float:
    """Seconds a token on a machine where attention costs what there is to attend to."""
    return 0.004 + 3.4e-6 * depth


def read(figures: Figures, start: int, end: int) -> float:
    """Read a prompt's part in batches; return how long it took."""
    seconds = 0.0
    at = start
    while at < end:
        stop = min((at // BATCH + 1) * BATCH, end)
        took = (stop - at) * cost((at + stop) / 2)
        figures.read(at, stop - at, took)
        seconds += took
        at = stop
    return seconds


@pytest.mark.parametrize(
    ("measured", "asked"),
    [
        ((0, 8192), (0, 8192)),
        ((0, 8192), (3000, 7000)),
        ((0, 4096), (4096, 32_768)),
        ((0, 32_768), (8192, 16_384)),
        ((2048, 6144), (0, 1024)),
    ],
)
def test_a_prompts_time_is_foretold_from_other_depths(
    measured: tuple[int, int], asked: tuple[int, int]
) -> None:
    figures = Figures(BATCH)
    read(figures, *measured)
    true = sum(cost(depth) for depth in range(*asked))
    assert figures.prefill_s(*asked) == pytest.approx(true, rel=0.25 if asked[0] >= measured[0] else 2)


def test_what_was_not_measured_is_not_foretold_but_guessed_where_that_helps() -> None:
    figures = Figures(BATCH)
    assert figures.prefill_s(0, 1000) == figures.batch_s(0, 256, writing=False) == -1.0
    assert figures.batch_s(0, 1, writing=True) == figures.eta_error == -1.0
    assert figures.evaluate_s(200, 1000) == 800 / GUESS_TOKENS_S
    assert figures.prefill_s(1000, 1000) == figures.evaluate_s(1000, 400) == 0.0
    assert figures.speeds == ()


def test_a_machine_that_has_become_slower_is_believed_soon() -> None:
    costs = Costs()
    for _ in range(1000):
        costs.add(100, 256, 1.0)
    for _ in range(150):
        costs.add(100, 256, 2.0)
    assert costs.seconds(0, 256) == pytest.approx(2.0, rel=0.05)


def test_short_batches_do_not_spoil_the_speed_of_long_ones() -> None:
    figures = Figures(BATCH)
    read(figures, 0, 4096)
    before = figures.prefill_s(0, 4096)
    for _ in range(500):
        figures.read(3000, 4, 0.5)
    assert figures.prefill_s(0, 4096) == pytest.approx(before)
    assert figures.prefill_s(3000, 3004) == pytest.approx(0.5)
    assert 0.5 < figures.prefill_s(3000, 3010) < 1.0 < figures.prefill_s(3000, 3120) < before / 16


def test_who_was_read_in_pieces_only_is_foretold_by_them() -> None:
    figures = Figures(BATCH)
    figures.wrote(0, 1, 0.1)
    assert figures.prefill_s(0, 4 * BATCH) == -1.0
    figures.read(0, 16, 0.3)
    figures.read(16, 32, 0.4)
    assert figures.prefill_s(0, 4 * BATCH) == pytest.approx(4 * BATCH / 32 * 0.4)
    read(figures, 0, 4096)
    assert figures.prefill_s(0, 4096) == pytest.approx(figures.reading.seconds(0, 4096))


def test_a_call_of_any_size_is_foretold_from_smaller_and_larger_ones() -> None:
    figures = Figures(BATCH)
    figures.wrote(0, 1, 0.1)
    assert figures.piece_s(0, 8) == pytest.approx(0.8), "nothing larger is known"
    figures.wrote(0, 9, 0.5, fed=10)
    assert figures.piece_s(0, 1) == pytest.approx(0.1), "what drafts took says nothing of one token"
    figures.read(0, BATCH, 1.6)
    assert figures.piece_s(0, 16) == pytest.approx(0.4)
    assert figures.piece_s(0, BATCH) == pytest.approx(1.6)


def test_speeds_by_depth_count_what_came_out() -> None:
    figures = Figures(BATCH)
    figures.read(0, 256, 0.5)
    figures.read(2048, 256, 1.0)
    figures.wrote(100, 1, 0.1)
    figures.wrote(2300, 4, 0.2)
    assert [(s.depth, s.prefill, s.decode) for s in figures.speeds] == [
        (0, pytest.approx(512), pytest.approx(10)),
        (2048, pytest.approx(256), pytest.approx(20)),
    ]
    assert figures.batch_s(2300, 1, writing=True) == pytest.approx(0.2, rel=0.01)


def test_the_error_of_the_forecasts_is_their_mean() -> None:
    figures = Figures(BATCH)
    for forecast, true in ((1.0, 2.0), (2.0, 2.0), (-1.0, 5.0), (3.0, 2.0)):
        figures.foretold(forecast, true)
    assert figures.eta_error == pytest.approx((0.5 + 0 + 0.5) / 3)


@given(
    measured=st.lists(
        st.tuples(st.integers(0, 2 * DEPTHS[-1]), st.integers(1, 4096), st.floats(1e-6, 1e3)), min_size=1
    ),
    start=st.integers(0, DEPTHS[-1]),
    size=st.integers(0, 200_000),
)
def test_forecasts_are_sane_whatever_was_measured(
    measured: list[tuple[int, int, float]], start: int, size: int
) -> None:
    costs = Costs()
    for depth, tokens, seconds in measured:
        costs.add(depth, tokens, seconds)
    assert costs.seconds(start, start) == 0
    whole = costs.seconds(start, start + size)
    dearest = max(seconds / tokens for _, tokens, seconds in measured)
    assert whole >= 0
    if start + size <= max(depth for depth, _, _ in measured):
        assert whole <= size * dearest * 1.01 + 1e-9
