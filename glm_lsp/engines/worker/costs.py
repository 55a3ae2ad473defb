"""c(k): what evaluating k tokens at once costs, in single steps, measured on this machine and placement."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CostTable:
    """`ratios[k - 1]` is c(k)/c(1), never falling; empty: not measured, and nothing is drafted.

    `noise` is how far apart the two best logits may be and still change places between an evaluation of one
    token and one of several.
    """

    ratios: tuple[float, ...] = ()
    noise: float = 0.0
