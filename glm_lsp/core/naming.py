"""Which definitions a task in words speaks of, and which of its words are in doubt.

Pure. A word in backquotes, a qualified name, a call and a word that only code writes (`snake_case`,
`CamelCase`) name a definition by being its exact name. Plain words count only where nothing of that kind is
there: as an exact name, then as the words that a name is made of. What is to be the new name is no name yet.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.reach import is_test
from glm_lsp.core.values import Symbol

MOST_MEANT = 5
"""A name of more definitions than this, apart from overrides, is too vague to be worked on."""
MOST_GRAM = 4
LEAST_WORD_CHARS = 3
_MARKED = re.compile(r"`([^`\n]{1,200})`")
_WORD = re.compile(r"[^\W\d][\w$]*(?:(?:\.|::|#)[^\W\d][\w$]*)*")
_PATH = re.compile(r"[\w.@-]+(?:/[\w.@-]+)+|[\w@-]+\.\w{1,5}\b")
_RENAMED = re.compile(
    r"(?:\bto|\binto|\bas|->|→|=>)\s+(?:be\s+called\s+)?`?([^\W\d][\w$]*(?:\.[^\W\d][\w$]*)*)"
)
_RENAMES = re.compile(r"\b(?:renam|call\b|chang\w* the name|move)", re.IGNORECASE)
_ADDED = re.compile(
    r"\b(?:add|introduce|create|accept|take)\b(?:\s+\w+){0,3}?\s+"
    r"(?:parameter|argument|option|field|keyword|flag|attribute|method|function|property|class)s?\s+"
    r"(?:(?:called|named)\s+)?`?([^\W\d][\w$]*)",
    re.IGNORECASE,
)
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_IN_CODE = re.compile(r"_|[a-z0-9][A-Z]|[A-Z][A-Z].*[a-z]|\d")
_QUALIFIED = re.compile(r"\w{2}(?:\.|::|#)\w{2}")
"""More than `e.g.`"""
_INSTRUCTIONS = """
a add all an and any argument arguments as async at attribute be body by call called callers calls change
class classes code comment constant convert create default definition delete docs documentation drop each
every everywhere extract field file files fix for from function functions give import imports in inline
instead into is it its keep keyword make method methods model module modules move name named names new not
of on one only option or out over own pass parameter parameters place property refactor remove rename
replace return returns set should signature so split string take test tests text than that the their them
then they this to type types update usage usages use used uses using value values variable when where
which with without write anything everything nothing something somewhere nice better best good bad clean
simple simpler fast faster slow main some more less first last long short small large old other same
"""
_NO_NAMES = frozenset(_INSTRUCTIONS.split())
"""Words of instructions, which are taken for names only in backquotes."""


@dataclass(frozen=True, slots=True)
class Named:
    """A definition that a task names, by this `word`."""

    target: Target
    word: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A word that several unrelated definitions go by; `taken`: all of them are worked on."""

    word: str
    targets: tuple[Target, ...]
    taken: bool


@dataclass(frozen=True, slots=True)
class Naming:
    """What a task names; both in the order of the task. `unknown`: written like names, but none is known."""

    named: tuple[Named, ...] = ()
    ambiguous: tuple[Ambiguous, ...] = ()
    unknown: tuple[str, ...] = ()


Family = Callable[[Target], frozenset[Target]]
"""A definition with all that overrides it or is overridden by it: they bear one name together."""


def naming(graph: Graph, task: str, paths: Sequence[str], family: Family) -> Naming:
    """The definitions that `task` names. Files that it names, or else `paths`, decide between several."""
    within = _files_named(graph, task) or [p for p in paths if p not in ("", ".")]
    reading = _Reading(graph, within, family)
    marked = [m[1] for m in _MARKED.finditer(task)]
    plain = _PATH.sub(lambda m: " " if _known(graph, m[0]) else m[0], _MARKED.sub(" ", task))
    new = _new_names(graph, task)
    for text in marked:
        for word in _WORD.findall(text.split("(")[0]):
            if word not in new:
                reading.take(word, "named in the task", told=True)
    words = list(_WORD.finditer(plain))
    for position, match in enumerate(words):
        word = match[0]
        called = plain[match.end() : match.end() + 1] == "("
        first = position == 0 or plain[: match.start()].rstrip().endswith((".", ":", "\n"))
        if word not in new and (called or _written_as_code(word, first=first)):
            told = called or _IN_CODE.search(word) is not None or _QUALIFIED.search(word) is not None
            reading.take(word, "named in the task", told=told)
    if not reading.found and not reading.ambiguous:
        for word in dict.fromkeys(m[0] for m in words):
            if word not in new and len(word) >= LEAST_WORD_CHARS and word.lower() not in _NO_NAMES:
                reading.take(word, "the task has this word", told=False)
    if not reading.found and not reading.ambiguous:
        reading.take_worded([m[0] for m in words if m[0] not in new])
    return Naming(
        tuple(reading.found.values()),
        tuple(reading.ambiguous.values()),
        tuple(dict.fromkeys(reading.unknown)),
    )


def _written_as_code(word: str, *, first: bool) -> bool:
    """Whether a word of a sentence looks like a name; a capital at the sentence's start says nothing."""
    capital = word[:1].isupper() and not first and not word.isupper()
    return "." in word or "::" in word or "#" in word or capital or _IN_CODE.search(word) is not None


def _new_names(graph: Graph, task: str) -> frozenset[str]:
    """What does not exist yet: what something is renamed to, what is added. A class moved to is known."""
    found = {m[1] for m in _ADDED.finditer(task)}
    if _RENAMES.search(task):
        found |= {m[1] for m in _RENAMED.finditer(task)}
        found |= {name.rpartition(".")[2] for name in found}
    moved = re.search(r"\bmove\b", task, re.IGNORECASE)
    return frozenset(n for n in found if not (moved and graph.defining(n)))


def _known(graph: Graph, text: str) -> bool:
    return bool(_paths_like(graph, text))


def _paths_like(graph: Graph, text: str) -> list[str]:
    text = text.strip("./")
    if not text:
        return []
    if text in graph.index.outlines:
        return [text]
    if "/" in text or posixpath.splitext(text)[1]:
        return [p for p in graph.index.outlines if p.endswith("/" + text) or p.startswith(text + "/")]
    return []


def _files_named(graph: Graph, task: str) -> list[str]:
    return [path for match in _PATH.finditer(task) for path in _paths_like(graph, match[0])]


class _Reading:
    """A task while it is read."""

    def __init__(self, graph: Graph, within: Sequence[str], family: Family) -> None:
        self.graph, self.within, self.family = graph, within, family
        self.found: dict[Target, Named] = {}
        self.ambiguous: dict[str, Ambiguous] = {}
        self.unknown: list[str] = []

    def take(self, word: str, reason: str, *, told: bool) -> None:
        """Add what goes by a word; `told`: the word is certainly meant as a name."""
        word = word.replace("::", ".").replace("#", ".")
        targets = self._narrowed(self._meant(word))
        if exact := [t for t in targets if t.name == word and len(targets) > 1]:
            more = len(targets) - len(exact)
            reason += f"; {more} more go by that name inside of others" if more else ""
            targets = exact
        families = self._families(targets)
        if not families:
            if told:
                self.unknown.append(word)
            return
        if len(families) > 1:
            self.ambiguous[word] = Ambiguous(word, tuple(targets), len(families) <= MOST_MEANT)
            if len(families) > MOST_MEANT:
                return
            reason = f"{reason}; one of {len(families)} definitions called {word}"
        for target in targets:
            self.found.setdefault(target, Named(target, word, reason))

    def take_worded(self, words: Sequence[str]) -> None:
        """Add names that are made of words which follow each other in the task."""
        by_parts: dict[str, list[str]] = {}
        outlines = self.graph.index.outlines.values()
        for name in {symbol.name for outline in outlines for symbol in outline.symbols}:
            parts = _PARTS.findall(name)
            if len(parts) > 1:
                by_parts.setdefault("".join(parts).lower(), []).append(name)
        for size in range(MOST_GRAM, 1, -1):
            for at in range(len(words) - size + 1):
                for name in sorted(by_parts.get("".join(words[at : at + size]).lower(), ())):
                    self.take(name, f"the task speaks of “{' '.join(words[at : at + size])}”", told=False)

    def _meant(self, word: str) -> list[Target]:
        """The definitions that a name, qualified or not, may stand for."""
        graph = self.graph
        head, _, last = word.rpartition(".")
        named = graph.named(last)
        if not head:
            return list(named)
        exact = [t for t in named if t.name == word or t.name.endswith("." + word)]
        dotted = [t for t in named if ("." + _dotted(t)).endswith("." + word)]
        if exact or dotted:
            return exact or dotted
        owners = [t for t in self._meant(head) if graph.symbol(t) is not None]
        inherited = [graph.member(owner, last) for owner in owners]
        return list(dict.fromkeys(t for t in inherited if t is not None))

    def _narrowed(self, targets: list[Target]) -> list[Target]:
        """Those in the files that are meant; tests' own helpers only where there is nothing else."""
        inside = [t for t in targets if any(_below(t.path, p) for p in self.within)]
        code = [t for t in inside or targets if inside or not is_test(t.path)]
        chosen = code or targets
        top = [t for t in chosen if not self._local(t)]
        return top or chosen

    def _local(self, target: Target) -> bool:
        """Whether a definition stands in a function."""
        parent = target.name.rpartition(".")[0]
        symbol = self.graph.symbol(Target(target.path, parent)) if parent else None
        return symbol is not None and symbol.kind in ("function", "method")

    def _families(self, targets: Iterable[Target]) -> list[frozenset[Target]]:
        """Unrelated definitions apart; a header and its source speak of one."""
        found: list[frozenset[Target]] = []
        for target in targets:
            whole = self.family(target)
            if not any(whole & other for other in found):
                found.append(whole)
        return found


def _below(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def _dotted(target: Target) -> str:
    """A definition with its module before it."""
    module = target.path.rpartition(".")[0].removesuffix("/__init__").replace("/", ".")
    return f"{module}.{target.name}"


def types_in(symbol: Symbol) -> tuple[str, ...]:
    """The words of a signature that may be types, dotted as they are written."""
    words = re.findall(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*", symbol.signature)
    return tuple(dict.fromkeys(w for w in words if w != symbol.name))
