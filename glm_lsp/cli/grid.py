"""Plain tables for a verb that must be done in half a second: rich takes a fifth of that to be imported.

They look like those of `report.table`. Cells are safe text on one line (`report.line`); what is too long for
its column is folded, never cut.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

PROGRESS_S = 0.1
LEAST = 8
"""Characters that a column keeps, however narrow the terminal is."""


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table to stdout."""
    colours = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    made = drawn(title, columns, rows, shutil.get_terminal_size((80, 24)).columns)
    if colours and title:
        first, _, rest = made.partition("\n")
        made = f"\x1b[1m{first}\x1b[0m\n{rest}"
    sys.stdout.write(made)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Generator[Callable[[int, int], None] | None]:
    """A line on stderr that tells how far it is, for people only: None where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from glm_lsp.workspace.run import Telling  # noqa: PLC0415 (not for a table)

    telling, said = Telling(), -1.0

    def step(done: int, total: int) -> None:
        nonlocal said
        text, now = telling.text(done, total), time.monotonic()
        if done >= total or now - said >= PROGRESS_S:
            said = now
            width = max(shutil.get_terminal_size((80, 24)).columns - 1, LEAST)
            sys.stderr.write(f"\r\x1b[K{f'{title}: {text}'[:width]}")
            sys.stderr.flush()

    step(0, 0)
    try:
        yield step
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def drawn(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    """The table as text, no line wider than `width` as long as each column can keep `LEAST`."""
    widths = [max(map(cells, column)) for column in zip(columns, *rows, strict=True)]
    while sum(widths) + 3 * len(widths) + 1 > width and max(widths) > LEAST:
        widths[widths.index(max(widths))] -= 1
    bars = [left + middle.join("─" * (w + 2) for w in widths) + right for left, middle, right in _BARS]
    lines = [*folded(title, width)] if title else []
    lines += [bars[0], *_row(columns, widths), bars[1]]
    for row in rows:
        lines += _row(row, widths)
    return "".join(f"{line}\n" for line in (*lines, bars[2]))


_BARS = ("╭┬╮", "├┼┤", "╰┴╯")


def _row(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    parts = [folded(text, width) for text, width in zip(row, widths, strict=True)]
    return [
        "│"
        + "│".join(
            f" {line}{' ' * (width - cells(line))} "
            for line, width in zip(
                (part[at] if at < len(part) else "" for part in parts), widths, strict=True
            )
        )
        + "│"
        for at in range(max(map(len, parts)))
    ]


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def folded(text: str, width: int) -> list[str]:
    """The text in lines of at most so many cells, broken at spaces where there are some."""
    lines: list[str] = []
    while cells(text) > width:
        end = used = 0
        while end < len(text) and (used := used + _cell(text[end])) <= width:
            end += 1
        end = max(end, 1)
        space = text.rfind(" ", 1, end + 1)
        at = space if space > 0 else end
        lines.append(text[:at].rstrip())
        text = text[at:].lstrip() if space > 0 else text[at:]
    return [*lines, text]
