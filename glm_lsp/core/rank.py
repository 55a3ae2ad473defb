"""Which definitions a place in the code needs, best first, each with a reason that a person can read.

Pure. One pass per signal of `signals.WEIGHTS`: each names definitions and how strongly it speaks for them;
weight times strength is added up, and what spoke loudest is the reason. What a file says whatever the place
in it is worked out once for each graph (`_of_file`, `_of_walk`); what is near the cursor at each request.
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping, Sequence
from itertools import islice

from glm_lsp.core import signals
from glm_lsp.core.evidence import Candidate, Evidence, Place, Ranking
from glm_lsp.core.fellows import alike, kept, of_namesakes, of_resembling, parts
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.signals import WEIGHTS
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import OWNERS, Span, Symbol, SymbolKind

__all__ = ["Candidate", "Place", "needed", "prepare", "rank", "rank_for_task"]

MOST_CANDIDATES = 1000
NEAR_LINES = 4
"""A use this many lines away weighs half of one on the cursor's line."""
HEADER_LINES = 3
"""Above the cursor: where the header of a function may stand whose body is being written."""
MOST_EQUAL = 5
"""A bare name with more definitions than this is no evidence."""
CENTRAL_FILES = 60
MOST_PACKAGE = 50
"""Files of the same package whose definitions are looked at."""
MOST_FIELDS = 16
"""Of a class that is made where the cursor is: so many fields are as sure as its name."""
MOST_CALL_LINES, MOST_CALL_CHARS = 20, 2000
"""Up to the cursor's line: where the call may begin whose arguments are being written."""
MOST_NAME = 80
_SPARING = frozenset({"go", "c", "cpp"})
_WORD = re.compile(r"((?:[^\W\d]\w*\.)*)([^\W\d]\w*)")
_CALLED = re.compile(r"([^\W\d][\w.]*)\(")
_LAST = re.compile(r"[^\W\d][\w.]*$")
_ASKED = re.compile(r"(?<![\w.])([^\W\d]\w*)\.(?!\d)")
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


def rank(graph: Graph, place: Place, weights: Mapping[str, float] = WEIGHTS) -> tuple[Candidate, ...]:
    """The definitions that the code around the cursor may need, best first, at most `MOST_CANDIDATES`."""
    return _ranked(Ranking(graph, weights, path=place.path), place)


def needed(graph: Graph, place: Place) -> tuple[Candidate, ...]:
    """Those of `rank` that are certain, and so few that they are found while somebody types."""
    return _ranked(Ranking(graph, path=place.path), place, certain=True)


def prepare(graph: Graph, path: str) -> frozenset[Target]:
    """Work out now what every place in a file will ask of the graph; the definitions that play a part."""
    for target in graph.bindings(path).values():
        graph.members(target)
    own = (Target(path, qualified) for qualified in graph.symbols(path))
    ranking = Ranking(graph, path=path)
    return frozenset((*_of_file(ranking, path), *_of_walk(ranking, path), *own))


def _ranked(ranking: Ranking, place: Place, *, certain: bool = False) -> tuple[Candidate, ...]:
    graph, path = ranking.graph, place.path
    around = _class_around(graph, path, place.offset)
    _weigh_near(ranking, place, around, certain=certain)
    ranking.closed = certain
    _weigh_members(ranking)
    _weigh_own(ranking, path, around)
    ranking.merge(_of_file(ranking, path))
    ranking.merge(_of_walk(ranking, path))
    ranking.merge(of_namesakes(ranking, place))
    ranking.merge(of_resembling(ranking, place, around))
    _weigh_files(ranking, place)
    _weigh_likeness(ranking, place)
    return _sorted(ranking, path, place.hidden, None if certain else MOST_CANDIDATES)


def rank_for_task(graph: Graph, paths: Sequence[str], task: str) -> tuple[Candidate, ...]:
    """The definitions that a change to `paths` needs, as `task` words it."""
    ranking = Ranking(graph)
    for match in _WORD.finditer(task):
        for path in paths:
            target = graph.resolve(path, match[2], match[1].rstrip("."))
            ranking.add(signals.NAMED, target, 1.0, "named in the task", True)
        _weigh_equal_name(ranking, match[2], 1.0, "named in the task", signals.NAMED)
    for path in paths:
        for target, count in graph.uses(path).certain.items():
            ranking.add(signals.SIBLING, target, _share(count), f"used in {path}", True)
        for user in sorted(graph.importers(path))[:20]:
            for target, count in graph.uses(user).certain.items():
                reason = f"used in {user}, which imports {path}"
                ranking.add(signals.BESIDE, target, 0.2 * _share(count), reason)
    _weigh_members(ranking)
    _weigh_docstrings(ranking, task)
    for path in paths:
        ranking.merge(_of_walk(ranking, path))
        for qualified in graph.symbols(path):
            ranking.add(signals.OWN, Target(path, qualified), 0.5, f"in {path}")
    return _sorted(ranking, "", ())


def _share(count: int) -> float:
    """Of certainty, after so many uses: 1 use gives 0.5, and each more takes half of what is left."""
    return 1.0 - 0.5**count


def _weigh_near(ranking: Ranking, place: Place, around: str, *, certain: bool) -> None:
    """Names in the text near the cursor, nearer ones more; of each the three nearest uses."""
    graph = ranking.graph
    types = _types(place)
    equal: list[tuple[str, float, str]] = []
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
        strength = sum(
            NEAR_LINES / (NEAR_LINES + abs(number - place.near_line)) / times / 2
            for times, number in enumerate(numbers, 1)
        )
        above = place.near_line - numbers[0]
        if target is not None:
            reason = f"{_origin(target, place.path)}, used {_where(above)}"
            ranking.near[target] = ranking.near.get(target, 0.0) + strength
            ranking.add(signals.NEAR, target, strength, reason, certain=True)
        else:
            equal.append((name, strength, f"the same name stands {_where(above)}"))
    _weigh_asked(ranking, place, around, types)
    ranking.closed = certain
    names = {target.name.rpartition(".")[2] for target in ranking.found}
    for name, strength, reason in equal:
        if not certain or name in names:
            _weigh_equal_name(ranking, name, strength, reason)


def _weigh_asked(ranking: Ranking, place: Place, around: str, types: Mapping[str, str]) -> None:
    """The fields of a class that is being made where the cursor is, or of which a member is asked for."""
    graph, lines = ranking.graph, place.near.split("\n")[: place.near_line + 1]
    line = lines[-1][:MOST_CALL_CHARS] if len(lines) > place.near_line else ""
    asked = [types.get(name, name) for name in _ASKED.findall(line)]
    made = _CALLED.findall(line) or _open_call("\n".join(lines[-MOST_CALL_LINES:])[-MOST_CALL_CHARS:])
    for dotted in dict.fromkeys((*asked, *made)):
        qualifier, _, name = dotted.rpartition(".")
        target = graph.resolve(place.path, name, qualifier, around)
        symbol = graph.symbol(target) if target is not None and target.name else None
        if target is None or symbol is None or symbol.kind not in OWNERS:
            continue
        if dotted not in asked and graph.symbol(Target(target.path, f"{target.name}.__init__")):
            continue  # its signature says what it is made of
        reason = f"field of {target.name}, which is {'asked for' if dotted in asked else 'made'} here"
        fields = (t for t in graph.members(target) if _is_field(graph.symbol(t)))
        for field in islice(fields, MOST_FIELDS):
            ranking.add(signals.MEMBER, field, 0.8, reason, certain=True)


def _is_field(symbol: Symbol | None) -> bool:
    return symbol is not None and symbol.kind is SymbolKind.VARIABLE


def _open_call(text: str) -> list[str]:
    """What is called where the innermost bracket opens that is open at the end of a text."""
    depth = 0
    for at in range(len(text) - 1, -1, -1):
        depth += (text[at] in ")]}") - (text[at] in "([{")
        if depth < 0:
            found = _LAST.search(text, max(0, at - MOST_NAME), at) if text[at] == "(" else None
            return [found[0]] if found else []
    return []


def _types(place: Place) -> dict[str, str]:
    """The types of variables, as far as the text around the cursor says them."""
    found: dict[str, str] = {}
    if declared := _DECLARED.get(language_of(place.path)):
        for match in declared.finditer(place.near):
            groups = match.groupdict()
            found.setdefault(groups.get("name") or match[1], groups.get("kind") or match[2])
    found.update({m[1]: m[2] or m[3] for m in _TYPED.finditer(place.near)})
    return found


def _weigh_equal_name(
    ranking: Ranking, name: str, strength: float, reason: str, signal: str = signals.EQUAL
) -> None:
    files = len(ranking.graph.defining(name))
    if files <= MOST_EQUAL and len(name) > 2:
        told = 1.0 if signal == signals.NAMED else ranking.rarity(name)
        for target in ranking.graph.named(name):
            ranking.add(signal, target, strength * told / files, reason)


def _weigh_own(ranking: Ranking, path: str, around: str) -> None:
    """What the file defines, and the class around the cursor more."""
    own = [t for t in ranking.found if t.path == path] if ranking.closed else None
    for target in own if own is not None else [Target(path, name) for name in ranking.graph.symbols(path)]:
        near = bool(around) and target.name.startswith(f"{around}.")
        reason = f"beside it in {around}" if near else "in this file"
        ranking.add(signals.OWN, target, 1.0 if near else 0.6, reason)


def _weigh_members(ranking: Ranking) -> None:
    """Public methods of the classes that are needed for certain."""
    graph = ranking.graph
    for target, evidence in list(ranking.found.items()):
        symbol = graph.symbol(target) if evidence.certain else None
        if symbol is not None and symbol.kind in OWNERS:
            strength = min(1.0, ranking.near.get(target, 0.5))
            for member in graph.members(target):
                if ranking.closed and member not in ranking.found:
                    continue
                reason = f"member of {target.name}, which is {evidence.reason}"
                ranking.add(signals.MEMBER, member, strength * (0.3 + 0.7 * ranking.fame(member)), reason)


def _of_file(ranking: Ranking, path: str) -> Mapping[Target, Evidence]:
    """What the file imports, and what its functions use."""
    graph = ranking.graph

    def weigh() -> Mapping[Target, Evidence]:
        part = ranking.part()
        uses = graph.uses(path)
        for target in set(graph.bindings(path).values()):
            part.add(signals.IMPORTED, target, 1.0, "imported here")
            if target not in uses.certain:
                part.add(signals.AWAITED, target, 1.0, "imported here and not used yet")
        for target, count in uses.certain.items():
            if target.path != path:
                part.add(signals.SIBLING, target, _share(count), "used by its siblings")
        for target, count in uses.hints.items():
            part.add(signals.HINT, target, _share(count), "the only one of a name that its siblings use")
        for target in {*graph.bindings(path).values(), *uses.certain}:
            if not target.name:
                for member in filter(part.asks_for, graph.offered(target.path)):
                    strength = 0.2 + 0.8 * part.fame(member)
                    part.add(signals.MODULE, member, strength, "in a module imported here")
            elif target.path != path:
                for member in filter(part.asks_for, graph.members(target)):
                    reason = f"member of {target.name}, which this file speaks of"
                    part.add(signals.KIN, member, 0.2 + 0.8 * part.fame(member), reason)
        for other in graph.package(path)[:MOST_PACKAGE]:
            for qualified in graph.symbols(other):
                if "." not in qualified and part.asks_for(target := Target(other, qualified)):
                    part.add(signals.PACKAGE, target, 0.2 + 0.8 * part.fame(target), "in this file's package")
        return part.found

    return kept(ranking, "file", path, weigh)


def _of_walk(ranking: Ranking, path: str) -> Mapping[Target, Evidence]:
    """What files like this one use, what those beside it use, what tests and tested files have in common;
    then the definitions of imported files, and of those that most files import."""
    graph = ranking.graph

    def weigh() -> Mapping[Target, Evidence]:
        part = ranking.part()
        fellows = alike(graph, path)
        whole = sum(fellows.values())
        walk: dict[Target, float] = {}
        hints: dict[Target, float] = {}
        for other, weight in fellows.items():
            uses = graph.uses(other)
            for target in filter(part.asks_for, uses.certain):
                walk[target] = walk.get(target, 0.0) + weight / whole
            for target in filter(part.asks_for, uses.hints):
                hints[target] = hints.get(target, 0.0) + weight / whole
        for target, share in walk.items():
            part.add(signals.WALK, target, min(1.0, share), "used by files like this one")
        for target, share in hints.items():
            part.add(signals.WALK, target, 0.5 * min(1.0, share), "a name that files like this one use")
        beside = graph.beside(path)
        counts: dict[Target, int] = {}
        for other in beside:
            for target in filter(part.asks_for, set(graph.bindings(other).values())):
                counts[target] = counts.get(target, 0) + 1
        for target, count in counts.items():
            reason = f"imported by {count} files beside it"
            part.add(signals.BESIDE, target, count / len(beside), reason)
        near = graph.imported(path)
        for other in dict.fromkeys((*sorted(near), *graph.central()[:CENTRAL_FILES])):
            users = len(graph.importers(other))
            reason = "in a file imported here" if other in near else f"in a file that {users} files import"
            strength = math.log(1 + users) / math.log(2 + len(graph.index.outlines))
            for qualified, symbols in graph.symbols(other).items():
                name, target = symbols[0].name, Target(other, qualified)
                if not name.startswith("_") and part.asks_for(target):
                    share = 0.5 if "." in qualified or symbols[0].kind is SymbolKind.VARIABLE else 1.0
                    full = (1.0 if other in near else 0.6) * share * (strength + part.fame(target)) / 2
                    part.add(signals.CENTRAL, target, full, reason)
        return part.found

    return kept(ranking, "walk", path, weigh)


def _weigh_files(ranking: Ranking, place: Place) -> None:
    """Files that were visited lately, that change with this one, that test it or are tested by it."""
    pair = ranking.graph.paired(place.path)
    recent = place.recent[-8:]
    files = {p: (signals.RECENT, (n + 1) / len(recent), "looked at lately") for n, p in enumerate(recent)}
    for path, share in place.changed.items():
        files[path] = (signals.CHANGED, share, "often changed together with this file")
    for target, evidence in ranking.found.items():
        if row := files.get(target.path):
            evidence.add(ranking.weights[row[0]] * row[1], f"in {target.path}, {row[2]}")
        if pair and target.path == pair:
            evidence.add(ranking.weights[signals.PAIR], "in the file that goes with this one")


def _weigh_likeness(ranking: Ranking, place: Place) -> None:
    """Words that a definition's name shares with the function being written and the path."""
    lines = place.near.split("\n")
    header = lines[max(0, place.near_line - HEADER_LINES) : place.near_line + 1]
    words: set[str] = set()
    for line in header:
        words.update(*(parts(name) for _, name in _WORD.findall(line)))
    words.update(parts(posixpath.basename(place.path).partition(".")[0]))
    for target, evidence in ranking.found.items():
        mine = parts(target.name.rpartition(".")[2])
        if common := len(mine & words):
            evidence.score += ranking.weights[signals.LIKENESS] * common / len(mine)


def _weigh_docstrings(ranking: Ranking, task: str) -> None:
    words = {w.lower() for w in re.findall(r"[^\W\d]\w{3,}", task)}
    for path, outline in ranking.graph.index.outlines.items():
        for symbol in outline.symbols:
            if symbol.docstring:
                hits = sum(word in symbol.docstring.lower() for word in words)
                if hits > 1 or (hits and len(words) == 1):
                    target = Target(path, symbol.qualified)
                    strength = hits / len(words)
                    ranking.add(signals.LIKENESS, target, strength, "its docstring speaks of the task")


def _sorted(
    ranking: Ranking, path: str, hidden: Sequence[Span], most: int | None = MOST_CANDIDATES
) -> tuple[Candidate, ...]:
    rows: list[tuple[float, str, int, str, int, Symbol, Evidence]] = []
    for target, evidence in ranking.found.items():
        symbol = ranking.graph.symbol(target)
        if symbol is None or (target.path == path and any(_within(symbol, span) for span in hidden)):
            continue
        if _goes_without_saying(symbol, target.path, used=evidence.certain):
            continue
        rows.append(
            (-evidence.score, target.path, symbol.span.start, symbol.name, len(rows), symbol, evidence)
        )
    rows.sort()
    return tuple(Candidate(row[1], row[5], -row[0], row[6].reason, row[6].certain) for row in rows[:most])


def _goes_without_saying(symbol: Symbol, path: str, *, used: bool) -> bool:
    """Whether a definition of Go, C or C++ is not worth showing: a namespace; a field, and what is never
    called by its name, where nothing uses it for certain.
    """
    name, kind = symbol.name, symbol.kind
    unnamed = name.startswith(("~", "operator")) and not name.isidentifier()
    bare = unnamed or (symbol.parent is not None and kind is SymbolKind.VARIABLE)
    return (kind is SymbolKind.MODULE or (bare and not used)) and language_of(path) in _SPARING


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
