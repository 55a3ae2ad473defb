"""Diffs of files that hold secrets: what `git apply` makes of them is what writing makes; none is shown."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from glm_lsp.core.edits import apply_edits
from glm_lsp.core.patch import BARE, COVERED, Patch, patch
from glm_lsp.core.text import digest
from glm_lsp.core.values import Change, Document, Span, TextEdit
from tests.secrets.planted import block

SECRET = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
KEY, KEY_LINES = block("patch")
PATH = "conf/a b.py"


def made(before: bytes, *edits: TextEdit) -> tuple[Patch, bytes]:
    """The patch for edits of a text, and the text after them."""
    change = Change(PATH, digest(before), edits)
    return patch(Document(PATH, before, digest(before), "python"), change), apply_edits(before, edits)


def applied(root: Path, before: bytes, diff: Patch, *options: str) -> bytes | None:
    """What git makes of it; None where it refuses."""
    file = root / PATH
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(before)
    done = subprocess.run(["git", "apply", *options, "-"], cwd=root, input=diff.text.encode(), check=False)
    return None if done.returncode else file.read_bytes()


def replaced(text: str, old: str, new: str) -> TextEdit:
    start = text.encode().index(old.encode())
    return TextEdit(Span(start, start + len(old.encode())), new)


LINES = "".join(f"line_{n} = {n}\n" for n in range(30))
HELD = f"TOKEN = '{SECRET}'\n"
TEXTS = {
    "two lines above": (LINES.replace("line_7 = 7\n", HELD), "line_5 = 5", "five = 5", ""),
    "two lines below": (LINES.replace("line_3 = 3\n", HELD), "line_5 = 5", "five = 5", ""),
    "the line after": (LINES.replace("line_4 = 4\n", HELD), "line_5 = 5", "five = 5", ""),
    "the line before": (LINES.replace("line_6 = 6\n", HELD), "line_5 = 5", "five = 5", BARE),
    "first line": (LINES.replace("line_1 = 1\n", HELD), "line_0 = 0", "zero = 0", BARE),
    "after the first line": (LINES.replace("line_0 = 0\n", HELD), "line_1 = 1", "one = 1", ""),
    "the last line": (LINES.replace("line_28 = 28\n", HELD), "line_29 = 29", "last = 29", ""),
    "at a key's end": (LINES.replace("line_9 = 9\n", f"K = '''{KEY}'''\n"), "line_10 = 10", "ten = 10", ""),
    "on its own line": (
        LINES.replace("line_9 = 9\n", f"TOKEN = '{SECRET}'  # old\n"),
        "# old",
        "# new",
        COVERED,
    ),
    "far away": (LINES.replace("line_1 = 1\n", HELD), "line_20 = 20", "twenty = 20", ""),
}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("name", TEXTS)
def test_near_a_secret(tmp_path: Path, name: str, newline: str) -> None:
    text, old, new, note = TEXTS[name]
    before = text.replace("\n", newline).encode()
    diff, after = made(before, replaced(before.decode(), old, new))
    assert not any(part in diff.text for part in (SECRET, *KEY_LINES))
    assert diff.note == note
    if note == COVERED:
        assert applied(tmp_path, before, diff) is None
    elif note == BARE:
        assert applied(tmp_path, before, diff) is None
        assert applied(tmp_path, before, diff, "--unidiff-zero") == after
    else:
        assert applied(tmp_path, before, diff) == after


def test_anywhere(tmp_path: Path) -> None:
    """Random files with secrets, random edits beside them: the note is right, and nothing is shown."""
    plain = bare = 0
    for seed in range(150):
        dice = random.Random(seed)
        parts = [
            dice.choice([HELD, f"{KEY}\n"]) if dice.random() < 0.2 else f"x{dice.randrange(6)} = {n % 4}\n"
            for n in range(dice.randrange(2, 40))
        ]
        if dice.random() < 0.3:
            parts[-1] = parts[-1].removesuffix("\n")
        edits: list[TextEdit] = []
        at = 0
        for part in parts:
            size = len(part.encode())
            if part.startswith("x") and dice.random() < 0.15:
                more = "".join(f"y{dice.randrange(9)} = 0\n" for _ in range(dice.randrange(3)))
                whole = dice.random() < 0.6
                if more or whole:
                    edits.append(TextEdit(Span(at, at + size if whole else at), more))
            at += size
        before = "".join(parts).encode()
        diff, after = made(before, *edits)
        assert not any(part in diff.text for part in (SECRET, *KEY_LINES))
        assert diff.note in ("", BARE)
        if before == after:
            assert diff.text == ""
        elif diff.note:
            bare += 1
            assert applied(tmp_path, before, diff, "--unidiff-zero") == after
        else:
            plain += 1
            assert applied(tmp_path, before, diff) == after
    assert plain > 20
    assert bare > 20
