"""`glm-lsp context`: what a prompt for a place or a task would be made of, and why. No engine is started."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import door, place, report, shapes
from glm_lsp.cli.division import Division, Wish, divided, shares, task_shares
from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Tokenizer, Work
from glm_lsp.core.secrets import SETTING, censored
from glm_lsp.core.values import Block, Dropped, Refusal

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.core.settings import Settings
    from glm_lsp.features.session import Session
    from glm_lsp.features.tasks import TaskContext
    from glm_lsp.workspace.repository import Repository

NAME = "context"
HELP = "Show what a prompt for a place or a task would be made of, and why."
USAGE = """glm-lsp context FILE:LINE:COL [options]
       glm-lsp context --task "WORDS" [PATH ...] [options]"""


@dataclass(frozen=True, slots=True)
class Found:
    """What is shown: the pack, and how the budget came to be and is spent."""

    budget: int
    tokens: int
    blocks: tuple[Block, ...]
    dropped: tuple[Dropped, ...]
    division: Division
    shares: Mapping[str, int]
    counting: str
    notes: tuple[str, ...] = ()
    task: TaskContext | None = None
    """Where the pack is a task's: a prompt for each unit, and `tokens` are those of the largest."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.add_argument("words", metavar="FILE:LINE:COL, PATH", nargs="*", help=place.HELP)
    parser.add_argument(
        "--task", metavar="WORDS", help="show what a task in words touches; PATHs tell equal names apart"
    )
    parser.add_argument(
        "--budget", type=door.whole_number, default=0, metavar="TOKENS", help="default: as a request's"
    )
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        help="count by the vocabulary of a GGUF file or a tokenizer.json; default: the model's own",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    return door.drive(_context(args))


async def _context(args: argparse.Namespace) -> int:
    words: list[str] = args.words
    if args.task is None and len(words) != 1:
        raise UsageError(
            "Name one place as FILE:LINE:COL, or give --task a sentence; see glm-lsp context --help."
        )
    if args.task is not None and not args.task.strip():
        raise UsageError("The task is empty; say in a sentence what should change.")
    where = place.parse(words[0]) if args.task is None else None
    root = place.locate(where.file) if where else place.root_for(words)
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)

    tokenizer = await asyncio.to_thread(_tokenizer, args.tokenizer) if args.tokenizer else None
    settings = door.settings(args)
    runtime = Runtime(settings, reads_only=True)
    try:
        repository = runtime.repository(root)
        if where is not None:
            found = await _at_place(runtime, repository, where, args.budget, tokenizer)
        else:
            found = await _for_task(runtime, repository, args, tokenizer)
        held = shapes.held_back(repository.root, repository.snapshot().index, found.blocks, settings)
    finally:
        await runtime.close()
    counting = f"Exact, by the vocabulary in {args.tokenizer}." if args.tokenizer else found.counting
    nothing = found.task is not None and not (found.blocks or found.dropped)
    if args.format == "json":
        report.print_json(_shape(found, counting, held))
    elif nothing:
        for note in found.notes:
            sys.stderr.write(f"glm-lsp: {report.safe(note)}\n")
    else:
        _show(found, counting)
        report.held_back(held, len(held), shapes.remedy(held, settings))
    return Exit.NOTHING if nothing else Exit.OK


def _tokenizer(file: str) -> Tokenizer:
    """Raises UsageError, a sentence about the file."""
    from glm_lsp.engines.tokenizers import from_file  # noqa: PLC0415

    return from_file(Path(file).expanduser())


async def _at_place(
    runtime: Runtime,
    repository: Repository,
    where: place.Place,
    asked: int,
    tokenizer: Tokenizer | None,
) -> Found:
    from glm_lsp.features.complete import pack_context  # noqa: PLC0415

    document = await place.open_document(repository, where.file)
    offset = place.offset_of(document, where.line, where.column)
    session = runtime.session(repository, Work.TYPING, generates=False, tokenizer=tokenizer)
    await repository.index()
    snapshot = repository.snapshot()
    settings = snapshot.settings
    reply = settings.integer("completion.max_tokens")
    reasoning = _reasoning(session, settings, Work.TYPING, reply)
    wish = Wish("completion", reply, "completion.max_tokens", reasoning, asked)
    division = _division(session, settings, wish)
    prompt = await pack_context(session, snapshot, document.path, offset, division.budget_tokens)
    return Found(
        division.budget_tokens,
        prompt.tokens,
        prompt.blocks,
        prompt.dropped,
        division,
        shares(prompt, division.budget_tokens, settings),
        runtime.router.counting(Work.TYPING),
    )


async def _for_task(
    runtime: Runtime, repository: Repository, args: argparse.Namespace, tokenizer: Tokenizer | None
) -> Found:
    said, paths, asked = str(args.task), list[str](args.words), int(args.budget)
    from glm_lsp.features.editing import question_of  # noqa: PLC0415
    from glm_lsp.features.tasks import task_context  # noqa: PLC0415

    names: list[str] = []
    for path in paths:
        name = place.named(repository, Path(path).absolute())
        if isinstance(name, Refusal):
            raise place.refused(name)
        if not Path(path).exists():
            raise UsageError(f"There is no file or directory {path}.")
        names.append(name)
    session = runtime.session(repository, Work.REFACTOR, generates=False, tokenizer=tokenizer)
    with report.progress("indexing") as step:
        await repository.index(step)
    snapshot = repository.snapshot()
    settings = snapshot.settings
    reply = question_of("", session, snapshot).max_tokens
    reasoning = _reasoning(session, settings, Work.REFACTOR, reply)
    wish = Wish("refactor", reply, "edits.max_tokens", reasoning, asked)
    division = _division(session, settings, wish)
    task = censored(said, settings.texts(SETTING))
    budget = division.budget_tokens
    found = await task_context(session, snapshot, task, names, budget)
    notes = [] if task == said else ["The task holds what looks like a secret; no model would be told it."]
    if not found.closure.definitions:
        notes.append("The task names nothing that is defined here; name a definition, as in Class.method.")
    notes += [f"Nothing here is called {word}." for word in found.closure.unknown]
    return Found(
        budget,
        found.largest.tokens if found.largest else 0,
        found.blocks,
        found.dropped,
        division,
        task_shares(found),
        runtime.router.counting(Work.REFACTOR),
        tuple(notes),
        found,
    )


def _division(session: Session, settings: Settings, wish: Wish) -> Division:
    setting, profile = settings.integer("context.budget_tokens"), session.profile.prompt_tokens
    return divided(wish, session.engine.facts.context_tokens, setting, profile)


def _reasoning(session: Session, settings: Settings, work: Work, reply: int) -> int:
    from glm_lsp.features import manner  # noqa: PLC0415

    return manner.thinking(settings, work, session.engine.facts.context_tokens, reply)[1]


def _shape(found: Found, counting: str, held: list[dict[str, Any]]) -> dict[str, Any]:
    task = found.task
    units = {} if task is None else {"units": _units(task), "all_tokens": task.all_tokens}
    return {
        "budget_tokens": found.budget,
        "tokens": found.tokens,
        **units,
        "blocks": [shapes.block(b) for b in found.blocks],
        "dropped": [shapes.dropped(d) for d in found.dropped],
        "held_back": held,
        "shares": dict(found.shares),
        "division": [{"part": p.name, "tokens": p.tokens, "reason": p.reason} for p in found.division.parts],
        "counting": counting,
        "notes": list(found.notes),
    }


def _units(task: TaskContext) -> list[dict[str, Any]]:
    """Each is a prompt of its own, `tokens` of `budget_tokens`; `own_tokens` stand in no other."""
    return [
        {
            "unit": number,
            "path": prompt.unit.document.path,
            "lines": [[start + 1, end] for start, end in prompt.unit.ranges],
            "tokens": prompt.tokens,
            "own_tokens": prompt.own_tokens,
            "budget_tokens": task.budget_tokens,
        }
        for number, prompt in enumerate(task.units, 1)
    ]


def _units_table(task: TaskContext) -> None:
    title = (
        f"{len(task.units)} prompts of at most {task.budget_tokens:,} tokens; {task.all_tokens:,} are read "
        "for all, what they share once"
    )
    made = report.table(title, "unit", "where", "tokens", "of them its own")
    for number, prompt in enumerate(task.units, 1):
        lines = ", ".join(f"{start + 1}-{end}" for start, end in prompt.unit.ranges)
        where = report.text(f"{report.line(prompt.unit.document.path)}:{lines}")
        made.add_row(str(number), where, f"{prompt.tokens:,}", f"{prompt.own_tokens:,}")
    report.console().print(made)


def _show(found: Found, counting: str) -> None:
    console = report.console()
    for note in found.notes:
        console.print(report.text(note, "bold yellow"))
    table = report.table("the context", "part", "tokens", "why")
    for part in found.division.parts:
        table.add_row(part.name, f"{part.tokens:,}", report.text(part.reason))
    for name, tokens in found.shares.items():
        table.add_row(f"  {name.replace('_', ' ')}", f"{tokens:,}", report.text(found.division.why(name)))
    console.print(table)
    console.print(report.text(f"Tokens are counted thus: {counting}"))
    title = f"{found.tokens:,} of {found.budget:,} tokens"
    if found.task is not None:
        title = "what stands in these prompts" if found.task.units else "no prompt"
        if found.task.units:
            _units_table(found.task)
    console.print(report.blocks_table(found.blocks, title))
    if found.dropped:
        console.print(report.dropped_table(found.dropped))
