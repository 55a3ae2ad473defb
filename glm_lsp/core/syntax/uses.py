"""Uses of names in a file: one scan of its text for all languages, by the language's `Lexicon`.

A node object for each identifier would take several times as long as the parse; a regular expression finds
the names of a definition in one step, and only what is new in it is looked at.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from glm_lsp.core.references import References
from glm_lsp.core.syntax.lexicon import IDENT, JOINT, LEXICONS, SIGNS, Lexicon
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
JOINED = JOINT.decode()
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
    bound: Mapping[int, frozenset[bytes]] | None = None,
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
    scan = _Scan(bytes(text), known, _KNOWN.setdefault(lexicon, {}), bound)
    if memo is not None:
        memo.begin(len(data))
    for scope in _scopes(symbols, len(data), decorated=bound is not None):
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


def _scopes(symbols: Sequence[Symbol], size: int, *, decorated: bool) -> list[_Scope]:
    """The scopes of a file, outer ones first. What stands before the name of what may be `decorated` is run
    by the scope around it."""
    here = _Scope(None, None, size)
    found, at = [here], 0
    for symbol in symbols:
        if symbol.kind is SymbolKind.VARIABLE:
            continue
        start = max(symbol.name_span.start if decorated else symbol.span.start, at)
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


_Use = tuple[bytes, str, str, int]
"""What must not be bound for it to be a use; name, qualifier, and where in the token the name stands."""


class _Parts(NamedTuple):
    """A token taken apart; many occur in file after file."""

    uses: tuple[_Use, ...]
    binds: tuple[bytes, ...]


_Numbered = tuple[bytes, bytes, int, Sequence[tuple[bytes, int, int]] | None]
"""Likewise within a file: the token between spaces; its name, with its qualifier as one number; or, if it is
more than a name, for each use what must not be bound, name and qualifier as one number, and its place."""
_KNOWN: dict[str, dict[bytes, _Parts]] = {}
"""By lexicon, tokens of earlier files. Begun anew when there are `MOST_KNOWN`."""
MOST_KNOWN = 10_000


class _Numbers(dict[bytes, "_Numbered | None"]):
    """What a file's tokens say, each looked at when it is asked for first."""

    __slots__ = ("_number",)

    def __init__(self, number: Callable[[bytes], _Numbered | None]) -> None:
        self._number = number

    def __missing__(self, token: bytes) -> _Numbered | None:
        found = self[token] = self._number(token)
        return found


class _Scan:
    """Names as columns: position in the text, in the table of names, of qualifiers."""

    def __init__(
        self,
        text: bytes,
        lexicon: Lexicon,
        known: dict[bytes, _Parts],
        bound: Mapping[int, frozenset[bytes]] | None,
    ) -> None:
        self._text = text
        self._lexicon = lexicon
        self._clean = b" " + text.translate(lexicon.spaces) + b" "
        """What is between tokens is one space or more: a place in it is one more than in the text."""
        self._keywords, self._ends = lexicon.keywords, lexicon.ends
        self._table: dict[str, int] = {"": 0}
        self._known = known
        self._own = bound
        self._numbers = _Numbers(self._number)
        self._binders: dict[bytes, Sequence[bytes]] = {}
        """Tokens seen so far that bind names, and which."""
        self.found: list[tuple[int, int]] = []

    def references(self) -> References:
        """What was found, in the order of the file."""
        self.found.sort()
        starts = [start for start, _ in self.found]
        used = [key >> SHIFT for _, key in self.found]
        return References(tuple(self._table), used, [key & MASK for _, key in self.found], starts)

    def read(self, scope: _Scope) -> None:
        """Add what a scope uses."""
        clean, also, number = self._clean, self._lexicon.also, self._numbers.__getitem__
        pieces: list[tuple[int, int, list[_Numbered | None]]] = []
        binders = self._binders
        binding: list[bytes] = []
        for start, end in scope.pieces:
            if end > start:
                tokens = dict.fromkeys(clean[start + 1 : end + 1].split())
                pieces.append((start, end, list(map(number, tokens))))
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
            known = self._numbers[token]
            if known is None or (place := self._place(token, at, start, end)) < 0:
                continue
            at = place
            for name, key, offset in known[3] or ((*known[1:3], 0),):
                if key not in seen and name not in bound:
                    seen.add(key)
                    self.found.append((place + offset, key))

    def again(self, scope: _Scope, symbol: Symbol, memo: Memo) -> None:
        """Add what a definition uses, as it is known from an earlier text if that had the same one."""
        text, base, number = self._text, symbol.span.start, self._table.setdefault
        inherited = scope.parent.bound if scope.parent is not None else frozenset[bytes]()
        if self._own is not None:
            inherited |= self._own.get(symbol.name_span.start, frozenset())
        head = (symbol.body.start if len(symbol.body) else symbol.span.end) - base
        # With the byte on either side, by which it is told whether a name begins or ends there.
        pieces = tuple((a - base, text[max(a - 1, 0) : b + 1]) for a, b in scope.pieces if b > a)
        before = text[base : base + head] if self._own is None else b""
        key = (self._lexicon.follow, symbol.kind in _BOUND, head, before, pieces, inherited)
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
        memo.keep(key, (scope.bound, uses), len(before) + sum(len(piece) for _, piece in pieces))

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
        if token in self._keywords:
            return None
        table, text = self._table, token.decode("utf-8", "replace")
        number = table.setdefault
        if text.isidentifier():  # most tokens are one
            return b" " + token + b" ", token, number(text, len(table)) << SHIFT, None
        name = text.rstrip(SIGNS)
        if name.isascii() and (name == text or text[len(name) :] in self._ends):
            if "." not in name and "\1" not in name:
                if name.isidentifier() or name.isalnum():
                    if token.endswith(self._lexicon.binding):
                        self._binders[token] = (token[: len(name)],)
                    return None
            elif (uses := self._dotted(name)) is not None:
                return (b" " + token + b" ", b"", 0, uses) if uses else None
        known = self._known
        if token in known:
            parts = known[token]
        else:
            if len(known) >= MOST_KNOWN:
                known.clear()
            parts = _parts(token, self._lexicon)
            if len(token) <= QUALIFIER_BYTES:
                known[token] = parts
        if parts.binds:
            self._binders[token] = parts.binds
        if not parts.uses:
            return None
        uses = [
            (head, number(name, len(table)) << SHIFT | number(before, len(table)), place)
            for head, name, before, place in parts.uses
        ]
        return b" " + token + b" ", b"", 0, uses

    def _dotted(self, text: str) -> list[tuple[bytes, int, int]] | None:
        """The uses in names in ASCII with single dots, as `_taken_apart` finds them; None: it is no such."""
        lexicon, table, number = self._lexicon, self._table, self._table.setdefault
        uses: list[tuple[bytes, int, int]] = []
        words = text.replace(JOINED, ".").split(".") if "\1" in text else text.split(".")
        if not (first := words[0]):
            qualifier = OTHER
        elif not first.isidentifier():
            return None
        else:
            qualifier, head = first, first.encode()
            if head not in lexicon.keywords:
                uses.append((head, number(first, len(table)) << SHIFT, 0))
            elif head not in lexicon.receivers:
                return uses
        at = len(first)
        for word in words[1:]:
            if not word.isidentifier():
                return None
            at += 1 + (text[at] == "\1")
            uses.append((b"", number(word, len(table)) << SHIFT | number(qualifier, len(table)), at))
            at += len(word)
            qualifier = OTHER if at > QUALIFIER_BYTES or qualifier == OTHER else f"{qualifier}.{word}"
        return uses

    def _bound(self, scope: _Scope, binding: list[bytes]) -> frozenset[bytes]:
        """The names that a function and those around it bind themselves; `binding` are some."""
        symbol, parent, lexicon, text = scope.symbol, scope.parent, self._lexicon, self._text
        inherited = parent.bound if parent is not None else frozenset[bytes]()
        if symbol is None or symbol.kind not in _BOUND or lexicon.params is None:
            return inherited
        head = symbol.body.start if len(symbol.body) else symbol.span.end
        params = lexicon.params.findall
        names = binding
        if self._own is None:
            names = [*binding, *params(text, symbol.span.start, head)]
        else:
            inherited |= self._own.get(symbol.name_span.start, frozenset())
        for start, end in scope.pieces:
            if self._own is None and (start := max(start, min(head, end))) >= end:
                continue
            for word, pattern in lexicon.names:
                if word and text.find(word, start, end) < 0:
                    continue
                names += pattern.findall(text, start, end)
            for pattern in lexicon.lists:
                for one in pattern.findall(text, start, end):
                    names += params(b"(" + one.strip(b"()|") + b")")
        found = frozenset(_IDENT.findall(b" ".join(names)))
        return found | inherited if inherited else found


def _parts(token: bytes, lexicon: Lexicon) -> _Parts:
    """What is in a token that is more than one name."""
    uses: list[_Use] = []
    binds: list[bytes] = []
    for one in lexicon.tokens.finditer(token):
        text, start = one[0], one.start()
        if text in lexicon.keywords:
            continue
        if lexicon.binding and b"." not in text and text.endswith(lexicon.binding):
            binds += _IDENT.findall(text)
        if b"." in text or b"\1" in text:
            uses += [(*use[:3], start + use[3]) for use in _taken_apart(text, lexicon)]
        elif text[0] not in _NO_NAME and text[-1] in _INSIDE_BYTES:
            with contextlib.suppress(UnicodeDecodeError):
                uses.append((text, text.decode(), "", start))
    return _Parts(tuple(uses), tuple(binds))


def _taken_apart(token: bytes, lexicon: Lexicon) -> list[_Use]:
    """The names of a token, each with what stands before its dot; none where it is no use."""
    if token[0] in _NO_NAME:
        return []
    if token[-1] not in _INSIDE_BYTES:
        token = token.rstrip(_FOLLOW)
        if b"." not in token and JOINT not in token:
            return []
    try:
        token.decode()
    except UnicodeDecodeError:
        return []
    uses: list[_Use] = []
    qualifier, last = "", 0
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
            uses.append((b"", word, qualifier, part.start()))
            long = last > QUALIFIER_BYTES or qualifier == OTHER
            qualifier = OTHER if long else f"{qualifier}.{word}"
            continue
        if name not in lexicon.keywords:
            uses.append((b"" if uses else name, word, "", part.start()))
        elif name not in lexicon.receivers:
            return []
        qualifier = word
    return uses


def _blanked(data: bytes, lexicon: Lexicon) -> bytes:
    """The text with spaces in place of strings and comments, as long as before."""
    parts = lexicon.split(data)
    code_in, more = lexicon.code_in, lexicon.inert.groups + 2
    for at in range(1, len(parts), more):
        whole = parts[at]
        if code_in is not None and (
            whole[0] == BACKTICK if lexicon.prefix is None else lexicon.prefix.search(parts[at - 1][-4:])
        ):
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
