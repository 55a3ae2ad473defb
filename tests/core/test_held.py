"""What is left of a suggestion after some of it was typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.held import MOST_BYTES, MOST_HELD, Asked, Held
from glm_lsp.core.values import Span, Suggestion

BEFORE, AFTER = b"def add(a, b):\n    ", b"\n\nprint(add(1, 2))\n"
LATER = b"class A: pass\n"


def left(
    suggested: str, typed: str, behind: str = "", after: bytes = AFTER, before: bytes = BEFORE
) -> list[str]:
    """What is suggested after `suggested` was, and `typed` came before the cursor and `behind` after it."""
    held = Held()
    held.keep(Asked(BEFORE + AFTER, len(BEFORE)), suggested)
    data = before + typed.encode()
    return [found.text for found in held.find(data + behind.encode() + after, len(data))]


@pytest.mark.parametrize(
    ("suggested", "typed", "behind", "wanted"),
    [
        ("return a + b", "", "", ["return a + b"]),
        ("return a + b", "ret", "", ["urn a + b"]),
        ("return a + b", "return a + b", "", []),
        ("return a + b", "rex", "", []),
        ("return a + b", "return a + b  # sum", "", []),
        ("return sum((a, b))", "return sum(", ")", ["(a, b))"]),
        ("return sum((a, b))", "return sum((", "))", ["a, b))"]),
        ('return {"a": b}', 'return {"', '"}', ['a": b}']),
        ("return a", "ret", ")", []),
        ("return sum(\n    a)", "return sum(", ")", []),
        ("total = a\nreturn total", "total = a\n", "", ["return total"]),
        ("größe = a", "grö", "", ["ße = a"]),
    ],
)
def test_what_is_typed_along_is_taken_off(suggested: str, typed: str, behind: str, wanted: list[str]) -> None:
    assert left(suggested, typed, behind) == wanted


def test_what_takes_the_place_of_closing_signs_covers_them() -> None:
    held = Held()
    held.keep(Asked(BEFORE + AFTER, len(BEFORE)), "return sum((a, b))")
    data = BEFORE + b"return sum("
    assert held.find(data + b")" + AFTER, len(data)) == [
        Suggestion(Span(len(data), len(data) + 1), "(a, b))")
    ]


def test_a_change_anywhere_else_ends_it() -> None:
    assert left("return a", "ret", after=AFTER + b"#") == []
    assert left("return a", "ret", before=b"#" + BEFORE) == []
    assert left("return a", "ret", before=b"def sub(a, b):\n    ") == []


def test_who_comes_back_finds_all_that_was_suggested_newest_first() -> None:
    held = Held()
    asked = Asked(BEFORE + AFTER, len(BEFORE))
    for text in ("return a", "return b", "return a"):
        held.keep(asked, text)
    held.keep(Asked(LATER, len(LATER)), "x = A()")
    assert [s.text for s in held.find(BEFORE + AFTER, len(BEFORE))] == ["return a", "return b"]


def test_what_is_kept_has_bounds() -> None:
    held = Held()
    for n in range(3 * MOST_HELD):
        held.keep(Asked(b"x = ", 4), str(n))
    assert len(held.find(b"x = ", 4)) == MOST_HELD
    large = [bytes([65 + n]) * (MOST_BYTES // 2) for n in range(4)]
    for data in large:
        held.keep(Asked(data, 0), "y")
    assert [bool(held.find(data, 0)) for data in large] == [False, False, True, True]


@given(st.text(max_size=30), st.text(min_size=1, max_size=30), st.text(max_size=30), st.integers(0, 30))
def test_typing_along_always_leaves_the_rest(before: str, suggested: str, after: str, cut: int) -> None:
    asked = Asked((before + after).encode(), len(before.encode()))
    held = Held()
    held.keep(asked, suggested)
    typed, rest = suggested[:cut], suggested[cut:]
    data = (before + typed).encode()
    found = [s.text for s in held.find(data + after.encode(), len(data))]
    assert found == ([rest] if rest.strip() else [])
    assert asked.follows(suggested.encode(), data + after.encode())


@given(st.binary(max_size=12), st.integers(0, 12), st.binary(max_size=16), st.integers(0, 16))
def test_nothing_is_said_of_a_text_that_it_does_not_fit(old: bytes, at: int, new: bytes, cursor: int) -> None:
    """What is suggested, put in place of its span, gives the old text with the suggestion in it."""
    at, cursor = min(at, len(old)), min(cursor, len(new))
    held = Held()
    held.keep(Asked(old, at), "(a)")
    for found in held.find(new, cursor):
        assert (
            new[: found.span.start] + found.text.encode() + new[found.span.end :]
            == old[:at] + b"(a)" + old[at:]
        )
