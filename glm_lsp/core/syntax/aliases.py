"""What an outline says of a definition that gives a name to a type: the value is what matters of it."""

from __future__ import annotations

import re

from tree_sitter import Node

SIGNATURE_BYTES = 160
"""A statement up to this size is its own signature."""
MOST_TYPE_BYTES, MOST_WORDS_BYTES = 400, 100
"""Of such a statement of several lines that is told whole: with its spaces and breaks, and without."""


def of_long_type(data: bytes, start: int, end: int, value: Node) -> str | None:
    """What is said of a type of several lines; None where it can be said whole, as it stands."""
    if end - start <= MOST_TYPE_BYTES and len(b" ".join(data[start:end].split())) <= MOST_WORDS_BYTES:
        return None
    most = min(end, start + SIGNATURE_BYTES)
    first = start + len(data[start:most].split(b"\n", 1)[0])
    if value.start_byte < first and re.search(rb"\w", data[value.start_byte : first]):
        return data[start:first].decode("utf-8", "ignore").rstrip(" \r\t{(") + " ..."
    head = " ".join(data[start : min(value.start_byte, most)].decode("utf-8", "ignore").split())
    return head.rstrip(" ({=:") + " = ..." if "//" not in head else ""
