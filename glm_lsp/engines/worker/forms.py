"""Where an answer stands in its form: search and replace blocks, followed line by line.

A block repeats itself: what is searched stands in the file from the beginning of one of its lines on, further
down than the block before; and what replaces it is what was searched, with changes. Only drafts are made of
this, so a line that looks like a mark and is none costs a draft at most.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

import numpy as np
import numpy.typing as npt

from glm_lsp.core.blocks import MIDDLE, REPLACE, SEARCH
from glm_lsp.engines.worker.suffixes import Ids

FOLLOWED = 12
"""So many tokens of a beginning are compared with the beginnings of lines."""


class Marks:
    """A vocabulary, as far as forms need it: the text of its tokens, and how it writes what ends a block."""

    def __init__(self, text: Callable[[int], str], encode: Callable[[str], Sequence[int] | Ids]) -> None:
        self.text = cache(text)
        self.closing: Ids = np.asarray(encode(f"{REPLACE}\n{SEARCH}\n"), np.int32)
        """The end of a block and the beginning of the next: several tokens in any vocabulary."""


class Turn(Enum):
    """What a token has brought about."""

    NONE = 0
    SEARCHES = 1
    """The mark before the searched lines is complete; the rest of its line may still come."""
    BEGINS = 2
    """The first line of what is searched comes next."""
    REPLACES = 3
    """The mark between is complete: `again` is where what was searched begins."""
    CLOSES = 4
    """The first token of the closing mark has come, `Marks.closing` begins with it."""


class Blocks:
    """Follows an answer. Positions are those of its tokens in whatever holds them."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._line = ""
        self._searches = self._waits = False
        self.replaces = False
        self.start = self.end = -1
        """Where what was searched last begins and ends; what ends the line of its mark belongs to it."""
        self.again = -1
        """Where it goes on from what has been repeated of it by the mark between."""
        self._line_at = self._body = -1

    @property
    def searches(self) -> bool:
        """Inside the lines that are searched."""
        return self._searches and not self._waits

    def take(self, token: int, position: int) -> Turn:
        """Take the token at a position."""
        text = self._marks.text(token)
        fresh, line = not self._line, self._line + text
        if fresh:
            self._line_at = position
        ends = "\n" in text
        self._line = line.rpartition("\n")[2]
        if not ends and line[:1] not in "<=>":
            return Turn.NONE
        return self._turn(token, position, line.partition("\n")[0], ends=ends, fresh=fresh)

    def _turn(self, token: int, position: int, line: str, *, ends: bool, fresh: bool) -> Turn:
        if line == SEARCH and not self._searches:
            self._searches, self._waits, self.replaces = True, not ends, False
            self.start = self._body = position + 1
            return Turn.BEGINS if ends else Turn.SEARCHES
        if self._waits and ends:
            # The line's end may hold an empty line.
            self._waits, self._body = False, position + 1
            return Turn.BEGINS
        if self._searches and line == MIDDLE:
            self._searches, self.replaces, self.end = False, True, self._line_at
            self.again = self._body if ends else self.start
            return Turn.REPLACES
        if self.replaces and fresh and token == self._marks.closing[0]:
            return Turn.CLOSES
        return Turn.NONE


@dataclass(frozen=True, slots=True)
class Beginning:
    """A line of the source that begins with what has been written: `next` is what follows there.

    `lines` of them begin so, further down than the last block; `length` tokens are the same.
    """

    next: int
    length: int
    lines: int


class Beginnings:
    """Which line of a source is being copied from its beginning on?"""

    def __init__(self, source: Ids, text: Callable[[int], str]) -> None:
        self._source = source
        self._text = text
        self._starts: npt.NDArray[np.intp] | None = None
        self._left = _NOWHERE
        self._length = 0
        self.active = False
        self.after = 0
        """The next one is not expected before this place."""

    def restart(self) -> None:
        """The next token begins a line."""
        if self._starts is None:
            ends = ["\n" in self._text(token) for token in self._source.tolist()]
            self._starts = np.flatnonzero([True, *ends[:-1]]) if ends else _NOWHERE
        self._left, self._length, self.active = self._starts, 0, True

    def stop(self) -> None:
        self.active = False

    def take(self, token: int) -> Beginning | None:
        """Take the line's next token; return the first line that begins so, after `after` if any is."""
        places = self._left + self._length
        inside = places < len(self._source)
        self._left = self._left[inside][self._source[places[inside]] == token]
        self._length += 1
        self.active = bool(len(self._left)) and self._length < FOLLOWED
        if not len(self._left):
            return None
        ahead = self._left[self._left >= self.after]
        first = int(ahead[0] if len(ahead) else self._left[0])
        if first + self._length >= len(self._source):
            return None
        # Where all lie behind, as good as any is not good.
        return Beginning(first + self._length, self._length, len(ahead) or len(self._left) + 2)


_NOWHERE: npt.NDArray[np.intp] = np.zeros(0, np.intp)
