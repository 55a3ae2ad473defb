"""`glm-lsp refactor TASK [PATHS]`: propose changes to files, show them, or write them.

The result goes to stdout (the diff, or one JSON object per line), everything else to stderr, and the exit
code says what is true: see `--help`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.cli import door, place, report
from glm_lsp.cli.outcome import Outcome, event, recovered, tell
from glm_lsp.core.errors import ConflictError, GlmError, PolicyError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.paths import objection
from glm_lsp.core.values import EditPlan, Refusal, RefusalKind

if TYPE_CHECKING:
    from glm_lsp.cli.checkpoint import Checkpoint
    from glm_lsp.workspace.repository import Repository

NAME = "refactor"
HELP = "Propose, check or write a refactor over files."
USAGE = """glm-lsp refactor TASK [PATH ...] [--check | --diff | --write] [options]
       glm-lsp refactor - [PATH ...] [options]                  (TASK from stdin)
       glm-lsp refactor --task-file FILE [PATH ...] [options]
       glm-lsp refactor --recipe NAME [PATH ...] [options]"""
EXITS = """exit codes (where several are true: 143, 130, 8, 2, 5, 4, 7, 6, 3, 9, 1, 0):
  0  nothing needed, or everything applied and verified
  1  changes pending, and nothing failed (--check, --diff)
  2  usage, configuration or internal error
  3  partial: some units failed; the rest landed verified (--write),
     or is verified and pending, and nothing was written (--check, --diff)
  4  writing failed, everything is as it was
  5  conflict: uncommitted, changed or locked files
  6  the time or tokens given are spent; whole files landed (--write) or are shown,
     the answers so far are kept, and the same command again goes on
  7  the engine is not available, or its model file cannot be used
  8  refused by policy, or waiting for review
  9  the model proposed nothing that can be taken
  130, 143  ended by SIGINT, SIGTERM; the same command again goes on"""
TASK_BYTES = 64_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.epilog = EXITS
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "words",
        metavar="TASK, PATH",
        nargs="*",
        help="the task, then files and directories; none: the files that use what the task names",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--task-file", type=Path, metavar="FILE", help="read the task from a file")
    source.add_argument("--recipe", metavar="NAME", help="a recipe in place of a task: docstrings")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--check", dest="mode", action="store_const", const="check", help="say which files would change"
    )
    mode.add_argument(
        "--diff", dest="mode", action="store_const", const="diff", help="show the changes (default)"
    )
    mode.add_argument("--write", dest="mode", action="store_const", const="write", help="write the changes")
    parser.set_defaults(mode="diff")
    parser.add_argument("--format", choices=("text", "jsonl"), default="text")
    parser.add_argument(
        "--time-limit", type=door.duration, metavar="TIME", help="stop after this time, e.g. 90s, 350m or 2h"
    )
    parser.add_argument(
        "--token-limit", type=door.whole_number, metavar="N", help="have the model write at most N tokens"
    )
    parser.add_argument(
        "--allow-dirty", action="store_true", help="write to files with uncommitted changes too"
    )
    parser.add_argument(
        "--reviewed",
        action="store_true",
        help="write changes that newly reach the network or other processes too",
    )


def run(args: argparse.Namespace) -> int:
    try:
        return door.drive(_refactor(args))
    except GlmError as error:
        if args.format == "jsonl":
            event("error", message=str(error), exit=int(door.code_of(error)))
        raise


async def _refactor(args: argparse.Namespace) -> int:
    said, paths = _read_task(args)
    root = place.root_for(paths)
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)
    from glm_lsp.cli.checkpoint import Checkpoint, run_key  # noqa: PLC0415
    from glm_lsp.cli.units import Units  # noqa: PLC0415
    from glm_lsp.core.secrets import SETTING, censored  # noqa: PLC0415
    from glm_lsp.features.ration import Ration  # noqa: PLC0415
    from glm_lsp.features.refactor import propose  # noqa: PLC0415

    began = time.monotonic()
    settings = door.settings(args)
    runtime = Runtime(settings, NAME)
    checkpoint: Checkpoint | None = None
    units = Units(jsonl=args.format == "jsonl")
    if (task := censored(said, settings.texts(SETTING))) != said:
        units.say("The task holds what looks like a secret; the model is not told it.")
    try:
        repository = runtime.repository(root)
        _recover(repository.root, args.mode)
        with report.progress("indexing") as step:
            await repository.index(step)
        names, refusals = _names(repository, paths, _task_source(args))
        session = runtime.session(repository, Work.REFACTOR, generates=False)
        what = [task.strip(), args.recipe or ""]
        facts, profile = session.engine.facts, session.profile
        checkpoint = Checkpoint(
            run_key(repository.root, what, names, settings=settings, facts=facts, profile=profile)
        )
        session.engine = ration = Ration(
            session.engine,
            session.tokenizer.count,
            seconds=args.time_limit,
            since=began,
            tokens=args.token_limit,
            memory=checkpoint,
        )
        units.ration = ration
        plan = EditPlan(task)
        if names or not paths:
            with units:
                plan = await propose(
                    session,
                    repository.snapshot(),
                    task,
                    names,
                    units.told,
                    recipe=args.recipe or "",
                    ration=ration,
                    on_closure=units.touched,
                )
        before = [r for refused in checkpoint.skipped.values() for r in refused]
        refusals = [*refusals, *before, *plan.refusals]
        outcome = Outcome(plan, units, args.mode, checkpoint, refusals, plan.changes)
        # No await from here on: what a signal interrupts is either not written or fully told.
        if args.mode == "write":
            _write(repository, outcome, args)
        if outcome.unfinished:
            _remember(repository, outcome)
        else:
            checkpoint.clear()
        tell(repository, outcome, time.monotonic() - began)
        return outcome.code
    except asyncio.CancelledError:
        if checkpoint is not None and (kept := checkpoint.said):
            units.say(f"{kept}; the same command again goes on from there.")
        raise
    finally:
        if checkpoint is not None:
            checkpoint.close()
        await runtime.close()


def _read_task(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The task and the paths. Raises UsageError; stdin is read for `-` alone."""
    words: list[str] = list(args.words)
    if args.recipe is not None:
        return "", words
    if args.task_file is not None and str(args.task_file) == "-":
        words.insert(0, "-")
    elif args.task_file is not None:
        if why := door.unreadable(args.task_file):
            raise UsageError(f"The task file {args.task_file} cannot be read: it {why}.")
        try:
            with args.task_file.open("rb") as file:
                data = file.read(TASK_BYTES + 1)
        except OSError as error:
            raise UsageError(f"The task file {args.task_file} cannot be read: {error.strerror}.") from None
        return _decoded(data, str(args.task_file)), words
    if not words:
        raise UsageError("Say what to do: a TASK, `-` for stdin, --task-file FILE, or --recipe docstrings.")
    if words[0] == "-":
        with door.listening():
            data = sys.stdin.buffer.read(TASK_BYTES + 1)
        return _decoded(data, "stdin"), words[1:]
    return words[0], words[1:]


def _decoded(data: bytes, source: str) -> str:
    if len(data) > TASK_BYTES:
        raise UsageError(f"The task from {source} is longer than {TASK_BYTES:,} bytes; say it more briefly.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"The task from {source} is not UTF-8 text.") from None


def _task_source(args: argparse.Namespace) -> str:
    """What the task was taken from where that was no word of the command line; else empty."""
    if args.recipe is not None:
        return "--recipe"
    if args.task_file is not None:
        return "--task-file"
    return "stdin" if args.words[:1] == ["-"] else ""


def _names(repository: Repository, paths: Sequence[str], source: str) -> tuple[list[str], list[Refusal]]:
    """The paths as the repository names them, and what its policy keeps out. `source`: see `_task_source`."""
    names: list[str] = []
    refusals: list[Refusal] = []
    for path in paths:
        name = place.named(repository, Path(path).absolute())
        if isinstance(name, Refusal):
            refusals.append(name)
        elif not Path(path).exists() and not objection(name):
            words = f": the task is {source}'s, and all other words are paths" if source else ""
            reason = f"There is no such file or directory{words}."
            refusals.append(Refusal(path, RefusalKind.UNREADABLE, reason))
        else:
            names.append(name)
    return names, refusals


def _recover(root: Path, mode: str) -> None:
    """Put right what an interrupted run left. Only --write may have to say that it cannot."""
    from glm_lsp.workspace import journal  # noqa: PLC0415

    try:
        recovered(journal.recover(root))
    except ConflictError as error:
        if mode == "write":
            raise
        sys.stderr.write(f"glm-lsp: {report.safe(str(error))}\n")


def _write(repository: Repository, outcome: Outcome, args: argparse.Namespace) -> None:
    """Apply what may be applied; the rest becomes refusals, all of it where somebody else was faster or is
    writing now.
    """
    from glm_lsp.workspace import apply, git, journal  # noqa: PLC0415

    touched = [c.path for c in outcome.changes]
    if touched and (writing := journal.busy(repository.root)):
        outcome.refusals.append(Refusal("", RefusalKind.CONFLICT, writing))
        outcome.changes = ()
        return
    dirty = frozenset(() if args.allow_dirty or not touched else git.is_dirty(repository.root, touched))
    # Looked at after git: what somebody wrote meanwhile is uncommitted too, but `apply` says it as it is.
    dirty -= apply.moved(repository.root, outcome.changes) if dirty else frozenset()
    noted = {n.path for n in outcome.plan.notes} if not args.reviewed else set[str]()
    for path in touched:
        if path in dirty:
            reason = "It has uncommitted changes; commit or stash them, or pass --allow-dirty."
            outcome.refusals.append(Refusal(path, RefusalKind.CONFLICT, reason))
        elif path in noted:
            reason = "Its change waits for review: look at it with --diff, then pass --reviewed."
            outcome.refusals.append(Refusal(path, RefusalKind.POLICY, reason))
    outcome.changes = tuple(c for c in outcome.changes if c.path not in dirty and c.path not in noted)
    try:
        if outcome.changes:
            outcome.report = apply.apply(repository.root, outcome.changes)
    except (ConflictError, PolicyError) as error:
        kind = RefusalKind.POLICY if isinstance(error, PolicyError) else RefusalKind.CONFLICT
        outcome.refusals.append(Refusal("", kind, str(error)))
        outcome.changes = ()


def _remember(repository: Repository, outcome: Outcome) -> None:
    """For the same command again: the files as this one leaves them, which are not asked about any more."""
    from glm_lsp.core.text import digest  # noqa: PLC0415
    from glm_lsp.workspace.files import as_text  # noqa: PLC0415

    written = outcome.report.written if outcome.report else ()
    left = [(path, digest(as_text((repository.root / path).read_bytes()))) for path in written]
    outcome.checkpoint.land(left, outcome.refusals)
