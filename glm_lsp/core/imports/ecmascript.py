"""JavaScript and TypeScript: relative paths, `tsconfig` paths, packages by their manifests."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterator, Mapping, Sequence

from glm_lsp.core.imports.config import Rows

SUFFIXES = (".ts", ".tsx", ".d.ts", ".js", ".jsx", ".mjs", ".cjs", ".mts", ".cts", ".d.mts", ".json", ".vue")
_SOURCES = {
    ".js": (".ts", ".tsx", ".d.ts"),
    ".jsx": (".tsx",),
    ".mjs": (".mts", ".d.mts"),
    ".cjs": (".cts",),
}
"""What a suffix in an import may stand for: the import names the file that the compiler writes."""
_BUILT = ("dist", "lib", "build", "out", "esm", "cjs", "es", "types")
_CONFIGS = ("tsconfig.json", "jsconfig.json")
MOST_EXTENDS = 8


class ScriptModules:
    """The modules among some paths. `configs` holds the rows of `package.json` and `tsconfig.json` files."""

    def __init__(self, paths: Collection[str], configs: Mapping[str, Rows]) -> None:
        self._paths = paths
        self._configs = configs
        self._packages: dict[str, str] = {}
        for path, rows in configs.items():
            if posixpath.basename(path) == "package.json":
                for row in rows:
                    if row[0] == "name":
                        self._packages.setdefault(row[1], posixpath.dirname(path))
        self._options: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {}
        self._found: dict[tuple[str, str], str] = {}

    def module(self, name: str, path: str) -> str:
        """The file that `import "name"` in `path` means; empty where it is not among the paths."""
        folder = posixpath.dirname(path)
        key = (name, folder)
        if key not in self._found:
            self._found[key] = self._module(name.split("?", 1)[0], folder)
        return self._found[key]

    def _module(self, name: str, folder: str) -> str:
        if name.startswith((".", "/")):
            base = _joined("" if name.startswith("/") else folder, name.lstrip("/"))
            return self.file(base) or self._elsewhere(base, folder)
        if name.startswith("#"):
            home = self._nearest("package.json", folder)
            return self._target(home, name, "import") if home is not None else ""
        for pattern, targets in self._paths_of(folder):
            rest = _matched(pattern, name)
            for target in targets if rest is not None else ():
                if found := self.file(_joined("", target.replace("*", rest or "", 1))):
                    return found
        parts = name.split("/")
        count = 2 if name.startswith("@") else 1
        home = self._packages.get("/".join(parts[:count]))
        if home is None:
            return ""
        below = "/".join(parts[count:])
        return self._target(home, f"./{below}" if below else ".", "export") or self.file(_joined(home, below))

    def _elsewhere(self, base: str | None, folder: str) -> str:
        """The file of a relative path in another of the `rootDirs`, which a compiler takes for one."""
        if base is None:
            return ""
        config = self._config(folder)
        for row in self._configs.get(config, ()):
            roots = [_joined(posixpath.dirname(config), root) for root in row[1:] if row[0] == "roots"]
            inside = [r for r in roots if r is not None and (not r or base.startswith(f"{r}/"))]
            for home in sorted(inside, key=len, reverse=True)[:1]:
                rest = base[len(home) :].lstrip("/")
                found = (
                    self.file(_joined(root, rest)) for root in roots if root is not None and root != home
                )
                return next((file for file in found if file), "")
        return ""

    def file(self, base: str | None) -> str:
        """The file that a path without suffix means: with a suffix, its source, or the folder's index."""
        if base is None:
            return ""
        stem, suffix = posixpath.splitext(base)
        tries = [base] if base else []
        tries += [stem + s for s in _SOURCES.get(suffix, ())]
        tries += [base + s for s in SUFFIXES] if base else []
        for one in tries:
            if one in self._paths:
                return one
        manifest = _joined(base, "package.json")
        if manifest is not None and base:
            for row in self._configs.get(manifest, ()):
                if row[0] == "main" and (main := _joined(base, row[1])) not in (None, base):
                    for one in _sources(base, main or ""):
                        if one and (found := self._plain(one)):
                            return found
        return self._plain(posixpath.join(base, "index"))

    def _plain(self, base: str) -> str:
        stem, suffix = posixpath.splitext(base)
        tries = [base, *(stem + s for s in _SOURCES.get(suffix, ())), *(base + s for s in SUFFIXES)]
        tries += [posixpath.join(base, "index" + s) for s in SUFFIXES]
        return next((t for t in tries if t in self._paths), "")

    def _target(self, home: str, name: str, word: str) -> str:
        """What a package's manifest has for a subpath or a `#name`."""
        rows = self._configs.get(_joined(home, "package.json") or "", ())
        exact = [row for row in rows if row[0] == word and row[1] == name]
        patterns = sorted((r for r in rows if r[0] == word and "*" in r[1]), key=lambda r: -len(r[1]))
        for row in [*exact, *patterns]:
            rest = _matched(row[1], name)
            if rest is None or len(row) < 3:
                continue
            whole = _joined(home, row[2].replace("*", rest, 1))
            for one in _sources(home, whole or ""):
                if one and (found := self._plain(one)):
                    return found
        return ""

    def _nearest(self, name: str, folder: str) -> str | None:
        """The folder of the nearest file of that name, upwards."""
        while True:
            if posixpath.join(folder, name) in self._configs:
                return folder
            if not folder:
                return None
            folder = posixpath.dirname(folder)

    def _paths_of(self, folder: str) -> Sequence[tuple[str, tuple[str, ...]]]:
        """The patterns that hold in a folder, most special first, and `*` for the base URL."""
        known = self._options.get(folder)
        if known is None:
            config = self._config(folder)
            known = self._options[folder] = tuple(self._read(config, set())) if config else ()
        return known

    def _config(self, folder: str) -> str:
        """The nearest config that says something, upwards; empty where there is none."""
        while True:
            for name in _CONFIGS:
                if self._configs.get(config := posixpath.join(folder, name)):
                    return config
            if not folder:
                return ""
            folder = posixpath.dirname(folder)

    def _read(self, config: str, seen: set[str]) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The patterns of a config, then those of what it extends; nothing of a circle twice."""
        if config in seen or len(seen) > MOST_EXTENDS:
            return
        seen.add(config)
        rows, home = self._configs.get(config, ()), posixpath.dirname(config)
        base = next((row[1] for row in rows if row[0] == "base"), None)
        root = _joined(home, base) if base is not None else home
        own = [row for row in rows if row[0] == "path"]
        for row in sorted(own, key=lambda r: (-len(r[1].split("*")[0]), r[1])):
            targets = (_joined(root or "", t) for t in row[2:])
            yield row[1], tuple(t for t in targets if t is not None)
        bases = [row[1] for row in rows if row[0] == "extends"]
        for extended in reversed(bases):
            if extended.startswith("."):
                target = _joined(home, extended) or ""
                yield from self._read(target if target.endswith(".json") else target + ".json", seen)
            elif shared := self._shared_config(extended):
                yield from self._read(shared, seen)
        if base is not None and root is not None:
            yield "*", (posixpath.join(root, "*"),)

    def _shared_config(self, name: str) -> str:
        """The config that a package of this repository offers to others; empty where there is none."""
        parts = name.split("/")
        count = 2 if name.startswith("@") else 1
        home = self._packages.get("/".join(parts[:count]))
        if home is None:
            return ""
        target = _joined(home, "/".join(parts[count:]) or "tsconfig.json") or ""
        return next((t for t in (target, f"{target}.json") if t in self._configs), "")


def _joined(folder: str, name: str) -> str | None:
    """A path below the root, or None for one that leads out of it."""
    whole = posixpath.normpath(posixpath.join(folder, name)) if folder or name else ""
    if whole.startswith(("../", "/")) or whole == "..":
        return None
    return "" if whole == "." else whole


def _matched(pattern: str, name: str) -> str | None:
    """What stands for the star; None where the pattern does not match."""
    head, star, tail = pattern.partition("*")
    if not star:
        return "" if pattern == name else None
    if len(name) < len(head) + len(tail) or not (name.startswith(head) and name.endswith(tail)):
        return None
    return name[len(head) : len(name) - len(tail)]


def _sources(home: str, path: str) -> Iterator[str]:
    """A target of a manifest, and where its source may stand, for what is built is rarely in a repository."""
    yield path
    below = path[len(home) :].lstrip("/").split("/")
    while below and below[0] in _BUILT:
        below = below[1:]
        for folder in ("src", ""):
            yield posixpath.join(home, folder, *below)
