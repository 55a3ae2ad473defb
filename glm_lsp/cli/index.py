"""`glm-lsp index DIR`: what the index finds in a directory, and what it leaves out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.cli import door, report, shapes
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
    settings = door.settings(args)
    runtime = Runtime(settings)
    try:
        with report.progress("indexing", quiet=args.format == "json") as step:
            repository = runtime.repository(directory)
            found = await repository.index(step)
    finally:
        await runtime.close()
    told = found.held_back if args.format == "json" else found.held_back[: report.MOST_HELD]
    held = shapes.held(repository.root, told, settings)
    if args.format == "json":
        report.print_json(shape(found, held))
    else:
        _show(found, directory)
        report.held_back(held, len(found.held_back), shapes.remedy(held, settings))
    return Exit.OK


def shape(found: IndexReport, held: Sequence[dict[str, object]] | None = None) -> dict[str, object]:
    """The JSON of an index report. `held` tells of what was held back more than the report does."""
    places = [{"path": h.path, "line": h.line + 1, "kind": h.kind} for h in found.held_back]
    return {
        "files": found.files,
        "symbols": found.symbols,
        "references": found.references,
        "bytes": found.bytes,
        "seconds": round(found.seconds, 4),
        "skipped": [{"path": s.path, "reason": s.reason} for s in found.skipped],
        "held_back": places if held is None else list(held),
    }


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
