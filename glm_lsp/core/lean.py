"""Short tails, for budgets that tell files: the trunk shows the code, so the tail shows the place.

A tail that begins anew is evaluated anew, so it begins at the cursor's line or right above it; where the
trunk does not show the code there, some lines above. What was typed is said as the beginning of an answer,
and where somebody goes on elsewhere that answer stays in the log (`ledger.left`): nothing of it is told, or
evaluated, a second time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from glm_lsp.core import layout
from glm_lsp.core.ledger import Ledger, Window, moved_line
from glm_lsp.core.shown import covers

SEEN_BEFORE = 8
"""Lines above the cursor's that the trunk must tell, so that the tail need not."""
LINES_SEEN = 1
"""Lines before the cursor's where the trunk shows more of them."""
LEAST_UNSEEN, MOST_UNSEEN = 2, 8
"""Lines before the cursor's where it does not, that say something."""
UNSEEN_CHARS = 110
"""So many characters or fewer these have, where they are more than the least."""
SUFFIX_LINES, MOST_SUFFIX_LINES = 1, 2
"""Lines of the suffix that say something, the rest of the cursor's among them, and lines besides that."""
_WORD = re.compile(r"\w")
MOST_REST_BYTES, MOST_BEFORE_BYTES, CLIPPED_BYTES = 160, 400, 120
"""Of the cursor's line after the cursor and before it; where it has more before, the last ones are shown."""
CLIPPED = "…"
"""Stands where a line goes on that is not shown whole."""
NEAR_LINES = 8
"""So many lines below the one where somebody typed last, or fewer, a tail shows none before the cursor's."""


def suffix_of(after: Sequence[str]) -> tuple[str, ...]:
    """The rest of the cursor's line and the next lines, as many as a tail shows."""
    if len(rest := after[0].encode()) > MOST_REST_BYTES:
        return (rest[:MOST_REST_BYTES].decode(errors="ignore") + CLIPPED,)
    wanted, number = SUFFIX_LINES - bool(_WORD.search(after[0])), 0
    while wanted and number < min(MOST_SUFFIX_LINES, len(after) - 1):
        number += 1
        wanted -= bool(after[number].strip())
    return tuple(after[: number + 1])


def seen(ledger: Ledger, path: str, lines: tuple[str, ...], cursor_line: int) -> bool:
    """Whether the trunk shows the lines above the cursor's."""
    line = told_line(ledger, path, lines, cursor_line)
    if line is None or not ledger.tracked[path]:
        return False
    line = min(line, len(ledger.tracked[path]) - 1)
    first = max(0, line - SEEN_BEFORE)
    return covers(ledger.shown.get(path, ()), first, max(first, line - 1))


def told_line(ledger: Ledger, path: str, lines: tuple[str, ...], line: int) -> int | None:
    """The number that the trunk's text of a file gives to a line; None where it does not follow the file."""
    told = ledger.tracked.get(path)
    if told is None or told is lines:
        return None if told is None else line
    return moved_line(line, lines, told)


def stays(
    ledger: Ledger, path: str, lines: tuple[str, ...], cursor_line: int, after: tuple[str, ...]
) -> bool:
    """Whether the tail that an engine has read goes on: only what it shows before the gap has changed."""
    window, told = ledger.window, ledger.tracked.get(path)
    if window is None or told is None or window.path != path or window.after != after:
        return False
    if window.clip and (
        cursor_line != window.cursor_line
        or lines[cursor_line][: window.clip] != window.lines[cursor_line][: window.clip]
    ):
        return False
    start, below = window.start_line, len(lines) - cursor_line - 1
    return (
        cursor_line >= start
        and len(told) - start - window.replaced == below
        and lines[:start] == told[:start]
        and lines[len(lines) - below :] == told[len(told) - below :]
    )


def place(
    ledger: Ledger,
    path: str,
    lines: tuple[str, ...],
    *,
    after: tuple[str, ...],
    before: str,
    language: str,
    old: Window | None,
    stands: bool,
    starts: Sequence[int],
    cursor_line: int,
    fits: Callable[[int], bool],
    inside: Callable[[int], str],
    turn: bool,
) -> Ledger:
    """Begin a tail. `old` was the window before: where its tail `stands` at the end of the log
    (`ledger.left`) and ends close above the cursor, this one begins at the cursor's line.

    `before` is the cursor's line up to the cursor, `after` is `suffix_of` the place, `inside` names the
    definition around a line; the other arguments are those of `ledger.place_window`. What else has changed
    is to be told next, and then `bound` says what the window stands for.
    """
    start = begins(ledger, path, lines, starts, cursor_line)
    name = "" if seen(ledger, path, lines, cursor_line) else inside(start)
    again = stands and old is not None and old.path == path
    if again and old and old.start_line <= cursor_line <= old.cursor_line + NEAR_LINES:
        start, name = cursor_line, ""
    clip = 0
    if len(line := before.encode()) > MOST_BEFORE_BYTES:
        start, clip = cursor_line, len(before) - len(line[-CLIPPED_BYTES:].decode(errors="ignore"))
    while not fits(start) and start < cursor_line:
        start += max(1, (cursor_line - start) // 2)
    at = layout.place_of("" if again else path, start)
    window = Window(path, start, cursor_line, lines, after, at, "", clip, 0, language, name, again, turn)
    return replace(ledger, window=typed(window, before, lines, cursor_line))


def typed(window: Window, before: str, lines: tuple[str, ...], cursor_line: int) -> Window:
    """The window that goes on with `before` on the cursor's line."""
    said = CLIPPED + before[window.clip :] if window.clip else before
    return replace(window, before=said, lines=lines, cursor_line=cursor_line)


def bound(ledger: Ledger) -> Ledger:
    """The ledger whose window knows what of the told lines it stands for, once all else has been told."""
    window = ledger.window
    if window is None:
        return ledger
    told = ledger.tracked[window.path]
    replaced = len(told) - len(window.lines) + window.cursor_line + 1 - window.start_line
    at = layout.place_of("" if window.again else window.path, window.start_line, replaced, window.name)
    return replace(ledger, window=replace(window, replaced=replaced, at=at))


def begins(ledger: Ledger, path: str, lines: tuple[str, ...], starts: Sequence[int], cursor_line: int) -> int:
    """The first line of a new window."""
    if seen(ledger, path, lines, cursor_line):
        start = max(0, cursor_line - LINES_SEEN)
    else:
        start, number, chars = cursor_line, 0, 0
        while start and number < MOST_UNSEEN:
            chars += len(lines[start - 1].strip())
            if number >= LEAST_UNSEEN and chars > UNSEEN_CHARS:
                break
            start, number = start - 1, number + bool(lines[start - 1].strip())
            if start in starts and number >= LEAST_UNSEEN:
                break
    while start < cursor_line and not lines[start].strip():
        start += 1
    return start
