"""How much is evaluated in one call, so that a job that is interrupted again and again still gets on.

What is interrupted inside a call is lost. So calls are made to fit: into the time that the job had between
the last interruptions, by what was measured here. Who has had longer than that is expected to be left alone
for as long again. Whatever the forecasts are worth, at most `MOST_IN_A_ROW` calls in a row are lost: the one
after is waited for.

Pieces end on multiples of a power of two, counted from the batch's beginning, and never beyond its end. From
`EVEN` tokens on their bits are those of whole batches (measured: on the CPU, by llama-cpp-python 0.3.36);
smaller ones are computed by other kernels, whose last bits differ as those of drafted batches do. On a slow
machine 64 tokens of a mixture of experts take seconds, for which nobody who types should wait: so smaller
ones are made where they must be, and whoever was read so counts near ties as if there had been drafts
(`Generation`).
"""

from __future__ import annotations

from collections.abc import Callable

INTERRUPTED_S = 0.3
"""A call that is expected to keep something more urgent waiting for longer still is interrupted."""
MOST_IN_A_ROW = 3
EVEN = 64
_CAUTION = 0.8


class Pieces:
    """The calls of one job. `seconds(size)` foretells how long the next one takes; -1: unknown."""

    def __init__(self, batch_tokens: int, seconds: Callable[[int], float]) -> None:
        self._batch = batch_tokens
        self._seconds = seconds
        self._gap_s: float | None = None
        """How long it may go on between two interruptions; None: there was none."""
        self._since_s = 0.0
        """What it has had since the last one."""
        self._lost = 0
        self._bound = batch_tokens
        self._lost_token_s = 0.0

    @property
    def firm(self) -> bool:
        """The next call is waited for: its like has been lost too often, or none is smaller."""
        return self._lost >= MOST_IN_A_ROW or (self._lost > 0 and self.most == 1)

    @property
    def most(self) -> int:
        """Tokens of the next call."""
        if self._gap_s is None and not self._lost:
            return self._batch
        gap_s = self._gap_s or 0.0
        left_s = max(_CAUTION * gap_s - self._since_s, self._since_s - gap_s, INTERRUPTED_S)
        size = self._bound
        while size > 1 and not self._fits(size, left_s):
            size = _power_of_two(size - 1)
        return size

    def end(self, start: int, target: int) -> int:
        """Where a call that begins at `start` ends, on the way to `target`."""
        most = self.most
        base = start - start % self._batch
        inside = (start - base) // most * most + most
        whole = min(base + self._batch, target)
        end = min(base + inside, whole)
        # No needlessly small rest.
        return whole if most >= EVEN > whole - end else end

    def even(self, start: int, end: int, target: int) -> bool:
        """Whether this piece has the bits that it has where nobody interrupts."""
        undisturbed = start % self._batch == 0 and end == min(start + self._batch, target)
        return undisturbed or end - start >= EVEN

    def interrupted(self, size: int, spent_s: float) -> None:
        """A call of `size` tokens is lost, and the time that it had."""
        self._since_s += spent_s
        self._lost += 1
        self._bound = _power_of_two(max(size // 2, 1))
        self._lost_token_s = spent_s / size

    def finished(self, seconds: float) -> None:
        """A call has come to its end."""
        self._since_s += seconds
        self._lost = 0
        self._bound = self._batch

    def paused(self) -> None:
        """Others come between."""
        if self._since_s:
            self._gap_s = self._since_s if self._gap_s is None else (self._gap_s + self._since_s) / 2
            self._since_s = 0.0

    def _fits(self, size: int, left_s: float) -> bool:
        seconds = self._seconds(size)
        # Where nothing is measured: as if each token took the same, and at least what the lost ones had.
        return (seconds if seconds >= 0 else size * self._lost_token_s) <= left_s


def _power_of_two(size: int) -> int:
    """The largest that is not larger."""
    return 1 << (size.bit_length() - 1)
