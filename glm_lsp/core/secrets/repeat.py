"""Where a text that is held back stands a second time, with nothing beside it that says what it is. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

from glm_lsp.core.values import HeldBack, Span

LEAST_BYTES, MOST_VALUES = 8, 64
_WORD = re.compile(rb"[A-Za-z0-9_]")


def everywhere(data: bytes, places: tuple[HeldBack, ...]) -> tuple[HeldBack, ...]:
    """The places, and those where the same texts stand again as whole words; in order."""
    return repeated(data, places, texts(data, places))


def texts(data: bytes, places: tuple[HeldBack, ...]) -> dict[bytes, str]:
    """What is looked for everywhere, with its kind."""
    kinds: dict[bytes, str] = {}
    for place in places:
        value = data[place.span.start : place.span.end]
        if len(value) >= LEAST_BYTES and b"\n" not in value and len(kinds) < MOST_VALUES:
            kinds.setdefault(value, place.kind)
    return kinds


def repeated(data: bytes, places: tuple[HeldBack, ...], values: Mapping[bytes, str]) -> tuple[HeldBack, ...]:
    """The places, and those where one of `values` stands as a whole word; in order."""
    known = {place.span.start for place in places}
    more: list[tuple[int, int, str]] = []
    for value, kind in values.items():
        at = data.find(value)
        while at >= 0:
            end = at + len(value)
            if at not in known and not _WORD.match(data, end) and not (at and _WORD.match(data, at - 1)):
                more.append((at, end, kind))
            at = data.find(value, end)
    return _joined(data, places, more) if more else places


def _joined(
    data: bytes, places: tuple[HeldBack, ...], more: list[tuple[int, int, str]]
) -> tuple[HeldBack, ...]:
    """Both in order, without what lies over another."""
    known = {(p.span.start, p.span.end, p.kind): p for p in places}
    out: list[HeldBack] = []
    line = at = end = 0
    for start, stop, kind in sorted([*known, *more], key=lambda s: (s[0], -s[1])):
        old = known.get((start, stop, kind))
        if start < end:
            continue
        line += data.count(b"\n", at, start)
        at, end = start, stop
        out.append(old or HeldBack(Span(start, stop), kind, line))
    return tuple(out)
