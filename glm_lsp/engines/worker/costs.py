"""c(k): what evaluating k tokens at once costs, in single steps. Pure: who feeds and who times is given."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import numpy as np

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""What is measured; between them the costs are drawn straight."""
ROUNDS = 3
BUDGET_S = 20.0
"""No measurement is begun after this; larger sizes are then not drafted."""


@dataclass(frozen=True, slots=True)
class CostTable:
    """`ratios[k - 1]` is c(k)/c(1), never falling; empty: not measured, and nothing is drafted.

    `noise` is how far apart the two best logits may be and still change places between an evaluation of one
    token and one of several.
    """

    ratios: tuple[float, ...] = ()
    noise: float = 0.0


def measure(
    feed: Callable[[int], float],
    most: int,
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, ...]:
    """Return c(k)/c(1) for k = 1 … at most `most`; `feed(k)` evaluates k tokens and says how long it took.

    Each size is timed between single steps, and the median of their ratios taken: what else the machine does
    falls on both. Sizes that the budget leaves no time for are left out, the largest first.
    """
    ends = clock() + budget_s
    feed(1)
    ratios: dict[int, list[float]] = {}
    for number in range(ROUNDS):
        for size in (s for s in SIZES if s <= most and (not number or s in ratios)):
            if clock() > ends:
                break
            ratios.setdefault(size, []).append(_ratio(feed, size))
    points = {1: 1.0} | {size: median(found) for size, found in ratios.items()}
    sizes = np.asarray(list(points), np.float64)
    # A larger batch is never cheaper: what says so is noise.
    costs = np.maximum.accumulate(np.asarray(list(points.values())))
    return tuple(float(c) for c in np.interp(np.arange(1, int(sizes[-1]) + 1), sizes, costs))


def _ratio(feed: Callable[[int], float], size: int) -> float:
    one = feed(1)
    many = feed(size)
    return many / max((one + feed(1)) / 2, 1e-9)
