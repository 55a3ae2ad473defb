"""Drafts from what the prompt and the answer hold already, made only where they are expected to pay.

A model verifies k drafted tokens with one evaluation of k + 1, which costs c(k + 1) single steps. The policy
knows those costs, and an estimate of how likely the next token is the one that followed where the last
tokens stood before: by the length of that match, and by whether that is where the answer was copying just
now. The estimate learns from every token of the answer, drafted or not.

The loss is bounded, whatever the text: a draft is made only if the answer so far, with all of the draft
refused, would still have cost at most 1.05 of what it costs without. Long drafts must be earned by short
ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.suffixes import LONGEST, Ids, Match, SuffixIndex

ALLOWANCE = 0.05
"""At most so much dearer than without drafts, at every moment of every answer."""
_GAIN = 1.02
"""A draft must be expected to gain more than this: costs and chances are estimates."""
_DECAY = 0.97
_NEAR_BEFORE, _NEAR_AFTER = 16, 96
_SURE = 8
"""A match of so many tokens is not compared with others while it goes on."""
_KEPT_PLACE = 256
"""So many tokens after a copy has ended its place is still looked around."""

_BOUNDS = (1, 2, 3, 4, 6, 9, 17, 33, LONGEST)
"""Match lengths from which on a class of its own begins."""
_CLASS_OF = np.searchsorted(np.asarray(_BOUNDS), np.arange(LONGEST + 1), side="right") - 1
_CLASSES: list[int] = _CLASS_OF.tolist()
_FAR_PRIOR = (0.020, 0.090, 0.300, 0.468, 0.650, 0.790, 0.888, 0.944, 0.979)
_NEAR_PRIOR = (0.230, 0.510, 0.650, 0.720, 0.832, 0.902, 0.944, 0.972, 0.986)
"""Set by trial on releases of four packages that no figure is reported of. They are below the rates that are
seen there: where one token of a copy fails the next is in doubt too, and caution pays."""
_PRIOR_WEIGHT = 30.0


class Estimate:
    """How often the token that followed before follows again, by class of match; old news fades."""

    def __init__(self) -> None:
        self._rates = np.asarray([_FAR_PRIOR, _NEAR_PRIOR])
        self._hits = [[rate * _PRIOR_WEIGHT for rate in rates] for rates in (_FAR_PRIOR, _NEAR_PRIOR)]
        self._tries = [[_PRIOR_WEIGHT] * len(rates) for rates in (_FAR_PRIOR, _NEAR_PRIOR)]

    def learn(self, length: int, near: bool, hit: bool) -> None:
        """A match of `length` tokens foretold the next one, rightly or not."""
        at = _CLASSES[min(length, LONGEST)]
        hits, tries = self._hits[near], self._tries[near]
        # What is forgotten is replaced by the prior.
        renewed = (1 - _DECAY) * _PRIOR_WEIGHT
        hits[at] = _DECAY * hits[at] + renewed * (_FAR_PRIOR, _NEAR_PRIOR)[near][at] + hit
        tries[at] = _DECAY * tries[at] + renewed + 1
        self._rates[int(near), at] = hits[at] / tries[at]

    def accepted(self, length: int, near: bool, most: int) -> npt.NDArray[np.float64]:
        """The expected number of accepted tokens for drafts of 1 … `most` tokens."""
        rates = self._rates[int(near)]
        lengths = np.minimum(np.arange(length, length + most), LONGEST)
        chances: npt.NDArray[np.float64] = rates[_CLASS_OF[lengths]]
        return chances.cumprod().cumsum()


class Speculator:
    """The drafts of one answer. Without a table, or where no draft could ever pay, it costs nothing.

    After each evaluation: `observe` (if something was proposed), then `append` with the tokens that were
    chosen; then `propose` for the next.
    """

    def __init__(self, costs: CostTable, prompt: Ids) -> None:
        self._ratios = np.asarray(costs.ratios, np.float64)
        sizes = np.arange(1, len(self._ratios) + 1)
        self.useful = bool(len(self._ratios) > 1 and (sizes / self._ratios).max() > _GAIN)
        """A draft could pay, if it were right."""
        self._index = SuffixIndex(prompt if self.useful else prompt[:0])
        self._estimate = Estimate()
        self._match: Match | None = None
        self._near = False
        self._place, self._since = -1, 0
        """Where the last copy broke off, and how many tokens ago."""
        self._steps, self._lead = -1, 0.0
        """Tokens after the first, and by how many steps all drafts together were cheaper than none."""
        self.saving = 0.0
        """Steps that the last proposal is expected to save; 0: there was none."""

    @property
    def lead(self) -> float:
        """Steps of one token saved so far; negative: lost."""
        return self._lead

    @property
    def spare(self) -> float:
        """Steps that may be lost on the next draft, whatever makes it, within the bound."""
        return self._lead + ALLOWANCE * (self._steps + 1)

    def charge(self, steps: float) -> None:
        """Another source of drafts has spent these; it shares the lead and the bound."""
        self._lead -= steps

    def append(self, ids: Sequence[int] | Ids) -> None:
        """Take the tokens that the answer has gone on with, accepted drafts included."""
        if not self.useful:
            return
        for token in ids:
            self._take(int(token))

    def propose(self, most: int) -> Ids:
        """Return what to evaluate together with the answer's last token: at most `most`, often none."""
        match, self.saving = self._match, 0.0
        if match is None or most <= 0:
            return _NONE
        most = min(most, len(self._ratios) - 1)
        costs = self._ratios[1 : most + 1]
        allowed = int(np.searchsorted(costs, 1 + self.spare, side="right"))
        if not allowed:
            return _NONE
        tokens = 1 + self._estimate.accepted(match.length, self._near, allowed)
        saved = tokens - costs[:allowed]
        best = int(saved.argmax())
        if tokens[best] <= _GAIN * costs[best]:
            return _NONE
        self.saving = float(saved[best])
        return self._index.following(match.next, best + 1)

    def observe(self, proposed: int, accepted: int) -> None:
        """Of a draft of `proposed` tokens the first `accepted` were right."""
        if self.useful and proposed:
            self._lead += 1 + accepted - float(self._ratios[min(proposed, len(self._ratios) - 1)])

    def _take(self, token: int) -> None:
        index, match = self._index, self._match
        if not index.complete:
            index.grow()
        hit = match is not None and index.tokens[match.next] == token
        if match is not None:
            self._estimate.learn(match.length, self._near, hit)
        self._steps += 1
        self._since += 1
        index.append(token)
        index.grow()
        if match is not None and hit:
            self._match = Match(match.next + 1, min(match.length + 1, LONGEST))
            if match.length >= _SURE:
                self._place, self._since = match.next + 1, 0
                return
        else:
            if match is not None and match.length >= _SURE:
                self._place, self._since = match.next, 0
            self._match = None
        self._search()

    def _search(self) -> None:
        """Look for the best place to copy from; one that goes on keeps its rank among equals."""
        index, current = self._index, self._match
        far = index.find()
        near = None
        if self._place >= 0 and self._since < _KEPT_PLACE:
            near = index.near(self._place, _NEAR_BEFORE, _NEAR_AFTER)
        best, is_near = current, self._near and current is not None
        if near is not None and (best is None or near.length > best.length):
            best, is_near = near, True
        if far is not None and (best is None or far.length > best.length + (4 if is_near else 0)):
            best, is_near = far, False
        self._match, self._near = best, is_near


_NONE: Ids = np.zeros(0, np.int32)
