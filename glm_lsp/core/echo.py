"""The rest of a line, from the repository: what was written after the same beginning, or the same lines.

Pure. A candidate is a line that stands somewhere in the texts at hand; where it says the same with other
names, ours take their place. All of its names must be known where the cursor stands. The candidates are
weighed, and how often such a weight was right in replayed sessions is the confidence.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import exp

WORD = re.compile(r"[^\W\d]\w*")
_NAME = r"[^\W\d]\w*+"
_FREE = re.compile(
    rf"(?<![.\w])(?!{_NAME}\s*=(?!=))(?!(?<=[{{(,]){_NAME}\s*:)(?!(?<=[{{(,] ){_NAME}\s*:){_NAME}"
)
"""Names that must be known: not what stands behind a dot, is bound, or is the key or the label of a value."""
_STRING = re.compile(r"\"[^\"]*\"|'[^']*'|`[^`$]*`")
_HOLE = "\x01"
MOST_DEPTH = 4
"""Lines above that are compared."""
MOST_IN_TEXT, MOST_MATCHES = 48, 240
"""Lines that are weighed, of one text and in all."""
LONGEST_LINE = 200
LEAST_TYPED = 2
"""Letters and digits before the beginning of a line says anything by itself."""
SPEAKS = 0.45
"""The confidence from which on more than six of ten answers are right; see `bench_echo`."""


class Lines:
    """A text as it is looked up: its filled lines without the blanks around them, and their shapes.

    `once`: it is looked up once, and putting its lines in order would take longer than going through them.
    """

    __slots__ = ("_orders", "path", "shapes", "texts")

    def __init__(self, path: str, text: str, shapes: Shapes, *, once: bool = False) -> None:
        self.path = path
        self.texts = [line for raw in text.split("\n") if (line := raw.strip()) and len(line) <= LONGEST_LINE]
        self.shapes = [shapes[line] for line in self.texts]
        count = range(len(self.texts))
        self._orders = (
            None if once else tuple(sorted(zip(of, count, strict=True)) for of in (self.texts, self.shapes))
        )

    def find(self, text: str, *, exact: bool, whole: bool) -> Iterator[int]:
        """Numbers of lines that are, or begin with, `text`; not `exact`: whose shapes do."""
        if self._orders is None:
            of = self.texts if exact else self.shapes
            hit = text.__eq__ if whole else None
            found = (n for n, line in enumerate(of) if (hit(line) if hit else line.startswith(text)))
            yield from islice(found, MOST_IN_TEXT)
            return
        order = self._orders[0 if exact else 1]
        at = bisect_left(order, (text, -1))
        for line, number in order[at : at + MOST_IN_TEXT]:
            if line != text if whole else not line.startswith(text):
                return
            yield number


class Shapes(dict[str, str]):
    """By line, the line with a hole for each name; keywords stay. What is remembered has a bound."""

    MOST = 100_000

    def __init__(self, keywords: frozenset[str]) -> None:
        super().__init__()
        self.keywords = keywords

    @staticmethod
    def names(text: str) -> list[str]:
        """All names in a text."""
        return WORD.findall(text)

    @staticmethod
    def free_names(text: str) -> list[str]:
        """Those that must be known where the text stands; what strings say does not count."""
        return _FREE.findall(_STRING.sub("''", text))

    def __missing__(self, line: str) -> str:
        if len(self) >= self.MOST:
            self.clear()
        known = self.keywords
        shape = self[line] = WORD.sub(lambda word: word[0] if word[0] in known else _HOLE, line)
        return shape


@dataclass(frozen=True, slots=True)
class Place:
    """Where the cursor stands."""

    path: str
    above: tuple[str, ...]
    """The filled lines above without blanks around them, the nearest last; `MOST_DEPTH` are enough."""
    typed: str
    """What stands before the cursor on its own line, without the indentation."""
    names: frozenset[str]
    """Those that may be used there."""


@dataclass(frozen=True, slots=True)
class Echo:
    """`confidence`: the part of such answers that was right. `features` is what it was told by."""

    text: str
    confidence: float
    features: tuple[float, ...]


@dataclass(slots=True)
class _Said:
    """What speaks for one text."""

    weight: float = 0.0
    count: int = 0
    depth: int = 0
    renamed: int = 99
    exact: bool = False
    near: bool = False


@dataclass(slots=True)
class _Asked:
    place: Place
    above: Sequence[str]
    """The nearest first."""
    shapes: Sequence[str]
    names: list[list[str]]
    """In each of the lines above."""
    said: dict[str, _Said] = field(default_factory=dict[str, _Said])


def echo(place: Place, texts: Sequence[Lines], shapes: Shapes) -> Echo | None:
    """The likeliest rest of the line, however unlikely; None where there is nothing to go by.

    `texts` come nearest first, the cursor's own as first of all.
    """
    above = place.above[-MOST_DEPTH:][::-1]
    asked = _Asked(place, above, [shapes[line] for line in above], [WORD.findall(line) for line in above])
    left = MOST_MATCHES
    for exact in (True, False):
        for lines in texts:
            for at in _found(place, lines, asked.shapes, shapes, exact=exact):
                _weigh(asked, lines, at, exact=exact)
                left -= 1
                if not left:
                    return _best(asked)
    return _best(asked)


def _found(place: Place, lines: Lines, above: Sequence[str], shapes: Shapes, *, exact: bool) -> Iterator[int]:
    """Which lines may say what comes here: by their own beginning, or by the line above them."""
    typed = place.typed
    if typed and exact:
        if sum(c.isalnum() for c in typed) >= LEAST_TYPED:
            yield from lines.find(typed, exact=True, whole=False)
    elif typed:
        begun = shapes[typed]
        for at in lines.find(begun, exact=False, whole=False) if begun != typed else ():
            if not lines.texts[at].startswith(typed):
                yield at
    elif above:
        wanted = above[0] if not exact else place.above[-1]
        for at in lines.find(wanted, exact=exact, whole=True):
            if at + 1 < len(lines.texts) and (exact or lines.texts[at] != place.above[-1]):
                yield at + 1


def _weigh(asked: _Asked, lines: Lines, at: int, *, exact: bool) -> None:
    """Take what a line says as a candidate."""
    place, above = asked.place, asked.above
    same = alike = 0
    for step in range(1, min(len(above), at) + 1):
        if same == step - 1 and lines.texts[at - step] == above[step - 1]:
            same = alike = step
        elif lines.shapes[at - step] == asked.shapes[step - 1]:
            alike = step
        else:
            break
    line, typed = lines.texts[at], place.typed
    cut = len(typed) if exact else _end(line, typed)
    rest = line[cut:] if cut >= 0 else ""
    renamed = 0
    if not (exact and same):
        pairs = list(zip(WORD.findall(line), WORD.findall(typed), strict=False)) if not exact else []
        for step in range(1, alike + 1):
            pairs += zip(WORD.findall(lines.texts[at - step]), asked.names[step - 1], strict=True)
        names: dict[str, str] = {}
        clashes = sum(names.setdefault(theirs, ours) != ours for theirs, ours in pairs)
        renamed = clashes + sum(theirs != ours for theirs, ours in names.items())
        rest = _renamed(rest, names)
    if not rest.strip() or not place.names.issuperset(Shapes.free_names(typed + rest)):
        return
    near = lines.path == place.path
    one = asked.said.setdefault(rest, _Said())
    one.weight += (1.0 + same + alike) * (2.0 if near else 1.0) * (4.0 if exact else 1.0)
    one.count += 1
    one.depth = max(one.depth, same + alike)
    one.renamed = min(one.renamed, renamed)
    one.exact |= exact
    one.near |= near


def _renamed(text: str, names: Mapping[str, str]) -> str:
    return WORD.sub(lambda word: names.get(word[0], word[0]), text)


def _end(line: str, typed: str) -> int:
    """Where in a line whose shape begins like ours the part ends that is typed; -1: inside of a name."""
    theirs, ours = WORD.finditer(line), list(WORD.finditer(typed))
    last = None
    for _ in ours:
        last = next(theirs, None)
    if not ours or last is None:
        return -1
    return last.end() + len(typed) - ours[-1].end()


WEIGHTS = (-2.85, 1.51, -0.96, 1.49, 0.84, 0.01, 0.89, 1.83, -1.7, -0.74, -2.72, -0.78)
"""Fitted by `bench_echo --fit` to packages that nothing is reported on."""


def _best(asked: _Asked) -> Echo | None:
    if not asked.said:
        return None
    order = sorted(asked.said.items(), key=lambda item: (-item[1].weight, item[0]))
    text, one = order[0]
    second = order[1][1].weight if len(order) > 1 else 0.0
    typed = asked.place.typed
    features = (
        1.0,
        one.weight / sum(other.weight for other in asked.said.values()),
        second / one.weight,
        one.depth / (2 * MOST_DEPTH),
        float(one.exact),
        float(one.near),
        min(one.count, 8) / 8,
        min(len(WORD.findall(typed)), 5) / 5,
        min(one.renamed, 4) / 4,
        min(len(text), 60) / 60,
        float(not typed),
        float(typed[-1:].isalnum()),
    )
    return Echo(text, 1 / (1 + exp(-sum(w * f for w, f in zip(WEIGHTS, features, strict=True)))), features)
