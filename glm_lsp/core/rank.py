"""Which definitions a place in the code needs, best first, each with a reason that a person can read.

Pure. The evidence, strongest first: names used near the cursor that imports, scopes and classes resolve for
certain; what the file imports; what its other functions use; members of the classes found; names that are
merely equal. A name that many files know says little (inverse document frequency). What has no evidence at
all follows by how many files import it, so that a cold place still gets the repository's main definitions.
What a file says whatever the place in it is worked out once for each graph.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import OWNERS, Span, Symbol, SymbolKind

MOST_CANDIDATES = 600
NEAR_LINES = 10
"""A use this many lines away weighs half of one on the cursor's line."""
IMPORTED, SIBLING, SAME_FILE, MEMBER, NEIGHBOUR, EQUAL_NAME, CENTRAL = 0.25, 0.35, 0.2, 0.3, 0.1, 0.15, 0.01
MOST_EQUAL = 5
"""A bare name with more definitions than this is no evidence."""
CENTRAL_FILES = 60
_WORD = re.compile(r"((?:[^\W\d]\w*\.)*)([^\W\d]\w*)")
_TYPED = re.compile(
    r"\b([^\W\d]\w*)\s*(?::\s*[\"']?([^\W\d][\w.]*)|:?=\s*(?:await\s+|new\s+|&)?([^\W\d][\w.]*)[({])"
)
_DECLARED = {
    "go": re.compile(r"\b([^\W\d]\w*)\s+\*?(?:\[\]\*?)?((?:[^\W\d]\w*\.)?[^\W\d]\w*)"),
    **dict.fromkeys(
        ("java", "c", "cpp"),
        re.compile(r"\b(?P<kind>[^\W\d][\w.]*)(?:<[^<>]*>)?[\s*&]+(?P<name>[^\W\d]\w*)\s*(?=[=;,:)])"),
    ),
}
"""How a variable is declared with its type, where that differs from `name: Type` and `name = Type(`."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where help is needed. `near` is text around the cursor, which stands on line `near_line` of it.

    `hidden` are spans of `path` that the prompt shows anyway: what is defined there is no candidate.
    """

    path: str
    offset: int
    near: str
    near_line: int
    hidden: tuple[Span, ...] = ()
    recent: tuple[str, ...] = ()
    """Files edited lately, the latest last."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A definition. `certain`: resolved from a use near the cursor, not by its bare name."""

    path: str
    symbol: Symbol
    score: float
    reason: str
    certain: bool = False


@dataclass(slots=True)
class Evidence:
    """What speaks for one definition."""

    score: float = 0.0
    best: float = 0.0
    reason: str = ""
    certain: bool = False

    def add(self, score: float, reason: str, certain: bool = False) -> None:
        self.score += score
        self.certain = self.certain or certain
        if score > self.best:
            self.best, self.reason = score, reason

    def merge(self, other: Evidence) -> None:
        """As if everything that `other` was told had been told here; it is not certain."""
        self.score += other.score
        if other.best > self.best:
            self.best, self.reason = other.best, other.reason


@dataclass(slots=True)
class _Ranking:
    graph: Graph
    found: dict[Target, Evidence] = field(default_factory=dict[Target, Evidence])
    closed: bool = False
    """No definition joins those found so far."""

    def add(self, target: Target | None, score: float, reason: str, certain: bool = False) -> None:
        if target is not None and target.name:
            evidence = self.found.get(target)
            if evidence is None:
                if self.closed:
                    return
                evidence = self.found[target] = Evidence()
            evidence.add(score, reason, certain)

    def merge(self, known: Mapping[Target, Evidence]) -> None:
        """Add what is known already, which stays as it is."""
        if self.closed:
            for target, evidence in self.found.items():
                if more := known.get(target):
                    evidence.merge(more)
            return
        for target, more in known.items():
            evidence = self.found.get(target)
            if evidence is None:
                self.found[target] = Evidence(more.score, more.best, more.reason)
            else:
                evidence.merge(more)

    def rarity(self, name: str) -> float:
        files = len(self.graph.index.outlines)
        return math.log(1 + files / (1 + self.graph.files_with(name))) / math.log(2 + files)


def rank(graph: Graph, place: Place) -> tuple[Candidate, ...]:
    """The definitions that the code around the cursor may need, best first, at most `MOST_CANDIDATES`."""
    return _ranked(_Ranking(graph), place)


def needed(graph: Graph, place: Place) -> tuple[Candidate, ...]:
    """Those of `rank` that are certain, and so few that they are found while somebody types."""
    return _ranked(_Ranking(graph), place, certain=True)


def prepare(graph: Graph, path: str) -> frozenset[Target]:
    """Work out now what every place in a file will ask of the graph; the definitions that play a part."""
    for target in graph.bindings(path).values():
        graph.members(target)
    own = (Target(path, qualified) for qualified in graph.symbols(path))
    return frozenset((*_of_file(graph, path), *_cold(graph, path), *own))


def _ranked(ranking: _Ranking, place: Place, *, certain: bool = False) -> tuple[Candidate, ...]:
    graph, path = ranking.graph, place.path
    around = _class_around(graph, path, place.offset)
    _weigh_uses(ranking, place, around)
    if certain:
        ranking.found = {t: e for t, e in ranking.found.items() if e.certain}
        ranking.closed = True
    _weigh_own(ranking, path, around)
    ranking.merge(_of_file(graph, path))
    _weigh_members(ranking)
    ranking.merge(_cold(graph, path))
    for target, evidence in ranking.found.items():
        if target.path in place.recent:
            evidence.score *= 1.2
    return _sorted(ranking, path, place.hidden, None if certain else MOST_CANDIDATES)


def rank_for_task(graph: Graph, paths: Sequence[str], task: str) -> tuple[Candidate, ...]:
    """The definitions that a change to `paths` needs, as `task` words it."""
    ranking = _Ranking(graph)
    for match in _WORD.finditer(task):
        for path in paths:
            ranking.add(graph.resolve(path, match[2], match[1].rstrip(".")), 1.0, "named in the task", True)
        _weigh_equal_name(ranking, match[2], 4.0, "named in the task")
    for path in paths:
        _weigh_references(ranking, path, 1.0, f"used in {path}", certain=True)
        for user in sorted(graph.importers(path))[:20]:
            _weigh_references(ranking, user, 0.1, f"used in {user}, which imports {path}")
    _weigh_members(ranking)
    _weigh_docstrings(ranking, task)
    for path in paths:
        ranking.merge(_cold(graph, path))
        for qualified in graph.symbols(path):
            ranking.add(Target(path, qualified), SAME_FILE, f"in {path}")
    return _sorted(ranking, "", ())


def _weigh_uses(ranking: _Ranking, place: Place, around: str) -> None:
    """Names in the text near the cursor, nearer ones more; of each the three nearest uses."""
    graph = ranking.graph
    types = _types(place)
    lines = place.near.split("\n")
    uses: dict[tuple[str, str], list[int]] = {}
    for number in sorted(range(len(lines)), key=lambda n: (abs(n - place.near_line), n)):
        for qualifier, name in _WORD.findall(lines[number]):
            found = uses.setdefault((name, qualifier), [])
            if len(found) < 3:
                found.append(number)
    for (name, dotted), numbers in uses.items():
        qualifier = dotted.rstrip(".")
        if not (qualifier or graph.files_with(name)):
            continue
        target = graph.resolve(place.path, name, qualifier, around)
        if target is None and qualifier in types:
            kind, _, last = types[qualifier].rpartition(".")
            owner = graph.resolve(place.path, last, kind, around)
            target = graph.member(owner, name) if owner and owner.name else None
        rarity = ranking.rarity(name)
        for times, number in enumerate(numbers, 1):
            weight = rarity * NEAR_LINES / (NEAR_LINES + abs(number - place.near_line)) / times
            where = _where(place.near_line - number)
            if target is not None:
                ranking.add(target, weight, f"{_origin(target, place.path)}, used {where}", certain=True)
            else:
                _weigh_equal_name(ranking, name, weight, f"the same name stands {where}")


def _types(place: Place) -> dict[str, str]:
    """The types of variables, as far as the text around the cursor says them."""
    found: dict[str, str] = {}
    if declared := _DECLARED.get(language_of(place.path)):
        for match in declared.finditer(place.near):
            groups = match.groupdict()
            found.setdefault(groups.get("name") or match[1], groups.get("kind") or match[2])
    found.update({m[1]: m[2] or m[3] for m in _TYPED.finditer(place.near)})
    return found


def _weigh_equal_name(ranking: _Ranking, name: str, weight: float, reason: str) -> None:
    files = len(ranking.graph.defining(name))
    if files <= MOST_EQUAL and len(name) > 2:
        for target in ranking.graph.named(name):
            ranking.add(target, EQUAL_NAME * weight / files, reason)


def _weigh_own(ranking: _Ranking, path: str, around: str) -> None:
    """What the file defines, and the class around the cursor more."""
    own = [t for t in ranking.found if t.path == path] if ranking.closed else None
    for target in own if own is not None else [Target(path, name) for name in ranking.graph.symbols(path)]:
        near = bool(around) and target.name.startswith(f"{around}.")
        weight = (SIBLING if near else SAME_FILE) * max(ranking.rarity(target.name.rpartition(".")[2]), 0.3)
        ranking.add(target, weight, f"beside it in {around}" if near else "in this file")


def _of_file(graph: Graph, path: str) -> Mapping[Target, Evidence]:
    """What the file imports, what its functions use, and what the files beside it import."""

    def weigh() -> Mapping[Target, Evidence]:
        ranking = _Ranking(graph)
        for name, target in graph.bindings(path).items():
            ranking.add(target, IMPORTED * ranking.rarity(name), "imported here")
        _weigh_references(ranking, path, SIBLING, "used by its siblings")
        for target, count in graph.neighbours(path).items():
            if count > 1 and target.path != path:
                weight = NEIGHBOUR * ranking.rarity(target.name) * min(1.0, count / 4)
                ranking.add(target, weight, f"imported by {count} files beside it")
        return ranking.found

    return graph.kept("file", path, weigh)


def _weigh_references(
    ranking: _Ranking, path: str, weight: float, reason: str, certain: bool = False
) -> None:
    graph = ranking.graph
    outline = graph.index.outlines.get(path)
    counts: dict[tuple[str, str], int] = {}
    for use in outline.references if outline else ():
        counts[(use.name, use.qualifier)] = counts.get((use.name, use.qualifier), 0) + 1
    for (name, qualifier), count in counts.items():
        target = graph.resolve(path, name, qualifier)
        if target is not None:
            ranking.add(target, weight * ranking.rarity(name) * min(1.5, 0.5 + count / 4), reason, certain)


def _weigh_members(ranking: _Ranking) -> None:
    """Public methods of the classes that are needed for certain."""
    graph = ranking.graph
    for target, evidence in list(ranking.found.items()):
        symbol = graph.symbol(target) if evidence.certain else None
        if symbol is not None and symbol.kind in OWNERS:
            for member in graph.members(target):
                reason = f"member of {target.name}, which is {evidence.reason}"
                ranking.add(member, MEMBER * evidence.score, reason)


def _cold(graph: Graph, path: str) -> Mapping[Target, Evidence]:
    """Definitions at the top level of imported files, then of the files that most files import."""

    def weigh() -> Mapping[Target, Evidence]:
        ranking = _Ranking(graph)
        near = sorted(graph.imported(path))
        central = graph.central()[:CENTRAL_FILES]
        for position, other in enumerate([*near, *central]):
            users = len(graph.importers(other))
            beside = position < len(near)
            weight = CENTRAL * math.log(2 + users) * (2.0 if beside else 1.0)
            reason = "in a file imported here" if beside else f"in a file that {users} files import"
            for qualified, symbols in graph.symbols(other).items():
                if "." not in qualified and not qualified.startswith("_"):
                    share = 1.0 if symbols[0].kind is not SymbolKind.VARIABLE else 0.5
                    ranking.add(Target(other, qualified), weight * share, reason)
        return ranking.found

    return graph.kept("cold", path, weigh)


def _weigh_docstrings(ranking: _Ranking, task: str) -> None:
    words = {w.lower() for w in re.findall(r"[^\W\d]\w{3,}", task)}
    for path, outline in ranking.graph.index.outlines.items():
        for symbol in outline.symbols:
            if symbol.docstring:
                hits = sum(word in symbol.docstring.lower() for word in words)
                if hits > 1 or (hits and len(words) == 1):
                    target = Target(path, symbol.qualified)
                    ranking.add(target, 0.2 * hits / len(words), "its docstring speaks of the task")


def _sorted(
    ranking: _Ranking, path: str, hidden: Sequence[Span], most: int | None = MOST_CANDIDATES
) -> tuple[Candidate, ...]:
    rows: list[tuple[float, str, int, str, int, Symbol, Evidence]] = []
    for target, evidence in ranking.found.items():
        symbol = ranking.graph.symbol(target)
        if symbol is None or (target.path == path and any(_within(symbol, span) for span in hidden)):
            continue
        rows.append(
            (-evidence.score, target.path, symbol.span.start, symbol.name, len(rows), symbol, evidence)
        )
    rows.sort()
    return tuple(Candidate(row[1], row[5], -row[0], row[6].reason, row[6].certain) for row in rows[:most])


def _within(symbol: Symbol, span: Span) -> bool:
    """Whether the signature of `symbol` stands inside `span`."""
    start = symbol.name_span.start or symbol.span.start
    return span.start <= start < span.end


def _class_around(graph: Graph, path: str, offset: int) -> str:
    found = ""
    for qualified, symbols in graph.symbols(path).items():
        for symbol in symbols:
            if symbol.span.start <= offset <= symbol.span.end:
                if symbol.kind in OWNERS:
                    found = qualified
                elif symbol.kind is SymbolKind.METHOD and symbol.parent:
                    found = symbol.parent
    return found


def _origin(target: Target, path: str) -> str:
    if target.path == path:
        return "defined in this file"
    return "imported here" if "." not in target.name else f"in {target.name.rpartition('.')[0]}"


def _where(lines_above: int) -> str:
    if lines_above == 0:
        return "on this line"
    count = abs(lines_above)
    return f"{count} line{'s' if count > 1 else ''} {'above' if lines_above > 0 else 'below'}"
