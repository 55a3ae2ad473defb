"""`glm-lsp demo`: everything once, offline, with the bundled model, on the repository that you are in.

Without a repository that has Python files, the standard library takes its place. Files are read where they
stand and nothing is written. What the model writes is shown as it is; what is refused is shown as refused.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import door, draw, place, report, shapes
from glm_lsp.cli import index as index_verb
from glm_lsp.cli.doctor import model_facts
from glm_lsp.cli.draw import Spot
from glm_lsp.cli.exits import Exit
from glm_lsp.core.generation import Usage, Work
from glm_lsp.core.settings import BY_NAME, Settings
from glm_lsp.core.values import Document, EditPlan, FileOutline

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.features.complete import Completion
    from glm_lsp.workspace.repository import IndexReport, Repository

NAME = "demo"
HELP = "Show everything on this repository, offline, with the bundled model."
TASK = "Add docstrings where they are missing."
SMALLEST_BYTES, LARGEST_BYTES = 500, 60_000
LOOKED_AT = 60
"""Files that are read to draw from."""
REFACTORED_FILES, REFACTORED_DEFINITIONS = 3, 6
LIBRARY_LEFT_OUT = (
    "site-packages/",
    "dist-packages/",
    "test/",
    "tests/",
    "idle_test/",
    "config-*/",
    "pydoc_data/",
)


@dataclass(frozen=True, slots=True)
class Begun:
    """What the demo works with."""

    root: Path
    in_library: bool
    seed: int
    model: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Indexed:
    report: IndexReport
    unseen_files: int
    """Of the files looked at: those that the model was not trained on."""


@dataclass(frozen=True, slots=True)
class Completed:
    spot: Spot
    completion: Completion
    usage: Usage
    seconds: float

    @property
    def text(self) -> str:
        return self.completion.suggestion.text if self.completion.suggestion else ""


@dataclass(frozen=True, slots=True)
class Refactored:
    """`verified` says that every changed file was parsed again and has no new error."""

    task: str
    files: tuple[str, ...]
    plan: EditPlan
    diff: str
    verified: bool
    seconds: float


Part = Begun | Indexed | Completed | Refactored


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="draws the places (default: 0)")
    parser.add_argument(
        "--completions", type=door.whole_number, default=4, metavar="N", help="how many (default: 4)"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the terminal's picture there")


def run(args: argparse.Namespace) -> int:
    return door.drive(_show(args))


async def _show(args: argparse.Namespace) -> int:
    parts: list[Part] = []
    if args.format == "json":
        async with aclosing(demonstrate(door.settings(args), args.seed, args.completions)) as stream:
            parts += [part async for part in stream]
        report.print_json(shape(parts))
        return Exit.OK
    from glm_lsp.cli.demo_show import Show  # noqa: PLC0415

    show = Show(record=args.svg is not None)
    async with aclosing(demonstrate(door.settings(args), args.seed, args.completions)) as stream:
        with show.waiting():
            async for part in stream:
                show.part(part)
    show.end()
    if args.svg is not None:
        args.svg.write_text(show.svg(), encoding="utf-8")
    return Exit.OK


def shape(parts: Sequence[Part]) -> dict[str, Any]:
    """The JSON of a finished demo."""
    shown: dict[str, Any] = {"index": {}, "completions": [], "refactor": {}, "model": {}}
    for part in parts:
        match part:
            case Begun():
                shown["model"] = part.model
                shown["index"] = {"root": str(part.root), "seed": part.seed}
            case Indexed():
                shown["index"] |= index_verb.shape(part.report)
            case Completed():
                shown["completions"].append(_completion_shape(part))
            case Refactored():
                shown["refactor"] = _refactor_shape(part)
    return shown


def _completion_shape(part: Completed) -> dict[str, Any]:
    return {
        "path": part.spot.document.path,
        "line": part.spot.line,
        "column": part.spot.column,
        "text": part.text,
        "prompt_tokens": part.completion.prompt.tokens,
        "evaluated_tokens": part.usage.evaluated_tokens,
        "blocks": [shapes.block(b, text=False) for b in part.completion.prompt.blocks],
        "seconds": round(part.seconds, 4),
    }


def _refactor_shape(part: Refactored) -> dict[str, Any]:
    return {
        "task": part.task,
        "files": list(part.files),
        "diff": part.diff,
        "verified": part.verified,
        "refused": [{"path": r.path, "kind": str(r.kind), "reason": r.reason} for r in part.plan.refusals],
        "seconds": round(part.seconds, 4),
    }


async def demonstrate(settings: Settings, seed: int, completions: int) -> AsyncGenerator[Part, None]:
    """The demo's parts, each as soon as it is there. Raises EngineUnavailable with the remedy."""
    from glm_lsp.app import Runtime  # noqa: PLC0415

    here = place.root_of(Path.cwd())
    in_library = not (here / ".git").exists() or here == draw.library()
    runtime = Runtime(offline(settings, in_library=in_library), NAME)
    try:
        runtime.router.engine(Work.TYPING)
        repository = runtime.repository(draw.library() if in_library else here)
        indexed = await repository.index()
        if not in_library and not any(map(_suits, repository.snapshot().index.outlines.values())):
            in_library = True
            await runtime.close()
            runtime = Runtime(offline(settings, in_library=True), NAME)
            repository = runtime.repository(draw.library())
            indexed = await repository.index()
        yield Begun(repository.root, in_library, seed, model_facts(runtime.settings, runtime.router))
        documents = await _unseen(repository, seed, in_library=in_library)
        yield Indexed(indexed, len(documents))
        spots = draw.spots(documents, seed, completions)
        for spot in spots:
            yield await _complete(runtime, repository, spot)
        opened = {spot.document.path for spot in spots}
        yield await _refactor(runtime, repository, [d for d in documents if d.path not in opened])
    finally:
        await runtime.close()


def offline(settings: Settings, *, in_library: bool) -> Settings:
    """The settings with the bundled model in the embedded engine, and nothing else."""
    names = ("engine.default", "engine.typing", "engine.refactor", "model.profile", "model.path")
    values = {**settings.values, **{name: BY_NAME[name].default for name in names}}
    if in_library:
        values["index.exclude"] = (*settings.texts("index.exclude"), *LIBRARY_LEFT_OUT)
    return replace(settings, values=values)


async def _unseen(repository: Repository, seed: int, *, in_library: bool) -> list[Document]:
    """Files to work on: Python, of middling size, and not in the model's training."""
    outlines = [o for o in repository.snapshot().index.outlines.values() if _suits(o)]
    if in_library:
        outlines = [o for o in outlines if draw.unseen(o.path, b"", in_library=True)]
    paths = sorted(o.path for o in outlines)
    random.Random(seed).shuffle(paths)  # noqa: S311
    paths.sort(key=_is_test)  # tests come last: they repeat themselves
    found: list[Document] = []
    for path in paths[:LOOKED_AT]:
        document = await repository.read(path)
        if isinstance(document, Document) and draw.unseen(path, document.data, in_library=in_library):
            found.append(document)
    return found


def _suits(outline: FileOutline) -> bool:
    middling = SMALLEST_BYTES <= outline.size_bytes <= LARGEST_BYTES
    return outline.language == "python" and not outline.error and middling


def _is_test(path: str) -> bool:
    return any(part.startswith("test") for part in path.split("/"))


async def _complete(runtime: Runtime, repository: Repository, spot: Spot) -> Completed:
    """Complete at a place as if the rest of its line had not been written yet.

    The file stays open like that, in memory: putting the line back would be an edit that the model sees.
    """
    from glm_lsp.features.complete import suggest  # noqa: PLC0415

    session = runtime.session(repository, Work.TYPING)
    typed = replace(spot.without_truth(), version=1)
    repository.update(typed)
    began = time.perf_counter()
    completion = await suggest(session, repository.snapshot(), typed.path, spot.offset)
    seconds = time.perf_counter() - began
    return Completed(spot, completion, completion.usage or Usage(), seconds)


async def _refactor(runtime: Runtime, repository: Repository, documents: Sequence[Document]) -> Refactored:
    from glm_lsp.core.edits import apply_edits  # noqa: PLC0415
    from glm_lsp.core.syntax import errors  # noqa: PLC0415
    from glm_lsp.features.refactor import propose  # noqa: PLC0415
    from glm_lsp.workspace.apply import unified_diff  # noqa: PLC0415

    chosen = undocumented(documents)
    session = runtime.session(repository, Work.REFACTOR)
    began = time.perf_counter()
    plan = EditPlan(TASK)
    if chosen:
        plan = await propose(session, repository.snapshot(), TASK, list(chosen), None)
    seconds = time.perf_counter() - began
    by_path = {d.path: d for d in documents}
    sound = [
        len(errors(apply_edits(old.data, change.edits), old.language)) <= len(errors(old.data, old.language))
        for change in plan.changes
        if (old := by_path[change.path])
    ]
    diff = unified_diff(by_path, plan.changes)
    return Refactored(TASK, tuple(chosen), plan, diff, bool(sound) and all(sound), seconds)


def undocumented(documents: Sequence[Document]) -> list[str]:
    """A few files with few definitions that lack docstrings, so that the demo stays short."""
    from glm_lsp.features.docstring import gaps  # noqa: PLC0415

    counts = {d.path: sum(not gap.minor for gap in gaps(d)) for d in documents}
    chosen: list[str] = []
    left = REFACTORED_DEFINITIONS
    for path, count in sorted(counts.items(), key=lambda item: item[1] > REFACTORED_DEFINITIONS // 2):
        if 0 < count <= left and len(chosen) < REFACTORED_FILES:
            chosen.append(path)
            left -= count
    return chosen
