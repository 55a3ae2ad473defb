"""How much is evaluated in one call, so that a job that is interrupted again and again still gets on.

What is interrupted inside a call is lost. So the next call is a smaller one: it is expected to end before it
would be interrupted again, by what was measured here. Each one that ends is followed by one twice as large,
up to a whole batch: however short the gaps between keystrokes are, a good part of each is progress. Whatever
the forecasts are worth, at most `MOST_IN_A_ROW` calls in a row are lost: the one after is waited for.

Pieces end on multiples of a power of two, counted from the batch's beginning, and never beyond its end. Above
63 tokens their bits are those of whole batches (measured: on the CPU, by llama-cpp-python 0.3.36);
smaller ones are computed by other kernels, whose last bits differ as those of drafted batches do.
"""

from __future__ import annotations

from collections.abc import Callable

INTERRUPTED_S = 0.3
"""A call that is expected to keep something more urgent waiting for longer still is interrupted."""
MOST_IN_A_ROW = 3


class Pieces:
    """The calls of one job. `seconds(size)` foretells how long the next one takes; -1: unknown."""

    def __init__(self, batch_tokens: int, seconds: Callable[[int], float]) -> None:
        self._batch = batch_tokens
        self._seconds = seconds
        self._lost = 0
        self.most = batch_tokens
        """Tokens of the next call."""

    @property
    def firm(self) -> bool:
        """The next call is waited for: its like has been lost too often, or none is smaller."""
        return self._lost >= MOST_IN_A_ROW or (self._lost > 0 and self.most == 1)

    def end(self, start: int, target: int) -> int:
        """Where a call that begins at `start` ends, on the way to `target`."""
        base = start - start % self._batch
        inside = (start - base) // self.most * self.most + self.most
        return min(base + min(inside, self._batch), target)

    def interrupted(self, size: int, spent_s: float) -> None:
        """A call of `size` tokens is lost, and the time that it had."""
        self._lost += 1
        most = _power_of_two(max(size // 2, 1))
        # As if each token took the same, where nothing is measured; `size` has taken longer than it had.
        fits = size * INTERRUPTED_S / max(spent_s, 1e-9)
        while most > 1:
            seconds = self._seconds(most)
            if seconds <= INTERRUPTED_S if seconds >= 0 else most <= fits:
                break
            most //= 2
        self.most = most

    def finished(self) -> None:
        """A call has come to its end."""
        self._lost = 0
        self.most = min(2 * self.most, self._batch)


def _power_of_two(size: int) -> int:
    """The largest that is not larger."""
    return 1 << (size.bit_length() - 1)
