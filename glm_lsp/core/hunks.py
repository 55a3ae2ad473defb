"""What turns lines into other lines, in as few lines as can be found while somebody types."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

LARGEST_DIFF_LINES = 400
"""A longer changed stretch is first cut at lines that stand in it once; with none, it is one hunk."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """`removed` lines from `start` on of the old text became `added`, from `new_start` on in the new."""

    start: int
    removed: int
    added: tuple[str, ...]
    new_start: int


def hunks(old: Sequence[str], new: Sequence[str]) -> tuple[Hunk, ...]:
    """What turns `old` lines into `new` ones, in the order of the file."""
    start, least = 0, min(len(old), len(new))
    while start < least and old[start] == new[start]:
        start += 1
    tail = 0
    while tail < least - start and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    before, after = old[start : len(old) - tail], new[start : len(new) - tail]
    if not before and not after:
        return ()
    if not before or not after:
        return (Hunk(start, len(before), tuple(after), start),)
    if max(len(before), len(after)) <= LARGEST_DIFF_LINES:
        return tuple(
            Hunk(start + i1, i2 - i1, tuple(after[j1:j2]), start + j1)
            for tag, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
            if tag != "equal"
        )
    found: list[Hunk] = []
    ends = [*_anchors(before, after), (len(before), len(after))]
    i, j = 0, 0
    if len(ends) == 1:
        return (Hunk(start, len(before), tuple(after), start),)
    for i2, j2 in ends:
        for hunk in hunks(before[i:i2], after[j:j2]):
            first, at = start + i + hunk.start, start + j + hunk.new_start
            found.append(Hunk(first, hunk.removed, hunk.added, at))
        i, j = i2 + 1, j2 + 1
    return tuple(found)


def _anchors(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Lines that stand once in each, as pairs of their numbers, in an order that holds in both."""
    counts, places = Counter(old), Counter(new)
    numbers = {line: n for n, line in enumerate(new)}
    pairs = [(n, numbers[line]) for n, line in enumerate(old) if counts[line] == 1 == places[line]]
    tops: list[int] = []
    last: list[int] = []
    before: list[int] = []
    for k, (_, number) in enumerate(pairs):
        at = bisect_left(tops, number)
        before.append(last[at - 1] if at else -1)
        if at == len(tops):
            tops.append(number)
            last.append(k)
        else:
            tops[at], last[at] = number, k
    found: list[tuple[int, int]] = []
    k = last[-1] if last else -1
    while k >= 0:
        found.append(pairs[k])
        k = before[k]
    return found[::-1]


def moved_line(line: int, old: Sequence[str], new: Sequence[str]) -> int:
    """Where the line number `line` of `old` is in `new`: edits above it shift it."""
    shift = 0
    for hunk in hunks(old, new):
        if hunk.start + hunk.removed <= line and hunk.start < line:
            shift += len(hunk.added) - hunk.removed
    return max(0, min(line + shift, len(new) - 1))
