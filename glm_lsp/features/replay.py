"""An edit session on paper: its events, one JSON object a line, and what its prompts cost to read.

    {"op": "open", "path": "a.py", "text": "…"}      without `text`: as the file is on disk
    {"op": "edit", "path": "a.py", "start": 10, "end": 12, "text": "…"}
    {"op": "save", "path": "a.py"}                   to the replay's own memory, never to the disk
    {"op": "close", "path": "a.py"}                  what was not saved is gone
    {"op": "request", "path": "a.py", "offset": 14}

Offsets are bytes of the text at that moment. `t`, in seconds, may stand in each, and lets pauses be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import cast

import msgspec

from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Prompt, Thinking, Tokenizer
from glm_lsp.core.template import SPECIAL_TOKENS, Piece, render
from glm_lsp.core.text import common_start

MOST_LINE_BYTES = 64 << 20
"""Of an event."""
MOST_TEXTS = 8192
"""Pieces of prompts whose tokens are remembered."""
_SHOWN = 80


class Op(StrEnum):
    OPEN = "open"
    EDIT = "edit"
    SAVE = "save"
    CLOSE = "close"
    REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that an editor did. `number` is its line in the file, from 1; `t` is None where not given."""

    number: int
    op: Op
    path: str
    start: int = 0
    end: int = 0
    text: str | None = None
    offset: int = 0
    t: float | None = None


class _Line(msgspec.Struct):
    op: str
    path: str
    start: int | None = None
    end: int | None = None
    text: str | None = None
    offset: int | None = None
    t: float | None = None


def read_event(line: bytes, number: int) -> Event:
    """The event in line `number`, from 1. Raises UsageError, a sentence that names the line."""
    if len(line) > MOST_LINE_BYTES:
        raise UsageError(f"Line {number} is longer than {MOST_LINE_BYTES >> 20} MiB; split its text.")
    try:
        found = msgspec.json.decode(line, type=_Line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"Line {number} is no event: {error}; write one JSON object a line.") from None
    if found.op not in set(Op):
        known = ", ".join(Op)
        raise UsageError(f"Line {number}: there is no op {found.op[:_SHOWN]!r}; known are {known}.")
    op = Op(found.op)
    given = {"start": found.start, "end": found.end, "text": found.text, "offset": found.offset}
    needs = {Op.EDIT: ("start", "end", "text"), Op.REQUEST: ("offset",)}.get(op, ())
    if lacking := [name for name in needs if given[name] is None]:
        raise UsageError(f"Line {number}: {op} needs {', '.join(lacking)}.")
    try:
        (found.path + (found.text or "")).encode()
    except UnicodeEncodeError:
        raise UsageError(f"Line {number} holds half of a surrogate pair, which is no text.") from None
    if found.t is not None and not math.isfinite(found.t):
        raise UsageError(f"Line {number}: t is {found.t}; give seconds.")
    return Event(
        number, op, found.path, found.start or 0, found.end or 0, found.text, found.offset or 0, found.t
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """What a prompt costs an engine that has read the one before it: all but the first `kept` tokens."""

    tokens: int
    kept: int
    appended: tuple[bytes, ...] | None
    """The bytes of the tokens to evaluate; None where nobody knows them."""

    @property
    def evaluated(self) -> int:
        return self.tokens - self.kept


class Tape:
    """The tokens of each prompt beside those of the one before. Exact where the tokenizer says its tokens."""

    def __init__(self, tokenizer: Tokenizer, template: str) -> None:
        self._template = template
        self._count = tokenizer.count
        pieces = cast("Callable[[str], Sequence[bytes]] | None", getattr(tokenizer, "pieces", None))
        self.exact = pieces is not None and tokenizer.exact

        def cut(text: str) -> tuple[bytes, ...]:
            return tuple(pieces(text)) if pieces else ()

        self._cut = lru_cache(maxsize=MOST_TEXTS)(cut)
        self._before: list[tuple[bytes, ...]] = []
        self._text_before: list[str] = []

    def read(self, prompt: Prompt, thinking: Thinking) -> Reading:
        """The cost of this prompt after the last one."""
        rendered = [part for piece in render(prompt, thinking, self._template) for part in _parts(piece)]
        return self._read_tokens(rendered) if self.exact else self._read_text(rendered)

    def _read_tokens(self, rendered: list[Piece]) -> Reading:
        now = [(p.text.encode(),) if p.special else self._cut(p.text) for p in rendered]
        before, self._before = self._before, now
        same = 0
        while same < min(len(now), len(before)) and (now[same] is before[same] or now[same] == before[same]):
            same += 1
        old = [token for part in before[same:] for token in part]
        new = [token for part in now[same:] for token in part]
        more = common_start(old, new)
        kept = sum(map(len, now[:same])) + more
        return Reading(kept + len(new) - more, kept, tuple(new[more:]))

    def _read_text(self, rendered: list[Piece]) -> Reading:
        """By a bound: the text after the common beginning counts, and never fewer tokens than there are."""
        now = [p.text for p in rendered]
        before, self._text_before = self._text_before, now
        costs = [1 if p.special else self._count(p.text) for p in rendered]
        same = common_start(before, now)
        total, kept = sum(costs), sum(costs[:same])
        if same < min(len(now), len(before)):
            shared = common_start(before[same], now[same])
            kept = max(kept, total - sum(costs[same + 1 :]) - self._count(now[same][shared:]))
        return Reading(total, kept, None)


def _parts(piece: Piece) -> list[Piece]:
    """A piece of the template's own text, cut into its special tokens and what stands between them."""
    if not piece.special:
        return [piece]
    parts: list[Piece] = []
    rest = piece.text
    while rest:
        special = next((s for s in SPECIAL_TOKENS if rest.startswith(s)), "")
        end = len(special) or min((i for s in SPECIAL_TOKENS if (i := rest.find(s)) > 0), default=len(rest))
        parts.append(Piece(rest[:end], special=bool(special)))
        rest = rest[end:]
    return parts
