"""Look through a text that is being edited: only around the change, for the rest is known.

The same places come out as from the whole text. One that was left out as a whole stays so until it is another
text: nobody waits for that again at each keystroke.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from glm_lsp.core.secrets.allow import kept
from glm_lsp.core.secrets.marker import mask
from glm_lsp.core.secrets.repeat import everywhere, repeated, texts
from glm_lsp.core.secrets.rules import rules
from glm_lsp.core.secrets.scan import MOST_BLOCK_BYTES, Found, find
from glm_lsp.core.text import common_end, common_start
from glm_lsp.core.values import HeldBack, Span

LEAD = 700
"""Bytes before those, which are looked through only to know which brackets are open."""
NEAR, FAR = 2_500, 9_000
"""Bytes on both sides of a change in which it can matter: for most shapes, and for those of `rules.far`.
Blocks are looked for further away."""
SMALL_BYTES = 4 * NEAR
REMEMBERED = 24
LONGEST_WORD = 80
"""Bytes of the longest word of a rule, and more."""
_BLOCK = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a new text that was looked through: bytes `first` to `last`; what follows has moved."""

    first: int
    last: int
    moved: int
    lines: int
    """By how many lines what follows has moved."""


@dataclass(frozen=True, slots=True)
class Veiled:
    """A text, what was found in it, what of that is held back wherever it stands, and the text without it."""

    data: bytes
    found: Found
    allowed: frozenset[str]
    places: tuple[HeldBack, ...]
    shown: bytes


class Follower:
    """The last text of each document, with what was found in it."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, Veiled] = OrderedDict()

    def veiled(self, path: str, data: bytes, allowed: Collection[str] = ()) -> Veiled:
        """The same as from the text alone, whatever was seen before."""
        some = frozenset(allowed)
        before = self._last.pop(path, None)
        if before is not None and before.allowed != some:
            before = None
        if before is not None and before.data == data:
            made = before
        elif before is not None:
            made = _stepped(path, before, data)
        else:
            made = _veiled(data, find(path, data), some)
        self._last[path] = made
        while len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        return made


def followed(path: str, old: bytes, known: Found, new: bytes) -> Found:
    """What is to be held back of `new`, given what was of `old`."""
    return _followed(path, old, known, new)[0]


def _veiled(data: bytes, found: Found, allowed: frozenset[str]) -> Veiled:
    places = everywhere(data, kept(data, found.places, allowed))
    return Veiled(data, found, allowed, places, mask(data, places))


def _stepped(path: str, old: Veiled, new: bytes) -> Veiled:
    found, window = _followed(path, old.data, old.found, new)
    if window is None:
        return _veiled(new, found, old.allowed)
    first, last, moved = window.first, window.last, window.moved
    known = kept(new, found.places, old.allowed)
    values = texts(new, known)
    if values != texts(old.data, kept(old.data, old.found.places, old.allowed)) or any(
        _across(p.span, first, last - moved) for p in old.places
    ):
        return _veiled(new, found, old.allowed)
    part = new[first:last]
    inside = [p for p in known if first <= p.span.start < last]
    line = inside[0].line - new.count(b"\n", first, inside[0].span.start) if inside else 0
    here = tuple(_moved(p, -first, -line) for p in inside)
    here = repeated(part, here, values)
    if here and not inside:
        line = new.count(b"\n", 0, first)
    places = (
        *(p for p in old.places if p.span.end <= first),
        *(_moved(p, first, line) for p in here),
        *(_moved(p, moved, window.lines) for p in old.places if p.span.start >= last - moved),
    )
    shown = b"".join((old.shown[:first], mask(part, here), old.shown[last - moved :]))
    return Veiled(new, found, old.allowed, places, shown)


def _followed(path: str, old: bytes, known: Found, new: bytes) -> tuple[Found, Window | None]:
    """What is found, and where it was looked for; no window where that was everywhere, or nowhere."""
    if old == new or (known.whole and len(new) * 2 > len(old)):
        return known, None
    if known.whole or len(new) < SMALL_BYTES:
        return find(path, new), None
    start = common_start(old, new)
    tail = common_end(old, new, min(len(old), len(new)) - start)
    moved = len(new) - len(old)
    end = len(new) - tail
    first, last = _whole_lines(new, start - FAR, end + FAR)
    # What stands outside of the change is the same in both.
    gone = _whole_lines(old, start - LONGEST_WORD, end - moved + LONGEST_WORD)
    some = new[first:last].lower(), old[slice(*gone)].lower()
    if not any(rules().far.find_matches_as_indexes(text) for text in some):
        first, last = _whole_lines(new, start - NEAR, end + NEAR)
    far = _whole_lines(new, first - MOST_BLOCK_BYTES, last + MOST_BLOCK_BYTES)
    if new.find(_BLOCK, far[0], last) >= 0 or old.find(_BLOCK, *gone) >= 0:
        first, last = far
    if any(_across(p.span, first, last - moved) for p in known.places) or any(
        start < last - moved and end > first for start, end in known.reach
    ):
        return find(path, new), None
    lead, _ = _whole_lines(new, first - LEAD, first)
    found = find(path, new[lead:last], part=lead > 0)
    if found.whole or found.reach or any(_across(p.span, first - lead, last - lead) for p in found.places):
        return find(path, new), None
    shift = new.count(b"\n", start, len(new) - tail) - old.count(b"\n", start, len(old) - tail)
    lines = new.count(b"\n", 0, lead) if found.places else 0
    places = (
        *(p for p in known.places if p.span.end <= first),
        *(_moved(p, lead, lines) for p in found.places if p.span.start >= first - lead),
        *(_moved(p, moved, shift) for p in known.places if p.span.start >= last - moved),
    )
    reach = tuple((a, b) if b <= first else (a + moved, b + moved) for a, b in known.reach)
    return Found(places, reach=reach), Window(first, last, moved, shift)


def _whole_lines(data: bytes, first: int, last: int) -> tuple[int, int]:
    """The range from the line that has `first` to the end of the one that has `last`."""
    end = data.find(b"\n", max(0, last))
    return data.rfind(b"\n", 0, max(0, first)) + 1, len(data) if end < 0 else end + 1


def _across(span: Span, first: int, last: int) -> bool:
    return span.start < first < span.end or span.start < last < span.end


def _moved(place: HeldBack, by: int, lines: int) -> HeldBack:
    return HeldBack(Span(place.span.start + by, place.span.end + by), place.kind, place.line + lines)
