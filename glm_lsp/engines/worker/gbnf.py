"""Grammars and JSON schemas of requests, vetted before llama.cpp sees them.

Its parser and its check for left recursion recurse on the native stack, visit shared rules once per path,
loop over 2^64 rules for `{5,3}`, and miss recursion behind a rule that is empty only through another: each
ends or hangs the worker. What could do so is refused here, with a sentence.
"""

from __future__ import annotations

import importlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, cast

from glm_lsp.core.errors import UsageError

ROOT = "root"
LONGEST_TEXT = 128 << 10
"""Characters of a grammar, or of a schema."""
_MOST_ELEMENTS = 100_000
"""Characters, classes and references, with repetitions written out."""
_MOST_DEEP = 64
"""Parentheses in parentheses."""
_MOST_PATHS = 20_000
"""Ways from one rule to a first character: llama.cpp keeps a stack for each."""
_LONGEST_CHAIN = 1_000
"""Rules that begin with rules that begin with rules."""
_MOST_REPEATED = 2_000
"""As in llama.cpp."""
_MOST_NODES = 5_000
_MOST_COUNTED = 10_000
_MOST_PROPERTIES = 100
"""Of one object of a schema."""
_COUNTING = ("minLength", "maxLength", "minItems", "maxItems")

_NAME = re.compile(r"[A-Za-z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_LITERAL = re.compile(r'"((?:[^"\\]|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\"\[\]-]))*)"')
_CLASS = re.compile(
    r"\[\^?(?:[^\]\\]|\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\\"\[\]-]))+\]"
)
_CHARACTER = re.compile(r"\\(?:x..|u....|U........|.)|.", re.DOTALL)
_COUNTS = re.compile(r"\{[ \t]*([0-9]{1,18})[ \t]*(,?)[ \t]*([0-9]{0,18})[ \t]*\}")


@dataclass(slots=True)
class _Item:
    """One symbol of a sequence: a reference to a rule, or characters. `most` -1: without end."""

    size: int = 1
    rule: str = ""
    least: int = 1
    most: int = 1


_Sequence = list[_Item]


@dataclass(slots=True)
class _Rules:
    rules: dict[str, list[_Sequence]] = field(default_factory=dict[str, list[_Sequence]])
    elements: int = 0


def literal(text: str) -> str:
    """The text as a literal of a grammar."""
    return '"' + "".join(f"\\U{ord(c):08X}" for c in text) + '"'


def check(text: str, root: str = ROOT) -> None:
    """Raise UsageError, with the place, unless llama.cpp can work with this grammar."""
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"The grammar of the request has {len(text):,} characters; at most {LONGEST_TEXT:,} are taken."
        )
    try:
        if 0 in text.encode():
            raise UsageError("The grammar of the request holds a character of number 0.")
    except UnicodeEncodeError as error:
        raise UsageError("The grammar of the request holds half of a surrogate pair.") from error
    parser = _Parser(text)
    parser.parse()
    rules = parser.found.rules
    if root not in rules:
        raise UsageError(f"The grammar of the request has no rule '{root}' to begin with.")
    for alternates in rules.values():
        for name in (item.rule for sequence in alternates for item in sequence if item.rule):
            if name not in rules:
                raise UsageError(f"The grammar of the request names a rule '{name}' that it does not have.")
    _check_beginnings(rules)


def of_schema(schema: str) -> str:
    """Return the grammar of a JSON schema. Raises UsageError with what is wrong with it.

    llama.cpp's converter writes counts out and takes the square of optional properties: the schema is bounded
    before. It knows `$ref` within the document, but not beside or above other keys of the outermost object.
    """
    if len(schema) > LONGEST_TEXT:
        raise UsageError(
            f"The JSON schema of the request has {len(schema):,} characters; "
            f"at most {LONGEST_TEXT:,} are taken."
        )
    # By name: llama.cpp's own converter, without types.
    converter: Any = importlib.import_module("llama_cpp.llama_grammar")
    try:
        parsed: object = json.loads(schema)
        if not isinstance(parsed, dict):
            raise UsageError("The JSON schema of the request is not an object.")
        _vet(cast("dict[str, Any]", parsed))
        grammar = str(converter.json_schema_to_gbnf(schema))
    except json.JSONDecodeError as error:
        raise UsageError(f"The JSON schema of the request is not JSON: {error}.") from error
    except RecursionError as error:
        raise UsageError("The JSON schema of the request is nested too deeply.") from error
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, re.error) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"The JSON schema of the request cannot be used: {said}.") from error
    check(grammar)
    return grammar


def _vet(schema: dict[str, Any]) -> None:
    """Refuse a schema that would make the converter slow or its grammar huge."""
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    counted = seen = 0
    while waiting:
        value, deep = waiting.pop()
        seen += 1
        if isinstance(value, list):
            waiting += [(v, deep + 1) for v in cast("list[Any]", value)]
        elif isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            waiting += [(v, deep + 1) for v in table.values()]
            counted += sum(_counts(table.get(key)) for key in _COUNTING)
            counted += sum(int(n) for n in re.findall(r"[0-9]{1,18}", str(table.get("pattern", ""))))
            properties: Any = table.get("properties")
            if isinstance(properties, dict) and len(cast("dict[str, Any]", properties)) > _MOST_PROPERTIES:
                raise UsageError(
                    f"The JSON schema of the request has an object of over {_MOST_PROPERTIES} properties."
                )
        if deep > _MOST_DEEP or seen + len(waiting) > _MOST_NODES:
            raise UsageError(
                f"The JSON schema of the request is nested more than {_MOST_DEEP} deep, or has more than "
                f"{_MOST_NODES:,} values."
            )
        if counted > _MOST_COUNTED:
            raise UsageError(
                "The lengths and counts of the JSON schema of the request add up to more than "
                f"{_MOST_COUNTED:,}."
            )


def _counts(value: object) -> int:
    """What a count of a schema adds to the grammar's size."""
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise UsageError(
            f"The JSON schema of the request counts with {ascii(value)[:40]}, which is no count."
        )
    return value


class _Parser:
    """Reads a grammar as llama.cpp does, keeping only what matters for its size and its beginnings."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.found = _Rules()

    def parse(self) -> None:
        self._skip(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._skip()
            self._expect("::=")
            self._skip(lines=True)
            self.found.rules[name] = self._alternates(name, 0)
            if self._at < len(self._text) and self._text[self._at] not in "\r\n":
                raise self._wrong("a new line")
            self._skip(lines=True)

    def _alternates(self, name: str, deep: int) -> list[_Sequence]:
        if deep > _MOST_DEEP:
            raise UsageError(
                f"The grammar of the request has more than {_MOST_DEEP} parentheses within each other."
            )
        found = [self._sequence(name, deep)]
        while self._take("|"):
            self._skip(lines=True)
            found.append(self._sequence(name, deep))
        return found

    def _sequence(self, name: str, deep: int) -> _Sequence:
        items: _Sequence = []
        while self._at < len(self._text):
            rest = self._text[self._at]
            if rest in '"[.':
                items.append(_Item(self._characters()))
            elif rest == "(":
                self._at += 1
                self._skip(lines=True)
                inner = f"{name}_{len(self.found.rules)}_{self._at}"
                self.found.rules[inner] = self._alternates(name, deep + 1)
                self._expect(")")
                items.append(_Item(rule=inner))
            elif _NAME.match(rest):
                items.append(_Item(rule=self._name()))
            elif rest in "*+?{":
                self._repeat(items)
            elif rest in "<!":
                raise self._wrong("text, not a token by its number or name")
            else:
                break
            self._count(items[-1])
            self._skip(lines=deep > 0)
        return items

    def _characters(self) -> int:
        """Take a literal, a class or a dot; how many elements it is."""
        if self._take("."):
            return 1
        quoted = self._text[self._at] == '"'
        found = (_LITERAL if quoted else _CLASS).match(self._text, self._at)
        if found is None:
            raise self._wrong("a literal or a class that ends, with known escapes")
        self._at = found.end()
        return sum(1 for _ in _CHARACTER.finditer(found.group())) - 2

    def _repeat(self, items: _Sequence) -> None:
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
        if (found[3] and not found[2]) or 0 <= most < least or max(least, most) > _MOST_REPEATED:
            raise self._wrong(f"a count that rises, to {_MOST_REPEATED} at most")
        self._at = found.end()
        item.least, item.most = least, most

    def _count(self, item: _Item) -> None:
        self.found.elements += item.size * max(item.least, item.most, 1)
        if self.found.elements > _MOST_ELEMENTS:
            raise UsageError(
                "The grammar of the request is too large: with its repetitions written out it has more than "
                f"{_MOST_ELEMENTS:,} elements."
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


def _check_beginnings(rules: dict[str, list[_Sequence]]) -> None:
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
            if ways[name] > _MOST_PATHS or depth[name] > _LONGEST_CHAIN:
                raise UsageError(
                    f"The grammar of the request is too large: rule '{name.split('_')[0]}' has too many ways "
                    "to begin."
                )


def _may_be_empty(rules: dict[str, list[_Sequence]]) -> set[str]:
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


def _firsts(alternates: list[_Sequence], empty: set[str]) -> list[tuple[str, int]]:
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
