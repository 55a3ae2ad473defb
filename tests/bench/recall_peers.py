"""What others would put into the prompt for the same place: BM25 chunks, the import closure, open files.

Each gives text by file and line within a budget counted with the same tokenizer as ours; what is shown is
judged in the same way. aider's repository map is its own program: see `recall_aider`.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from glm_lsp.core.graph import Graph

Count = Callable[[str], int]
Shown = dict[str, set[int]]
"""Lines that a pack shows, by file, counted from 0."""
CHUNK_LINES = 20
WORD = re.compile(r"[^\W\d]\w+")


class Chunks:
    """BM25 over chunks of `CHUNK_LINES` lines (k1 = 1.2, b = 0.75), words and the parts of names."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._chunks: list[tuple[str, int, str]] = []
        self._lengths: list[int] = []
        self._holding: dict[str, list[tuple[int, int]]] = {}
        for path in sorted(files):
            lines = files[path].decode("utf-8", "replace").split("\n")
            for first in range(0, len(lines), CHUNK_LINES):
                text = "\n".join(lines[first : first + CHUNK_LINES])
                counts = Counter(WORD.findall(text))
                for word, n in counts.items():
                    self._holding.setdefault(word, []).append((len(self._chunks), n))
                self._chunks.append((path, first, text))
                self._lengths.append(sum(counts.values()))
        self._mean = sum(self._lengths) / max(1, len(self._lengths))

    def pack(self, query: str, own: str, count: Count, budget: int) -> Shown:
        scores: dict[int, float] = {}
        for word in set(WORD.findall(query)):
            holding = self._holding.get(word, ())
            idf = math.log(1 + (len(self._chunks) - len(holding) + 0.5) / (len(holding) + 0.5))
            for chunk, n in holding:
                norm = 0.25 + 0.75 * self._lengths[chunk] / self._mean
                scores[chunk] = scores.get(chunk, 0.0) + idf * n * 2.2 / (n + 1.2 * norm)
        best = sorted(scores, key=lambda c: (-scores[c], c))[:400]
        pieces = (self._chunks[c] for c in best if self._chunks[c][0] != own)
        return fill(pieces, count, budget)


def fill(pieces: Iterable[tuple[str, int, str]], count: Count, budget: int) -> Shown:
    """Path, first line and text of what comes in turn, until one does not fit."""
    shown: Shown = {}
    left = budget
    for path, first, text in pieces:
        left -= count(f"== {path}:{first + 1}\n{text}\n")
        if left < 0:
            break
        shown.setdefault(path, set()).update(range(first, first + text.count("\n") + 1))
    return shown


def import_closure(graph: Graph, path: str, count: Count, budget: int) -> Shown:
    """The signatures of the files that `path` imports, then of those that these import, and so on."""
    order, seen = [path], {path}
    for file in order:
        new = sorted(graph.imported(file) - seen)
        seen.update(new)
        order += new
    pieces = (
        (file, symbol.name_span.start, symbol.start_line, symbol.signature)
        for file in order[1:]
        for symbols in graph.symbols(file).values()
        for symbol in symbols
    )
    shown: Shown = {}
    left = budget
    last = ""
    for file, _, line, text in pieces:
        left -= count(f"{text}\n") + (count(f"== {file}\n") if file != last else 0)
        last = file
        if left < 0:
            break
        shown.setdefault(file, set()).update(range(line, line + text.count("\n") + 3))
    return shown


def open_files(recent: Sequence[str], files: Mapping[str, bytes], count: Count, budget: int) -> Shown:
    """The whole of files that somebody has open, the latest first, until the budget is full."""
    pieces: list[tuple[str, int, str]] = []
    for path in recent:
        lines = files[path].decode("utf-8", "replace").split("\n")
        pieces += [
            (path, first, "\n".join(lines[first : first + CHUNK_LINES]))
            for first in range(0, len(lines), CHUNK_LINES)
        ]
    return fill(pieces, count, budget)


def lines_of_map(text: str, files: Mapping[str, bytes]) -> Shown:
    """Which lines of which files aider's map shows: it gives them without numbers, cut at 100 characters."""
    shown: Shown = {}
    path, at, lines = "", 0, []
    for row in text.split("\n"):
        if row.endswith(":") and row[:-1] in files:
            path, at = row[:-1], 0
            lines = [x[:99] for x in files[path].decode("utf-8", "replace").split("\n")]
        elif path and row.startswith("│"):
            try:
                at = lines.index(row[1:], at) + 1
            except ValueError:
                continue
            shown.setdefault(path, set()).add(at - 1)
    return shown
