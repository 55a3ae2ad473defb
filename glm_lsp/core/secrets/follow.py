"""Look through a text that is being edited: only around the change, for the rest is known.

The same places come out as from the whole text. One that was left out as a whole stays so until it is another
text: nobody waits for that again at each keystroke.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

from glm_lsp.core.secrets.scan import MOST_BLOCK_BYTES, Found, find
from glm_lsp.core.values import HeldBack, Span

REACH = 9_000
"""Bytes on both sides of a change in which it can matter; blocks are looked for further away."""
SMALL_BYTES = 4 * REACH
REMEMBERED = 24
_EDGE = b"-----"


class Follower:
    """The last text of each document, with what was found in it."""

    def __init__(self) -> None:
        self._last: OrderedDict[tuple[str, bool], tuple[bytes, Found]] = OrderedDict()

    def find(self, path: str, data: bytes, *, open_: bool) -> Found:
        """As `scan.find`."""
        key = (path, open_)
        before = self._last.pop(key, None)
        found = (
            find(path, data, open_=open_) if before is None else followed(path, *before, data, open_=open_)
        )
        self._last[key] = (data, found)
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return found


def followed(path: str, old: bytes, known: Found, new: bytes, *, open_: bool) -> Found:
    """What is to be held back of `new`, given what was of `old`."""
    if old == new:
        return known
    if known.whole and len(new) * 2 > len(old):
        return known
    if known.whole or len(new) < SMALL_BYTES:
        return find(path, new, open_=open_)
    start = _common(old, new)
    tail = _common(old[start:][::-1], new[start:][::-1])
    first = new.rfind(b"\n", 0, max(0, start - REACH)) + 1
    last = new.find(b"\n", len(new) - tail + REACH)
    last = len(new) if last < 0 else last + 1
    moved = len(new) - len(old)
    near = slice(max(0, first - MOST_BLOCK_BYTES), last + MOST_BLOCK_BYTES)
    cut = any(_across(p.span, first, last - moved) for p in known.places)
    if cut or _EDGE in new[near] or _EDGE in old[near.start : near.stop - moved]:
        return find(path, new, open_=open_)
    found = find(path, new[first:last], open_=open_)
    if found.whole:
        return find(path, new, open_=open_)
    lines, shift = new.count(b"\n", 0, first), new.count(b"\n") - old.count(b"\n")
    return Found(
        (
            *(p for p in known.places if p.span.end <= first),
            *(_moved(p, first, lines) for p in found.places),
            *(_moved(p, moved, shift) for p in known.places if p.span.start >= last - moved),
        )
    )


def _common(a: bytes, b: bytes) -> int:
    """Length of the common beginning."""
    least, most = 0, min(len(a), len(b))
    while least < most:
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def _across(span: Span, first: int, last: int) -> bool:
    return any(span.start < edge < span.end for edge in (first, last))


def _moved(place: HeldBack, by: int, lines: int) -> HeldBack:
    span = Span(place.span.start + by, place.span.end + by)
    return replace(place, span=span, line=place.line + lines)
