"""`glm-lsp index DIR`: what the index finds in a directory, and what it leaves out."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.cli import door, report
from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import UsageError

if TYPE_CHECKING:
    from glm_lsp.workspace.repository import IndexReport

NAME = "index"
HELP = "Index a directory and say what was found and skipped."
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path())
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    return door.drive(_index(args))


async def _index(args: argparse.Namespace) -> int:
    from glm_lsp.app import Runtime  # noqa: PLC0415

    directory: Path = args.directory
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"{directory} {what}; name a directory to index.")
    runtime = Runtime(door.settings(args))
    try:
        with report.progress("indexing", quiet=args.format == "json") as step:
            found = await runtime.repository(directory).index(step)
    finally:
        await runtime.close()
    if args.format == "json":
        report.print_json(shape(found))
    else:
        _show(found, directory)
    return Exit.OK


def shape(found: IndexReport) -> dict[str, object]:
    """The JSON of an index report."""
    return {
        "files": found.files,
        "symbols": found.symbols,
        "references": found.references,
        "bytes": found.bytes,
        "seconds": round(found.seconds, 4),
        "skipped": [{"path": s.path, "reason": s.reason} for s in found.skipped],
        "held_back": _held(found),
    }


def _held(found: IndexReport) -> list[dict[str, object]]:
    return [{"path": h.path, "line": h.line + 1, "kind": h.kind} for h in found.held_back]


def _show(found: IndexReport, directory: Path) -> None:
    console = report.console()
    table = report.table(str(directory.resolve()), "files", "symbols", "references", "bytes", "seconds")
    table.add_row(
        *(f"{n:,}" for n in (found.files, found.symbols, found.references, found.bytes)),
        f"{found.seconds:.2f}",
    )
    console.print(table)
    if found.skipped:
        skipped = report.table(f"left out: {len(found.skipped)}", "path", "reason")
        for item in found.skipped[:SHOWN]:
            skipped.add_row(report.text(report.line(item.path)), report.text(item.reason))
        if len(found.skipped) > SHOWN:
            skipped.add_row("…", f"and {len(found.skipped) - SHOWN} more; --format json lists them all")
        console.print(skipped)
    report.held_back(_held(found))
