"""What was read from the parts of an earlier text, for the parts of it that a later text still has.

A key holds all that the answer depends on, so what is remembered is never wrong, only of no use any more.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

MOST_GROWTH = 4
LEAST_BYTES = 1 << 16


class Memo:
    """One per open document. Forgets everything when it holds many times the text."""

    __slots__ = ("_known", "_most", "size")

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        self.size = 0
        """Bytes of text that something is remembered of."""
        self._most = MOST_GROWTH * LEAST_BYTES

    def begin(self, size: int) -> None:
        """A text of `size` bytes is about to be read."""
        self._most = MOST_GROWTH * max(size, LEAST_BYTES)
        if self.size > self._most:
            self._known.clear()
            self.size = 0

    def get(self, key: Hashable) -> Any:
        """What was kept, or None."""
        return self._known.get(key)

    def keep(self, key: Hashable, value: object, size: int) -> None:
        """Keep what was found in so many bytes, unless that is too much by far."""
        if size > 2 * self._most - self.size:
            return
        self._known[key] = value
        self.size += size
