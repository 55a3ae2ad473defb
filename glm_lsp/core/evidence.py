"""What a ranking is made of: the place, the evidence for each definition, and the candidates that result."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from glm_lsp.core import reach
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.signals import WEIGHTS
from glm_lsp.core.values import Span, Symbol


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
    """Files edited or looked at lately, the latest last."""
    changed: Mapping[str, float] = field(default_factory=dict[str, float])
    """Files that changed together with this one, and in what share of its commits."""


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
    """What speaks for one definition; the reason is what is certain, then what is loudest."""

    score: float = 0.0
    best: float = 0.0
    reason: str = ""
    certain: bool = False

    def add(self, score: float, reason: str, certain: bool = False) -> None:
        self.score += score
        if (certain, score) > (self.certain, self.best):
            self.best, self.reason, self.certain = score, reason, self.certain or certain

    def merge(self, other: Evidence) -> None:
        """As if everything that `other` was told had been told here; it is not certain."""
        self.score += other.score
        if other.best > self.best and not self.certain:
            self.best, self.reason = other.best, other.reason


@dataclass(slots=True)
class Ranking:
    """What the signals have found so far."""

    graph: Graph
    weights: Mapping[str, float] = field(default_factory=lambda: WEIGHTS)
    found: dict[Target, Evidence] = field(default_factory=dict[Target, Evidence])
    near: dict[Target, float] = field(default_factory=dict[Target, float])
    """How strongly names near the cursor speak for what they are resolved to."""
    closed: bool = False
    """No definition joins those found so far."""
    only: Container[Target] | None = None
    """Where only these are asked for: what else there is need not be looked at."""
    path: str = ""
    """Where help is needed; empty: everywhere."""
    _hidden: dict[str, frozenset[str] | None] = field(default_factory=dict[str, frozenset[str] | None])

    def asks_for(self, target: Target) -> bool:
        return self.only is None or target in self.only

    def names(self, target: Target) -> bool:
        """Whether code in `path` can name a definition at all."""
        hidden = self.hidden(target.path)
        return hidden is not None and target.name not in hidden

    def hidden(self, other: str) -> frozenset[str] | None:
        """What code in `path` cannot name of a file; None: all of it."""
        if other not in self._hidden:
            graph, path = self.graph, self.path
            imported = graph.kept("imported", path, lambda: graph.imported(path)) if path else ()
            found = reach.hidden(path, other, graph.private, other in imported) if path else frozenset[str]()
            self._hidden[other] = found
        return self._hidden[other]

    def add(
        self, signal: str, target: Target | None, strength: float, reason: str, certain: bool = False
    ) -> None:
        if target is not None and target.name and strength > 0.0 and self.asks_for(target):
            evidence = self.found.get(target)
            if evidence is None:
                if self.closed or not (certain or self.names(target)):
                    return
                evidence = self.found[target] = Evidence()
            evidence.add(self.weights[signal] * strength, reason, certain)

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

    def fame(self, target: Target) -> float:
        """How many files know the name of a definition, as a share of the logarithm of all."""
        files = len(self.graph.index.outlines)
        known = self.graph.files_with(target.name.rpartition(".")[2])
        return min(1.0, math.log(1 + known) / math.log(2 + files))

    def part(self) -> Ranking:
        """For what is the same at many places; where no more are wanted, only of those that are found."""
        only = self.found.keys() if self.closed else None
        return Ranking(self.graph, self.weights, only=only, path=self.path, _hidden=self._hidden)
