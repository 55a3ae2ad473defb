"""Edit sessions out of two released versions: somebody types the differences, word by word.

A diff becomes hunks; each hunk is typed, one request per word, in two or three files in turn, and not always
in order. Now and then words are mistyped, undone and redone, a name is changed everywhere, a file gets a new
name, the branch is changed and changed back, others' work arrives at once, and somebody thinks for a while.
The same seed gives the same session. `python -m tests.bench.sessions FOLDER` writes them as event files.
"""

from __future__ import annotations

import difflib
import json
import random
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench import corpora
from tests.bench.corpora import Pair
from tests.bench.edits import cache

_SUFFIXES = """
.py .pyi .ts .tsx .js .mjs .cjs .jsx .go .rs .java .c .h .cc .cpp .hpp
"""
SUFFIXES = frozenset(_SUFFIXES.split())
_BUILT = """
dist build esm cjs umd es lib-esm node_modules coverage vendor
"""
BUILT = frozenset(_BUILT.split())
MOST_FILE_BYTES = 400_000
MOST_TYPED_LINES = 30
"""Of a hunk; what is longer is pasted from there on."""
SWITCH, JUMP, TYPO, UNDO, THINK = 0.25, 0.2, 0.015, 0.012, 0.06
"""How often: another file after a hunk, a hunk out of order, a word mistyped, undone words, a long pause."""
WORKING_SET = 3
MOST_BETWEEN = 6
"""Words, signs and spaces: what stands between two changes that a person makes as one."""
_CHUNK = re.compile(r"\s*\S+|\s+\Z")
_TOKEN = re.compile(r"\w+|\s+|[^\w\s]")
_PLAIN = re.compile(r"[\s'\",;()\\]+")
_NAME = re.compile(rb"\b[A-Za-z_]\w{5,}\b")
Event = dict[str, Any]


@dataclass(frozen=True)
class Session:
    """`events` begin in the folder `root`, which holds the older version."""

    name: str
    language: str
    root: Path
    events: tuple[Event, ...]

    @property
    def requests(self) -> int:
        return sum(event["op"] == "request" for event in self.events)

    def lines(self) -> Iterator[bytes]:
        return (line(event) + b"\n" for event in self.events)


def line(event: Event) -> bytes:
    """As it stands in a file of events."""
    return json.dumps(event).encode()


@dataclass
class _Hunk:
    """Lines `first` to `end` of the older text become `new`."""

    first: int
    end: int
    new: tuple[str, ...]

    def formats(self, old: bytes) -> bool:
        """Whether it is what a formatter does."""
        before = b"".join(old.splitlines(keepends=True)[self.first : self.end]).decode()
        return bool(before) and _PLAIN.sub("", before) == _PLAIN.sub("", "".join(self.new))


@dataclass
class _File:
    path: str
    text: bytes
    hunks: list[_Hunk]
    shifts: list[tuple[int, int]] = field(default_factory=list)
    """Of hunks that are done: first line, and lines added."""
    opened: bool = False
    exists: bool = True


def tree(root: Path) -> dict[str, bytes]:
    """The source files of an unpacked package, without what is built from them."""
    found: dict[str, bytes] = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root)
        built = BUILT.intersection(inside.parts) or ".min." in path.name or path.name.endswith(".d.ts")
        if path.suffix not in SUFFIXES or built or path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if len(data) <= MOST_FILE_BYTES and b"\0" not in data and b"\r" not in data and _utf8(data):
            found[inside.as_posix()] = data
    return found


def planted(pair: Pair) -> Path:
    """A folder with the older version's source files alone."""
    name = f"{pair.package.replace('/', '+')}-{pair.old}"
    folder = cache() / "corpora" / "trees" / pair.registry / name
    marker = folder.with_name(name + ".whole")
    if not marker.exists():
        for path, data in tree(pair.roots()[0]).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data)
        marker.touch()
    return folder


def session(pair: Pair, requests: int = 2000, seed: int = 0) -> Session:
    """At least so many requests, where the versions differ enough."""
    root = planted(pair)
    old, new = tree(root), tree(pair.roots()[1])
    events = _Typist(old, new, random.Random(f"{seed} {pair.name}")).typed(requests)
    return Session(pair.name, pair.language, root, tuple(events))


def typed(root: Path, new: Mapping[str, bytes], requests: int, seed: int = 0) -> Session:
    """As `session`, from the source files below `root` to the texts `new`."""
    events = _Typist(tree(root), new, random.Random(f"{seed}")).typed(requests)
    return Session(root.name, "", root, tuple(events))


class _Typist:
    """Writes events, and knows the text of every file after each."""

    def __init__(self, old: Mapping[str, bytes], new: Mapping[str, bytes], chance: random.Random) -> None:
        self._chance = chance
        self._events: list[Event] = []
        self._requests = 0
        self._now = 0.0
        self._wanted = 0
        self._done: list[tuple[_File, int, bytes, bytes]] = []
        """What was typed since somebody came to this place: where, what it took away, what it put there."""
        self._old = old
        self._files = {
            path: _File(path, data, _hunks(data, new.get(path, data))) for path, data in old.items()
        }
        for path in sorted(new.keys() - old.keys()):
            self._files[path] = _File(path, b"", _hunks(b"", new[path]), exists=False)
        self._queue = [file for file in self._files.values() if file.hunks]
        chance.shuffle(self._queue)
        self._set: list[_File] = []
        self._formatted: set[str] = set()

    def typed(self, requests: int) -> list[Event]:
        self._wanted = requests
        happenings = {
            0.15: self._change_a_name,
            0.3: self._switch_branch,
            0.45: self._move_a_file,
            0.6: self._pull,
            0.8: self._change_a_name,
        }
        due = sorted(happenings)
        here: _File | None = None
        while self._requests < requests and (self._queue or self._set):
            if due and self._requests >= due[0] * requests:
                happenings[due.pop(0)]()
            here = self._next(here)
            if here is None:
                break
            self._hunk(here)
            if self._chance.random() < 0.6:
                self._emit("save", here)
        return self._events

    def _next(self, here: _File | None) -> _File | None:
        """The file to go on with."""
        for file in [file for file in self._set if not file.hunks]:
            self._set.remove(file)
            if self._chance.random() < 0.6:
                self._emit("save", file)
                self._emit("close", file)
                file.opened = False
        self._queue = [file for file in self._queue if file.hunks]
        while self._queue and len(self._set) < WORKING_SET:
            self._set.append(self._queue.pop(0))
        if here in self._set and self._chance.random() >= SWITCH:
            return here
        return self._chance.choice(self._set) if self._set else None

    def _hunk(self, file: _File) -> None:
        """Go to one of the file's differences and type it."""
        self._wait(
            self._chance.uniform(60, 900) if self._chance.random() < THINK else self._chance.uniform(2, 20)
        )
        self._open(file)
        if file.path not in self._formatted:
            self._formatted.add(file.path)
            self._format(file)
            if not file.hunks:
                return
        jumps = self._chance.random() < JUMP
        hunk = file.hunks.pop(self._chance.randrange(len(file.hunks)) if jumps else 0)
        first = hunk.first + sum(added for at, added in file.shifts if at < hunk.first)
        file.shifts.append((hunk.first, len(hunk.new) - (hunk.end - hunk.first)))
        lines = file.text.splitlines(keepends=True)
        start = sum(map(len, lines[:first]))
        end = start + sum(map(len, lines[first : first + hunk.end - hunk.first]))
        self._done.clear()
        self._replace(file, start, end, "".join(hunk.new))

    def _format(self, file: _File) -> None:
        """What differs in spaces, quotes and commas only is not typed: a formatter did it, all at once."""
        plain = [hunk for hunk in file.hunks if hunk.formats(self._old.get(file.path, b""))]
        if plain:
            file.hunks = [hunk for hunk in file.hunks if hunk not in plain]
            self._land(file, plain)
            self._emit("save", file)

    def _land(self, file: _File, hunks: list[_Hunk]) -> None:
        """These differences are there at once."""
        lines = file.text.splitlines(keepends=True)
        for hunk in hunks:
            first = hunk.first + sum(added for at, added in file.shifts if at < hunk.first)
            lines[first : first + hunk.end - hunk.first] = [line.encode() for line in hunk.new]
            file.shifts.append((hunk.first, len(hunk.new) - (hunk.end - hunk.first)))
        self._whole(file, b"".join(lines))

    def _replace(self, file: _File, start: int, end: int, new: str) -> None:
        """Whole lines from byte `start` to `end` become others, as a person would do it."""
        old = file.text[start:end].decode()
        if old and new:
            before, after = _TOKEN.findall(old), _TOKEN.findall(new)
            matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
            if max(len(before), len(after)) < 800 and matcher.ratio() > 0.6:
                at = start
                for i1, i2, j1, j2 in _changes(matcher):
                    at = start + len("".join(after[:j1]).encode())
                    size = len("".join(before[i1:i2]).encode())
                    self._type(file, at, size, "".join(after[j1:j2]))
                return
            self._type(
                file,
                start,
                end - start - old.endswith("\n"),
                new.removesuffix("\n") if old.endswith("\n") else new,
            )
        elif not new:
            self._edit(file, start, end, "")
            self._request(file, start)
        elif start and new.endswith("\n"):
            self._type(file, start - 1, 0, "\n" + new[:-1])
        elif file.text:
            self._edit(file, start, start, "\n")
            self._type(file, start, 0, new.removesuffix("\n"))
        else:
            self._type(file, start, 0, new)

    def _type(self, file: _File, at: int, size: int, text: str) -> None:
        """Type in place of `size` bytes at `at`, a word at a time; the end of what is long is pasted."""
        chunks = _CHUNK.findall(text)
        typed, lines = 0, 0
        while typed < len(chunks) and lines <= MOST_TYPED_LINES:
            lines += chunks[typed].count("\n")
            typed += 1
        if not chunks:
            self._edit(file, at, at + size, "")
            self._request(file, at)
            return
        for n, chunk in enumerate([*chunks[:typed], "".join(chunks[typed:])]):
            if not chunk or self._requests >= self._wanted:
                break
            if self._chance.random() < TYPO and chunk.strip():
                wrong = chunk + self._chance.choice("aeiouxs")
                self._edit(file, at, at + size, wrong)
                self._request(file, at + len(wrong.encode()))
                size = len(wrong.encode())
            self._wait(self._chance.uniform(0.2, 1.1))
            self._edit(file, at, at + size, chunk)
            at, size = at + len(chunk.encode()), 0
            if chunk.strip():
                self._request(file, at)
            if n > 3 and self._chance.random() < UNDO:
                self._undo(file, at)

    def _undo(self, file: _File, at: int) -> None:
        """Take some words back, and do them again."""
        count = self._chance.randint(1, min(8, len(self._done)))
        undone = self._done[-count:]
        for _, start, removed, put in reversed(undone):
            self._edit(file, start, start + len(put), removed.decode(), note=False)
        self._wait(self._chance.uniform(0.5, 3))
        self._request(file, undone[0][1] + len(undone[0][2]))
        for _, start, removed, put in undone:
            self._edit(file, start, start + len(removed), put.decode(), note=False)
        self._wait(self._chance.uniform(0.5, 2))
        self._request(file, at)

    def _change_a_name(self) -> None:
        """A name that several files use gets another one, everywhere at once."""
        counts: dict[bytes, int] = {}
        for file in self._files.values():
            for name in set(_NAME.findall(file.text)):
                counts[name] = counts.get(name, 0) + 1
        names = sorted(name for name, count in counts.items() if 3 <= count <= 12 and b"_" in name)
        if not names:
            return
        name = self._chance.choice(names)
        for file in self._files.values():
            if re.search(rb"\b%s\b" % name, file.text):
                self._whole(file, re.sub(rb"\b%s\b" % name, name + b"_of", file.text))

    def _switch_branch(self) -> None:
        """Everything goes back to the older version, is looked at, and comes again."""
        changed = {
            f.path: f.text for f in self._files.values() if f.exists and f.text != self._old.get(f.path, b"")
        }
        for path in changed:
            self._whole(self._files[path], self._old.get(path, b""))
        opened = [f for f in self._files.values() if f.opened and f.text]
        if opened:
            self._wait(5)
            file = self._chance.choice(opened)
            at = file.text.find(b"\n") + 1
            for word in ("# ", "to ", "be ", "seen\n"):
                self._edit(file, at, at, word)
                at += len(word)
                self._request(file, at)
            self._edit(file, at - 13, at, "")
        self._wait(30)
        for path, text in changed.items():
            self._whole(self._files[path], text)

    def _move_a_file(self) -> None:
        """A file that nobody works on gets another name; nothing is left under the old one."""
        still = [f for f in self._files.values() if f.exists and not f.opened and not f.hunks and f.text]
        if not still:
            return
        file = self._chance.choice(still)
        stem, _, suffix = file.path.rpartition(".")
        moved = _File(f"{stem}_moved.{suffix}", b"", [], exists=False)
        self._files[moved.path] = moved
        text = file.text
        self._whole(moved, text)
        self._whole(file, b"")

    def _pull(self) -> None:
        """Others' work arrives: some files are in the newer version at once."""
        for file in self._queue[: max(1, len(self._queue) // 4)][:12]:
            hunks, file.hunks = file.hunks, []
            self._land(file, hunks)

    def _whole(self, file: _File, text: bytes) -> None:
        """A file's text is replaced from outside: on the disk, and in the editor if it is open there."""
        if file.text == text:
            return
        was = file.opened
        self._open(file)
        self._edit(file, 0, len(file.text), text.decode(), note=False)
        self._emit("save", file)
        if not was:
            self._emit("close", file)
            file.opened = False

    def _open(self, file: _File) -> None:
        if file.opened:
            return
        more = {} if file.exists else {"text": ""}
        file.opened = file.exists = True
        self._emit("open", file, **more)

    def _edit(self, file: _File, start: int, end: int, text: str, *, note: bool = True) -> None:
        if note:
            self._done.append((file, start, file.text[start:end], text.encode()))
        file.text = file.text[:start] + text.encode() + file.text[end:]
        self._emit("edit", file, start=start, end=end, text=text)

    def _request(self, file: _File, offset: int) -> None:
        self._requests += 1
        self._emit("request", file, offset=offset)

    def _emit(self, op: str, file: _File, **more: Any) -> None:
        self._events.append({"op": op, "path": file.path, **more, "t": round(self._now, 3)})

    def _wait(self, seconds: float) -> None:
        self._now += seconds


def _hunks(old: bytes, new: bytes) -> list[_Hunk]:
    if old == new:
        return []
    # Lines as `bytes.splitlines` has them: at line feeds alone.
    before, after = ([line.decode() for line in data.splitlines(keepends=True)] for data in (old, new))
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return [_Hunk(i1, i2, tuple(after[j1:j2])) for tag, i1, i2, j1, j2 in codes if tag != "equal"]


def _changes(matcher: difflib.SequenceMatcher[str]) -> list[tuple[int, int, int, int]]:
    """What differs; changes with a word or three between them are made as one."""
    found: list[tuple[int, int, int, int]] = []
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag == "equal":
            continue
        if found and i1 - found[-1][1] <= MOST_BETWEEN:
            found[-1] = (found[-1][0], i2, found[-1][2], j2)
        else:
            found.append((i1, i2, j1, j2))
    return found


def _utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return not data.startswith(b"\xef\xbb\xbf")


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for group in (corpora.TUNED_ON, corpora.REPORTED):
        for pair in group:
            made = session(pair)
            name = pair.package.replace("/", "+")
            with (folder / f"{name}.jsonl").open("wb") as file:
                file.writelines(made.lines())
            print(
                name, f"{made.requests} requests, {len(made.events)} events", f"--root {made.root}", sep="\t"
            )


if __name__ == "__main__":
    main()
