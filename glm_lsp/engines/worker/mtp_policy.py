"""When a layer that foretells tokens (MTP) pays: which of its guesses to make, and which to have verified.

A guess is a token, and the chance that the layer itself gives it. Making one costs a step of the layer; all
guesses of a draft are verified at once, as other drafts are. The policy goes from guess to guess: it makes
the next one only while that is expected to save more than it costs, and has as many verified as save most.
What it thinks of the layer's chances is learned from the tokens that were chosen, whether or not a guess was
verified. Pure: who makes guesses and what they cost is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from glm_lsp.engines.worker.costs import CostTable

MOST = 8
"""Guesses of one draft: each is made from the ones before, and they get worse."""
_GAIN = 1.02
"""As of all drafts: costs and chances are estimates."""
_BOUNDS = (0.3, 0.5, 0.65, 0.8, 0.9, 0.96, 0.99)
"""The chances that the layer gives, from which on a class of its own begins."""
_PRIOR = (0.15, 0.35, 0.5, 0.65, 0.78, 0.88, 0.94, 0.97)
_PRIOR_WEIGHT = 12.0
_FADE = 0.99
_HOPE = 0.75
"""Of a layer that has not been tried: so many of its guesses are right."""
_HOPE_WEIGHT = 6.0
_HOPE_FADES, _HOPE_RETURNS = 0.9, 0.25
"""With each attempt, and with each new answer."""
_REMEMBERED = 0.5
"""Of what the answers before have told about its worth: one that did not pay is tried again now and then."""


@dataclass(frozen=True, slots=True)
class MtpCosts:
    """In single steps of the model."""

    step: float
    """A guess."""
    entry: float
    """Every further token that the layer reads together with the one before a guess."""


class Guess(NamedTuple):
    token: int
    chance: float
    """As the layer itself sees it."""


def could_pay(costs: CostTable, mtp: MtpCosts) -> bool:
    """A draft would pay if all its guesses were right; where this is false none is ever made."""
    return _best(costs, mtp, 1.0) > 0


def _best(costs: CostTable, mtp: MtpCosts, rate: float) -> float:
    """The most steps that a draft is expected to save if so many of its guesses are right."""
    found, expected, right = 0.0, 1.0, 1.0
    for size in range(1, min(MOST, len(costs.ratios) - 1) + 1):
        right *= rate
        expected += right
        cost = costs.ratios[size] + size * mtp.step
        if expected > _GAIN * cost:
            found = max(found, expected - cost)
    return found


class Chances:
    """How often guesses are right, by the chance that the layer gives them, and for first and later ones."""

    def __init__(self) -> None:
        self._hits = [[rate * _PRIOR_WEIGHT for rate in _PRIOR] for _ in range(2)]
        self._tries = [[_PRIOR_WEIGHT] * len(_PRIOR) for _ in range(2)]

    def of(self, chance: float, number: int) -> float:
        """Of guess `number` of a draft, counted from 0."""
        at, later = self._class(chance), number > 0
        return self._hits[later][at] / self._tries[later][at]

    def next(self, number: int) -> float:
        """The same before it is made, as often as each class has come so far."""
        later = number > 0
        return sum(self._hits[later]) / sum(self._tries[later])

    def learn(self, chance: float, number: int, hit: bool) -> None:
        """A guess has turned out right or wrong."""
        at, later = self._class(chance), number > 0
        # What is forgotten is replaced by the prior.
        renewed = (1 - _FADE) * _PRIOR_WEIGHT
        self._hits[later][at] = _FADE * self._hits[later][at] + renewed * _PRIOR[at] + hit
        self._tries[later][at] = _FADE * self._tries[later][at] + renewed + 1

    @staticmethod
    def _class(chance: float) -> int:
        # What is no number is no chance.
        return int(np.searchsorted(_BOUNDS, chance, side="right")) if chance > 0 else 0


@dataclass(slots=True)
class MtpRecord:
    """What a worker knows of its layer, over all answers. Written by one thread, read by any."""

    costs: CostTable
    mtp: MtpCosts
    chances: Chances = field(default_factory=Chances)
    drafted: int = 0
    """Guesses that were verified."""
    accepted: int = 0
    _saved: float = 0.0
    _attempts: float = 0.0
    _hope: float = 0.0
    _hope_weight: float = _HOPE_WEIGHT

    def __post_init__(self) -> None:
        self._hope = _best(self.costs, self.mtp, _HOPE)

    @property
    def worth(self) -> float:
        """Steps that an attempt is expected to save, with all that it costs."""
        return (self._saved + self._hope_weight * self._hope) / (self._attempts + self._hope_weight)

    def begin(self) -> None:
        """An answer begins."""
        self._saved *= _REMEMBERED
        self._attempts *= _REMEMBERED
        self._hope_weight += _HOPE_RETURNS * (_HOPE_WEIGHT - self._hope_weight)

    def attempted(self, saved: float) -> None:
        """An attempt has come to its end, whether or not its guesses were verified."""
        self._saved = _FADE * self._saved + saved
        self._attempts = _FADE * self._attempts + 1
        self._hope_weight *= _HOPE_FADES

    @property
    def told(self) -> str:
        """A sentence for people: whether it is run at present, and why not."""
        one = self.costs.ratios[1] + self.mtp.step
        price = f"a draft of one token costs {one:.2f} steps"
        right = f"{self.accepted:,} of {self.drafted:,} guesses that were verified were right"
        if not self._hope:
            return f"off: {price}, which pays only if nearly all guesses are right"
        if self.worth <= 0:
            return f"off for now, because it has not paid: {right}, and {price}"
        return f"on; {right}, and {price}" if self.drafted else f"on, not used yet; {price}"


class Draft(NamedTuple):
    """What an attempt has given: the guesses that are worth verifying, and the steps that were spent."""

    guesses: tuple[Guess, ...]
    worth_verifying: int
    spent: float

    @property
    def tokens(self) -> list[int]:
        return [guess.token for guess in self.guesses[: self.worth_verifying]]


NOTHING = Draft((), 0, 0.0)


def draft(
    record: MtpRecord, make: Iterable[Guess], *, behind: int, most: int, spare: float, rival: float = 0.0
) -> Draft:
    """Make guesses and choose how many to verify. `make` is asked for one at a time, and costs each time.

    `behind` tokens are to be read before the first. Never more is spent than 1 + `spare` steps with all of
    it refused. `rival` is what another source's draft is expected to save: only what saves more is chosen.
    """
    ratios, mtp = record.costs.ratios, record.mtp
    most = min(most, MOST, len(ratios) - 1)
    spent = behind * mtp.entry
    if record.worth <= rival or most < 1:
        return NOTHING
    source: Iterator[Guess] = iter(make)
    made: list[Guess] = []
    expected, right, best, chosen = 1.0, 1.0, rival, 0
    while len(made) < most:
        size = len(made) + 1
        if ratios[size] + spent + mtp.step > 1 + spare:
            break
        gain = right * record.chances.next(len(made)) - (ratios[size] - ratios[size - 1])
        if made and gain <= mtp.step:
            break
        guess = next(source, None)
        if guess is None:
            break
        spent += mtp.step
        right *= record.chances.of(guess.chance, len(made))
        expected += right
        made.append(guess)
        if expected > _GAIN * ratios[size] and expected - ratios[size] > best:
            best, chosen = expected - ratios[size], size
    return Draft(tuple(made), chosen, spent) if made else NOTHING


def learn(record: MtpRecord, attempt: Draft, chosen: Sequence[int]) -> int:
    """The tokens that were chosen after an attempt: how many of the guesses verified were right.

    For an attempt whose own guesses were verified, or none; another source's draft tells no less.
    """
    right = 0
    for number, (guess, token) in enumerate(zip(attempt.guesses, chosen, strict=False)):
        hit = guess.token == token
        record.chances.learn(guess.chance, number, hit)
        if not hit:
            break
        right += 1
    size = attempt.worth_verifying
    accepted = min(right, size)
    record.attempted(1 + accepted - record.costs.ratios[size] - attempt.spent)
    record.drafted += size
    record.accepted += accepted
    return accepted
