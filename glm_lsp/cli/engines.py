"""`glm-lsp engines`: which engine serves which work, and why. None is started and nothing is sent."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import door, report
from glm_lsp.cli.exits import Exit

if TYPE_CHECKING:
    from rich.table import Table

    from glm_lsp.engines.router import Route

NAME = "engines"
HELP = "Show which engine serves which work, and why."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    from glm_lsp.engines.router import Router  # noqa: PLC0415

    routes = Router(door.settings(args)).explain()
    if args.format == "json":
        report.print_json({"routes": [shape(route) for route in routes]})
    else:
        console = report.console()
        console.print(routes_table(routes))
        for said in dict.fromkeys(route.counting for route in routes):
            works = ", ".join(str(route.work) for route in routes if route.counting == said)
            console.print(report.text(f"How tokens are counted for {works}: {said}"))
    return Exit.OK if all(route.available for route in routes) else Exit.ENGINE


def shape(route: Route) -> dict[str, Any]:
    """The JSON of one route."""
    return {
        "work": str(route.work),
        "engine": route.engine,
        "model": route.model,
        "local": route.local,
        "available": route.available,
        "reason": route.reason,
        "remedy": route.remedy,
        "counting": route.counting,
    }


def routes_table(routes: Sequence[Route]) -> Table:
    """One row per work class; what is missing comes with the line that mends it."""
    table = report.table("which engine serves which work", "work", "engine", "model", "stays here", "why")
    for route in routes:
        why = report.text(route.reason)
        if route.remedy:
            why.append_text(report.text(f"\n→ {route.remedy}", "bold yellow"))
        table.add_row(
            str(route.work),
            report.text(route.engine, "green" if route.available else "red"),
            report.text(route.model),
            "yes" if route.local else "no",
            why,
        )
    return table
