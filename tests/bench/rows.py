"""What the worker's bench is told and tells: options, rows, progress, and their place in RESULTS.md."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from glm_lsp.core import profiles
from tests.bench.bench_server import table
from tests.bench.edits import cache
from tests.bench.random_model import Shape, shape_of, write

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = "## Worker"
COMMAND = "python -m tests.bench.bench_worker --record"
_CACHE = cache()
"""The user's, also while a bench has one of its own."""
LONG = replace(shape_of(0.15), layers=4, heads=4, experts=16)
"""So that 32,768 tokens are read in minutes: what attention costs grows with layers and heads. What is saved
and restored grows with layers, too, so few heads make restoring look no better than it is."""


@dataclass(frozen=True)
class Row:
    """One figure. `met` says whether the goal was reached; None where there is none."""

    what: str
    figure: str
    beside: str = ""
    goal: str = ""
    met: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        said = {None: "", True: " (met)", False: " (MISSED)"}[self.met]
        return self.what, self.figure, self.beside, self.goal + said


@dataclass
class Options:
    """What the sections measure with. Models that are not given are made, once, in the user's cache."""

    threads: int
    rounds: int = 9
    llama_bench: str = ""
    model: str = ""
    long_model: str = ""
    long_tokens: int = 32_768
    cancels: int = 200
    keystrokes: int = 30
    progress: Callable[[str], None] = lambda _: None

    def nano(self) -> Path:
        return Path(profiles.load("nano").gguf_path)

    def large(self) -> Path:
        """Of 1.5 GB."""
        return Path(self.model) if self.model else made("random-1.5.gguf", shape_of(1.5))

    def long(self) -> Path:
        """Small, for long prompts."""
        return Path(self.long_model) if self.long_model else made("random-long.gguf", LONG)


def made(name: str, shape: Shape) -> Path:
    path = _CACHE / name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        sys.stderr.write(f"Making {path}, once.\n")
        write(path, shape)
    return path


@dataclass
class Clock:
    """Says on stderr what is going on, and about how long all of it will take still."""

    left: dict[str, float]
    """Sections to come, with the minutes that each is expected to take."""
    name: str = ""
    started: float = field(default_factory=time.monotonic)
    since: float = field(default_factory=time.monotonic)

    def begin(self, name: str) -> None:
        self.name, self.since = name, time.monotonic()
        self.say(f"begins, about {self.left[name]:.0f} min")

    def end(self) -> None:
        minutes = (time.monotonic() - self.since) / 60
        self.left.pop(self.name)
        self.say(f"took {minutes:.1f} min")

    def say(self, text: str) -> None:
        now = time.monotonic()
        spent = (now - self.since) / 60
        left = sum(m if name != self.name else max(m - spent, 0) for name, m in self.left.items())
        passed = int(now - self.started)
        sys.stderr.write(f"[{passed // 60}:{passed % 60:02}, {left:.0f} min left] {self.name}: {text}\n")
        sys.stderr.flush()


def circumstances(raised: bool) -> str:
    """Versions, processors, load: what a figure depends on besides the code."""
    versions = ", ".join(f"{name} {_version(name)}" for name in ("llama-cpp-python", "numpy"))
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    priority = "priority raised" if raised else "ordinary priority"
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in _lines("/proc/cpuinfo")
            if line.lower().startswith("model name")
        ),
        platform.processor() or platform.machine(),
    )
    return (
        f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores ({processor}), {priority}, "
        f"load {load:.1f} at the end, {time.strftime('%Y-%m-%d')}."
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def block(title: str, rows: Iterable[Row], said: str) -> str:
    """A section's part of RESULTS.md."""
    head = ("what", "figure", "beside", "goal")
    return f"### {title}\n\n{table([row.cells for row in rows], head)}\n\n{said}\n"


def recorded(text: str, blocks: dict[str, str], order: Iterable[str]) -> str:
    """`text` of RESULTS.md with these blocks in place of those of an earlier run; the others stay."""
    before, found, after = text.partition(f"{HEADING}\n")
    rest = ""
    known: dict[str, str] = {}
    if found:
        body, mark, rest = after.partition("\n## ")
        rest = "## " + rest if mark else ""
        for part in ("\n" + body).split("\n### ")[1:]:
            known[part.partition("\n")[0]] = "### " + part.strip("\n") + "\n"
    known |= blocks
    parts = [known[title] for title in order if title in known]
    section = f"{HEADING}\n\n`{COMMAND}`\n\n" + "\n".join(parts)
    return before.rstrip("\n") + "\n\n" + section + ("\n" + rest if rest else "")
