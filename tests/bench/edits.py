"""Real edits: what changed between two released versions of a package, as answers that repeat what stays.

The packages' wheels are fetched by pip into the user's cache directory when a bench runs; nothing of them is
kept here. All are under MIT or BSD licences.
"""

from __future__ import annotations

import ast
import difflib
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RELEASES = (
    ("flask", "3.0.3", "3.1.1"),
    ("click", "8.1.7", "8.2.1"),
    ("httpx", "0.27.0", "0.28.1"),
    ("rich", "13.7.1", "14.0.0"),
    ("jinja2", "3.1.2", "3.1.6"),
    ("attrs", "23.2.0", "25.3.0"),
)
"""What is reported."""
TUNED_ON = (
    ("pluggy", "1.3.0", "1.6.0"),
    ("starlette", "0.37.2", "0.46.2"),
    ("tomlkit", "0.12.3", "0.13.2"),
    ("pytest", "8.1.1", "8.4.0"),
)
"""What the policy's first estimates were set by; not among those reported."""


@dataclass(frozen=True)
class Edit:
    """A change as it would be asked and answered. `form` is how the answer is written."""

    package: str
    path: str
    name: str
    form: str
    before: str
    """The old file: the prompt."""
    answer: str
    source: str
    """What is asked to be rewritten, which the request says: the old function, or the old file."""


def cache() -> Path:
    given = os.environ.get("GLM_LSP_CACHE", "")
    return (Path(given) if given else Path.home() / ".cache" / "glm-lsp") / "bench"


def fetch(package: str, release: str) -> dict[str, str]:
    """The Python files of a release, by path."""
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(f"{package}-{release}-")]
    if not found:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
        subprocess.run([*command, "-d", str(folder), f"{package}=={release}"], check=True)
        found = [p for p in folder.glob("*.whl") if p.name.lower().startswith(f"{package}-{release}-")]
    with zipfile.ZipFile(found[0]) as wheel:
        return {n: wheel.read(n).decode() for n in wheel.namelist() if n.endswith(".py")}


def symbols(source: str) -> dict[str, str]:
    """Functions, methods and classes without methods, by qualified name, with their text."""
    lines = source.splitlines(keepends=True)
    found: dict[str, str] = {}

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found[prefix + node.name] = "".join(lines[start - 1 : node.end_lineno])

    walk(ast.parse(source).body, "")
    return found


def search_replace(old: str, new: str) -> str:
    """The change as search and replace blocks with three lines around each."""
    a, b = old.splitlines(keepends=True), new.splitlines(keepends=True)
    parts: list[str] = []
    for group in difflib.SequenceMatcher(None, a, b, autojunk=False).get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        parts += ["<<<<<<< SEARCH\n", *a[first[1] : last[2]], "=======\n", *b[first[3] : last[4]]]
        parts += [">>>>>>> REPLACE\n"]
    return "".join(parts)


def edits(releases: tuple[tuple[str, str, str], ...] = RELEASES) -> Iterator[Edit]:
    for package, old_release, new_release in releases:
        old_files, new_files = fetch(package, old_release), fetch(package, new_release)
        for path in sorted(old_files.keys() & new_files.keys()):
            old, new = old_files[path], new_files[path]
            if old == new:
                continue
            yield Edit(package, path, "", "whole file", old, new, old)
            yield Edit(package, path, "", "search/replace", old, search_replace(old, new), old)
            before, after = symbols(old), symbols(new)
            for name in before.keys() & after.keys():
                if before[name] != after[name]:
                    yield Edit(package, path, name, "whole symbol", old, after[name], before[name])
