"""The names in tokens, for file after file: most tokens of a file are known from those before it.

A token is what stands between spaces when all that is no part of a name has become one: a name, names with
dots, or names with what tells that they are no uses.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from itertools import count

from glm_lsp.core.syntax.lexicon import IDENT, JOINT, LEXICONS, SIGNS, Lexicon

OTHER = "…"
"""Stands for what is before a dot and is no name."""
QUALIFIER_BYTES = 80
MOST_TOKENS = 50_000
MOST_BYTES = 1 << 22
TOKEN_BYTES = 200
"""Longer tokens are not remembered."""
SHIFT = 32
MASK = (1 << SHIFT) - 1
FIND_NAMES = re.compile(IDENT.encode("latin-1")).findall
INSIDE_BYTES = frozenset(i for i in range(256) if re.match(rb"[\w$#.\1\x80-\xff]", bytes([i])))
_PART = re.compile(rb"[\w$#\x80-\xff]++")
_RANGES = (b"..", b"...")
_DIGITS = frozenset(b"0123456789")
_NO_NAME = _DIGITS | frozenset(b"#")
_FOLLOW = SIGNS.encode()
_JOINED = JOINT.decode()

Token = tuple[bytes, bytes, int, Sequence[tuple[bytes, int, int]] | None]
"""The token between spaces; its name, and that as a number; or, if it is more than a name, for each use what
must not be bound for it to be one, name and qualifier as one number (`SHIFT`), and its place."""


class Vocabulary(dict[bytes, "Token | None"]):
    """The tokens of a lexicon; None: it is no use of any name. Each is looked at when it is asked for first.

    Any thread may use it: it only grows, and numbers are given once.
    """

    __slots__ = ("_ends", "_keywords", "_lexicon", "_next", "_numbers", "binders", "names", "size")

    def __init__(self, lexicon: Lexicon) -> None:
        super().__init__()
        self._lexicon = lexicon
        self._keywords, self._ends = lexicon.keywords, lexicon.ends
        self._next = count(1).__next__
        self._numbers: dict[str, int] = {"": 0}
        self.names: dict[int, str] = {0: ""}
        """Names and qualifiers by their numbers."""
        self.binders: dict[bytes, Sequence[bytes]] = {}
        """Tokens that bind names, and which."""
        self.size = 0

    def __missing__(self, token: bytes) -> Token | None:
        found = self._read(token)
        if len(token) <= TOKEN_BYTES:
            self[token] = found
            self.size += len(token)
        return found

    def number(self, name: str) -> int:
        """The number of a name."""
        if (known := self._numbers.get(name)) is not None:
            return known
        mine = self._next()
        self.names[mine] = name  # before anybody can be told of it
        self.size += len(name)
        return self._numbers.setdefault(name, mine)

    def _read(self, token: bytes) -> Token | None:
        if token in self._keywords:
            return None
        number, text = self.number, token.decode("utf-8", "replace")
        if text.isidentifier():  # most tokens are one
            return b" " + token + b" ", token, number(text) << SHIFT, None
        name = text.rstrip(SIGNS)
        if name.isascii() and (name == text or text[len(name) :] in self._ends):
            if "." not in name and "\1" not in name:
                if name.isidentifier() or name.isalnum():
                    if token.endswith(self._lexicon.binding) and len(token) <= TOKEN_BYTES:
                        self.binders[token] = (token[: len(name)],)
                    return None
            elif (uses := self._dotted(name)) is not None:
                return (b" " + token + b" ", b"", 0, uses) if uses else None
        used, binds = _parts(token, self._lexicon)
        if binds and len(token) <= TOKEN_BYTES:
            self.binders[token] = binds
        if not used:
            return None
        return (
            b" " + token + b" ",
            b"",
            0,
            [(head, number(name) << SHIFT | number(before), place) for head, name, before, place in used],
        )

    def _dotted(self, text: str) -> list[tuple[bytes, int, int]] | None:
        """The uses in names in ASCII with single dots, as `_taken_apart` finds them; None: it is no such."""
        lexicon, number = self._lexicon, self.number
        uses: list[tuple[bytes, int, int]] = []
        words = text.replace(_JOINED, ".").split(".") if "\1" in text else text.split(".")
        if not (first := words[0]):
            qualifier = OTHER
        elif not first.isidentifier():
            return None
        else:
            qualifier, head = first, first.encode()
            if head not in lexicon.keywords:
                uses.append((head, number(first) << SHIFT, 0))
            elif head not in lexicon.receivers:
                return uses
        at = len(first)
        for word in words[1:]:
            if not word.isidentifier():
                return None
            at += 1 + (text[at] == "\1")
            uses.append((b"", number(word) << SHIFT | number(qualifier), at))
            at += len(word)
            qualifier = OTHER if at > QUALIFIER_BYTES or qualifier == OTHER else f"{qualifier}.{word}"
        return uses


_Use = tuple[bytes, str, str, int]
"""What must not be bound for it to be a use; name, qualifier, and where in the token the name stands."""


def _parts(token: bytes, lexicon: Lexicon) -> tuple[list[_Use], list[bytes]]:
    """What is in a token that is more than one name."""
    uses: list[_Use] = []
    binds: list[bytes] = []
    for one in lexicon.tokens.finditer(token):
        text, start = one[0], one.start()
        if text in lexicon.keywords:
            continue
        if lexicon.binding and b"." not in text and text.endswith(lexicon.binding):
            binds += FIND_NAMES(text)
        if b"." in text or b"\1" in text:
            uses += [(*use[:3], start + use[3]) for use in _taken_apart(text, lexicon)]
        elif text[0] not in _NO_NAME and text[-1] in INSIDE_BYTES:
            with contextlib.suppress(UnicodeDecodeError):
                uses.append((text, text.decode(), "", start))
    return uses, binds


def _taken_apart(token: bytes, lexicon: Lexicon) -> list[_Use]:
    """The names of a token, each with what stands before its dot; none where it is no use."""
    if token[0] in _NO_NAME:
        return []
    if token[-1] not in INSIDE_BYTES:
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


_KNOWN: dict[str, Vocabulary] = {}


def vocabulary(lexicon: str) -> Vocabulary:
    """What is known of a lexicon's tokens."""
    known = _KNOWN.get(lexicon)
    if known is None:
        known = _KNOWN[lexicon] = Vocabulary(LEXICONS[lexicon])
    return known


def done(lexicon: str) -> None:
    """Begin anew with the next file when there is too much."""
    known = _KNOWN.get(lexicon)
    if known is not None and (len(known) > MOST_TOKENS or known.size > MOST_BYTES):
        _KNOWN.pop(lexicon, None)
