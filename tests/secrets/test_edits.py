"""Edits in a file that holds a secret: beside it they are made, on it they are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_lsp.core import guard
from glm_lsp.core.edits import LineEdit, format_edits
from glm_lsp.core.secrets import masked
from glm_lsp.core.text import digest
from glm_lsp.core.values import Change, Document, RefusalKind, Span, TextEdit
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import suggest
from glm_lsp.features.editing import judge
from glm_lsp.features.refactor import propose
from glm_lsp.features.units import whole
from glm_lsp.workspace.apply import apply, unified_diff
from tests.features.stage import session, snapshot, tail

SECRET = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
TEXT = f"import os\n\nTOKEN = '{SECRET}'\n\n\ndef one():\n    return 1\n"
PATH = "a.py"


def document(text: str = TEXT) -> Document:
    data = text.encode()
    return masked(Document(PATH, data, digest(data), "python"))


def answer(line: int, *new: str) -> str:
    """What a model that has seen the masked file writes to replace a line (1-based)."""
    return answer_to(TEXT, line, *new)


def answer_to(text: str, line: int, *new: str) -> str:
    return format_edits(PATH, document(text).data, [LineEdit(line - 1, line, new)])


def test_the_marker_stands_in_the_question_and_the_secret_does_not() -> None:
    shown = document().data.decode()
    assert f"TOKEN = '[held back: GitHub token]{'*' * 15}'\n" in shown
    assert len(shown) == len(TEXT)


async def test_an_edit_beside_a_secret_is_made_and_every_byte_of_it_stays(tmp_path: Path) -> None:
    (tmp_path / PATH).write_text(TEXT)
    plan = judge(whole(document()), "return two", answer(7, "    return 2"))
    assert plan.refusals == ()
    diff = unified_diff(tmp_path, plan.changes)
    report = apply(tmp_path, plan.changes, state=tmp_path / "state")
    assert report.written == (PATH,)
    assert (tmp_path / PATH).read_text() == TEXT.replace("return 1", "return 2")
    assert SECRET not in diff
    assert "+    return 2" in diff


@pytest.mark.parametrize(
    "new",
    [
        ["TOKEN = os.environ['TOKEN']"],
        [f"TOKEN = '[held back: GitHub token]{'*' * 15}'  # kept"],
        [],
    ],
    ids=["another value", "the marker again", "nothing"],
)
def test_an_edit_of_the_line_is_refused(new: list[str]) -> None:
    plan = judge(whole(document()), "remove the token", answer(3, *new))
    assert plan.changes == ()
    assert [r.kind for r in plan.refusals] == [RefusalKind.POLICY]
    assert "line 3, where a secret (GitHub token) is held back" in plan.refusals[0].reason


START = TEXT.index(SECRET)
END = START + len(SECRET)
HALF = f"import os\n\nTOKEN = '{SECRET[:16]}\n\n\ndef one():\n    return 1\n"


def test_an_edit_of_a_token_that_was_saved_half_typed_is_refused() -> None:
    plan = judge(whole(document(HALF)), "remove the token", answer_to(HALF, 3, "TOKEN = None"))
    assert plan.changes == ()
    assert "line 3, where a secret (GitHub token) is held back" in plan.refusals[0].reason
    assert judge(whole(document(HALF)), "", answer_to(HALF, 7, "    return 2")).refusals == ()


SPANS = {
    "before, touching": ((START - 3, START), True),
    "an insertion at its start": ((START, START), True),
    "inside": ((START + 3, START + 5), True),
    "an insertion at its end": ((END, END), True),
    "around": ((START - 9, END + 1), True),
    "before": ((0, START - 1), False),
    "after": ((END + 1, END + 2), False),
}


@pytest.mark.parametrize("name", SPANS)
def test_what_touches_is_refused(name: str) -> None:
    (start, end), refused = SPANS[name]
    shown = document()
    change = Change(PATH, shown.digest, (TextEdit(Span(start, end), "x"),))
    assert bool(guard.held_back(shown, change)) is refused


def test_a_marker_is_written_nowhere() -> None:
    plan = judge(whole(document()), "", answer(7, "    return '[held back: GitHub token]'"))
    assert "writes the marker of a held-back secret" in plan.refusals[0].reason


async def test_a_refactor_says_what_it_leaves_alone() -> None:
    engine = ScriptedEngine(lambda request: answer(3, "TOKEN = None"))
    files = {PATH: TEXT}
    plan = await propose(session(files, engine), snapshot(files), "drop the token", [PATH])
    assert plan.changes == ()
    assert [r.kind for r in plan.refusals] == [RefusalKind.POLICY]
    assert "Leave every such line exactly as it is" in tail(engine.requests[0])
    assert len(engine.requests) == 1


async def test_a_completion_that_repeats_a_marker_is_none() -> None:
    engine = ScriptedEngine("x = '[held back: GitHub token]'")
    files = {PATH: TEXT}
    found = await suggest(session(files, engine), snapshot(files), PATH, len(TEXT))
    assert found.suggestion is None
    assert "marker" in found.reason


@pytest.mark.parametrize("at", [START + 1, START + 20, END])
async def test_in_a_secret_no_model_is_asked(at: int) -> None:
    engine = ScriptedEngine("x")
    files = {PATH: TEXT}
    found = await suggest(session(files, engine), snapshot(files, opened=(PATH,)), PATH, at)
    assert (found.suggestion, engine.requests) == (None, [])
    assert "held back" in found.reason
