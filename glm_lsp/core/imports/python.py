"""Python: dotted names by source roots and packages, relative imports by level."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Collection, Iterable

SOURCE_ROOTS = ("src", "lib", "python")
SUFFIXES = (".py", ".pyi")


class PythonModules:
    """The modules among some paths. Pure."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = paths
        self._named = _modules(paths)

    def module(self, dotted: str, path: str, level: int, imports_back: Callable[[str], bool]) -> str:
        """The file that `import dotted` in `path` means; empty where it is not among the paths.

        `imports_back` says of a file whether it imports `path`: of several it is the last choice.
        """
        folder: str = posixpath.dirname(path)
        if level:
            for _ in range(level - 1):
                if not folder:
                    return ""
                folder = str(posixpath.dirname(folder))
            return self._at(folder, dotted)
        found = self._named.get(dotted, ())
        if len(found) > 1:
            return max(found, key=lambda p: (shared(p, path), not imports_back(p), [-ord(c) for c in p]))
        return found[0] if found else (self._at(folder, dotted) if folder and dotted else "")

    def _at(self, folder: str, dotted: str) -> str:
        base = posixpath.join(folder, *dotted.split(".")) if dotted else folder
        tries = [base + s for s in SUFFIXES] if dotted else []
        tries += [posixpath.join(base, "__init__" + s) for s in SUFFIXES]
        return next((t for t in tries if t in self._paths), "")


def shared(left: str, right: str) -> int:
    """How many leading folders two paths have in common."""
    count = 0
    for a, b in zip(left.split("/")[:-1], right.split("/")[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count


def _modules(paths: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Every dotted name by which a file can be imported: from the root, a source root, its package."""
    found: dict[str, list[str]] = {}
    known = {p for p in paths if p.endswith(SUFFIXES)}
    packages = {posixpath.dirname(p) for p in known if posixpath.basename(p).split(".")[0] == "__init__"}
    for path in known:
        parts = path.rsplit(".", 1)[0].split("/")
        starts = {0}
        if parts[0] in SOURCE_ROOTS:
            starts.add(1)
        depth = len(parts) - 1
        while depth and "/".join(parts[:depth]) in packages:
            depth -= 1
        starts.add(depth)
        names = parts[:-1] if parts[-1] == "__init__" else parts
        for start in sorted(starts):
            if names[start:]:
                found.setdefault(".".join(names[start:]), []).append(path)
    return {name: tuple(sorted(set(paths))) for name, paths in found.items()}
