"""What is defined in a type or a namespace, or by a pattern: its name, kind, parent and signature."""

from __future__ import annotations

import pytest

from glm_lsp.core.syntax import outline
from tests.core.test_syntax_languages import check


def found(language: str, source: str) -> list[tuple[str, str, str]]:
    """Kind, qualified name and signature of each definition."""
    outlined = outline("a", source.encode(), language)
    check(outlined, source.encode())
    return [(str(s.kind), s.qualified, s.signature) for s in outlined.symbols]


def exported(source: str) -> list[str]:
    return [e.name for e in outline("a.ts", source.encode(), "typescript").exports]


def test_variables_of_a_namespace() -> None:
    source = """namespace A {
  export const k = 1, f = () => 2;
  export let w: string;
  namespace B.C {
    const hidden = 3;
  }
}
declare namespace D {
  const n: number;
}
"""
    assert found("typescript", source) == [
        ("module", "A", "namespace A"),
        ("variable", "A.k", "export const k = 1"),
        ("function", "A.f", "f = () =>"),
        ("variable", "A.w", "export let w: string"),
        ("module", "A.B.C", "namespace B.C"),
        ("variable", "A.B.C.hidden", "const hidden = 3"),
        ("module", "D", "namespace D"),
        ("variable", "D.n", "const n: number"),
    ]
    assert exported(source) == []


@pytest.mark.parametrize("language", ["typescript", "javascript"])
def test_what_a_pattern_binds(language: str) -> None:
    source = "export const { a, b: c, d = 1, ...e } = f(), [g, [h = 2], , ...i] = j;\n"
    assert [name for _, name, _ in found(language, source)] == [*"acdeghi"]
    assert exported(source) == [*"acdeghi"]
    assert found(language, source)[4] == ("variable", "g", "[g, [h = 2], , ...i] = j")


def test_a_pattern_on_several_lines_is_shown_on_one() -> None:
    source = "export const {\n  a,\n  b,\n} = f(() => {\n  g();\n});\n"
    assert found("typescript", source) == [
        ("variable", "a", "export const { a, b, } = ..."),
        ("variable", "b", "{ a, b, } = ..."),
    ]


def test_what_a_pattern_takes_from_a_module_is_an_import() -> None:
    outlined = outline("a.js", b"const { a, b: c } = require('m');\n", "javascript")
    assert outlined.symbols == ()
    assert [(i.name, i.alias) for i in outlined.imports] == [("a", ""), ("b", "c")]


def test_a_pattern_may_be_deep_and_wide() -> None:
    deep = "const " + "[" * 3000 + "a" + "]" * 3000 + " = b;\n"
    assert found("typescript", deep) == []
    wide = f"const {{ {', '.join(f'a{n}' for n in range(3000))} }} = b;\n"
    assert len(found("typescript", wide)) == 3000


def test_fields_of_a_struct() -> None:
    source = """package p

type S struct {
	// ID is it.
	ID, Other int `json:"id"`
	Base
	*pkg.Emb[int]
	inner struct {
		X int
	}
	_ int
}
"""
    assert found("go", source) == [
        ("class", "S", "type S struct"),
        ("variable", "S.ID", 'ID, Other int `json:"id"`'),
        ("variable", "S.Other", 'ID, Other int `json:"id"`'),
        ("variable", "S.Base", "Base"),
        ("variable", "S.Emb", "*pkg.Emb[int]"),
        ("variable", "S.inner", "inner struct"),
    ]
    outlined = outline("a.go", source.encode(), "go")
    assert outlined.symbols[1].docstring == "ID is it."
    assert {"Base", "Emb"} <= {r.name for r in outlined.references}
    assert not {"ID", "Other", "inner"} & {r.name for r in outlined.references}


def test_what_a_class_of_cpp_has_besides_methods() -> None:
    source = """class P {
 public:
  P();
  P(const P&) = delete;
  virtual ~P() = default;
  P& operator=(const P&);
  bool operator<(const P& o) const { return true; }
  operator const char*() const { return 0; }
  explicit operator bool() const;
  void* operator new(size_t n);
  static constexpr int N = 3, M = 4;
  static const char* names[];
  int x;
};
P::~P() {}
P::operator bool() const { return 1; }
std::ostream& operator<<(std::ostream& o, const P&);
"""
    assert found("cpp", source) == [
        ("class", "P", "class P"),
        ("method", "P.P", "P()"),
        ("method", "P.P", "P(const P&) = delete"),
        ("method", "P.~P", "virtual ~P() = default"),
        ("method", "P.operator=", "P& operator=(const P&)"),
        ("method", "P.operator<", "bool operator<(const P& o) const"),
        ("method", "P.operator const char*", "operator const char*() const"),
        ("method", "P.operator bool", "explicit operator bool() const"),
        ("method", "P.operator new", "void* operator new(size_t n)"),
        ("variable", "P.N", "static constexpr int N = 3, M = 4"),
        ("variable", "P.M", "static constexpr int N = 3, M = 4"),
        ("variable", "P.names", "static const char* names[]"),
        ("method", "P.~P", "P::~P()"),
        ("method", "P.operator bool", "P::operator bool() const"),
        ("function", "operator<<", "std::ostream& operator<<(std::ostream& o, const P&)"),
    ]


def test_namespaces_and_concepts() -> None:
    source = """namespace a::b {
template <typename T>
concept Small = sizeof(T) < 4;
template <class T>
concept Large = requires(T t) {
  t.size();
};
}
namespace { int hidden(); }
"""
    assert found("cpp", source) == [
        ("module", "a::b", "namespace a::b"),
        ("type", "Small", "concept Small = sizeof(T) < 4"),
        ("type", "Large", "concept Large = requires(T t) {\n  t.size();\n}"),
        ("function", "hidden", "int hidden()"),
    ]
