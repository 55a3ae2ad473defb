"""`glm-lsp complete FILE:LINE:COL`: one completion, as the editor would get it."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from glm_lsp.cli import door, place, report, shapes
from glm_lsp.cli.exits import Exit
from glm_lsp.core.generation import Usage, Work

if TYPE_CHECKING:
    from glm_lsp.features.complete import Completion

NAME = "complete"
HELP = "Complete the code at FILE:LINE:COL."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="FILE:LINE:COL", help=place.HELP)
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    return door.drive(_complete(args))


async def _complete(args: argparse.Namespace) -> int:
    where = place.parse(args.place)
    root = place.locate(where.file)
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)
    from glm_lsp.features.complete import suggest  # noqa: PLC0415

    runtime = Runtime(door.settings(args), NAME)
    try:
        repository = runtime.repository(root)
        document = await place.open_document(repository, where.file)
        offset = place.offset_of(document, where.line, where.column)
        session = runtime.session(repository, Work.TYPING)
        await repository.index()
        began = time.perf_counter()
        completion = await suggest(session, repository.snapshot(), document.path, offset)
        seconds = time.perf_counter() - began
    finally:
        await runtime.close()
    _report(completion, where, document.path, seconds, as_json=args.format == "json")
    return Exit.OK if completion.suggestion else Exit.NOTHING


def _report(completion: Completion, where: place.Place, path: str, seconds: float, *, as_json: bool) -> None:
    suggestion, usage = completion.suggestion, completion.usage or Usage()
    if as_json:
        report.print_json(
            {
                "path": path,
                "line": where.line,
                "column": where.column,
                "text": suggestion.text if suggestion else "",
                "replaces_bytes": [suggestion.span.start, suggestion.span.end] if suggestion else None,
                "reason": completion.reason,
                "prompt_tokens": completion.prompt.tokens,
                "evaluated_tokens": usage.evaluated_tokens,
                "output_tokens": usage.output_tokens,
                "blocks": [shapes.block(b, text=False) for b in completion.prompt.blocks],
                "seconds": round(seconds, 4),
            }
        )
    elif suggestion:
        sys.stdout.write(report.safe(suggestion.text) + "\n")
    else:
        sys.stderr.write(f"glm-lsp: Nothing to offer here: {report.safe(completion.reason)}\n")
