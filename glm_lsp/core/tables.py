"""Which files define a name, in how many it occurs, who imports whom: in four bytes for each pair.

Names are told apart by 32 bits. Two of them may share a key: a count is then a little too large, and a file
that does not define the name is found among those that do, so whoever must be certain looks into the file.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol
from zlib import crc32

from glm_lsp.core.references import References
from glm_lsp.core.values import FileOutline

SHARES = 32
SHARE_BYTES = 1 << 20
"""Keys are sorted in as many parts as have about so many bytes each, so that little memory is taken."""


def key_of(name: str) -> int:
    """32 bits that stand for a name, the same in every process."""
    return crc32(name.encode("utf-8", "surrogatepass"))


class Keys(NamedTuple):
    """What a file has to do with, as the sorted bytes of unsigned 32-bit numbers (`key_of`)."""

    defined: bytes = b""
    named: bytes = b""
    """Names that it defines or uses."""
    mentioned: bytes = b""
    """Last words of the modules that it imports or passes on, and names imported from there."""


_WORDS = re.compile(r"[^\W]+(?:-\w+)*")


def keys_of(outline: FileOutline) -> Keys:
    """The keys of an outline that is at hand."""
    defined = {s.name for s in outline.symbols}
    used = outline.references
    names = used.names() if isinstance(used, References) else {r.name for r in used}
    mentioned = {word for i in outline.imports for word in (i.name, *_WORDS.findall(i.module)[-2:])}
    mentioned.update(word for e in outline.exports for word in _WORDS.findall(e.module)[-2:])
    return Keys(_packed(defined), _packed(defined | names), _packed(mentioned))


def stems(path: str) -> tuple[str, ...]:
    """The words by which an import may speak of a file."""
    parts = path.split("/")
    return (parts[-1].partition(".")[0], *parts[-2:-1])


def _packed(names: Collection[str]) -> bytes:
    try:
        keys = {crc32(name.encode()) for name in names}  # `key_of`, in half the time
    except UnicodeEncodeError:
        keys = set(map(key_of, names))
    return array("I", sorted(keys)).tobytes()


def numbers(keys: bytes) -> array[int]:
    """Packed keys as numbers."""
    found = array("I")
    found.frombytes(keys)
    return found


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

    def count(self, key: int) -> int:
        """The number of files of one key."""
        at = bisect_left(self.keys, key)
        if at == len(self.keys) or self.keys[at] != key:
            return 0
        return self.starts[at + 1] - self.starts[at]

    def columns(self) -> tuple[array[int], array[int], array[int]]:
        return self.keys, self.starts, self.files


def postings(files: Iterable[bytes]) -> Postings:
    """`files` gives the sorted keys of each file, as unsigned 32-bit numbers."""
    listed = list(files)
    shares = min(SHARES, 1 + sum(map(len, listed)) // SHARE_BYTES)
    keys, starts, out = array("I"), array("I", (0,)), array("I")
    for share in range(shares):
        found: defaultdict[int, list[int]] = defaultdict(list)
        for number, data in enumerate(listed):
            for key in _share(numbers(data), share, shares):
                found[key].append(number)
        for key in sorted(found):
            keys.append(key)
            out.extend(found[key])
            starts.append(len(out))
    return Postings(keys, starts, out)


def _share(keys: array[int], share: int, shares: int) -> array[int]:
    """One of several parts of all numbers."""
    if shares == 1:
        return keys
    low = bisect_left(keys, (share << 32) // shares)
    return keys[low : bisect_left(keys, (share + 1 << 32) // shares, low)]


class Tables(NamedTuple):
    """All of it for one list of files, which are numbered in its order."""

    defined: Postings
    named: Postings
    mentioned: Postings
    imported: Postings
    """By the number of a file: those that it imports."""
    importers: Postings

    def columns(self) -> list[array[int]]:
        return [column for part in self for column in part.columns()]

    @classmethod
    def of_columns(cls, columns: Sequence[array[int]], count: int) -> Tables:
        """Raises ValueError for columns that are not those of tables of `count` files."""
        if len(columns) != 3 * len(cls._fields):
            raise ValueError("another number of columns")
        parts = [Postings(*columns[at : at + 3]) for at in range(0, len(columns), 3)]
        if any(part.files and max(part.files) >= count for part in parts):
            raise ValueError("a file is missing")
        return cls(*parts)


class Source(Protocol):
    """Keeps the tables of one list of files. Called from any thread; never raises."""

    def tables(self, count: int) -> Tables | None: ...

    def keep(self, tables: Tables) -> None: ...


def linked(edges: Sequence[Iterable[int]]) -> tuple[Postings, Postings]:
    """`imported` and `importers` of files whose imports are these."""
    forward = [array("I", sorted(set(targets))) for targets in edges]
    back: list[array[int]] = [array("I") for _ in forward]
    for number, targets in enumerate(forward):
        for target in targets:
            back[target].append(number)
    return _lists(forward), _lists(back)


def _lists(lists: Sequence[array[int]]) -> Postings:
    starts, files = array("I", (0,)), array("I")
    for found in lists:
        files.extend(found)
        starts.append(len(files))
    return Postings(array("I", range(len(lists))), starts, files)
