"""What is offered at a place, without asking any model."""

from __future__ import annotations

import pytest

from glm_lsp.core.values import Diagnostic, Span
from glm_lsp.features.catalogue import OfferKind, chosen_gaps, instruction_in, offers
from tests.features.stage import snapshot

SOURCE = '''\
import os


def area(w, h):
    # glm: use math.prod
    return w * h


class Box:
    """Holds things."""

    def edge(self):
        return 4
'''


def check(
    at: str, *expected: tuple[OfferKind, str], source: str = SOURCE, until: str = "", path: str = "a.py"
) -> None:
    """With the cursor before `at`, or the selection from there through `until`, exactly these are offered."""
    start = len(source[: source.index(at)].encode())
    end = start if not until else len(source[: source.index(until)].encode()) + len(until.encode())
    found = offers(snapshot({path: source}, opened=(path,)), path, Span(start, end), ())
    assert [(o.kind, o.title) for o in found] == list(expected)


def test_at_module_level_only_continuing_is_offered() -> None:
    check("import os", (OfferKind.CONTINUE, "Continue here"))


def test_in_a_function_without_docstring() -> None:
    check(
        "return w * h",
        (OfferKind.DOCSTRING, "Document area"),
        (OfferKind.EXPLAIN, "Explain area"),
        (OfferKind.CONTINUE, "Continue here"),
    )


def test_a_method_is_offered_and_a_documented_class_is_not() -> None:
    check(
        "return 4",
        (OfferKind.DOCSTRING, "Document Box.edge"),
        (OfferKind.EXPLAIN, "Explain edge"),
        (OfferKind.CONTINUE, "Continue here"),
    )
    check("class Box", (OfferKind.EXPLAIN, "Explain Box"), (OfferKind.CONTINUE, "Continue here"))


def test_an_instruction_in_the_line_or_the_selection() -> None:
    check(
        "# glm:",
        (OfferKind.REFACTOR, "Refactor: use math.prod"),
        (OfferKind.DOCSTRING, "Document area"),
        (OfferKind.EXPLAIN, "Explain area"),
        (OfferKind.CONTINUE, "Continue here"),
    )
    check(
        "def area",
        (OfferKind.REFACTOR, "Refactor: use math.prod"),
        (OfferKind.DOCSTRING, "Document area"),
        (OfferKind.EXPLAIN, "Explain the selection"),
        until="return w * h",
    )


def test_a_selection_over_several_definitions() -> None:
    check(
        "import os",
        (OfferKind.REFACTOR, "Refactor: use math.prod"),
        (OfferKind.DOCSTRING, "Document 2 definitions"),
        (OfferKind.EXPLAIN, "Explain the selection"),
        until="return 4",
    )


def test_a_class_that_is_chosen_does_not_mean_its_methods() -> None:
    text = "class A:\n    def f(self):\n        return 1\n"
    document = snapshot({"a.py": text}, opened=("a.py",)).documents["a.py"]
    assert [g.name for g in chosen_gaps(document, Span(0, len(text) - 1))] == ["A"]
    assert [g.name for g in chosen_gaps(document, Span(0, 40))] == ["A", "A.f"]
    assert [g.name for g in chosen_gaps(document, Span(30, 30))] == ["A.f"]


def test_overloads_setters_stubs_and_odd_docstrings_are_not_offered() -> None:
    for text in (
        "@overload\ndef f(): ...\n",
        "class A:\n    'x'\n    @v.setter\n    def v(self): pass\n",
        "def f():\n    ('a' 'b')\n",
        "def f():\n    f'{x}'\n",
    ):
        at = text.index("def") + 4
        found = offers(snapshot({"a.py": text}, opened=("a.py",)), "a.py", Span(at, at), ())
        assert OfferKind.DOCSTRING not in [o.kind for o in found], text
    stub = offers(snapshot({"a.pyi": "def f(): ...\n"}, opened=("a.pyi",)), "a.pyi", Span(5, 5), ())
    assert OfferKind.DOCSTRING not in [o.kind for o in stub]


def test_a_diagnostic_on_the_line_can_be_fixed() -> None:
    at = SOURCE.index("return 4")
    diagnostics = [
        Diagnostic(Span(at, at + 6), "bad\nthing " * 20, "E1", "lint"),
        Diagnostic(Span(0, 3), "elsewhere"),
    ]
    found = offers(snapshot({"a.py": SOURCE}, opened=("a.py",)), "a.py", Span(at, at), diagnostics)
    fixes = [o for o in found if o.kind is OfferKind.FIX]
    assert [(o.span, o.argument) for o in fixes] == [(Span(at, at + 6), "lint E1: " + "bad\nthing " * 20)]
    assert fixes[0].title.startswith("Fix: bad thing") and "\n" not in fixes[0].title


def test_a_protected_file_can_only_be_explained() -> None:
    check("return w", (OfferKind.EXPLAIN, "Explain area"), path=".github/tool.py")


def test_other_languages_can_be_explained_continued_and_refactored() -> None:
    source = "fn main() {\n    // glm: print twice\n    println!();\n}\n"
    check("    // glm", (OfferKind.REFACTOR, "Refactor: print twice"), (OfferKind.EXPLAIN, "Explain main"),
          (OfferKind.CONTINUE, "Continue here"), source=source, path="a.rs")  # fmt: skip
    check(
        "println",
        (OfferKind.EXPLAIN, "Explain the selection"),
        source=source,
        until="println!();",
        path="a.rs",
    )


def test_a_file_that_is_not_open_has_no_offers_and_a_place_past_the_end_is_the_end() -> None:
    assert offers(snapshot({"a.py": SOURCE}), "a.py", Span(0, 0), ()) == ()
    found = offers(snapshot({"a.py": SOURCE}, opened=("a.py",)), "a.py", Span(9999, 99999), ())
    assert OfferKind.CONTINUE in [o.kind for o in found]
    empty = offers(snapshot({"a.py": ""}, opened=("a.py",)), "a.py", Span(0, 0), ())
    assert [o.kind for o in empty] == [OfferKind.CONTINUE]


@pytest.mark.parametrize(
    ("text", "instruction"),
    [
        ("# glm: do it", "do it"),
        ("    x = 1  # glm: do it  ", "do it"),
        ("// glm: do it", "do it"),
        ("/* glm: do it */", "do it"),
        ("<!-- glm: do it -->", "do it"),
        ("-- glm:do it", "do it"),
        ("a\r\n# glm: do it\r\nb", "do it"),
        ("# glm: first\n# glm: second", "first"),
        ("# glm:", ""),
        ("glm: no comment", ""),
        ("# nothing", ""),
    ],
)
def test_where_an_instruction_stands(text: str, instruction: str) -> None:
    assert instruction_in(text) == instruction
