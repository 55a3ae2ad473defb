"""Go: a package is a directory, named by the module above it."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from glm_lsp.core.imports.config import Rows


class GoModules:
    """The packages among some paths. `configs` holds the rows of `go.mod` files."""

    def __init__(self, paths: Iterable[str], configs: Mapping[str, Rows]) -> None:
        self._files: dict[str, list[str]] = {}
        for path in sorted(p for p in paths if p.endswith(".go")):
            self._files.setdefault(posixpath.dirname(path), []).append(path)
        self._sources = sorted(folder for folder in self._files if "/src/" in f"/{folder}")
        self._modules: list[tuple[str, str]] = []
        self._replaced: dict[str, list[tuple[str, str]]] = {}
        for path, rows in configs.items():
            if posixpath.basename(path) == "go.mod":
                home = posixpath.dirname(path)
                self._modules += [(row[1], home) for row in rows if row[0] == "module"]
                self._replaced[home] = [(row[1], row[2]) for row in rows if row[0] == "replace"]
        self._modules.sort(key=lambda m: (-len(m[0]), m[1]))

    def module(self, name: str, path: str) -> str:
        """The package that `import "name"` in `path` means, as a folder with a slash; or empty."""
        folder = posixpath.dirname(path)
        for home, replaced in self._replaced.items():
            if replaced and _below(folder, home):
                for module, target in replaced:
                    if _below(name, module):
                        return self._package(
                            _join(posixpath.normpath(posixpath.join(home, target)), name, module), folder
                        )
        for module, home in self._modules:
            if _below(name, module) and (found := self._package(_join(home, name, module), folder)):
                return found
        if self._modules:
            return ""
        if found := next((f for f in self._sources if f"/{f}".endswith(f"/src/{name}")), ""):
            return self._package(found, folder)  # as `GOPATH` has it
        parts = name.split("/")
        return next((f for at in range(len(parts)) if (f := self._package("/".join(parts[at:]), folder))), "")

    def files(self, package: str) -> tuple[str, ...]:
        """The files of a package, tests left out."""
        return tuple(p for p in self._files.get(package.rstrip("/"), ()) if not p.endswith("_test.go"))

    def beside(self, path: str) -> tuple[str, ...]:
        """The other files of a file's package."""
        test = path.endswith("_test.go")
        found = self._files.get(posixpath.dirname(path), ())
        return tuple(p for p in found if p != path and (test or not p.endswith("_test.go")))

    def _package(self, folder: str, user: str) -> str:
        """The folder if it holds a package that `user` may see."""
        before, internal, _ = f"/{folder}/".partition("/internal/")
        if internal and not _below(user, before.strip("/")):
            return ""
        return f"{folder}/" if folder in self._files else ""


def _below(name: str, prefix: str) -> bool:
    return not prefix or name == prefix or name.startswith(prefix + "/")


def _join(home: str, name: str, module: str) -> str:
    rest = name[len(module) :].strip("/")
    return posixpath.normpath(posixpath.join(home, rest)).removeprefix("./") if home or rest else ""


def package_name(path: str) -> str:
    """The name by which code speaks of an imported package, as far as its path tells."""
    parts = path.split("/")
    last = parts[-1]
    if len(parts) > 1 and last[:1] == "v" and last[1:].isdigit():
        last = parts[-2]
    last = last.split(".v")[0]
    return last.removeprefix("go-").rpartition("-")[2] if "-" in last else last
