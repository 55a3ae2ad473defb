"""What the log tells beside edits: definitions that came to be needed after the head was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from glm_lsp.core import lean, pack
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Ledger, Window
from glm_lsp.core.rank import Candidate
from glm_lsp.core.shown import covers
from glm_lsp.core.signatures import is_stale
from glm_lsp.core.values import BlockKind, SymbolKind

if TYPE_CHECKING:
    from glm_lsp.features.visit import Visit

LINES_TYPED = 12
"""A longer tail is not moved for a definition that came to be needed while somebody types."""
MOST_NEEDED = 24
"""Definitions, best first, whose signatures a place cannot do without."""
MOST_LATE_TOKENS = 120
"""Signatures that one request appends to the log of a budget that tells files."""
MOST_LATE_BODIES = 3
"""Definitions that one request may append to the log."""
LATE_BODY_SHARE = 0.25
"""Of the log's share: the largest body that is appended."""
EDITS_SHARE = 0.4
"""Of the log's share: what appended bodies leave to edits."""


async def with_needed(
    visit: Visit, ledger: Ledger, *, elsewhere: bool = False, most: int = MOST_NEEDED
) -> Ledger | None:
    """Append what of the `most` best is used here for certain and not shown yet: signatures, then source.

    None where somebody works in another file than before (`elsewhere`) and the log has no room for the
    signatures that are missing there: a new epoch serves that place better.
    """
    share = visit.log_share
    graph = await visit.session.graph(visit.snapshot)
    wanted = [c for c in visit.needed(graph, ledger) if not in_window(visit, c, ledger)]
    if visit.lean and visit.fits is not None:
        wanted = [c for c in wanted if c.path != visit.document.path or c.symbol.name in visit.near()]
    missing = [c for c in wanted[:most] if not told_of(visit, c, ledger)]
    room = int(ledger.log_room - EDITS_SHARE * share)
    room = min(room, MOST_LATE_TOKENS) if visit.lean and visit.fits is not None else room
    signatures = pack.outline(graph, missing, visit.count, room)
    if elsewhere and signatures.dropped and not visit.lean:
        return None
    outlined = {b.path: visit.outline_digest(b.path) for b in signatures.blocks}
    late = [replace(b, kind=BlockKind.LOG) for b in signatures.blocks]
    ledger = ledgers.with_log(ledger, late, visit.count)
    ledger = replace(ledger, outlined={**outlined, **ledger.outlined})
    if (visit.lean and not visit.wanted) or most < MOST_NEEDED:
        return ledger
    return await _with_bodies(visit, ledger, [c for c in missing if visit.has_body(c)][:MOST_LATE_BODIES])


async def with_named(visit: Visit, ledger: Ledger, before: Window) -> Ledger:
    """While somebody types: the signatures of what the lines just written use, where they cost little.

    On one line they are looked for again only where what it means may have changed (`Visit.anew`).
    """
    same = before.cursor_line == visit.cursor_line and not visit.anew(before)
    if same or visit.cursor_line - before.start_line > LINES_TYPED:
        return ledger
    return await with_needed(visit, ledger) or ledger


async def with_most_needed(visit: Visit, ledger: Ledger) -> Ledger:
    graph = await visit.session.graph(visit.snapshot)
    best = visit.needed(graph, ledger)[: 2 * MOST_LATE_BODIES]
    missing = [c for c in best if visit.has_body(c) and not ledger.shows(c.path, c.symbol.qualified)]
    return await _with_bodies(visit, ledger, missing[:MOST_LATE_BODIES])


async def _with_bodies(visit: Visit, ledger: Ledger, wanted: Sequence[Candidate]) -> Ledger:
    share = visit.log_share
    files = await visit.files(c.path for c in wanted)
    for candidate in wanted:
        lines = files.get(candidate.path)
        if lines is None or ledger.tracked.get(candidate.path, lines) != lines:
            continue
        block = pack.body(candidate, lines, visit.count)
        if block.tokens <= min(LATE_BODY_SHARE * share, ledger.log_room - EDITS_SHARE * share):
            ledger = ledgers.with_source(ledger, block, lines, visit.count)
    return ledger


def told_of(visit: Visit, candidate: Candidate, ledger: Ledger) -> bool:
    """Whether the trunk speaks of a definition as it is, or shows where it begins."""
    path, symbol = candidate.path, candidate.symbol
    if ledger.shows(path, symbol.qualified):
        followed = path in ledger.tracked or symbol.kind is SymbolKind.VARIABLE
        return followed or not is_stale(ledger, path, symbol)
    told = (
        lean.told_line(ledger, path, visit.lines, symbol.start_line) if path == visit.document.path else None
    )
    line = symbol.start_line if told is None else told
    return path in ledger.tracked and covers(ledger.shown.get(path, ()), line, line)


def in_window(visit: Visit, candidate: Candidate, ledger: Ledger) -> bool:
    """Whether the tail shows where the candidate is defined."""
    window = ledger.window
    if candidate.path != visit.document.path or visit.fits is None or window is None:
        return False
    return window.start_line <= candidate.symbol.start_line <= window.last_line
