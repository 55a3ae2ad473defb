"""Bytes, lines and positions. A line ends at `\\n` alone; a `\\r` before it belongs to the line."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_CHUNK = 65_536


def digest(data: bytes) -> str:
    """Content address of a file: blake2b, 16 bytes, as hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def visible(text: str) -> str:
    """`text` with whatever would not show (control, bidirectional, zero-width, unassigned) escaped."""
    return "".join(c if c.isprintable() or c in "\n\t\u00a0" else f"\\u{ord(c):04x}" for c in text)


def line_starts(data: bytes) -> list[int]:
    """Byte offset of each line's first byte; always begins with 0."""
    starts = [0]
    at = data.find(b"\n")
    while at >= 0:
        starts.append(at + 1)
        at = data.find(b"\n", at + 1)
    return starts


def common_start(a: Sequence[object], b: Sequence[object]) -> int:
    """How many items, of a text its bytes, two sequences of one kind begin with alike."""
    most, at = min(len(a), len(b)), 0
    while at < most and a[at : at + _CHUNK] == b[at : at + _CHUNK]:
        at += _CHUNK
    least, most = min(at, most), min(at + _CHUNK, most)
    while least < most:
        middle = (least + most + 1) // 2
        if a[least:middle] == b[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least


def common_end(a: bytes, b: bytes, most: int) -> int:
    """Length of the common end, of at most `most` bytes."""
    at = 0
    while at < most and _ends(a, at, at + _CHUNK) == _ends(b, at, at + _CHUNK):
        at += _CHUNK
    least, most = min(at, most), min(at + _CHUNK, most)
    while least < most:
        middle = (least + most + 1) // 2
        if _ends(a, least, middle) == _ends(b, least, middle):
            least = middle
        else:
            most = middle - 1
    return least


def _ends(data: bytes, near: int, far: int) -> bytes:
    """The bytes from `far` to `near` before the end."""
    return data[max(0, len(data) - far) : len(data) - near]
