"""Names that a module passes on, and folders that count as one."""

from __future__ import annotations

import pytest

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.spoken import dotted
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.values import RepoIndex


def graph_of(files: dict[str, str]) -> Graph:
    return Graph(RepoIndex({p: outline(p, t.encode(), language_of(p)) for p, t in files.items()}, 1))


PASSED = {
    "p/__init__.py": "import p.m as mm\nfrom . import m\n\ntarget = m.target\nother = m.gone\n",
    "p/m.py": "def target(x):\n    return x\n",
    "t.py": "import p\nfrom p import target, other\n",
    "lib.ts": 'import * as m from "./m";\nexport const grow = m.grow;\n',
    "m.ts": "export function grow() {}\n",
    "u.ts": 'import { grow } from "./lib";\n',
    "a.py": "import b\nrun = b.run\n",
    "b.py": "import a\nrun = a.run\n",
    "c.py": "from a import run\n",
}


@pytest.mark.parametrize(
    ("path", "qualifier", "name", "target"),
    [
        ("t.py", "p.mm", "target", Target("p/m.py", "target")),
        ("t.py", "p.m", "target", Target("p/m.py", "target")),
        ("t.py", "p", "target", Target("p/m.py", "target")),
        ("t.py", "", "target", Target("p/m.py", "target")),
        ("t.py", "", "other", Target("p/__init__.py", "other")),
        ("u.ts", "", "grow", Target("m.ts", "grow")),
        ("c.py", "", "run", Target("a.py", "run")),
    ],
)
def test_what_a_module_passes_on_is_followed_to_its_definition(
    path: str, qualifier: str, name: str, target: Target
) -> None:
    assert graph_of(PASSED).resolve(path, name, qualifier) == target


def test_what_is_passed_on_may_change() -> None:
    graph = graph_of(PASSED | {"p/n.py": PASSED["p/m.py"]})
    assert graph.resolve("t.py", "target") == Target("p/m.py", "target")
    changed = "import p.m as mm\nfrom . import m\n\ntarget = 1\nother = m.gone\n"
    outlines = {**graph.index.outlines, "p/__init__.py": outline("p/__init__.py", changed.encode(), "python")}
    assert graph.renewed(RepoIndex(outlines, 1)).resolve("t.py", "target") == Target(
        "p/__init__.py", "target"
    )


ROOTS = {
    "app/tsconfig.json": '{"compilerOptions": {"rootDirs": ["src", "gen"]}}',
    "app/src/t.ts": "",
    "app/src/own.ts": "",
    "app/gen/own.ts": "",
    "app/gen/m.ts": "",
    "app/gen/deep/n.ts": "",
    "app/else/o.ts": "",
}


@pytest.mark.parametrize(
    ("name", "path", "file"),
    [
        ("./m", "app/src/t.ts", "app/gen/m.ts"),
        ("./deep/n", "app/src/t.ts", "app/gen/deep/n.ts"),
        ("../t", "app/gen/deep/n.ts", "app/src/t.ts"),
        ("./own", "app/src/t.ts", "app/src/own.ts"),
        ("./o", "app/src/t.ts", ""),
        ("./m", "app/else/o.ts", ""),
    ],
)
def test_several_root_directories_are_as_one(name: str, path: str, file: str) -> None:
    assert graph_of(ROOTS).module(name, path) == file


@pytest.mark.parametrize(
    ("name", "package"), [("github.com/x/util", "src/github.com/x/util/"), ("fmt", ""), ("x/util", "")]
)
def test_go_without_modules_has_its_sources_in_one_folder(name: str, package: str) -> None:
    paths = ("src/github.com/x/util/u.go", "src/github.com/x/t.go", "lib/fmt/f.go")
    files: dict[str, str] = {path: "package u\n" for path in paths}
    assert graph_of(files).module(name, "src/github.com/x/t.go") == package


def test_a_path_that_goes_on_means_the_package_and_not_what_it_is_called_like() -> None:
    graph = graph_of({"s/__init__.py": "from .t import t\n", "s/t/__init__.py": "def t():\n    pass\n"})
    assert dotted(graph, "a.md", "s", "t", False) == (Target("s/t/__init__.py", "t"), "s")
    assert dotted(graph, "a.md", "s", "t", True) == (None, "")
