"""The same few characters again and again: what a model says that has lost its way. Pure."""

from __future__ import annotations

LONGEST_RUN_UNIT = 16
"""Characters that are said again and again within a line."""
STUCK_AFTER = 16
"""Times that they are said before nobody listens any more."""
RULER = 100
"""Characters of one kind that a line may hold."""


def stuck(answer: str) -> bool:
    """Whether the model says the same few characters again and again, and is not worth listening to."""
    return cut_run(answer, STUCK_AFTER) < len(answer)


def cut_run(text: str, least: int = 4) -> int:
    """After the first where the text's last line ends with the same few characters, `least` times or more.

    Without a blank or sign between them, or without anything else, they may be a number or a ruler: then it
    takes more of them.
    """
    start = text.rfind("\n") + 1
    line = text[start:]
    for size in range(1, LONGEST_RUN_UNIT + 1):
        begin = len(line)
        while begin > size and line[begin - 1] == line[begin - 1 - size]:
            begin -= 1
        begin -= size
        first = line[begin : begin + size] if begin >= 0 else ""
        telling = any(map(str.isalnum, first)) and not first.isalnum()
        if first.strip() and len(line) - begin >= (least * size if telling else max(RULER, least * size)):
            return start + begin + len(first.rstrip(" \t,;+|&"))
    return len(text)
