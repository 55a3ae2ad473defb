"""Put a marker where something is held back. Every byte, character and line stays where it was.

A marker takes exactly the bytes of what it stands for, and as many characters, so that every offset holds in
both texts: what is worked out on the masked text applies to the real one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from glm_lsp.core.values import HeldBack

SHORT = "[held back]"
MARKER = re.compile(r"\[held back(?:: [^\]\n]{1,60})?\]")
_FILLER = b"*"
_WIDE = {2: "\u00b7".encode(), 3: "\u2026".encode(), 4: "\U0001f512".encode()}
_IN_BLOCK = re.compile(rb"(\\[nrt])|[A-Za-z0-9+/=:,.-]+")
_EDGE = re.compile(rb"-----(?:BEGIN|END) [A-Z0-9 ]{1,61}-----")


def marker(kind: str) -> str:
    """The words that stand for a secret of this kind, where there is room for them."""
    return f"[held back: {kind}]"


def mask(data: bytes, places: Sequence[HeldBack]) -> bytes:
    """`data` with its places unreadable; it has the same length, and its line ends where they were."""
    if not places:
        return data
    pieces: list[bytes] = []
    at = 0
    for place in places:
        start, end = place.span.start, place.span.end
        held = data[start:end]
        pieces += [
            data[at:start],
            _block(held, place.kind) if _EDGE.match(held) else _value(held, place.kind),
        ]
        at = end
    return b"".join((*pieces, data[at:]))


def _value(held: bytes, kind: str) -> bytes:
    """One run of text: the marker and filler, line by line."""
    said = marker(kind).encode() if len(held) >= len(marker(kind)) else SHORT.encode()
    lines = held.split(b"\n")
    return b"\n".join(_line(line, said if not number else b"") for number, line in enumerate(lines))


def _line(held: bytes, said: bytes) -> bytes:
    if held.isascii():
        body = held.removesuffix(b"\r")
        text = said if len(said) <= len(body) else b""
        return text + _FILLER * (len(body) - len(text)) + held[len(body) :]
    characters = held.decode("utf-8", "replace") if _valid(held) else ""
    if not characters:
        return _FILLER * len(held)
    return b"".join(_FILLER if len(raw := c.encode()) == 1 else _WIDE[len(raw)] for c in characters)


def _valid(held: bytes) -> bool:
    try:
        held.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _block(held: bytes, kind: str) -> bytes:
    """A block keeps its first and last line, its quotes and its escapes; what it says is masked."""
    first = _EDGE.match(held)
    start = first.end() if first else 0
    edges = list(_EDGE.finditer(held, start))
    end = edges[-1].start() if edges else len(held)
    said = [marker(kind).encode()]

    def hide(match: re.Match[bytes]) -> bytes:
        if match[1]:
            return match[0]
        text = said.pop() if said and len(match[0]) >= len(said[0]) else b""
        return text + _FILLER * (len(match[0]) - len(text))

    return held[:start] + _IN_BLOCK.sub(hide, held[start:end]) + held[end:]
