"""What came of a refactor: its exit code, and how it is told, to people and as JSON lines."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import report
from glm_lsp.cli.exits import Exit, worst
from glm_lsp.core.values import Change, EditPlan, Refusal, RefusalKind

if TYPE_CHECKING:
    from glm_lsp.cli.checkpoint import Checkpoint
    from glm_lsp.cli.units import Units
    from glm_lsp.workspace.apply import ApplyReport
    from glm_lsp.workspace.repository import Repository

_CODES = {
    RefusalKind.POLICY: Exit.POLICY,
    RefusalKind.UNREADABLE: Exit.USAGE,
    RefusalKind.CONFLICT: Exit.CONFLICT,
    RefusalKind.ENGINE: Exit.ENGINE,
    RefusalKind.SPENT: Exit.SPENT,
}


@dataclass(slots=True)
class Outcome:
    """What came of a plan: which changes stand, what was refused, what was written."""

    plan: EditPlan
    units: Units
    mode: str
    checkpoint: Checkpoint
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
        elif self.nothing and codes <= {Exit.PARTIAL}:
            codes = {Exit.NOTHING}
        return worst(codes)

    @property
    def nothing(self) -> bool:
        """The model was asked, and no answer could be taken; or none of them asks for a change."""
        came = self.changes or self.checkpoint.skipped
        return bool(self.units.count and not came and (not self.refusals or not self.units.unchanged))

    @property
    def unfinished(self) -> bool:
        """Something was not tried, or not written though it was meant to be: the same command goes on."""
        left = any(r.kind in (RefusalKind.SPENT, RefusalKind.ENGINE) for r in self.refusals)
        landed = self.report.written if self.report else ()
        return left or (self.mode == "write" and len(landed) < len(self.plan.changes))


def tell(repository: Repository, outcome: Outcome, seconds: float) -> None:
    """Say what came of it, and how to go on where something is left."""
    from glm_lsp.workspace.apply import patches  # noqa: PLC0415

    units = outcome.units
    written = outcome.report.written if outcome.report else ()
    for note in outcome.report.notes if outcome.report else ():
        units.say(note)
    if outcome.report and outcome.report.recovered:
        recovered(outcome.report.recovered)
    if outcome.report and outcome.report.rolled_back:
        units.say(outcome.report.reason)
    diffs = {} if written else patches(repository.root, outcome.changes, repository.allowed)
    notes = {path: diff.note for path, diff in diffs.items() if diff.note}
    if units.jsonl:
        for note in outcome.plan.notes:
            event("note", path=note.path, text=note.text)
        for refusal in outcome.refusals:
            event("refusal", path=refusal.path, kind=refusal.kind.value, reason=refusal.reason)
        for change in outcome.changes:
            event(
                "change",
                path=change.path,
                edits=len(change.edits),
                written=change.path in written,
                diff=diffs[change.path].text if change.path in diffs else "",
                diff_note=notes.get(change.path, ""),
            )
        event(
            "summary",
            task=outcome.plan.title,
            mode=outcome.mode,
            changed=[c.path for c in outcome.changes],
            written=list(written),
            refused=len(outcome.refusals),
            units=units.count,
            units_from_checkpoint=units.recalled,
            files_landed_before=sorted(outcome.checkpoint.skipped),
            checkpoint=outcome.checkpoint.said if outcome.unfinished else "",
            rolled_back=bool(outcome.report and outcome.report.rolled_back),
            seconds=round(seconds, 3),
            exit=int(outcome.code),
        )
        return
    for note in outcome.plan.notes:
        units.say(f"{report.line(note.path)}: {note.text}")
    for refusal in outcome.refusals:
        if refusal.kind is not RefusalKind.SPENT:  # the conclusion says it once for all of them
            units.say(_named(refusal))
    if outcome.mode == "diff":
        for path, diff in diffs.items():
            sys.stdout.write(_printable(diff.text))
            if diff.note:
                units.say(f"{report.line(path)}: {diff.note}.")
    elif not (outcome.report and outcome.report.rolled_back):
        verb = "changed" if outcome.mode == "write" else "would change"
        for change in outcome.changes:
            sys.stdout.write(f"{verb} {report.line(change.path)}\n")
    units.say(_conclusion(outcome))


def _named(refusal: Refusal) -> str:
    """A refusal with its path before it, unless its sentence begins with it."""
    path = report.line(refusal.path)
    if not path or re.match(rf"{re.escape(path)}(?![\w./-])", refusal.reason):
        return refusal.reason
    return f"{path}: {refusal.reason}"


def _conclusion(outcome: Outcome) -> str:
    """What came of it, for people: what was done, what was not, and how to go on."""
    if outcome.report and outcome.report.rolled_back:
        return "nothing was changed."
    spent = [r for r in outcome.refusals if r.kind is RefusalKind.SPENT]
    refused = len(outcome.refusals) - len(spent)
    files = _counted(len(outcome.changes), "file")
    said = f"{files} changed" if outcome.mode == "write" else f"{files} would change"
    if refused:
        said += f", {refused} refused"
        if outcome.changes:
            stands = "landed verified" if outcome.mode == "write" else "is verified and pending"
            said += f"; the rest {stands}"
        said += "" if outcome.mode == "write" else "; nothing was written"
    if outcome.units.recalled:
        said += f"; {_counted(outcome.units.recalled, 'unit')} from the checkpoint"
    if outcome.checkpoint.skipped:
        said += f"; {_counted(len(outcome.checkpoint.skipped), 'file')} landed before"
    if not spent:
        return f"{said}."
    left = _counted(len({r.path for r in spent}), "file")
    kept = outcome.checkpoint.said or "there is no answer to keep yet"
    ration = outcome.units.ration
    again = "Run the same command again to go on."
    if ration is not None and not ration.answered:
        again = "No whole answer fitted into that; the same command with more goes on."
    return f"{said}. {spent[0].reason} {left} left; {kept}. {again}"


def _counted(number: int, what: str) -> str:
    return f"1 {what}" if number == 1 else f"{number} {what}s"


def _printable(diff: str) -> str:
    """What a terminal and a CI log may show. A pipe gets line endings as they are, so that git applies it."""
    if sys.stdout.isatty():
        return report.safe(diff)
    lines = diff.split("\n")[:-1]
    return "".join(report.safe(line) + ("\r\n" if line.endswith("\r") else "\n") for line in lines)


def event(name: str, **facts: Any) -> None:
    """One event on stdout; ASCII, so that nothing in it is obeyed or lost."""
    sys.stdout.write(json.dumps({"event": name, **facts}) + "\n")
    sys.stdout.flush()


def recovered(paths: Sequence[str]) -> None:
    """Say which files of an interrupted run were put back."""
    for path in paths:
        sys.stderr.write(f"glm-lsp: {report.line(path)}: put back; an earlier run was interrupted.\n")
