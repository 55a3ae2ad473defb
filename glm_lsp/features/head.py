"""What an epoch's head tells: an outline of signatures, and source.

A large budget's head tells files, for it has to serve wherever somebody goes: those that are worked on, the
signatures of what the others define, then whole files whose definitions are needed most. A small one's tells
definitions for the place where the epoch begins.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from glm_lsp.core import layout, pack
from glm_lsp.core.graph import Graph
from glm_lsp.core.pack import Packed
from glm_lsp.core.rank import Candidate
from glm_lsp.core.values import Block, BlockKind, Dropped, Span, SymbolKind

if TYPE_CHECKING:
    from glm_lsp.features.visit import Visit

SNAPSHOT_SHARE = 0.5
"""Of a lean budget's head: what files that are worked on may take."""
OUTLINE_SHARE = 0.6
"""Of what these leave: what signatures may take before other files are told as they are."""
FILLING_SHARE = 0.8
"""Of what is left then: what such files may take."""
MOST_BODIES = 12
MOST_CHARS_A_TOKEN = 8
"""Longer texts need not be counted to be too long."""
HEADER_TOKENS = 64
LEAST_SCORE = -1000.0
"""Below that of anything that is found for a place."""
MOST_FILLING = 40
"""Files that are looked at, best first."""
Told = tuple[Block, tuple[str, ...]]
"""A file's source as a block, and all its lines."""


@dataclass(frozen=True, slots=True)
class Head:
    """Outline and source, and the lines of the files that the source is of."""

    outline: tuple[Block, ...]
    sources: tuple[Block, ...]
    files: dict[str, tuple[str, ...]]
    dropped: tuple[Dropped, ...]


async def of_files(visit: Visit, graph: Graph, candidates: Sequence[Candidate], room: int) -> Head:
    """A head for anywhere in the repository."""
    worked_on = await snapshots(visit, room)
    room -= sum(block.tokens for block, _ in worked_on)
    told = {block.path for block, _ in worked_on}
    others = [c for c in candidates if c.path not in told]
    most = int(room * OUTLINE_SHARE)
    others += await asyncio.to_thread(_elsewhere, graph, others, told, most)
    outline = await asyncio.to_thread(pack.outline, graph, others, visit.count, most)
    used = await fillings(visit, others, room - outline.tokens)
    room -= outline.tokens + sum(block.tokens for block, _ in used)
    told |= {block.path for block, _ in used}
    outline = replace(outline, blocks=tuple(b for b in outline.blocks if b.path not in told))
    others = [c for c in others if c.path not in told]
    bodies, files = await _bodies(visit, others, room)
    files |= {block.path: lines for block, lines in (*used, *worked_on)}
    sources = (*bodies.blocks, *(block for block, _ in (*used, *worked_on)))
    return Head(outline.blocks, sources, files, (*bodies.dropped, *outline.dropped))


def _elsewhere(graph: Graph, known: Sequence[Candidate], told: Collection[str], room: int) -> list[Candidate]:
    """What is defined in other files, those that are imported most first, as far as there may be room for it.

    None of it is wanted here, but somebody goes elsewhere before the next epoch.
    """
    seen = {(c.path, c.symbol.qualified) for c in known}
    chars = sum(len(c.symbol.signature) for c in known)
    found: list[Candidate] = []
    for path in dict.fromkeys((*graph.central(), *sorted(graph.index.outlines))):
        if chars > room * MOST_CHARS_A_TOKEN:
            break
        for symbols in () if path in told else graph.symbols(path).values():
            symbol = symbols[0]
            if (path, symbol.qualified) not in seen and symbol.kind is not SymbolKind.VARIABLE:
                found.append(Candidate(path, symbol, LEAST_SCORE - len(found), "defined elsewhere"))
                chars += len(symbol.signature)
    return found


async def of_definitions(visit: Visit, graph: Graph, candidates: Sequence[Candidate], room: int) -> Head:
    """A head for this place."""
    share = visit.snapshot.settings.number("context.body_share")
    bodies, files = await _bodies(visit, candidates, int(room * share))
    shown = {(b.path, name) for b in bodies.blocks for name in b.symbols}
    rest = [c for c in candidates if (c.path, c.symbol.qualified) not in shown]
    rest = [c for c in rest if not any(_is_field_in(c, b) for b in bodies.blocks)]
    outline = await asyncio.to_thread(pack.outline, graph, rest, visit.count, room - bodies.tokens)
    return Head(outline.blocks, bodies.blocks, files, (*bodies.dropped, *outline.dropped))


def _is_field_in(candidate: Candidate, block: Block) -> bool:
    """Whether source shows all that a variable's signature would say."""
    symbol = candidate.symbol
    inside = block.start_line <= symbol.start_line <= symbol.end_line <= block.end_line
    return inside and candidate.path == block.path and symbol.kind is SymbolKind.VARIABLE


async def _bodies(
    visit: Visit, candidates: Sequence[Candidate], room: int
) -> tuple[Packed, dict[str, tuple[str, ...]]]:
    wanted = [c for c in candidates if c.certain and visit.has_body(c)][:MOST_BODIES]
    files = await visit.files(c.path for c in wanted)
    return await asyncio.to_thread(pack.bodies, wanted, files, visit.count, room), files


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
