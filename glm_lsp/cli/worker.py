"""`glm-lsp worker`: what the machine's workers do, and their end."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from glm_lsp.cli import door, report
from glm_lsp.cli.exits import Exit, worst
from glm_lsp.core.errors import EngineError, EngineStalled

if TYPE_CHECKING:
    from rich.table import Table

    from glm_lsp.engines.frames import JobStatus, Status

NAME = "worker"
HELP = "Show what the machine's workers do, or stop them."
_URGENCIES = ("typing", "action", "refactor", "idle")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("status", "stop"))
    parser.add_argument(
        "--slot", choices=("main", "typing", "bundled"), help="only this one; else all that run"
    )
    parser.add_argument("--force", action="store_true", help="although others have work for it, or it hangs")
    parser.add_argument("--format", choices=("text", "json"), default="text")


def run(args: argparse.Namespace) -> int:
    from glm_lsp.engines.rendezvous import SLOTS  # noqa: PLC0415

    door.settings(args)
    slots = (args.slot,) if args.slot else SLOTS
    work = _stop(slots, force=args.force) if args.action == "stop" else _status(slots)
    shapes = door.drive(work)
    if args.format == "json":
        report.print_json({"workers": [{k: v for k, v in s.items() if k != "table"} for s in shapes]})
    elif not shapes:
        print("No worker runs.")
    else:
        for shape in shapes:
            report.console().print(shape.get("table") or report.text(shape["message"]))
    return worst(Exit(shape["code"]) for shape in shapes)


async def _status(slots: tuple[str, ...]) -> list[dict[str, Any]]:
    from msgspec import to_builtins  # noqa: PLC0415

    from glm_lsp.engines import connection, rendezvous  # noqa: PLC0415

    found: list[dict[str, Any]] = []
    for slot in slots:
        at = rendezvous.place(slot)
        try:
            status = await connection.ask(at)
        except EngineError as error:
            found.append({"slot": slot, "code": Exit.ENGINE, "message": str(error)})
            continue
        if status is not None:
            shape = {k: v for k, v in to_builtins(status).items() if k != "type"}
            found.append({"slot": slot, "code": Exit.OK, **shape, "table": status_table(slot, status)})
        elif rendezvous.held(at):
            message = f"The worker of slot '{slot}' is starting or ending; its log is {at.log}."
            found.append({"slot": slot, "code": Exit.OK, "message": message})
        elif (last := rendezvous.last_word(at)) is not None and last.unsaved:
            message = f"No worker of slot '{slot}' runs. Of the last one: {last.unsaved}"
            found.append({"slot": slot, "code": Exit.OK, "message": message})
    return found


async def _stop(slots: tuple[str, ...], *, force: bool) -> list[dict[str, Any]]:
    from glm_lsp.engines import connection, holders, rendezvous  # noqa: PLC0415

    found: list[dict[str, Any]] = []
    for slot in slots:
        at = rendezvous.place(slot)
        try:
            refusal = await connection.stop(at, force=force)
        except EngineError as error:
            # Whatever it says or does not say: only a worker of ours is ended by this.
            if force and (killed := await holders.end(at)) and not rendezvous.held(at):
                who = " and ".join(map(str, killed))
                why = "did not answer" if isinstance(error, EngineStalled) else "did not end when asked"
                message = f"The worker of slot '{slot}' {why}; SIGKILL has ended it (process {who})."
                found.append({"slot": slot, "code": Exit.OK, "message": message})
                continue
            found.append({"slot": slot, "code": Exit.ENGINE, "message": str(error)})
            continue
        if refusal is not None:
            last = rendezvous.last_word(at)
            unsaved = f" {last.unsaved}" if last is not None and last.unsaved else ""
            message = refusal or f"The worker of slot '{slot}' has ended.{unsaved}"
            found.append({"slot": slot, "code": Exit.CONFLICT if refusal else Exit.OK, "message": message})
    return found


def status_table(slot: str, status: Status) -> Table:
    """One row per figure; what has not been measured yet has none."""
    made = report.table(f"worker '{slot}', process {status.pid}, glm-lsp {status.version}", "what", "now")
    for name, value in rows(status):
        made.add_row(name, report.text(value))
    for note in status.notes:
        made.add_row(report.text("note", "bold yellow"), report.text(note, "yellow"))
    return made


def rows(status: Status) -> list[tuple[str, str]]:
    """Names and values, as text."""
    found = [
        ("model", status.model or "none yet"),
        ("state", f"{status.state}, for {_duration(status.uptime)} by now"),
        ("placement", status.placement),
        ("clients", ", ".join(status.clients) or f"none; it ends in {_duration(status.ends_in)}"),
        ("jobs", "\n".join(_job(job) for job in status.jobs) or "none"),
        ("KV cache", _kv(status)),
        ("trunks", ", ".join(f"{tokens:,} tokens" for tokens in status.trunks)),
        ("read", _read(status)),
        ("written", _written(status)),
        (
            "speed by depth",
            "\n".join(
                f"from {s.depth:,}: reads {_rate(s.prefill)}, writes {_rate(s.decode)}" for s in status.speeds
            ),
        ),
        (
            "cost of k tokens at once",
            "  ".join(f"{k}: {c:.2f}" for k, c in enumerate(status.draft_costs, 1) if k & (k - 1) == 0)
            or ("measured when there is nothing else to do" if status.measuring else ""),
        ),
        (
            "noise of drafts by depth",
            "\n".join(
                f"from {depth:,}: {noise:.2g} ({count:,} tokens compared)"
                for depth, count, noise in status.draft_noises
            )
            or (f"{status.draft_noise:.2g} (few tokens compared)" if status.draft_noise else ""),
        ),
        ("layer that foretells tokens", status.mtp),
        ("error of times foretold", f"{status.eta_error:.0%}" if status.eta_error >= 0 else ""),
        ("saved prompts", f"{status.saved_bytes / 1e6:,.1f} MB on the disk" if status.saved_bytes else ""),
    ]
    return [(name, value) for name, value in found if value]


def _job(job: JobStatus) -> str:
    work = _URGENCIES[job.urgency] if 0 <= job.urgency < len(_URGENCIES) else "other"
    left = f", {_duration(job.seconds_left)} left" if job.seconds_left >= 0 else ""
    return f"{work} for {report.line(job.client)}: {job.state}, {job.done:,} of {job.total:,} tokens{left}"


def _kv(status: Status) -> str:
    if not status.kv_tokens:
        return ""
    size = f" ({status.kv_bytes / 1e6:,.1f} MB)" if status.kv_bytes else ""
    return f"{status.kv_tokens_used:,} of {status.kv_tokens:,} tokens{size}"


def _read(status: Status) -> str:
    if not status.prompt_tokens:
        return ""
    share = f"{status.reused_tokens / status.prompt_tokens:.0%} of them reused"
    disk = f", {status.restored_tokens:,} from the disk" if status.restored_tokens else ""
    return f"{status.prompt_tokens:,} tokens of prompts, {share}{disk}"


def _written(status: Status) -> str:
    if not status.output_tokens:
        return ""
    drafts = f", {status.accepted_tokens:,} of {status.drafted_tokens:,} guessed ones were right"
    ties = f", {status.near_ties:,} near ties" if status.near_ties else ""
    return f"{status.output_tokens:,} tokens{drafts if status.drafted_tokens else ''}{ties}"


def _rate(tokens_s: float) -> str:
    return f"{tokens_s:,.1f} tokens/s" if tokens_s > 0 else "(not measured)"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
