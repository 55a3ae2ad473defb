"""Who defines what, and who means it: names of a `RepoIndex` resolved through imports, scopes and classes.

Built once per index; `Graph.renewed` takes over everything about files whose outlines are the same objects,
so an edit costs about a millisecond. What only some requests ask for is worked out when first asked and kept.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

from glm_lsp.core import pairs
from glm_lsp.core.definitions import Definitions, Target, called_like, defined, passed_on
from glm_lsp.core.imports import Modules
from glm_lsp.core.imports.folders import INCLUDING, NAMESPACED
from glm_lsp.core.lazy import Outlines, differing, project
from glm_lsp.core.lookup import Lookup, tables_of
from glm_lsp.core.references import counted
from glm_lsp.core.values import OWNERS, FileOutline, Import, RepoIndex, Symbol, SymbolKind

MOST_HOPS = 4
"""How many re-exports and base classes are followed."""
MOST_BESIDE = 50
"""Files of one folder whose imports are looked at."""
MOST_DIFFERING = 256
"""Files that may differ from those of which the tables were made, if they are few of all."""
MOST_STARS = 2000
"""Names that one file gets by importing everything of others."""
MOST_HINTED = 12
"""Files that may define a name whose owner is guessed."""
_BASES = re.compile(
    r"class\s+\w+\s*\((.*)\)|\b(?:extends|implements)\s+(.*)|\b(?:class|struct)\s+\w+[^:]*:(?!:)\s*(.*)",
    re.DOTALL,
)
_NO_BASE = frozenset({"extends", "implements", "public", "private", "protected", "virtual", "metaclass"})
MOST_INCLUDES = 6
"""How deep headers that include others are followed."""
SELVES = frozenset({"self", "cls", "this", "super", "Self"})
_T = TypeVar("_T")


class Uses(NamedTuple):
    """What the code of a file, or of one definition in it, speaks of, with the number of times."""

    certain: Mapping[Target, int]
    """Resolved."""
    hints: Mapping[Target, int]
    """Members of owners that are unknown, where the repository has one of that name only."""


class Graph:
    """One index, made askable. Read-only to its users."""

    def __init__(self, index: RepoIndex) -> None:
        outlines = index.outlines
        base = outlines.base if isinstance(outlines, Outlines) else outlines
        source = outlines.source if isinstance(outlines, Outlines) else None
        self._blank(index, Modules(base))
        tables = source.tables(len(base)) if source is not None else None
        if tables is None:
            tables = tables_of(base, self._leads)
            if source is not None:
                source.keep(tables)
        self._lookup = Lookup(tuple(base), tables)
        over = {path: outlines.get(path) for path in outlines.over} if isinstance(outlines, Outlines) else {}
        if over:
            self._relink(base, over)

    def _blank(self, index: RepoIndex, modules: Modules) -> None:
        self.index, self._modules = index, modules
        self._definitions = Definitions(index.outlines)
        self._bases: dict[Target, tuple[Target, ...]] = {}
        self._bindings: dict[str, Mapping[str, Target]] = {}
        self._central: tuple[str, ...] | None = None
        self._kept: dict[tuple[str, str], Any] = {}
        self._uses: dict[str, Uses] = {}
        self._hints: dict[tuple[str, str], tuple[Target, ...]] = {}
        self._stems: dict[str, list[str]] | None = None
        self._folders: dict[str, list[str]] = {}

    def renewed(self, index: RepoIndex) -> Graph:
        """The graph of a newer index: of this one's where few files differ, from nothing where many do."""
        if index is self.index:
            return self
        old, new = self.index.outlines, index.outlines
        changed = differing(old, new)
        few = len(changed) + self._lookup.differing <= 8 + max(MOST_DIFFERING, len(new) // 20)
        if not few or any(project(old, path) != project(new, path) for path in changed):
            return Graph(index)
        graph = Graph.__new__(Graph)
        graph._blank(index, self._modules)
        graph._lookup = self._lookup
        graph._definitions = self._definitions.renewed(new, changed)
        if all(path in old and path in new for path in changed):
            graph._folders, graph._stems = self._folders, self._stems
            moved = any(old[p].imports != new[p].imports or old[p].exports != new[p].exports for p in changed)
            graph._central = None if moved else self._central
            if not moved and all(defined(old[path]) == defined(new[path]) for path in changed):
                graph._bindings, graph._hints = dict(self._bindings), dict(self._hints)
                graph._uses = {p: u for p, u in dict(self._uses).items() if p not in changed}
        graph._relink(old, {path: new.get(path) for path in changed})
        return graph

    def _relink(self, old: Mapping[str, FileOutline], changed: Mapping[str, FileOutline | None]) -> None:
        """Take over what differs from `old`; where files come or go, imports may mean others than before."""
        new = self.index.outlines
        moved = [path for path in changed if (path in old) != (path in new)]
        if moved:
            self._modules = Modules(new)
        more = {p for path in moved for p in self._lookup.mentioning(path) | self._lookup.importers(path)}
        again = {path: new.get(path) for path in sorted(more) if path not in changed and path in new}
        self._lookup = self._lookup.changed({**changed, **again}, self._leads, old)

    def _leads(self, outline: FileOutline) -> Iterator[str]:
        """The files that a file imports or passes on."""
        path, modules = outline.path, self._modules
        for item in outline.imports:
            below = Modules.submodule(item, path)
            found = modules.module(below, path, item.level) if below else ""
            yield from modules.files(found or modules.module(item.module, path, item.level))
        for module in {e.module for e in outline.exports if e.module}:
            yield from modules.files(modules.module(module, path))

    def files_with(self, name: str) -> int:
        """How many files define or use `name`."""
        return self._lookup.count(name)

    def defining(self, name: str) -> tuple[str, ...]:
        """The files that define `name` at any level, sorted."""
        return self._lookup.defining(name)

    def named(self, name: str) -> tuple[Target, ...]:
        """The definitions of that name at any level, by file."""
        return tuple(self.each_named(name))

    def each_named(self, name: str) -> Iterator[Target]:
        """As `named`, one after the other: of some names there are thousands."""
        for path in self.defining(name):
            yield from self._definitions.named(path, name)

    def members(self, owner: Target) -> tuple[Target, ...]:
        """What a class defines itself: its public names and its constructor."""
        return self._definitions.members(owner)

    def kept(self, what: str, path: str, make: Callable[[], _T]) -> _T:
        """`make()`, once for `what` and `path` as long as the index is this one."""
        key = (what, path)
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def known(self, what: str, path: str) -> Any:
        """What `kept` has made; None where it has not."""
        return self._kept.get((what, path))

    def importers(self, path: str) -> frozenset[str]:
        """The files that import something of `path`."""
        return self._lookup.importers(path)

    def imported(self, path: str) -> frozenset[str]:
        """The files that `path` imports."""
        return self._lookup.imported(path)

    def central(self) -> tuple[str, ...]:
        """Imported files, those with most importers first."""
        if self._central is None:
            users = self._lookup.users()
            self._central = tuple(sorted(users, key=lambda p: (-users[p], p)))
        return self._central

    def symbols(self, path: str) -> Mapping[str, tuple[Symbol, ...]]:
        """The definitions of a file by qualified name, in the order of the file."""
        return self._definitions.symbols(path)

    def private(self, path: str) -> frozenset[str]:
        """The qualified names of a file's definitions that other files cannot name."""
        return self._definitions.private(path)

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
                for target in self.offered(module) if len(found) < MOST_STARS else ():
                    found.setdefault(target.name, target)
            elif item.name:
                if target := self._member_of_module(item, path):
                    found[item.alias or item.name] = target
            elif (name := Modules.bound(item, path)) and (module := self.module(item.module, path)):
                found[name] = self._whole(module)
        return found

    def offered(self, module: str) -> Iterator[Target]:
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
        if name in (symbols := self.symbols(path)):
            whose = passed_on(symbols[name][-1])
            module = self._local(path, whose, hops - 1) if whose and hops else None
            found = self.exported(module.path, name, hops - 1) if module and not module.name else None
            return found or Target(path, name)
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
                source = self.module(item.module, path, item.level)
                if not source or source == path:
                    continue
                if item.name != "*":
                    return self.exported(source, item.name, hops - 1) if item.name else Target(source)
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
                return self._member_of_file(path, item.name)
        return None

    def _member_of_file(self, path: str, name: str) -> Target | None:
        """A member of the class that a Java file is named after; a module of a Python package."""
        if path.endswith("__init__.py"):
            below = self.module(name, path, 1) if name else ""
            return Target(below) if below and below != path else None
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
        known = self.symbol(owner) if owner is not None and path.endswith(NAMESPACED) else None
        if owner is None or (known is not None and known.kind is SymbolKind.MODULE):
            return self._in_namespace(path, name, qualifier)
        return self.member(owner, name) if owner.name else self.exported(owner.path, name)

    def _in_namespace(self, path: str, name: str, qualifier: str) -> Target | None:
        """`qualifier::name` of C++ where the qualifier is a namespace: what stands in one is indexed as if it
        stood outside. Those of the standard library are nobody's else."""
        if path.endswith(NAMESPACED) and qualifier.partition(".")[0] != "std" and self.defining(name):
            return self.resolve(path, name)
        return None

    def _beside(self, path: str, name: str) -> Target | None:
        """A definition of that name in the other files of a package, which need no import."""
        found = self.defining(name)
        if found and path.endswith(INCLUDING):
            included = self.kept("included", path, lambda: self._included(path))
            return next((Target(p, name) for p in found if p in included and name in self.symbols(p)), None)
        for other in self._modules.beside(path) if found else ():
            if name in self.symbols(other):
                return Target(other, name)
        return None

    def _included(self, path: str) -> frozenset[str]:
        """The headers that a source of C or C++ gets by those that it includes."""
        found, fresh = {path}, [path]
        for _ in range(MOST_INCLUDES):
            fresh = [p for p in {q for one in fresh for q in self.imported(one)} if p not in found]
            found.update(fresh)
        return frozenset(found)

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
        for other in self._modules.beside(owner.path) if self.defining(name) else ():
            if qualified in self.symbols(other):
                return Target(other, qualified)
        return None

    def bases(self, owner: Target) -> tuple[Target, ...]:
        """The classes of the repository that a class names as its bases."""
        known = self._bases.get(owner)
        if known is None:
            known = self._bases[owner] = tuple(self._find_bases(owner))
        return known

    def _find_bases(self, owner: Target) -> Iterator[Target]:
        symbol = self.symbol(owner)
        match = _BASES.search(symbol.signature) if symbol and symbol.kind in OWNERS else None
        text = next(filter(None, match.groups()), "") if match else ""
        for word in re.findall(r"(?<![\w.=])[A-Za-z_][\w.]*\b(?!\s*=)", text):
            qualifier, _, name = word.rpartition(".")
            target = self.resolve(owner.path, name, qualifier) if word not in _NO_BASE else None
            if target and target.name:
                yield target

    def package(self, path: str) -> tuple[str, ...]:
        """The other files whose definitions `path` can name without an import."""
        return self._modules.beside(path)

    def beside(self, path: str) -> tuple[str, ...]:
        """Other files of the same folder, at most `MOST_BESIDE`."""
        if not self._folders:
            folders: dict[str, list[str]] = {}
            for each in self.index.outlines:
                folders.setdefault(posixpath.dirname(each), []).append(each)
            self._folders = folders
        found = self._folders.get(posixpath.dirname(path), ())[: MOST_BESIDE + 1]
        return tuple(other for other in found if other != path)

    def paired(self, path: str) -> str:
        """The file that tests `path`, or that `path` tests: named alike but for `test`; else empty."""
        if self._stems is None:
            self._stems = pairs.stems(self.index.outlines)
        return pairs.paired(path, self._stems)

    def uses(self, path: str) -> Uses:
        """What a file speaks of."""
        found = self._uses.get(path)
        if found is None:
            outline = self.index.outlines.get(path)
            found = self._uses[path] = self._resolved(path, counted(outline) if outline else {})
        return found

    def uses_within(self, target: Target) -> Uses:
        """What one definition speaks of."""
        symbol, outline = self.symbol(target), self.index.outlines.get(target.path)
        if symbol is None or outline is None:
            return Uses({}, {})
        inside = counted(outline, symbol.span.start, symbol.span.end)
        return self._resolved(target.path, inside, symbol.parent or "")

    def _resolved(self, path: str, counts: Mapping[tuple[str, str], int], inside: str = "") -> Uses:
        certain: dict[Target, int] = {}
        hints: dict[Target, int] = {}
        for (name, qualifier), count in counts.items():
            target = self.resolve(path, name, qualifier, inside)
            if target is not None:
                certain[target] = certain.get(target, 0) + count
            elif qualifier and len(name) > 2:
                for hint in self.hinted(name, qualifier):
                    hints[hint] = hints.get(hint, 0) + count
        return Uses(certain, hints)

    def hinted(self, name: str, qualifier: str) -> tuple[Target, ...]:
        """What `qualifier.name` may be where nothing tells what the qualifier is: the only definition of that
        name, or those of a class that is called like the qualifier."""
        said = qualifier.rpartition(".")[2].replace("_", "").lower()
        found = self._hints.get((name, said))
        if found is None:
            known = self.named(name) if 0 < len(self.defining(name)) <= MOST_HINTED else ()
            likely = tuple(t for t in known if called_like(t, said)) if len(said) > 2 else ()
            found = self._hints[name, said] = known if len(known) == 1 else likely
        return found
