"""Keeping outlines true: what the log tells of files that the trunk outlines and that have changed since."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from glm_lsp.core import ledger as ledgers
from glm_lsp.core import syntax
from glm_lsp.core.graph import Graph
from glm_lsp.core.ledger import Ledger
from glm_lsp.core.references import counted
from glm_lsp.core.signatures import retracts, with_gone, with_signatures

if TYPE_CHECKING:
    from glm_lsp.features.visit import Visit

MOST_HINTED = 60
"""Tokens of a file's new definitions that are told where nothing speaks of them yet."""
MOST_REMOVED, MOST_GONE = 20, 120
"""So many files at once are said to be gone, and so many tokens of names that others define no more."""


async def told(visit: Visit, ledger: Ledger) -> Ledger:
    """The ledger that tells what has changed in outlined files.

    A budget that tells files tells only what this place can name and speaks of, what is new there, and what
    is gone: the rest waits until somebody works where it is used; until then it may change again, or back.
    """
    stale = _stale(visit, ledger)
    waits = visit.lean and visit.fits is not None
    if not stale or (waits and visit.session.waiting == _waiting(visit, ledger, stale)):
        return ledger
    graph = await visit.session.graph(visit.snapshot)
    removed = [path for path in stale if path not in graph.index.outlines]
    for path in removed[:MOST_REMOVED]:
        ledger = ledgers.without(ledger, path, visit.count)
        ledger = replace(ledger, known={**ledger.known, path: {}})
    near, names = (_used(visit, graph), _spoken(visit)) if waits else (stale.keys(), None)
    room = MOST_GONE
    for path, now in stale.items():
        symbols = graph.symbols(path)
        here = path in near
        if path in removed or not (here or retracts(ledger, path, symbols)) or await _half_typed(visit, path):
            continue
        spoken, private = (names, graph.private(path) if waits else ()) if here else (frozenset[str](), ())
        before = len(ledger.log)
        if here:
            ledger = with_gone(ledger, path, symbols, visit.count, room, names=spoken)
        room -= sum(segment.tokens for segment in ledger.log[before:])
        most = MOST_HINTED if here else 0
        ledger = with_signatures(
            ledger, path, now, symbols, visit.count, private=private, names=spoken, most=most
        )
    visit.session.waiting = _waiting(visit, ledger, _stale(visit, ledger))
    return ledger


async def _half_typed(visit: Visit, path: str) -> bool:
    """Whether a file is open and does not parse: what its outline lacks, or has, the next word may change.

    Of C and C++, whose macros rarely parse, that says nothing.
    """
    opened = visit.snapshot.documents.get(path)
    if opened is None or opened.language in ("c", "cpp"):
        return False
    known = visit.session.parses
    if path not in known or known[path][0] != opened.digest:
        broken = await asyncio.to_thread(syntax.errors, opened.data, opened.language)
        known[path] = opened.digest, not broken
    return not known[path][1]


def _stale(visit: Visit, ledger: Ledger) -> dict[str, str]:
    """The outlined files that are not as they were when the trunk told of them, and their digests now."""
    here = visit.document.path if visit.fits is not None else ""
    now = {path: visit.outline_digest(path) for path in ledger.outlined if path != here}
    return {path: digest for path, digest in now.items() if digest != ledger.outlined[path]}


def _waiting(visit: Visit, ledger: Ledger, stale: Mapping[str, str]) -> object:
    """What decides which of them are told of: as long as it is the same, none is."""
    outline = visit.snapshot.index.outlines.get(visit.document.path)
    imports = outline.imports if outline else ()
    files = len(visit.snapshot.index.outlines)
    return visit.document.path, imports, files, ledger.epoch, len(ledger.log), stale


def _used(visit: Visit, graph: Graph) -> frozenset[str]:
    """The files whose definitions this one can name."""
    path = visit.document.path
    bound = (target.path for target in graph.bindings(path).values())
    return frozenset((*graph.imported(path), *bound, *graph.package(path)))


def _spoken(visit: Visit) -> frozenset[str]:
    """The names that this file uses or imports."""
    outline = visit.snapshot.index.outlines.get(visit.document.path)
    if outline is None:
        return frozenset()
    return frozenset((*(name for name, _ in counted(outline)), *(item.name for item in outline.imports)))
