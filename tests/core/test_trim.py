"""What of an answer is offered: golden cases, and what must hold for any answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.gap import Gap
from glm_lsp.core.runs import stuck
from glm_lsp.core.template import SPECIAL_TOKENS
from glm_lsp.core.trim import finished, trim

CASES = tomllib.loads((Path(__file__).parents[1] / "golden/trim.toml").read_text(encoding="utf-8"))["case"]


def gap_of(case: dict[str, Any]) -> Gap:
    before, _, after = case["text"].partition("▮")
    return Gap(
        before,
        after,
        case.get("language", "python"),
        case.get("most_lines", 0),
        case.get("prefilled", True),
        case.get("fence", "```"),
    )


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_golden(case: dict[str, Any]) -> None:
    assert trim(case["answer"], gap_of(case), ended=case.get("ended", True)) == case["offer"]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_stopping_early_offers_the_same(case: dict[str, Any]) -> None:
    gap, answer = gap_of(case), case["answer"]
    early = next((answer[:n] for n in range(len(answer)) if finished(answer[:n], gap)), answer)
    assert trim(early, gap, ended=early == answer and case.get("ended", True)) == case["offer"]


@pytest.mark.parametrize("said", ["0, ", "0.25, ", "\\x00", "a.b or ", "x = y = "])
def test_what_is_said_without_end_is_not_waited_for(said: str) -> None:
    answer = next(said * n for n in range(1, 100) if stuck("[" + said * n))
    assert len(answer) == 16 * len(said)
    assert not stuck(answer + "]")
    gap = Gap("x = [", "\n")
    assert trim(answer, gap, ended=False) == trim(answer * 2, gap, ended=False)


@pytest.mark.parametrize(
    "said", ["", "1" + "0" * 60, "# " + "-" * 80, " " * 300, "a, b, c, d, e, f, g, h, i"]
)
def test_numbers_rulers_and_lists_are_not_said_without_end(said: str) -> None:
    assert not stuck(said)
    assert trim("x = 1\n" + said, Gap("", ""), ended=False) == ("x = 1\n" + said).rstrip()


SIGNS = ("(", ")", "[", "]", "{", "}", '"', "'", '"""', "#", " ", ",", "\t", "\\", "é", "🙂")
LINES = (
    "x",
    "if a:",
    "return x",
    "= 1",
    "def f():",
    "else:",
    "0, 0, ",
    "0, " * 4,
    "\nx\n",
    "\n",
    "\n    ",
    "\n        ",
    "\n\n\n",
)
TEXT = st.lists(st.sampled_from((*SIGNS, *LINES, "```", "<|user|>", "</think>")), max_size=14).map("".join)
GAPS = st.builds(
    Gap,
    TEXT,
    TEXT,
    st.sampled_from(["python", "javascript", "rust", "yaml", ""]),
    st.sampled_from([0, 1, 3]),
    st.booleans(),
)


@given(TEXT, TEXT, GAPS, st.booleans())
def test_once_finished_more_text_changes_nothing(answer: str, more: str, gap: Gap, ended: bool) -> None:
    if finished(answer, gap):
        assert trim(answer + more, gap, ended=ended) == trim(answer, gap, ended=False)


@given(TEXT, GAPS)
def test_no_sentinel_and_no_blank_end_is_offered(answer: str, gap: Gap) -> None:
    offer = trim(answer, gap)
    assert offer == offer.rstrip()
    for token in SPECIAL_TOKENS:
        assert token not in offer or token in gap.before or token in gap.after or token == "/nothink"


@given(TEXT, GAPS)
def test_one_line_is_never_more(answer: str, gap: Gap) -> None:
    if gap.most_lines == 1:
        assert "\n" not in trim(answer, gap)


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_survived(before: str, after: str, answer: str) -> None:
    """What is offered is text to insert: no blank end, and nothing where nothing was said."""
    offer = trim(answer, Gap(before, after, "python"))
    assert offer == offer.rstrip()
    assert answer.strip() or not offer
    assert trim(answer, Gap(before, after, "python")) == offer


def test_an_answer_that_the_parser_chokes_on_is_not_waited_for() -> None:
    gap = Gap("int a;\n", "\n", "c")
    bomb = "int b;\n" + "const a=()=>{" * 4000
    assert trim(bomb, gap) in ("int b;", "")
