"""Hunks, log entries and windows: the ledger's parts, each by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Ledger, Window, anchor, hunks, moved_line, place_window, with_edits

LINES = st.lists(st.sampled_from(["a", "b", "c", "", "    d"]), min_size=1, max_size=12).map(tuple)


def count(text: str) -> int:
    return len(text)


def empty(**named: object) -> Ledger:
    start = ledgers.begin(1, 10_000, "System.\n", blocks=(), files={}, count=count)
    return replace(start, **named)  # type: ignore[arg-type]


@given(LINES, LINES)
def test_hunks_turn_the_old_into_the_new(old: tuple[str, ...], new: tuple[str, ...]) -> None:
    now = list(old)
    for hunk in reversed(hunks(old, new)):
        assert list(new[hunk.new_start : hunk.new_start + len(hunk.added)]) == list(hunk.added)
        now[hunk.start : hunk.start + hunk.removed] = hunk.added
    assert tuple(now) == new


@given(LINES, LINES, LINES)
def test_reading_the_log_from_its_start_gives_the_current_text(
    first: tuple[str, ...], second: tuple[str, ...], third: tuple[str, ...]
) -> None:
    ledger = ledgers.follow(empty(), "a.py", first)
    for lines in (second, third):
        ledger = with_edits(ledger, "a.py", lines, count)
    now = list(first)
    for segment in ledger.log[1:]:
        head, *body = segment.text.split("\n")[:-1]
        found = re.fullmatch(r"== a\.py line (\d+) -(\d+) \+(\d+)", head)
        assert found and int(found[3]) == len(body)
        now[int(found[1]) - 1 : int(found[1]) - 1 + int(found[2])] = body
    assert tuple(now) == third == ledger.tracked["a.py"]


@given(LINES, LINES)
def test_a_log_only_grows(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    old = with_edits(ledgers.follow(empty(), "a.py", first), "a.py", second, count)
    new = with_edits(old, "a.py", first, count)
    assert new.log[: len(old.log)] == old.log and new.head == old.head


def test_typing_waits_in_the_window_and_other_edits_do_not() -> None:
    old = tuple(f"line {n}" for n in range(60))
    new = ("changed", *old[1:30], "typed", *old[31:])
    window = Window("a.py", 20, 30, new)
    ledger = with_edits(ledgers.follow(empty(window=window), "a.py", old), "a.py", new, count, typing=True)
    assert [s.text for s in ledger.log] == [ledgers.layout.LOG_TITLE, "== a.py line 1 -1 +1\nchanged\n"]
    later = with_edits(ledger, "a.py", new, count)
    assert later.log[-1].text == "== a.py line 31 -1 +1\ntyped\n"


def test_a_large_change_is_one_hunk() -> None:
    old = tuple(f"old {n}" for n in range(1000))
    new = tuple(f"new {n}" for n in range(1000))
    (hunk,) = hunks(old, new)
    assert (hunk.start, hunk.removed, len(hunk.added)) == (0, 1000, 1000)


@pytest.mark.parametrize(
    ("old", "new", "line", "moved"),
    [
        ("abcde", "abcde", 3, 3),
        ("abcde", "xabcde", 3, 4),
        ("abcde", "cde", 3, 1),
        ("abcde", "abcdexx", 3, 3),
        ("abcde", "a", 3, 0),
    ],
)
def test_lines_move_with_the_edits_above_them(old: str, new: str, line: int, moved: int) -> None:
    assert moved_line(line, tuple(old), tuple(new)) == moved


def check_window(
    ledger: Ledger, lines: Sequence[str], cursor: int, start: int, *, most: int = 40, room: int = 10_000
) -> Ledger:
    """A window for the cursor's line begins at line `start`; definitions begin at each tenth line."""
    placed = place_window(
        ledger,
        "a.py",
        tuple(lines),
        starts=range(0, len(lines), 10),
        cursor_line=cursor,
        most_lines=most,
        fits=lambda first: sum(map(len, lines[first:cursor])) <= room,
    )
    assert placed.window and placed.window.start_line == start
    return placed


LONG = [f"line {n:3}" for n in range(200)]


def test_a_window_begins_at_a_definition() -> None:
    check_window(empty(), LONG, 105, 90)
    check_window(empty(), LONG, 5, 0)


def test_a_window_stays_while_the_cursor_goes_down_and_moves_when_it_is_too_long() -> None:
    ledger = check_window(empty(), LONG, 105, 90)
    ledger = check_window(ledger, LONG, 110, 90)
    ledger = check_window(ledger, LONG, 130, 90)
    check_window(ledger, LONG, 131, 120)


def test_a_window_moves_with_the_lines_above_it() -> None:
    ledger = check_window(empty(), LONG, 105, 90)
    check_window(ledger, ["new", "new", *LONG], 107, 92)


def test_a_window_moves_when_the_cursor_leaves_it_upwards() -> None:
    check_window(check_window(empty(), LONG, 105, 90), LONG, 50, 30)


def test_a_window_shrinks_to_its_room() -> None:
    check_window(empty(), LONG, 105, 100, room=8 * 8)
    check_window(empty(), LONG, 105, 105, room=0)


@given(st.lists(st.sampled_from(["", "a", "  b"]), min_size=1, max_size=40), st.data())
def test_an_anchor_is_never_below_the_cursor(lines: list[str], data: st.DataObject) -> None:
    cursor = data.draw(st.integers(0, len(lines) - 1))
    starts = data.draw(st.lists(st.integers(0, 60)).map(sorted))
    assert 0 <= anchor(lines, starts, cursor, data.draw(st.integers(0, 30))) <= cursor
