"""Brackets and quotes of a stretch of code, without a grammar: enough to tell what is open where.

Known are the languages of `FAMILIES`; text in others has no brackets and no strings. A string in single
quotes ends with its line, so one stray quote spoils one line at most.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

PYTHON, C_LIKE, RUST = "python", "c-like", "rust"
FAMILIES = {
    "python": PYTHON,
    "rust": RUST,
    **dict.fromkeys(
        (
            *("javascript", "javascriptreact", "typescript", "typescriptreact", "go", "java", "kotlin"),
            *("c", "cpp", "csharp", "swift", "scala", "php", "json"),
        ),
        C_LIKE,
    ),
}
OPENERS = {")": "(", "]": "[", "}": "{"}
_MARKS = {
    PYTHON: re.compile(r"#|\"\"\"|'''|[\"'()\[\]{}]"),
    C_LIKE: re.compile(r"//|/\*|[\"'`()\[\]{}]"),
    RUST: re.compile(r"//|/\*|'(?:\\[^\n]|[^'\\\n])'|[\"()\[\]{}]"),
}
_LONG_QUOTES = ('"""', "'''", "`")
_ENDS = {
    # Loops over what needs no second look: a docstring is read in one step, not in one for each character.
    **{
        q: re.compile(rf"[^\\{q[0]}]*+(?:(?:\\.|(?!{q}){q[0]})[^\\{q[0]}]*+)*+{q}", re.DOTALL)
        for q in _LONG_QUOTES
    },
    **{q: re.compile(rf"[^\\{q}\n]*+(?:\\.[^\\{q}\n]*+)*+(?:{q}|(?=\n))", re.DOTALL) for q in ('"', "'")},
    "/*": re.compile(r".*?\*/", re.DOTALL),
    "//": re.compile(r"[^\n]*(?=\n)"),
    "#": re.compile(r"[^\n]*(?=\n)"),
}


@dataclass(frozen=True, slots=True)
class Scan:
    """Brackets in code as (place, sign); what is open at the end; where strings and comments are."""

    brackets: tuple[tuple[int, str], ...]
    quote: str
    """The quote or comment sign of what is open at the end; empty in code."""
    inert: tuple[tuple[int, int], ...]
    closed_at: int = -1
    """Where the string ended that was open at the beginning, before its quote; -1 where it did not."""


@lru_cache(maxsize=16)
def scan(text: str, language: str, quote: str = "") -> Scan:
    """Read `text`; at its beginning the string or comment `quote` is open.

    Remembered: what stands after the cursor is the same at every keystroke.
    """
    marks = _MARKS.get(FAMILIES.get(language, ""))
    if marks is None:
        return Scan((), "", ())
    found: list[tuple[int, str]] = []
    inert: list[tuple[int, int]] = []
    at, closed_at = 0, -1
    if quote:
        end = _ENDS[quote].match(text)
        inert.append((0, end.end() if end else len(text)))
        if end is None:
            return Scan((), quote, tuple(inert))
        at = end.end()
        closed_at = at - len(quote) if text.startswith(quote, at - len(quote)) else at
    while mark := marks.search(text, at):
        sign, at = mark.group(), mark.end()
        if sign in "()[]{}":
            found.append((mark.start(), sign))
        elif sign in _ENDS:
            end = _ENDS[sign].match(text, at)
            inert.append((mark.start(), end.end() if end else len(text)))
            if end is None:
                return Scan(tuple(found), sign, tuple(inert), closed_at)
            at = end.end()
    return Scan(tuple(found), "", tuple(inert), closed_at)


def scan_lines(text: str, language: str) -> Scan:
    """As `scan`; what stands above the last line is remembered, so that typing in it costs one line."""
    cut = text.rfind("\n") + 1
    above = scan(text[:cut], language)
    last = scan(text[cut:], language, above.quote)
    inert = above.inert
    if above.quote and inert and last.inert:
        start, _ = inert[-1]
        inert = (*inert[:-1], (start, cut + last.inert[0][1]))
        more = last.inert[1:]
    else:
        more = last.inert
    return Scan(
        (*above.brackets, *((cut + at, sign) for at, sign in last.brackets)),
        last.quote,
        (*inert, *((cut + start, cut + end) for start, end in more)),
    )


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A gap's state. `stack` holds the brackets open before it, outermost first, and whether the text after
    it closes each; `quote` is the string or comment around the gap, `quote_closed` whether it ends after it.
    """

    stack: tuple[tuple[str, bool], ...]
    quote: str
    quote_closed: bool


def surroundings(before: str, after: str, language: str) -> Surroundings:
    """What is open between `before` and `after`, and which of it `after` closes."""
    start = scan_lines(before, language)
    stack: list[str] = []
    for _, sign in start.brackets:
        if sign not in OPENERS:
            stack.append(sign)
        elif OPENERS[sign] in stack:
            while stack.pop() != OPENERS[sign]:
                pass
    rest = scan(after, language, start.quote)
    closed = _closed(stack, rest)
    ends = rest.closed_at >= 0 and after.startswith(start.quote, rest.closed_at)
    if start.quote in ('"""', "'''"):
        ends = after.count(start.quote) % 2 == 1
    return Surroundings(tuple(zip(stack, closed, strict=True)), start.quote, bool(start.quote) and ends)


def _closed(stack: list[str], rest: Scan) -> list[bool]:
    """For each open bracket whether the rest closes it."""
    closed = [False] * len(stack)
    at, inner = len(stack), list[str]()
    for _, sign in rest.brackets:
        opener = OPENERS.get(sign)
        if opener is None:
            inner.append(sign)
        elif inner:
            if opener in inner:
                while inner.pop() != opener:
                    pass
        else:
            match = next((i for i in range(at - 1, -1, -1) if stack[i] == opener), -1)
            if match < 0:
                break
            at = match
            closed[match] = True
    return closed


def first_wrong(text: str, language: str, around: Surroundings) -> int:
    """Place of the first bracket or quote in a gap's `text` that closes what is not its own to close.

    `len(text)` where there is none. It may close what is open before the gap unless the text after closes it.
    """
    read = scan(text, language, around.quote)
    if around.quote and around.quote_closed and read.closed_at >= 0 and around.quote not in ("#", "//"):
        return read.closed_at
    outer, inner = list(around.stack), list[str]()
    for place, sign in read.brackets:
        opener = OPENERS.get(sign)
        if opener is None:
            inner.append(sign)
        elif inner:
            if inner.pop() != opener:
                return place
        elif not outer or outer[-1][0] != opener or outer.pop()[1]:
            return place
    return len(text)
