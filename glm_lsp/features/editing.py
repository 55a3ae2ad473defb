"""One unit of a refactor: ask, parse, guard, and ask once more with the reason.

What a model says is untrusted: it becomes a change that passed every check, or refusals.
"""

from __future__ import annotations

from dataclasses import replace

from glm_lsp.core import guard
from glm_lsp.core.edits import EditFormat, parse
from glm_lsp.core.errors import BudgetError, PolicyError, PromptTooLong, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.layout import request_tail
from glm_lsp.core.rank import Candidate
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import EditPlan, Refusal, RefusalKind
from glm_lsp.features import prompts
from glm_lsp.features.asking import OnProgress, Place, Question, consult, silent
from glm_lsp.features.session import Session
from glm_lsp.features.units import Unit

BEGUN = "==="
"""The answer's first characters, written for engines that continue what we began."""
OPENING = ("=== file ", "=== end", "```")


async def edit(
    session: Session,
    snapshot: Snapshot,
    unit: Unit,
    task: str,
    on_progress: OnProgress = silent,
    *,
    work: Work = Work.REFACTOR,
    wanted: tuple[Candidate, ...] = (),
    before: str = "",
) -> EditPlan:
    """One unit: ask, parse, guard, and ask once more with the reason. Raises an EngineError.

    `wanted` and `before` as in `Place` and `Question`.
    """
    form = format_of(session, snapshot)
    repair = ""
    refusals: tuple[Refusal, ...] = ()
    for attempt in range(2):
        question = question_of(instruction_for(unit, task, form, repair), session, snapshot, work)
        question = replace(question, source=unit.shown(anchors=False), before=before)
        try:
            answer = await consult(
                session, snapshot, Place(unit.document.path, unit.offset, task, wanted), question, on_progress
            )
        except (BudgetError, PromptTooLong, PolicyError, UsageError) as error:
            return EditPlan(task, refusals=refusals or (refused_for(unit.document.path, error),))
        if answer.cut:
            most = question.max_tokens
            reason = f"The answer is longer than {most:,} tokens (edits.max_tokens) and was cut off."
            return EditPlan(task, refusals=(Refusal(unit.document.path, RefusalKind.BUDGET, reason),))
        plan = judge(unit, task, answer.text)
        refusals = plan.refusals
        if not any(r.kind in (RefusalKind.FORMAT, RefusalKind.VERIFY) for r in refusals) or attempt:
            return plan
        reason = " ".join(r.reason for r in refusals)
        repair = f"An earlier answer was refused: {reason}\nAnswer again, and avoid that.\n"
        if any(r.kind is RefusalKind.FORMAT for r in refusals):
            form = EditFormat.SEARCH_REPLACE
        on_progress("asking once more", None)
    raise AssertionError("two attempts end the loop")


def judge(unit: Unit, task: str, answer: str) -> EditPlan:
    """What an answer to a unit amounts to: a change that passed every check, or refusals."""
    document = unit.document
    parsed = parse(answer, {document.path: document})
    refusals = tuple(Refusal(r.path or document.path, r.kind, r.reason) for r in parsed.refusals)
    if not parsed.changes:
        return EditPlan(task, refusals=refusals, notes=parsed.notes)
    change = parsed.changes[0]
    if not all(unit.covers(e) for e in change.edits):
        reason = "The answer edits lines that were not shown; only the lines shown may be edited."
        return EditPlan(task, refusals=(*refusals, Refusal(document.path, RefusalKind.FORMAT, reason)))
    verdict = guard.check(document, change, task)
    if verdict.refusal:
        return EditPlan(task, refusals=(*refusals, verdict.refusal))
    return EditPlan(task, (change,), refusals, (*parsed.notes, *verdict.notes))


def format_of(session: Session, snapshot: Snapshot) -> EditFormat:
    return EditFormat(snapshot.settings.text("edits.format") or session.profile.edit_format)


def question_of(
    instruction: str, session: Session, snapshot: Snapshot, work: Work = Work.REFACTOR
) -> Question:
    most = min(snapshot.settings.integer("edits.max_tokens"), session.engine.facts.context_tokens // 3)
    return Question(instruction, BEGUN, most, opening=OPENING, work=work)


def instruction_for(unit: Unit, task: str, form: EditFormat, repair: str) -> str:
    anchored = form is EditFormat.ANCHORED
    rules = prompts.load("edit_anchored" if anchored else "edit_search_replace")
    held = prompts.load("held_back") if unit.document.held else ""
    words = f"Task: {task.strip()}\n\n{rules}{held}{repair}"
    return request_tail(
        f"Edit {unit.document.path}", unit.document.language, unit.shown(anchors=anchored), words
    )


def refused_for(path: str, error: Exception) -> Refusal:
    kind = RefusalKind.BUDGET
    if isinstance(error, PolicyError):
        kind = RefusalKind.POLICY
    elif isinstance(error, UsageError):
        kind = RefusalKind.UNREADABLE
    return Refusal(path, kind, str(error))
