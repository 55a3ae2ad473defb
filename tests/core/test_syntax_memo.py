"""An outline that uses what an earlier text has left is the one made from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.core.syntax import Memo, language_of, outline, parse
from glm_lsp.core.syntax.memo import LEAST_BYTES, MOST_GROWTH
from glm_lsp.core.values import FileOutline

FIXTURES = {
    language_of(p.name): p.read_bytes()
    for p in sorted((Path(__file__).parents[1] / "golden" / "syntax").iterdir())
    if p.suffix != ".toml"
}
WORDS = (
    b"word = other(3)\n",
    b"}\n",
    b"{",
    b"  ",
    b"class X:\n",
    b"@d\n",
    b"def f(a):\n    return b.c(a)\n",
    b'"',
    b"\n",
)
EDITS = st.lists(
    st.tuples(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from(WORDS) | st.none()), max_size=6
)


def outlined(data: bytes, language: str, memo: Memo | None = None) -> FileOutline:
    return outline("a", data, language, tree=parse(data, language), halt=lambda: False, memo=memo)


def check(texts: list[bytes], language: str) -> None:
    """Text after text: what is remembered changes nothing."""
    memo = Memo()
    for data in texts:
        assert outlined(data, language, memo) == outlined(data, language)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(FIXTURES)), EDITS)
def test_edits_of_a_file_leave_the_outline_of_the_whole(
    language: str, edits: list[tuple[int, int, bytes | None]]
) -> None:
    texts = [FIXTURES[language]]
    for place, size, word in edits:
        data = texts[-1]
        at = place % (len(data) + 1)
        line = data.rfind(b"\n", 0, at) + 1
        # A word at the beginning of a line, a piece taken out, or half of the file twice.
        texts.append(data[:line] + word + data[line:] if word else data[:at] + data[at + size :])
        if size == 60:
            texts.append(data[:line] + data[at // 2 :])
    check([*texts, *reversed(texts)], language)


@pytest.mark.parametrize(
    "texts",
    [
        ["class A:\n    def f(self):\n        return x\n", "class B:\n    def f(self):\n        return x\n"],
        ["def f():\n    return x\n", "class B:\n    def f(self): pass\ndef f():\n    return x\n"],
        ["class A:\n  @d\n  def f(self): pass\n", "class A:\n  @d\n  @e(x)\n  def f(self): pass\n"],
        ["def g(x):\n    def f():\n        return x\n", "def g(y):\n    def f():\n        return x\n"],
        ["def g():\n    import a\n", "import b\ndef g():\n    import a\n"],
        ["if a:\n    def f():\n        return '''\n    x'''\n", "def f():\n        return '''\n    x'''\n"],
    ],
)
def test_a_definition_that_stands_elsewhere_now_is_told_right(texts: list[str]) -> None:
    check([text.encode() for text in texts], "python")
    check([text.encode() for text in reversed(texts)], "python")


def test_what_is_remembered_does_not_grow_with_the_edits() -> None:
    memo, kept = Memo(), 0
    text = b"def f():\n    return 0\n" * 400
    for number in range(100):
        data = text.replace(b"0", b"%d" % number)
        outlined(data, "python", memo)
        kept = max(kept, memo.size)
    assert 0 < kept <= 2 * MOST_GROWTH * LEAST_BYTES


def test_what_is_remembered_of_definitions_in_definitions_is_bounded() -> None:
    memo = Memo()
    data = b"".join(b"\t" * n + b"def f():\n" for n in range(400)) + b"\t" * 400 + b"pass\n"
    check([data], "python")
    outlined(data, "python", memo)
    assert 0 < memo.size <= 4 * len(data)
