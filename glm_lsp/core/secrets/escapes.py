"""Texts with characters written as JSON writes them (`\\u002e`), as they read. Pure."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass

ESCAPE = b"\\u00"
_ESCAPED = re.compile(rb"\\u00([2-7][0-9A-Fa-f])")
_MORE_BYTES = 5
"""An escape is six bytes, what it stands for is one."""


@dataclass(frozen=True, slots=True)
class Unescaped:
    """`data` as it reads, and where in it the characters stand that were written otherwise."""

    data: bytes
    places: tuple[int, ...]

    def back(self, offset: int) -> int:
        """The offset in the text as it was written."""
        return offset + _MORE_BYTES * bisect_left(self.places, offset)


def unescaped(data: bytes) -> Unescaped | None:
    """The text as it reads; None where nothing printable in it is escaped."""
    parts: list[bytes] = []
    places: list[int] = []
    at = size = 0
    for match in _ESCAPED.finditer(data):
        part = data[at : match.start()]
        parts += (part, bytes((int(match[1], 16),)))
        size += len(part) + 1
        places.append(size - 1)
        at = match.end()
    if not places:
        return None
    parts.append(data[at:])
    return Unescaped(b"".join(parts), tuple(places))
