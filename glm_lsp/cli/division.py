"""How an engine's context is divided between prompt, reasoning and reply, and the prompt's budget within it.

Figures and the reasons for them, for people to read; the rules themselves are `core.shares`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Form, Prompt, Role
from glm_lsp.core.settings import Settings
from glm_lsp.core.shares import BODIES, LOG, TAIL, log_tokens, tail_tokens
from glm_lsp.core.values import BlockKind

if TYPE_CHECKING:
    from glm_lsp.features.tasks import TaskContext


@dataclass(frozen=True, slots=True)
class Part:
    """So many tokens of the engine's context, and why."""

    name: str
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Division:
    """`parts` add up to the engine's context, unless the call asks for more; the last is the budget."""

    parts: tuple[Part, ...]

    @property
    def budget_tokens(self) -> int:
        return self.parts[-1].tokens

    def why(self, share: str) -> str:
        """A reason for a share of the budget."""
        return WHY.get(share, "")


WHY = {
    "template": "the model's own marks around the turns",
    "system": "what the model is told of its work",
    "trunk": f"signatures, and definitions up to {BODIES} of it",
    "log": "edits since the trunk was packed, and what came to be needed",
    "tail": "the code around the cursor",
    "log_reserve": f"kept free for edits: {LOG}",
    "tail_reserve": f"kept free for the code around the cursor: {TAIL}",
    "unused": "nothing more fitted, or was wanted",
    "shared": "the same at the beginning of each unit's prompt: system text, and definitions",
    "largest_unit": "the lines, the task and the rules for the answer: those of the largest unit",
    "decided_reserve": "kept free for what the units before it have decided",
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a request of kind `what` (completion, refactor) wants of the engine's context, in tokens.

    `reply` is bounded by `limit`, a setting; `asked` is the budget that the call names, 0 where it does not.
    """

    what: str
    reply: int
    limit: str
    reasoning: int = 0
    asked: int = 0


def divided(wish: Wish, context: int, setting: int, profile: int) -> Division:
    """The division of `context` tokens; `setting` (0: none) and `profile` are prompt budgets.

    Raises UsageError where reply and reasoning leave a prompt no room.
    """
    most = context - wish.reply - wish.reasoning
    if most <= 0:
        raise UsageError(
            f"The engine holds {context:,} tokens, of which the reply may take {wish.reply:,} ({wish.limit}) "
            f"and reasoning {wish.reasoning:,} (thinking.reasoning_tokens): a prompt has no room. Lower one "
            "of them."
        )
    wanted = setting or profile
    budget = wish.asked or min(wanted, most)
    reason = "context.budget_tokens" if setting else "the model profile's"
    if wish.asked:
        reason = "--budget"
    elif budget < wanted:
        reason = "all that is left of the engine's context"
    off = f"thinking.{wish.what} is off"
    return Division(
        (
            Part("reply", wish.reply, wish.limit),
            Part("reasoning", wish.reasoning, "thinking.reasoning_tokens" if wish.reasoning else off),
            Part("left alone", max(most - budget, 0), f"of {context:,} tokens that the engine holds"),
            Part("prompt", budget, reason),
        )
    )


def task_shares(found: TaskContext) -> dict[str, int]:
    """Where the budget of a task's largest prompt went, in tokens; the values add up to it."""
    largest, budget = found.largest, found.budget_tokens
    own, all_ = (largest.own_tokens, largest.tokens) if largest else (0, 0)
    decided = min(found.decided_tokens, budget - all_)
    return {
        "shared": all_ - own,
        "largest_unit": own,
        "decided_reserve": decided,
        "unused": budget - all_ - decided,
    }


def shares(prompt: Prompt, budget: int, settings: Settings) -> dict[str, int]:
    """Where the budget went, in tokens; the values add up to it.

    `template`, `system`, `trunk` (outline and source), `log` and `tail` are in the prompt. The others are
    kept free, so that the prompt's beginning stays the same while somebody types: `log_reserve` for edits,
    `tail_reserve` for the code around the cursor; `unused` is what nothing more fitted into.
    """
    kinds = {kind: sum(b.tokens for b in prompt.blocks if b.kind is kind) for kind in BlockKind}
    fim = prompt.form is Form.FIM
    shown = [s for s in prompt.segments if not (fim and s.role is Role.SYSTEM)]  # FIM has no system turn
    system = sum(s.tokens for s in shown if s.role is Role.SYSTEM)
    tail, log = kinds[BlockKind.TAIL], kinds[BlockKind.LOG] + kinds[BlockKind.TYPED]
    # What follows the cursor is in no segment there.
    suffix = tail - sum(s.tokens for s in shown if s.role is Role.ASSISTANT) if fim else 0
    segments = sum(s.tokens for s in shown) + suffix
    template = prompt.tokens - segments
    log_share = log_tokens(settings, budget)
    tail_share = min(tail_tokens(settings, budget), budget - system - template - log_share)
    free = budget - prompt.tokens
    tail_reserve = max(0, min(tail_share - tail, free))
    log_reserve = max(0, min(log_share - log, free - tail_reserve))
    return {
        "template": template,
        "system": system,
        "trunk": segments - system - log - tail,
        "log": log,
        "tail": tail,
        "log_reserve": log_reserve,
        "tail_reserve": tail_reserve,
        "unused": free - tail_reserve - log_reserve,
    }
