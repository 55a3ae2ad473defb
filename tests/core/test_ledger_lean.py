"""Short windows, what a trunk shows, and what a turn costs: the parts of budgets that tell files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_lsp.core import layout, lean
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.hunks import hunks
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.shown import covers, missing, with_blocks
from glm_lsp.core.values import Block, BlockKind, Span

LONG = tuple(f"line {n:3}" for n in range(200))


def count(text: str) -> int:
    return len(text)


def block(text: str, path: str = "a.py") -> Block:
    return Block(BlockKind.LOG, path, Span(0, 0), text, len(text))


SOURCE = layout.source_block("a.py", 2, 4, "a\nb\nc")


@pytest.mark.parametrize(
    ("texts", "ranges"),
    [
        ((SOURCE,), ((2, 5),)),
        ((SOURCE, layout.log_entry("a.py", 0, 0, "x\ny\n")), ((0, 2), (4, 7))),
        ((SOURCE, layout.log_entry("a.py", 3, 1, "")), ((2, 4),)),
        ((SOURCE, layout.outdated("a.py")), ()),
    ],
)
def test_the_lines_that_blocks_tell(texts: tuple[str, ...], ranges: tuple[tuple[int, int], ...]) -> None:
    assert with_blocks({}, [block(text) for text in texts])["a.py"] == ranges


def test_what_is_missing_of_a_stretch() -> None:
    assert covers(((2, 5),), 2, 4)
    assert not covers(((2, 5),), 2, 5)
    assert missing(((2, 5),), 0, 9) == (0, 9)
    assert missing(((0, 5),), 1, 6) == (5, 6)
    assert missing(((0, 9),), 1, 6) is None


def test_the_suffix_is_the_rest_of_the_line_and_two_lines_that_say_something() -> None:
    assert lean.suffix_of((")", "", "b", "c", "d")) == (")", "", "b", "c")
    assert lean.suffix_of((")", "a", "b", "c")) == (")", "a", "b")
    assert lean.suffix_of(("",)) == ("",)


def begun(shown: tuple[int, int] | None = None) -> Ledger:
    """An epoch whose head shows so many lines of LONG."""
    blocks = ()
    if shown is not None:
        text = "".join(f"{line}\n" for line in LONG[slice(*shown)])
        source = layout.source_block("a.py", shown[0], shown[1] - 1, text)
        blocks = (replace(block(source), kind=BlockKind.BODY),)
    start = ledgers.begin(1, 10_000, "System.\n", blocks=blocks, files={"a.py": LONG}, count=count)
    return ledgers.follow(start, "a.py", LONG)


def place(ledger: Ledger, lines: tuple[str, ...], cursor: int) -> Ledger:
    after = lean.suffix_of(("", *lines[cursor + 1 :]))
    placed = lean.place(
        ledger,
        "a.py",
        lines,
        after=after,
        starts=(),
        cursor_line=cursor,
        most_lines=120,
        fits=lambda start: True,
        inside=lambda line: "here",
    )
    assert placed.window is not None and placed.window.after == after
    return placed


def test_a_window_is_short_where_the_trunk_shows_the_rest() -> None:
    window = place(begun((0, 200)), LONG, 100).window
    assert window and window.start_line == 100 - lean.LINES_SEEN and window.at == " line 99"
    window = place(begun((0, 50)), LONG, 100).window
    assert (
        window
        and window.start_line == 100 - lean.MOST_UNSEEN
        and window.at == f" line {101 - lean.MOST_UNSEEN} in here"
    )


def test_what_stands_above_stays_for_a_gap_close_below_and_not_for_one_above_or_far_below() -> None:
    ledger = place(begun((0, 200)), LONG, 100)
    for cursor, stays in ((100, True), (104, True), (99, False), (140, False)):
        window = place(ledger, LONG, cursor).window
        assert window and (window.at == " line 99") is stays, cursor


def test_a_file_that_changed_in_many_places_is_outdated_and_told_no_more() -> None:
    ledger = begun((0, 200))
    changed = tuple(line.upper() for line in LONG)
    after = ledgers.with_edits(ledger, "a.py", changed, count, most=100)
    assert [s.text for s in after.log] == [layout.LOG_TITLE, "== a.py is outdated\n"]
    assert after.shown["a.py"] == () and "a.py" not in after.tracked and after.told_of("a.py") == ()
    few = ledgers.with_edits(ledger, "a.py", ("new", *LONG), count, most=100)
    assert few.log[-1].text == "== a.py line 1 -0 +1\nnew\n"


def test_what_was_told_before_is_read_before() -> None:
    old = ledgers.with_edits(begun((0, 200)), "a.py", ("new", *LONG), count)
    start = ledgers.folded(old, 2)
    assert start is not None and start.log == () and start.tracked["a.py"] == LONG
    assert ledgers.evaluated(start, old) == 0
    assert ledgers.evaluated(old, start) == old.log_tokens


def test_a_turn_pays_when_much_of_the_log_was_read_often() -> None:
    ledger = ledgers.with_edits(begun((0, 200)), "a.py", (*LONG[:50], *LONG[150:]), count)
    assert not ledgers.pays(replace(ledger, requests=100))
    assert ledgers.pays(replace(ledger, requests=100_000))
    some = replace(ledger, requests=2_000)
    assert ledgers.pays(some, idle=True) and not ledgers.pays(some)


def test_changes_far_apart_in_a_long_file_stay_small() -> None:
    old = tuple(f"{n}" if n % 2 else "" for n in range(3000))
    new = (*old[:5], "here", *old[6:2900], "there", *old[2900:])
    assert [(h.start, h.removed, h.added) for h in hunks(old, new)] == [
        (5, 1, ("here",)),
        (2900, 0, ("there",)),
    ]
