"""`glm-lsp settings`: every setting, its value, where the value comes from, and what was not taken."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from glm_lsp.cli import door, place, report, shapes
from glm_lsp.cli.exits import Exit
from glm_lsp.core.settings import SETTINGS, Setting, Settings, Source
from glm_lsp.workspace import config

NAME = "settings"
HELP = "Show every setting, its value and where the value comes from."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    found = door.settings(args, shows=True)
    problems = (*found.problems, *config.problems_in(place.root_of(Path())))
    file = config.settings_file()
    if args.format == "json":
        report.print_json(
            {
                "file": str(file),
                "settings": [_shape(s, found) for s in SETTINGS],
                "problems": [shapes.problem(p) for p in problems],
            }
        )
        return Exit.USAGE if found.problems else Exit.OK
    console = report.console()
    title = f"{file}{'' if file.is_file() else ' (not there; the defaults stand)'}"
    table = report.table(title, "setting", "value", "from", "meaning")
    for setting in SETTINGS:
        changed = found.origin.get(setting.name, Source.DEFAULT) is not Source.DEFAULT
        table.add_row(
            report.text(setting.name, "bold" if changed else ""),
            report.text(_shown(setting, found)),
            str(found.origin.get(setting.name, Source.DEFAULT)),
            report.text(setting.meaning, "dim"),
        )
    console.print(table)
    report.problems(problems[len(found.problems) :])
    return Exit.USAGE if found.problems else Exit.OK


def _value(setting: Setting, found: Settings) -> bool | float | str | list[str]:
    value = found[setting.name]
    if setting.secret:
        return "(set)" if value else ""
    return list(found.texts(setting.name)) if isinstance(value, tuple) else value


def _shown(setting: Setting, found: Settings) -> str:
    value = _value(setting, found)
    if isinstance(value, list):
        return ", ".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shape(setting: Setting, found: Settings) -> dict[str, Any]:
    return {
        "name": setting.name,
        "value": _value(setting, found),
        "default": list(setting.default) if isinstance(setting.default, tuple) else setting.default,
        "source": str(found.origin.get(setting.name, Source.DEFAULT)),
        "sources": sorted(setting.sources),
        "choices": list(setting.choices),
        "meaning": setting.meaning,
    }
