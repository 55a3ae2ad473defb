"""Brackets and quotes read line by line, as a keystroke needs it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.brackets import scan, scan_lines

SIGNS = ['"', "'", '"""', "'''", "`", "\\", "\n", "a", "(", ")", "[", "]", "{", "}", "#", "//", "/*", "*/"]


@pytest.mark.parametrize("language", ["python", "go", "rust", "unknown"])
@given(st.lists(st.sampled_from(SIGNS), max_size=30).map("".join))
@settings(deadline=None)
def test_the_lines_above_and_the_last_one_are_the_whole(language: str, text: str) -> None:
    assert scan_lines(text, language) == scan(text, language)


def test_a_string_without_an_end_is_read_once() -> None:
    for quote in ('"""', "`", "'"):
        language = "go" if quote == "`" else "python"
        assert scan(f"{quote}{'a ' * 200_000}", language).quote == quote
