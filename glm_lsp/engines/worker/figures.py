"""What this worker has measured about itself: speed by depth, forecasts and their error, totals.

Written by the thread that runs the model, read by any.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from glm_lsp.engines.frames import Done, Speed

DEPTHS = (0, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536, 131_072, 262_144, 524_288)
"""Where a bucket of depth begins, in tokens: attention costs about as much as there is to attend to."""
FULL = 0.5
"""A batch of this share of `batch_tokens` or more tells the speed; smaller ones cost more a token."""
GUESS_TOKENS_S = 100.0
"""Before anything is measured, where a guess is better than none."""
_CLASSES = 16
"""Of short calls, by the length of their number of tokens in bits."""
_FORGET = 0.98
"""What was measured before counts so much less with each new measurement."""


@dataclass(slots=True)
class _Bucket:
    """Sums that fade: tokens, the seconds that they took, and the depth where they stood."""

    tokens: float = 0.0
    seconds: float = 0.0
    depth: float = 0.0

    def add(self, depth: float, tokens: int, seconds: float) -> None:
        self.tokens = _FORGET * self.tokens + tokens
        self.seconds = _FORGET * self.seconds + seconds
        self.depth = _FORGET * self.depth + depth * tokens


class Costs:
    """Seconds per token as a function of depth: measured means, a line between them and beyond the last."""

    def __init__(self) -> None:
        self._buckets = [_Bucket() for _ in DEPTHS]

    def add(self, depth: float, tokens: int, seconds: float) -> None:
        """So many tokens at that depth took so long."""
        self._buckets[bisect_right(DEPTHS, depth) - 1].add(depth, tokens, seconds)

    def speed(self, at: int) -> float:
        """Tokens per second in one bucket; 0: nothing is measured there."""
        bucket = self._buckets[at]
        return bucket.tokens / bucket.seconds if bucket.seconds else 0.0

    def seconds(self, start: int, end: int) -> float:
        """For tokens `start` to `end`; -1 if nothing is measured at all."""
        points = [(b.depth / b.tokens, b.seconds / b.tokens) for b in self._buckets if b.tokens]
        if not points:
            return -1.0
        # A line is exact by its middle; the pieces end where the line may bend.
        ends = sorted({start, end, *(int(depth) for depth, _ in points if start < depth < end)})
        return sum((b - a) * _cost(points, (a + b) / 2) for a, b in itertools.pairwise(ends))


def _cost(points: Sequence[tuple[float, float]], depth: float) -> float:
    """Seconds per token at a depth. Deeper is never cheaper than the last measured one."""
    at = bisect_right(points, (depth, float("inf")))
    if at == 0 or len(points) == 1:
        return points[0][1] if at == 0 else points[-1][1]
    (d0, c0), (d1, c1) = points[at - 1 : at + 1] if at < len(points) else points[-2:]
    slope = (c1 - c0) / (d1 - d0)
    if at == len(points):
        return c1 + max(slope, 0.0) * (depth - d1)
    return c0 + slope * (depth - d0)


@dataclass(slots=True)
class Short:
    """Calls with about as many tokens, each counted as one: what they take is nearly the same."""

    costs: Costs = field(default_factory=Costs)
    sizes: _Bucket = field(default_factory=_Bucket)

    def add(self, depth: float, tokens: int, seconds: float) -> None:
        self.costs.add(depth, 1, seconds)
        self.sizes.add(tokens, 1, seconds)

    def point(self, depth: int) -> tuple[float, float]:
        """How many tokens they had, and how long they take there."""
        return self.sizes.depth / self.sizes.tokens, self.costs.seconds(depth, depth + 1)


@dataclass(slots=True)
class Totals:
    """Tokens since the worker has started."""

    prompt: int = 0
    reused: int = 0
    restored: int = 0
    output: int = 0
    drafted: int = 0
    mtp_drafted: int = 0
    mtp_accepted: int = 0
    accepted: int = 0
    evaluated_again: int = 0
    near_ties: int = 0

    def add(self, done: Done) -> None:
        self.prompt += done.prompt_tokens
        self.reused += done.cached_tokens
        self.restored += done.restored_tokens
        self.output += done.output_tokens
        self.drafted += done.drafted_tokens
        self.mtp_drafted += done.mtp_drafted_tokens
        self.mtp_accepted += done.mtp_accepted_tokens
        self.accepted += done.accepted_tokens
        self.evaluated_again += done.evaluated_again
        self.near_ties += done.near_ties


@dataclass(slots=True)
class Figures:
    """Measurements and what follows from them. Times in seconds; -1 where it is not known."""

    batch_tokens: int
    reading: Costs = field(default_factory=Costs)
    """Whole batches of prompts."""
    short: tuple[Short, ...] = field(default_factory=lambda: tuple(Short() for _ in range(_CLASSES)))
    """Shorter ones, and single steps of writing, by their number of tokens: up to 1, 3, 7, 15 …"""
    steps: Costs = field(default_factory=Costs)
    """Steps of writing, counted as one token each, whatever drafts they verified."""
    writing: Costs = field(default_factory=Costs)
    """The same, by the tokens that came out."""
    totals: Totals = field(default_factory=Totals)
    errors: tuple[int, float] = (0, 0.0)
    """Forecasts so far, and the sum of their relative errors."""

    def read(self, start: int, count: int, seconds: float) -> None:
        """Tokens `start` to `start + count` of a prompt were evaluated in one batch."""
        depth = start + count / 2
        if count >= FULL * self.batch_tokens:
            self.reading.add(depth, count, seconds)
        else:
            self._of_size(count).add(depth, count, seconds)

    def wrote(self, depth: int, tokens: int, seconds: float, fed: int = 1) -> None:
        """One step at that depth, in which `fed` tokens were evaluated, gave so many."""
        if fed == 1:
            self._of_size(1).add(depth, 1, seconds)
        self.steps.add(depth, 1, seconds)
        self.writing.add(depth, tokens, seconds)

    def wrote_singly(self, depth: int, tokens: int, seconds: float) -> None:
        """So many steps of one token, from that depth on, took so long together."""
        self._of_size(1).add(depth, 1, seconds / tokens)
        self.steps.add(depth, tokens, seconds)
        self.writing.add(depth, tokens, seconds)

    def prefill_s(self, start: int, end: int) -> float:
        """How long evaluating tokens `start` to `end` of a prompt takes."""
        if end <= start:
            return 0.0
        last = (end - start) % self.batch_tokens if end - start > self.batch_tokens else end - start
        whole = end - last
        end_s = self._batch_s(whole, last)
        if whole == start:
            return end_s
        whole_s = self.reading.seconds(start, whole)
        if whole_s < 0:
            # Whoever was interrupted in each batch so far was read in pieces.
            whole_s = self._in_pieces_s(start, whole)
        return -1.0 if min(whole_s, end_s) < 0 else whole_s + end_s

    def evaluate_s(self, start: int, end: int) -> float:
        """The same, with a guess where nothing is measured."""
        seconds = self.prefill_s(start, end)
        return seconds if seconds >= 0 else max(end - start, 0) / GUESS_TOKENS_S

    def batch_s(self, start: int, count: int, *, writing: bool) -> float:
        """How long the next call into llama.cpp takes."""
        return self.steps.seconds(start, start + 1) if writing else self._batch_s(start, count)

    def piece_s(self, start: int, count: int) -> float:
        """How long evaluating so few tokens takes, whatever they are for."""
        return self._batch_s(start, count)

    def foretold(self, forecast_s: float, true_s: float) -> None:
        """A forecast has met the truth."""
        if forecast_s >= 0 and true_s > 0:
            count, total = self.errors
            self.errors = count + 1, total + abs(forecast_s - true_s) / true_s

    @property
    def eta_error(self) -> float:
        count, total = self.errors
        return total / count if count else -1.0

    @property
    def speeds(self) -> tuple[Speed, ...]:
        """By depth, where anything is measured."""
        found = (
            Speed(depth, self.reading.speed(at), self.writing.speed(at)) for at, depth in enumerate(DEPTHS)
        )
        return tuple(speed for speed in found if speed.prefill or speed.decode)

    def _of_size(self, count: int) -> Short:
        return self.short[min(count.bit_length(), _CLASSES) - 1]

    def _in_pieces_s(self, start: int, end: int) -> float:
        """At the speed of the largest calls that are no whole batches; single steps say nothing of it."""
        known = [short for short in self.short[1:] if short.sizes.seconds]
        if not known:
            return -1.0
        size, seconds = known[-1].point(start)
        return (end - start) / size * seconds

    def _batch_s(self, start: int, count: int) -> float:
        if not count:
            return 0.0
        by_speed = self.reading.seconds(start, start + count)
        if count >= FULL * self.batch_tokens and by_speed >= 0:
            return by_speed
        points = [short.point(start) for short in self.short if short.sizes.seconds]
        if not points:
            return by_speed
        if by_speed >= 0:
            points.append((self.batch_tokens, self.reading.seconds(start, start + self.batch_tokens)))
        return _between(points, count)


def _between(points: Sequence[tuple[float, float]], count: int) -> float:
    """The seconds of a call with `count` tokens, out of (tokens, seconds) in order.

    A power of the count between two: a mixture of experts is read more and more often, but never more than
    whole. Fewer than were ever measured take as long; more, in proportion.
    """
    at = bisect_right(points, (count, math.inf))
    if at == 0:
        return points[0][1]
    size, seconds = points[at - 1]
    if at == len(points):
        return seconds * count / size
    larger, longer = points[at]
    if count <= size or min(seconds, longer) <= 0:
        return seconds
    return seconds * (max(longer / seconds, 1.0)) ** (math.log(count / size) / math.log(larger / size))
