"""Short windows, for budgets that tell files: the tail shows the last lines where the trunk shows the others.

A tail is evaluated anew whenever its beginning changes: at each jump, and when text after the cursor
changes. So it begins near the cursor, at a line that says something. Where the trunk does not show the code
around the cursor, it begins at the definition; after `MOVES_UNSEEN` more moves there, the trunk is told.
Lines above the cursor stand first and stay, so another gap close below costs little more than its suffix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from glm_lsp.core.ledger import Ledger, Window, moved_line
from glm_lsp.core.shown import covers

SEEN_BEFORE, SEEN_AFTER = 24, 4
"""Lines around the cursor that the trunk must tell, so that the tail need not."""
LINES_SEEN = 2
"""Lines before the cursor where the trunk shows more of them."""
LEAST_UNSEEN, MOST_UNSEEN = 5, 12
"""Lines before the cursor where it does not."""
SUFFIX_LINES, MOST_SUFFIX_LINES = 2, 3
"""Lines of the suffix that are not blank, and lines in all."""
MOVES_UNSEEN = 3
KEPT_LINES = 8
"""A window stays for another gap so many lines below the one that it was begun for, or fewer."""


def suffix_of(after: Sequence[str]) -> tuple[str, ...]:
    """The rest of the cursor's line and the next lines, up to the second that is not blank."""
    wanted, number = SUFFIX_LINES, 0
    while wanted and number < min(MOST_SUFFIX_LINES, len(after) - 1):
        number += 1
        wanted -= bool(after[number].strip())
    return tuple(after[: number + 1])


def told_line(ledger: Ledger, path: str, lines: tuple[str, ...], line: int) -> int | None:
    """The number that the trunk's text of a file gives to a line; None where it does not follow the file."""
    told = ledger.tracked.get(path)
    if told is None or told is lines:
        return None if told is None else line
    return moved_line(line, lines, told)


def around(ledger: Ledger, path: str, lines: tuple[str, ...], cursor_line: int) -> tuple[int, int] | None:
    """First and last line, as told, of what the trunk should show around the cursor."""
    line = told_line(ledger, path, lines, cursor_line)
    if line is None:
        return None
    told = ledger.tracked[path]
    most = len(told) - (2 if len(told) > 1 and not told[-1] else 1)
    line = min(line, most)
    return max(0, line - SEEN_BEFORE), min(most, line + SEEN_AFTER)


def seen(ledger: Ledger, path: str, lines: tuple[str, ...], cursor_line: int) -> bool:
    """Whether the trunk shows the code around the cursor."""
    place = around(ledger, path, lines, cursor_line)
    return place is not None and covers(ledger.shown.get(path, ()), *place)


def place(
    ledger: Ledger,
    path: str,
    lines: tuple[str, ...],
    *,
    after: tuple[str, ...],
    starts: Sequence[int],
    cursor_line: int,
    most_lines: int,
    fits: Callable[[int], bool],
    inside: Callable[[int], str],
) -> Ledger:
    """Keep the window while somebody only types, or where the lines that it begins with still serve.

    `after` is `suffix_of` the place, `inside` names the definition around a line; the other arguments are
    those of `ledger.place_window`.
    """
    old = ledger.window
    shown = seen(ledger, path, lines, cursor_line)
    start = begins(lines, starts, cursor_line, shown)
    moves = 0
    if old is not None and old.path == path:
        kept = old.start_line if old.lines == lines else moved_line(old.start_line, old.lines, lines)
        head = slice(old.start_line, old.split_line)
        stays = kept == old.start_line and old.split_line <= cursor_line and old.lines[head] == lines[head]
        typed = after == old.after and cursor_line - kept <= most_lines
        if stays and (typed or cursor_line - old.split_line <= KEPT_LINES) and fits(kept):
            return replace(ledger, window=replace(old, cursor_line=cursor_line, lines=lines, after=after))
        if abs(kept - start) <= MOST_UNSEEN:
            moves = old.moves + 1
    while not fits(start) and start < cursor_line:
        start += max(1, (cursor_line - start) // 2)
    at = where(start, "" if shown else inside(start))
    window = Window(path, start, cursor_line, lines, after, moves, at, cursor_line)
    return replace(ledger, window=window)


def where(line: int, name: str) -> str:
    """What the tail's title says of a window's first line, after the path."""
    return f" line {line + 1}{f' in {name}' if name else ''}"


def begins(lines: Sequence[str], starts: Sequence[int], cursor_line: int, shown: bool) -> int:
    """The first line of a new window."""
    if shown:
        start = max(0, cursor_line - LINES_SEEN)
    else:
        near = [s for s in starts if cursor_line - MOST_UNSEEN <= s <= cursor_line - LEAST_UNSEEN]
        start = near[-1] if near else max(0, cursor_line - MOST_UNSEEN)
    while start < cursor_line and not lines[start].strip():
        start += 1
    return start
