"""Cut a file into the pieces that one request can edit.

A file that fits is one unit. A larger one is cut at its definitions, and each unit also shows the file's
first lines, where imports stand, if both fit. An edit may only touch lines that its unit has shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from glm_lsp.core.edits import Lines, numbered
from glm_lsp.core.site import Part, Site
from glm_lsp.core.syntax import definitions_at, outline
from glm_lsp.core.values import (
    OWNERS,
    Document,
    Refusal,
    RefusalKind,
    Span,
    Symbol,
    SymbolKind,
    TextEdit,
)

HEADER_LINES = 40
_IMPORT = re.compile(r"(?:import|from|use|using|#\s*include|package|export)\b|.*\brequire\(")
WHOLE_SHARE = 0.6
"""A file of which more than this would be shown is shown as a whole."""
MOST_SCOPE_LINES = 150
"""A function up to this long is shown whole around a place in it; of a longer one, lines near the place."""
NEAR_LINES = 12
STATEMENT_LINES = 3
"""Lines shown on either side of a place that stands in no function."""
GAP_LINES = 3
"""Ranges with so many lines between them are shown as one."""


@dataclass(frozen=True, slots=True)
class Unit:
    """`ranges` are the lines shown (0-based, end not included), in order, disjoint; `name` is for people."""

    document: Document
    ranges: tuple[tuple[int, int], ...]
    name: str

    def shown(self, *, anchors: bool) -> str:
        """The unit's lines as a prompt shows them: with their anchors, or as they stand with gaps marked."""
        lines = Lines.of(self.document.data)
        parts = [
            numbered("".join(f"{text}\n" for text in lines.texts[start:end]), start)
            if anchors
            else "".join(f"{text}\n" for text in lines.texts[start:end])
            for start, end in self.ranges
        ]
        return "(other lines are not shown)\n".join(parts)

    def covers(self, edit: TextEdit) -> bool:
        """Whether an edit stays inside the lines shown."""
        lines = Lines.of(self.document.data)
        spans = (Span(lines.offset(start), lines.offset(end)) for start, end in self.ranges)
        # An edit at the end of a file without a final newline begins at the line ending before its lines.
        return any(max(s.start - 2, 0) <= edit.span.start and edit.span.end <= s.end for s in spans)

    @property
    def offset(self) -> int:
        """Where the unit is, for the choice of context: its last range's first byte."""
        return Lines.of(self.document.data).offset(self.ranges[-1][0]) if self.ranges else 0


def whole(document: Document) -> Unit:
    return Unit(document, ((0, len(Lines.of(document.data))),), document.path)


def region(document: Document, span: Span, name: str = "") -> Unit:
    """The lines that `span` touches, as a unit; at least one line."""
    count = len(Lines.of(document.data))
    start = document.data.count(b"\n", 0, span.start)
    end = document.data.count(b"\n", 0, max(span.end - 1, span.start)) + 1
    return Unit(document, ((start, min(max(end, start + 1), count)),), name or document.path)


def split(
    document: Document, size: Callable[[Unit], int], room: int
) -> tuple[tuple[Unit, ...], tuple[Refusal, ...]]:
    """The units of a file, none larger than `room` tokens by `size`, and what fits no unit."""
    everything = whole(document)
    if size(everything) <= room:
        return (everything,), ()
    known = outline(document.path, document.data, document.language)
    parts = _definitions(known.symbols, None)
    if not parts:
        reason = (
            f"The file takes {size(everything):,} tokens, {room:,} fit, and it has no definitions to cut at."
        )
        return (), (Refusal(document.path, RefusalKind.BUDGET, reason),)
    header = (0, min(parts[0].start_line, HEADER_LINES))
    units: list[Unit] = []
    refusals: list[Refusal] = []
    waiting = [(symbol, True) for symbol in reversed(parts)]
    open_: list[Symbol] = []

    def close() -> None:
        if open_:
            units.append(_unit(document, header, open_))
            open_.clear()

    while waiting:
        symbol, may_cut = waiting.pop()
        if size(_unit(document, header, [*open_, symbol])) <= room:
            open_.append(symbol)
            continue
        close()
        if size(_unit(document, header, [symbol])) <= room:
            open_.append(symbol)
        elif size(alone := _unit(document, (0, 0), [symbol])) <= room:
            units.append(alone)
        elif may_cut and (inner := _definitions(known.symbols, symbol)):
            waiting += [(s, False) for s in reversed(inner)]
        else:
            refusals.append(_too_long(document, symbol.qualified, size(alone), room))
    close()
    return tuple(units), tuple(refusals)


def around(
    document: Document, sites: Sequence[Site], size: Callable[[Unit], int], room: int
) -> tuple[tuple[Unit, ...], tuple[Refusal, ...]]:
    """The units of a file of which only some places matter: the functions they stand in, or lines near them,
    under the file's first lines. None is larger than `room` tokens by `size`; what fits no unit is refused.
    """
    known = outline(document.path, document.data, document.language)
    total = len(Lines.of(document.data))
    parts = _definitions(known.symbols, None)
    header = _header(document, min(parts[0].start_line if parts else STATEMENT_LINES, HEADER_LINES, total))
    wanted = [_range(known.symbols, site, total) for site in sites]
    shown = sum(end - start for start, end in _merged([header, *wanted]))
    everything = whole(document)
    if shown >= WHOLE_SHARE * total and size(everything) <= room:
        return (everything,), ()
    units: list[Unit] = []
    refusals: list[Refusal] = []
    open_: list[tuple[int, int]] = []
    waiting = list(reversed(_merged(wanted, gap=-1)))

    def made(chosen: Sequence[tuple[int, int]], *, headed: bool = True) -> Unit:
        merged = tuple(_merged([header, *chosen] if headed else chosen))
        here = sum(any(start <= s.line < end for start, end in chosen) for s in sites)
        return Unit(document, merged, f"{document.path}: {here} place{'s' if here != 1 else ''}")

    while waiting:
        part = waiting.pop()
        if size(made([*open_, part])) <= room:
            open_.append(part)
            continue
        if open_:
            units.append(made(open_))
            open_ = []
        if size(made([part])) <= room:
            open_.append(part)
            continue
        if size(made([part], headed=False)) <= room:
            units.append(made([part], headed=False))
            continue
        near = [(max(s.line - STATEMENT_LINES, 0), min(s.line + STATEMENT_LINES + 1, total)) for s in sites]
        finer = _merged([r for r in near if part[0] <= r[0] and r[1] <= part[1]], gap=-1)
        if finer and finer != [part]:
            waiting += reversed(finer)
        elif part[1] - part[0] > 1:
            halves = _halves(document, part)
            waiting += [h for h in reversed(halves) if any(h[0] <= s.line < h[1] for s in sites)]
        else:
            what = f"The text from line {part[0] + 1} to {part[1]}"
            refusals.append(_too_long(document, what, size(made([part], headed=False)), room))
    if open_:
        units.append(made(open_))
    return tuple(units), tuple(refusals)


def _halves(document: Document, part: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """A range of at least two lines in two, cut where the text around its middle is nested least."""
    start, end = part
    lines, middle, reach = Lines.of(document.data).texts, (start + end) // 2, (end - start) // 4

    def nested(line: int) -> tuple[int, int]:
        text = lines[line].expandtabs(8)
        return len(text) - len(text.lstrip()), abs(line - middle)

    cut = min(range(max(start + 1, middle - reach), min(end, middle + reach + 1)), key=nested)
    return (start, cut), (cut, end)


def _too_long(document: Document, what: str, tokens: int, room: int) -> Refusal:
    reason = (
        f"{what} is too long for one request: with a number at each line and the rules for the answer it "
        f"takes {tokens:,} tokens, and {room:,} fit; cut it first."
    )
    return Refusal(document.path, RefusalKind.BUDGET, reason)


def _header(document: Document, end: int) -> tuple[int, int]:
    """The lines before the first definition, from the first import on: what stands above that is words."""
    lines = Lines.of(document.data).texts[:end]
    return next((n for n, line in enumerate(lines) if _IMPORT.match(line)), 0), end


def _range(symbols: Sequence[Symbol], site: Site, total: int) -> tuple[int, int]:
    """The lines that a place needs around it."""
    inside = definitions_at(symbols, site.span.start)
    functions = [s for s in inside if s.kind not in OWNERS]
    chosen = functions[0] if functions else None
    if chosen is None and inside and site.part is Part.DEFINITION and site.scope == inside[-1].qualified:
        chosen = inside[-1]
    if chosen is not None and chosen.end_line - chosen.start_line < MOST_SCOPE_LINES:
        return chosen.start_line, min(chosen.end_line + 1, total)
    reach = STATEMENT_LINES if chosen is None else NEAR_LINES
    return max(site.line - reach, 0), min(site.line + reach + 1, total)


def _merged(ranges: Sequence[tuple[int, int]], gap: int = GAP_LINES) -> list[tuple[int, int]]:
    """Ranges in order, those with at most `gap` lines between them as one (-1: that overlap), none empty."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(r for r in ranges if r[1] > r[0]):
        if found and start <= found[-1][1] + gap:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _definitions(symbols: Sequence[Symbol], outer: Symbol | None) -> list[Symbol]:
    """The classes and functions that stand directly in `outer`; a method may stand outside of its class."""
    found: list[Symbol] = []
    for s in symbols:
        inside = outer is None or (outer.span.start < s.span.start and s.span.end <= outer.span.end)
        apart = not found or s.span.start >= found[-1].span.end
        if s.kind is not SymbolKind.VARIABLE and inside and apart:
            found.append(s)
    return found


def _unit(document: Document, header: tuple[int, int], symbols: Sequence[Symbol]) -> Unit:
    ranges = [header] if header[1] > 0 else []
    for symbol in symbols:
        start, end = symbol.start_line, symbol.end_line + 1
        if ranges and start <= ranges[-1][1] + 3:  # a few lines between neighbours are shown too
            ranges[-1] = (ranges[-1][0], max(end, ranges[-1][1]))
        else:
            ranges.append((start, end))
    name = symbols[0].qualified + (f" and {len(symbols) - 1} more" if len(symbols) > 1 else "")
    return Unit(document, tuple(ranges), f"{document.path}: {name}")
