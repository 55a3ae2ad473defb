"""How often the repository itself knows the rest of a line: `python -m tests.bench.bench_echo [--record]`.

Somebody types what changed between two released versions of real packages, line by line and word by word. At
the beginning of each line and after each word the rest of the line is asked for; it is right if it is exactly
what was typed next. Beside it stands Vim's completion of whole lines (CTRL-X CTRL-L): the nearest line of
the open file that begins with what is typed. `--fit` fits the weights to the packages that nothing is
reported on; `--record` writes the section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import math
import random
import re
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from glm_lsp.core import echo as echoing
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import language_of
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, FileOutline, Refusal, RefusalKind, RepoIndex
from glm_lsp.features import echoes
from tests.bench import corpora
from tests.bench.bench_recall import RESULTS, recorded
from tests.bench.bench_server import table
from tests.bench.corpora import Pair
from tests.bench.probe import percentile
from tests.bench.rows import circumstances
from tests.bench.sessions import MOST_TYPED_LINES, planted, tree

HEADING = "## Echo"
COMMAND = "python -m tests.bench.bench_echo --record"
MOST_PLACES = 1500
GOAL_PRECISION, GOAL_MS = 0.6, 15.0
_WORDS = re.compile(r"\s*\S+")


@dataclass(frozen=True, slots=True)
class Typed:
    """A cursor at byte `offset`, and what was typed next on its line."""

    path: str
    data: bytes
    offset: int
    rest: str


@dataclass
class Found:
    """What came of the places of one package."""

    name: str
    places: int = 0
    spoken: int = 0
    right: int = 0
    line_spoken: int = 0
    line_right: int = 0
    begun: int = 0
    begun_spoken: int = 0
    begun_right: int = 0
    seconds: list[float] = field(default_factory=list[float])
    features: list[tuple[tuple[float, ...], bool]] = field(
        default_factory=list[tuple[tuple[float, ...], bool]]
    )

    def cells(self) -> tuple[str, ...]:
        return (
            self.name,
            f"{self.places:,}",
            f"{_share(self.right, self.spoken)} of {_share(self.spoken, self.places)}",
            f"{_share(self.begun_right, self.begun_spoken)} of {_share(self.begun_spoken, self.begun)}",
            f"{_share(self.line_right, self.line_spoken)} of {_share(self.line_spoken, self.places)}",
            f"{1000 * statistics.median(self.seconds):.1f}, {1000 * percentile(self.seconds, 0.99):.1f} ms",
        )


class Files:
    """The older version, in memory. Implements `Sources`."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files

    async def read(self, path: str) -> Document | Refusal:
        if path not in self.files:
            return Refusal(path, RefusalKind.UNREADABLE, f"{path} does not exist.")
        data = self.files[path]
        return Document(path, data, digest(data), language_of(path), 0, held=())


def typed(old: Mapping[str, bytes], new: Mapping[str, bytes], most: int = MOST_PLACES) -> list[Typed]:
    """Places where somebody types the newer version, chosen by lot."""
    found = [place for path in sorted(new) if path in old for place in _typed(path, old[path], new[path])]
    random.Random(0).shuffle(found)
    return found[:most]


def _typed(path: str, old: bytes, new: bytes) -> Iterator[Typed]:
    now, then = ([line.decode() for line in data.splitlines(keepends=True)] for data in (old, new))
    codes = difflib.SequenceMatcher(None, now, then, autojunk=False).get_opcodes()
    shift = 0
    for first, end, lines in [(i1, i2, then[j1:j2]) for tag, i1, i2, j1, j2 in codes if tag != "equal"]:
        start, stop = first + shift, end + shift
        for number, line in enumerate(lines[:MOST_TYPED_LINES]):
            bare = line.strip()
            above = "".join([*now[:start], *lines[:number]])
            below = "\n" + "".join(now[stop:])
            ends = [0, *(word.end() for word in _WORDS.finditer(bare))][:-1] if bare else []
            for at in ends:
                before = (above + line[: len(line) - len(line.lstrip())] + bare[:at]).encode()
                yield Typed(path, before + below.encode(), len(before), bare[at:])
        now[start:stop] = lines
        shift += len(lines) - (end - first)


async def measured(name: str, old: Mapping[str, bytes], places: Sequence[Typed], least: float) -> Found:
    """Ask at each place for what is at least so sure."""
    found = Found(name)
    outlines = {
        path: FileOutline(
            path, digest(data), language_of(path), size_bytes=len(data), lines=data.count(b"\n")
        )
        for path, data in old.items()
    }
    snapshot = Snapshot("/repository", 1, {}, RepoIndex(outlines, 1))
    by_path: dict[str, list[Typed]] = {}
    for place in places:
        by_path.setdefault(place.path, []).append(place)
    for path, here in sorted(by_path.items()):
        asked = echoes.Echoes(Files(old), least=least, learns=False)
        await asked.prepare(snapshot, path, 0.0)
        for place in here:
            document = Document(path, place.data, digest(place.data), language_of(path), 1, held=())
            began = time.perf_counter()
            suggestion = asked.suggestion(document, place.offset)
            found.seconds.append(time.perf_counter() - began)
            _note(found, place, suggestion.text if suggestion else None, asked.last)
    return found


def _note(found: Found, place: Typed, said: str | None, last: echoing.Echo | None) -> None:
    rest = place.rest.strip()
    line = place.data[: place.offset].decode().rpartition("\n")[2].strip()
    found.places += 1
    found.spoken += said is not None
    found.right += said is not None and said.strip() == rest
    if line:
        found.begun += 1
        found.begun_spoken += said is not None
        found.begun_right += said is not None and said.strip() == rest
        whole = _whole_line(place, line)
        found.line_spoken += whole is not None
        found.line_right += whole is not None and whole.strip() == rest
    if last is not None:
        found.features.append((last.features, last.text.strip() == rest))


def _whole_line(place: Typed, line: str) -> str | None:
    """As Vim does it: the nearest line above that begins so, else the first one below."""
    before, after = place.data[: place.offset].decode().split("\n")[:-1], place.data[place.offset :].decode()
    for one in (*reversed(before), *after.split("\n")[1:]):
        if one.strip().startswith(line) and one.strip() != line:
            return one.strip()[len(line) :]
    return None


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def together(name: str, parts: Sequence[Found]) -> Found:
    """Each place counts once, whichever package it is of."""
    found = Found(name)
    for part in parts:
        for what in ("places", "spoken", "right", "line_spoken", "line_right", "begun", "begun_spoken"):
            setattr(found, what, getattr(found, what) + getattr(part, what))
        found.begun_right += part.begun_right
        found.seconds += part.seconds
        found.features += part.features
    return found


def fitted(features: Sequence[tuple[tuple[float, ...], bool]], rounds: int = 200) -> list[float]:
    """Weights of a logistic regression, by gradient descent with momentum; nothing of it is drawn by lot."""
    import numpy as np  # noqa: PLC0415 (of the bench's own needs)

    x = np.array([row for row, _ in features])
    y = np.array([float(right) for _, right in features])
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-x @ weights))
        curve = x.T @ (x * (p * (1 - p) + 1e-9)[:, None]) + np.eye(x.shape[1])
        step = np.linalg.solve(curve, x.T @ (y - p) - weights)
        weights += step
        if math.sqrt(float(step @ step)) < 1e-6:
            break
    return [round(float(weight), 2) for weight in weights]


def run(pairs: Sequence[Pair], least: float) -> list[Found]:
    found: list[Found] = []
    for pair in pairs:
        old, new = tree(planted(pair)), tree(pair.roots()[1])
        places = typed(old, new)
        part = asyncio.run(measured(f"{pair.name} ({pair.language})", old, places, least))
        print(*part.cells(), sep="\t", file=sys.stderr, flush=True)
        found.append(part)
    return found


def section(found: Sequence[Found]) -> str:
    """The tables."""
    columns = (
        "package",
        "places",
        "right, of where it speaks",
        "the same where the line is begun",
        "Vim's whole lines, where the line is begun",
        "p50, p99",
    )
    whole = together("**all**", found)
    precision = whole.right / max(whole.spoken, 1)
    slowest = 1000 * percentile(whole.seconds, 0.99)
    goals = (
        f"Goals: at least {GOAL_PRECISION:.0%} right of what is said "
        f"({'met' if precision >= GOAL_PRECISION else 'MISSED'}: {precision:.1%}, for "
        f"{_share(whole.spoken, whole.places)} of the places), within {GOAL_MS:.0f} ms "
        f"({'met' if slowest <= GOAL_MS else 'MISSED'}: p99 {slowest:.1f} ms)."
    )
    rows = [part.cells() for part in (*found, whole)]
    return f"{table(rows, columns)}\n\n{goals}\n\n{circumstances(False)}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_echo", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--fit", action="store_true", help="fit the weights, on the tuning packages")
    parser.add_argument("--tuned", action="store_true", help="the packages that choices were made by")
    args = parser.parse_args(arguments)
    if args.fit:
        found = together("tuned", run(corpora.TUNED_ON, 0.0))
        print(f"WEIGHTS = {tuple(fitted(found.features))}")
        return 0
    made = section(run(corpora.TUNED_ON if args.tuned else corpora.REPORTED, echoing.SPEAKS))
    print(made)
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), made, HEADING, COMMAND))
    return 0


if __name__ == "__main__":
    sys.exit(main())
