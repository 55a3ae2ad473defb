"""What of a model's answer is offered at a cursor. Pure; each filter is small and does one thing.

Three stages: *readings* take off what stands around the code (thoughts, fences, the line said again, foreign
indentation); *cuts* end the text where it stops being the gap's, and once a cut has been made in complete
lines more text never moves it, so generation can end there (`finished`); *finishes* look at what is left.
Nothing touches the text after the cursor.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from glm_lsp.core import syntax
from glm_lsp.core.brackets import first_wrong, scan
from glm_lsp.core.gap import (
    Gap,
    around_of,
    converted,
    foreign,
    indent_of,
    last_line,
    lines_before,
    unit_of,
    width_of,
)
from glm_lsp.core.runs import cut_run

WEAK_LINES = frozenset(
    ("else:", "try:", "finally:", "pass", "return", "break", "continue", "end", "fi", "done", "esac")
)
CONTINUATIONS = ("else", "elif ", "except", "finally", "case ")
_OPENING_FENCE = re.compile(r"^[ \t]*`{3,}[^\n`]*\n", re.MULTILINE)
_DEFINITION = re.compile(r"(?:async\s+def|def|class)\b|@\w")
_OPENS_BLOCK = re.compile(r":\s*(?:#.*)?$")
_LINE_LOOP = re.compile(r"([^\n]{6,200}?)\1{2,}")
_WORD = re.compile(r"[^\W\d_]{2}")
_PARTIAL_SENTINEL = re.compile(r"<\|?[a-z_]{0,16}\|?$|\[[gs]?M[ASK]{0,3}$")
_CLOSERS = " \t)]}>\"'`,;:"
LONGEST_LOOP = 4
"""Lines of a stretch that is said again."""
MOST_PARSES = 12
PARSED_CONTEXT = 6000
"""Characters on each side of the cursor that are parsed to see whether an answer breaks the syntax."""
_TOP_LEVEL = re.compile(r"^(?=[A-Za-z_@])", re.MULTILINE)


def trim(answer: str, gap: Gap, *, ended: bool = True) -> str:
    """The text to offer; empty where nothing is left.

    `ended`: the model itself has ended the answer; no bound did, and nobody stopped to listen.
    """
    spoken = without_thoughts(answer)
    end = cut_sentinel(spoken, gap)
    text = _read(spoken[:end], gap)
    if not ended and end == len(spoken):
        text = text[: cut_run(text)]
    for cut in CUTS:
        text = text[: cut(text, gap)]
    for finish in FINISHES:
        text = finish(text, gap)
    return text


def begun(answer: str, gap: Gap) -> str:
    """The text as far as an answer has come, before anything is cut off its end."""
    spoken = without_thoughts(answer)
    return _read(spoken[: cut_sentinel(spoken, gap)], gap)


def finished(answer: str, gap: Gap) -> bool:
    """Whether more text would not change what `trim` gives."""
    spoken = without_thoughts(answer)
    if cut_sentinel(spoken, gap) < len(spoken):
        return True
    if not gap.prefilled and gap.fence and not _OPENING_FENCE.search(spoken):
        return False
    text = _read(spoken, gap)
    complete = text[: text.rfind("\n") + 1]
    return bool(complete) and any(cut(complete, gap) < len(complete) for cut in CUTS)


def _read(answer: str, gap: Gap) -> str:
    for reading in READINGS:
        answer = reading(answer, gap)
    return answer


# Readings


def without_thoughts(text: str) -> str:
    """Leave out reasoning at the beginning, as far as it has come."""
    start = text.lstrip()
    if start.startswith("<think>"):
        _, _, start = start.partition("</think>")
        return start.lstrip("\n")
    return start[len("</think>") :].lstrip("\n") if start.startswith("</think>") else text


def without_opening_fence(text: str, gap: Gap) -> str:
    """Where the answer was not begun for the model: only what stands in its first fence."""
    if gap.prefilled or not gap.fence:
        return text
    found = _OPENING_FENCE.search(text)
    return text[found.end() :] if found else text


def without_repeated_line(text: str, gap: Gap) -> str:
    """Take off what the answer says again of the text right before the cursor."""
    lines = lines_before(gap)
    current = lines[-1].strip()
    if not gap.prefilled:
        for count in range(len(lines), 1, -1):
            tail = "\n".join(lines[-count:])
            if len(tail.strip()) > 2 and text.startswith(tail):
                return text[len(tail) :]
    least = 8 if gap.prefilled else 3
    bare = text.lstrip(" \t")
    if len(current) < least or not bare.startswith(current):
        return text
    indent = len(text) - len(bare)
    missing = " " * (len(indent_of(lines[-1])) - indent)
    rest = bare[len(current) :]
    if gap.line_before.endswith(" "):
        rest = rest.lstrip(" ")
    return rest.replace("\n", "\n" + missing) if missing and "\t" not in lines[-1] else rest


def with_own_indent(text: str, gap: Gap) -> str:
    """Tabs or spaces as the file has them; a first line at a level that can be."""
    unit = unit_of(gap.before)
    lines = text.split("\n")
    lines[1:] = [converted(line, unit) for line in lines[1:]]
    before = gap.line_before
    if before.strip():
        lines[0] = lines[0].lstrip(" ") if before.endswith((" ", "\t")) else lines[0]
        return "\n".join(lines)
    lines[0] = converted(lines[0], unit)
    if not lines[0].strip():
        return "\n".join(lines)
    own, previous = indent_of(lines[0]), last_line(gap.before[: len(gap.before) - len(before)])
    around = around_of(gap)
    if previous is None and not before:
        return "\n".join(line.removeprefix(own) for line in lines)
    if around.quote or around.stack or previous is None:
        return "\n".join(lines)
    opens = gap.language == "python" and bool(_OPENS_BLOCK.search(previous))
    highest = width_of(indent_of(previous)) + (width_of(unit) if opens or gap.language != "python" else 0)
    total = width_of(before + own)
    if total > highest and own:
        lines[0] = lines[0][len(own) :]
        total = width_of(before)
    if opens and total < highest:
        missing = unit * ((highest - total) // width_of(unit))
        follow = [width_of(indent_of(line)) for line in lines[1:] if line.strip()]
        shift = bool(follow) and min(follow) < highest and not before
        return "\n".join(
            [missing + lines[0], *(missing + x if shift and x.strip() else x for x in lines[1:])]
        )
    return "\n".join(lines)


# Cuts: each gives how many characters stay


def cut_sentinel(text: str, gap: Gap) -> int:
    """At the first special token of any model, unless the file itself speaks of it."""
    found = foreign(gap).search(text)
    return found.start() if found else len(text)


def cut_fence(text: str, gap: Gap) -> int:
    """At the fence that ends the answer."""
    at = text.find(gap.fence) if gap.fence else -1
    return len(text) if at < 0 else at


def cut_lines(text: str, gap: Gap) -> int:
    """At the most lines; with code after the cursor, at the end of its line."""
    most = 1 if gap.line_after.strip(_CLOSERS) else gap.most_lines
    at = -1
    for _ in range(most):
        at = text.find("\n", at + 1)
        if at < 0:
            return len(text)
    return at if most else len(text)


def cut_brackets(text: str, gap: Gap) -> int:
    """At a bracket or quote that would close what the text after the cursor closes, or nothing at all."""
    return first_wrong(text, gap.language, around_of(gap))


def cut_block(text: str, gap: Gap) -> int:
    """Where the block ends: below the cursor's indentation, at a new definition, at two blank lines."""
    lines = text.split("\n")
    if len(lines) == 1:
        return len(text)
    around = around_of(gap)
    read = scan(text, gap.language, around.quote)
    first = gap.line_before + lines[0]
    base = width_of(indent_of(first))
    python = gap.language == "python"
    opener = bool(_OPENS_BLOCK.search(first)) if python else first.rstrip().endswith("{")
    at, blank = len(lines[0]) + 1, 0
    for line in lines[1:]:
        start, at = at, at + len(line) + 1
        if not line.strip():
            blank += 1
            if blank > 1 and base == 0 and not opener:
                return start - 1
            continue
        inside = any(a < start < b for a, b in read.inert) or _depth(read.brackets, start) > 0
        width, bare = width_of(indent_of(line)), line.strip()
        goes_on = bare.startswith(CONTINUATIONS) if python else bare.startswith(("}", ")", "]"))
        below = width < base or (width == base and opener and not goes_on)
        again = python and blank > 0 and width <= base and bool(_DEFINITION.match(bare))
        if (below or again) and not inside and not (around.stack and width < base and bare[0] in ")]}"):
            return start - 1
        blank = 0
    return len(text)


def cut_next_line(text: str, gap: Gap) -> int:
    """Where the next line of the file is said again."""
    following = [line.rstrip() for line in gap.after.split("\n", 40)[1:] if line.strip()]
    if not following or _weak(following[0]):
        return len(text)
    at = 0
    for number, line in enumerate(text.split("\n")):
        whole = line if number else gap.line_before + line
        if whole.rstrip() == following[0] and (number or not gap.line_before.strip()):
            return max(0, at - 1)
        at += len(line) + 1
    return len(text)


def cut_loop(text: str, gap: Gap) -> int:
    """After the first of three equal stretches in a row, of lines or within a line.

    On a line of its own the lines before the cursor count: what they say is not said twice more. Blank lines
    do not.
    """
    loops = (m for m in _LINE_LOOP.finditer(text) if _WORD.search(m.group(1)))
    most = next((m.end(1) for m in loops), len(text))
    above = () if gap.line_before.strip() else lines_before(gap)[:-1]
    said = [line for line in above if line.strip()][-3 * LONGEST_LOOP :]
    ends = [0] * len(said)
    at = 0
    for number, line in enumerate(text.split("\n")):
        at += len(line) + 1
        if line.strip():
            said.append(line if number else gap.line_before + line)
            ends.append(at - 1)
            for size in range(1, min(LONGEST_LOOP, len(said) // 3) + 1):
                first, second, third = (said[-n * size :][:size] for n in (3, 2, 1))
                if _same(first, second) and _same(second, third):
                    return min(most, ends[-2 * size - 1])
    return most


def _same(left: Sequence[str], right: Sequence[str]) -> bool:
    """Whether lines say the same again. Closing signs and words do only where they are not further out."""
    if all(map(_weak, left)):
        return [line.rstrip() for line in left] == [line.rstrip() for line in right]
    return [line.strip() for line in left] == [line.strip() for line in right]


# Finishes


def without_rest_of_line(text: str, gap: Gap) -> str:
    """Take off the end of the answer that the rest of the cursor's line says."""
    rest = gap.line_after.rstrip()
    if not rest.strip():
        return text
    first, newline, more = text.partition("\n")
    if len(rest.strip()) > 2 and any(c.isalnum() for c in rest) and (at := first.find(rest)) >= 0:
        return first[:at]
    if newline and more.strip():
        last = text.rstrip()
        return last[: len(last) - _overlap(last, rest)]
    first = first.rstrip()
    return first[: len(first) - _overlap(first, rest)]


def without_next_lines(text: str, gap: Gap) -> str:
    """Take off the lines at the end that the file goes on with, however plain they are."""
    following = [line.rstrip() for line in gap.after.split("\n", 40)[1:] if line.strip()]
    lines = text.rstrip().split("\n")
    filled = [(n, line.rstrip()) for n, line in enumerate(lines) if n and line.strip()]
    for count in range(min(len(filled), len(following)), 0, -1):
        if [line for _, line in filled[-count:]] == following[:count]:
            return "\n".join(lines[: filled[-count][0]])
    return text


def without_echo(text: str, gap: Gap) -> str:
    """Nothing, where the answer is what stands right before the cursor over again."""
    said = [line.rstrip() for line in (gap.line_before + text.rstrip()).split("\n") if line.strip()]
    before = [line.rstrip() for line in lines_before(gap)[:-1] if line.strip()]
    count = min(len(said), len(before))
    if not said or said[:count] != before[-len(said) :][:count] or count < len(said):
        return text
    return "" if len(said) > 1 or len(said[0].strip()) >= 8 else text


def without_open_string(text: str, gap: Gap) -> str:
    """End before a string of one line that the answer opens and does not close; a longer one is closed."""
    first = text.split("\n", 1)[0]
    around = around_of(gap)
    if "\n" in text.rstrip() or around.quote:
        return text
    read = scan(first, gap.language)
    if read.quote in ("'", '"') and read.quote not in gap.line_after:
        return first[: read.inert[-1][0]].rstrip()
    if read.quote in ('"""', "'''") and gap.after.count(read.quote) % 2 == 0:
        # Left open it would take in the rest of the file.
        begun = read.inert[-1][0]
        said = first[begun + len(read.quote) :].strip()
        return first.rstrip() + read.quote if said else first[:begun].rstrip()
    return text


def without_broken_end(text: str, gap: Gap) -> str:
    """Of several lines, those that leave the file's syntax no worse than it was."""
    lines = text.rstrip().split("\n")
    if len(lines) == 1 or not syntax.supported(gap.language):
        return text
    before, after = gap.before[-PARSED_CONTEXT:], gap.after[:PARSED_CONTEXT]
    top = _TOP_LEVEL.search(before) if len(before) == PARSED_CONTEXT else None
    before = before[top.start() :] if top else before
    known = len(syntax.errors((before + after).encode(), gap.language))
    for count in range(len(lines), max(0, len(lines) - MOST_PARSES), -1):
        part = "\n".join(lines[:count])
        if len(syntax.errors((before + part + after).encode(), gap.language)) <= known:
            return part
    return text


def tidied(text: str, gap: Gap) -> str:
    """No half sentinel, no blanks at the end; nothing rather than blanks alone."""
    found = _PARTIAL_SENTINEL.search(text)
    if found and found.group() not in ("<", "[") and found.group() not in gap.before:
        text = text[: found.start()] if found.group().startswith(("<|", "[g", "[s", "[M")) else text
    return text.rstrip() if text.strip() else ""


Reading = Callable[[str, Gap], str]
Cut = Callable[[str, Gap], int]
READINGS: tuple[Reading, ...] = (
    without_opening_fence,
    without_repeated_line,
    with_own_indent,
)
CUTS: tuple[Cut, ...] = (cut_fence, cut_lines, cut_brackets, cut_next_line, cut_block, cut_loop)
FINISHES: tuple[Reading, ...] = (
    without_rest_of_line,
    without_next_lines,
    without_echo,
    without_open_string,
    without_broken_end,
    tidied,
)


def _depth(brackets: tuple[tuple[int, str], ...], end: int) -> int:
    return sum(1 if sign in "([{" else -1 for at, sign in brackets if at < end)


def _weak(line: str) -> bool:
    return line.strip() in WEAK_LINES or not any(c.isalnum() for c in line)


def _overlap(text: str, rest: str) -> int:
    """Length of the longest end of `text` that begins `rest`."""
    for size in range(min(len(text), len(rest)), 0, -1):
        if text.endswith(rest[:size]):
            return size
    return 0
