"""What every verb shares: common options, settings, errors as sentences, signals, and the exit code.

A verb module has `NAME`, `HELP`, `add_arguments(parser)` and `run(args) -> int`. Its `run` may raise any
`GlmError`; here, at the door, it becomes one sentence on stderr and an exit code.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Coroutine, Generator, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Protocol, TextIO, TypeVar, cast

from glm_lsp.cli import report
from glm_lsp.cli.exits import Exit
from glm_lsp.cli.report import safe
from glm_lsp.core.errors import (
    NOTICES,
    ConflictError,
    EngineError,
    GlmError,
    PolicyError,
    SpentError,
    UsageError,
)
from glm_lsp.core.settings import Settings

T = TypeVar("T")
UNREAD = 141
"""What a process returns that SIGPIPE has ended."""
STDOUT = "<stdout>"
MOST = (1 << 31) - 1
"""What an argument that counts something may be."""
LONGEST_WORD = 40
"""Characters of an argument that a sentence repeats."""
LONGEST_SENTENCE = 2000
"""Characters; a name or a server's answer in it may be of any length."""


class Verb(Protocol):
    """A module of `glm_lsp.cli` that is a verb."""

    NAME: str
    HELP: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        sentence = f"{message}; `{self.prog} --help` explains"
        sys.stderr.write(f"{self.prog}: {safe(sentence)}\n")
        raise SystemExit(Exit.USAGE)


class _Named:
    """A stdout whose failures say that it is stdout that failed."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with _naming():
            return self._stream.write(text)

    def flush(self) -> None:
        with _naming():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def _naming() -> Generator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, STDOUT) from None


class _Notices(logging.Handler):
    """Tells a warning as the door tells an error: one sentence on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        _say(record.getMessage())


class Terminated(BaseException):
    """SIGTERM arrived."""


class _Signalled(BaseException):
    """A signal arrived while stdin was waited for."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class _Signals:
    """Those that have arrived; raised while `waiting`, because then no loop turns to tell of them."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.waiting = False

    def note(self, number: int, frame: FrameType | None = None) -> None:
        """The handler."""
        self.arrived.append(number)
        self.check()

    def check(self) -> None:
        """Raise what has arrived."""
        if self.waiting and self.arrived:
            raise _Signalled(self.arrived[0])


_signals = _Signals()


def run(module: str, name: str, argv: Sequence[str]) -> int:
    """Parse `argv` and run the verb in that module; returns the exit code."""
    try:
        verb = cast(Verb, import_module(module))
    except ImportError as error:
        fail(f"`glm-lsp {name}` cannot start: {error}; install glm-lsp again.")
        return Exit.USAGE
    parser = _Parser(prog=f"glm-lsp {name}", description=verb.HELP, allow_abbrev=False)
    verb.add_arguments(parser)
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="a setting for this call"
    )
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    args = parser.parse_args(argv)
    try:
        with contextlib.redirect_stdout(cast(TextIO, _Named(sys.stdout))):
            code = verb.run(args)
            sys.stdout.flush()
    except (KeyboardInterrupt, Terminated) as signalled:
        interrupted = isinstance(signalled, KeyboardInterrupt)
        sys.stderr.write(
            f"glm-lsp {name}: {'interrupted' if interrupted else 'terminated'} before it was done.\n"
        )
        return Exit.INTERRUPTED if interrupted else Exit.TERMINATED
    except BrokenPipeError:
        _abandon_stdout()
        return UNREAD
    except Exception as error:  # the door
        return _explain(error, args, name)
    return code


def _abandon_stdout() -> None:
    """Whoever read our output has left; Python would complain once more while closing it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception, args: argparse.Namespace, name: str) -> Exit:
    if args.debug:
        traceback.print_exception(error, file=sys.stderr)
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    if isinstance(error, GlmError):
        sentence = str(error)
    elif isinstance(error, OSError) and error.filename == STDOUT:
        sentence = f"The result could not be written to stdout: {error.strerror or error}."
        _abandon_stdout()
    elif isinstance(error, OSError):
        sentence = f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}."
    else:
        sentence = (
            f"glm-lsp {name} failed unexpectedly: {type(error).__name__}: {error}. "
            "Run it again with --debug to see where."
        )
    fail(sentence, as_json=getattr(args, "format", "") == "json")
    return code_of(error)


def whole_number(text: str) -> int:
    """An argument that counts something, from 1 to `MOST`."""
    digits = text.lstrip("0") if text.isascii() and text.isdigit() else ""
    if not digits or len(digits) > len(str(MOST)) or int(digits) > MOST:
        shown = text if len(text) <= LONGEST_WORD else f"{text[:LONGEST_WORD]}…"
        raise argparse.ArgumentTypeError(f"'{shown}' is not a whole number from 1 to {MOST:,}")
    return int(digits)


_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)


def duration(text: str) -> float:
    """An argument that is a time, in seconds: `90s`, `350m`, `2h`, `1h30m`."""
    match = _DURATION.fullmatch(text) if len(text) < 20 else None
    hours, minutes, seconds = (int(part or 0) for part in (match.groups() if match else (0, 0, 0)))
    total = 3600 * hours + 60 * minutes + seconds
    if not total:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time; write for example 90s, 350m or 2h")
    return float(total)


def fail(sentence: str, *, as_json: bool = False) -> None:
    """Say on stderr, and in the result where that is JSON, why there is no result."""
    sentence = _say(sentence)
    if as_json:
        try:
            sys.stdout.write(json.dumps({"error": sentence}) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            _abandon_stdout()


def _say(sentence: str) -> str:
    """Write a sentence to stderr, if that takes it; return what is left of one that is too long."""
    if len(sentence) > LONGEST_SENTENCE:
        sentence = sentence[: LONGEST_SENTENCE // 2] + " … " + sentence[-LONGEST_SENTENCE // 2 :]
    with contextlib.suppress(OSError):  # a log on a full disk: the exit code still tells how it went
        sys.stderr.write(f"glm-lsp: {safe(sentence)}\n")
    return sentence


def unreadable(path: Path) -> str:
    """Why a file that the user names cannot be read, in words; empty where it can.

    A pipe may wait for its writer for ever, and no signal would end that.
    """
    if path.is_file():
        return ""
    if path.is_dir():
        return "is a directory"
    return "is not a regular file" if path.exists() else "does not exist"


def code_of(error: Exception) -> Exit:
    """The exit code that an exception stands for."""
    if isinstance(error, EngineError):
        return Exit.ENGINE
    if isinstance(error, PolicyError):
        return Exit.POLICY
    if isinstance(error, ConflictError):
        return Exit.CONFLICT
    return Exit.SPENT if isinstance(error, SpentError) else Exit.USAGE


def settings(args: argparse.Namespace, *, shows: bool = False) -> Settings:
    """The settings in force for this call; what was wrong with them is said on stderr.

    Raises UsageError where the mistake is the call's own, except for a verb that `shows` settings and their
    problems.
    """
    from glm_lsp.workspace import config  # noqa: PLC0415

    found = config.load(argv=args.set)
    if not shows and (mistakes := [p.mistake for p in found.problems if p.mistake]):
        raise UsageError(" ".join(mistakes))
    # Errors are told as sentences; the log would say them once more, unless somebody asks for it.
    level = found.text("log.level") if "log.level" in found.origin else "error"
    logging.basicConfig(level=level.upper(), stream=sys.stderr, format="%(levelname)s: %(message)s")
    notices = logging.getLogger(NOTICES)
    notices.setLevel(logging.WARNING)
    notices.propagate = False
    notices.handlers[:] = [_Notices()]
    report.problems(found.problems)
    return found


def drive(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end. SIGINT and SIGTERM cancel it, so that children are stopped and files closed.

    Raises KeyboardInterrupt or Terminated where a signal ended it.
    """
    _signals.arrived.clear()

    async def supervised() -> T:
        task = asyncio.ensure_future(work)
        received: list[int] = []

        def stop(number: int) -> None:
            received.append(number)
            task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Not on Windows, and in the main thread only.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, stop, number)
                signal.signal(number, _signals.note)  # the loop is told besides, by a pipe of its own
        try:
            return await task
        except _Signalled as signalled:
            raise (Terminated if signalled.number == signal.SIGTERM else KeyboardInterrupt) from None
        except asyncio.CancelledError:
            if received:
                raise (Terminated if signal.SIGTERM in received else KeyboardInterrupt) from None
            raise

    return asyncio.run(supervised())


@contextlib.contextmanager
def listening() -> Generator[None]:
    """While work that `drive` runs waits for stdin: its loop stands still, so that a signal ends the wait
    itself."""
    _signals.waiting = True
    try:
        _signals.check()
        yield
    finally:
        _signals.waiting = False
