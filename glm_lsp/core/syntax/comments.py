"""The first line of the comment that documents a definition or a file."""

from __future__ import annotations

import re
from collections.abc import Iterable

from glm_lsp.core.syntax.languages import Row

MOST_LINES = 40
MOST_INDENT = 400
_MARKS = (b"//", b"#", b"--")
_SKIPPED = re.compile(rb"(?:go:|@ts-|eslint|istanbul|prettier|nolint|tslint|[^\w\x80-\xff]*$|Copyright|SPDX)")
_BLOCK = re.compile(rb"\s*/\*(.*?)\*/", re.DOTALL)
_INNER = re.compile(rb"(?:[ \t]*//!?[^\n]*\n)+")
_ATTRIBUTE = re.compile(rb"[ \t]*(?:#!?\[[^\n]*\]|@\w[^\n]*)[ \t\r]*$")
_DOCUMENTED_FILES = frozenset(
    {"go", "rust", "javascript", "typescript", "javascriptreact", "typescriptreact"}
)


def above(data: bytes, start: int, row: Row) -> str:
    """The first line of the comment that ends on the line above byte `start`; empty where there is none."""
    end = data.rfind(b"\n", 0, start)
    if start - end > MOST_INDENT or data[end + 1 : start].strip():
        return ""
    found: list[bytes] = []
    for _ in range(MOST_LINES):
        if end <= 0:
            break
        begin = data.rfind(b"\n", 0, end) + 1
        line = data[begin:end].strip()
        if line.endswith(b"*/") and not found:
            opening = data.rfind(b"/*", 0, end)
            return (
                _first(data[opening + 2 : end].strip().removesuffix(b"*/").split(b"\n"))
                if opening >= 0
                else ""
            )
        if line.startswith(_MARKS[:1]) or (row.lexicon == "hash" and line.startswith(b"#")):
            found.append(line.lstrip(b"/#! \t"))
        elif found or not _ATTRIBUTE.match(line):
            break
        end = begin - 1
    return _first(reversed(found)) if found else ""


def of_file(data: bytes, row: Row) -> str:
    """The first line of the comment that a file begins with, where the language documents files so."""
    if row.id not in _DOCUMENTED_FILES:
        return ""
    if row.id == "go":
        package = re.search(rb"^package\s", data, re.MULTILINE)
        return above(data, package.start(), row) if package else ""
    head = data[:4096]
    if block := _BLOCK.match(head):
        return _first(block[1].split(b"\n")) if row.id != "rust" else ""
    inner = _INNER.match(head)
    if inner is None or (row.id == "rust" and not head.lstrip().startswith(b"//!")):
        return ""
    return _first(line.strip().lstrip(b"/! \t") for line in inner[0].split(b"\n"))


def _first(lines: Iterable[bytes]) -> str:
    """The first of some lines that says something."""
    for line in lines:
        text = line.strip().lstrip(b"*!/ \t").removesuffix(b"*/").strip()
        if text and not _SKIPPED.match(text):
            return text.decode("utf-8", "replace")
    return ""
