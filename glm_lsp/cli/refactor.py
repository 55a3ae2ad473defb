"""`glm-lsp refactor TASK [PATHS]`: propose changes to files, show them, or write them.

The result goes to stdout (the diff, or one JSON object per line), everything else to stderr, and the exit
code says what is true: see `--help`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import door, place, report
from glm_lsp.cli.exits import Exit, worst
from glm_lsp.core.errors import ConflictError, GlmError, PolicyError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.paths import objection
from glm_lsp.core.values import Change, EditPlan, Refusal, RefusalKind

if TYPE_CHECKING:
    from glm_lsp.cli.units import Units
    from glm_lsp.workspace.apply import ApplyReport
    from glm_lsp.workspace.repository import Repository

NAME = "refactor"
HELP = "Propose, check or write a refactor over files."
USAGE = """glm-lsp refactor TASK [PATH ...] [--check | --diff | --write] [options]
       glm-lsp refactor - [PATH ...] [options]                  (TASK from stdin)
       glm-lsp refactor --task-file FILE [PATH ...] [options]
       glm-lsp refactor --recipe NAME [PATH ...] [options]"""
EXITS = """exit codes:
  0  nothing needed, or everything applied and verified    5  conflict: uncommitted, changed or locked files
  1  changes pending (--check, --diff)                     7  the engine is not available
  2  usage, configuration or internal error                8  refused by policy, or waiting for review
  3  partial: some units failed, the rest is good          9  the model proposed nothing that can be taken
  4  writing failed, everything is as it was               130, 143  ended by SIGINT, SIGTERM"""
_CODES = {
    RefusalKind.POLICY: Exit.POLICY,
    RefusalKind.UNREADABLE: Exit.USAGE,
    RefusalKind.CONFLICT: Exit.CONFLICT,
    RefusalKind.ENGINE: Exit.ENGINE,
}
TASK_BYTES = 64_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = USAGE
    parser.epilog = EXITS
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("words", metavar="TASK, PATH", nargs="*", help="the task, then files and directories")
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
            _line("error", message=str(error), exit=int(door.code_of(error)))
        raise


@dataclass(slots=True)
class _Outcome:
    """What came of a plan: which changes stand, what was refused, what was written."""

    plan: EditPlan
    units: int
    mode: str
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    changes: tuple[Change, ...] = ()
    report: ApplyReport | None = None

    @property
    def code(self) -> Exit:
        codes = {_CODES.get(r.kind, Exit.PARTIAL) for r in self.refusals}
        if self.changes:  # one file that cannot be read among others that change is a part that failed
            codes = {Exit.PARTIAL if code is Exit.USAGE else code for code in codes}
        if self.report is not None and self.report.rolled_back:
            codes.add(Exit.ROLLED_BACK)
        elif self.changes and self.mode != "write":
            codes.add(Exit.PENDING)
        elif not self.changes and self.units and codes <= {Exit.PARTIAL}:
            codes = {Exit.NOTHING}
        return worst(codes)


async def _refactor(args: argparse.Namespace) -> int:
    task, paths = _read_task(args)
    root = _root(paths)
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)
    from glm_lsp.cli.units import Units  # noqa: PLC0415
    from glm_lsp.features.refactor import propose  # noqa: PLC0415
    from glm_lsp.workspace import apply  # noqa: PLC0415

    began = time.monotonic()
    runtime = Runtime(door.settings(args), NAME)
    units = Units(jsonl=args.format == "jsonl")
    try:
        repository = runtime.repository(root)
        if args.mode == "write":
            _recovered(apply.recover(repository.root))
        elif apply.pending(repository.root):
            units.say("an earlier run was interrupted while it wrote; the next --write puts its files right.")
        with report.progress("indexing") as step:
            await repository.index(step)
        names, refusals = _names(repository, paths)
        session = runtime.session(repository, Work.REFACTOR, generates=False)
        plan = EditPlan(task)
        if names or not paths:
            with units:
                plan = await propose(
                    session, repository.snapshot(), task, names, units.told, recipe=args.recipe or ""
                )
        outcome = _Outcome(plan, units.count, args.mode, [*refusals, *plan.refusals], plan.changes)
        # No await from here on: what a signal interrupts is either not written or fully told.
        if args.mode == "write":
            _write(repository, outcome, args)
        _tell(repository, outcome, units, time.monotonic() - began)
        return outcome.code
    finally:
        await runtime.close()


def _root(paths: Sequence[str]) -> Path:
    """The repository one stands in; only outside of any, the one that the first path is in."""
    here = place.root_of(Path.cwd())
    if not paths or (here / ".git").exists() or Path(paths[0]).absolute().is_relative_to(here):
        return here
    return place.root_of(Path(paths[0]))


def _read_task(args: argparse.Namespace) -> tuple[str, list[str]]:
    """The task and the paths. Raises UsageError; stdin is read for `-` alone."""
    words: list[str] = list(args.words)
    if args.recipe is not None:
        return "", words
    if args.task_file is not None and str(args.task_file) == "-":
        words.insert(0, "-")
    elif args.task_file is not None:
        try:
            data = args.task_file.read_bytes()
        except OSError as error:
            raise UsageError(f"The task file {args.task_file} cannot be read: {error.strerror}.") from None
        return _decoded(data, str(args.task_file)), words
    if not words:
        raise UsageError("Say what to do: a TASK, `-` for stdin, --task-file FILE, or --recipe docstrings.")
    if words[0] == "-":
        return _decoded(sys.stdin.buffer.read(TASK_BYTES + 1), "stdin"), words[1:]
    return words[0], words[1:]


def _decoded(data: bytes, source: str) -> str:
    if len(data) > TASK_BYTES:
        raise UsageError(f"The task from {source} is longer than {TASK_BYTES:,} bytes; say it more briefly.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"The task from {source} is not UTF-8 text.") from None


def _names(repository: Repository, paths: Sequence[str]) -> tuple[list[str], list[Refusal]]:
    """The paths as the repository names them, and what its policy keeps out."""
    names: list[str] = []
    refusals: list[Refusal] = []
    for path in paths:
        name = repository.relative(Path(path).absolute())
        if isinstance(name, Refusal):
            refusals.append(name)
        elif not Path(path).exists() and not objection(name):
            refusals.append(Refusal(path, RefusalKind.UNREADABLE, "There is no such file or directory."))
        else:
            names.append(name)
    return names, refusals


def _recovered(paths: Sequence[str]) -> None:
    for path in paths:
        sys.stderr.write(f"glm-lsp: {report.line(path)}: put back; an earlier run was interrupted.\n")


def _write(repository: Repository, outcome: _Outcome, args: argparse.Namespace) -> None:
    """Apply what may be applied; the rest becomes refusals, all of it where somebody else was faster."""
    from glm_lsp.workspace import apply, git  # noqa: PLC0415

    touched = [c.path for c in outcome.changes]
    dirty = () if args.allow_dirty or not touched else git.is_dirty(repository.root, touched)
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


def _tell(repository: Repository, outcome: _Outcome, units: Units, seconds: float) -> None:
    from glm_lsp.workspace.apply import unified_diff  # noqa: PLC0415

    written = outcome.report.written if outcome.report else ()
    for note in outcome.report.notes if outcome.report else ():
        units.say(note)
    if outcome.report and outcome.report.recovered:
        _recovered(outcome.report.recovered)
    if outcome.report and outcome.report.rolled_back:
        units.say(outcome.report.reason)
    diffs = {} if written else {c.path: unified_diff(repository.root, [c]) for c in outcome.changes}
    if units.jsonl:
        for note in outcome.plan.notes:
            _line("note", path=note.path, text=note.text)
        for refusal in outcome.refusals:
            _line("refusal", path=refusal.path, kind=refusal.kind.value, reason=refusal.reason)
        for change in outcome.changes:
            _line(
                "change",
                path=change.path,
                edits=len(change.edits),
                written=change.path in written,
                diff=diffs.get(change.path, ""),
            )
        _line(
            "summary",
            task=outcome.plan.title,
            mode=outcome.mode,
            changed=[c.path for c in outcome.changes],
            written=list(written),
            refused=len(outcome.refusals),
            units=outcome.units,
            rolled_back=bool(outcome.report and outcome.report.rolled_back),
            seconds=round(seconds, 3),
            exit=int(outcome.code),
        )
        return
    for note in outcome.plan.notes:
        units.say(f"{report.line(note.path)}: {note.text}")
    for refusal in outcome.refusals:
        units.say(f"{report.line(refusal.path)}: {refusal.reason}" if refusal.path else refusal.reason)
    if outcome.mode == "diff":
        for diff in diffs.values():
            sys.stdout.write(_printable(diff))
    elif not (outcome.report and outcome.report.rolled_back):
        verb = "changed" if outcome.mode == "write" else "would change"
        for change in outcome.changes:
            sys.stdout.write(f"{verb} {report.line(change.path)}\n")
    units.say(_conclusion(outcome))


def _conclusion(outcome: _Outcome) -> str:
    """One line for people."""
    count, refused = len(outcome.changes), len(outcome.refusals)
    if outcome.report and outcome.report.rolled_back:
        return "nothing was changed."
    files = "1 file" if count == 1 else f"{count} files"
    said = {"write": f"{files} changed", "diff": f"{files} would change", "check": f"{files} would change"}
    return f"{said[outcome.mode]}, {refused} refused." if refused else f"{said[outcome.mode]}."


def _printable(diff: str) -> str:
    """What a terminal and a CI log may show. A pipe gets line endings as they are, so that git applies it."""
    if sys.stdout.isatty():
        return report.safe(diff)
    lines = diff.split("\n")[:-1]
    return "".join(report.safe(line) + ("\r\n" if line.endswith("\r") else "\n") for line in lines)


def _line(event: str, **facts: Any) -> None:
    """One event on stdout; ASCII, so that nothing in it is obeyed or lost."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()
