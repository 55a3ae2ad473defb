"""Uses of names in a file: one scan of its text for all languages, by the language's `Lexicon`.

A node object for each identifier would take several times as long as the parse; a regular expression finds
the names of a definition in one step, and only what is new in it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Sequence

from glm_lsp.core.references import References
from glm_lsp.core.syntax.lexicon import JOINT, LEXICONS, Lexicon
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.trees import Halted
from glm_lsp.core.syntax.vocabulary import (
    FIND_NAMES,
    INSIDE_BYTES,
    MASK,
    SHIFT,
    Token,
    Vocabulary,
    done,
    vocabulary,
)
from glm_lsp.core.values import Span, Symbol, SymbolKind

MOST_USES = 50_000
"""In one file; what has more is data."""
HALT_SCOPES = 16
"""Asking takes as long as a small scope does; all of them together hold the text once."""
_BOUND = (SymbolKind.FUNCTION, SymbolKind.METHOD)
_INSIDE = frozenset(bytes([i]) for i in INSIDE_BYTES)
SLASH, BACKTICK = b"/`"


def uses(
    data: bytes,
    lexicon: str,
    symbols: Sequence[Symbol] = (),
    imports: Iterable[Span] = (),
    halt: Callable[[], bool] | None = None,
    *,
    memo: Memo | None = None,
    used: Container[int] = (),
) -> References:
    """The names that are used, once for each definition, or once for the file's own code.

    `symbols` are in the order of the file; `imports` are places whose names are no uses. Parameters and local
    variables of functions are left out as far as they are plain to see. `used` are places of names of
    `symbols` that are uses as well. Raises `Halted` when `halt` says so.
    """
    known = LEXICONS[lexicon]
    text = bytearray(_blanked(data, known))
    for span in imports:
        text[span.start : span.end] = b" " * len(span)
    for symbol in symbols:
        if symbol.name_span.start not in used:
            text[symbol.name_span.start : symbol.name_span.end] = b" " * len(symbol.name_span)
    scan = _Scan(bytes(text), known, vocabulary(lexicon))
    if memo is not None:
        memo.begin(len(data))
    for number, scope in enumerate(_scopes(symbols, len(data))):
        if halt is not None and number % HALT_SCOPES == 0 and halt():
            raise Halted
        if memo is None or scope.symbol is None:
            scan.read(scope)
        else:
            scan.again(scope, scope.symbol, memo)
        if len(scan.found) > MOST_USES:
            break
    done(lexicon)
    return scan.references()


class _Scope:
    """A definition, or the whole file where `symbol` is None, and the pieces of text that are its own."""

    __slots__ = ("bound", "end", "parent", "pieces", "symbol")

    def __init__(self, symbol: Symbol | None, parent: _Scope | None, end: int) -> None:
        self.symbol, self.parent, self.end = symbol, parent, end
        self.pieces: list[tuple[int, int]] = []
        self.bound: frozenset[bytes] = frozenset()


def _scopes(symbols: Sequence[Symbol], size: int) -> list[_Scope]:
    """The scopes of a file, outer ones first."""
    here = _Scope(None, None, size)
    found, at = [here], 0
    for symbol in symbols:
        if symbol.kind is SymbolKind.VARIABLE:
            continue
        start = max(symbol.span.start, at)
        while here.parent is not None and here.end <= start:
            here.pieces.append((at, here.end))
            at, here = max(at, here.end), here.parent
        here.pieces.append((at, start))
        here = _Scope(symbol, here, min(symbol.span.end, here.end))
        at = start
        found.append(here)
    while True:
        here.pieces.append((at, here.end))
        at = max(at, here.end)
        if here.parent is None:
            return found
        here = here.parent


class _Scan:
    """Names as columns: position in the text, in the table of names, of qualifiers."""

    def __init__(self, text: bytes, lexicon: Lexicon, known: Vocabulary) -> None:
        self._text = text
        self._lexicon = lexicon
        self._clean = b" " + text.translate(lexicon.spaces) + b" "
        """What is between tokens is one space or more: a place in it is one more than in the text."""
        self._known = known
        self.found: list[tuple[int, int]] = []

    def references(self) -> References:
        """What was found, in the order of the file."""
        self.found.sort()
        starts = [start for start, _ in self.found]
        used = [key >> SHIFT for _, key in self.found]
        before = [key & MASK for _, key in self.found]
        table = {number: at for at, number in enumerate(dict.fromkeys([*used, *before]))}
        mine, name = table.__getitem__, self._known.names.__getitem__
        return References(tuple(map(name, table)), list(map(mine, used)), list(map(mine, before)), starts)

    def read(self, scope: _Scope) -> None:
        """Add what a scope uses."""
        clean, also, known = self._clean, self._lexicon.also, self._known.__getitem__
        pieces: list[tuple[int, int, list[Token | None]]] = []
        binders = self._known.binders
        binding: list[bytes] = []
        for start, end in scope.pieces:
            if end > start:
                tokens = dict.fromkeys(clean[start + 1 : end + 1].split())
                pieces.append((start, end, list(map(known, tokens))))
                binding += [name for token in tokens if token in binders for name in binders[token]]
        bound = scope.bound = self._bound(scope, binding)
        found, find = self.found, clean.find
        seen: set[int] = set()
        for start, end, tokens in pieces:
            at, stop = start, end + 2
            for padded, name, key, more in filter(None, tokens):
                if more is None and (key in seen or name in bound):
                    continue
                place = find(padded, at, stop)
                if place < 0 and (place := self._place(padded[1:-1], at, start, end)) < 0:
                    continue
                at = place
                if more is None:
                    seen.add(key)
                    found.append((place, key))
                    continue
                for name, key, offset in more:  # noqa: PLW2901
                    if key not in seen and name not in bound:
                        seen.add(key)
                        found.append((place + offset, key))
            if also is not None and self._text.find(b"case", start, end) >= 0:
                self._labels(also.findall(self._text, start, end), start, end, bound, seen)

    def _labels(
        self, tokens: list[bytes], start: int, end: int, bound: frozenset[bytes], seen: set[int]
    ) -> None:
        """Add what a piece uses where it looks like no use."""
        at = start
        for token in dict.fromkeys(tokens):
            known = self._known[token]
            if known is None or (place := self._place(token, at, start, end)) < 0:
                continue
            at = place
            for name, key, offset in known[3] or ((*known[1:3], 0),):
                if key not in seen and name not in bound:
                    seen.add(key)
                    self.found.append((place + offset, key))

    def again(self, scope: _Scope, symbol: Symbol, memo: Memo) -> None:
        """Add what a definition uses, as it is known from an earlier text if that had the same one."""
        text, base, number = self._text, symbol.span.start, self._known.number
        inherited = scope.parent.bound if scope.parent is not None else frozenset[bytes]()
        head = (symbol.body.start if len(symbol.body) else symbol.span.end) - base
        # With the byte on either side, by which it is told whether a name begins or ends there.
        pieces = tuple((a - base, text[max(a - 1, 0) : b + 1]) for a, b in scope.pieces if b > a)
        key = (self._lexicon.follow, symbol.kind in _BOUND, head, text[base : base + head], pieces, inherited)
        if (kept := memo.get(key)) is not None:
            scope.bound, uses = kept
            for place, name, before in uses:
                self.found.append((base + place, number(name) << SHIFT | number(before)))
            return
        first = len(self.found)
        self.read(scope)
        names = self._known.names
        uses = [(at - base, names[k >> SHIFT], names[k & MASK]) for at, k in self.found[first:]]
        memo.keep(key, (scope.bound, uses), head + sum(len(piece) for _, piece in pieces))

    def _place(self, token: bytes, at: int, start: int, end: int) -> int:
        """Where a token stands first, most often after the one before it; -1 if a piece ends in it."""
        text, size = self._text, len(token)
        for begin in (at, start):
            found = text.find(token, begin, end)
            while found >= 0:
                if text[found + size : found + size + 1] not in _INSIDE and (
                    not found or text[found - 1] not in INSIDE_BYTES
                ):
                    return found
                found = text.find(token, found + 1, end)
        return -1

    def _bound(self, scope: _Scope, binding: list[bytes]) -> frozenset[bytes]:
        """The names that a function and those around it bind themselves; `binding` are some."""
        symbol, parent, lexicon, text = scope.symbol, scope.parent, self._lexicon, self._text
        inherited = parent.bound if parent is not None else frozenset[bytes]()
        if symbol is None or symbol.kind not in _BOUND or lexicon.params is None:
            return inherited
        head = symbol.body.start if len(symbol.body) else symbol.span.end
        params = lexicon.params.findall
        names = [*binding, *params(text, symbol.span.start, head)]
        for start, end in scope.pieces:
            if (start := max(start, min(head, end))) >= end:
                continue
            for letters, pattern in lexicon.names:
                if (at := text.find(letters, start, end)) >= 0:  # in a fraction of the pattern's time
                    names += pattern.findall(text, at, end)
            for pattern in lexicon.lists:
                for one in pattern.findall(text, start, end):
                    names += params(b"(" + one.strip(b"()|") + b")")
        found = frozenset(FIND_NAMES(b" ".join(names)))
        return found | inherited if inherited else found


def _blanked(data: bytes, lexicon: Lexicon) -> bytes:
    """The text with spaces in place of strings and comments, as long as before."""
    parts = lexicon.split(data)
    code_in, more = lexicon.code_in, lexicon.inert.groups + 2
    for at in range(1, len(parts), more):
        whole = parts[at]
        if whole[0] == BACKTICK and code_in is not None:
            parts[at] = _template(whole, code_in)
        else:
            # A quote tells that what stands before it is no name.
            parts[at] = (b" " if whole[0] == SLASH else whole[:1]) + b" " * (len(whole) - 1)
    for group in range(2, more):
        parts[group::more] = [b""] * len(range(group, len(parts), more))
    text = b"".join(parts)
    for dots in lexicon.dots:
        text = text.replace(dots, JOINT)
    return lexicon.joined(text)


def _template(whole: bytes, code_in: re.Pattern[bytes]) -> bytes:
    """A string in backticks with nothing but the code in it."""
    kept = bytearray(whole[:1] + b" " * (len(whole) - 1))
    for code in code_in.finditer(whole):
        kept[code.start(1) : code.end(1)] = code[1]
    return bytes(kept)
