"""Patterns as git writes them, from a repository that is hostile.

A pattern that could take a regular expression for ever is widened, so that it leaves out more, not less.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MAX_RULES_BYTES = 200_000
MAX_PATTERN = 500
MAX_STARS = 3
SET = re.compile(r"\[[!^]?[\w. -]+\]")
"""Sets with anything else in them mean different things to git and to regular expressions."""


def spec_of(lines: Sequence[str]) -> GitIgnoreSpec:
    """The patterns of some lines, one by one as harmless as `tamed` makes them."""
    return made(safe_of(lines))


def made(lines: Sequence[str]) -> GitIgnoreSpec:
    """The patterns of lines that are `tamed`. Raises what `pathspec` does."""
    from pathspec import GitIgnoreSpec  # noqa: PLC0415 (slow to import, and most starts ask for no pattern)

    return GitIgnoreSpec.from_lines(lines)


def safe_of(lines: Sequence[str]) -> list[str]:
    """The lines that are patterns, tamed."""
    return [safe for line in lines if (safe := tamed(line)) and _valid(safe)]


def tamed(line: str) -> str:
    """A pattern whose expression is sound and cannot backtrack for long; empty for one that is dropped."""
    bare = line.strip()
    if not bare or bare.startswith("#"):
        return ""
    stars = max(part.replace("**", "*").count("*") for part in bare.split("/"))
    sound = "[" not in SET.sub("", bare) and _valid(line)
    if sound and stars <= MAX_STARS and bare.count("**") <= MAX_STARS and len(bare) <= MAX_PATTERN:
        return line
    if bare.startswith("!"):
        return ""
    return re.split(r"[*\[\\]", bare, maxsplit=1)[0][:MAX_PATTERN] + "*"


def _valid(line: str) -> bool:
    try:
        made([line])
    except (ValueError, re.error):
        return False
    return True
