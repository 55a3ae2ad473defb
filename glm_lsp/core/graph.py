"""Who defines what, and who means it: names of a `RepoIndex` resolved through imports, scopes and classes.

Built once per index; `Graph.renewed` takes over everything about files whose outlines are the same objects,
so an edit costs about a millisecond. What only some requests ask for is worked out when first asked and kept.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from glm_lsp.core.imports import Modules
from glm_lsp.core.references import References
from glm_lsp.core.values import OWNERS, FileOutline, Import, RepoIndex, Symbol

MOST_HOPS = 4
"""How many re-exports and base classes are followed."""
MOST_BESIDE = 50
"""Files of one folder whose imports are looked at."""
MOST_STARS = 2000
"""Names that one file gets by importing everything of others."""
_BASES = re.compile(
    r"class\s+\w+\s*\((.*)\)|\b(?:extends|implements)\s+(.*)|\b(?:class|struct)\s+\w+[^:]*:(?!:)\s*(.*)",
    re.DOTALL,
)
_NO_BASE = frozenset({"extends", "implements", "public", "private", "protected", "virtual", "metaclass"})
SELVES = frozenset({"self", "cls", "this", "super", "Self"})
_T = TypeVar("_T")
_NO_SYMBOLS: Mapping[str, tuple[Symbol, ...]] = {}


class Target(NamedTuple):
    """What a local name stands for: a definition, or a whole module where `name` is empty (`path` is then a
    folder with a slash where a package is one).

    A tuple, because a ranking hashes thousands of them.
    """

    path: str
    name: str = ""


class Graph:
    """One index, made askable. Read-only to its users."""

    def __init__(self, index: RepoIndex) -> None:
        self.index = index
        self._defining: dict[str, tuple[str, ...]] = {}
        self._files_with: dict[str, int] = {}
        self._modules = Modules(index.outlines)
        self._importers: dict[str, frozenset[str]] = {}
        self._imported: dict[str, frozenset[str]] = {}
        self._symbols: dict[str, Mapping[str, tuple[Symbol, ...]]] = {}
        self._bindings: dict[str, Mapping[str, Target]] = {}
        self._central: tuple[str, ...] | None = None
        self._neighbours: dict[str, Mapping[Target, int]] = {}
        self._named: dict[str, tuple[Target, ...]] = {}
        self._members: dict[Target, tuple[Target, ...]] = {}
        self._kept: dict[tuple[str, str], Any] = {}
        self._folders: dict[str, list[str]] = {}
        for path in index.outlines:
            self._folders.setdefault(posixpath.dirname(path), []).append(path)
        defining: dict[str, list[str]] = {}
        for path, outline in index.outlines.items():
            for name in {s.name for s in outline.symbols}:
                defining.setdefault(name, []).append(path)
            for name in _names(outline):
                self._files_with[name] = self._files_with.get(name, 0) + 1
        self._defining = {name: tuple(sorted(paths)) for name, paths in defining.items()}
        self._link(index.outlines.values())

    def renewed(self, index: RepoIndex) -> Graph:
        """The graph of a newer index: of this one's where few files differ, from nothing where many do."""
        if index is self.index:
            return self
        old, new = self.index.outlines, index.outlines
        changed = [path for path, outline in new.items() if old.get(path) is not outline]
        if len(changed) > 8 + len(new) // 20 or old.keys() != new.keys():
            return Graph(index)
        if any(old[path].project != new[path].project for path in changed):
            return Graph(index)
        graph = Graph.__new__(Graph)
        graph.index = index
        graph._defining, graph._files_with = dict(self._defining), dict(self._files_with)
        graph._modules, graph._folders = self._modules, self._folders
        graph._importers, graph._imported = dict(self._importers), dict(self._imported)
        # Copied first: a thread whose request was given up may still be filling it.
        graph._symbols = {p: s for p, s in dict(self._symbols).items() if p not in changed}
        graph._bindings, graph._neighbours = {}, {}
        graph._named, graph._members, graph._kept = {}, {}, {}
        graph._central = self._central
        for path in changed:
            graph._replace(path, old[path], new[path])
        moved = [
            path
            for path in changed
            if old[path].imports != new[path].imports or old[path].exports != new[path].exports
        ]
        if not moved and all(_defined(old[path]) == _defined(new[path]) for path in changed):
            graph._bindings, graph._neighbours = dict(self._bindings), dict(self._neighbours)
        graph._unlink(moved)
        graph._link(new[path] for path in moved)
        return graph

    def _replace(self, path: str, old: FileOutline, new: FileOutline) -> None:
        before, after = {s.name for s in old.symbols}, {s.name for s in new.symbols}
        for name in before - after:
            self._defining[name] = tuple(p for p in self._defining[name] if p != path)
        for name in after - before:
            self._defining[name] = tuple(sorted({*self._defining.get(name, ()), path}))
        names_before, names_after = _names(old), _names(new)
        for name in names_before - names_after:
            self._files_with[name] -= 1
        for name in names_after - names_before:
            self._files_with[name] = self._files_with.get(name, 0) + 1

    def _unlink(self, paths: Iterable[str]) -> None:
        for path in paths:
            self._central = None
            for target in self._imported.pop(path, frozenset()):
                self._importers[target] = self._importers[target] - {path}

    def _link(self, outlines: Iterable[FileOutline]) -> None:
        importers: dict[str, set[str]] = {}
        for outline in outlines:
            found = set(self._leads(outline)) - {outline.path}
            self._imported[outline.path] = frozenset(found)
            for target in found:
                importers.setdefault(target, set()).add(outline.path)
        for target, users in importers.items():
            self._importers[target] = self._importers.get(target, frozenset()) | users

    def _leads(self, outline: FileOutline) -> Iterator[str]:
        """The files that a file imports or passes on."""
        path = outline.path
        for item in outline.imports:
            below = Modules.submodule(item, path)
            found = self.module(below, path, item.level) if below else ""
            yield from self._modules.files(found or self.module(item.module, path, item.level))
        for module in {e.module for e in outline.exports if e.module}:
            yield from self._modules.files(self.module(module, path))

    def files_with(self, name: str) -> int:
        """How many files define or use `name`."""
        return self._files_with.get(name, 0)

    def defining(self, name: str) -> tuple[str, ...]:
        """The files that define `name` at any level, sorted."""
        return self._defining.get(name, ())

    def named(self, name: str) -> tuple[Target, ...]:
        """The definitions of that name at any level, by file."""
        found = self._named.get(name)
        if found is None:
            found = self._named[name] = tuple(
                Target(path, qualified)
                for path in self.defining(name)
                for qualified, symbols in self.symbols(path).items()
                if symbols[0].name == name
            )
        return found

    def members(self, owner: Target) -> tuple[Target, ...]:
        """What a class defines itself: its public names and its constructor."""
        found = self._members.get(owner)
        if found is None:
            found = self._members[owner] = tuple(
                Target(owner.path, qualified)
                for qualified, symbols in self.symbols(owner.path).items()
                if symbols[0].parent == owner.name
                and (not symbols[0].name.startswith(("_", "#")) or symbols[0].name == "__init__")
            )
        return found

    def kept(self, what: str, path: str, make: Callable[[], _T]) -> _T:
        """`make()`, once for `what` and `path` as long as the index is this one."""
        key = (what, path)
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def importers(self, path: str) -> frozenset[str]:
        """The files that import something of `path`."""
        return self._importers.get(path, frozenset())

    def imported(self, path: str) -> frozenset[str]:
        """The files that `path` imports."""
        return self._imported.get(path, frozenset())

    def central(self) -> tuple[str, ...]:
        """Imported files, those with most importers first."""
        if self._central is None:
            found = (p for p, users in self._importers.items() if users)
            self._central = tuple(sorted(found, key=lambda p: (-len(self._importers[p]), p)))
        return self._central

    def symbols(self, path: str) -> Mapping[str, tuple[Symbol, ...]]:
        """The definitions of a file by qualified name, in the order of the file."""
        found = self._symbols.get(path)
        if found is None:
            outline = self.index.outlines.get(path)
            if outline is None:
                return _NO_SYMBOLS
            lists: dict[str, list[Symbol]] = {}
            for symbol in outline.symbols:
                lists.setdefault(symbol.qualified, []).append(symbol)
            found = self._symbols[path] = {name: tuple(items) for name, items in lists.items()}
        return found

    def symbol(self, target: Target) -> Symbol | None:
        """The definition that a target names; the first where the file has several of that name."""
        found = self.symbols(target.path).get(target.name, ())
        return found[0] if found else None

    def module(self, dotted: str, path: str, level: int = 0) -> str:
        """What a module is that `path` imports: a file, a folder with a slash, or empty."""
        return self._modules.module(dotted, path, level, lambda p: p in self.importers(path))

    def bindings(self, path: str) -> Mapping[str, Target]:
        """What the names that a file imports mean, star imports included, as far as the repository has it."""
        found = self._bindings.get(path)
        if found is None:
            found = self._bindings[path] = self._bind(path)
        return found

    def _bind(self, path: str) -> Mapping[str, Target]:
        outline = self.index.outlines.get(path)
        found: dict[str, Target] = {}
        for item in outline.imports if outline else ():
            if item.name == "*":
                module = self.module(item.module, path, item.level)
                for target in self._offered(module) if len(found) < MOST_STARS else ():
                    found.setdefault(target.name, target)
            elif item.name:
                if target := self._member_of_module(item, path):
                    found[item.alias or item.name] = target
            elif (name := Modules.bound(item, path)) and (module := self.module(item.module, path)):
                found[name] = self._whole(module)
        return found

    def _offered(self, module: str) -> Iterator[Target]:
        """What a module gives to those who import everything."""
        for path in self._modules.files(module):
            for name in self.symbols(path):
                if "." not in name and not name.startswith("_"):
                    yield Target(path, name)

    def _whole(self, module: str) -> Target:
        """A module, or what its file is for those who import it."""
        outline = self.index.outlines.get(module)
        for export in outline.exports if outline else ():
            if export.name == "=" and (target := self._local(module, export.local)):
                return target
        return Target(module)

    def _member_of_module(self, item: Import, path: str) -> Target | None:
        module = self.module(item.module, path, item.level)
        if module and (target := self.exported(module, item.name)):
            return target
        below = Modules.submodule(item, path)
        found = self.module(below, path, item.level) if below else ""
        return Target(found) if found else None

    def exported(self, module: str, name: str, hops: int = MOST_HOPS) -> Target | None:
        """What `module.name` is: defined there, or imported there from elsewhere."""
        for path in self._modules.files(module):
            if found := self._exported(path, name, hops):
                return found
        return None

    def _exported(self, path: str, name: str, hops: int) -> Target | None:
        if name in self.symbols(path):
            return Target(path, name)
        outline = self.index.outlines.get(path)
        if outline is None or hops == 0:
            return None
        for export in outline.exports:
            if export.name == name or (export.name == "=" and name == "default"):
                source = self.module(export.module, path) if export.module else ""
                if source and not export.local:
                    return Target(source)
                found = self.exported(source, export.local, hops - 1) if source else None
                if found is None and not export.module:
                    found = self._local(path, export.local, hops - 1)
                if found is not None:
                    return found
            elif export.name == "*" and name != "default":
                source = self.module(export.module, path)
                if source and source != path and (found := self.exported(source, name, hops - 1)):
                    return found
        for item in outline.imports:
            if item.name == "*" or (item.alias or item.name) == name:
                source = self.module(item.module, path, item.level) if item.name else ""
                if not source or source == path:
                    continue
                if item.name != "*":
                    return self.exported(source, item.name, hops - 1)
                if found := self.exported(source, name, hops - 1):
                    return found
        return self._member_of_file(path, name)

    def _local(self, path: str, name: str, hops: int = MOST_HOPS) -> Target | None:
        """What a name of a file's own means, for those who get it under another name."""
        if name in self.symbols(path):
            return Target(path, name)
        outline = self.index.outlines.get(path)
        for item in outline.imports if outline and hops else ():
            if (item.alias or item.name) == name:
                source = self.module(item.module, path, item.level)
                if source and source != path:
                    return self.exported(source, item.name, hops - 1) if item.name else Target(source)
        return None

    def _member_of_file(self, path: str, name: str) -> Target | None:
        """A member of the class that a Java file is named after."""
        if not path.endswith(".java"):
            return None
        qualified = f"{posixpath.basename(path)[:-5]}.{name}"
        return Target(path, qualified) if qualified in self.symbols(path) else None

    def resolve(self, path: str, name: str, qualifier: str = "", inside: str = "") -> Target | None:
        """What `qualifier.name` means in `path` for certain; `inside` is the class around, for `self`."""
        if not qualifier:
            if name in self.symbols(path):
                return Target(path, name)
            return self.bindings(path).get(name) or self._beside(path, name)
        if qualifier in SELVES:
            return self.member(Target(path, inside), name) if inside else None
        owner = self.bindings(path).get(qualifier)
        if owner is None and "." not in qualifier:
            owner = self.resolve(path, qualifier)
        elif owner is None:
            head, _, last = qualifier.rpartition(".")
            owner = self.resolve(path, last, head, inside)
        if owner is None:
            return None
        return self.member(owner, name) if owner.name else self.exported(owner.path, name)

    def _beside(self, path: str, name: str) -> Target | None:
        """A definition of that name in the other files of a package, which need no import."""
        for other in self._modules.beside(path) if name in self._defining else ():
            if name in self.symbols(other):
                return Target(other, name)
        return None

    def member(self, owner: Target, name: str, hops: int = MOST_HOPS) -> Target | None:
        """`name` of the class `owner` or of a class that it derives from."""
        qualified = f"{owner.name}.{name}"
        if qualified in self.symbols(owner.path):
            return Target(owner.path, qualified)
        if found := self._member_beside(owner, qualified, name):
            return found
        if hops == 0:
            return None
        for base in self.bases(owner):
            if base != owner and (found := self.member(base, name, hops - 1)):
                return found
        return None

    def _member_beside(self, owner: Target, qualified: str, name: str) -> Target | None:
        """A method that stands in another file of the package."""
        for other in self._modules.beside(owner.path) if name in self._defining else ():
            if qualified in self.symbols(other):
                return Target(other, qualified)
        return None

    def bases(self, owner: Target) -> tuple[Target, ...]:
        """The classes of the repository that a class names as its bases."""
        symbol = self.symbol(owner)
        match = _BASES.search(symbol.signature) if symbol and symbol.kind in OWNERS else None
        found: list[Target] = []
        text = next(filter(None, match.groups()), "") if match else ""
        for word in re.findall(r"(?<![\w.=])[A-Za-z_][\w.]*\b(?!\s*=)", text):
            qualifier, _, name = word.rpartition(".")
            target = self.resolve(owner.path, name, qualifier) if word not in _NO_BASE else None
            if target and target.name:
                found.append(target)
        return tuple(found)

    def neighbours(self, path: str) -> Mapping[Target, int]:
        """What the other files of the same folder import, with the number of files that do."""
        folder = posixpath.dirname(path)
        found = self._neighbours.get(folder)
        if found is None:
            counts: dict[Target, int] = {}
            for other in self._folders.get(folder, ())[:MOST_BESIDE]:
                for target in set(self.bindings(other).values()):
                    if target.name:
                        counts[target] = counts.get(target, 0) + 1
            found = self._neighbours[folder] = counts
        return found


def _defined(outline: FileOutline) -> set[str]:
    return {s.qualified for s in outline.symbols}


def _names(outline: FileOutline) -> set[str]:
    used = outline.references
    names = used.names() if isinstance(used, References) else {r.name for r in used}
    return {s.name for s in outline.symbols} | names
