"""How many ways llama.cpp has to follow while it reads with a grammar: too many are refused. Pure.

Its engine keeps a stack for every way in which what was read so far may go on, and tries a token on each of
them, character by character, without noticing where two ways have met. A grammar in which the same text can
be read in twice as many ways with each character takes hours for one long token, and cannot be interrupted.
"""

from __future__ import annotations

from collections import Counter

from glm_lsp.core.errors import UsageError
from glm_lsp.engines.worker.grammar_text import Ranges, Rules, Sequence

MOST_BEGINNINGS = 20_000
"""Ways from one rule to a first character."""
LONGEST_CHAIN = 1_000
"""Rules that begin with rules that begin with rules."""
DEPTH = 12
"""Characters that are tried; tokens of code are rarely longer."""
MOST_WAYS = 1_000
"""To read so many characters. Where every character doubles them there are 4,096."""
_MOST_WORK = 400_000
_TRIED = 6
"""So many different next characters, of those that most ways go on with."""


def check_beginnings(rules: Rules) -> None:
    """Refuse left recursion, and rules with too many ways to begin."""
    empty = _may_be_empty(rules)
    ways: dict[str, int] = {}
    depth: dict[str, int] = {}
    open_rules: set[str] = set()
    for start in rules:
        # Depth first with a stack of our own: chains may be long.
        stack = [start]
        while stack:
            name = stack[-1]
            if name in ways:
                stack.pop()
                continue
            firsts = _firsts(rules[name], empty)
            if name not in open_rules:
                open_rules.add(name)
                for first, _ in firsts:
                    if first in open_rules and first not in ways:
                        raise UsageError(
                            f"The grammar of the request is left-recursive: rule '{first.split('_')[0]}' can "
                            "begin with itself."
                        )
                stack += [first for first, _ in firsts if first and first not in ways]
                continue
            stack.pop()
            ways[name] = sum(ways[first] * times if first else times for first, times in firsts) + 1
            depth[name] = 1 + max((depth[first] for first, _ in firsts if first), default=0)
            if ways[name] > MOST_BEGINNINGS or depth[name] > LONGEST_CHAIN:
                raise UsageError(
                    f"The grammar of the request is too large: rule '{name.split('_')[0]}' has too many ways "
                    "to begin."
                )


def _may_be_empty(rules: Rules) -> set[str]:
    """The rules that can be the empty text: those that use a rule are looked at again when it becomes one."""
    users: dict[str, set[str]] = {}
    for name, alternates in rules.items():
        for item in (i for sequence in alternates for i in sequence if i.rule):
            users.setdefault(item.rule, set()).add(name)
    found: set[str] = set()
    waiting = list(rules)
    while waiting:
        name = waiting.pop()
        if name not in found and any(
            all(not i.size or not i.least or i.rule in found for i in sequence) for sequence in rules[name]
        ):
            found.add(name)
            waiting += users.get(name, ())
    return found


def _firsts(alternates: list[Sequence], empty: set[str]) -> list[tuple[str, int]]:
    """(rule or "", how often) for all symbols that a text of these alternates can begin with."""
    found: list[tuple[str, int]] = []
    for sequence in alternates:
        for item in sequence:
            if not item.size or not item.most:
                continue
            nullable = item.rule in empty
            found.append((item.rule, max(item.least, item.most, 1) if nullable else 1))
            if item.least and not nullable:
                break
    return found


_END: Ranges = ()
_Element = str | Ranges


class _Machine:
    """The grammar as llama.cpp writes it out: rules of characters and references, and stacks over them.

    A stack is a number, 0 the empty one; one with a top is known by (place of the top, stack below).
    """

    def __init__(self, rules: Rules) -> None:
        self._elements: list[_Element] = []
        self._starts: dict[str, list[int]] = {}
        self._stacks: list[tuple[int, int]] = [(0, 0)]
        self._numbers: dict[tuple[int, int], int] = {}
        self._advanced: dict[int, tuple[int, ...]] = {}
        self.work = 0
        for name, alternates in rules.items():
            self._define(name, [self._written_out(name, n, s) for n, s in enumerate(alternates)])

    def _written_out(self, name: str, number: int, sequence: Sequence) -> list[_Element]:
        """Repetitions become references to rules of their own."""
        elements: list[_Element] = []
        for at, item in enumerate(sequence):
            one: list[_Element] = [item.rule] if item.rule else list(item.characters)
            elements += one * item.least
            rest = f"{name} {number} {at}"
            if item.most < 0:
                self._define(rest, [[*one, rest], []])
                elements.append(rest)
            elif item.most > item.least:
                for left in range(1, item.most - item.least + 1):
                    before: list[_Element] = [f"{rest} {left - 1}"] if left > 1 else []
                    self._define(f"{rest} {left}", [[*one, *before], []])
                elements.append(f"{rest} {item.most - item.least}")
        return elements

    def _define(self, name: str, alternates: list[list[_Element]]) -> None:
        starts: list[int] = []
        for elements in alternates:
            starts.append(len(self._elements))
            self._elements += [*elements, _END]
        self._starts[name] = starts

    def start(self, rule: str) -> Counter[int]:
        """The stacks before the first character, and the ways to each."""
        found: Counter[int] = Counter()
        for start in self._starts[rule]:
            found.update(self.advance(self._push(start, 0)))
        return found

    def read(self, stacks: Counter[int], character: int) -> Counter[int]:
        """The stacks after a character, and the ways to each."""
        found: Counter[int] = Counter()
        for stack, ways in stacks.items():
            self.work += 1
            place, below = self._stacks[stack]
            if stack and _within(character, self._elements[place]):
                for other in self.advance(self._push(place + 1, below)):
                    found[other] += ways
        return found

    def advance(self, stack: int) -> tuple[int, ...]:
        """All stacks with a character on top, or empty, that this one stands for."""
        if stack in self._advanced:
            return self._advanced[stack]
        waiting, seen, found = [stack], set[int](), list[int]()
        while waiting:
            each = waiting.pop()
            if each in seen:
                continue
            seen.add(each)
            self.work += 1
            place, below = self._stacks[each]
            element = self._elements[place]
            if each == 0 or not isinstance(element, str):
                found.append(each)
                continue
            rest = self._push(place + 1, below)
            waiting += [self._push(start, rest) for start in self._starts[element]]
            if self.work > _MOST_WORK:
                break
        self._advanced[stack] = tuple(found)
        return self._advanced[stack]

    def nexts(self, stacks: Counter[int]) -> list[int]:
        """Characters that the most ways go on with."""
        lows: Counter[int] = Counter()
        for stack, ways in stacks.items():
            element = self._elements[self._stacks[stack][0]]
            if stack and not isinstance(element, str):
                for low, high in element[:_TRIED]:
                    # A letter stands for ranges that are wide.
                    lows[ord("e") if low <= ord("e") <= high else low] += ways
        return [character for character, _ in lows.most_common(_TRIED)]

    def _push(self, place: int, below: int) -> int:
        """The stack with the rest of an alternate on top; nothing if that is at its end."""
        if self._elements[place] is _END:
            return below
        key = (place, below)
        if key not in self._numbers:
            self._numbers[key] = len(self._stacks)
            self._stacks.append(key)
        return self._numbers[key]


def _within(character: int, element: _Element) -> bool:
    return not isinstance(element, str) and any(low <= character <= high for low, high in element)


def check_ways(rules: Rules) -> None:
    """Refuse rules whose texts can be read in too many ways, trying the worst next characters of each."""
    machine = _Machine(rules)
    for name in rules:
        stacks = machine.start(name)
        # Long lists of choices are as many ways, but they do not grow.
        most = max(MOST_WAYS, 2 * stacks.total())
        for _ in range(DEPTH):
            stacks = max(
                (machine.read(stacks, character) for character in machine.nexts(stacks)),
                key=lambda ways: ways.total(),
                default=Counter[int](),
            )
            if stacks.total() > most or machine.work > _MOST_WORK:
                raise UsageError(
                    f"The grammar of the request is too ambiguous, or too large: rule '{name.split('_')[0]}' "
                    "can read a text in too many ways at once."
                )
