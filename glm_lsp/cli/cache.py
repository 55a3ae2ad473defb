"""`glm-lsp cache`: what lies in the cache, model by model, and how to be rid of it.

Everything there can be made again; what is lost is time. Nothing is loaded, and only what glm-lsp itself has
put there is removed, however the cache directory was chosen.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from glm_lsp.cli import door, report
from glm_lsp.cli.exits import Exit
from glm_lsp.disk.store import default_directory
from glm_lsp.engines.probe import gigabytes
from glm_lsp.engines.worker import shelf

NAME = "cache"
HELP = "Show or clear what is kept on the disk to save time."
KINDS = {
    "kv": ("evaluated prompts of the embedded engine", "kv"),
    "index": ("outlines of source files", "outlines"),
    "repository": ("what was found in each repository, for a quick start", "index"),
    "ledger": ("what windows and commands have told an engine, to go on from", "ledgers"),
    "checkpoint": ("interrupted work that can be taken up again", "checkpoints"),
}
"""By kind: what it is, and the name of its directory below the cache's."""


@dataclass(slots=True)
class Model:
    """The saved prompts of one identity together."""

    facts: dict[str, Any]
    entries: int = 0
    tokens: int = 0
    size_bytes: int = 0
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class Cache:
    """One directory below the cache's; `problem` says why it is left alone."""

    kind: str
    path: Path
    files: int
    size_bytes: int
    problem: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", nargs="?", choices=("show", "clear"), default="show")
    parser.add_argument(
        "--kind",
        choices=(*KINDS, "all"),
        help="what to show (default: all) or to clear (default: kv)",
    )
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    settings = door.settings(args)
    clearing = args.action == "clear"
    chosen = args.kind or ("kv" if clearing else "all")
    kinds = tuple(KINDS) if chosen == "all" else (chosen,)
    caches = [cache for kind in kinds for cache in looked_at(kind)]
    if clearing:
        return _clear(caches, as_json=args.format == "json")
    cap_bytes = int(settings.number("worker.saved_kv_gb") * 1e9)
    models = saved_models(shelf.default_shelf()) if "kv" in kinds else []
    if args.format == "json":
        report.print_json(
            {
                "directory": str(default_directory()),
                "cap_bytes": cap_bytes,
                "models": [_model_shape(model) for model in models],
                "caches": [_shape(cache) for cache in caches],
            }
        )
    else:
        _show(models, caches, cap_bytes, with_models="kv" in kinds)
    return Exit.POLICY if any(cache.problem for cache in caches) else Exit.OK


def looked_at(kind: str) -> list[Cache]:
    """The directory of one kind, and those that were renamed away from there."""
    name, root = KINDS[kind][1], default_directory()
    try:
        aside = sorted(other.name for other in root.iterdir() if other.name.startswith(f"{name}."))
    except OSError:
        aside = []
    return [_looked_at(kind, root / each) for each in (name, *aside)]


def _looked_at(kind: str, path: Path) -> Cache:
    if not os.path.lexists(path):
        return Cache(kind, path, 0, 0)
    if problem := _problem(path):
        return Cache(kind, path, 0, 0, problem)
    if path != shelf.default_shelf():
        return Cache(kind, path, *_size(path))
    try:
        entries = shelf.entries(path)
    except OSError as error:
        return Cache(kind, path, 0, 0, error.strerror or str(error))
    return Cache(kind, path, len(entries), sum(entry.size_bytes for entry in entries))


def saved_models(directory: Path) -> list[Model]:
    """Saved prompts by what they belong to, most recently used first."""
    models: dict[str, Model] = {}
    try:
        entries = shelf.entries(directory)
    except OSError:
        return []
    for entry in entries:
        model = models.setdefault(entry.identity, Model(_facts(entry)))
        model.entries += 1
        model.tokens += entry.tokens
        model.size_bytes += entry.size_bytes
        model.used = max(model.used, entry.used)
    return list(models.values())


def _facts(entry: shelf.Entry) -> dict[str, Any]:
    """What an identity says; it was read from a file, so it may be anything."""
    if not entry.identity:
        return {"model": "being written" if entry.name.endswith(".part") else "unreadable"}
    try:
        facts: object = json.loads(entry.identity)
    except (ValueError, RecursionError):
        facts = None
    return cast("dict[str, Any]", facts) if isinstance(facts, dict) else {"model": "unreadable"}


def _problem(path: Path) -> str:
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return "it is a link"
    if not stat.S_ISDIR(status.st_mode):
        return "it is not a directory"
    return "it is somebody else's" if os.name == "posix" and status.st_uid != os.geteuid() else ""


def _size(path: Path) -> tuple[int, int]:
    """Files and bytes below a directory; no link is followed."""
    files = size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118
            except OSError:
                continue
            files += 1
            size += status.st_size
    return files, size


def _clear(caches: Sequence[Cache], *, as_json: bool) -> int:
    done = [(cache, *_cleared(cache)) for cache in caches if cache.files or cache.problem]
    if as_json:
        report.print_json(
            {
                "cleared": [
                    {**_shape(cache), "removed_files": files, "removed_bytes": size, "problem": problem}
                    for cache, files, size, problem in done
                ]
            }
        )
    else:
        for cache, files, size, problem in done:
            if files or not problem:
                print(
                    report.line(f"{cache.kind}: removed {files:,} files, {gigabytes(size)}, of {cache.path}")
                )
        if not done:
            print("There was nothing to remove.")
    for cache, _, _, problem in done:
        if problem:
            door.fail(f"{cache.path} was not cleared: {problem}.")
    if any(cache.problem for cache in caches):
        return Exit.POLICY
    return Exit.PARTIAL if any(problem for *_, problem in done) else Exit.OK


def _cleared(cache: Cache) -> tuple[int, int, str]:
    """Remove what is in a cache: files, bytes, and why not all."""
    if cache.problem:
        return 0, 0, cache.problem
    try:
        if cache.path == shelf.default_shelf():
            return _cleared_kv(cache)
        # Whoever has it open goes on with what is not there any more, and the next one begins anew.
        aside = cache.path.with_name(f"{cache.path.name}.{secrets.token_hex(8)}.cleared")
        cache.path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        files, size = _size(cache.path) if cache.path.exists() else (0, 0)
        return cache.files - files, cache.size_bytes - size, error.strerror or str(error)
    return cache.files, cache.size_bytes, ""


def _cleared_kv(cache: Cache) -> tuple[int, int, str]:
    removed, left = shelf.clear(cache.path)
    problem = f"{len(left)} files cannot be removed, {left[0].name} for one" if left else ""
    return len(removed), sum(file.size_bytes for file in removed), problem


def _when(used: float) -> datetime:
    return datetime.fromtimestamp(used, UTC)


def _shape(cache: Cache) -> dict[str, Any]:
    return {
        "kind": cache.kind,
        "path": str(cache.path),
        "files": cache.files,
        "bytes": cache.size_bytes,
        "problem": cache.problem,
    }


def _model_shape(model: Model) -> dict[str, Any]:
    return {
        "identity": model.facts,
        "entries": model.entries,
        "tokens": model.tokens,
        "bytes": model.size_bytes,
        "last_used": _when(model.used).isoformat(timespec="seconds"),
    }


def _show(models: Sequence[Model], caches: Sequence[Cache], cap_bytes: int, *, with_models: bool) -> None:
    console = report.console()
    if with_models:
        total = sum(model.size_bytes for model in models)
        cap = f"of at most {gigabytes(cap_bytes)}" if cap_bytes else "and saving is off"
        table = report.table(
            f"saved prompts: {gigabytes(total)} {cap} (worker.saved_kv_gb)",
            *("model", "weights", "KV", "entries", "tokens", "size", "last used"),
        )
        for model in models:
            shown = (str(model.facts.get(key, "")) for key in ("model", "quantisation", "kv_type"))
            table.add_row(
                *(report.text(report.line(text[:100])) for text in shown),
                f"{model.entries:,}",
                f"{model.tokens:,}",
                gigabytes(model.size_bytes),
                _when(model.used).astimezone().strftime("%Y-%m-%d %H:%M"),
            )
        console.print(table)
    table = report.table(str(default_directory()), "kind", "what", "files", "size", "where")
    for cache in caches:
        where = report.text(report.line(str(cache.path)))
        if cache.problem:
            where.append_text(report.text(f"\n→ not used: {cache.problem}", "bold red"))
        table.add_row(
            cache.kind, KINDS[cache.kind][0], f"{cache.files:,}", gigabytes(cache.size_bytes), where
        )
    console.print(table)
