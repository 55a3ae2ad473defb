"""What no code of another file can name is no candidate there: one claim for each language's rule."""

from __future__ import annotations

import pytest

from glm_lsp.core.graph import Graph
from glm_lsp.core.rank import Place, rank
from glm_lsp.core.reach import hidden, private
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.values import RepoIndex

TYPESCRIPT = b"""export function offered() {}
function kept() { function inner() {} }
class Passed { run() {} }
class Own { run() {} }
export { Passed as Other }
"""
GO = b"""package a

type Box struct{}
type lid struct{}

func (b Box) Open() {}
func (b Box) close() {}
func Make() Box { return Box{} }
func make2() {}
"""
PYTHON = b"""def offered():
    def inner(): ...
    class Local:
        def run(self): ...

class Known:
    def run(self):
        def far(): ...
"""
TESTS = b"""def helper(): ...
def test_one(): ...
class TestMany:
    def test_two(self): ...
"""
C = b"""int offered(int x) { return x; }
static int kept(int x) { return x; }
static inline int *more(int x) { return 0; }
"""


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        ("a.ts", TYPESCRIPT, {"kept", "kept.inner", "Own"}),
        ("a.ts", b"function everything() {}\n", set[str]()),
        ("a.js", b"function a() {}\nfunction b() {}\nmodule.exports = { a }\n", {"b"}),
        ("a/a.go", GO, {"lid", "Box.close", "make2"}),
        ("a.py", PYTHON, {"offered.inner", "offered.Local", "offered.Local.run", "Known.run.far"}),
        ("tests/test_a.py", TESTS, {"test_one", "TestMany"}),
        ("a.c", C, {"kept", "more"}),
        ("a.h", C, set[str]()),
    ],
)
def test_what_a_file_keeps_to_itself(path: str, data: bytes, expected: set[str]) -> None:
    found = Graph(RepoIndex({path: outline(path, data, language_of(path))})).private(path)
    assert found == expected


@pytest.mark.parametrize(
    ("path", "other", "imported", "expected"),
    [
        ("a.py", "a.py", False, set[str]()),
        ("a.py", "b.py", False, {"kept"}),
        ("a.py", "b.ts", False, None),
        ("a.py", "b.ts", True, {"kept"}),
        ("a.js", "b.tsx", False, {"kept"}),
        ("a.cc", "b.h", False, {"kept"}),
        ("a.py", "tests/test_b.py", False, None),
        ("a.py", "tests/test_b.py", True, {"kept"}),
        ("tests/test_a.py", "tests/test_b.py", False, {"kept"}),
        ("p/a.go", "p/b.go", False, {"init"}),
        ("p/a.go", "q/b.go", False, {"kept"}),
        ("p/a.go", "p/b_test.go", True, None),
        ("p/a_test.go", "p/b_test.go", False, {"init"}),
        ("q/a_test.go", "p/b_test.go", True, None),
    ],
)
def test_what_a_place_cannot_name(path: str, other: str, imported: bool, expected: set[str] | None) -> None:
    assert hidden(path, other, lambda _: frozenset({"kept"}), imported) == expected


def test_what_cannot_be_named_is_no_candidate_and_what_the_package_has_is_one() -> None:
    files = {
        "p/a.go": b"package p\n\nfunc Use() {\n\t\n}\n",
        "p/b.go": b"package p\n\nfunc helper() {}\nfunc init() {}\n",
        "p/b_test.go": b"package p\n\nfunc checked() {}\n",
        "q/c.go": b"package q\n\nfunc hidden() {}\n",
    }
    graph = Graph(RepoIndex({p: outline(p, d, language_of(p)) for p, d in files.items()}))
    found = rank(graph, Place("p/a.go", 28, "func Use() {\n\t\n}\n", 1))
    assert [(c.path, c.symbol.name, c.reason) for c in found if c.path != "p/a.go"] == [
        ("p/b.go", "helper", "in this file's package")
    ]
    assert private(graph.index.outlines["q/c.go"], graph.symbols("q/c.go")) == {"hidden"}
