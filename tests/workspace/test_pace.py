"""How long the rest of an index run takes, as it is told while it runs."""

from __future__ import annotations

from glm_lsp.workspace.run import Pace, Telling


def check(calls: list[tuple[float, int, int]], expected: float | None, *, within: float = 0.1) -> None:
    """After calls of (seconds, done, total) so much time is left."""
    now = 0.0
    pace = Pace(lambda: now)
    said = None
    for now, done, total in calls:  # noqa: B007 (the clock reads it)
        said = pace.left_s(done, total)
    if expected is None:
        assert said is None
    else:
        assert said is not None
        assert abs(said - expected) <= within * expected


def test_a_steady_run_is_told_right_on_a_large_tree() -> None:
    check([(0.002 * n, n, 200_000) for n in range(1, 50_000)], 300)


def test_what_was_known_already_is_no_pace() -> None:
    check([(3.0, 190_000, 200_000), *((3 + 0.01 * n, 190_000 + n, 200_000) for n in range(1, 1000))], 90)


def test_the_start_of_the_first_process_is_no_pace() -> None:
    check([(1.0, 10_000, 20_000), (4.0, 10_001, 20_000), (4.6, 10_002, 20_000)], None)
    check([(1.0, 10_000, 20_000), *((4 + 0.001 * n, 10_001 + n, 20_000) for n in range(2000))], 8)


def test_waiting_for_another_process_is_no_pace() -> None:
    waited = [(0.05 * n, 0, 1000) for n in range(1200)]
    check([*waited, *((60 + 0.01 * n, n, 1000) for n in range(1, 501))], 5)


def test_a_run_that_becomes_slower_is_told_by_how_it_goes_lately() -> None:
    fast = [(0.001 * n, n, 40_000) for n in range(1, 20_000)]
    check([*fast, *((20 + 0.01 * n, 20_000 + n, 40_000) for n in range(1, 4000))], 160)


def test_nothing_is_told_before_anything_is_done() -> None:
    check([(0.0, 0, 10), (5.0, 0, 10)], None)
    check([(5.0, 7, 10)], None)


def test_a_clock_that_stands_still_divides_by_nothing() -> None:
    check([(5.0, n, 10) for n in range(10)], None)


def test_what_is_told_names_no_time_before_it_can_be_known_and_says_that_it_saves() -> None:
    now = 0.0
    telling = Telling(lambda: now)
    said: list[str] = [telling.text(0, 0)]
    for now, done in ((1.0, 0), (2.0, 1), (2.1, 30), (2.2, 60), (4.2, 400), (6.2, 800), (8.0, 1000)):  # noqa: B007
        said.append(telling.text(done, 1000))
    assert said == [
        "listing files",
        "0 of 1,000 files",
        "1 of 1,000 files",
        "30 of 1,000 files",
        "60 of 1,000 files",
        "400 of 1,000 files, 3 s left",
        "800 of 1,000 files, 1 s left",
        "1,000 files, saving",
    ]
