"""Where definitions are used, as independent tools say: jedi and pyright for Python, the TypeScript
compiler for scripts.

Neither knows anything of our index. A method's uses are those of all that it overrides and is overridden by,
for that is what a rename must change; the compiler says so itself, Python's classes are read with `ast`.
A truth is worked out once for a release and kept in the bench's cache.
"""

from __future__ import annotations

import ast
import hashlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.closure_pyright import Pyright
from tests.bench.edits import cache

TYPESCRIPT = "typescript@5.9.3"
JEDI = "jedi==0.20.1"
VERSION = 4
"""Of the rules below: a truth made by other rules is not used."""
Place = tuple[str, int]
"""A path and a 0-based line."""


@dataclass(frozen=True)
class Used:
    """A definition, `name` as a task would call it (`Class.method`), and every line that speaks of it."""

    path: str
    name: str
    kind: str
    line: int
    uses: frozenset[Place]
    """Its own line is among them, and those of its overrides."""


def truth(key: str, language: str, root: Path, files: Mapping[str, bytes], most: int) -> list[Used]:
    """At most `most` functions, methods and classes, drawn by chance; `root` holds the files on disk."""
    tool = JEDI if language == "python" else TYPESCRIPT
    text = f"{VERSION if language != 'python' else 5} {key} {language} {most} {tool}"
    kept = cache() / f"closure-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.json"
    if not kept.exists():
        made = _python(root, files, most) if language == "python" else _typescript(root, files, most)
        kept.write_text(json.dumps(list(made)))
    return [
        Used(path, name, kind, line, frozenset((p, n) for p, n in uses))
        for path, name, kind, line, uses in json.loads(kept.read_text())
    ]


def _python(root: Path, files: Mapping[str, bytes], most: int) -> Iterator[list[Any]]:
    paths = sorted(p for p in files if p.endswith(".py"))
    found: list[tuple[str, str, str, int, int]] = []
    classes: dict[str, list[tuple[str, list[str], dict[str, tuple[int, int]]]]] = {}
    for path in paths:
        try:
            tree = ast.parse(files[path])
        except (SyntaxError, ValueError):
            continue
        lines = files[path].decode("utf-8", "replace").split("\n")
        found += [(path, *item) for item in _definitions(tree, lines)]
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                methods = {
                    n.name: _name_at(n, lines)
                    for n in node.body
                    if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
                }
                bases = [ast.unparse(b).rpartition(".")[2].partition("[")[0] for b in node.bases]
                classes.setdefault(node.name, []).append((path, bases, methods))
    chosen = _drawn([f for f in found if not f[1].rpartition(".")[2].startswith("__")], most)
    asked: list[dict[str, Any]] = []
    for path, name, kind, line, column in chosen:
        places = [(path, line, column)]
        if kind == "method":
            owner, _, method = name.rpartition(".")
            places += _overrides(classes, owner, method)
        asked.append({"places": sorted(set(places))})
    environment = _environment()
    script = Path(__file__).with_name("closure_jedi.py")
    done = subprocess.run(
        [environment, str(script)],
        input=json.dumps({"root": str(root), "asked": asked, "paths": paths}),
        capture_output=True,
        text=True,
        check=True,
    )
    second = Pyright(root)
    for (path, name, kind, line, _), one, answer in zip(chosen, asked, done.stdout.splitlines(), strict=True):
        places = {tuple(u) for u in json.loads(answer)} | second.uses(one["places"])
        uses = sorted(u for u in places if u[0] in files)
        if len(uses) > 1:
            yield [path, name, kind, line, uses]
    second.close()


def _environment() -> str:
    """A Python that has jedi: this one, or one of the bench's own."""
    if (
        subprocess.run([sys.executable, "-c", "import jedi"], capture_output=True, check=False).returncode
        == 0
    ):
        return sys.executable
    folder = cache() / "jedi"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", JEDI], check=True)
    return str(python)


def _drawn(found: list[Any], most: int) -> list[Any]:
    return sorted(random.Random(7).sample(found, min(most, len(found))))


def _name_at(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, lines: list[str]
) -> tuple[int, int]:
    word = "class " if isinstance(node, ast.ClassDef) else "def "
    line = node.lineno - 1
    return line, lines[line].find(word, node.col_offset) + len(word)


def _definitions(tree: ast.Module, lines: list[str]) -> Iterator[tuple[str, str, int, int]]:
    def walk(body: list[ast.stmt], prefix: str, inside: str) -> Iterator[tuple[str, str, int, int]]:
        for node in body:
            if isinstance(node, ast.ClassDef):
                yield f"{prefix}{node.name}", "class", *_name_at(node, lines)
                yield from walk(node.body, f"{prefix}{node.name}.", "class")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                kind = "method" if inside == "class" else "function"
                yield f"{prefix}{node.name}", kind, *_name_at(node, lines)

    yield from walk(tree.body, "", "")


def _overrides(
    classes: Mapping[str, list[tuple[str, list[str], dict[str, tuple[int, int]]]]], owner: str, method: str
) -> list[tuple[str, int, int]]:
    """The same method in the classes above and below, by the names of their bases."""
    related = {owner.rpartition(".")[2]}
    while True:
        up = {b for name in related for _, bases, _ in classes.get(name, ()) for b in bases if b in classes}
        down = {n for n, found in classes.items() for _, bases, _ in found if related & set(bases)}
        more = {n for n in up | down if n not in related}
        # only through classes that have the method or lead to one: a common base alone joins nothing
        if not more:
            break
        related |= more
    holders = {n for n in related if any(method in m for _, _, m in classes.get(n, ()))}
    linked = _linked(classes, owner.rpartition(".")[2], holders)
    return [
        (path, *methods[method])
        for n in sorted(linked)
        for path, _, methods in classes[n]
        if method in methods
    ]


def _linked(classes: Mapping[str, Any], owner: str, holders: set[str]) -> set[str]:
    """The holders of a method that `owner` is tied to, each above or below the one before it."""

    def above(name: str, seen: set[str]) -> set[str]:
        for _, bases, _ in classes.get(name, ()):
            for base in bases:
                if base in classes and base not in seen:
                    seen.add(base)
                    above(base, seen)
        return seen

    over = {name: above(name, set()) for name in holders}
    found, pending = {owner}, [owner]
    while pending:
        name = pending.pop()
        near = {h for h in holders if h in over.get(name, set()) or name in over.get(h, set())}
        pending += sorted(near - found)
        found |= near
    return found & holders


def _typescript(root: Path, files: Mapping[str, bytes], most: int) -> Iterator[list[Any]]:
    folder = cache() / "typescript"
    if not (folder / "node_modules/typescript").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", TYPESCRIPT]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    paths = sorted(p for p in files if p.endswith((".ts", ".tsx", ".js", ".jsx", ".mts", ".mjs", ".cjs")))
    done = subprocess.run(
        ["node", str(Path(__file__).with_name("closure_truth.cjs")), str(folder / "node_modules/typescript")],
        input=json.dumps({"root": str(root), "paths": paths, "most": most}),
        capture_output=True,
        text=True,
        check=True,
    )
    for line in done.stdout.splitlines():
        path, name, kind, at, uses = json.loads(line)
        if len(uses) > 1:
            yield [path, name, kind, at, uses]
