"""Suggestions that are known already, and what is left of them after some of their text was typed. Pure.

Nothing is asked of an engine for what a person types along with, comes back to, or takes a word of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from glm_lsp.core.values import Span, Suggestion

MOST_HELD = 12
"""Suggestions of one document."""
MOST_BYTES = 8 << 20
"""Of the texts that they were made for; one text is kept once."""
_CLOSERS = frozenset(b")]}>\"'`")
MOST_CLOSERS = 4
"""Signs that an editor may put behind the cursor by itself, for what was typed."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A text, and the byte offset for which something was asked."""

    data: bytes
    offset: int

    def since(self, data: bytes, offset: int) -> tuple[bytes, int] | None:
        """What was typed here since, up to `offset` of `data`, and how many signs an editor put behind it.

        None where anything else is different.
        """
        closers = len(data) - offset - (len(self.data) - self.offset)
        if offset < self.offset or not 0 <= closers <= MOST_CLOSERS:
            return None
        if any(sign not in _CLOSERS for sign in data[offset : offset + closers]):
            return None
        if (
            data[: self.offset] != self.data[: self.offset]
            or data[offset + closers :] != self.data[self.offset :]
        ):
            return None
        return data[self.offset : offset], closers

    def follows(self, heard: bytes, data: bytes) -> bool:
        """Whether `data` is this text with the beginning of `heard` typed at the place."""
        grown = len(data) - len(self.data)
        return any(
            (since := self.since(data, self.offset + grown - closers)) is not None
            and since[1] == closers
            and heard.startswith(since[0])
            for closers in range(min(MOST_CLOSERS, max(grown, 0)) + 1)
        )


class Held:
    """The suggestions of one document, the newest last."""

    def __init__(self) -> None:
        self._known: deque[tuple[Asked, bytes]] = deque(maxlen=MOST_HELD)

    def keep(self, asked: Asked, text: str) -> None:
        """`text` was suggested for this place."""
        one = (asked, text.encode())
        if one in self._known:
            self._known.remove(one)
        self._known.append(one)
        while len(self._known) > 1 and self._bytes() > MOST_BYTES:
            self._known.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._known.clear()

    def find(self, data: bytes, offset: int) -> list[Suggestion]:
        """What is left of the suggestions that hold at a place, the newest first."""
        found = dict.fromkeys(self._found(data, offset))
        return list(found)

    def _found(self, data: bytes, offset: int) -> Iterator[Suggestion]:
        for asked, text in reversed(self._known):
            since = asked.since(data, offset)
            if since is None or not text.startswith(since[0]):
                continue
            rest, closers = text[len(since[0]) :], data[offset : offset + since[1]]
            if rest.strip() and _in_order(closers, rest.split(b"\n", 1)[0]):
                try:
                    yield Suggestion(Span(offset, offset + since[1]), rest.decode())
                except UnicodeDecodeError:  # the cursor stands inside of a character
                    continue

    def _bytes(self) -> int:
        return sum({id(asked.data): len(asked.data) for asked, _ in self._known}.values())


def _in_order(signs: bytes, text: bytes) -> bool:
    """Whether the signs stand in the text in this order, so that it may take their place."""
    at = 0
    for sign in signs:
        at = text.find(sign, at) + 1
        if not at:
            return False
    return True
