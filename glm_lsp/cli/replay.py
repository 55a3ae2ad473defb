"""`glm-lsp replay EVENTS.jsonl --root DIR`: what an edit session costs an engine, prompt by prompt.

No engine is started. The prompts are those that the server would send: the same index, overlay and ledger.
What the events save stays in memory: the directory is only read.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

from glm_lsp.cli import door, report
from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Tokenizer

if TYPE_CHECKING:
    from glm_lsp.cli.player import Answer
    from glm_lsp.features.replay import Event

NAME = "replay"
HELP = "Replay an edit session: the tokens that an engine would evaluate, prompt by prompt."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("events", metavar="EVENTS.jsonl", help="the events; - reads them from stdin")
    parser.add_argument("--root", required=True, type=Path, metavar="DIR", help="where their paths begin")
    parser.add_argument(
        "--budget", type=door.whole_number, default=0, metavar="TOKENS", help="default: as a completion's"
    )
    parser.add_argument("--format", choices=("text", "jsonl"), default="text")
    parser.add_argument(
        "--dump", type=Path, metavar="FILE", help="write each prompt's tokens, for counting them again"
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="FILE", help="count by this GGUF file or tokenizer.json"
    )


def run(args: argparse.Namespace) -> int:
    return door.drive(_replay(args))


async def _replay(args: argparse.Namespace) -> int:
    root: Path = args.root
    if not root.is_dir():
        what = "is not a directory" if root.exists() else "does not exist"
        raise UsageError(f"{root} {what}; name the directory that the events are about.")
    from glm_lsp.cli.player import playing  # noqa: PLC0415 (mistakes are told before what is heavy is loaded)

    figures = Figures()
    with contextlib.ExitStack() as files:
        lines = files.enter_context(_opened(args.events))
        dump = files.enter_context(_dump(args.dump, root, args.events)) if args.dump else None
        tokenizer = _tokenizer(args.tokenizer) if args.tokenizer else None
        async with playing(root, door.settings(args), args.budget, tokenizer) as player:
            if dump is not None and not player.tape.exact:
                raise UsageError(
                    "--dump writes tokens, which this model's count does not know; give --tokenizer."
                )
            async for answer in player.play(events(lines)):
                figures.add(answer)
                if args.format == "jsonl":
                    sys.stdout.write(answer.line() + "\n")
                if dump is not None:
                    dump.write(answer.dump() + "\n")
    if figures.refused and not figures.answered:
        raise UsageError(f"No request could be packed; the last, {figures.refused[-1]}")
    if args.format == "text":
        figures.show()
    return Exit.OK


def events(lines: BinaryIO) -> Iterator[Event]:
    """The events of a file; empty lines are none. Raises UsageError."""
    from glm_lsp.features.replay import MOST_LINE_BYTES, read_event  # noqa: PLC0415

    number = 0
    while True:
        with door.listening():
            line = lines.readline(MOST_LINE_BYTES + 1)
        if not line:
            return
        number += 1
        line = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if line.strip():
            yield read_event(line, number)


@contextlib.contextmanager
def _opened(name: str) -> Generator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    path = Path(name)
    if why := door.unreadable(path):
        raise UsageError(f"{path} {why}; name a file of events, or - for stdin.")
    with path.open("rb") as file:
        yield file


@contextlib.contextmanager
def _dump(path: Path, root: Path, events_name: str) -> Generator[TextIO]:
    if path.resolve().is_relative_to(root.resolve()):
        raise UsageError(
            f"--dump {path} is inside of {root}, which a replay never writes to; name another place."
        )
    if path.is_fifo():
        raise UsageError(f"--dump {path} is a pipe, which may wait for its reader for ever; name a file.")
    if path.is_file():
        if events_name != "-" and path.samefile(events_name):
            raise UsageError(f"--dump {path} is the file of the events; name another place.")
        with contextlib.suppress(OSError):
            if os.path.samestat(path.stat(), os.fstat(1)):
                raise UsageError(f"--dump {path} is where the result goes; name another place.")
        if path.stat().st_nlink > 1:
            raise UsageError(
                f"--dump {path} has other names too (hard links), which may be inside of {root}; name "
                "another place."
            )
    with path.open("w", encoding="ascii") as file:
        yield file


def _tokenizer(path: Path) -> Tokenizer:
    from glm_lsp.engines.tokenizers import from_file  # noqa: PLC0415

    return from_file(path)


@dataclass(slots=True)
class Figures:
    """Tokens evaluated per request: the first, those that begin an epoch, and the rest."""

    cold: int = 0
    turns: list[int] = field(default_factory=list[int])
    rest: list[int] = field(default_factory=list[int])
    refused: list[str] = field(default_factory=list[str])

    def add(self, answer: Answer) -> None:
        if answer.prompt is None:
            self.refused.append(f"line {answer.event.number}: {answer.refused}")
        elif answer.turned == "start":
            self.cold = answer.reading.evaluated
        else:
            (self.turns if answer.turned else self.rest).append(answer.reading.evaluated)

    @property
    def answered(self) -> bool:
        return bool(self.cold or self.requests)

    @property
    def requests(self) -> int:
        """That sent a prompt, the first one not counted."""
        return len(self.turns) + len(self.rest)

    def show(self) -> None:
        rest, turns = sorted(self.rest), sum(self.turns)
        made = report.table("tokens evaluated per request", "what", "requests", "mean", "p95", "tokens")
        made.add_row("the first prompt", "1", "", "", f"{self.cold:,}")
        mean = f"{turns / self.requests:.1f}" if self.requests else ""
        made.add_row("new epochs, per request", f"{len(self.turns):,}", mean, "", f"{turns:,}")
        if rest:
            p95 = rest[min(len(rest) - 1, int(0.95 * len(rest)))]
            made.add_row(
                "the rest", f"{len(rest):,}", f"{sum(rest) / len(rest):.1f}", f"{p95:,}", f"{sum(rest):,}"
            )
        console = report.console()
        console.print(made)
        if self.refused:
            console.print(
                report.text(f"{len(self.refused)} requests sent nothing; the last, {self.refused[-1]}")
            )
