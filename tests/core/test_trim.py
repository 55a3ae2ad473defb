"""What of an answer is offered: golden cases, and what must hold for any answer."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.template import SPECIAL_TOKENS
from glm_lsp.core.trim import Gap, finished, trim

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
    assert trim(case["answer"], gap_of(case)) == case["offer"]


@pytest.mark.parametrize("case", CASES, ids=[c["name"] for c in CASES])
def test_stopping_early_offers_the_same(case: dict[str, Any]) -> None:
    gap, answer = gap_of(case), case["answer"]
    early = next((answer[:n] for n in range(len(answer)) if finished(answer[:n], gap)), answer)
    assert trim(early, gap) == case["offer"]


SIGNS = ("(", ")", "[", "]", "{", "}", '"', "'", '"""', "#", " ", ",", "\t", "\\", "é", "🙂")
LINES = ("x", "if a:", "return x", "= 1", "def f():", "else:", "\n", "\n    ", "\n        ", "\n\n\n")
TEXT = st.lists(st.sampled_from((*SIGNS, *LINES, "```", "<|user|>", "</think>")), max_size=14).map("".join)
GAPS = st.builds(
    Gap,
    TEXT,
    TEXT,
    st.sampled_from(["python", "javascript", "rust", "yaml", ""]),
    st.sampled_from([0, 1, 3]),
    st.booleans(),
)


@given(TEXT, TEXT, GAPS)
def test_once_finished_more_text_changes_nothing(answer: str, more: str, gap: Gap) -> None:
    if finished(answer, gap):
        assert trim(answer + more, gap) == trim(answer, gap)


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
