"""The rest of a line out of other lines."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.echo import LONGEST_LINE, Lines, Place, Shapes, echo
from glm_lsp.core.predeclared import keywords, predeclared

SHAPES = Shapes(keywords("python"))


def said(text: str, *others: str, names: str = "") -> str | None:
    """What is said at the end of `text`; `names` are known besides those that stand in it."""
    *above, typed = text.split("\n")
    known = {*Shapes.names(text), *Shapes.names(names), *keywords("python"), *predeclared("python")}
    filled = tuple(line.strip() for line in above if line.strip())
    place = Place("own.py", filled, typed.lstrip(), frozenset(known))
    lines = [Lines("own.py", "\n".join(above), SHAPES)]
    lines += [Lines(f"{n}.py", other, SHAPES) for n, other in enumerate(others)]
    found = echo(place, lines, SHAPES)
    return found.text if found is not None else None


@pytest.mark.parametrize(
    ("text", "others", "wanted"),
    [
        # The same beginning.
        ("import os\nfor name in os.li", ["for name in os.listdir(path):"], None),
        ("import os\npath = 1\nfor name in os.li", ["for name in os.listdir(path):"], "stdir(path):"),
        # The same line above.
        (
            "total = 0\nwith open(path) as stream:\n",
            ["with open(path) as stream:\n  total += 1"],
            "total += 1",
        ),
        # The same with other names.
        ("self.left = left\nself.right", [], " = right"),
        ("def a(self, width):\n  self.width", ["self.height = height"], " = width"),
        # Labels, keys, attributes and what strings say need not be known.
        ("from a import call\ncall", ["call(timeout=1)"], "(timeout=1)"),
        ("from a import call\ncall", ["call({kind: 'new thing'})"], "({kind: 'new thing'})"),
        ("from a import call\ncall", ["call.more().again"], ".more().again"),
        # Nothing is invented.
        ("from a import call\ncall", ["call(timeout)"], None),
        ("x = 1\nself.co", ["self.count = unknown_name"], None),
        ("", ["a = 1"], None),
    ],
)
def test_the_rest_of_a_line(text: str, others: list[str], wanted: str | None) -> None:
    assert said(text, *others) == wanted


def test_what_most_say_is_said() -> None:
    others = ["raise ValueError(name)\n" * 3, "raise ValueError(text)\n"]
    assert said("name = text = ''\nraise ValueError", *others) == "(name)"


def test_more_agreement_is_more_confidence() -> None:
    def confidence(*others: str) -> float:
        place = Place("own.py", (), "assert response.status_code", frozenset(("assert", "response")))
        found = echo(place, [Lines("a.py", "\n".join(others), SHAPES)], SHAPES)
        assert found is not None
        return found.confidence

    sure = confidence(*["assert response.status_code == 200"] * 6)
    assert sure > confidence("assert response.status_code == 200", "assert response.status_code == 404")


@given(
    st.lists(st.text("ab =.()\n\t", max_size=40), max_size=4),
    st.text("ab =.()\n", max_size=40),
    st.sets(st.sampled_from(["a", "b", "ab", "aa"])),
)
def test_all_of_its_names_are_known(others: list[str], text: str, names: set[str]) -> None:
    *above, typed = text.split("\n")
    place = Place("own", tuple(x.strip() for x in above if x.strip()), typed.lstrip(), frozenset(names))
    found = echo(place, [Lines(str(n), other, SHAPES) for n, other in enumerate(others)], SHAPES)
    if found is not None:
        assert 0.0 < found.confidence < 1.0
        assert "\n" not in found.text
        assert len(found.text) <= LONGEST_LINE + 40
        assert set(Shapes.free_names(place.typed + found.text)) <= names
