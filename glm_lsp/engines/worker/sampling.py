"""Choose the next token: greedy or sampled, within what healing and a grammar allow.

Every token of an answer has a random stream of its own, made from the seed and its number. So a draft is
tested by choosing as if there were none, and accepted while the choice equals it: what comes out is
distributed, and for the same logits drawn, exactly as without drafts, at any temperature. There is no
repetition penalty: code repeats itself, and a penalty would break its indentation and its names.
"""

from __future__ import annotations

import hashlib
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from glm_lsp.core.errors import EngineDied, UsageError

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int32]
_FEW = 1024


class Rules(Protocol):
    """A grammar, as far as choosing is concerned."""

    def permits(self, token: int) -> bool: ...

    def mask(self, logits: Logits) -> Logits: ...


def near_tie(logits: Logits, token: int, noise: float, rules: Rules | None = None) -> bool:
    """Whether another token is so near to the best that an evaluation in another batch may prefer it.

    `noise` is `CostTable.noise`. Where this is false, greedy answers with and without drafts agree. `rules`
    are those that the choice was made under, and that have not gone past it.
    """
    if rules is not None:
        near = np.flatnonzero(np.abs(logits - logits[token]) <= noise)
        return any(rules.permits(int(other)) for other in near if other != token)
    if token != int(logits.argmax()):
        return False  # the end of the reasoning, or of a word, has chosen
    second = max(float(logits[:token].max(initial=-np.inf)), float(logits[token + 1 :].max(initial=-np.inf)))
    return float(logits[token]) - second <= noise


class Chooser:
    """Temperature 0 takes the likeliest token; otherwise a seeded draw.

    Each call of `choose`, `among` or `within` is for the next token of the answer.
    """

    def __init__(self, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0) -> None:
        if not (0 <= temperature <= 10 and 0 < top_p <= 1):
            raise UsageError(
                f"Sampling needs a temperature of 0 to 10 and a top_p above 0, at most 1; "
                f"not {temperature} and {top_p}."
            )
        self._temperature = temperature
        self._top_p = top_p
        self._seed = (seed & (2**64 - 1)).to_bytes(8, "little")
        self._number = 0
        """Of the answer's next token."""

    @property
    def greedy(self) -> bool:
        return self._temperature == 0

    def choose(self, logits: Logits) -> int:
        """Choose any token."""
        self._number += 1
        return self._one(logits, 0)

    def among(self, logits: Logits, ids: Ids) -> int:
        """Choose one of `ids`."""
        return int(ids[self.choose(logits[ids])])

    def within(self, logits: Logits, rules: Rules, outside: Ids) -> int:
        """Choose a token that `rules` permit and that is not in `outside`.

        The choice is tested, and the whole vocabulary masked only if it is refused: what comes out is
        distributed as if all of it had been masked first. A nucleus (top_p) is of what is permitted, so it
        needs the mask.
        """
        self._number += 1
        if self.greedy or self._top_p == 1:
            token = self._one(logits, 0)
            if not np.any(outside == token) and rules.permits(token):
                return token
        masked = rules.mask(logits)
        masked[outside] = -np.inf
        if not np.isfinite(masked.max()):
            raise UsageError("The grammar of the request has come to a point where no text can follow.")
        return self._one(masked, 1)

    def _one(self, logits: Logits, draw: int) -> int:
        best = int(logits.argmax())
        if not math.isfinite(logits[best]):
            raise EngineDied("The model gave no usable probabilities; the model file is likely damaged.")
        if self.greedy:
            return best
        weights = np.exp((logits.astype(np.float64) - float(logits[best])) / self._temperature)
        fraction = self._fraction(draw)
        if self._top_p < 1:
            return self._nucleus(weights, fraction)
        return _pick(weights.cumsum(), fraction)

    def _nucleus(self, weights: npt.NDArray[np.float64], fraction: float) -> int:
        wanted = self._top_p * float(weights.sum())
        few = min(_FEW, len(weights))
        top = np.argpartition(weights, len(weights) - few)[len(weights) - few :]
        if float(weights[top].sum()) < wanted:
            top = np.arange(len(weights))
        # Equals by their ids: which ones a partition puts first is nobody's choice.
        top = top[np.lexsort((top, -weights[top]))]
        cumulative = weights[top].cumsum()
        count = min(int(np.searchsorted(cumulative, wanted)) + 1, len(top))
        return int(top[_pick(cumulative[:count], fraction)])

    def _fraction(self, draw: int) -> float:
        """A number from 0 up to 1, by the seed, the token's number and the draw alone."""
        text = self._seed + self._number.to_bytes(8, "little") + bytes((draw,))
        return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 11) / 2**53


def _pick(cumulative: npt.NDArray[np.float64], fraction: float) -> int:
    at = int(np.searchsorted(cumulative, fraction * float(cumulative[-1]), side="right"))
    return min(at, len(cumulative) - 1)
