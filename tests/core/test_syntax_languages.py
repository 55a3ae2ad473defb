"""The outline of a file in each language that has a query, and of files in those that have none."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.core.syntax import (
    Halted,
    block_end,
    checked,
    definitions,
    errors,
    language_of,
    outline,
    parse,
    reparse,
    supported,
    vocabulary,
)
from glm_lsp.core.syntax.languages import ROWS
from glm_lsp.core.syntax.outline import TOO_SLOW
from glm_lsp.core.values import Export, FileOutline, Import, Reference, Span, Symbol
from glm_lsp.workspace.encoding import pack, unpack

FOLDER = Path(__file__).parents[1] / "golden" / "syntax"
FIXTURES = {language_of(p.name): p for p in sorted(FOLDER.iterdir()) if p.suffix != ".toml"}
LANGUAGES = [row.id for row in ROWS if supported(row.id) and row.id != "javascriptreact"]
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=60)


def shown(found: FileOutline) -> dict[str, Any]:
    """An outline as the golden files have it."""
    return {
        "docstring": found.docstring,
        "symbols": [shown_symbol(s) for s in found.symbols],
        "references": [shown_reference(r) for r in found.references],
        "imports": [shown_import(i) for i in found.imports],
        "exports": [shown_export(e) for e in found.exports],
    }


def shown_symbol(symbol: Symbol) -> list[str]:
    lines = f"@{symbol.start_line + 1}-{symbol.end_line + 1}"
    return [f"{symbol.kind} {symbol.qualified} {lines}: {symbol.docstring}".rstrip(), symbol.signature]


def shown_reference(item: Reference) -> str:
    return f"{item.qualifier} . {item.name}" if item.qualifier else item.name


def shown_import(item: Import) -> str:
    text = f"{'.' * item.level}{item.module}" + (f" : {item.name}" if item.name else "")
    return text + (f" as {item.alias}" if item.alias else "")


def shown_export(item: Export) -> str:
    return f"{item.name} = {item.local or 'all'}" + (f" of {item.module}" if item.module else "")


def check(found: FileOutline, data: bytes) -> None:
    """What holds for every outline."""
    if supported(found.language):
        assert definitions(data, found.language) == tuple(s for s in found.symbols if s.kind != "variable")
    last = 0
    for symbol in found.symbols:
        assert last <= symbol.span.start
        last = symbol.span.start
        assert symbol.span.start <= symbol.name_span.start <= symbol.name_span.end <= symbol.span.end
        assert symbol.span.start <= symbol.body.start <= symbol.body.end <= symbol.span.end <= len(data)
        assert symbol.start_line == data.count(b"\n", 0, symbol.span.start)
        assert symbol.end_line == data.count(b"\n", 0, symbol.span.end)
        assert not symbol.signature.endswith("\n")
    starts = [r.span.start for r in found.references]
    assert starts == sorted(starts)
    for reference in found.references:
        assert data[reference.span.start : reference.span.end].decode() == reference.name
    assert found.size_bytes == len(data)
    assert unpack(found.path, pack(found), {}) == found


def test_every_language_with_a_grammar_has_a_fixture() -> None:
    assert sorted(FIXTURES) == sorted(LANGUAGES)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_outline_is_as_written_down(language: str) -> None:
    data = FIXTURES[language].read_bytes()
    found = outline("a", data, language)
    check(found, data)
    assert errors(data, language) == ()
    assert shown(found) == tomllib.loads((FOLDER / f"{language}.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_file_may_end_anywhere(language: str) -> None:
    data = FIXTURES[language].read_bytes()
    for end in range(0, len(data), 7):
        check(outline("a", data[:end], language), data[:end])
        block_end(data[:end], language, end // 2)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_outline_grows_with_the_text(language: str) -> None:
    data = FIXTURES[language].read_bytes()
    half = data.rfind(b"\n", 0, len(data) // 2) + 1
    tree = parse(data[:half], language)
    assert tree is not None
    tree = reparse(tree, data[:half], data, language)
    assert outline("a", data, language, tree=tree) == outline("a", data, language)


@given(st.sampled_from([*LANGUAGES, "ruby", "", "sql", "shellscript", "csharp"]), st.binary(max_size=300))
@patient
def test_no_bytes_are_too_strange(language: str, data: bytes) -> None:
    found = outline("a", data, language)
    for symbol in found.symbols:
        assert symbol.span.end <= len(data)
    for reference in found.references:
        assert data[reference.span.start : reference.span.end].decode() == reference.name
    for offset in {0, len(data) // 2, len(data)}:
        assert offset <= block_end(data, language, offset) <= len(data)


PIECES = [
    "{", "}", "(", ")", "[", "]", "<", ">", "=>", "=", ";", ":", ",", ".", "`", '"', "'", "/*", "*/", "//",
    "#",
    "\n", "${", "class A", "function f", "func f", "fn f", "def f", "const a", "import ", "export ",
    "default ", "from 'x'",
    "struct S", "impl T", "#define X", "@d", "r#\"", "é𝔘", " ", "return x.y", "case X:",
    "::", "->", "interface I",
]  # fmt: skip


@given(st.sampled_from(LANGUAGES), st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@patient
def test_outlines_of_scraps_hold_together(language: str, source: str) -> None:
    data = source.encode()
    check(outline("a", data, language), data)


HOSTILE = {
    "open parentheses": b"(" * 60_000,
    "open braces": b"{" * 60_000,
    "open brackets": b"a=[" * 5_000,
    "a chain of names deeper than sixteen bits count": b"a" + b".b" * 70_000,
    "functions in functions": b"function f(){" * 3_000,
    "types in types": b"a<" * 5_000,
    "statements on one line": b"x = 1; " * 10_000,
    "open templates": b"`${" * 5_000,
    "open comments": b"/*" * 50_000,
    "open strings": b'"\\' * 50_000,
    "quotes": b"\"'`" * 20_000,
    "braces around a parameter list": b"(" + b"(a, " * 20_000,
    "a name and much space": b"a" + b" " * 100_000 + b"=",
    "commas": b"var a" + b",a" * 30_000,
    "for": b"for " * 30_000,
    "only bytes": bytes(range(256)) * 40,
}


@pytest.mark.parametrize("language", ["typescript", "go", "rust", "cpp", "java", "python", "ruby"])
@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_file_ends(data: bytes, language: str) -> None:
    found = outline("a", data, language)
    assert found.size_bytes == len(data)


@pytest.mark.parametrize("language", ["typescript", "go", "c"])
def test_reading_stops_when_it_is_told_to(language: str) -> None:
    data = FIXTURES[language].read_bytes() * 400
    tree = parse(data, language)
    for left in range(0, 40, 8):
        answers = iter([False] * left)
        with pytest.raises(Halted):
            outline("a", data, language, tree=tree, halt=lambda a=answers: next(a, True))


def test_a_large_file_is_read_in_pieces_to_the_same_end() -> None:
    one = b"// Do.\nfunc F(x int) int {\n\treturn other(x) // \xf0\x9d\x94\x98\n}\n"
    data = b"package a\n" + one * 5000
    found = outline("a", data, "go")
    assert len(found.symbols) == len(found.references) == 5000
    assert {s.docstring for s in found.symbols} == {"Do."}


def test_a_language_without_a_grammar_degrades_to_the_names_in_it() -> None:
    data = b'def go(x) # a comment\n  "text" + Bar::Baz.call(x)\nend\n'
    found = outline("a.rb", data, "ruby")
    assert found.error
    assert [shown_reference(r) for r in found.references] == ["go", "x", "Bar", "Bar . Baz", "Bar.Baz . call"]
    check(found, data)


def test_prose_and_data_have_no_names() -> None:
    assert outline("a.md", b"Some `code` here", "markdown").references == ()


@pytest.mark.parametrize(
    ("language", "marked"),
    [
        ("typescript", "function f() {\n  a|();\n  b();\n}$\nc();\n"),
        ("go", "package a\nfunc f() {\n\tif x {\n\t\ty|()\n\t}$\n\tz()\n}\n"),
        ("rust", "fn f() { |a(); }$\nfn g() {}\n"),
    ],
)
def test_where_a_block_ends(language: str, marked: str) -> None:
    bare = marked.replace("|", "").replace("$", "")
    offset, end = marked.replace("$", "").index("|"), marked.replace("|", "").index("$")
    assert block_end(bare.encode(), language, offset) == end


def test_languages_by_name() -> None:
    assert language_of("x.mts") == "typescript"
    assert language_of("a/go.mod") == "go.mod"
    assert language_of("tsconfig.json") == "jsonc"
    assert language_of("noext") == ""


def test_listing_definitions_gives_up_on_a_text_that_the_parser_chokes_on() -> None:
    assert definitions(b"const a=()=>{" * 2000, "c") == ()


def test_looking_for_errors_gives_up_on_such_a_text_and_says_so() -> None:
    bomb = b"const a=()=>{" * 4000
    assert checked(bomb, "c") is None
    assert errors(bomb, "c") == (Span(0, len(bomb)),)
    assert outline("a.c", bomb, "c").error == TOO_SLOW
    assert checked(b"int a;\n", "c") == ()
    assert checked(b"anything", "") == ()


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("#pragma once\nnamespace a {\nclass B;\n}\n", "cpp"),
        ("template <typename T>\nT least(T a);\n", "cpp"),
        ("struct A {\n public:\n  int b;\n};\n", "cpp"),
        ('#ifndef A_H\n#ifdef __cplusplus\nextern "C" {\n#endif\nint a(void);\n', "c"),
        ("/* class of its own */\nint class_of(int a);\n", "c"),
        ("", "c"),
    ],
)
def test_a_header_is_of_the_language_of_its_text(text: str, language: str) -> None:
    assert language_of("a/b.h", text.encode()) == language
    assert language_of("a/b.c", text.encode()) == "c"


def test_no_name_of_a_very_long_list_is_lost() -> None:
    names = [f"name{n}" for n in range(1000)]
    text = f"import {{ {', '.join(names)} }} from './a';\nexport {{ {', '.join(names)} }} from './b';\n"
    found = outline("a.js", text.encode(), "javascript")
    assert [i.name for i in found.imports] == names
    assert {e.name for e in found.exports} == set(names)


def test_operators_and_what_returns_references_are_functions() -> None:
    text = b"A& A::operator=(const A& a) { return *this; }\nconst B& b::c::get() { return x; }\n"
    found = outline("a.cc", text, "cpp")
    assert [(s.kind, s.qualified) for s in found.symbols] == [("method", "A.operator="), ("method", "c.get")]


def test_what_a_package_offers_is_no_module_of_the_same_name() -> None:
    """`outline` is a function, and the name of the module that it stands in."""
    code = (
        "import glm_lsp.core.syntax.outline\n"
        "from glm_lsp.core.syntax import outline\n"
        "assert callable(outline)\n"
        "from glm_lsp.core import syntax, secrets\n"
        "assert all(getattr(p, name) is not None for p in (syntax, secrets) for name in p.__all__)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("language", "source", "names"),
    [
        ("go", "func f() {\n\ttype pair struct{ a int }\n\t_ = pair{}\n}\n", ["f", "pair", "a"]),
        ("go", "func f(x any) {\n\t_ = x.(interface{ Close() error })\n}\n", ["f", "Close"]),
        ("go", "type (\n\tA int\n\tB interface {\n\t\tM()\n\t}\n)\n", ["A", "B", "M"]),
        ("go", "type P[T interface{ M() }] struct{ a T }\n", ["P", "a"]),
        ("rust", "fn f() {\n    fn g() {}\n    if a { struct S { b: u8 } }\n}\n", ["f", "g", "S"]),
        ("rust", "mod a { mod b { mod c { impl T { fn m() { enum E { X } } } } } }", [*"abcmE"]),
        ("rust", "fn f(g: fn(u8)) { g(1) /* fn no() {} */ }\n", ["f"]),
    ],
)  # fmt: skip
def test_definitions_in_functions_and_deep_in_modules_are_found(
    language: str, source: str, names: list[str]
) -> None:
    found = outline("a", source.encode(), language)
    check(found, source.encode())
    assert [s.name for s in found.symbols] == names


@pytest.mark.parametrize(
    ("language", "source", "place"),
    [
        ("javascript", "const a = { item: 1 }\nshow(item)\n", "item)"),
        ("typescript", "let x: { kind: string }\nif (kind === y) {}\n", "kind ="),
        ("go", "var p = T{Size: 1}\nvar q = Size\n", "Size\n"),
        ("rust", "const A: B = C { len: 1 };\nstatic D: u8 = len(2);\n", "len("),
    ],
)
def test_a_use_stands_where_the_name_is_used_not_where_it_is_a_key(
    language: str, source: str, place: str
) -> None:
    name = place.rstrip("() =\n")
    found = outline("a", source.encode(), language)
    assert [r.span.start for r in found.references if r.name == name] == [source.index(place)]


@pytest.mark.parametrize("space", ["", " ", "   ", "\t"])
def test_spaces_before_a_sign_make_no_use_of_a_target(space: str) -> None:
    source = f"function f() {{\n  g{space}=>{space}h;\n  target{space}= used\n  same{space}== other\n}}\n"
    names = {r.name for r in outline("a", source.encode(), "javascript").references}
    assert names == {"h", "used", "same", "other"}


def test_what_is_remembered_of_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "MOST_TOKENS", 50)
    texts = [" + ".join(f"name_{n}_{i}.field_{i}" for i in range(40)) for n in range(5)]
    before = [outline("a", text.encode(), "lua").references for text in texts]
    assert len(vocabulary.vocabulary("")) <= 100
    assert [[(r.qualifier, r.name) for r in one] for one in before] == [
        [pair for i in range(40) for pair in (("", f"name_{n}_{i}"), (f"name_{n}_{i}", f"field_{i}"))]
        for n in range(5)
    ]
