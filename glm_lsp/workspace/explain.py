"""What the index has of one path, or which rule left it out, and which line of which file decided."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.imports import Modules
from glm_lsp.core.imports.config import BROKEN, configures
from glm_lsp.core.imports.objections import extended, missing
from glm_lsp.core.settings import Settings
from glm_lsp.core.values import Export, FileOutline, Import, RepoIndex
from glm_lsp.workspace import git
from glm_lsp.workspace.discovery import accept
from glm_lsp.workspace.files import Unreadable, is_relative, kind_of, load
from glm_lsp.workspace.ignore import NEVER_ENTERED, Ignore
from glm_lsp.workspace.messages import REMEMBERED
from glm_lsp.workspace.run import IndexReport


@dataclass(frozen=True, slots=True)
class Imported:
    """An import as it is written, and the files that it means; none: it is not of this repository."""

    text: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Exported:
    """What a file offers, the files that have it, and what it is called there; none: it is not of this
    repository."""

    export: Export
    files: tuple[str, ...]
    symbol: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """`reason` completes the sentence `PATH …`; `decided` names the line or the setting that decided."""

    path: str
    indexed: bool
    reason: str
    decided: str = ""
    outline: FileOutline | None = None
    imports: tuple[Imported, ...] = ()
    exports: tuple[Exported, ...] = ()
    misnamed: bool = False
    """There is nothing to explain at the path."""
    project: tuple[tuple[str, str], ...] = ()
    """What the project's configuration says for this file: where, and what; what is broken in it, too."""


def explain(root: Path, settings: Settings, report: IndexReport, index: RepoIndex, path: str) -> Explanation:
    """What became of `path` in an index run of `root`. Blocks."""
    outlines = index.outlines
    project = tuple(_project(path, outlines))
    if (outline := outlines.get(path)) is not None:
        return Explanation(
            path,
            indexed=True,
            reason="is indexed" + (f"; {outline.error}" if outline.error else ""),
            outline=outline,
            imports=tuple(_imports(path, outline, outlines)),
            exports=tuple(_exports(path, outline, index)) if outline.exports else (),
            project=project,
        )
    if link := _link_above(root, path):
        reason = f"is behind a link: {link} is one, and links to directories are not followed"
        return Explanation(path, indexed=False, reason=reason)
    if said := _misnamed(root, path):
        return Explanation(path, indexed=False, reason=said, misnamed=True)
    reason, decided = _left_out(root, settings, report, path)
    return Explanation(path, indexed=False, reason=reason, decided=decided, project=project)


def problems(outlines: Mapping[str, FileOutline]) -> tuple[tuple[str, str], ...]:
    """What is wrong with files that configure a project, each with a sentence: in itself, or with what it
    needs of others. Other JSON is none, unless a configuration extends it.
    """
    configs = {path: outline.project for path, outline in outlines.items() if outline.project}
    wanted = {
        extended(path, row[1], configs)
        for path, rows in configs.items()
        for row in rows
        if row[0] == "extends"
    }
    known = {p: rows for p, rows in configs.items() if configures(p) or p in wanted}
    broken = [(path, row[1]) for path, rows in known.items() for row in rows if row[0] == BROKEN]

    def holds(path: str) -> bool:
        return (
            any(p.startswith(path) for p in outlines) if path.endswith("/") or not path else path in outlines
        )

    return tuple(sorted({*broken, *missing(known, holds)}))


def _left_out(root: Path, settings: Settings, report: IndexReport, path: str) -> tuple[str, str]:
    """Why a path is not in the index, and what decided that."""
    try:
        mode = os.lstat(root / path).st_mode
    except OSError:
        return "is there no longer", ""
    ignore = Ignore(root, settings.texts("index.exclude"), settings.texts("index.include"))
    try:
        if stat.S_ISDIR(mode):
            return _directory(root, report, ignore, path)
        if by_git := _by_git(root, path):
            return "is ignored by git", by_git
        listed = any(skipped.path == path for skipped in report.skipped)
        by_us = ignore.why(path)
        if by_us and not (listed and by_us.endswith(NEVER_ENTERED)):
            return ("is left out by index.exclude" if by_us.startswith("index.") else "is ignored"), by_us
        if what := kind_of(mode):
            return what, ""
        accept(os.fsencode(path), ignore)
        for skipped in report.skipped:
            if skipped.path == path:
                by = "an earlier run, by the content of the file" if REMEMBERED in skipped.reason else ""
                return skipped.reason, by or _line(root, settings, ignore, path)
    except Unreadable as unreadable:
        why = ignore.rules.by_name(path)
        return unreadable.reason, why.where if why is not None else ""
    return "is not in the index; it may have come just now", ""


def _misnamed(root: Path, path: str) -> str:
    """Why nothing at a path could be a file of the index; empty: something is there."""
    if path == ".":
        return "is the whole directory; name a file in it"
    if not is_relative(path):
        return "is not a path below the root"
    try:
        os.lstat(root / path)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        return f"cannot be found: {(said or 'system error').lower()}"
    return ""


def _link_above(root: Path, path: str) -> str:
    """The first directory on the way to a path that is a link."""
    above = reversed(PurePosixPath(path).parents)
    return next((str(one) for one in above if (root / one).is_symlink()), "")


def _directory(root: Path, report: IndexReport, ignore: Ignore, path: str) -> tuple[str, str]:
    if decided := _by_git(root, path + "/") or ignore.why(path + "/x"):
        return "is a directory that is ignored", decided
    below = sum(skipped.path.startswith(path + "/") for skipped in report.skipped)
    more = f", {below} of its files are left out" if below else ""
    return f"is a directory{more}; name a file in it", ""


def _line(root: Path, settings: Settings, ignore: Ignore, path: str) -> str:
    """The line of the file itself that decided, if one did."""
    try:
        document = load(root, path, settings.integer("index.max_file_bytes"), look=False)
    except Unreadable:
        return ""
    why = ignore.rules.by_content(path, document.data)
    return f"{path} {why.where}" if why is not None and why.where else ""


def _by_git(root: Path, path: str) -> str:
    """The line by which git ignores a path; empty where it does not, or where there is no git."""
    said = git.run(root, "check-ignore", "-v", "-z", "--stdin", data=os.fsencode(f"./{path}"))
    parts = (said or b"").decode("utf-8", "backslashreplace").split("\0")
    return f"{parts[0]} line {parts[1]}: {parts[2]}" if len(parts) > 3 else ""


def _imports(path: str, outline: FileOutline, outlines: Mapping[str, FileOutline]) -> list[Imported]:
    modules = Modules(outlines)

    def files(item: Import) -> tuple[str, ...]:
        inner = modules.submodule(item, path)
        found = modules.module(inner, path, item.level) if inner else ""
        return modules.files(found or modules.module(item.module, path, item.level))

    return [Imported(_written(item), files(item)) for item in outline.imports]


def _exports(path: str, outline: FileOutline, index: RepoIndex) -> Iterator[Exported]:
    graph = Graph(index)
    for export in outline.exports:
        module = graph.module(export.module, path) if export.module else path
        if not module or (export.module and export.local in ("", "*")):
            yield Exported(export, (module,) if module else ())
            continue
        target = graph.exported(module, export.local or export.name)
        found = target or (Target(module) if export.module else None)
        yield Exported(export, (found.path,) if found else (), found.name if found else "")


def _written(item: Import) -> str:
    name = f" {item.name}" if item.name else ""
    alias = f" as {item.alias}" if item.alias else ""
    return f"{'.' * item.level}{item.module}{name}{alias}"


def _project(path: str, outlines: Mapping[str, FileOutline]) -> list[tuple[str, str]]:
    """What the configuration in the directories around a file says."""
    around = {""}
    directory = path
    while directory := directory.rpartition("/")[0]:
        around.add(directory)
    return [
        (config, ": ".join((row[0], " ".join(row[1:]))))
        for config in sorted(outlines)
        if config.rpartition("/")[0] in around
        for row in outlines[config].project
    ]
