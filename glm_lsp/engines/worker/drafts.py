"""Drafts from what the prompt and the answer hold already, made only where they are expected to pay.

A model verifies k drafted tokens with one evaluation of k + 1, which costs c(k + 1) single steps. The policy
knows those costs, and where the answer may be copying from:

- far: where the last two or more tokens have stood before, the longest such match;
- near: the same, of one token or more, around the place where the last copy broke off;
- next: right after it: a few tokens were put in, left out or changed there;
- told: the beginning of the text that is to be rewritten, if the request says which, and in a search and
  replace block what was searched, followed by the marks that end the block and begin the next;
- line: of that text, the one that begins as the block's search does, further down than the last one.

Each kind has an estimate of how likely its next token is right, by the length of the match; for a line, by
how many lines begin so. The likeliest is followed. The estimates learn from every token of the answer,
drafted or not. A draft is as long as pays best, and ends where the text that it copies does.

The loss is bounded, whatever the text: a draft is made only if the answer so far, with all of the draft
refused, would still have cost at most 1.05 of what it costs without. Long drafts must be earned by short
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.forms import Beginning, Beginnings, Blocks, Marks, Turn
from glm_lsp.engines.worker.suffixes import LONGEST, Ids, Match, SuffixIndex

ALLOWANCE = 0.05
"""At most so much dearer than without drafts, at every moment of every answer."""
_GAIN = 1.02
"""A draft must be expected to gain more than this: costs and chances are estimates."""
_WORTH = 0.8
"""Steps that a token is worth when drafts of different lengths are compared: what is not drafted now may be
drafted later, and is then cheaper than a step."""
_DECAY = 0.97
_NEAR_BEFORE, _NEAR_AFTER = 16, 96
_NEXT_AFTER = 12
_PLACED = 8
"""A match of so many tokens is a place to look around when it ends."""
_SURE = 16
"""A match of so many tokens is not compared with others while it goes on."""
_KEPT_PLACE = 256
"""So many tokens after a copy has ended its place is still looked around."""


class Kind(IntEnum):
    """What a match is believed for."""

    FAR = 0
    NEAR = 1
    TOLD = 2
    LINE = 3
    NEXT = 4
    MARK = 5
    """One of those that end a block: a copy of what was searched comes to them."""


_BOUNDS = (1, 2, 3, 4, 6, 9, 17, 33, LONGEST)
"""Match lengths from which on a class of its own begins."""
_CLASS_OF = np.maximum(np.searchsorted(np.asarray(_BOUNDS), np.arange(LONGEST + 1), side="right") - 1, 0)
_CLASSES: list[int] = _CLASS_OF.tolist()
_PRIORS = (
    (0.010, 0.261, 0.368, 0.501, 0.653, 0.780, 0.904, 0.957, 0.976),
    (0.255, 0.524, 0.658, 0.752, 0.870, 0.908, 0.951, 0.970, 0.986),
    (0.980, 0.980, 0.980, 0.980, 0.974, 0.934, 0.915, 0.917, 0.982),
    (0.252, 0.479, 0.738, 0.774, 0.961, 0.980, 0.980, 0.978, 0.970),
    (0.480, 0.753, 0.785, 0.817, 0.886, 0.904, 0.951, 0.970, 0.986),
    (0.980,) * len(_BOUNDS),
)
"""By kind and class. Set by trial on releases of four packages that no figure is reported of. They are below
the rates that are seen there: where one token of a copy fails the next is in doubt too, and caution pays."""
_PRIOR_WEIGHT = 120.0
_LAST = len(_BOUNDS) - 1


def _class_of_line(found: Beginning) -> int:
    """The fewer lines begin so, the likelier it is the one."""
    many = (8, 4, 2, 1)
    fewer = sum(found.lines <= bound for bound in many)
    return fewer if found.lines > 1 else min(3 + found.length, _LAST)


class Estimate:
    """How often the token that followed before follows again, by kind and class; old news fades."""

    def __init__(self) -> None:
        self.rates = np.asarray(_PRIORS)
        self._hits = [[rate * _PRIOR_WEIGHT for rate in rates] for rates in _PRIORS]
        self._tries = [[_PRIOR_WEIGHT] * len(rates) for rates in _PRIORS]
        self._known: list[list[float]] = self.rates.tolist()

    def chance(self, kind: Kind, at: int) -> float:
        """Of a match's next token."""
        return self._known[kind][at]

    def learn(self, kind: Kind, at: int, hit: bool) -> None:
        """A match of that kind and class foretold the next token, rightly or not."""
        hits, tries = self._hits[kind], self._tries[kind]
        # What is forgotten is replaced by the prior.
        renewed = (1 - _DECAY) * _PRIOR_WEIGHT
        hits[at] = _DECAY * hits[at] + renewed * _PRIORS[kind][at] + hit
        tries[at] = _DECAY * tries[at] + renewed + 1
        self._known[kind][at] = self.rates[int(kind), at] = hits[at] / tries[at]

    def tokens(self, kind: Kind, at: int, length: int, most: int, marks: int) -> npt.NDArray[np.float64]:
        """The expected number of tokens from drafts of 1 … `most`, with the one that is certain.

        From token `marks` on they are marks.
        """
        lengths = np.minimum(np.arange(length, length + most), LONGEST)
        classes = _CLASS_OF[lengths] if kind is not Kind.LINE else np.minimum(lengths + 3, _LAST)
        chances: npt.NDArray[np.float64] = self.rates[int(kind)][classes]
        chances[0] = self._known[kind][at]
        chances[marks:] = self._known[Kind.MARK][0]
        return 1 + chances.cumprod().cumsum()


class Speculator:
    """The drafts of one answer. Without a table, or where no draft could ever pay, it costs nothing.

    After each evaluation: `observe` (if something was proposed), then `append` with the tokens that were
    chosen; then `propose` for the next.

    `source` is the text that the answer is expected to repeat with changes, from its beginning or in blocks;
    with `marks` blocks are recognised.
    """

    def __init__(
        self, costs: CostTable, prompt: Ids, source: Ids | None = None, marks: Marks | None = None
    ) -> None:
        self._ratios = np.asarray(costs.ratios, np.float64)
        sizes = np.arange(1, len(self._ratios) + 1)
        self.useful = bool(len(self._ratios) > 1 and (sizes / self._ratios).max() > _GAIN)
        """A draft could pay, if it were right."""
        source = _NONE if source is None or not self.useful else source
        closing = _NONE if marks is None or not self.useful else marks.closing
        self._closing_end = len(closing)
        self._source_end = len(closing) + len(source)
        parts = (closing, source, prompt if self.useful else prompt[:0])
        self._index = SuffixIndex(np.concatenate(parts))
        self._estimate = Estimate()
        self._blocks = Blocks(marks) if marks is not None else None
        self._lines = Beginnings(source, marks.text) if marks is not None and len(source) else None
        self._match: Match | None = None
        self._kind, self._class = Kind.TOLD, 0
        if len(source):
            self._match = Match(self._closing_end, 1)
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
        allowed = int(np.searchsorted(self._ratios[1 : most + 1], 1 + self.spare, side="right"))
        draft = self._following(match.next, allowed)
        if not len(draft):
            return _NONE
        costs = self._ratios[1 : len(draft) + 1]
        marks = self._left(match.next) or len(draft)
        tokens = self._estimate.tokens(self._kind, self._class, match.length, len(draft), marks)
        best = int((_WORTH * tokens - costs).argmax())
        if tokens[best] <= _GAIN * costs[best]:
            return _NONE
        self.saving = float(tokens[best] - costs[best])
        return draft[: best + 1]

    def observe(self, proposed: int, accepted: int) -> None:
        """Of a draft of `proposed` tokens the first `accepted` were right."""
        if self.useful and proposed:
            self._lead += 1 + accepted - float(self._ratios[min(proposed, len(self._ratios) - 1)])

    def _take(self, token: int) -> None:
        index, match, kind = self._index, self._match, self._kind
        if not index.complete:
            index.grow()
        hit = match is not None and index.tokens[match.next] == token
        if match is not None:
            self._estimate.learn(kind, self._class, hit)
        self._steps += 1
        self._since += 1
        index.append(token)
        index.grow()
        if match is not None:
            self._go_on(match, hit)
        if self._blocks is not None and self._turned(token):
            return
        line = self._lines.take(token) if self._lines is not None and self._lines.active else None
        sure = match is not None and (match.length >= _SURE or kind in (Kind.TOLD, Kind.MARK))
        if not (hit and sure and self._match):
            self._search(line)

    def _go_on(self, match: Match, hit: bool) -> None:
        """The match has foretold the last token, or broken off."""
        if match.length >= _PLACED or self._kind is Kind.TOLD:
            self._place, self._since = match.next + hit, 0
        following = self._after(match.next) if hit else -1
        if following < 0:
            self._match = None
            return
        # After what was searched come the marks, wherever the copy was found.
        self._follow(Match(following, min(match.length + 1, LONGEST)), self._kind if following else Kind.MARK)
        lines, blocks = self._lines, self._blocks
        searches = blocks is not None and blocks.searches
        inside = self._closing_end <= following < self._source_end
        if lines is not None and searches and inside and match.length > 2:
            lines.after = following - self._closing_end

    def _turned(self, token: int) -> bool:
        """Whether the form says where the answer goes on from now."""
        blocks, lines = self._blocks, self._lines
        if blocks is None:
            return False
        turn = blocks.take(token, len(self._index) - 1)
        if turn is Turn.NONE:
            return False
        if turn is Turn.REPLACES:
            if lines is not None:
                lines.stop()
            if blocks.again < blocks.end:
                self._follow(Match(blocks.again, 1), Kind.TOLD)
                self._place, self._since = blocks.again, 0
            else:
                self._follow(Match(0, 1), Kind.MARK)
        elif turn is Turn.CLOSES:
            self._follow(Match(self._after(0), 1), Kind.MARK)
        elif self._kind is not Kind.MARK:
            self._match = None
        if turn is Turn.BEGINS:
            self._match = None
            if lines is not None:
                lines.restart()
        return True

    def _follow(self, match: Match, kind: Kind, at: int = -1) -> None:
        """Copy from there. `at` is its class, where the length does not tell it."""
        if at < 0:
            at = min(match.length + 3, _LAST) if kind is Kind.LINE else _CLASSES[match.length]
        self._match, self._kind, self._class = match, kind, at

    def _left(self, place: int) -> int:
        """So many tokens, from a place on, of what was searched and is now replaced; 0: it lies elsewhere."""
        blocks = self._blocks
        if blocks is None or not blocks.replaces or not blocks.start <= place < blocks.end:
            return 0
        return blocks.end - place

    def _after(self, place: int) -> int:
        """What follows a place in the text that is copied; -1: it ends."""
        if self._left(place) == 1:
            return 0
        place += 1
        return -1 if place in (self._closing_end, self._source_end) else place

    def _following(self, place: int, count: int) -> Ids:
        """What a draft from a place would be, at most `count` tokens."""
        tokens = self._index.tokens
        if place < self._source_end:
            end = self._closing_end if place < self._closing_end else self._source_end
            return np.frombuffer(tokens[place : min(place + count, end)], np.int32)
        if left := self._left(place):
            return np.frombuffer(
                (tokens[place : place + left] + tokens[: self._closing_end])[:count], np.int32
            )
        return self._index.following(place, count)

    def _search(self, line: Beginning | None) -> None:
        """Look for the likeliest place to copy from; one that goes on keeps its rank among equals."""
        index, estimate = self._index, self._estimate
        best = estimate.chance(self._kind, self._class) if self._match is not None else 0.0
        if line is not None:
            at = _class_of_line(line)
            if (chance := estimate.chance(Kind.LINE, at)) > best:
                best = chance
                self._follow(Match(self._closing_end + line.next, line.length), Kind.LINE, at)
        near = upcoming = None
        if self._place >= 0 and self._since < _KEPT_PLACE:
            near = index.near(self._place, _NEAR_BEFORE, _NEAR_AFTER)
            inside = near is not None and self._place <= near.next <= self._place + _NEXT_AFTER
            upcoming = near if inside else index.near(self._place, 1, _NEXT_AFTER)
        for found, kind in ((index.find(), Kind.FAR), (near, Kind.NEAR), (upcoming, Kind.NEXT)):
            following = -1 if found is None else self._after(found.next - 1)
            if found is None or following < 0:
                continue
            chance = estimate.chance(kind, _CLASSES[found.length])
            if chance > best:
                best = chance
                self._follow(Match(following, found.length), kind)


_NONE: Ids = np.zeros(0, np.int32)
