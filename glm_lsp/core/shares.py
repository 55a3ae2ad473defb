"""How a prompt's budget is divided, by rules that a user can read and set.

From the engine's context the reply and the reasoning are taken first; what is left, or less where a budget is
set, is the prompt's. Of that the log of edits has a share, and the tail; the rest is the repository's.
"""

from __future__ import annotations

from glm_lsp.core import ledger
from glm_lsp.core.settings import Settings

LOG, TAIL, BODIES = "context.log_share", "context.tail_share", "context.body_share"
LEAST_LEFT = 0.1
"""Of the budget: what log and tail, where they are set, must leave to the repository."""


def log_tokens(settings: Settings, budget_tokens: int) -> int:
    """Tokens of a budget that the log may take: the user's share, or the ledger's own for such a budget."""
    share = settings.number(LOG)
    return int(budget_tokens * share) if share else ledger.log_share(budget_tokens)


def tail_tokens(settings: Settings, budget_tokens: int) -> int:
    """Tokens of a budget that are kept for the tail, likewise."""
    share = settings.number(TAIL)
    return int(budget_tokens * share) if share else ledger.tail_share(budget_tokens)


def objection(settings: Settings, budget_tokens: int, fixed_tokens: int) -> str:
    """A sentence where shares that are set leave the repository no room beside what is fixed; else empty."""
    log, tail = log_tokens(settings, budget_tokens), tail_tokens(settings, budget_tokens)
    left = budget_tokens - fixed_tokens - log - tail
    if not (settings.number(LOG) or settings.number(TAIL)) or left >= int(LEAST_LEFT * budget_tokens):
        return ""
    return (
        f"Of a prompt budget of {budget_tokens:,} tokens the system text takes {fixed_tokens:,}, the log "
        f"{log:,} ({LOG}) and the tail {tail:,} ({TAIL}), which leaves {max(left, 0):,} for the repository. "
        "Lower one of the shares, or raise context.budget_tokens."
    )
