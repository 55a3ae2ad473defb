"""Where an answer stands in search and replace blocks, and which line of a text it copies."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.blocks import MIDDLE, REPLACE, SEARCH
from glm_lsp.engines.worker.forms import Beginning, Beginnings, Blocks, Marks, Turn

PIECES = (
    "",
    *re.findall(r"\w+| |[<>=]+\n?|\n+|\S", f"{SEARCH}\n{MIDDLE}\n{REPLACE}\n\n"),
    "a",
    "b",
    "<",
    "=",
)
"""Tokens by their numbers: the marks' own, some that only look like them, and two of code."""
NUMBERS = {text: number for number, text in enumerate(PIECES)}


def encode(text: str) -> list[int]:
    """Greedy, the longest token first."""
    found: list[int] = []
    while text:
        best = max((p for p in NUMBERS if p and text.startswith(p)), key=len)
        found.append(NUMBERS[best])
        text = text[len(best) :]
    return found


MARKS = Marks(PIECES.__getitem__, encode)


def turns(text: str, blocks: Blocks | None = None) -> list[tuple[str, Turn]]:
    """Each turn with what had been written by then."""
    blocks = blocks or Blocks(MARKS)
    found: list[tuple[str, Turn]] = []
    written = ""
    for at, token in enumerate(encode(text)):
        written += PIECES[token]
        if (turn := blocks.take(token, at)) is not Turn.NONE:
            found.append((written, turn))
    return found


@pytest.mark.parametrize("searched", ["a\n", "a\nb\n", "\na\n", "\n\na\n", "<\n=\n"])
def test_a_block_is_followed_through_its_marks(searched: str) -> None:
    blocks = Blocks(MARKS)
    head = f"{SEARCH}\n{searched}"
    found = turns(f"{head}{MIDDLE}\nb\n{REPLACE}\n", blocks)
    kinds = [turn for _, turn in found]
    assert kinds == [Turn.SEARCHES, Turn.BEGINS, Turn.REPLACES, Turn.CLOSES]
    tokens = encode(f"{head}{MIDDLE}\n")
    assert "".join(PIECES[t] for t in tokens[blocks.start : blocks.end]) == f"\n{searched}"
    again = "".join(PIECES[t] for t in tokens[blocks.again : blocks.end])
    # An empty line may lie inside of a token that has been written.
    assert again.lstrip("\n") == searched.lstrip("\n")


def test_text_outside_of_blocks_is_none_of_its_business() -> None:
    assert turns(f"a\n{MIDDLE}\nb\n{REPLACE}\na\n") == []


def test_two_blocks() -> None:
    block = f"{SEARCH}\na\n{MIDDLE}\nb\n{REPLACE}\n"
    kinds = [turn for _, turn in turns(block + block)]
    assert kinds == [Turn.SEARCHES, Turn.BEGINS, Turn.REPLACES, Turn.CLOSES] * 2


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=80))
def test_whatever_is_written_places_stay_inside_of_it(tokens: list[int]) -> None:
    blocks = Blocks(MARKS)
    for at, token in enumerate(tokens):
        turn = blocks.take(token, at)
        if turn is Turn.REPLACES:
            assert 0 <= blocks.start <= at
            assert blocks.end <= at
            assert blocks.start <= blocks.again <= at + 1


class TestBeginnings:
    TEXT = "a b\na a\nb\na b\nb b\n"

    def of(self, after: int = 0) -> Beginnings:
        found = Beginnings(np.asarray(encode(self.TEXT), np.int32), PIECES.__getitem__)
        found.after = after
        found.restart()
        return found

    def test_the_first_line_that_begins_so(self) -> None:
        lines = self.of()
        assert lines.take(NUMBERS["a"]) == Beginning(1, 1, 3)
        lines.take(NUMBERS[" "])
        assert lines.take(NUMBERS["a"]) == Beginning(7, 3, 1)

    def test_not_before_the_place_where_the_last_one_ended(self) -> None:
        assert self.of(after=5).take(NUMBERS["a"]) == Beginning(11, 1, 1)

    def test_all_lie_behind(self) -> None:
        """One of them is better than none, and not as good."""
        assert self.of(after=14).take(NUMBERS["a"]) == Beginning(1, 1, 5)

    def test_no_line_begins_so(self) -> None:
        lines = self.of()
        assert lines.take(NUMBERS["="]) is None
        assert not lines.active

    @given(st.lists(st.integers(1, len(PIECES) - 1), max_size=40), st.lists(st.integers(1, 6), max_size=20))
    def test_what_is_found_has_been_written(self, source: list[int], written: list[int]) -> None:
        lines = Beginnings(np.asarray(source, np.int32), PIECES.__getitem__)
        lines.restart()
        for count, token in enumerate(written, start=1):
            if not lines.active:
                break
            found = lines.take(token)
            if found is not None:
                start = found.next - found.length
                assert source[start : found.next] == written[:count]
                assert start == 0 or "\n" in PIECES[source[start - 1]]
