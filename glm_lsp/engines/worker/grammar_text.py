"""GBNF, read as far as it matters for what llama.cpp makes of it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from glm_lsp.core.errors import UsageError

MOST_ELEMENTS = 100_000
"""Characters, classes and references, with repetitions written out."""
MOST_DEEP = 64
"""Parentheses in parentheses."""
MOST_REPEATED = 2_000
"""As in llama.cpp."""
_LAST = 0x10FFFF
Ranges = tuple[tuple[int, int], ...]
"""Characters, from the first to the last of each range."""

_NAME = re.compile(r"[A-Za-z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_ESCAPE = r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\\"\[\]-])"
_LITERAL = re.compile(rf'"((?:[^"\\]|{_ESCAPE})*)"')
_CLASS = re.compile(rf"\[(\^?)((?:[^\]\\]|{_ESCAPE})+)\]")
_CHARACTER = re.compile(rf"{_ESCAPE}|[^\\]", re.DOTALL)
_CONTROLS = {"t": "\t", "r": "\r", "n": "\n"}
_COUNTS = re.compile(r"\{[ \t]*([0-9]{1,18})[ \t]*(,?)[ \t]*([0-9]{0,18})[ \t]*\}")


@dataclass(slots=True)
class Item:
    """One symbol of a sequence: a reference to a rule, or characters. `most` -1: without end."""

    rule: str = ""
    characters: tuple[Ranges, ...] = ()
    least: int = 1
    most: int = 1

    @property
    def size(self) -> int:
        return 1 if self.rule else len(self.characters)


Sequence = list[Item]
Rules = dict[str, list[Sequence]]
"""The alternates of each rule. Parentheses are rules too, named after the one they stand in and a `_`."""


def parse(text: str) -> Rules:
    """Raise UsageError with the place of what cannot be read, or is too large."""
    parser = _Parser(text)
    parser.parse()
    return parser.rules


class _Parser:
    """Reads a grammar as llama.cpp does, keeping only what matters for its size and its beginnings."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._elements = 0
        self.rules: Rules = {}

    def parse(self) -> None:
        self._skip(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._skip()
            self._expect("::=")
            self._skip(lines=True)
            self.rules[name] = self._alternates(name, 0)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._wrong("a new line")
            self._skip(lines=True)

    def _alternates(self, name: str, deep: int) -> list[Sequence]:
        if deep > MOST_DEEP:
            raise UsageError(
                f"The grammar of the request has more than {MOST_DEEP} parentheses within each other."
            )
        found = [self._sequence(name, deep)]
        while self._take("|"):
            self._skip(lines=True)
            found.append(self._sequence(name, deep))
        return found

    def _sequence(self, name: str, deep: int) -> Sequence:
        items: Sequence = []
        while self._at < len(self._text):
            rest = self._text[self._at]
            if rest in '"[.':
                items.append(Item(characters=self._characters()))
            elif rest == "(":
                self._at += 1
                self._skip(lines=True)
                inner = f"{name}_{len(self.rules)}_{self._at}"
                self.rules[inner] = self._alternates(name, deep + 1)
                self._expect(")")
                items.append(Item(rule=inner))
            elif _NAME.match(rest):
                items.append(Item(rule=self._name()))
            elif rest in "*+?{":
                self._repeat(items)
            elif rest in "<!":
                raise self._wrong("text, not a token by its number or name")
            else:
                break
            self._count(items[-1])
            self._skip(lines=deep > 0)
        return items

    def _characters(self) -> tuple[Ranges, ...]:
        """Take a literal, a class or a dot."""
        if self._take("."):
            return (((0, _LAST),),)
        quoted = self._text[self._at] == '"'
        found = (_LITERAL if quoted else _CLASS).match(self._text, self._at)
        if found is None:
            raise self._wrong("a literal or a class that ends, with known escapes")
        self._at = found.end()
        if quoted:
            return tuple(((c, c),) for c in map(_code, _CHARACTER.findall(found[1])))
        ranges = _ranges(_CHARACTER.findall(found[2]))
        return (_others(ranges) if found[1] else ranges,)

    def _repeat(self, items: Sequence) -> None:
        if not items or not items[-1].size or (items[-1].least, items[-1].most) != (1, 1):
            raise self._wrong("something to repeat, once")
        item, sign = items[-1], self._text[self._at]
        if sign != "{":
            self._at += 1
            item.least, item.most = {"*": (0, -1), "+": (1, -1), "?": (0, 1)}[sign]
            return
        found = _COUNTS.match(self._text, self._at)
        if found is None:
            raise self._wrong("a count like {2}, {2,} or {2,5}")
        least = int(found[1])
        most = int(found[3]) if found[3] else (-1 if found[2] else least)
        if (found[3] and not found[2]) or 0 <= most < least or max(least, most) > MOST_REPEATED:
            raise self._wrong(f"a count that rises, to {MOST_REPEATED} at most")
        self._at = found.end()
        item.least, item.most = least, most

    def _count(self, item: Item) -> None:
        self._elements += item.size * max(item.least, item.most, 1)
        if self._elements > MOST_ELEMENTS:
            raise UsageError(
                "The grammar of the request is too large: with its repetitions written out it has more than "
                f"{MOST_ELEMENTS:,} elements."
            )

    def _name(self) -> str:
        found = _NAME.match(self._text, self._at)
        if found is None:
            raise self._wrong("the name of a rule")
        self._at = found.end()
        return found.group()

    def _skip(self, lines: bool = False) -> None:
        found = (_SPACE_AND_LINES if lines else _SPACE).match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _take(self, sign: str) -> bool:
        taken = self._text.startswith(sign, self._at)
        self._at += len(sign) if taken else 0
        return taken

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise self._wrong(f"'{sign}'")

    def _wrong(self, wanted: str) -> UsageError:
        line = self._text.count("\n", 0, self._at) + 1
        shown = ascii(self._text[self._at : self._at + 20])
        return UsageError(
            f"The grammar of the request cannot be read: line {line} needs {wanted} where it has {shown}."
        )


def _code(character: str) -> int:
    """The number of a character, or of what an escape stands for."""
    if len(character) == 1:
        return ord(character)
    if character[1] in "xuU":
        return int(character[2:], 16)
    return ord(_CONTROLS.get(character[1], character[1]))


def _ranges(characters: list[str]) -> Ranges:
    """The inside of a class; a `-` that stands first or last is itself."""
    found: list[tuple[int, int]] = []
    at = 0
    while at < len(characters):
        low = high = _code(characters[at])
        if at + 2 < len(characters) and characters[at + 1] == "-":
            high = _code(characters[at + 2])
            at += 2
        found.append((low, high))
        at += 1
    return tuple(found)


def _others(ranges: Ranges) -> Ranges:
    """All characters that are in none of these."""
    found: list[tuple[int, int]] = []
    start = 0
    for low, high in sorted(ranges):
        if low > start:
            found.append((start, low - 1))
        start = max(start, high + 1)
    if start <= _LAST:
        found.append((start, _LAST))
    return tuple(found)
