"""`glm-lsp doctor`: what is installed, which engine serves which work, what is missing, what mends it.

No model is loaded and nothing is sent anywhere. A write that was interrupted in this repository is put right.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_lsp import __version__
from glm_lsp.cli import door, place, report, shapes
from glm_lsp.cli.engines import routes_table
from glm_lsp.cli.engines import shape as route_shape
from glm_lsp.cli.exits import Exit, worst
from glm_lsp.core.errors import ConfigError, ConflictError, EngineUnavailable
from glm_lsp.core.settings import Settings
from glm_lsp.workspace import config

if TYPE_CHECKING:
    from rich.table import Table

    from glm_lsp.engines.router import Route, Router

NAME = "doctor"
HELP = "Say what is installed, what is missing and the line that mends it."
REQUIRED = (
    *("pygls", "lsprotocol", "httpx", "tree-sitter", "tree-sitter-python", "diskcache"),
    *("msgspec", "pathspec", "platformdirs", "rich", "tokenizers"),
)
EMBEDDED = ("llama-cpp-python", "numpy")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something looked at; where it is missing, `version` is empty and `remedy` is the line that mends it."""

    name: str
    version: str
    needed_for: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    from glm_lsp.engines.router import Router  # noqa: PLC0415

    settings = door.settings(args, shows=True)
    router = Router(settings)
    routes = router.explain()
    found = findings()
    interrupted = _put_right(place.root_of(Path()))
    model, machine = model_facts(settings, router), machine_facts()
    typing = model_facts(settings, router, small=True) if settings.text("typing_model.path") else {}
    places = directories()
    problems = (*settings.problems, *config.problems_in(place.root_of(Path())))
    if args.format == "json":
        report.print_json(
            {
                "version": __version__,
                "python": platform.python_version(),
                "platform": platform.platform(),
                "machine": machine,
                "installed": [
                    {"name": f.name, "version": f.version, "needed_for": f.needed_for, "remedy": f.remedy}
                    for f in found
                ],
                "routes": [route_shape(route) for route in routes],
                "model": model,
                **({"typing_model": typing} if typing else {}),
                "directories": places,
                "settings_file": str(config.settings_file()),
                "interrupted_write": interrupted,
                "problems": [shapes.problem(p) for p in problems],
            }
        )
    else:
        _show(found, routes, (model, typing), machine)
        for fault in (place["error"] for place in places if "error" in place):
            sys.stderr.write(f"glm-lsp: {report.safe(fault)}\n")
        if interrupted:
            sys.stderr.write(f"glm-lsp: {report.safe(interrupted)}\n")
        report.problems(problems[len(settings.problems) :])
    return worst(
        [
            Exit.OK if all(route.available for route in routes) else Exit.ENGINE,
            Exit.USAGE if settings.problems else Exit.OK,
            Exit.ENGINE if any("error" in place for place in places) else Exit.OK,
            Exit.ENGINE if "error" in (*model, *typing) else Exit.OK,
            Exit.USAGE if any(f.remedy for f in found if f.name in REQUIRED) else Exit.OK,
        ]
    )


def _put_right(root: Path) -> str:
    """What was done about a write that was interrupted in this repository, as a sentence; empty: nothing."""
    from glm_lsp.workspace import journal  # noqa: PLC0415

    if not journal.pending(root):
        return ""
    try:
        back = journal.recover(root)
    except ConflictError as error:
        return str(error)
    files = ", ".join(back) or "no file was changed by it"
    return f"An earlier run was interrupted while it wrote; put right: {files}."


def findings() -> list[Finding]:
    """The programs and packages that glm-lsp uses."""
    packages = [
        *(_package(name, "everything") for name in REQUIRED),
        *(_package(name, "the embedded engine") for name in EMBEDDED),
    ]
    git = shutil.which("git") or ""
    return [
        *packages,
        Finding(
            "git", git, "ignore rules, repositories", "" if git else "install git with your system's packages"
        ),
    ]


def _package(name: str, needed_for: str) -> Finding:
    try:
        return Finding(name, metadata.version(name), needed_for)
    except metadata.PackageNotFoundError:
        return Finding(name, "", needed_for, f"{sys.executable} -m pip install '{_requirement(name)}'")


def _requirement(name: str) -> str:
    """The version that we ask for, from our own metadata: `llama-cpp-python==…`."""
    try:
        wanted = metadata.requires("glm-lsp") or []
    except metadata.PackageNotFoundError:
        wanted = []
    found = (w.partition(";")[0].strip() for w in wanted if re.match(rf"{re.escape(name)}(?![-\w.])", w))
    return next(found, name)


def model_facts(settings: Settings, router: Router, *, small: bool = False) -> dict[str, Any]:
    """What the embedded engine's model file says of itself; `error` is a sentence where it cannot be used.

    `small`: of the second model, for typing.
    """
    from glm_lsp.core.generation import Work  # noqa: PLC0415

    facts: dict[str, Any] = {}
    try:
        section = "typing_model" if small else "model"
        profile = router.profile(Work.TYPING if small else Work.ACTION)
        path = settings.text(f"{section}.path") or profile.gguf_path
        facts |= {"profile": profile.name, "title": profile.title, "use": profile.use, "path": path}
        facts["context_tokens"] = settings.integer(f"{section}.context_tokens") or profile.context_tokens
        if path:
            facts |= _claims(Path(path))
            facts |= _file_facts(Path(path))
    except ConfigError as error:
        facts["error"] = str(error)
    return facts


def _claims(path: Path) -> dict[str, Any]:
    """What the file's head says of itself, told also where the rest is cut off. Raises ConfigError."""
    from glm_lsp.engines.gguf import read_head  # noqa: PLC0415

    head = read_head(path)
    return {
        "name": head.text("general.name"),
        "architecture": head.text("general.architecture"),
        "file_bytes": head.size_bytes,
    }


def _file_facts(path: Path) -> dict[str, Any]:
    from glm_lsp.engines import probe  # noqa: PLC0415

    facts = probe.model_facts(path)
    return {
        "name": facts.title,
        "architecture": facts.architecture,
        "quantisation": facts.quantisation,
        "parts": facts.parts,
        "file_bytes": facts.size_bytes,
        "layers": facts.layers,
        **({"drafts": probe.MTP_CARRIED} if facts.draft_layers else {}),
        "vocabulary": facts.vocabulary,
        "trained_context_tokens": facts.trained_context_tokens,
    }


def directories() -> list[dict[str, str]]:
    """Where workers are met and where caches lie; `error` is a sentence where that cannot be used."""
    from glm_lsp.disk import store  # noqa: PLC0415
    from glm_lsp.engines import rendezvous  # noqa: PLC0415

    runtime: dict[str, str] = {"name": "runtime"}
    try:
        runtime["path"] = str(rendezvous.place(rendezvous.MAIN).directory)
    except EngineUnavailable as error:
        runtime["error"] = str(error)
    directory = store.default_directory()
    cache = {"name": "cache", "path": str(directory)}
    if reason := _unusable(directory):
        cache["error"] = (
            f"The cache directory {directory} cannot be used ({reason}), so nothing that was read or indexed "
            f"is kept; set {store.CACHE_VARIABLE} to a directory of your own."
        )
    return [runtime, cache]


def _unusable(directory: Path) -> str:
    """Why nothing can be kept in a directory, which is made if need be; empty where it can."""
    from glm_lsp.disk.store import Refused, private_directory  # noqa: PLC0415

    try:
        private_directory(directory)
        with tempfile.TemporaryFile(dir=directory):
            return ""
    except OSError as error:
        return error.strerror or str(error)
    except Refused as error:
        return str(error)


def machine_facts() -> dict[str, Any]:
    """Memory, cores and GPUs; None where it cannot be known."""
    from glm_lsp.engines import probe  # noqa: PLC0415

    machine = probe.machine()
    return {
        "ram_bytes": machine.ram_bytes,
        "free_bytes": machine.free_bytes,
        "cores": machine.cores,
        "gpus": [{"name": gpu.name, "memory_bytes": gpu.memory_bytes} for gpu in probe.gpus()],
    }


def _show(
    found: list[Finding],
    routes: tuple[Route, ...],
    models: tuple[dict[str, Any], dict[str, Any]],
    machine: dict[str, Any],
) -> None:
    console = report.console()
    title = f"glm-lsp {__version__}, Python {platform.python_version()}, {platform.platform()}"
    table = report.table(title, "what", "version", "needed for")
    for finding in found:
        state = report.text(finding.version or "missing", "green" if finding.version else "bold red")
        if finding.remedy:
            state.append_text(report.text(f"\n→ {finding.remedy}", "bold yellow"))
        table.add_row(finding.name, state, finding.needed_for)
    console.print(table)
    console.print(routes_table(routes))
    for title, model in zip(
        ("the model of the embedded engine", "its model for typing"), models, strict=True
    ):
        if model:
            console.print(_facts_table(title, model))
    console.print(_facts_table("this machine", machine))


def _facts_table(title: str, facts: dict[str, Any]) -> Table:
    table = report.table(title, "fact", "value")
    for name, value in facts.items():
        if name == "gpus":
            shown = ", ".join(gpu["name"] for gpu in value) or "none that nvidia-smi knows"
        elif name.endswith("_bytes") and value is not None:
            shown = f"{value / 1e6:,.1f} MB"
        else:
            shown = f"{value:,}" if isinstance(value, int) else str(value)
        table.add_row(name.removesuffix("_bytes"), report.text(shown, "bold red" if name == "error" else ""))
    return table
