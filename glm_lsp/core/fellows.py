"""What code like this uses: files like the one at hand, functions of the same name, functions named alike."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from glm_lsp.core import signals
from glm_lsp.core.evidence import Evidence, Place, Ranking
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.signals import WEIGHTS
from glm_lsp.core.values import SymbolKind

MOST_ALIKE = 16
"""Files like this one whose code the walk looks at."""
MOST_NAMESAKES = 8
MOST_RESEMBLING = 8
ELSEWHERE = 0.7
"""What a function of another file counts beside one of this file."""
SAME_CLASS = 1.5
_HEADER = re.compile(r"\b(?:def|function\*?|func|fn)\s+(?:\([^)]*\)\s*)?(\w+)|^\s*(?:[a-z]+\s+)*(\w+)\s*[(<]")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_FUNCTIONS = frozenset({SymbolKind.FUNCTION, SymbolKind.METHOD})


def kept(
    ranking: Ranking, what: str, path: str, weigh: Callable[[], Mapping[Target, Evidence]]
) -> Mapping[Target, Evidence]:
    """What is worked out once for a graph; what is asked of it, where that is little."""
    if ranking.weights is not WEIGHTS:
        return weigh()
    if ranking.closed:
        return ranking.graph.known(what, path) or weigh()
    return ranking.graph.kept(what, path, weigh)


def alike(graph: Graph, path: str) -> Mapping[str, float]:
    """The files where a random walk from `path` over its imports and their importers arrives, with its
    probability; those of the same folder get a restart of their own."""
    return graph.kept("alike", path, lambda: _walked(graph, path))


def _walked(graph: Graph, path: str) -> Mapping[str, float]:
    arrived: dict[str, float] = {}
    imported = graph.imported(path)
    for other in imported:
        users = graph.importers(other)
        for user in users if len(users) < 2000 else ():
            arrived[user] = arrived.get(user, 0.0) + 1.0 / len(imported) / len(users)
    beside = graph.beside(path)
    for other in beside:
        arrived[other] = arrived.get(other, 0.0) + 0.5 / len(beside)
    if pair := graph.paired(path):
        arrived[pair] = arrived.get(pair, 0.0) + 0.3
    arrived.pop(path, None)
    best = sorted(arrived, key=lambda p: (-arrived[p], p))[:MOST_ALIKE]
    return {p: arrived[p] for p in best}


def of_namesakes(ranking: Ranking, place: Place) -> Mapping[Target, Evidence]:
    """What functions of the same name elsewhere use."""
    name = _function_around(place)
    graph = ranking.graph

    def weigh() -> Mapping[Target, Evidence]:
        part = ranking.part()
        others = (t for t in graph.each_named(name) if t.path != place.path)
        found = list(itertools.islice(others, MOST_NAMESAKES))
        counts: dict[Target, int] = {}
        for target in found:
            uses = graph.uses_within(target)
            for used in (*uses.certain, *uses.hints):
                counts[used] = counts.get(used, 0) + 1
        for used, count in counts.items():
            reason = f"used by another {name}"
            part.add(signals.NAMESAKE, used, count / (1 + len(found)), reason)
        return part.found

    if len(name) < 3:
        return {}
    return kept(ranking, f"name {name}", place.path, weigh)


def of_resembling(ranking: Ranking, place: Place, around: str) -> Mapping[Target, Evidence]:
    """What functions use whose names have words in common with that of the one being written."""
    name = _function_around(place)
    words = parts(name)
    if not words or ranking.closed:
        return {}
    graph, part = ranking.graph, ranking.part()
    counts: dict[Target, float] = {}
    for share, target in _resembling(graph, place, name, around)[:MOST_RESEMBLING]:
        uses = graph.uses_within(target)
        for used in (*uses.certain, *uses.hints):
            counts[used] = counts.get(used, 0.0) + share
    for used, share in counts.items():
        reason = f"used by functions named like {name}"
        part.add(signals.RESEMBLING, used, share / (1.0 + share), reason)
    return part.found


def _resembling(graph: Graph, place: Place, name: str, around: str) -> list[tuple[float, Target]]:
    """The functions of this file and of files like it that are named most alike, and how much."""
    words = parts(name)
    found: list[tuple[float, Target]] = []
    for other in (place.path, *alike(graph, place.path)):
        mine = other == place.path
        for qualified, symbols in graph.symbols(other).items():
            symbol = symbols[0]
            if symbol.kind not in _FUNCTIONS or (symbol.name == name and not mine):
                continue
            if mine and symbol.span.start <= place.offset <= symbol.span.end:
                continue
            if common := len(words & (theirs := parts(symbol.name))):
                share = common / len(words | theirs) * (1.0 if mine else ELSEWHERE)
                beside = mine and around and symbol.parent == around
                found.append((share * SAME_CLASS if beside else share, Target(other, qualified)))
    return sorted(found, key=lambda row: (-row[0], row[1]))


def _function_around(place: Place) -> str:
    """The name of the function whose header stands next above the cursor; empty where none does."""
    lines = place.near.split("\n")[: place.near_line + 1]
    for line in reversed(lines[-40:]):
        if match := _HEADER.search(line):
            return match[1] or match[2]
    return ""


@lru_cache(maxsize=65536)
def parts(name: str) -> frozenset[str]:
    """The words of a name, in lower case, those of less than three letters left out."""
    return frozenset(part.lower() for part in _PARTS.findall(name) if len(part) > 2)
