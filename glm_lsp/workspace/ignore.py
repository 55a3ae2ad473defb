"""What git would ignore, decided without git, one path at a time, and which line of which file decides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from glm_lsp.workspace.files import Unreadable, read_bytes
from glm_lsp.workspace.patterns import MAX_RULES_BYTES, made, safe_of
from glm_lsp.workspace.rules import Rules

_NEVER = """
.git .hg .svn .jj .bzr __pycache__ node_modules .venv .tox .nox .mypy_cache .ruff_cache .pytest_cache
.hypothesis .eggs .terraform .gradle .idea .cache
"""
NEVER_DIRECTORIES = frozenset(_NEVER.split())
"""Never entered, whatever the patterns say; what git tracks in them is listed all the same."""
NEVER_ENTERED = "is never entered"


class Ignore:
    """The patterns of one root: the user's own excludes, and every `.gitignore` on the way to a path.

    Files are read when first needed and kept; `fresh` forgets them.
    """

    def __init__(self, root: Path, excludes: Sequence[str] = (), include: Sequence[str] = ()) -> None:
        """`include`: patterns of files that no rule but git's leaves out."""
        self._root = root
        self._excludes = _Patterns([(line, f"index.exclude: {line}") for line in excludes])
        self._specs: dict[str, _Patterns | None] = {}
        self._chains: dict[str, tuple[tuple[int, _Patterns], ...]] = {}
        self.rules = Rules(root, include)
        """What is left out although git keeps it."""

    def fresh(self) -> None:
        """The files may have changed."""
        self._specs.clear()
        self._chains.clear()
        self.rules.fresh()

    def silent(self, directory: str) -> None:
        """There is no file of patterns in this directory, as who has listed it knows."""
        self._specs.setdefault(directory, None)

    def speaks(self, directory: str) -> bool:
        """Whether any pattern may leave out something that lies right in this directory."""
        return bool(self._excludes) or bool(self._chain(directory))

    def excluded(self, path: str) -> bool:
        """Whether the setting `index.exclude` leaves this file out."""
        return self._excludes.said(path)[0] is True

    def why(self, path: str) -> str:
        """Which line leaves a file out, itself or with a directory that it is in; empty where none does."""
        parts = path.split("/")
        for n in range(1, len(parts) + 1):
            here = "/".join(parts[:n]) + ("/" if n < len(parts) else "")
            for said, where in (self._excludes.said(here), self._decided(here)):
                if said:
                    return where
            if n < len(parts) and parts[n - 1] in NEVER_DIRECTORIES:
                return f"{parts[n - 1]}/ {NEVER_ENTERED}"
        return ""

    def ignored(self, path: str) -> bool:
        """Whether a file is left out, itself or with a directory that it is in."""
        parts = path.split("/")
        if self.excluded(path) or not NEVER_DIRECTORIES.isdisjoint(parts[:-1]):
            return True
        return any(self._matched("/".join(parts[:n]) + "/") for n in range(1, len(parts))) or self._matched(
            path
        )

    def prunes(self, directory: str) -> bool:
        """Whether a directory is left out, given that its parents are not."""
        name = directory.rpartition("/")[2]
        return name in NEVER_DIRECTORIES or self.excluded(directory + "/") or self._matched(directory + "/")

    def matches(self, path: str) -> bool:
        """Whether a file is left out, given that its parents are not."""
        return self.excluded(path) or self._matched(path)

    def _matched(self, path: str) -> bool:
        return bool(self._decided(path)[0])

    def _decided(self, path: str) -> tuple[bool | None, str]:
        """The last word of the patterns nearest to the path, and where it stands; directories end with a
        slash."""
        for start, patterns in self._chain(path.rstrip("/").rpartition("/")[0]):
            said, where = patterns.said(path[start:])
            if said is not None:
                return said, where
        return None, ""

    def _chain(self, directory: str) -> tuple[tuple[int, _Patterns], ...]:
        """The patterns that hold in a directory, the nearest first, and where the paths for them begin."""
        found = self._chains.get(directory)
        if found is None:
            above = self._chain(directory.rpartition("/")[0]) if directory else ()
            here = self._patterns(directory)
            start = len(directory) + 1 if directory else 0
            found = self._chains[directory] = ((start, here), *above) if here is not None else above
        return found

    def _patterns(self, directory: str) -> _Patterns | None:
        if directory not in self._specs:
            names = [f"{directory}/.gitignore"] if directory else [".git/info/exclude", ".gitignore"]
            lines: list[tuple[str, str]] = []
            for name in names:
                try:
                    data = read_bytes(self._root, name, MAX_RULES_BYTES).data
                except Unreadable:
                    continue
                found = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").splitlines()
                lines += ((line, f"{name} line {n}: {line.strip()}") for n, line in enumerate(found, 1))
            self._specs[directory] = _Patterns(lines) if lines else None
        return self._specs[directory]


class _Patterns:
    """Lines of patterns, each with where it stands."""

    def __init__(self, lines: Sequence[tuple[str, str]]) -> None:
        kept = [(safe, where) for line, where in lines for safe in safe_of([line])]
        self._where = [where for _, where in kept]
        self._spec = made([safe for safe, _ in kept]) if kept else None

    def __bool__(self) -> bool:
        return bool(self._where)

    def said(self, path: str) -> tuple[bool | None, str]:
        """What the last line that fits a path says, and where it stands."""
        if self._spec is None:
            return None, ""
        found = self._spec.check_file(path)
        return found.include, self._where[found.index] if found.index is not None else ""
