"""What a task in words touches: definitions, what overrides them, every use, mention and test, with reasons.

Pure. `roots` says what is named; `candidates` which files may speak of it; `close` judges their texts. A use
that imports and types resolve is certain; one that has nothing but the name is marked as uncertain.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from glm_lsp.core import sites as finding
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.naming import Ambiguous, Naming, naming, types_in
from glm_lsp.core.rank import Candidate
from glm_lsp.core.reach import is_test
from glm_lsp.core.receivers import Types
from glm_lsp.core.references import References
from glm_lsp.core.site import Part, Site, Wanted, stems
from glm_lsp.core.syntax.languages import row
from glm_lsp.core.values import OWNERS, Document, FileOutline, Symbol, SymbolKind

MOST_TYPES = 12
MOST_HOPS = 8
LEAST_MEMBERS = 2
"""A class implements a protocol, without saying so, by having all its members: one may be chance."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A definition that a task touches, and how: `distance` 0 is named, 1 is one step from that."""

    target: Target
    symbol: Symbol
    part: Part
    reason: str
    distance: int
    certain: bool = True

    @property
    def candidate(self) -> Candidate:
        """As a ranking knows it."""
        return Candidate(
            self.target.path, self.symbol, 1.0 / (1 + self.distance), self.reason, certain=self.certain
        )


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything that a task touches. Definitions nearest first; sites by file and place."""

    task: str
    definitions: tuple[Touched, ...] = ()
    sites: tuple[Site, ...] = ()
    tests: tuple[tuple[str, str], ...] = ()
    """Test files without a use, each with the file that it is the test of."""
    ambiguous: tuple[Ambiguous, ...] = ()
    unknown: tuple[str, ...] = ()
    """Words of the task that are written like names and are none in this repository."""

    @property
    def shared(self) -> tuple[Candidate, ...]:
        """The definitions that every unit should see, the nearest first."""
        return tuple(d.candidate for d in self.definitions)

    @property
    def uncertain(self) -> tuple[Site, ...]:
        return tuple(s for s in self.sites if not s.certain)

    def files(self, *, likely: bool = True) -> tuple[str, ...]:
        """Files with something to change: those with definitions, then code, tests, and words last.

        With `likely`, also what is not certain but likely; never what has the name alone.
        """
        order: dict[str, tuple[int, int, str]] = {}
        for site in self.sites:
            if site.certain or (likely and site.likely):
                code = site.part is not Part.MENTION
                rank = 0 if site.part is Part.DEFINITION else 1 if code and not is_test(site.path) else 2
                key = (rank if code else 3, site.distance, site.path)
                order[site.path] = min(order.get(site.path, key), key)
        return tuple(sorted(order, key=order.__getitem__))

    @property
    def doubtful(self) -> tuple[Site, ...]:
        """Places that have the name, and most probably mean something else."""
        return tuple(s for s in self.sites if not (s.certain or s.likely))


def families(graph: Graph, name: str) -> Mapping[Target, frozenset[Target]]:
    """The definitions of a name, each with those that it overrides or is overridden by, itself included."""
    named = graph.named(name)
    group: dict[Target, set[Target]] = {t: {t} for t in named}

    def join(a: Target, b: Target) -> None:
        if group[a] is not group[b]:
            group[a] |= group[b]
            for member in group[b]:
                group[member] = group[a]

    by_owner = {(t.path, t.name.rpartition(".")[0]): t for t in named if "." in t.name}
    for target in named:
        owner = target.name.rpartition(".")[0]
        if owner:
            for base in _ancestors(graph, Target(target.path, owner)):
                if (over := by_owner.get((base.path, base.name))) is not None:
                    join(target, over)
        elif (meant := graph.exported(target.path, target.name)) is not None and meant in group:
            join(target, meant)  # `run = m.run`
    _join_declared(graph, named, join)
    return {t: frozenset(members) for t, members in group.items()}


def _join_declared(graph: Graph, named: Sequence[Target], join: Callable[[Target, Target], None]) -> None:
    """A header's declaration and its source's definition; a stub and its module; what has an interface's
    members.
    """
    first: dict[tuple[str, str], Target] = {}
    for target in named:
        stem, suffix = posixpath.splitext(target.path)
        if suffix in (".c", ".h", ".cc", ".cpp", ".hpp", ".cxx", ".hh"):
            key = ("c", target.name)
        elif suffix in (".py", ".pyi"):
            key = (stem, target.name)
        else:
            continue
        join(first.setdefault(key, target), target)
    for interface in (t for t in named if _structural(graph, t)):
        wanted = {s.rpartition(".")[2] for s in _members(graph, interface)}
        suffix = posixpath.splitext(interface.path)[1]
        if len(wanted) < LEAST_MEMBERS and suffix != ".go":
            continue
        for target in named:
            if "." in target.name and target.path.endswith(suffix) and not _structural(graph, target):
                owner = Target(target.path, target.name.rpartition(".")[0])
                if all(graph.member(owner, name) for name in wanted):
                    join(interface, target)


def _structural(graph: Graph, target: Target) -> bool:
    """Whether a method is that of an interface which a class implements by having its members."""
    owner = graph.symbol(Target(target.path, target.name.rpartition(".")[0]))
    if owner is None:
        return False
    if target.path.endswith(".py"):
        return owner.kind in OWNERS and re.search(r"\bProtocol\b", owner.signature) is not None
    return target.path.endswith(".go") and owner.kind is SymbolKind.INTERFACE


def _members(graph: Graph, target: Target) -> list[str]:
    owner = target.name.rpartition(".")[0]
    return [name for name, found in graph.symbols(target.path).items() if found[0].parent == owner]


def _ancestors(graph: Graph, owner: Target) -> Iterable[Target]:
    seen, pending = {owner}, [(owner, 0)]
    while pending:
        kind, hops = pending.pop(0)
        for base in graph.bases(kind) if hops < MOST_HOPS else ():
            if base not in seen:
                seen.add(base)
                pending.append((base, hops + 1))
                yield base


@dataclass(slots=True)
class _Families:
    """Families by name, worked out once."""

    graph: Graph
    known: dict[str, Mapping[Target, frozenset[Target]]] = field(
        default_factory=dict[str, Mapping[Target, frozenset[Target]]]
    )

    def of(self, target: Target) -> frozenset[Target]:
        name = target.name.rpartition(".")[2]
        if name not in self.known:
            self.known[name] = families(self.graph, name)
        return self.known[name].get(target, frozenset({target}))


def roots(graph: Graph, task: str, paths: Sequence[str] = ()) -> Naming:
    """What `task` names in this repository; `paths` decide between several of one name."""
    return naming(graph, task, paths, _Families(graph).of)


def candidates(graph: Graph, named: Naming) -> frozenset[str]:
    """Files that may speak of what is named, as far as the index knows: all that use, define or import the
    name, and all that are words.
    """
    wanted = {n.target.name.rpartition(".")[2] for n in named.named}
    if not wanted:
        return frozenset()
    return frozenset(path for path, outline in graph.index.outlines.items() if _speaks(outline, wanted))


def _speaks(outline: FileOutline, wanted: set[str]) -> bool:
    used = outline.references
    if isinstance(used, References):
        if not wanted.isdisjoint(used.table):
            return True
    elif any(r.name in wanted for r in used):
        return True
    return (
        row(outline.language).prose
        or any(s.name in wanted for s in outline.symbols)
        or any(i.name in wanted or i.alias in wanted for i in outline.imports)
        or any(e.name in wanted or e.local in wanted for e in outline.exports)
    )


def close(graph: Graph, task: str, named: Naming, documents: Mapping[str, Document]) -> Closure:
    """The closure of what is named over these texts. The same input gives the same closure."""
    known = _Families(graph)
    texts: dict[str, str] = {}

    def text(path: str) -> str | None:
        if path not in texts and path in documents:
            texts[path] = documents[path].data.decode("utf-8", "replace")
        return texts.get(path)

    types = Types(graph, text)
    definitions: dict[Target, Touched] = {}
    sought: dict[frozenset[Target], Wanted] = {}
    for item in named.named:
        if (symbol := graph.symbol(item.target)) is not None:
            definitions[item.target] = Touched(item.target, symbol, Part.DEFINITION, item.reason, 0)
            family = known.of(item.target)
            sought.setdefault(family, _wanted(graph, item.target, family))
    for family, wanted in sought.items():
        for target in sorted(family):
            if (symbol := graph.symbol(target)) is not None:
                reason = f"bears the name together with {wanted.shown}: one overrides the other"
                definitions.setdefault(target, Touched(target, symbol, Part.OVERRIDE, reason, 1))
    found: list[Site] = []
    for path in sorted(documents):
        document = documents[path]
        here = [w for w in sought.values() if w.name.encode() in document.data or _aliased(graph, path, w)]
        if here:
            tree = finding.tree_of(document)
            for wanted in here:
                found += finding.find(graph, types, wanted, document, tree)
    for touched in _types(graph, list(definitions.values())):
        definitions.setdefault(touched.target, touched)
    sites = stems(found)
    order = {part: number for number, part in enumerate(Part)}
    ordered = sorted(definitions.values(), key=lambda d: (d.distance, order[d.part], d.target))
    speaking = {s.path for s in sites}
    paired = _tests(graph, {t.path for family in sought for t in family}, speaking)
    return Closure(task, tuple(ordered), sites, paired, named.ambiguous, named.unknown)


def _aliased(graph: Graph, path: str, wanted: Wanted) -> bool:
    return any(t in wanted.targets for t in graph.bindings(path).values())


def _wanted(graph: Graph, target: Target, family: frozenset[Target]) -> Wanted:
    name = target.name.rpartition(".")[2]
    owners = {
        t.name.rpartition(".")[0].rpartition(".")[2]
        for t in family
        if "." in t.name
        and (owner := graph.symbol(Target(t.path, t.name.rpartition(".")[0])))
        and owner.kind in OWNERS
    }
    symbol = graph.symbol(target)
    members = [t for t in graph.named(name) if t not in family and "." in t.name] if owners else []
    return Wanted(
        name,
        family,
        target.name,
        frozenset(owners),
        symbol is not None and symbol.kind is SymbolKind.VARIABLE,
        len(members) if owners else len(graph.named(name)) - len(family),
    )


def _types(graph: Graph, definitions: Sequence[Touched]) -> Iterable[Touched]:
    """Types of the signatures of what is named, and the classes that these definitions are members of."""
    count = 0
    for touched in definitions:
        if touched.distance:
            continue
        path, owner = touched.target.path, touched.symbol.parent or ""
        around = graph.symbol(Target(path, owner)) if owner else None
        if around is not None:
            yield Touched(Target(path, owner), around, Part.TYPE, f"the class of {touched.target.name}", 1)
        for word in types_in(touched.symbol):
            qualifier, _, name = word.rpartition(".")
            target = graph.resolve(path, name, qualifier, owner)
            symbol = graph.symbol(target) if target and target.name else None
            if target and symbol and symbol.kind in OWNERS and count < MOST_TYPES:
                count += 1
                yield Touched(target, symbol, Part.TYPE, f"in the signature of {touched.target.name}", 1)


def _tests(graph: Graph, sources: set[str], speaking: set[str]) -> tuple[tuple[str, str], ...]:
    """Tests that are named after the files of the definitions and say nothing of them themselves."""
    stems = {
        posixpath.splitext(posixpath.basename(p))[0].strip("_"): p for p in sorted(sources) if not is_test(p)
    }
    found: list[tuple[str, str]] = []
    for path in sorted(graph.index.outlines) if stems else ():
        if path not in speaking and is_test(path):
            name = posixpath.basename(path).partition(".")[0]
            bare = re.sub(r"^test_|_test$|_spec$|Tests?$", "", name)
            if bare in stems and bare != "init":
                found.append((path, stems[bare]))
    return tuple(found)
