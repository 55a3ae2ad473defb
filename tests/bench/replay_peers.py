"""How others lay a prompt out, written anew from what their sources do, to be counted beside ours.

Each is told every event, as its editor would tell it, and says its prompt's text at a request. All requests
are sent, also those that an editor would hold back.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from glm_lsp.core.snapshot import Snapshot
from glm_lsp.engines.tokenizers import BpeTokenizer
from tests.bench.sessions import Event

_CUT = re.compile(r"(?<=\n)(?=[ \t]*[!-~])")
Part = tuple[int, ...]


class Files(Protocol):
    """The editor's texts, and the index of the repository."""

    def text(self, path: str) -> str: ...

    def snapshot(self) -> Snapshot: ...


class Meter:
    """Tokens of a prompt that are not those of the one before, from its first change on."""

    def __init__(self, tokenizer: BpeTokenizer) -> None:
        def cut(text: str) -> Part:
            return tuple(tokenizer.encode(text))

        self._cut = lru_cache(maxsize=200_000)(cut)
        self._before: list[Part] = []

    def parts(self, text: str) -> list[Part]:
        """The tokens of a text, line by line: cutting it there changes none."""
        return [self._cut(part) for part in _CUT.split(text) if part]

    def count(self, text: str) -> int:
        return sum(map(len, self.parts(text)))

    def cost(self, texts: Sequence[str], reuse: int = 0) -> tuple[int, int]:
        """(tokens, evaluated). With `reuse`, stretches of so many tokens are shifted in the cache."""
        now = [part for text in texts for part in self.parts(text)]
        before, self._before = self._before, now
        same = 0
        while same < min(len(now), len(before)) and now[same] is before[same]:
            same += 1
        old = [token for part in before[same:] for token in part]
        new = [token for part in now[same:] for token in part]
        kept = _alike(old, new, 0, 0)
        total, left = sum(map(len, now)), len(new) - kept
        if reuse:
            left -= _shifted(old, new, kept, reuse)
        return total, left


def _alike(a: Sequence[int], b: Sequence[int], i: int, j: int) -> int:
    n = 0
    while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
        n += 1
    return n


def _shifted(old: Sequence[int], new: Sequence[int], start: int, least: int) -> int:
    """As llama.cpp's server looks for stretches that it can move within its cache."""
    at_old = at_new = start
    saved = 0
    while at_old < len(old) and at_new < len(new):
        same = _alike(old, new, at_old, at_new)
        if same >= least:
            saved += same
            at_old += same
            at_new += same
        else:
            at_old += 1
    return saved


@dataclass
class Layout:
    """One peer. `texts` is its prompt at a request, in pieces at whose ends the text may be cut."""

    files: Files
    meter: Meter
    name: str = ""
    reuse: int = 0

    def happened(self, event: Event) -> None:
        """Anything but a request."""

    def texts(self, path: str, offset: int, t: float) -> list[str]:
        raise NotImplementedError

    def split(self, path: str, offset: int) -> tuple[str, str]:
        data = self.files.text(path).encode()
        return data[:offset].decode(), data[offset:].decode()


@dataclass
class _Chunk:
    path: str
    lines: list[str]


@dataclass
class LlamaVim(Layout):
    """A ring of 16 chunks, 256 lines before and 64 after; `/infill` of a server started as its README says.

    That server takes at most 3/4 of a batch of 1,024 tokens from before the cursor and 1/4 from after it, and
    moves what it has in its cache (`--cache-reuse 256`).
    """

    name: str = "llama.vim: a ring of chunks, 256 + 64 lines"
    reuse: int = 256
    batch: int = 1024
    ring: list[_Chunk] = field(default_factory=list[_Chunk])
    queued: list[_Chunk] = field(default_factory=list[_Chunk])
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    line: dict[str, int] = field(default_factory=dict[str, int])
    picked: tuple[str, int] = ("", -9999)
    last: float = 0.0
    RING, CHUNK, SCOPE, PREFIX, SUFFIX = 16, 64, 1024, 256, 64

    def happened(self, event: Event) -> None:
        self._quiet(float(event.get("t", 0)))
        if event["op"] in ("open", "save", "close"):
            path = str(event["path"])
            lines = self.files.text(path).split("\n")
            at = self.line.get(path, 0)
            half = self.CHUNK // 2
            self._pick(path, lines[max(0, at - half) : at + half + 1], evict=True)

    def texts(self, path: str, offset: int, t: float) -> list[str]:
        self._quiet(t)
        before, after = self.split(path, offset)
        lines, rest = before.split("\n"), after.split("\n")
        at = self.line[path] = len(lines) - 1
        around = [*lines[-self.CHUNK // 2 :], *rest[1 : self.CHUNK // 2]]
        self.ring = [c for c in self.ring if _alike_lines(c.lines, around) <= 0.5]
        prefix = "".join(f"{line}\n" for line in lines[-1 - self.PREFIX : -1])
        suffix = "\n".join(rest[: self.SUFFIX + 1]) + "\n"
        extra = [f"<|file_sep|>{c.path}\n" + "\n".join(c.lines) + "\n" for c in self.ring]
        room = self.batch // 4
        prefix = self._last(prefix, 3 * room)
        suffix = self._first(suffix, room - 2 - self.meter.count(lines[-1]))
        if self.picked[0] != path or abs(at - self.picked[1]) > 32:
            self.picked = path, at
            self._pick(path, lines[max(0, at - self.SCOPE) : max(0, at - self.PREFIX)], evict=False)
            self._pick(path, rest[self.SUFFIX : self.SUFFIX + self.CHUNK], evict=False)
        return [
            *extra,
            f"<|file_sep|>{path}\n",
            "<|fim_prefix|>",
            prefix,
            lines[-1],
            "<|fim_suffix|>",
            suffix,
            "<|fim_middle|>",
        ]

    def _quiet(self, t: float) -> None:
        """A queued chunk enters the ring with each second in which the cursor has not moved for three."""
        for _ in range(int(min(max(0.0, t - self.last - 3.0), 16.0))):
            if self.queued:
                self.ring = [*self.ring[-self.RING + 1 :], self.queued.pop(0)]
        self.last = max(self.last, t)

    def _pick(self, path: str, lines: list[str], *, evict: bool) -> None:
        if len(lines) < 3:
            return
        if len(lines) + 1 >= self.CHUNK:
            start = self.chance.randint(0, max(0, len(lines) - self.CHUNK // 2))
            lines = lines[start : start + self.CHUNK // 2 + 1]
        if any(c.lines == lines for c in (*self.ring, *self.queued)):
            return
        alike = [c for c in (*self.ring, *self.queued) if _alike_lines(c.lines, lines) > 0.9]
        if alike and not evict:
            return
        self.ring = [c for c in self.ring if c not in alike]
        self.queued = [*[c for c in self.queued if c not in alike][-15:], _Chunk(path, lines)]

    def _last(self, text: str, most: int) -> str:
        """As much of the end as has at most so many tokens, cut at lines."""
        return "".join(reversed(_fitting(reversed(_CUT.split(text)), most, self.meter)))

    def _first(self, text: str, most: int) -> str:
        return "".join(_fitting(_CUT.split(text), most, self.meter))


@dataclass
class Continue(Layout):
    """1,024 tokens: 30 % before and 20 % after the cursor, the rest snippets: edits elsewhere, then what the
    file imports, shuffled at each request."""

    name: str = "Continue: 1,024 tokens, snippets shuffled"
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    recent: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    BUDGET, PREFIX, SUFFIX, BUFFER, RANGES = 1024, 0.3, 0.2, 10, 3

    def happened(self, event: Event) -> None:
        if event["op"] == "edit":
            path = str(event["path"])
            line = self.files.text(path).encode().count(b"\n", 0, int(event["start"]))
            near = next((r for r in self.recent if r[0] == path and abs(r[1] - line) < 10), None)
            if near:
                self.recent.remove(near)
            self.recent = [*self.recent, (path, line)][-10:]

    def texts(self, path: str, offset: int, t: float) -> list[str]:
        before, after = self.split(path, offset)
        prefix = "".join(
            reversed(_fitting(reversed(_lines(before)), int(self.BUDGET * self.PREFIX), self.meter))
        )
        suffix = "".join(_fitting(_lines(after), int(self.BUDGET * self.SUFFIX), self.meter))
        left = self.BUDGET - self.meter.count(prefix) - self.meter.count(suffix)
        edited = [r for r in reversed(self.recent) if r[0] != path][: self.RANGES]
        found = [self._around(*place) for place in edited]
        base = [s for s in self._imported(path) if s[1].strip() not in prefix + suffix]
        self.chance.shuffle(base)
        chosen: list[str] = []
        for name, text in (*found, *base):
            size = self.meter.count(text) + self.BUFFER
            if text.strip() and size <= left:
                left -= size
                chosen.append(f"# Path: {name}\n" + "".join(f"# {line}\n" for line in text.split("\n")))
        return ["<|fim_prefix|>", *chosen, prefix, "<|fim_suffix|>", suffix or "\n", "<|fim_middle|>"]

    def _around(self, path: str, line: int) -> tuple[str, str]:
        lines = self.files.text(path).split("\n")
        return path, "\n".join(lines[max(0, line - 5) : line + 6])

    def _imported(self, path: str) -> list[tuple[str, str]]:
        """The source of the definitions that the file imports by name."""
        outlines = self.files.snapshot().index.outlines
        outline = outlines.get(path)
        names = {i.name or i.module.rpartition(".")[2] for i in outline.imports} if outline else set[str]()
        found: list[tuple[str, str]] = []
        for other in outlines.values():
            for symbol in other.symbols if other.path != path else ():
                if symbol.name in names and not symbol.parent and len(found) < 40:
                    lines = self.files.text(other.path).split("\n")
                    found.append((other.path, "\n".join(lines[symbol.start_line : symbol.end_line + 1])))
        return found


@dataclass
class PackAndFile(Layout):
    """The first pack of the session, and the file as it is now: what is before the cursor, then the rest."""

    name: str = "a pack and the live file, prefix then suffix"
    pack: list[str] = field(default_factory=list[str])
    suffix_first: bool = False

    def texts(self, path: str, offset: int, t: float) -> list[str]:
        before, after = self.split(path, offset)
        parts = ["<|fim_prefix|>", before, "<|fim_suffix|>", after]
        if self.suffix_first:
            parts = [*parts[2:], *parts[:2]]
        return [*self.pack, f"<|file_sep|>{path}\n", *parts, "<|fim_middle|>"]


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True) if text else []


def _fitting(parts: Iterable[str], most: int, meter: Meter) -> list[str]:
    found: list[str] = []
    for part in parts:
        most -= meter.count(part)
        if most < 0:
            break
        found.append(part)
    return found


def _alike_lines(a: Sequence[str], b: Sequence[str]) -> float:
    """How similar two chunks are, as llama.vim reckons it."""
    known = set(b)
    return 2.0 * sum(line in known for line in a) / (len(a) + len(b))
