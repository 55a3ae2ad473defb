"""Where have the last tokens stood before? An index over a growing run of tokens, as LZ77 has it.

Two tables of hashes, of the last four and of the last two tokens, give the newest place where such a run
ended, and a chain from each place to the one before. Chains may mix runs whose hashes are equal: every place
found is compared with the tokens themselves. It takes 1 MB for the tables and 12 bytes per token. The prompt
is indexed in slices while the answer is written, so that the first token never waits.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]

LONGEST = 64
"""Of a match, as far as it is measured."""
SLICE = 4096
"""Tokens of the prompt that one call indexes: about 2 ms."""
_LONG, _SHORT = 4, 2
_LONG_LINKS, _SHORT_LINKS = 24, 12
"""So many places of a chain are looked at: a bound on the time of one search."""
_MULTIPLIER = 0x9E3779B1
_MASK = 0xFFFFFFFF
_BITS = 17


@dataclass(frozen=True, slots=True)
class Match:
    """The last `length` tokens ended at another place too, and `next` is what followed there."""

    next: int
    length: int


class _Chains:
    """Places at which runs of `size` tokens end, newest first, by hash."""

    def __init__(self, size: int, links: int) -> None:
        self.size = size
        self._links = links
        self._heads = array("i", b"\xff" * (4 << _BITS))
        self._before = array("i")
        """For each place the one before with the same hash; -1: none."""

    def extend(self, hashes: list[int]) -> None:
        """Add the places that follow those known."""
        heads, before = self._heads, self._before
        for at, key in enumerate(hashes, len(before)):
            before.append(heads[key])
            heads[key] = at

    def places(self, key: int) -> list[int]:
        """The newest places under a hash, newest first."""
        found: list[int] = []
        at = self._heads[key]
        while at >= 0 and len(found) < self._links:
            found.append(at)
            at = self._before[at]
        return found


class SuffixIndex:
    """A run of tokens, and where its end has stood before. `grow` indexes what the start has given."""

    def __init__(self, start: Ids) -> None:
        self.tokens = array("i", np.ascontiguousarray(start, np.int32).tobytes())
        self._chains = (_Chains(_LONG, _LONG_LINKS), _Chains(_SHORT, _SHORT_LINKS))
        self._indexed = 0

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def complete(self) -> bool:
        """Everything but the last token is indexed."""
        return self._indexed >= len(self.tokens) - 1

    def append(self, token: int) -> None:
        """Take the next token."""
        self.tokens.append(token)

    def grow(self) -> None:
        """Index the next slice. Never the last token: what ends there is what is looked for."""
        start, end = self._indexed, min(self._indexed + SLICE, len(self.tokens) - 1)
        if end <= start:
            return
        for chains in self._chains:
            # One at a time, as while writing, numpy is slower than Python.
            one = end - start == 1 and end >= chains.size
            chains.extend([self._hash(chains.size, end)] if one else self._hashes(chains.size, start, end))
        self._indexed = end

    def find(self) -> Match | None:
        """The longest earlier match of the end, the newest of equals; at least two tokens."""
        size = len(self.tokens)
        best, length = -1, 0
        for chains in self._chains:
            # A chain of long runs may hold shorter ones too, from the start of the prompt.
            if size < chains.size or length >= _LONG:
                continue
            for place in chains.places(self._hash(chains.size, size)):
                # Only what could be longer than the best is measured.
                if length and self.tokens[place - length] != self.tokens[size - 1 - length]:
                    continue
                measured = self.measure(place)
                if measured > length:
                    best, length = place, measured
                if length == LONGEST:
                    break
        return Match(best + 1, length) if length >= _SHORT else None

    def near(self, place: int, before: int, after: int) -> Match | None:
        """The longest match that ends so near to `place`, the nearest of equals; at least one token."""
        tokens = self.tokens
        last = tokens[-1]
        low, high = max(place - before, 0), min(place + after, len(tokens) - 1)
        best, length, distance = -1, 0, 0
        window = tokens[low:high]
        at = 0
        while last in window[at:]:
            at = window.index(last, at)
            measured, away = self.measure(low + at), abs(low + at - place)
            if measured > length or (measured == length and away < distance):
                best, length, distance = low + at, measured, away
            at += 1
        return Match(best + 1, length) if length else None

    def measure(self, place: int) -> int:
        """How many of the last tokens also end at `place`."""
        tokens, end = self.tokens, len(self.tokens) - 1
        length, most = 0, min(LONGEST, place + 1)
        while length < most and tokens[place - length] == tokens[end - length]:
            length += 1
        return length

    def following(self, place: int, count: int) -> Ids:
        """The tokens from `place` on; a run that reaches the end goes on with itself, as a cycle does."""
        found = np.frombuffer(self.tokens[place : place + count], np.int32)
        return np.resize(found, count) if 0 < len(found) < count else found

    def _hashes(self, size: int, start: int, end: int) -> list[int]:
        """The hashes of the runs that end at `start` … `end` - 1; runs that begin before 0 hash to 0."""
        low = start - size + 1
        ids = np.frombuffer(self.tokens[max(low, 0) : end], np.int32).astype(np.uint32)
        if low < 0:
            ids = np.concatenate([np.zeros(-low, np.uint32), ids])
        hashes = np.zeros(end - start, np.uint32)
        for at in range(size):
            hashes = (hashes + ids[at : at + end - start]) * np.uint32(_MULTIPLIER)
        return (hashes >> np.uint32(32 - _BITS)).tolist()

    def _hash(self, size: int, end: int) -> int:
        """The hash of the run that ends before `end`."""
        key = 0
        for token in self.tokens[end - size : end]:
            key = ((key + token) * _MULTIPLIER) & _MASK
        return key >> (32 - _BITS)
