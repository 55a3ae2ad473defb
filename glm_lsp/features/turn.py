"""When many things have changed: whether an earlier state of the ledger is nearer to how they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Ledger

if TYPE_CHECKING:
    from glm_lsp.features.visit import Visit

FOLDED_SHARE = 0.4
"""Of the log's share: what a log that is written anew may take, else the head is chosen anew too."""
BACK = 0.5
"""How likely it is that what is dropped from the log has to be told again."""


async def turned(visit: Visit, old: Ledger, new: Ledger, past: Sequence[Ledger], epoch: int) -> Ledger | None:
    """Instead of `new`: what was told before, moved on to this place, where that costs an engine less.

    None where nothing serves, and a new head is needed. Where the log of `new` is over, so much of it has
    to go that there is room again.
    """
    if not visit.lean:
        return None
    over = new.log_room < 0 or ledgers.pays(new, visit.idle)
    best, least = (None, old.head_tokens) if over else (new, ledgers.evaluated(new, old))
    start = ledgers.folded(old, epoch)
    for state in (*past, *((start,) if start else ())):
        moved = await visit.advance(replace(state, epoch=epoch, window=None))
        if moved is None or moved.log_tokens > (FOLDED_SHARE if over else 1) * visit.log_share:
            continue
        lost = 0 if over else BACK * max(0, old.log_tokens - moved.log_tokens)
        cost = ledgers.evaluated(moved, old) + lost
        if cost < least:
            best, least = moved, cost
    return best
