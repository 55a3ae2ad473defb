"""A change as a patch that `git apply` takes, without the lines that hold something back.

Such a line is never context: the context of a hunk ends before it, and what lies on both sides of one becomes
two hunks. Git finds a hunk by what follows the change, so one with nothing after it applies only where git is
told that context may be missing; `Patch.note` says so.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from glm_lsp.core.edits import apply_edits
from glm_lsp.core.secrets import masked
from glm_lsp.core.values import Change, Document

CONTEXT_LINES = 3
BARE = (
    "the line after a change is held back, so the diff has nothing there to hold on to: "
    "apply it with `git apply --unidiff-zero`, or let --write make the change"
)
COVERED = (
    "a line that changes holds something back, so the diff shows it masked and does not apply; "
    "let --write make the change"
)

Opcode = tuple[str, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Patch:
    """`text` is a unified diff; `note`, if it is not empty, why git does not simply apply it."""

    text: str
    note: str = ""


def patch(document: Document, change: Change, allowed: Collection[str] = ()) -> Patch:
    """The change to a document, masked or not, as it may be shown."""
    veiled = masked(document, allowed=allowed)
    hidden = {
        line
        for place in veiled.held or ()
        for line in range(
            place.line, place.line + 1 + veiled.data.count(b"\n", place.span.start, place.span.end)
        )
    }
    old, old_shown = _lines(document.data), _lines(veiled.data)
    new, new_shown = (_lines(apply_edits(data, change.edits)) for data in (document.data, veiled.data))
    tab = "\t" if " " in change.path else ""
    out, note = [f"--- a/{change.path}{tab}\n", f"+++ b/{change.path}{tab}\n"], ""
    for hunk in _hunks(old, new, hidden):
        tag, i1, _, j1, _ = hunk[0]
        last, _, i2, _, j2 = hunk[-1]
        if last != "equal" and i2 < len(old):
            note = note or BARE
        out.append(f"@@ -{_range(i1, i2)} +{_range(j1, j2)} @@\n")
        for tag, a, b, c, d in hunk:
            if tag == "equal":
                out += [_said(" ", line) for line in old[a:b]]
                continue
            if old[a:b] != old_shown[a:b] or new[c:d] != new_shown[c:d]:
                note = COVERED
            out += [_said("-", line) for line in old_shown[a:b]]
            out += [_said("+", line) for line in new_shown[c:d]]
    return Patch("".join(out), note) if len(out) > 2 else Patch("")


def _hunks(old: Sequence[str], new: Sequence[str], hidden: set[int]) -> Iterator[list[Opcode]]:
    for group in SequenceMatcher(None, old, new).get_grouped_opcodes(CONTEXT_LINES):
        hunk: list[Opcode] = []
        for number, (tag, i1, i2, j1, j2) in enumerate(group):
            covered = [line for line in range(i1, i2) if line in hidden] if tag == "equal" else []
            if not covered:
                hunk.append((tag, i1, i2, j1, j2))
                continue
            before, after = covered[0] - i1, i2 - covered[-1] - 1
            if hunk:
                yield [*hunk, ("equal", i1, i1 + before, j1, j1 + before)] if before else hunk
            more = after and number < len(group) - 1
            hunk = [("equal", i2 - after, i2, j2 - after, j2)] if more else []
        if hunk:
            yield hunk


def _lines(data: bytes) -> list[str]:
    """Lines with their newline; the last one has none where the file has none."""
    lines = data.decode("utf-8").split("\n")
    return [*(line + "\n" for line in lines[:-1]), *([lines[-1]] if lines[-1] else [])]


def _range(start: int, end: int) -> str:
    """As in the head of a hunk: 1-based, an empty range by the line before it."""
    if end - start == 1:
        return str(start + 1)
    return f"{start + 1 if end > start else start},{end - start}"


def _said(sign: str, line: str) -> str:
    return f"{sign}{line}" if line.endswith("\n") else f"{sign}{line}\n\\ No newline at end of file\n"
