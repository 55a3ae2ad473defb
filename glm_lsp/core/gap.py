"""Where an answer goes: the text on both sides of the cursor, and what can be read off it. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from glm_lsp.core.brackets import Surroundings, surroundings
from glm_lsp.core.template import SPECIAL_TOKENS

FOREIGN_TOKENS = (
    *("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<fim_prefix>", "<fim_suffix>"),
    *("<fim_middle>", "<|end|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<EOT>", "</s>", "<|file_sep|>"),
)
SENTINELS = tuple(t for t in (*SPECIAL_TOKENS, *FOREIGN_TOKENS) if t not in ("/nothink",))
LONGEST_CONTEXT = 100_000
"""Characters on each side of the cursor that are read for brackets and quotes."""
MOST_LINES_AGAIN = 40
"""Lines before the cursor that an answer may say again."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Where the answer goes. `before` and `after` have LF line ends; `before` may begin at any line.

    `most_lines` 0 means up to the block's end; `prefilled`: the answer was begun for the model; `fence` is
    what ends it.
    """

    before: str
    after: str
    language: str = ""
    most_lines: int = 0
    prefilled: bool = True
    fence: str = "```"

    @property
    def line_before(self) -> str:
        return self.before[self.before.rfind("\n") + 1 :]

    @property
    def line_after(self) -> str:
        return self.after.split("\n", 1)[0]


@lru_cache(maxsize=16)
def lines_before(gap: Gap) -> tuple[str, ...]:
    """The last lines up to the cursor, the cursor's own last."""
    return tuple(gap.before.rsplit("\n", MOST_LINES_AGAIN)[-MOST_LINES_AGAIN:])


@lru_cache(maxsize=16)
def around_of(gap: Gap) -> Surroundings:
    """The brackets and quotes around the gap."""
    return surroundings(gap.before[-LONGEST_CONTEXT:], gap.after[:LONGEST_CONTEXT], gap.language)


@lru_cache(maxsize=16)
def foreign(gap: Gap) -> re.Pattern[str]:
    """Any sentinel that the file itself does not speak of; one that never matches where it speaks of all."""
    named = [re.escape(t) for t in SENTINELS if t not in gap.before and t not in gap.after]
    return re.compile("|".join(named) or r"(?!)")


def indent_of(line: str) -> str:
    """The blanks that a line begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def width_of(indent: str) -> int:
    """Columns of an indentation; a tab goes to the next multiple of four."""
    return len(indent.expandtabs(4))


@lru_cache(maxsize=16)
def unit_of(before: str) -> str:
    """One level of indentation as the text has it; four spaces where it has none."""
    widths: set[int] = set()
    for line in before[-20_000:].split("\n"):
        if line.startswith("\t"):
            return "\t"
        if line.strip() and line.startswith(" "):
            widths.add(len(indent_of(line)))
    smallest = min(widths, default=4)
    return " " * (smallest if smallest in (2, 3, 4, 8) else 4)


def converted(line: str, unit: str) -> str:
    """The line with its indentation in tabs, or in spaces, as `unit` is."""
    indent = indent_of(line)
    if unit == "\t" and " " in indent:
        width = width_of(indent)
        return "\t" * (width // 4) + " " * (width % 4) + line[len(indent) :]
    return indent.expandtabs(4) + line[len(indent) :] if unit != "\t" and "\t" in indent else line


def last_line(text: str) -> str | None:
    """The last line with anything in it."""
    return next((line for line in reversed(text[-5000:].split("\n")) if line.strip()), None)
