"""A bound learns from what engines report, and from nobody more than it should."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.engines.bounds import (
    ENOUGH_REPORTS,
    KEPT_SHARES,
    LEAST_SHARE,
    MARGIN,
    MOST_SHARE,
    ApproximateTokenizer,
    Learned,
    Memory,
    memory,
)

TEXT = "def read(path):\n    return open(path).read()\n" * 20


def taught(*shares: float, memory: Memory | None = None) -> ApproximateTokenizer:
    """A bound whose engine has reported these shares of what the look of the text says."""
    tokenizer = ApproximateTokenizer(memory)
    weight = tokenizer.weight(TEXT)
    for share in shares:
        tokenizer.observe(weight, round(weight * share), missed=share > 1)
    return tokenizer


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((), 1.0),
        ((0.7,), 1.0),
        ((0.7,) * ENOUGH_REPORTS, 0.7 * MARGIN),
        ((0.6, 0.8, 0.7, 0.6, 0.6), 0.8 * MARGIN),
        ((1.5,), 1.5 * MARGIN),
        ((1.5, *[0.7] * KEPT_SHARES), 0.7 * MARGIN),
        ((0.01,) * 9, LEAST_SHARE * MARGIN),
        ((1000.0,), MOST_SHARE),
    ],
)
def test_the_bound_is_the_largest_share_of_late(shares: tuple[float, ...], expected: float) -> None:
    tokenizer = taught(*shares)
    assert tokenizer.learned.share == pytest.approx(expected, rel=0.01)
    assert tokenizer.count(TEXT) == int(tokenizer.weight(TEXT) * tokenizer.learned.share) + 1
    assert tokenizer.count("") == 0


def test_figures_that_are_none_teach_nothing() -> None:
    tokenizer = ApproximateTokenizer()
    for weight, reported in ((0.0, 5), (-1.0, 5), (10.0, 0), (10.0, -7)):
        tokenizer.observe(weight, reported, missed=False)
    assert tokenizer.learned == Learned()


def test_the_next_process_knows_it(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "deep" / "learned.json", "0" * 32)
    tokenizer = taught(*[0.75] * 6, 1.2, memory=kept)
    assert kept.recall() == Learned(), "nothing is written before it is asked for"
    tokenizer.save()
    tokenizer.save()
    again = ApproximateTokenizer(kept)
    assert again.learned == tokenizer.learned
    assert (again.learned.reports, again.learned.misses) == (7, 1)
    assert (tmp_path / "deep").stat().st_mode & 0o077 == 0
    assert Memory(kept.file, "1" * 32).recall() == Learned(), "another model's is another"


def test_two_processes_add_up(tmp_path: Path) -> None:
    kept = Memory(tmp_path / "learned.json", "0" * 32)
    one, other = taught(0.7, memory=kept), taught(0.9, memory=kept)
    one.save()
    other.save()
    assert kept.recall().reports == 2
    assert len(kept.recall().shares) == 2


def test_neither_the_address_nor_the_model_is_written_down() -> None:
    kept = memory("openai https://models.example.com", "secret-model")
    taught(0.7, memory=kept).save()
    said = kept.file.read_text()
    assert "example" not in said
    assert "secret" not in said
    assert memory("openai https://models.example.com", "other").name != kept.name


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"x": 1}', '{"../../x": {"shares": [1]}}', "[" * 100_000, "\0" * 9),
        *('{"%s": {"shares": ["a"]}}' % ("0" * 32), '{"%s": {"shares": [1e999]}}' % ("0" * 32)),
        json.dumps({"0" * 32: {"shares": [0.7] * 100_000}}),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_ours_is_no_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "learned.json"
    file.write_text(content)
    kept = Memory(file, "0" * 32)
    assert LEAST_SHARE <= kept.recall().share <= MOST_SHARE
    taught(0.7, memory=kept).save()
    assert kept.recall().reports >= 1


numbers = st.one_of(st.floats(), st.integers(-(10**30), 10**30))


@given(st.lists(numbers, max_size=80), st.integers(-(10**18), 10**18), st.integers(-(10**18), 10**18))
def test_no_value_on_the_disk_bends_the_bound_far(
    tmp_path_factory: pytest.TempPathFactory, shares: list[Any], reports: int, misses: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "hostile.json"
    file.write_text(json.dumps({"0" * 32: {"shares": shares, "reports": reports, "misses": misses}}))
    learned = Memory(file, "0" * 32).recall()
    assert LEAST_SHARE <= learned.share <= MOST_SHARE
    assert 0 <= learned.misses <= learned.reports
    assert len(learned.shares) <= KEPT_SHARES


@given(st.floats(min_value=0.001, max_value=1e12), st.integers(1, 10**15))
def test_no_report_bends_the_bound_far(weight: float, reported: int) -> None:
    tokenizer = ApproximateTokenizer()
    for _ in range(10):
        tokenizer.observe(weight, reported, missed=False)
    assert LEAST_SHARE <= tokenizer.learned.share <= MOST_SHARE
    assert 1 <= tokenizer.count(TEXT) <= MOST_SHARE * tokenizer.weight(TEXT) + 1
