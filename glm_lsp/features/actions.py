"""Carry out one offer of the catalogue: the result is a plan to apply or an explanation to show."""

from __future__ import annotations

from glm_lsp.core import guard
from glm_lsp.core.edits import Lines
from glm_lsp.core.generation import Work
from glm_lsp.core.paths import objection
from glm_lsp.core.secrets import SETTING, censored
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import enclosing_definition
from glm_lsp.core.values import Change, Document, EditPlan, Refusal, RefusalKind, Span, TextEdit
from glm_lsp.features import docstring, prompts
from glm_lsp.features.asking import OnProgress, silent
from glm_lsp.features.catalogue import Offer, OfferKind, chosen_gaps, instruction_in, whole_lines
from glm_lsp.features.complete import suggest
from glm_lsp.features.editing import edit
from glm_lsp.features.explain import Explanation, explain
from glm_lsp.features.session import Session
from glm_lsp.features.units import Unit, region

_MARKS = ("#", "//", "--", ";", "%", "/*", "<!--")
NEAR_LINES = 20
"""Lines shown before and after a place at module level."""


async def perform(
    session: Session, snapshot: Snapshot, offer: Offer, on_progress: OnProgress = silent
) -> EditPlan | Explanation:
    """Do what `offer` says to the file as the snapshot has it.

    Raises an EngineError, PolicyError for a file that must not be sent, UsageError for one that is not there,
    and BudgetError where the place does not fit a request.
    """
    document = await session.document(snapshot, offer.path)
    size = len(document.data)
    span = Span(min(offer.span.start, size), min(offer.span.end, size))
    if offer.kind is OfferKind.EXPLAIN:
        return await explain(session, snapshot, document, span, on_progress)
    if reason := objection(offer.path):
        return EditPlan(offer.title, refusals=(Refusal(offer.path, RefusalKind.POLICY, reason),))
    if offer.kind is OfferKind.DOCSTRING:
        gaps = chosen_gaps(document, span)
        change, refusals = await docstring.write(
            session, snapshot, document, gaps, on_progress, work=Work.ACTION
        )
        return EditPlan(offer.title, (change,) if change else (), refusals)
    if offer.kind is OfferKind.CONTINUE:
        return await _continue(session, snapshot, document, offer)
    task = censored(offer.argument.strip(), snapshot.settings.texts(SETTING))
    if offer.kind is OfferKind.FIX:
        line = document.data.count(b"\n", 0, span.start) + 1
        task = f"{prompts.load('fix')}Line {line}: {task}"
    if not task:
        reason = (
            "There is no instruction: write a `glm:` comment in the selection, or give one with the request."
        )
        return EditPlan(offer.title, refusals=(Refusal(offer.path, RefusalKind.FORMAT, reason),))
    unit = _unit(document, span, offer)
    plan = await edit(session, snapshot, unit, task, on_progress, work=Work.ACTION)
    changes = plan.changes
    if changes and offer.kind is OfferKind.REFACTOR:
        changes = (_without_instruction(document, span, changes[0], task),)
    return EditPlan(offer.title, changes, plan.refusals, plan.notes)


def _without_instruction(document: Document, span: Span, change: Change, task: str) -> Change:
    """The change, and the `glm:` comment that asked for it gone with it, if it has a line to itself.

    It stays where the model's own edits touch it, or where its line is needed.
    """
    lines = Lines.of(document.data)
    first = document.data.count(b"\n", 0, span.start)
    last = document.data.count(b"\n", 0, span.end)
    for number in range(first, min(last + 1, len(lines))):
        line = lines.texts[number]
        if instruction_in(line) != task or not line.lstrip().startswith(_MARKS):
            continue
        where = Span(lines.offset(number), lines.offset(number + 1))
        if any(e.span.start < where.end and where.start <= e.span.end for e in change.edits):
            continue
        edits = tuple(sorted((*change.edits, TextEdit(where, "")), key=lambda e: e.span))
        without = Change(change.path, change.base_digest, edits)
        return change if guard.check(document, without, task).refusal else without
    return change


def _unit(document: Document, span: Span, offer: Offer) -> Unit:
    """The lines to show: the selection if it has code of its own, else the definition around it."""
    lines = whole_lines(document.data, span)
    text = document.data[lines.start : lines.end].decode("utf-8", "replace")
    code = [line for line in text.split("\n") if line.strip() and not instruction_in(line)]
    if offer.kind is OfferKind.REFACTOR and len(span) and code:
        return region(document, lines, offer.title)
    around = enclosing_definition(document.data, document.language, span.start)
    if around is not None:
        return region(document, Span(around.span.start, max(around.span.end, lines.end)), offer.title)
    starts = Lines.of(document.data)
    first = document.data.count(b"\n", 0, span.start)
    last = document.data.count(b"\n", 0, span.end)
    begin = starts.offset(max(first - NEAR_LINES, 0))
    return region(document, Span(begin, max(begin, starts.offset(last + NEAR_LINES + 1))), offer.title)


async def _continue(session: Session, snapshot: Snapshot, document: Document, offer: Offer) -> EditPlan:
    completion = await suggest(session, snapshot, offer.path, offer.span.start)
    suggestion = completion.suggestion
    if suggestion is None or not suggestion.text:
        reason = completion.reason or "The model has nothing to add here."
        return EditPlan(offer.title, refusals=(Refusal(offer.path, RefusalKind.FORMAT, reason),))
    edits = (TextEdit(suggestion.span, suggestion.text),)
    return EditPlan(offer.title, (Change(offer.path, document.digest, edits),))
