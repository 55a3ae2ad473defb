"""Which lines of which files a trunk tells, read from its blocks: source shows lines, edits move them.

Lines are those of the file as told so far, 0-based; ranges are half-open, ascending and never touch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from glm_lsp.core.values import Block, BlockKind

Ranges = tuple[tuple[int, int], ...]
Shown = Mapping[str, Ranges]
_SOURCE = re.compile(r":(\d+)-(\d+)\n")
_OUTDATED = " is outdated\n"
_EDIT = re.compile(r" line (\d+) -(\d+) \+(\d+)\n")
_TYPING = re.compile(r"# Complete (?:.+ )?line (\d+) -(\d+)(?: in .*)?, before:\n")


def with_blocks(shown: Shown, blocks: Iterable[Block]) -> Shown:
    """What is told once these blocks have been told too, in their order."""
    found = dict(shown)
    place: re.Match[str] | None = None
    for block in blocks:
        if block.kind is BlockKind.TYPED and place is not None:
            start, added = int(place[1]) - 1, block.end_line + 1 - block.start_line
            found[block.path] = _spliced(found.get(block.path, ()), start, int(place[2]), added)
            continue
        place = _TYPING.match(block.text)
        at = len("== ") + len(block.path)
        ranges = found.get(block.path, ())
        if source := _SOURCE.match(block.text, at):
            found[block.path] = _joined((*ranges, (int(source[1]) - 1, int(source[2]))))
        elif edit := _EDIT.match(block.text, at):
            found[block.path] = _spliced(ranges, int(edit[1]) - 1, int(edit[2]), int(edit[3]))
        elif block.text[at:] == _OUTDATED:
            found[block.path] = ()
    return found


def outdated(blocks: Sequence[Block]) -> Mapping[str, int]:
    """How many of the blocks, the first ones, say nothing any more of a file, by file."""
    return {b.path: n for n, b in enumerate(blocks, 1) if b.text.endswith(_OUTDATED)}


def covers(ranges: Ranges, first: int, last: int) -> bool:
    """Whether all lines from `first` to `last`, inclusive, are told."""
    return any(start <= first and last < end for start, end in ranges)


def missing(ranges: Ranges, first: int, last: int) -> tuple[int, int] | None:
    """The smallest stretch within `first` to `last`, inclusive, that holds all that is not told."""
    lines = [n for n in range(first, last + 1) if not covers(ranges, n, n)]
    return (lines[0], lines[-1]) if lines else None


def _joined(ranges: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for start, end in sorted(r for r in ranges if r[0] < r[1]):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return tuple(found)


def _spliced(ranges: Ranges, at: int, removed: int, added: int) -> Ranges:
    """The ranges after `removed` lines from `at` on became `added` ones, which are told."""
    found: list[tuple[int, int]] = [(at, at + added)]
    for start, end in ranges:
        found.append((start, min(end, at)))
        found.append((max(start, at + removed) + added - removed, end + added - removed))
    return _joined(tuple(found))
