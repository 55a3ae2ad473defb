"""Short windows, what a trunk shows, and what a turn costs: the parts of budgets that tell files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_lsp.core import layout, lean
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.hunks import hunks
from glm_lsp.core.ledger import Ledger, Window
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


def test_the_suffix_is_what_follows_up_to_a_line_that_says_something() -> None:
    assert lean.suffix_of((")", "", "b", "c", "d")) == (")", "", "b")
    assert lean.suffix_of((")", "a", "b", "c")) == (")", "a")
    assert lean.suffix_of(("b)", "", "c")) == ("b)",)
    assert lean.suffix_of(("", "", "", "", "c")) == ("", "", "")
    assert lean.suffix_of(("",)) == ("",)
    assert lean.suffix_of(("é" * 200, "b")) == ("é" * (lean.MOST_REST_BYTES // 2) + lean.CLIPPED,)


def begun(shown: tuple[int, int] | None = None) -> Ledger:
    """An epoch whose head shows so many lines of LONG."""
    blocks = ()
    if shown is not None:
        text = "".join(f"{line}\n" for line in LONG[slice(*shown)])
        source = layout.source_block("a.py", shown[0], shown[1] - 1, text)
        blocks = (replace(block(source), kind=BlockKind.BODY),)
    start = ledgers.begin(1, 10_000, "System.\n", blocks=blocks, files={"a.py": LONG}, count=count)
    return ledgers.follow(start, "a.py", LONG)


def place(
    ledger: Ledger, lines: tuple[str, ...], cursor: int, before: str = "", old: Window | None = None
) -> Ledger:
    """A tail at the end of a line, or after `before` on it."""
    before = before or lines[cursor]
    after = lean.suffix_of((lines[cursor][len(before) :], *lines[cursor + 1 :]))
    placed = lean.place(
        ledger,
        "a.py",
        lines,
        after=after,
        before=before,
        language="python",
        old=old,
        stands=old is not None,
        starts=(),
        cursor_line=cursor,
        fits=lambda start: True,
        inside=lambda line: "here",
        turn=True,
    )
    placed = lean.bound(ledgers.with_edits(placed, "a.py", lines, count, typing=True))
    assert placed.window is not None and placed.window.after == after
    return placed


@pytest.mark.parametrize(
    ("shown", "lines_before", "title"),
    [((0, 200), 1, "a.py line 100 -2"), ((0, 50), 8, "a.py line 93 -9 in here")],
)
def test_a_tail_is_short_where_the_trunk_shows_the_rest(
    shown: tuple[int, int], lines_before: int, title: str
) -> None:
    window = place(begun(shown), LONG, 100).window
    assert window and window.start_line == 100 - lines_before and window.at == title


def typed_at(ledger: Ledger, cursor: int, text: str) -> tuple[Ledger, tuple[str, ...]]:
    """Text put in place of a line, and asked at its end."""
    lines = (*LONG[:cursor], *text.split("\n"), *LONG[cursor + 1 :])
    return place(ledger, lines, cursor + text.count("\n")), lines


@pytest.mark.parametrize("text", ["new", "two\nlines", "", "```"])
def test_what_was_typed_is_left_in_the_log_as_it_was_read(text: str) -> None:
    ledger, lines = typed_at(begun((0, 200)), 100, text)
    assert ledger.window and ledger.log == ()
    tail, stood = ledger.window.tail, ledgers.left(ledger, count)
    texts = [segment.text for segment in stood.log]
    assert texts == [tail.instruction, tail.prefill, f"\n{tail.stop}"] and stood.window is None
    assert stood.tracked["a.py"] == lines and stood.shown["a.py"] == ((0, 200 + text.count("\n")),)
    assert ledgers.evaluated(stood, ledger) == 0
    near = place(stood, lines, 104, old=ledger.window).window
    far = place(stood, lines, 140, old=ledger.window).window
    assert near and near.start_line == 104 and near.at == "line 105 -1"
    assert far and far.start_line == 139 and far.at == "line 140 -2"


def test_a_place_that_was_only_looked_at_leaves_nothing() -> None:
    assert ledgers.left(place(begun((0, 200)), LONG, 100), count).log == ()


@pytest.mark.parametrize(
    ("lines", "cursor", "goes_on"),
    [
        ((*LONG[:100], "line 100 and more", *LONG[101:]), 100, True),
        ((*LONG[:101], "new", *LONG[101:]), 101, True),
        ((*LONG[:50], "new", *LONG[50:]), 101, False),
        ((*LONG[:150], "new", *LONG[150:]), 100, False),
        (LONG, 101, False),
        (LONG, 98, False),
    ],
)
def test_a_tail_goes_on_where_only_what_it_shows_has_changed(
    lines: tuple[str, ...], cursor: int, goes_on: bool
) -> None:
    ledger = place(begun((0, 200)), LONG, 100)
    after = lean.suffix_of(("", *lines[cursor + 1 :]))
    assert lean.stays(ledger, "a.py", lines, cursor, after) is goes_on


def test_a_very_long_line_is_shown_in_part_and_told_when_it_is_left() -> None:
    line = "x" * 1000
    lines = (*LONG[:100], line, *LONG[101:])
    ledger = place(begun((0, 200)), lines, 100, before=line[:700])
    window = ledger.window
    assert window and window.tail.prefill == f"```python\n{lean.CLIPPED}{line[: lean.CLIPPED_BYTES]}"
    assert window.tail.instruction.endswith(f"```\n{line[: lean.MOST_REST_BYTES]}{lean.CLIPPED}\n```\n")
    assert ledgers.left(ledger, count).log == ()
    told = place(ledgers.left(ledger, count), lines, 150)
    assert told.log[-1].text == f"== a.py line 101 -1 +1\n{line}\n"


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
