"""c(k): what evaluating k tokens at once costs, in single steps. Pure: who feeds and who times is given."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from statistics import median

import numpy as np

from glm_lsp.engines.worker.figures import DEPTHS

SIZES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
"""What is measured; between them the costs are drawn straight."""
ROUNDS = 3
BUDGET_S = 20.0
"""After so much measuring, pauses not counted, none is begun; larger sizes are then not drafted."""


ENOUGH = 256
"""So many tokens compared at a depth tell how far their logits may move there; fewer do not."""
FEW, DEEPER = 16.0, 4.0
"""What noise is taken for, in what was seen: where few tokens were compared, and deeper than enough were."""


@dataclass(frozen=True, slots=True)
class NoiseAt:
    """The noise among `tokens` tokens that were compared between `depth`, one of DEPTHS, and the next."""

    depth: int
    tokens: int
    noise: float


@dataclass(frozen=True, slots=True)
class CostTable:
    """`ratios[k - 1]` is c(k)/c(1), never falling; empty: not measured, and nothing is drafted.

    `noise` is how far apart the two best logits may be and still change places between an evaluation of one
    token and one of several, as seen among few tokens near the beginning; `deep` is the same as seen since,
    by depth and in its order.
    """

    ratios: tuple[float, ...] = ()
    noise: float = 0.0
    deep: tuple[NoiseAt, ...] = ()

    def noise_at(self, depth: int) -> float:
        """What is to be reckoned with there.

        Most tokens differ by roundings. At about one in a hundred these tip a choice that is made inside the
        model (which experts, and beyond the indexer's top-k which positions), and its logits move ten times
        as far. Few tokens do not show that, so until ENOUGH are compared at that depth more choices than need
        be are called doubtful, rather than one too few. What was seen nearer the beginning counts deeper too.
        """
        within = DEPTHS[bisect_right(DEPTHS, depth) - 1]
        known = [each for each in self.deep if each.depth <= within]
        widest = max(self.noise, *(each.noise for each in known), 0.0)
        measured = [each.depth for each in known if each.tokens >= ENOUGH]
        if not measured:
            return FEW * widest
        return widest if measured[-1] == within else DEEPER * widest


class Rounds:
    """The measurement of c(k), one size at a time, with pauses wherever the caller wants them.

    Each size is timed between single steps, and the median of their ratios taken: what else the machine does
    falls on both. Sizes that the budget leaves no time for are left out, the largest first.
    """

    def __init__(self, most: int, budget_s: float = BUDGET_S) -> None:
        self._left_s = budget_s
        self._found: dict[int, list[float]] = {}
        sizes = [size for size in SIZES if size <= most]
        self._todo = [(number, size) for number in range(ROUNDS) for size in sizes]

    @property
    def size(self) -> int:
        """What is to be compared with a single step next; 0: everything is measured."""
        while self._todo and (self._left_s < 0 or not self._begun(*self._todo[0])):
            self._todo.pop(0)
        return self._todo[0][1] if self._todo else 0

    def _begun(self, number: int, size: int) -> bool:
        return not number or size in self._found

    def add(self, before: float, seconds: float, after: float) -> None:
        """`size` tokens took so long, and a single step before and after them so long."""
        size = self._todo.pop(0)[1]
        self._found.setdefault(size, []).append(seconds / max((before + after) / 2, 1e-9))
        self._left_s -= before + seconds + after

    @property
    def ratios(self) -> tuple[float, ...]:
        """c(k)/c(1) for k = 1, 2, … as far as it is measured, never falling."""
        points = {1: 1.0} | {size: median(found) for size, found in self._found.items()}
        sizes = np.asarray(list(points), np.float64)
        # A larger batch is never cheaper: what says so is noise.
        costs = np.maximum.accumulate(np.asarray(list(points.values())))
        return tuple(float(c) for c in np.interp(np.arange(1, int(sizes[-1]) + 1), sizes, costs))
