"""Text and JSON for the terminal. Repository content, file names and model output are shown, never obeyed.

`safe` makes control characters, bidirectional marks and invisible characters visible, so that no file name
can move the cursor, hide a line of a diff or, in a CI log, issue a command.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from glm_lsp.core.settings import Problem
from glm_lsp.core.values import Block, Dropped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

MOST_HELD = 20
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 without tab and newline, DEL, C1
    "\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
_CARRIAGE_RETURN_AT_END = re.compile(r"\r(?=\n|\Z)")
_LOG_COMMAND = re.compile(r"^(\s*[-+ ]?\s*)::|##(?=\[|vso\[)", re.MULTILINE)


def safe(text: str) -> str:
    """`text` with whatever a terminal or a CI log would obey, or not show, escaped as in Python source."""
    text = _UNSAFE.sub(_escape, _CARRIAGE_RETURN_AT_END.sub("", text))
    if os.environ.get("GITHUB_ACTIONS") or os.environ.get("TF_BUILD"):
        text = _LOG_COMMAND.sub(lambda m: f"{m[1] or ''}:\\x3a" if m[0].endswith("::") else "#\\x23", text)
    return text


def line(text: str) -> str:
    """`safe`, on one line: for names, which may hold newlines."""
    return safe(text).replace("\n", "\\n").replace("\t", "\\t")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def print_json(value: Any) -> None:
    """One JSON document on stdout; ASCII only, so that no terminal obeys it and no encoding breaks it."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def console(*, error: bool = False, record: bool = False, width: int | None = None) -> Console:
    """A terminal, or a plain stream where the output goes elsewhere. Markup and emoji codes are off."""
    from rich.console import Console  # noqa: PLC0415

    return Console(
        stderr=error, record=record, width=width, markup=False, emoji=False, highlight=False, soft_wrap=False
    )


def text(content: str, style: str = "") -> Text:
    """Safe text for a rich table or panel."""
    from rich.text import Text  # noqa: PLC0415

    return Text(safe(content), style=style)


def table(title: str, *columns: str) -> Table:
    """A rich table; numbers are the caller's to format, content the caller's to make `text`."""
    from rich import box  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    made = Table(title=text(title, "bold"), title_justify="left", box=box.ROUNDED, border_style="dim")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a table of plain cells to stdout, one line each."""
    made = table(title, *columns)
    for row in rows:
        made.add_row(*(text(line(cell)) for cell in row))
    console().print(made)


def blocks_table(blocks: Sequence[Block], title: str) -> Table:
    """What a prompt is made of, in the prompt's order, and why."""
    made = table(title, "kind", "where", "tokens", "symbols", "why")
    for block in blocks:
        where = f"{line(block.path)}:{block.start_line + 1}-{block.end_line + 1}"
        made.add_row(
            str(block.kind), text(where), f"{block.tokens:,}", text(_few(block.symbols)), text(block.reason)
        )
    return made


def dropped_table(dropped: Sequence[Dropped]) -> Table:
    """What was wanted and left out."""
    made = table(f"left out: {len(dropped)}", "path", "tokens", "symbols", "why")
    for item in dropped:
        made.add_row(text(line(item.path)), f"{item.tokens:,}", text(_few(item.symbols)), text(item.reason))
    return made


def held_back(places: Sequence[Mapping[str, Any]], count: int, remedy: str) -> None:
    """List places that no model sees, where there are any, `count` in all, and what to do about one."""
    if not places:
        return
    made = table(f"held back: {count}", "where", "kind", "fingerprint")
    for place in places[:MOST_HELD]:
        where = text(f"{line(place['path'])}:{place['line']}")
        made.add_row(where, text(place["kind"]), text(place["fingerprint"]))
    if count > MOST_HELD:
        made.add_row("…", f"and {count - MOST_HELD} more; --format json lists them all")
    console().print(made)
    if remedy:
        sys.stdout.write(f"{safe(remedy)}")


def _few(symbols: Sequence[str], most: int = 4) -> str:
    more = f" and {len(symbols) - most} more" if len(symbols) > most else ""
    return ", ".join(line(s) for s in symbols[:most]) + more


def problems(found: Sequence[Problem]) -> None:
    """Say on stderr what was not taken from the settings."""
    for problem in found:
        sys.stderr.write(f"glm-lsp: {safe(problem.message)}\n")


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Generator[Callable[[int, int], None] | None, None, None]:
    """How far indexing is, on stderr and for people only: None where stderr is no terminal."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

    from glm_lsp.workspace.run import Telling  # noqa: PLC0415

    telling = Telling()
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, console=console(error=True), transient=True) as bar:
        task = bar.add_task(title, total=None, told=telling.text(0, 0))
        yield lambda done, total: bar.update(
            task, completed=done, total=total or None, told=telling.text(done, total)
        )
