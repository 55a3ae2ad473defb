"""The progress of a refactor: a bar with the time left on a terminal, events where the result is JSON."""

from __future__ import annotations

import json
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from glm_lsp.cli import report
from glm_lsp.core.site import Part
from glm_lsp.features.refactor import UnitEvent, UnitState
from glm_lsp.features.retrieval import left_out

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from glm_lsp.features.ration import Ration
    from glm_lsp.features.retrieval import Gathered

MOST_SHOWN = 10
"""Definitions, and files left out, that are told to people one by one."""


class Units:
    """Hears of every unit. A context manager: the bar is there as long as it is entered."""

    def __init__(self, *, jsonl: bool) -> None:
        self.jsonl = jsonl
        self.count = 0
        """Units that the model was asked about."""
        self.recalled = 0
        """Units with answers that a run before has left."""
        self.unchanged = 0
        """Units in which the model found nothing to change."""
        self.ration: Ration | None = None
        self._heard = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Units:
        if sys.stderr.isatty():
            from rich.progress import (  # noqa: PLC0415
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
            text = TextColumn("{task.description}", markup=False)
            self._bar = Progress(*columns, text, console=report.console(error=True), transient=True)
            self._task = self._bar.add_task("", total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def told(self, event: UnitEvent) -> None:
        """One step of one unit."""
        running = event.state is UnitState.RUNNING
        self.count = max(self.count, event.number)
        if not running:
            recalled = self.ration.recalled if self.ration else 0
            self.recalled += recalled > self._heard
            self._heard = recalled
            self.unchanged += event.state is UnitState.UNCHANGED
        if self._bar is not None and self._task is not None:
            said = f"{event.name} {event.message}" if running else f"{event.name} {event.state.value}"
            done = event.number - (1 if running else 0)
            self._bar.update(
                self._task, completed=done, total=event.total, description=report.line(said)[:100]
            )
        if running or not self.jsonl:
            return
        facts = {
            "event": "unit",
            "number": event.number,
            "total": event.total,
            "path": event.path,
            "name": event.name,
            "state": event.state.value,
            "message": event.message,
        }
        sys.stdout.write(json.dumps(facts) + "\n")
        sys.stdout.flush()

    def touched(self, gathered: Gathered) -> None:
        """What a task without paths turns out to be about, before the model is asked; nothing is left out
        silently.
        """
        closure = gathered.closure
        named = [d for d in closure.definitions if d.part is Part.DEFINITION]
        sites = [s for s in closure.sites if s.certain or s.likely]
        left = left_out(gathered, lambda text: len(text) // 4)
        if self.jsonl:
            facts = {
                "event": "closure",
                "definitions": [
                    {"path": d.target.path, "name": d.target.name, "part": d.part.value, "reason": d.reason}
                    for d in closure.definitions
                ],
                "places": [
                    {
                        "path": s.path,
                        "line": s.line + 1,
                        "part": s.part.value,
                        "certain": s.certain,
                        "reason": s.reason,
                    }
                    for s in sites
                ],
                "left_out": [{"path": d.path, "reason": d.reason} for d in left],
                "ambiguous": [
                    {"word": a.word, "definitions": [f"{t.path}:{t.name}" for t in a.targets]}
                    for a in closure.ambiguous
                ],
            }
            sys.stdout.write(json.dumps(facts) + "\n")
            sys.stdout.flush()
            return
        for word in closure.ambiguous:
            where = ", ".join(f"{t.name} ({t.path})" for t in word.targets)
            taken = "all are worked on" if word.taken else "none is worked on"
            self.say(f"{word.word} is the name of {len(word.targets)} definitions, {taken}: {where}.")
        shown = ", ".join(f"{d.target.name} ({d.target.path})" for d in named[:MOST_SHOWN])
        more = f" and {len(named) - MOST_SHOWN} more" if len(named) > MOST_SHOWN else ""
        unsure = sum(not s.certain for s in sites)
        said = f"{len(sites)} places in {len(closure.files())} files speak of {shown}{more}"
        self.say(f"{said}{f', {unsure} of them by the name alone' if unsure else ''}.")
        for dropped in left[:MOST_SHOWN]:
            self.say(f"left out: {dropped.path}: {dropped.reason}")
        if len(left) > MOST_SHOWN:
            self.say(f"left out: {len(left) - MOST_SHOWN} more files; `glm-lsp context --task` lists them.")

    def say(self, sentence: str) -> None:
        """For people, on stderr; where the result is JSON lines, it is all in there."""
        if not self.jsonl:
            sys.stderr.write(f"glm-lsp: {report.safe(sentence)}\n")
