"""Java packages, Rust modules and C headers: names that the folders of a repository spell out."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable

from glm_lsp.core.imports.python import shared

NAMESPACED = (".cc", ".cpp", ".cxx", ".hpp", ".hh", ".hxx", ".h", ".inl", ".cu", ".cuh")
"""Ends of files that may have namespaces of C++."""
INCLUDING = (*NAMESPACED, ".c")


class JavaModules:
    """Packages by the folders that end like them, classes by their files."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._files: dict[str, list[str]] = {}
        self._ends: dict[str, list[str]] = {}
        for path in sorted(p for p in paths if p.endswith(".java")):
            self._files.setdefault(posixpath.dirname(path), []).append(path)
        for folder in self._files:
            self._ends.setdefault(posixpath.basename(folder), []).append(folder)

    def module(self, dotted: str, path: str) -> str:
        """The folder of a package, with a slash, or the file of a class; empty where it is neither."""
        if folder := self._folder(dotted, path):
            return f"{folder}/"
        package, _, name = dotted.rpartition(".")
        folder = self._folder(package, path)
        file = posixpath.join(folder, f"{name}.java")
        return file if file in self._files.get(folder, ()) else ""

    def files(self, package: str) -> tuple[str, ...]:
        """The files of a package."""
        return tuple(self._files.get(package.rstrip("/"), ()))

    def beside(self, path: str) -> tuple[str, ...]:
        """The other files of a file's package."""
        return tuple(p for p in self._files.get(posixpath.dirname(path), ()) if p != path)

    def _folder(self, dotted: str, path: str) -> str:
        tail = dotted.replace(".", "/")
        found = [
            f for f in self._ends.get(posixpath.basename(tail), ()) if f == tail or f.endswith(f"/{tail}")
        ]
        return max(found, key=lambda f: (shared(f"{f}/", path), f), default="")


class RustModules:
    """Modules by files below a crate's `src`; other crates of the repository by their folders."""

    def __init__(self, paths: Collection[str]) -> None:
        self._paths = paths
        self._crates: dict[str, str] = {}
        for path in paths:
            folder, name = posixpath.split(path)
            if name == "lib.rs" and posixpath.basename(folder) == "src":
                crate = posixpath.basename(posixpath.dirname(folder)).replace("-", "_")
                self._crates.setdefault(crate, folder)

    def module(self, name: str, path: str) -> str:
        """The file of the module that `use name` in `path` speaks of."""
        head, *rest = name.split("::")
        own = self._own(path)
        if head == "crate":
            home = self._root(path)
        elif head in ("self", "super"):
            home = own
            while head == "super":
                home = posixpath.dirname(home)
                if not rest or rest[0] != "super":
                    break
                rest = rest[1:]
        elif head in self._crates:
            home = self._crates[head]
        else:
            home, rest = own, [head, *rest]
        return self._at(home, rest)

    def _own(self, path: str) -> str:
        """The folder that holds what is below the module of a file."""
        folder, name = posixpath.split(path)
        return (
            folder
            if name in ("mod.rs", "lib.rs", "main.rs")
            else posixpath.join(folder, name.removesuffix(".rs"))
        )

    def _root(self, path: str) -> str:
        folder = posixpath.dirname(path)
        while folder:
            if any(posixpath.join(folder, n) in self._paths for n in ("lib.rs", "main.rs")):
                return folder
            folder = posixpath.dirname(folder)
        return folder

    def _at(self, home: str, names: list[str]) -> str:
        base = posixpath.join(home, *names)
        tries = [f"{base}.rs", posixpath.join(base, "mod.rs")]
        if not names:
            tries += [posixpath.join(base, "lib.rs"), posixpath.join(base, "main.rs")]
        return next((t for t in tries if t in self._paths), "")


class HeaderFiles:
    """Headers by the place of the file that includes them, else by the nearest path that ends alike."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = frozenset(paths)
        self._named: dict[str, list[str]] = {}
        for path in sorted(self._paths):
            self._named.setdefault(posixpath.basename(path), []).append(path)

    def module(self, name: str, path: str) -> str:
        """The file that `#include "name"` in `path` means."""
        near = posixpath.normpath(posixpath.join(posixpath.dirname(path), name))
        if near in self._paths:
            return near
        tail = posixpath.normpath(name).lstrip("./")
        found = [
            p for p in self._named.get(posixpath.basename(tail), ()) if p == tail or p.endswith(f"/{tail}")
        ]
        return max(found, key=lambda p: (shared(p, path), p), default="")
