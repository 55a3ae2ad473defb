"""The outline of a Python file, its errors and its blocks."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.core.syntax import (
    Halted,
    block_end,
    definitions,
    docstring_span,
    enclosing_definition,
    errors,
    language_of,
    outline,
    parse,
    reparse,
    supported,
)
from glm_lsp.core.syntax.trees import WHOLE_BYTES
from glm_lsp.core.values import FileOutline, Import, Reference, Span, Symbol
from glm_lsp.workspace.encoding import pack, unpack

patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CASES: list[dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "fixtures" / "python_outlines.toml").read_text(encoding="utf-8")
)["case"]


def shown(symbol: Symbol) -> list[str]:
    lines = f"@{symbol.start_line + 1}-{symbol.end_line + 1}"
    return [f"{symbol.kind} {symbol.qualified} {lines}: {symbol.docstring}", symbol.signature]


def shown_import(item: Import) -> str:
    if not item.name:
        text = f"import {item.module}"
    else:
        text = f"from {'.' * item.level}{item.module} import {item.name}"
    return text + (f" as {item.alias}" if item.alias else "")


def shown_reference(item: Reference) -> str:
    return f"{item.qualifier} . {item.name}" if item.qualifier else item.name


def check(found: FileOutline, data: bytes) -> None:
    """What holds for every outline."""
    assert definitions(data, found.language) == tuple(s for s in found.symbols if s.kind != "variable")
    for symbol in found.symbols:
        assert data[symbol.name_span.start : symbol.name_span.end].decode() == symbol.name
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end
        assert symbol.span.start <= symbol.body.start <= symbol.body.end <= symbol.span.end
        assert symbol.start_line == data.count(b"\n", 0, symbol.span.start)
        assert symbol.start_line <= symbol.end_line <= found.lines
        assert not symbol.signature.endswith("\n")
        assert "\r\n" not in symbol.signature
    for reference in found.references:
        assert data[reference.span.start : reference.span.end].decode() == reference.name
    starts = [r.span.start for r in found.references]
    assert starts == sorted(starts)
    assert found.size_bytes == len(data)
    assert unpack(found.path, pack(found), {}) == found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"], ids=["lf", "crlf"])
def test_outline(case: dict[str, Any], newline: str) -> None:
    data = case["source"].replace("\n", newline).encode()
    found = outline("a.py", data, "python")
    assert [shown(s) for s in found.symbols] == case["symbols"]
    assert [shown_reference(r) for r in found.references] == case["references"]
    assert [shown_import(i) for i in found.imports] == case["imports"]
    assert found.docstring == case.get("docstring", "")
    check(found, data)


HOSTILE = {
    "open parentheses": b"(" * 50_000,
    "open brackets": b"a=[" * 5_000,
    "a chain of attributes deeper than sixteen bits count": b"a" + b".b" * 70_000,
    "nested classes": b"".join(b" " * i + b"class A:\n" for i in range(500)),
    "nested ifs": b"".join(b" " * i + b"if x:\n" for i in range(500)),
    "lambdas": b"lambda a:" * 20_000,
    "statements on one line": b"x = 1; " * 20_000,
    "open f-strings": b'f"{' * 10_000,
    "decorators": b"@a\n" * 20_000,
    "a chain of assignments": b"a=" * 20_000 + b"1",
    "names in brackets in brackets": b"(" * 20_000 + b"a" + b",)" * 20_000 + b" = b",
    "only bytes": bytes(range(256)) * 40,
    "NUL": b"def f():\0\n pass",
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_ends(data: bytes) -> None:
    found = outline("a.py", data, "python")
    assert found.size_bytes == len(data)
    assert len(errors(data, "python")) <= len(data)
    assert block_end(data, "python", len(data) // 2) <= len(data)


@given(st.binary(max_size=300))
@patient
def test_an_outline_never_raises(data: bytes) -> None:
    found = outline("a.py", data, "python")
    assert found.error == ""
    errors(data, "python")
    for offset in {0, len(data) // 2, len(data)}:
        assert offset <= block_end(data, "python", offset) <= len(data)


LINES = [
    "def f(a):",
    "    return a",
    "class A:",
    "    x: int = 1",
    "",
    "x = y.z",
    "    p, (q, *r) = s = y.z(",
    "# é𝔘",
    "if x:",
    "        pass",
]
LINES += ["@d", "import a", "match x:", "    case A(b=1):", "async def g(): ..."]
INLINE = ['"""', "'", "(", ")", "[", "\t", "\r\n", "lambda: ", "[i for i in x]", 'f"{', "\\", ":", "  "]
PIECES = st.sampled_from([line + "\n" for line in LINES] + INLINE)
PROGRAMS = st.lists(PIECES, max_size=30).map("".join)


@given(PROGRAMS)
@patient
def test_outlines_of_programs_hold_together(source: str) -> None:
    data = source.encode()
    check(outline("a.py", data, "python"), data)


@given(PROGRAMS, st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 40), PROGRAMS), max_size=4))
@patient
def test_an_incremental_parse_is_a_full_parse(source: str, changes: list[tuple[int, int, str]]) -> None:
    data = source.encode()
    tree = parse(data, "python")
    for at, length, text in changes:
        at %= len(data) + 1
        new = data[:at] + text.encode() + data[at + length :]
        assert tree is not None
        tree = reparse(tree, data, new, "python")
        data = new
    full = parse(data, "python")
    assert tree is not None
    assert full is not None
    assert str(tree.root_node) == str(full.root_node)
    assert outline("a.py", data, "python", tree=tree) == outline("a.py", data, "python", tree=full)


def test_a_large_file_is_read_in_pieces_to_the_same_end() -> None:
    data = b"def f(x):\n    return x.y  # \xf0\x9d\x94\x98\n" * (WHOLE_BYTES // 20)
    found = outline("a.py", data, "python")
    assert len(found.symbols) == data.count(b"def")
    check(found, data)


def test_a_parse_stops_when_it_is_told_to() -> None:
    data = b"x = 1\n" * 100_000
    with pytest.raises(Halted):
        parse(data, "python", halt=lambda: True)
    tree = parse(data, "python")
    with pytest.raises(Halted):
        outline("a.py", data, "python", tree=tree, halt=lambda: True)


@pytest.mark.parametrize(
    ("source", "places"),
    [
        ("def f():\n    return 1\n", []),
        ("x = (1\n", [")"]),
        ("def f(:\n    pass\n", ["."]),
        ("class\n", ["."]),
        ("x = 1 +\n", ["."]),
    ],
)
def test_errors(source: str, places: list[str]) -> None:
    found = errors(source.encode(), "python")
    assert bool(found) == bool(places)


def test_errors_of_a_language_without_grammar() -> None:
    assert not supported("cobol")
    assert errors(b"(", "cobol") == ()
    assert outline("a.cob", b"x\ny", "cobol").error
    assert outline("a.cob", b"x\ny", "cobol").lines == 2


BLOCKS = [
    # "|" is the cursor, "$" the end of its block.
    "def f():\n    a = |1\n    b = 2$\nc = 3\n",
    "def f():\n    a = 1\n    |\n$\nc = 3\n",
    "def f():\n    if a:\n        b|\n        c$\n    d\n",
    "def f():\n    if a:\n        b\n    |\n    d$\ne\n",
    "def f():\n    if a:\n        b\n    |c = 1\n    d$\ne\n",
    "a = 1|\nb = 2\n$",
    "def f(): return |1$\nb = 2\n",
    "class A:\n    def f(self):\n        x|$\n    def g(self): ...\n",
]


@pytest.mark.parametrize("marked", BLOCKS)
def test_where_a_block_ends(marked: str) -> None:
    bare = marked.replace("|", "").replace("$", "")
    offset = marked.replace("$", "").index("|")
    end = marked.replace("|", "").index("$")
    found = block_end(bare.encode(), "python", offset)
    assert bare[:found].rstrip() == bare[:end].rstrip()


def test_without_a_grammar_indentation_tells_where_a_block_ends() -> None:
    data = b"f {\n  a\n  b\n}\nc\n"
    assert data[: block_end(data, "cobol", data.index(b"a"))] == b"f {\n  a\n  b"


def test_enclosing_definition() -> None:
    data = b"@d\nclass A:\n    def f(self):\n        pass\nx = 1\n"
    for offset, name in [(0, "A"), (3, "A"), (data.index(b"pass"), "A.f"), (data.index(b"x ="), None)]:
        found = enclosing_definition(data, "python", offset)
        assert (found.qualified if found else None) == name
    assert enclosing_definition(data, "cobol", 0) is None


def test_docstring_span() -> None:
    data = b'"""M."""\ndef f():\n    # c\n    """D."""\ndef g(): pass\n'
    f, g = outline("a.py", data, "python").symbols
    found = docstring_span(data, "python", f.body)
    assert found is not None
    assert data[found.start : found.end] == b'"""D."""'
    assert docstring_span(data, "python", g.body) is None
    assert docstring_span(data, "python", Span(0, len(data))) == Span(0, 8)


def test_languages_by_name() -> None:
    assert language_of("a/b.py") == language_of("b.PYI") == "python"
    assert language_of("x.tsx") == "typescriptreact"
    assert language_of("Makefile") == "makefile"
    assert language_of("noext") == ""


@pytest.mark.parametrize("name", ["x", "xx"])
def test_a_long_annotation_is_cut_between_two_characters(name: str) -> None:
    data = f"{name}: '{'é' * 100}' = 1\n".encode()
    (symbol,) = outline("a.py", data, "python").symbols
    assert symbol.signature.endswith("é = ...")
    assert len(symbol.signature.encode()) < len(data)
