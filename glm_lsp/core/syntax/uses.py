"""Uses of names in a file: one scan of its text for all languages, by the language's `Lexicon`.

A node object for each identifier would take several times as long as the parse; a regular expression finds
the names of a definition in one step, and only what is new in it is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from glm_lsp.core.references import References
from glm_lsp.core.syntax.lexicon import IDENT, JOINT, LEXICONS, Lexicon
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.trees import Halted
from glm_lsp.core.values import Span, Symbol, SymbolKind

OTHER = "…"
"""Stands for what is before a dot and is no name."""
MOST_USES = 50_000
"""In one file; what has more is data."""
QUALIFIER_BYTES = 80
_BOUND = (SymbolKind.FUNCTION, SymbolKind.METHOD)
_IDENT = re.compile(IDENT.encode("latin-1"))
_PART = re.compile(rb"[\w$#\x80-\xff]++")
_INSIDE_BYTES = frozenset(i for i in range(256) if re.match(rb"[\w$#.\1\x80-\xff]", bytes([i])))
_INSIDE = frozenset(bytes([i]) for i in _INSIDE_BYTES)
_RANGES = (b"..", b"...")
_DIGITS = frozenset(b"0123456789")
_FOLLOW = b" \t=:>?\"'"
_NO_NAME = _DIGITS | frozenset(b"#")
SLASH, BACKTICK = b"/`"
SHIFT = 32
MASK = (1 << SHIFT) - 1


def uses(
    data: bytes,
    lexicon: str,
    symbols: Sequence[Symbol] = (),
    imports: Iterable[Span] = (),
    halt: Callable[[], bool] | None = None,
    *,
    memo: Memo | None = None,
) -> References:
    """The names that are used, once for each definition, or once for the file's own code.

    `symbols` are in the order of the file; `imports` are places whose names are no uses. Parameters and local
    variables of functions are left out as far as they are plain to see. Raises `Halted` when `halt` says so.
    """
    known = LEXICONS[lexicon]
    text = bytearray(_blanked(data, known))
    for span in imports:
        text[span.start : span.end] = b" " * len(span)
    for symbol in symbols:
        text[symbol.name_span.start : symbol.name_span.end] = b" " * len(symbol.name_span)
    scan = _Scan(bytes(text), known, _KNOWN.setdefault(lexicon, {}))
    if memo is not None:
        memo.begin(len(data))
    for scope in _scopes(symbols, len(data)):
        if halt is not None and halt():
            raise Halted
        if memo is None or scope.symbol is None:
            scan.read(scope)
        else:
            scan.again(scope, scope.symbol, memo)
        if len(scan.found) > MOST_USES:
            break
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


class _Parts(NamedTuple):
    """A token taken apart; many occur in file after file."""

    text: bytes
    """Without what follows."""
    head: bytes
    """The name that it begins with; empty where that is none to be bound."""
    uses: tuple[tuple[str, str, int], ...]
    """Name, qualifier, and where in the token the name stands; first that of `head`."""


_Numbered = tuple[bytes, bytes, Sequence[tuple[int, int]]]
"""Likewise within a file: text, head, and for each use name and qualifier as one number, and its place."""
_KNOWN: dict[str, dict[bytes, _Parts | None]] = {}
"""By lexicon, tokens of earlier files. Begun anew when there are `MOST_KNOWN`."""
MOST_KNOWN = 10_000


class _Scan:
    """Names as columns: position in the text, in the table of names, of qualifiers."""

    def __init__(self, text: bytes, lexicon: Lexicon, known: dict[bytes, _Parts | None]) -> None:
        self._text = text
        self._lexicon = lexicon
        self._find = lexicon.tokens.findall
        self._table: dict[str, int] = {"": 0}
        self._known = known
        self._numbered: dict[bytes, _Numbered | None] = {}
        self.found: list[tuple[int, int]] = []

    def references(self) -> References:
        """What was found, in the order of the file."""
        self.found.sort()
        starts = [start for start, _ in self.found]
        used = [key >> SHIFT for _, key in self.found]
        return References(tuple(self._table), used, [key & MASK for _, key in self.found], starts)

    def read(self, scope: _Scope) -> None:
        """Add what a scope uses."""
        lexicon, text, numbered = self._lexicon, self._text, self._numbered
        pieces: list[tuple[int, int, dict[bytes, None]]] = []
        for start, end in scope.pieces:
            if end > start:
                tokens = dict.fromkeys(self._find(text, start, end))
                if lexicon.also is not None:
                    tokens.update(dict.fromkeys(lexicon.also.findall(text, start, end)))
                pieces.append((start, end, tokens))
        bound = scope.bound = self._bound(scope, pieces)
        keywords = lexicon.keywords
        found = self.found
        seen: set[int] = set()
        done: set[bytes] = set()
        for start, end, tokens in pieces:
            at = start
            for token in [t for t in tokens if t not in keywords and t not in bound]:
                if token in numbered:
                    parts = numbered[token]
                else:
                    parts = numbered[token] = self._number(token)
                if parts is None:
                    continue
                name, head, uses = parts
                if name in done:
                    continue
                done.add(name)
                if (place := self._place(name, at, start, end)) < 0:
                    continue
                at = place
                for key, offset in uses[1:] if head in bound else uses:
                    if key not in seen:
                        seen.add(key)
                        found.append((at + offset, key))

    def again(self, scope: _Scope, symbol: Symbol, memo: Memo) -> None:
        """Add what a definition uses, as it is known from an earlier text if that had the same one."""
        text, base, number = self._text, symbol.span.start, self._table.setdefault
        inherited = scope.parent.bound if scope.parent is not None else frozenset[bytes]()
        head = (symbol.body.start if len(symbol.body) else symbol.span.end) - base
        # With the byte on either side, by which it is told whether a name begins or ends there.
        pieces = tuple((a - base, text[max(a - 1, 0) : b + 1]) for a, b in scope.pieces if b > a)
        key = (self._lexicon.follow, symbol.kind in _BOUND, head, text[base : base + head], pieces, inherited)
        if (kept := memo.get(key)) is not None:
            scope.bound, uses = kept
            for place, name, before in uses:
                used = number(name, len(self._table))
                self.found.append((base + place, used << SHIFT | number(before, len(self._table))))
            return
        first = len(self.found)
        self.read(scope)
        names = list(self._table)
        uses = [(at - base, names[k >> SHIFT], names[k & MASK]) for at, k in self.found[first:]]
        memo.keep(key, (scope.bound, uses), head + sum(len(piece) for _, piece in pieces))

    def _place(self, token: bytes, at: int, start: int, end: int) -> int:
        """Where a token stands first, most often after the one before it; -1 if a piece ends in it."""
        text, size = self._text, len(token)
        for begin in (at, start):
            found = text.find(token, begin, end)
            while found >= 0:
                if text[found + size : found + size + 1] not in _INSIDE and (
                    not found or text[found - 1] not in _INSIDE_BYTES
                ):
                    return found
                found = text.find(token, found + 1, end)
        return -1

    def _number(self, token: bytes) -> _Numbered | None:
        """A token with its names in this file's table; None where it is no use of any."""
        table, number = self._table, self._table.setdefault
        if b"." not in token and b"\1" not in token:
            # One name, or with something after it that tells that it is no use: most tokens are.
            if token[0] in _NO_NAME or token[-1] not in _INSIDE_BYTES:
                return None
            try:
                return token, token, ((number(token.decode(), len(table)) << SHIFT, 0),)
            except UnicodeDecodeError:
                return None
        known = self._known
        if token in known:
            parts = known[token]
        else:
            if len(known) >= MOST_KNOWN:
                known.clear()
            parts = _taken_apart(token, self._lexicon)
            if len(token) <= QUALIFIER_BYTES:
                known[token] = parts
        if parts is None:
            return None
        uses = [
            (number(name, len(table)) << SHIFT | number(before, len(table)), place)
            for name, before, place in parts.uses
        ]
        return parts.text, parts.head, uses

    def _bound(self, scope: _Scope, pieces: Iterable[tuple[int, int, dict[bytes, None]]]) -> frozenset[bytes]:
        """The names that a function and those around it bind themselves."""
        symbol, parent, lexicon, text = scope.symbol, scope.parent, self._lexicon, self._text
        inherited = parent.bound if parent is not None else frozenset[bytes]()
        if symbol is None or symbol.kind not in _BOUND or lexicon.params is None:
            return inherited
        names: list[bytes] = []
        head = symbol.body.start if len(symbol.body) else symbol.span.end
        params = lexicon.params.findall
        names += params(text, symbol.span.start, head)
        for start, end, tokens in pieces:
            start = max(start, min(head, end))  # noqa: PLW2901
            for pattern in lexicon.names:
                names += pattern.findall(text, start, end)
            for pattern in lexicon.lists:
                for one in pattern.findall(text, start, end):
                    names += params(b"(" + one.strip(b"()|") + b")")
            if lexicon.binding:
                names += [t for t in tokens if t.endswith(lexicon.binding) and b"." not in t]
        found = frozenset(_IDENT.findall(b" ".join(names)))
        return found | inherited if inherited else found


def _taken_apart(token: bytes, lexicon: Lexicon) -> _Parts | None:
    """The names of a token, each with what stands before its dot; None where it is no use of any."""
    if token[0] in _NO_NAME:
        return None
    if token[-1] not in _INSIDE_BYTES:
        token = token.rstrip(_FOLLOW)
        if b"." not in token and JOINT not in token:
            return None
    try:
        whole = token.decode()
    except UnicodeDecodeError:
        return None
    if len(whole) == len(token) and b"\1" not in token and b".." not in token:
        return _at_dots(token, whole, lexicon)
    uses: list[tuple[str, str, int]] = []
    head, qualifier, last = b"", "", 0
    for part in _PART.finditer(token):
        name, joint = part[0], token[last : part.start()]
        last = part.end()
        if joint in _RANGES:
            qualifier, joint = "", b""
        elif joint and not qualifier:
            qualifier = OTHER
        if name[0] in _DIGITS:
            qualifier = OTHER
            continue
        word = name.decode()
        if joint:
            uses.append((word, qualifier, part.start()))
            long = last > QUALIFIER_BYTES or qualifier == OTHER
            qualifier = OTHER if long else f"{qualifier}.{word}"
            continue
        if name not in lexicon.keywords:
            if not uses:
                head = name
            uses.append((word, "", part.start()))
        elif name not in lexicon.receivers:
            return None
        qualifier = word
    return _Parts(token, head, tuple(uses)) if uses else None


def _at_dots(token: bytes, whole: str, lexicon: Lexicon) -> _Parts | None:
    """The same for names in ASCII with single dots, which most are: in a third of the time."""
    uses: list[tuple[str, str, int]] = []
    head, qualifier, at = b"", "", 0
    for word in whole.split("."):
        end = at + len(word)
        if not word or word[0].isdigit():
            qualifier = OTHER
        elif at:
            qualifier = qualifier or OTHER
            uses.append((word, qualifier, at))
            qualifier = OTHER if end > QUALIFIER_BYTES or qualifier == OTHER else f"{qualifier}.{word}"
        elif (first := token[:end]) not in lexicon.keywords:
            head, qualifier = first, word
            uses.append((word, "", 0))
        elif first in lexicon.receivers:
            qualifier = word
        else:
            return None
        at = end + 1
    return _Parts(token, head, tuple(uses)) if uses else None


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
    return text


def _template(whole: bytes, code_in: re.Pattern[bytes]) -> bytes:
    """A string in backticks with nothing but the code in it."""
    kept = bytearray(whole[:1] + b" " * (len(whole) - 1))
    for code in code_in.finditer(whole):
        kept[code.start(1) : code.end(1)] = code[1]
    return bytes(kept)
