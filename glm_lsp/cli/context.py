"""`glm-lsp context FILE:LINE:COL`: what a completion's prompt would be made of. No engine is started."""

from __future__ import annotations

import argparse

from glm_lsp.cli import door, place, report, shapes
from glm_lsp.cli.exits import Exit
from glm_lsp.core import ledger
from glm_lsp.core.generation import Form, Prompt, Role, Work
from glm_lsp.core.values import BlockKind

NAME = "context"
HELP = "Show what a prompt at FILE:LINE:COL would be made of, and why."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="FILE:LINE:COL", help=place.HELP)
    parser.add_argument(
        "--budget", type=door.whole_number, default=0, metavar="TOKENS", help="default: as a completion's"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    return door.drive(_context(args))


async def _context(args: argparse.Namespace) -> int:
    where = place.parse(args.place)
    root = place.locate(where.file)
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)
    from glm_lsp.features.complete import pack_context  # noqa: PLC0415

    settings = door.settings(args)
    runtime = Runtime(settings, reads_only=True)
    try:
        repository = runtime.repository(root)
        document = await place.open_document(repository, where.file)
        offset = place.offset_of(document, where.line, where.column)
        session = runtime.session(repository, Work.TYPING, generates=False)
        budget = args.budget or settings.integer("context.budget_tokens")
        budget = budget or runtime.router.profile(Work.TYPING).prompt_tokens
        await repository.index()
        snapshot = repository.snapshot()
        prompt = await pack_context(session, snapshot, document.path, offset, budget)
        held = shapes.held_back(repository.root, snapshot.index, prompt.blocks, settings)
    finally:
        await runtime.close()
    if args.format == "json":
        report.print_json(
            {
                "budget_tokens": budget,
                "tokens": prompt.tokens,
                "blocks": [shapes.block(b) for b in prompt.blocks],
                "dropped": [shapes.dropped(d) for d in prompt.dropped],
                "held_back": held,
                "shares": shares(prompt, budget),
            }
        )
    else:
        _show(prompt, budget)
        report.held_back(held, len(held), shapes.remedy(held, settings))
    return Exit.OK


def shares(prompt: Prompt, budget: int) -> dict[str, int]:
    """Where the budget went, in tokens; the values add up to it.

    `template`, `system`, `trunk` (outline and source), `log` and `tail` are in the prompt. The others are
    kept free, so that the prompt's beginning stays the same while somebody types: `log_reserve` for edits,
    `tail_reserve` for the code around the cursor; `unused` is what nothing more fitted into.
    """
    kinds = {kind: sum(b.tokens for b in prompt.blocks if b.kind is kind) for kind in BlockKind}
    fim = prompt.form is Form.FIM
    shown = [s for s in prompt.segments if not (fim and s.role is Role.SYSTEM)]  # FIM has no system turn
    system = sum(s.tokens for s in shown if s.role is Role.SYSTEM)
    tail, log = kinds[BlockKind.TAIL], kinds[BlockKind.LOG]
    suffix = (
        tail - sum(s.tokens for s in shown if s.role is Role.ASSISTANT) if fim else 0
    )  # no segment holds it
    segments = sum(s.tokens for s in shown) + suffix
    template = prompt.tokens - segments
    log_share = int(budget * ledger.LOG_SHARE)
    tail_share = min(int(budget * ledger.TAIL_SHARE), budget - system - template - log_share)
    free = budget - prompt.tokens
    tail_reserve = max(0, min(tail_share - tail, free))
    log_reserve = max(0, min(log_share - log, free - tail_reserve))
    return {
        "template": template,
        "system": system,
        "trunk": segments - system - log - tail,
        "log": log,
        "tail": tail,
        "log_reserve": log_reserve,
        "tail_reserve": tail_reserve,
        "unused": free - tail_reserve - log_reserve,
    }


def _show(prompt: Prompt, budget: int) -> None:
    console = report.console()
    table = report.table("the budget", "share", "tokens")
    for name, tokens in shares(prompt, budget).items():
        table.add_row(name.replace("_", " "), f"{tokens:,}")
    console.print(table)
    console.print(report.blocks_table(prompt.blocks, f"{prompt.tokens} of {budget} tokens"))
    if prompt.dropped:
        console.print(report.dropped_table(prompt.dropped))
