"""What the code at a cursor needs of other files, as jedi and the TypeScript compiler resolve it.

Neither knows anything of our index. They are asked about the text as it will be when the next words have been
typed, in a copy of the files as they are at that moment.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.bench.recall_truth import ensure_jedi, typescript
from tests.bench.replay_recall import NEAR_LINES, Need

_NAME = re.compile(r"[^\W\d]\w{2,}")
_SCRIPTS = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
_BEFORE = re.compile(r"^(?:export |default |declare |public |private |protected |async |static |abstract )+")
Event = Mapping[str, Any]


def later(text: bytes, offset: int, events: Sequence[Event]) -> tuple[bytes, int, int]:
    """The text after these edits, and the bytes of it from `offset` on that they have reached."""
    start = end = offset
    for event in events:
        new = str(event["text"]).encode()
        text = text[: event["start"]] + new + text[event["end"] :]
        grown = len(new) - (event["end"] - event["start"])
        near = start - 2000 <= event["start"] <= end + 2000
        if event["start"] < start:
            start, end = max(0, start + grown), end + grown
        if near:
            start, end = min(start, event["start"]), max(end, event["start"] + len(new))
    return text, min(start, len(text)), min(max(start, end), len(text))


def tools() -> Path:
    """The folder of the TypeScript compiler; it and jedi are fetched where they are missing."""
    ensure_jedi()
    return typescript() / "node_modules/typescript"


class Truth:
    """The tools, over a copy of a session's files in `folder`. Leave it when the session is over.

    Without the folder that holds the compiler nothing is said of scripts.
    """

    def __init__(self, folder: Path, compiler: Path | None = None) -> None:
        self._folder, self._compiler = folder, compiler
        self._written: dict[str, bytes] = {}
        self._node: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Truth:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._node is not None and self._node.stdin is not None:
            self._node.stdin.close()
            self._node.wait()

    def resolves(self, path: str) -> bool:
        """Whether there is a tool for the language of a file."""
        return path.endswith(".py") or (path.endswith(_SCRIPTS) and self._compiler is not None)

    def needs(self, files: Mapping[str, bytes], path: str, text: bytes, start: int, end: int) -> list[Need]:
        """What `path`, once it is `text`, needs of the other files around its bytes `start` to `end`."""
        changed = {p: data for p, data in {**files, path: text}.items() if self._written.get(p) != data}
        gone = [p for p in self._written if p not in files and p != path]
        for name, data in changed.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(data)
        for name in gone:
            (self._folder / name).unlink()
            del self._written[name]
        self._written |= changed
        first = max(0, text.count(b"\n", 0, start) - NEAR_LINES)
        last = text.count(b"\n", 0, end) + NEAR_LINES
        find = self._python if path.endswith(".py") else self._script
        found = find(path, text.decode(), first, last, sorted({*changed, *gone}))
        return sorted(
            (Need(p, name, line) for p, at, name in found if (line := self._line(p, at))),
            key=lambda n: (n.path, n.name, n.line),
        )

    def _line(self, path: str, at: int) -> str:
        """The first line of a definition, without what an outline may leave out."""
        lines = self._written[path].decode().split("\n")
        return _BEFORE.sub("", lines[at].strip()).rstrip(" :;,{}(=<|&") if at < len(lines) else ""

    def _python(
        self, path: str, text: str, first: int, last: int, changed: Sequence[str]
    ) -> set[tuple[str, int, str]]:
        import jedi  # noqa: PLC0415

        roots = [str(self._folder), str(self._folder / "src")]
        project = jedi.Project(self._folder, smart_sys_path=False, sys_path=roots)
        script = jedi.Script(code=text, path=self._folder / path, project=project)
        asked: dict[str, tuple[int, int]] = {}
        for number, line in enumerate(text.split("\n")[first : last + 1], first + 1):
            for match in _NAME.finditer(line):
                asked.setdefault(line[: match.end()].split()[-1], (number, match.start()))
        found: set[tuple[str, int, str]] = set()
        for number, column in asked.values():
            try:
                names = script.goto(number, column, follow_imports=True)
            except Exception:  # what jedi cannot do is no truth
                continue
            if len(names) != 1 or not names[0].line or names[0].type not in ("function", "class", "property"):
                continue
            where = Path(names[0].module_path or "")
            if where.is_relative_to(self._folder):
                inside = where.relative_to(self._folder).as_posix()
                if inside != path and inside in self._written:
                    found.add((inside, names[0].line - 1, names[0].name))
        return found

    def _script(
        self, path: str, text: str, first: int, last: int, changed: Sequence[str]
    ) -> set[tuple[str, int, str]]:
        if self._node is None:
            program = Path(__file__).with_name("replay_truth.cjs")
            self._node = subprocess.Popen(
                ["node", str(program), str(self._compiler), str(self._folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._node.stdin is not None and self._node.stdout is not None
        paths = [p for p in self._written if p.endswith(_SCRIPTS)]
        asked = {"paths": paths, "changed": list(changed), "path": path, "first": first, "last": last}
        self._node.stdin.write(json.dumps(asked).encode() + b"\n")
        self._node.stdin.flush()
        return {tuple(row) for row in json.loads(self._node.stdout.readline())}
