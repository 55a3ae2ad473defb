"""A task over files: what the model proposes, checked, as one `EditPlan`. Nothing is written here.

Where the host can compute the places, a recipe does (`RECIPES`) and the model writes only what is new.
Otherwise each unit is shown with anchored lines, its answer is parsed strictly and guarded, and asked for
once more with the reason if it was refused. Without paths the units are what the task touches. A unit that
fails is a refusal in the plan; the others go on. An engine that cannot answer ends the run: what was not
tried is refused too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from glm_lsp.core import guard
from glm_lsp.core.edits import Lines
from glm_lsp.core.errors import (
    BudgetError,
    EngineError,
    PolicyError,
    PromptTooLong,
    SpentError,
    UsageError,
)
from glm_lsp.core.layout import log_entry
from glm_lsp.core.paths import objection
from glm_lsp.core.rank import Candidate
from glm_lsp.core.secrets import SETTING, censored
from glm_lsp.core.site import Part
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import errors, language_of, supported
from glm_lsp.core.values import (
    Change,
    Document,
    EditPlan,
    Note,
    Refusal,
    RefusalKind,
    TextEdit,
)
from glm_lsp.features import docstring, retrieval, tasks
from glm_lsp.features.asking import Place, room_for
from glm_lsp.features.editing import edit, question_of, refused_for
from glm_lsp.features.ration import Ration
from glm_lsp.features.retrieval import Gathered
from glm_lsp.features.session import Session
from glm_lsp.features.units import Unit, split

_DOCSTRINGS = re.compile(
    r"(?:please )?(?:add|write|insert|generate|create|fill in)(?: the| all| all the| any)?(?: missing)? "
    r"doc-?strings?(?: where (?:they are|they're|it is|there are none|one is) ?(?:missing)?| where missing|"
    r" to (?:all|everything|every)[\w ]*| for (?:all|everything|every)[\w ]*)?[.!]?",
    re.IGNORECASE,
)
RECIPES: Mapping[str, re.Pattern[str]] = {"docstrings": _DOCSTRINGS}
"""Recipes by name, and the tasks that they are."""
DECIDED_TITLE = "# Decided for this task, and not yet in the files\n"


class UnitState(StrEnum):
    RUNNING = "running"
    CHANGED = "changed"
    PARTIAL = "partial"
    """Changed, and something in it was refused."""
    UNCHANGED = "unchanged"
    REFUSED = "refused"
    STOPPED = "stopped"
    """Time or tokens were spent in the middle of it; nothing of it is used."""


@dataclass(frozen=True, slots=True)
class UnitEvent:
    """Unit `number` of `total` (1-based) is at `state`; `message` says more."""

    number: int
    total: int
    path: str
    name: str
    state: UnitState
    message: str = ""
    percentage: int | None = None


OnUnit = Callable[[UnitEvent], None]


def recipe_for(task: str) -> str:
    """The name of the recipe that a task asks for, or an empty string."""
    plain = " ".join(task.split())
    return next((name for name, pattern in RECIPES.items() if pattern.fullmatch(plain)), "")


async def propose(
    session: Session,
    snapshot: Snapshot,
    task: str,
    paths: Sequence[str],
    on_unit: OnUnit | None = None,
    *,
    recipe: str = "",
    ration: Ration | None = None,
    on_closure: Callable[[Gathered], None] | None = None,
) -> EditPlan:
    """The plan for `task` over files or directories (relative). Without any, a recipe is for all that is
    indexed, and a task in words for what it touches (`retrieval`), which `on_closure` hears first.

    With a `ration`, which is then the session's engine, a file is in the plan when all of its units are done;
    what was not reached is refused as spent. What a task touches changes together or not at all: the plan is
    then empty.

    Raises UsageError for an unknown recipe, a task without words, and one that names nothing where no paths
    are given. Everything else is in the plan.
    """
    if recipe and recipe not in RECIPES:
        raise UsageError(f"There is no recipe '{recipe}'; choose one of {', '.join(RECIPES)}.")
    recipe = recipe or recipe_for(task)
    if not recipe and not task.strip():
        raise UsageError("The task is empty; say in a sentence what should change.")
    task = censored(task, snapshot.settings.texts(SETTING))
    gathered = None
    if not recipe and not paths:
        gathered = await retrieval.touched(session, snapshot, task)
        if not gathered.closure.files():
            raise UsageError(_unnamed(gathered))
        if on_closure is not None:
            on_closure(gathered)
    files, refusals = ([], []) if gathered else select(snapshot, paths)
    ration = ration or Ration(session.engine, session.tokenizer.count)
    run = _Run(session, snapshot, task, on_unit or (lambda event: None), ration, refusals)
    if gathered is not None:
        await run.closure(gathered)
    else:
        await (run.docstrings(files) if recipe == "docstrings" else run.edits(files))
    return EditPlan(task.strip() or recipe, tuple(run.changes), tuple(run.refusals), tuple(run.notes))


def _unnamed(gathered: Gathered) -> str:
    """Why a task cannot be worked on without paths, and what to do."""
    vague = [a for a in gathered.closure.ambiguous if not a.taken]
    if vague:
        targets, word = vague[0].targets, vague[0].word
        first = ", ".join(f"{t.name} ({t.path})" for t in targets[:3])
        return (
            f"{len(targets)} definitions are called {word} ({first}, …); name the one that is meant, as in "
            "Class.method, or give the PATHs that the task is about."
        )
    unknown, unread = gathered.closure.unknown, gathered.unread
    if gathered.closure.definitions and unread:
        return f"What the task is about cannot be read: {unread[0].reason}"
    what = (
        f"Nothing here is called {unknown[0]}" if unknown else "The task names nothing that is defined here"
    )
    return f"{what}; give the PATHs that it is about, or name what should change, as in Class.method."


def select(snapshot: Snapshot, paths: Sequence[str]) -> tuple[list[str], list[Refusal]]:
    """The files that `paths` stand for, in order, without doubles; and what must not be edited.

    A directory stands for the indexed files under it that may be edited and whose syntax can be checked; a
    file for itself.
    """
    known = sorted({*snapshot.index.outlines, *snapshot.documents})
    files: dict[str, None] = {}
    refusals: list[Refusal] = []
    for path in paths or (".",):
        below = [k for k in known if path in (".", "") or k.startswith(path.rstrip("/") + "/")]
        if path not in known and below:
            files.update(dict.fromkeys(k for k in below if supported(language_of(k)) and not objection(k)))
        elif reason := objection(path):
            if path != ".":
                refusals.append(Refusal(path, RefusalKind.POLICY, reason))
        else:
            files[path] = None
    return list(files), refusals


@dataclass(slots=True)
class _Run:
    """One call of `propose`, while it runs."""

    session: Session
    snapshot: Snapshot
    task: str
    on_unit: OnUnit
    ration: Ration
    refusals: list[Refusal]
    changes: list[Change] = field(default_factory=list[Change])
    notes: list[Note] = field(default_factory=list[Note])

    async def docstrings(self, files: Sequence[str]) -> None:
        documents = [d for d in await self._documents(files) if self._readable(d)]
        work = [(d, [g for g in docstring.gaps(d) if not g.minor]) for d in documents]
        work = [(document, gaps) for document, gaps in work if gaps]
        for number, (document, gaps) in enumerate(work, start=1):
            report = self._reporter(number, len(work), document.path, document.path)
            try:
                async with self.ration.about(document.digest):
                    change, refused = await docstring.write(
                        self.session,
                        self.snapshot,
                        document,
                        gaps,
                        lambda m, p, r=report: r(UnitState.RUNNING, m, p),
                    )
            except (BudgetError, PromptTooLong, PolicyError, UsageError) as error:
                change, refused = None, (refused_for(document.path, error),)
            except (EngineError, SpentError) as error:
                self._stop([d.path for d, _ in work[number - 1 :]], error, report)
                return
            if change is not None and (verdict := guard.check(document, change, self.task)).refusal:
                change, refused = None, (*refused, verdict.refusal)
            self.refusals += refused
            self.changes += [change] if change else []
            report(_state(changed=change is not None, refused=refused), _said(refused), None)

    async def edits(self, files: Sequence[str]) -> None:
        units: list[Unit] = []
        documents = await self._documents(files)
        for number, document in enumerate(documents):
            question = question_of("", self.session, self.snapshot)
            places = [Place(document.path, offset, self.task) for offset in (0, len(document.data))]
            try:
                async with self.ration.about(document.digest):
                    # From place to place the context tells more, and leaves less.
                    rooms = [await room_for(self.session, self.snapshot, p, question) for p in places]
            except SpentError as error:
                self._leave([d.path for d in documents[number:]], error)
                break
            except (BudgetError, PolicyError, UsageError) as error:
                self.refusals.append(refused_for(document.path, error))
                continue
            made, refused = split(document, self._size, min(rooms))
            units += made
            self.refusals += refused
        await self._work(units)

    async def closure(self, gathered: Gathered) -> None:
        """Work on what the task touches, definitions first; each unit hears what was decided about them."""
        wanted, files = gathered.closure.shared, gathered.closure.files()
        try:
            async with self.ration.about(self.task):
                room, decided = await tasks.room(self.session, self.snapshot, self.task, gathered)
        except SpentError as error:
            self._leave(files, error)
            return
        except (BudgetError, PolicyError, UsageError) as error:
            self.refusals.append(refused_for(files[0], error))
            return
        units, refused = retrieval.work(gathered, self._size, room)
        self.refusals += refused
        defining = frozenset(d.target.path for d in gathered.closure.definitions if d.part is not Part.TYPE)
        await self._work(units, wanted, defining, decided)
        if any(r.kind in (RefusalKind.SPENT, RefusalKind.ENGINE) for r in self.refusals):
            self.changes.clear()

    async def _work(
        self,
        units: Sequence[Unit],
        wanted: tuple[Candidate, ...] = (),
        defining: frozenset[str] = frozenset(),
        most_decided: int = 0,
    ) -> None:
        """Ask about each unit. Of those in `defining` files the others hear, up to so many tokens."""
        merged: dict[str, list[TextEdit]] = {}
        unfinished: list[str] = []
        decided = ""
        for number, unit in enumerate(units, start=1):
            path = unit.document.path
            report = self._reporter(number, len(units), path, unit.name)
            try:
                async with self.ration.about(unit.document.digest):
                    plan = await edit(
                        self.session,
                        self.snapshot,
                        unit,
                        self.task,
                        lambda m, p, r=report: r(UnitState.RUNNING, m, p),
                        wanted=wanted,
                        before=decided,
                    )
            except (EngineError, SpentError) as error:
                unfinished = list(dict.fromkeys(u.document.path for u in units[number - 1 :]))
                self._stop(unfinished, error, report)
                break
            refused = plan.refusals
            new = [e for change in plan.changes for e in change.edits]
            taken = bool(new) and _add(merged.setdefault(path, []), new)
            if new and not taken:
                reason = f"{unit.name}: its edits overlap those of an earlier part of the file."
                refused = (*refused, Refusal(path, RefusalKind.FORMAT, reason))
            elif path in defining:
                said = (decided or DECIDED_TITLE) + _told(unit.document, new)
                decided = said if new and self.session.count(said) <= most_decided else decided
            self.refusals += refused
            self.notes += plan.notes
            report(_state(changed=taken, refused=refused), _said(refused), None)
        whole = {path: edits for path, edits in merged.items() if path not in unfinished}
        self._conclude({u.document.path: u.document for u in units}, whole)

    def _conclude(self, documents: Mapping[str, Document], merged: Mapping[str, Sequence[TextEdit]]) -> None:
        """Judge each file's edits together: two that are right by themselves may not be right together."""
        for path, edits in merged.items():
            if not edits:
                continue
            change = Change(path, documents[path].digest, tuple(sorted(edits, key=lambda e: e.span)))
            if refusal := guard.check(documents[path], change, self.task).refusal:
                self.refusals.append(refusal)
            else:
                self.changes.append(change)

    def _readable(self, document: Document) -> bool:
        """Whether docstrings can be placed in the file; that they cannot is told: something may be needed."""
        if document.language == "python":
            if not errors(document.data, document.language):
                return True
            reason = "It has syntax errors, so nothing can be placed in it; mend them first."
        else:
            reason = "Docstrings can be placed in Python files only."
        self.refusals.append(Refusal(document.path, RefusalKind.UNREADABLE, reason))
        return False

    async def _documents(self, files: Sequence[str]) -> list[Document]:
        found: list[Document] = []
        for path in files:
            try:
                document = await self.session.document(self.snapshot, path)
                if not self.ration.landed(path, document.digest):
                    found.append(document)
            except (PolicyError, UsageError) as error:
                self.refusals.append(refused_for(path, error))
        return found

    @property
    def _size(self) -> Callable[[Unit], int]:
        return tasks.size(self.session, self.snapshot, self.task)

    def _reporter(
        self, number: int, total: int, path: str, name: str
    ) -> Callable[[UnitState, str, int | None], None]:
        def report(state: UnitState, message: str = "", percentage: int | None = None) -> None:
            self.on_unit(UnitEvent(number, total, path, name, state, message, percentage))

        report(UnitState.RUNNING)
        return report

    def _stop(
        self,
        paths: Sequence[str],
        error: EngineError | SpentError,
        report: Callable[[UnitState, str, int | None], None],
    ) -> None:
        """Without an engine nothing more can be done; what was not tried is not silently left out."""
        spent = isinstance(error, SpentError)
        report(UnitState.STOPPED if spent else UnitState.REFUSED, str(error), None)
        self._leave(paths, error)

    def _leave(self, paths: Sequence[str], error: EngineError | SpentError) -> None:
        kind = RefusalKind.SPENT if isinstance(error, SpentError) else RefusalKind.ENGINE
        self.refusals += [Refusal(path, kind, str(error)) for path in paths]


def _state(*, changed: bool, refused: Sequence[Refusal]) -> UnitState:
    """What is said of a unit that came to its end."""
    if refused:
        return UnitState.PARTIAL if changed else UnitState.REFUSED
    return UnitState.CHANGED if changed else UnitState.UNCHANGED


def _said(refused: Sequence[Refusal]) -> str:
    return " ".join(r.reason for r in refused)


def _told(document: Document, edits: Sequence[TextEdit]) -> str:
    """Edits as the units after them hear of them: what the lines are now."""
    lines = Lines.of(document.data)
    entries: list[str] = []
    for edit_ in sorted(edits, key=lambda e: e.span):
        start = document.data.count(b"\n", 0, edit_.span.start)
        end = document.data.count(b"\n", 0, max(edit_.span.end - 1, edit_.span.start)) + 1
        first, last = lines.offset(start), lines.offset(end)
        data = document.data
        text = (data[first : edit_.span.start], edit_.text.encode(), data[edit_.span.end : last])
        now = b"".join(text).decode("utf-8", "replace").replace("\r\n", "\n")
        entries.append(log_entry(document.path, start, end - start, now))
    return "".join(entries)


def _add(edits: list[TextEdit], new: Sequence[TextEdit]) -> bool:
    """Add edits that are not there yet; False, and nothing added, if one overlaps another."""
    wanted = [e for e in new if e not in edits]
    for a in wanted:
        if any(a.span == b.span or (a.span.start < b.span.end and b.span.start < a.span.end) for b in edits):
            return False
    edits += wanted
    return True
