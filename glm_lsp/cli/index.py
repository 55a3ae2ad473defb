"""`glm-lsp index DIR`: what the index finds in a directory, and what it leaves out; of one path, and why."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.cli import door, report, shapes
from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import UsageError

if TYPE_CHECKING:
    from glm_lsp.core.values import FileOutline
    from glm_lsp.workspace.explain import Explanation, Exported
    from glm_lsp.workspace.repository import IndexReport

NAME = "index"
HELP = "Index a directory and say what was found and skipped."
SHOWN = 20
MOST_ROWS = 60


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, default=Path())
    parser.add_argument(
        "--explain", metavar="PATH", help="what is known of this one path, or why it is left out"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    return door.drive(_index(args))


async def _index(args: argparse.Namespace) -> int:
    from glm_lsp.workspace.repository import Repository  # noqa: PLC0415

    directory: Path = args.directory
    if not directory.is_dir():
        what = "is not a directory" if directory.exists() else "does not exist"
        raise UsageError(f"{directory} {what}; name a directory to index.")
    settings = door.settings(args)
    repository = Repository(directory, settings)
    try:
        with report.progress("indexing", quiet=args.format == "json") as step:
            found = await repository.index(step)
        index = repository.snapshot().index
    finally:
        await repository.close()
    if args.explain is not None:
        from glm_lsp.workspace.explain import explain  # noqa: PLC0415

        path = _below(repository.root, directory, args.explain)
        return _explain(explain(repository.root, settings, found, index, path), args.format)
    broken = _problems(index.outlines)
    told = found.held_back if args.format == "json" else found.held_back[: report.MOST_HELD]
    held = shapes.held(repository.root, told, settings)
    if args.format == "json":
        told_broken = [{"path": path, "problem": said} for path, said in broken]
        report.print_json({**shape(found, held), "problems": told_broken})
    else:
        _show(found, directory)
        _show_problems(broken)
        report.held_back(held, len(found.held_back), shapes.remedy(held, settings))
    return Exit.OK


def shape(found: IndexReport, held: Sequence[dict[str, object]] | None = None) -> dict[str, object]:
    """The JSON of an index report. `held` tells of what was held back more than the report does."""
    places = [{"path": h.path, "line": h.line + 1, "kind": h.kind} for h in found.held_back]
    return {
        "files": found.files,
        "symbols": found.symbols,
        "references": found.references,
        "bytes": found.bytes,
        "seconds": round(found.seconds, 4),
        "skipped": [{"path": s.path, "reason": s.reason} for s in found.skipped],
        "held_back": places if held is None else list(held),
    }


def _problems(outlines: Mapping[str, FileOutline]) -> Sequence[tuple[str, str]]:
    if not any(outline.project for outline in outlines.values()):
        return ()
    from glm_lsp.workspace.explain import problems  # noqa: PLC0415 (with the rules of imports)

    return problems(outlines)


def _show(found: IndexReport, directory: Path) -> None:
    numbers = [f"{n:,}" for n in (found.files, found.symbols, found.references, found.bytes)]
    report.show(
        str(directory.resolve()),
        ("files", "symbols", "references", "bytes", "seconds"),
        [(*numbers, f"{found.seconds:.2f}")],
    )
    if found.skipped:
        rows = [(item.path, item.reason) for item in found.skipped[:SHOWN]]
        if len(found.skipped) > SHOWN:
            rows.append(("…", f"and {len(found.skipped) - SHOWN} more; --format json lists them all"))
        report.show(f"left out: {len(found.skipped)}", ("path", "reason"), rows)


def _show_problems(broken: Sequence[tuple[str, str]]) -> None:
    if broken:
        rows = list(broken[:SHOWN])
        report.show(f"project files that cannot be read: {len(broken)}", ("path", "problem"), rows)


def _below(root: Path, directory: Path, named: str) -> str:
    """A path that the user named, from where the user is or from the directory, relative to the root."""
    for start in (Path.cwd(), directory):
        whole = Path(os.path.normpath(start.absolute() / named))
        for one in (whole, whole.parent.resolve() / whole.name):
            if one.is_relative_to(root) and (start == directory or os.path.lexists(one)):
                return one.relative_to(root).as_posix()
    raise UsageError(f"{named} is not in {root}; name a path below it.")


def _explain(found: Explanation, form: str) -> int:
    if found.misnamed:
        raise UsageError(f"{found.path} {found.reason}.")
    if form == "json":
        report.print_json(_explained(found))
        return Exit.OK
    sys.stdout.write(f"{report.line(found.path)} {report.line(found.reason)}.\n")
    rows = [("decided by", found.decided)] if found.decided else []
    if (outline := found.outline) is not None:
        kinds = Counter(str(symbol.kind) for symbol in outline.symbols)
        told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items()))
        rows += [
            ("language", outline.language or "unknown"),
            ("size", f"{outline.lines:,} lines, {outline.size_bytes:,} bytes"),
            ("symbols", f"{len(outline.symbols):,}" + (f" ({told})" if told else "")),
            ("references", f"{len(outline.references):,}"),
            *(
                ("import", f"{i.text} → {', '.join(i.files) or 'not in this repository'}")
                for i in found.imports
            ),
            *(("export", _offered(e)) for e in found.exports),
            *(("held back", f"line {place.line + 1}: {place.kind}") for place in outline.held),
        ]
    rows += [("project", f"{where}: {said}") for where, said in found.project]
    if rows:
        told = list(rows[:MOST_ROWS])
        if len(rows) > MOST_ROWS:
            told.append(("…", f"and {len(rows) - MOST_ROWS} more; --format json lists them all"))
        report.show("", ("what", "found"), told)
    return Exit.OK


def _offered(found: Exported) -> str:
    """An export as a person reads it: `x as y from ./o → o.ts: x`."""
    name, local, module = found.export.name, found.export.local, found.export.module
    written = name if local in (name, "") else f"{local} as {name}"
    written = f"* as {name}" if module and not local else written
    where = ", ".join(found.files) + (f": {found.symbol}" if found.symbol else "")
    return f"{written}{f' from {module}' if module else ''} → {where or 'not in this repository'}"


def _explained(found: Explanation) -> dict[str, object]:
    """The JSON of an explanation."""
    outline = found.outline
    known: dict[str, object] = {}
    if outline is not None:
        known = {
            "language": outline.language,
            "lines": outline.lines,
            "bytes": outline.size_bytes,
            "symbols": [
                {"name": s.qualified, "kind": str(s.kind), "line": s.start_line + 1} for s in outline.symbols
            ],
            "references": len(outline.references),
            "imports": [{"text": i.text, "files": list(i.files)} for i in found.imports],
            "exports": [
                {
                    "name": e.export.name,
                    "local": e.export.local,
                    "module": e.export.module,
                    "files": list(e.files),
                    "symbol": e.symbol,
                }
                for e in found.exports
            ],
            "held_back": [{"line": place.line + 1, "kind": place.kind} for place in outline.held],
        }
    return {
        "path": found.path,
        "indexed": found.indexed,
        "reason": found.reason,
        "decided_by": found.decided,
        **known,
        "project": [{"path": where, "says": said} for where, said in found.project],
    }
