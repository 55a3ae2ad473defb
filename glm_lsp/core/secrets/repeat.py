"""Where a text that is held back stands a second time, with nothing beside it that says what it is. Pure."""

from __future__ import annotations

import re

from glm_lsp.core.values import HeldBack, Span

LEAST_BYTES, MOST_VALUES, MOST_REPEATS = 8, 64, 1_000
_WORD = re.compile(rb"[A-Za-z0-9_]")


def everywhere(data: bytes, places: tuple[HeldBack, ...]) -> tuple[HeldBack, ...]:
    """The places, and those where the same texts stand again as whole words; in order."""
    kinds: dict[bytes, str] = {}
    for place in places:
        value = data[place.span.start : place.span.end]
        if len(value) >= LEAST_BYTES and b"\n" not in value:
            kinds.setdefault(value, place.kind)
    known = {place.span.start for place in places}
    more: list[tuple[int, int, str]] = []
    for value, kind in list(kinds.items())[:MOST_VALUES]:
        at = data.find(value)
        while at >= 0 and len(more) < MOST_REPEATS:
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
