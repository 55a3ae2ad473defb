"""What function bodies need from other files, as independent tools resolve it: jedi, the TypeScript compiler.

Neither knows anything of our index, so our resolver cannot flatter itself. For Go, where no such tool can be
had from a package registry, the language's own rule does: `package.Name`, with the package's import path
and one exported definition of that name in its folder; and what other files of the package define, where
the body calls it or makes one, and nothing in the function has that name (`_go`).
A truth is worked out once for a release and kept in the bench's cache, for it never changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
import posixpath
import random
import re
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.bench import recall_native
from tests.bench.edits import cache

TYPESCRIPT = "typescript@5.9.3"
JEDI = "jedi==0.19.2"
LEAST_BODY_LINES = 3
VERSION = 5
"""Of the rules below: a truth made by other rules is not used."""
GO_VERSION = 6
_T = TypeVar("_T")


@dataclass(frozen=True)
class Need:
    """A definition in another file: the 0-based line where its name stands, and the name."""

    path: str
    line: int
    name: str


@dataclass(frozen=True)
class Held:
    """A function whose body is held out: bytes `start` to `end` of `path`."""

    path: str
    name: str
    start: int
    end: int
    needs: tuple[Need, ...]


def places(
    key: str,
    language: str,
    root: Path,
    files: Mapping[str, bytes],
    most: int,
    tries: int = 6,
    among: Collection[str] = (),
) -> list[Held]:
    """At most `most` functions, drawn by chance from those that need something of other files.

    `root` holds the files on disk. Looks at no more than `tries` functions for each that is wanted, and only
    in the files `among`, if any are named.
    """
    among = frozenset(among) or frozenset(files)
    version = {"go": GO_VERSION, **recall_native.VERSIONS}.get(language, VERSION)
    key = f"{key} {language}" if language in recall_native.FINDERS else key
    text = f"{version} {key} {most} {tries} {sorted(among) if len(among) < len(files) else ''}"
    kept = cache() / "truth" / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
    if kept.exists():
        rows = json.loads(kept.read_text())
    else:
        find = {"python": _python, "go": _go, **recall_native.FINDERS}.get(language, _typescript)
        rows = list(find(root, files, random.Random(key), most, tries, among))
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows))
    return [Held(*row[:4], tuple(Need(*need) for need in row[4])) for row in rows]


def _few_tests(rows: Sequence[_T], path: Callable[[_T], str], most: int) -> list[_T]:
    """The first `most`, of which at most a quarter stand in tests, spread evenly."""
    tests = [row for row in rows if "test" in path(row)]
    others = [row for row in rows if "test" not in path(row)]
    mixed: list[_T] = []
    while len(mixed) < most and (others or tests):
        mixed.append(tests.pop(0) if tests and (len(mixed) % 4 == 3 or not others) else others.pop(0))
    return mixed


Row = tuple[str, str, int, int, list[tuple[str, int, str]]]


def _python(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    ensure_jedi()
    import jedi  # noqa: PLC0415

    project = jedi.Project(root, smart_sys_path=False, sys_path=[str(root), str(root / "src")])
    functions = [(p, n) for p in sorted(among) if p.endswith(".py") for n in _functions(files[p])]
    chance.shuffle(functions)
    functions = _few_tests(functions, lambda row: row[0], most * tries)
    found = 0
    for path, node in functions:
        data = files[path]
        script = jedi.Script(code=data.decode(), path=root / path, project=project)
        needs = sorted(_needs(script, node, root, path, files))
        if needs:
            starts = _line_starts(data)
            first, last = node.body[0], node.body[-1]
            start = starts[first.lineno - 1] + first.col_offset
            end = starts[last.end_lineno - 1] + last.end_col_offset
            yield path, node.name, start, end, needs
            found += 1
        if found == most:
            return


def _functions(data: bytes) -> Iterator[Any]:
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first, last = node.body[0].lineno, node.body[-1].end_lineno or 0
            if first > node.lineno and last - first + 1 >= LEAST_BODY_LINES:
                yield node


def _line_starts(data: bytes) -> list[int]:
    starts = [0]
    for line in data.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts


def _needs(script: Any, node: Any, root: Path, own: str, files: Mapping[str, bytes]) -> set[Any]:
    asked: dict[str, tuple[int, int]] = {}
    for sub in (x for statement in node.body for x in ast.walk(statement)):
        if isinstance(sub, ast.Name):
            asked.setdefault(sub.id, (sub.lineno, sub.col_offset))
        elif isinstance(sub, ast.Attribute):
            asked.setdefault(
                ast.unparse(sub), (sub.end_lineno or 0, (sub.end_col_offset or 0) - len(sub.attr))
            )
    found: set[Any] = set()
    for line, column in asked.values():
        try:
            names = script.goto(line, column, follow_imports=True)
        except Exception:
            continue
        if len(names) == 1 and names[0].line and names[0].module_path:
            name = names[0]
            try:
                path = Path(name.module_path).relative_to(root).as_posix()
            except ValueError:
                continue
            counts = name.type in ("function", "class", "property")
            top = name.type == "statement" and name.parent() and name.parent().type == "module"
            if path != own and path in files and (counts or top):
                found.add((path, name.line - 1, name.name))
    return found


def _typescript(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    home = typescript()
    script = Path(__file__).with_name("recall_truth.cjs")
    ends = (".ts", ".tsx", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts")
    paths = [p for p in sorted(files) if p.endswith(ends)]
    asked = json.dumps({"root": str(root), "paths": paths, "least": LEAST_BODY_LINES})
    done = subprocess.run(
        ["node", "--max-old-space-size=4096", str(script), str(home / "node_modules/typescript")],
        input=asked.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    rows = [row for row in map(json.loads, done.stdout.splitlines()) if row[0] in among]
    chance.shuffle(rows)
    yield from _few_tests(rows, lambda row: row[0], most)


_GO_IMPORT = re.compile(r'^\s*(?:import\s+)?(?:([\w.]+)\s+)?"([^"]+)"', re.MULTILINE)
_GO_TOP = re.compile(r"^(?:func|type|var|const)\s+(\w+)", re.MULTILINE)
_GO_LOCAL = re.compile(r"(?:\bvar\s+|\bfunc\s+|[(,]\s*)(\w+)|(\w+(?:\s*,\s*\w+)*)\s*:=")
_GO_FUNC = re.compile(r"^func\s+(?:\([^)]*\)\s*)?(\w+)[^\n]*\{\n(.*?)^\}", re.MULTILINE | re.DOTALL)


def _go(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    modules = {
        posixpath.dirname(p): m[1]
        for p, data in files.items()
        if posixpath.basename(p) == "go.mod" and (m := re.search(r"^module\s+(\S+)", data.decode(), re.M))
    }
    defined: dict[tuple[str, str], list[tuple[str, int]]] = {}
    texts = {p: data.decode("utf-8", "replace") for p, data in files.items() if p.endswith(".go")}
    for path, text in texts.items():
        if not path.endswith("_test.go"):
            for m in _GO_TOP.finditer(text):
                where = (path, text.count("\n", 0, m.start(1)))
                defined.setdefault((posixpath.dirname(path), m[1]), []).append(where)
    rows: list[Row] = []
    for path, text in sorted(texts.items()):
        folders: dict[str, str] = {}
        for m in _GO_IMPORT.finditer(text.partition("\nfunc ")[0]):
            for home, module in modules.items():
                if m[2] == module or m[2].startswith(module + "/"):
                    folder = posixpath.join(home, m[2][len(module) + 1 :]).rstrip("/")
                    folders[m[1] or posixpath.basename(m[2])] = folder
        for m in _GO_FUNC.finditer(text):
            if m[2].count("\n") < LEAST_BODY_LINES:
                continue
            needs: set[tuple[str, int, str]] = set()
            for head, name in set(re.findall(r"(?<![\w.\"])(\w+)\.([A-Z]\w*)", m[2])):
                at = defined.get((folders.get(head, "?"), name), [])
                needs |= {(*at[0], name)} if len(at) == 1 else set()
            declared = {name for found in _GO_LOCAL.findall(m[0]) for name in re.findall(r"\w+", found[1])}
            declared |= {name for name, _ in _GO_LOCAL.findall(m[0].partition("{\n")[0])}
            for name in set(re.findall(r"(?<![\w.\"])(\w+)(?=[({])", m[2])) - declared:
                at = defined.get((posixpath.dirname(path), name), [])
                needs |= {(*at[0], name)} if len(at) == 1 and at[0][0] != path else set()
            if needs:
                start = len(text[: m.start(2)].encode())
                rows.append((path, m[1], start, start + len(m[2].encode()), sorted(needs)))
    rows = [row for row in rows if row[0] in among]
    chance.shuffle(rows)
    yield from _few_tests(rows, lambda row: row[0], most)


def typescript() -> Path:
    """The folder that holds the TypeScript compiler, fetched where it is missing."""
    home = cache() / "node"
    if not (home / "node_modules/typescript/package.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text("{}")
        subprocess.run(["npm", "install", "--silent", "--prefix", str(home), TYPESCRIPT], check=True)
    return home


def ensure_jedi() -> None:
    """Install what the truth of Python needs, where it is missing."""
    try:
        import jedi  # noqa: F401, PLC0415
    except ImportError:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", JEDI], check=True)
