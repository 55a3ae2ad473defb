"""What a batch of tokens costs a sparse model: weights read, in decode steps of one token.

A step reads every dense weight once, and of the routed experts those that any of its tokens is sent to.
While reading memory is what takes the time, that is what it costs; arithmetic is not counted, so the figures
hold for batches that are small for the machine.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Weights:
    """What one step reads, in any unit: parameters, bytes, or seconds where the memories differ.

    `dense` is read by every step; `expert` is one routed expert's share over all layers.
    """

    dense: float
    expert: float
    experts: int
    experts_used: int
    """Per token."""


def experts_touched(experts: int, used: int, tokens: int) -> float:
    """How many experts of a layer `tokens` tokens need, if each chooses evenly and for itself.

    Neighbouring tokens in truth choose alike more often, so this is the dear end.
    """
    return experts * (1.0 - (1.0 - used / experts) ** tokens)


def step_cost(weights: Weights, tokens: int) -> float:
    """What a batch of `tokens` tokens reads, in the unit of `weights`."""
    return weights.dense + weights.expert * experts_touched(weights.experts, weights.experts_used, tokens)


def draft_costs(weights: Weights, most: int) -> tuple[float, ...]:
    """c(k)/c(1) for k = 1 … `most`: what a batch of k tokens costs in steps of one token."""
    one = step_cost(weights, 1)
    return tuple(step_cost(weights, k) / one for k in range(1, most + 1))
