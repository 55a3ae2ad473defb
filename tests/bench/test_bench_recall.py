"""The machinery of the recall bench, on a repository that fits a page: what is held out and judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from glm_lsp.core import pack, signals
from glm_lsp.core.graph import Graph
from glm_lsp.core.rank import rank
from tests.bench import bench_recall
from tests.bench.bench_recall import Found
from tests.bench.recall_corpora import Loaded, Package
from tests.bench.recall_peers import Chunks, fill, import_closure, lines_of_map
from tests.bench.recall_places import BARE, BEGUN, COLD, WARM, case, index_of, overloads, recall, shown_by
from tests.bench.recall_truth import Held, Need, places
from tests.features.stage import Words

COUNT = Words().count
USE = b"""from lib import helper, other
import sys


def first():
    return helper(other)


def second(x):
    y = helper(x)
    return y


def third():
    return sys.argv
"""
FILES = {
    "use.py": USE,
    "lib.py": b"def other(): ...\n\n\ndef helper(x):\n    return x\n",
    "far.py": b"def lonely(): ...\n" * 3,
}
START = USE.index(b"y = helper")
HELD = Held("use.py", "second", START, USE.index(b"\n\n\ndef third"), (Need("lib.py", 3, "helper"),))


def loaded() -> Loaded:
    graph = Graph(index_of(FILES))
    package = Package("python", "pypi", "tiny", "1")
    return Loaded(package, Path("/nowhere"), FILES, graph, [HELD], 40, overloads(graph, FILES))


@pytest.mark.parametrize(
    ("form", "there", "gone"),
    [
        (WARM, ["from lib import helper, other", "return helper(other)", "import sys"], ["y = helper"]),
        (COLD, ["from lib import other", "return _(other)", "import sys"], ["helper", "y ="]),
        (BARE, ["return _(other)"], ["import", "helper"]),
    ],
)
def test_what_a_form_leaves(form: str, there: list[str], gone: list[str]) -> None:
    at = case(HELD, USE, form)
    text = at.data.decode()
    assert [t for t in there if " ".join(t.split()) not in " ".join(text.split())] == []
    assert [t for t in gone if t in text] == []
    assert at.data[: at.offset].endswith(b"def second(x):\n    ")
    assert at.place.near.split("\n")[at.place.near_line].strip() == ""


def test_half_a_body_is_left_and_no_import() -> None:
    at = case(HELD, USE, BEGUN)
    assert at.data[: at.offset].endswith(b"y = helper(x)\n") and b"return y" not in at.data
    assert b"import" not in at.data and b"return helper(other)" in at.data


def test_a_pack_that_shows_the_line_has_recall() -> None:
    found = loaded()
    at = case(HELD, USE, WARM)
    graph = at.graph(found.graph)
    packed = pack.outline(graph, rank(graph, at.place), COUNT, 200)
    assert recall(HELD.needs, shown_by(packed.blocks, graph, FILES), {}) == 1.0
    assert recall(HELD.needs, {"lib.py": {0}}, {}) == 0.0
    assert recall(HELD.needs, {"lib.py": {0}}, {("lib.py", 3): frozenset({0, 3})}) == 1.0


def test_the_others_give_lines_within_the_budget() -> None:
    graph = Graph(index_of(FILES))
    assert import_closure(graph, "use.py", COUNT, 100)["lib.py"] >= {0, 3}
    assert Chunks(FILES).pack("helper", "use.py", COUNT, 100).keys() == {"lib.py"}
    assert fill([("a", 0, "x y"), ("b", 0, "z " * 99)], COUNT, 20) == {"a": {0}}
    shown = lines_of_map("\nlib.py:\n⋮\n│def helper(x):\n⋮\n\nfar.py\n", FILES)
    assert shown == {"lib.py": {3}}


def test_the_tables_name_every_method_goal_and_signal() -> None:
    found = loaded()
    result: Found = bench_recall.measure(found, COUNT, None, bench_recall.BUDGETS)
    bench_recall.ablate(found, result, COUNT, 1)
    text = bench_recall.report([result])
    assert "| warm | ours" in text and "| cold | BM25 chunks" in text and "(met)" in text
    assert [s for s in signals.WEIGHTS if s not in bench_recall.UNSEEN and f"| {s} " not in text] == []


def test_c_is_told_by_libclang_and_rust_and_java_by_their_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path))
    rust = {
        "src/lib.rs": b"use crate::a::grow;\n\npub fn f() -> u8 {\n    let x = 1;\n    let y = grow(x);\n"
        b"    y\n}\n",
        "src/a.rs": b"pub fn grow(x: u8) -> u8 {\n    x\n}\n",
    }
    java = {
        "p/A.java": b"class A {\n  int f() {\n    int x = 1;\n    B b = new B(x);\n    return b.y;\n  }\n}\n",
        "p/B.java": b"class B {\n}\n",
    }
    (held,) = places("tiny", "rust", tmp_path, rust, 5)
    assert (held.name, held.needs) == ("f", (Need("src/a.rs", 0, "grow"),))
    (held,) = places("tiny", "java", tmp_path, java, 5)
    assert (held.name, held.needs) == ("f", (Need("p/B.java", 0, "B"),))
    pytest.importorskip("clang.cindex", reason="libclang is fetched when the benchmark runs")
    c = {
        "a.h": b"int grow(int x);\n",
        "a.c": b'#include "a.h"\n\nint f(void) {\n  int x = 1;\n  x++;\n  return grow(x);\n}\n',
    }
    for path, data in c.items():
        (tmp_path / path).write_bytes(data)
    (held,) = places("tiny", "c", tmp_path, c, 5)
    assert (held.name, held.needs) == ("f", (Need("a.h", 0, "grow"),))


def test_a_section_takes_the_place_of_an_earlier_one() -> None:
    text = bench_recall.recorded("# R\n\n## A\n\nx\n", "one")
    assert bench_recall.recorded(text, "two") == text.replace("one", "two")
    both = bench_recall.recorded(text, "three", "## B", "run")
    assert both.index("## Recall") < both.index("## B") and "one" in both
    assert bench_recall.recorded(both, "two").endswith("three\n")


def test_the_rule_for_go_finds_exported_names_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path))
    files = {
        "go.mod": b"module example.org/m\n",
        "a/a.go": b"package a\n\nfunc Add(x int) int { return x }\n",
        "b.go": b'package m\n\nimport "example.org/m/a"\n\nfunc F() int {\n\tx := 1\n\ty := a.Add(x)\n'
        b"\treturn y\n}\n",
    }
    (held,) = places("tiny", "go", tmp_path, files, 5)
    assert held.name == "F" and held.needs == (Need("a/a.go", 2, "Add"),)


def test_the_rule_for_go_finds_what_other_files_of_the_package_define(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path))
    files = {
        "go.mod": b"module example.org/m\n",
        "a.go": b"package m\n\ntype box struct{}\n\nfunc add(x int) int { return x }\n\nfunc own() {}\n",
        "b.go": b"package m\n\nfunc F(own func()) int {\n\tx := own()\n\ty := box{}\n\treturn add(y)\n}\n",
    }
    (held,) = places("tiny", "go", tmp_path, files, 5)
    assert held.needs == (Need("a.go", 2, "box"), Need("a.go", 4, "add"))
