"""Whole files in an epoch's head: those that are worked on, and those whose definitions are needed most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from glm_lsp.core import layout, pack
from glm_lsp.core.rank import Candidate
from glm_lsp.core.values import Block, BlockKind, Span

if TYPE_CHECKING:
    from glm_lsp.features.visit import Visit

SNAPSHOT_SHARE = 0.5
"""Of a lean budget's head: what files that are worked on may take."""
FILLING_SHARE = 0.4
"""Of what these leave: what other files may take as they are."""
MOST_CHARS_A_TOKEN = 8
"""Longer texts need not be counted to be too long."""
HEADER_TOKENS = 64
MOST_FILLING = 40
"""Files that are looked at, best first."""
Told = tuple[Block, tuple[str, ...]]
"""A file's source as a block, and all its lines."""


async def snapshots(visit: Visit, room: int) -> tuple[Told, ...]:
    """The epoch snapshot: what is open and was edited lately, this file last, and their lines.

    Each whole, but this one, of which what is around the cursor, where it does not fit.
    """
    room = int(room * SNAPSHOT_SHARE) - visit.count(layout.SOURCE_TITLE)
    opened = [p for p in visit.snapshot.documents if p not in visit.session.recent]
    found: list[Told] = []
    for path in dict.fromkeys((visit.document.path, *reversed(visit.session.recent), *opened)):
        lines = visit.lines if path == visit.document.path else (await visit.files([path])).get(path, ())
        first, end = 0, len(lines) - (not lines[-1]) if lines else 0
        if len("\n".join(lines)) > MOST_CHARS_A_TOKEN * room:
            if path != visit.document.path:
                continue
            first, end = _near(visit, lines, end, room)
        if first >= end:
            continue
        block = told(visit, path, lines, first, end)
        if block.tokens > room and path == visit.document.path:
            block = told(visit, path, lines, *_near(visit, lines, end, room))
        if block.tokens <= room:
            room -= block.tokens
            found.append((block, lines))
    return tuple(reversed(found))


async def fillings(visit: Visit, candidates: Sequence[Candidate], room: int) -> tuple[Told, ...]:
    """Whole files: those that define most of what is needed."""
    room = int(room * FILLING_SHARE) - visit.count(layout.SOURCE_TITLE)
    scores: dict[str, float] = {}
    for candidate in candidates:
        if candidate.path != visit.document.path:
            scores[candidate.path] = scores.get(candidate.path, 0.0) + candidate.score
    found: list[Told] = []
    for path in sorted(scores, key=lambda p: (-scores[p], p))[:MOST_FILLING]:
        lines = (await visit.files([path])).get(path, ())
        end = len(lines) - (not lines[-1]) if lines else 0
        if not end or len("\n".join(lines)) > MOST_CHARS_A_TOKEN * room:
            continue
        block = replace(told(visit, path, lines, 0, end), reason="much of it is used here")
        if block.tokens <= room:
            room -= block.tokens
            found.append((block, lines))
    return tuple(reversed(found))


def _near(visit: Visit, lines: tuple[str, ...], end: int, room: int) -> tuple[int, int]:
    """The lines around the cursor, twice as many before as after it, that have at most `room` tokens."""

    def stretch(lines_after: int) -> tuple[int, int]:
        return max(0, visit.cursor_line - 2 * lines_after), min(end, visit.cursor_line + lines_after)

    def fits(lines_after: int) -> bool:
        first, last = stretch(lines_after)
        text = "\n".join(lines[first:last])
        return len(text) <= MOST_CHARS_A_TOKEN * room and visit.count(text) + HEADER_TOKENS <= room

    return stretch(max(0, pack.most_that_fits(end, fits)))


def told(visit: Visit, path: str, lines: tuple[str, ...], first: int, end: int) -> Block:
    """A stretch of a file as source, with the definitions that begin in it."""
    text = layout.source_block(path, first, end - 1, "".join(f"{line}\n" for line in lines[first:end]))
    outline = visit.snapshot.index.outlines.get(path)
    known = outline.symbols if outline else ()
    names = tuple(dict.fromkeys(s.qualified for s in known if first <= s.start_line < end))
    return Block(
        kind=BlockKind.BODY,
        path=path,
        span=Span(0, 0),
        text=text,
        tokens=visit.count(text),
        start_line=first,
        end_line=end - 1,
        symbols=names,
        reason="around the cursor" if path == visit.document.path else "edited or open",
    )
