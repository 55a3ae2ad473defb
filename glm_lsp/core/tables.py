"""Which files define a name, and in how many it occurs: for a whole index, in four bytes for each pair.

Names are told apart by 32 bits. Two of them may share a key: a count is then a little too large, and a file
that does not define the name is found among those that do, so whoever must be certain looks into the file.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from zlib import crc32

SHARES = 16
"""Pairs are sorted in so many parts, so that neither memory nor the interpreter's lock is taken for long."""


def key_of(name: str) -> int:
    """32 bits that stand for a name, the same in every process."""
    return crc32(name.encode("utf-8", "surrogatepass"))


class Postings:
    """For each key the numbers of files, ascending."""

    __slots__ = ("files", "keys", "starts")

    def __init__(self, keys: array[int], starts: array[int], files: array[int]) -> None:
        """`keys` ascends; those of `keys[i]` are `files[starts[i]:starts[i + 1]]`. Raises ValueError."""
        if len(starts) != len(keys) + 1 or (starts[0], starts[-1]) != (0, len(files)):
            raise ValueError("the columns do not fit together")
        self.keys, self.starts, self.files = keys, starts, files

    def of(self, key: int) -> Sequence[int]:
        """The files of one key."""
        at = bisect_left(self.keys, key)
        if at == len(self.keys) or self.keys[at] != key:
            return ()
        return self.files[self.starts[at] : self.starts[at + 1]]

    def columns(self) -> tuple[array[int], array[int], array[int]]:
        return self.keys, self.starts, self.files


def postings(files: Iterable[bytes]) -> Postings:
    """`files` gives the sorted keys of each file, as unsigned 32-bit numbers."""
    shares: list[list[tuple[int, array[int]]]] = [[] for _ in range(SHARES)]
    for number, data in enumerate(files):
        found = array("I")
        found.frombytes(data)
        low = 0
        for share in range(SHARES):
            high = bisect_left(found, (share + 1) << 28, low) if share < SHARES - 1 else len(found)
            if high > low:
                shares[share].append((number, found[low:high]))
            low = high
    keys, starts, out = array("I"), array("I", (0,)), array("I")
    for share in shares:
        last = -1
        for pair in sorted(_pairs(share)):
            key = pair >> 32
            if key != last:
                if last >= 0:
                    starts.append(len(out))
                keys.append(key)
                last = key
            out.append(pair & 0xFFFFFFFF)
        if last >= 0:
            starts.append(len(out))
        share.clear()
    return Postings(keys, starts, out)


def _pairs(share: Iterable[tuple[int, array[int]]]) -> Iterator[int]:
    for number, keys in share:
        for key in keys:
            yield key << 32 | number
