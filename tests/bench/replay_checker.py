"""Read a prompt as a model has to: what does its text say that the files hold now? And is it so?

Knows nothing of the ledger but the words on the page: outlines, source with line numbers, edits in the order
in which they are told, places with the answers that were begun there, and the last of these, the tail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from glm_lsp.core.generation import Prompt, Role, Segment

_SOURCE = re.compile(r"== (.+):(\d+)-(\d+)\Z")
_EDIT = re.compile(r"== (.+) line (\d+) -(\d+) \+(\d+)\Z")
_OUTDATED = re.compile(r"== (.+) is outdated\Z")
_GONE = re.compile(r"== (.+) no longer defines (.+)\Z")
_PLACE = re.compile(r"# Complete (?:(.+) )?line (\d+)(?: -(\d+))?(?: in .*)?(?:, before:)?\Z")
_TAIL = re.compile(r"# Complete (.+)\Z")
_DEFINES = re.compile(r"[(:<=\[{]")
"""Ends the first part of a signature, whose words are keywords and the name."""
_TITLE = re.compile(r"# (?:Outline of the repository|Source|Edits since then)\Z")
HELD = "[held back"
LEFT_OUT = " = ..."
"""Ends a signature whose value is not told."""
CLIPPED = "…"
"""Where a line begins or ends with it, the rest of it is not told."""

Lines = tuple[str | None, ...]
Truth = Callable[[str], Sequence[str]]
"""The lines of a file as they really are."""


@dataclass(frozen=True)
class Told:
    """What a trunk says: lines by file, None where it says nothing, and the signatures of outlined files."""

    files: Mapping[str, Lines] = field(default_factory=dict[str, Lines])
    outlined: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    asked: str = ""
    """The last place, which an answer may follow."""
    path: str = ""
    """Its file."""


@dataclass
class Verdict:
    """What was found at one request: `wrong` in words, and how many told signatures no longer stand."""

    wrong: list[str]
    files: int
    signatures: int
    stale: int


class Checker:
    """Checks one prompt after the other."""

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self._texts: list[tuple[Role, str]] = []
        self._told: list[Told] = []
        """After each of the texts."""
        self._good: dict[str, tuple[Lines, Sequence[str]]] = {}
        self._stale: dict[str, tuple[tuple[str, ...], Sequence[str], int]] = {}

    def check(self, prompt: Prompt) -> Verdict:
        """Whether the prompt's words alone give each file it shows as it is now."""
        *trunk, tail, window = _texts(prompt.segments)
        told = self._read(trunk)
        path, place, shown = _tail(tail[1], window[1], told.path)
        if place is not None and place[1] is not None:
            told = _typed(told, path, place[0], place[1], shown[: window[1].count("\n")])
        wrong = [
            what
            for name, lines in told.files.items()
            if (name != path or (place and place[1] is not None)) and (what := self._differs(name, lines))
        ]
        if place is None or place[1] is None:
            first = place[0] if place else None
            what = _fits(told.files.get(path, ()), first, shown, tuple(self._truth(path)))
        else:
            what = _wrong_line(shown, self._truth(path), place[0])
        if what:
            wrong.append(f"{path}: {what}")
        stale = sum(self._count_stale(name, lines) for name, lines in told.outlined.items())
        total = sum(map(len, told.outlined.values()))
        return Verdict(wrong, len(told.files.keys() | {path}), total, stale)

    def _read(self, texts: list[tuple[Role, str]]) -> Told:
        same = 0
        while same < min(len(texts), len(self._texts)) and texts[same] == self._texts[same]:
            same += 1
        del self._texts[same:], self._told[same:]
        told = self._told[-1] if self._told else Told()
        for role, text in texts[same:]:
            told = _answered(told, text) if role is Role.ASSISTANT else _with(told, text)
            self._texts.append((role, text))
            self._told.append(told)
        return told

    def _differs(self, path: str, lines: Lines) -> str:
        truth = self._truth(path)
        known = self._good.get(path)
        if known is not None and known[0] is lines and known[1] is truth:
            return ""
        if wrong := _wrong_line(lines, truth):
            return f"{path}: {wrong}"
        self._good[path] = lines, truth
        return ""

    def _count_stale(self, path: str, signatures: tuple[str, ...]) -> int:
        truth = self._truth(path)
        known = self._stale.get(path)
        if known is not None and known[0] is signatures and known[1] is truth:
            return known[2]
        text = " ".join("\n".join(truth).split())
        said = (" ".join(s.removesuffix(LEFT_OUT).split()) for s in signatures if HELD not in s)
        count = sum(signature not in text for signature in said)
        self._stale[path] = signatures, truth, count
        return count


def told_by(trunk: Sequence[Segment]) -> Told:
    """What a trunk alone says."""
    told = Told()
    for role, text in _texts(trunk):
        told = _answered(told, text) if role is Role.ASSISTANT else _with(told, text)
    return told


def lines_told(prompt: Prompt) -> dict[str, Lines]:
    """The lines of each file that a prompt's words give: source, edits and the tail in their places."""
    *trunk, tail, window = _texts(prompt.segments)
    told = Told()
    for role, text in trunk:
        told = _answered(told, text) if role is Role.ASSISTANT else _with(told, text)
    path, place, shown = _tail(tail[1], window[1], told.path)
    if place is not None and place[1] is not None:
        return dict(_typed(told, path, place[0], place[1], shown).files)
    return {**told.files, path: (*told.files.get(path, ()), *shown)}


def _texts(segments: Sequence[Segment]) -> list[tuple[Role, str]]:
    """What is said without the system text: each of the user's texts, and each answer in one piece."""
    found: list[tuple[Role, str]] = []
    for role, turn in groupby((s for s in segments if s.role is not Role.SYSTEM), lambda s: s.role):
        texts = [s.text for s in turn]
        found += [(role, "".join(texts))] if role is Role.ASSISTANT else [(role, text) for text in texts]
    return found


def _answered(told: Told, text: str) -> Told:
    """What is told after an answer that was begun and ended: it stands in place of lines told before."""
    said, _, fence = text.rpartition("\n")
    if not said.startswith(fence) or not fence.startswith("```"):
        raise ValueError(f"an answer ends in {fence[:80]!r}")
    path, place, shown = _tail(told.asked, said, told.path)
    if place is None or place[1] is None:
        raise ValueError(f"{told.asked[:80]!r} does not say what it stands in place of")
    return _typed(told, path, place[0], place[1], shown[: said.count("\n")])


def _typed(told: Told, path: str, start: int, removed: int, lines: Lines) -> Told:
    """What is told once these lines stand in place of so many."""
    old = list(told.files.get(path, ()))
    old += [None] * (start + removed - len(old))
    old[start : start + removed] = lines
    return Told({**told.files, path: tuple(old)}, told.outlined, "", path)


def _with(told: Told, text: str) -> Told:
    """What is told after one more piece of text. Raises ValueError where it says nothing that we can read."""
    lines = text.split("\n")
    if _TAIL.match(lines[0]):
        return replace(told, asked=text)
    if lines and not lines[-1]:
        lines.pop()
    files, outlined = dict(told.files), dict(told.outlined)
    at = 0
    while at < len(lines):
        head = lines[at]
        at += 1
        if _TITLE.match(head):
            continue
        if found := _OUTDATED.match(head):
            files.pop(found[1], None)
            outlined.pop(found[1], None)
        elif found := _GONE.match(head):
            names = {name.rpartition(".")[2] for name in found[2].split(", ")}
            kept = (s for s in outlined.get(found[1], ()) if names.isdisjoint(_DEFINES.split(s)[0].split()))
            outlined[found[1]] = tuple(kept)
        elif found := _EDIT.match(head):
            path, start, removed, added = found[1], int(found[2]) - 1, int(found[3]), int(found[4])
            old = list(files.get(path, ()))
            old += [None] * (start + removed - len(old))
            old[start : start + removed] = lines[at : at + added]
            files[path] = tuple(old)
            at += added
        elif found := _SOURCE.match(head):
            path, start, end = found[1], int(found[2]) - 1, int(found[3])
            old = list(files.get(path, ()))
            old += [None] * (end - len(old))
            old[start:end] = lines[at : at + end - start]
            files[path] = tuple(old)
            at += end - start
        elif head.startswith("== "):
            path, start = head.removeprefix("== "), at
            while at < len(lines) and not lines[at].startswith("== ") and not _TITLE.match(lines[at]):
                at += 1
            outlined[path] = (*outlined.get(path, ()), *lines[start:at])
        else:
            raise ValueError(f"{head[:80]!r} stands where a header should")
    return Told(files, outlined, "", told.path)


def _tail(asked: str, window: str, last: str) -> tuple[str, tuple[int, int | None] | None, Lines]:
    """A place's file, the number of its first line (from 0) and of lines that it replaces, and its lines.

    Of the numbers those that are said; `last` is the file of the place before.
    """
    lines = asked.split("\n")
    found, named = _PLACE.match(lines[0]), _TAIL.match(lines[0])
    if lines[1] == "The code after the gap:":
        del lines[1]
    fence = lines[1] if len(lines) > 1 else ""
    if named is None or not fence.startswith("```"):
        raise ValueError(f"{lines[0][:80]!r} is no tail")
    after = lines[2 : lines.index(fence, 2)]
    before = window.split("\n")[1:]
    here = (before[-1] if before else "") + (after[0] if after else "")
    joined = (*before[:-1], None if CLIPPED in (here[:1], here[-1:]) else here, *after[1:])
    if found is None:
        return named[1], None, joined
    return found[1] or last, (int(found[2]) - 1, int(found[3]) if found[3] else None), joined


def _wrong_line(lines: Lines, truth: Sequence[str], offset: int = 0) -> str:
    """The first line that is told and is another one, `lines` being those from `offset` on."""
    for n, line in enumerate(lines, offset):
        if line is None or (n < len(truth) and (line == truth[n] or HELD in line)):
            continue
        if n >= len(truth) and not line:
            continue  # the end of a file that ends with a newline
        return f"line {n + 1} is told as {line[:60]!r} and is {truth[n][:60] if n < len(truth) else None!r}"
    return ""


def _fits(told: Lines, first: int | None, shown: Lines, truth: tuple[str, ...]) -> str:
    """Why told lines with the tail in its place do not give the file; empty where they do.

    The tail replaces what is told from its first line on: as far as a line whose text is its last one's, as
    many lines as you like where that line is one of which nothing is told (a reader sees that there is a
    gap, and not how long it is), and to the end where it shows the file's end.
    """
    if first is None:
        starts = [n for n in range(len(truth)) if truth[n : n + len(shown)] == shown]
        wrong = [_fits(told, start, shown, truth) for start in starts]
        return "" if "" in wrong else next(iter(wrong), "what the tail shows stands nowhere in the file")
    if wrong := _wrong_line(shown, truth, first):
        return f"in the tail, {wrong}"
    if wrong := _wrong_line(told[:first], truth):
        return wrong
    if first + len(shown) >= len(truth) - (not truth[-1]):
        return ""
    last = ""
    beyond = first + len(shown) > len(told) or shown[-1] not in told[first:]
    for shift in sorted(range(-200, 201), key=abs):
        end = first + len(shown) - shift
        alike = first < end <= len(told) and told[end - 1] == shown[-1]
        untold = beyond if end > len(told) else end > first and told[end - 1] is None
        if end < first or not (alike or untold):
            continue
        if not (last := _wrong_line(told[end:], truth, first + len(shown))):
            return ""
    return last or "the tail's last line is not where it should be"
