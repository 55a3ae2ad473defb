"""Where imports lead, by each language's rules."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.imports import Modules
from glm_lsp.core.imports.config import project_facts, read_json
from glm_lsp.core.rank import Place, rank
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.values import RepoIndex
from glm_lsp.workspace.explain import problems

WEB = {
    "tsconfig.base.json": '{"compilerOptions": {"paths": {"~base/*": ["shared/*"]}}}',
    "app/tsconfig.json": """{
      // of the app
      "extends": "../tsconfig.base.json",
      "compilerOptions": {"baseUrl": ".", "paths": {"@/*": ["src/*"], "exact": ["src/exact.ts"],},},
    }""",
    "package.json": '{"name": "root", "workspaces": ["packages/*"]}',
    "packages/core/package.json": """{
      "name": "@shop/core", "main": "./dist/index.js",
      "imports": {"#own": "./src/own.ts"},
      "exports": {".": {"types": "./dist/index.d.ts", "default": "./dist/index.js"},
                  "./tools/*": "./src/tools/*.ts"}
    }""",
    "packages/core/src/index.ts": (
        'export * from "./model";\n'
        'export { total as sum } from "./price.js";\n'
        'export * as prices from "./price";\n'
        'export { default } from "./till";\n'
        'import { Hidden } from "./model";\nexport { Hidden as Shown };\n'
    ),
    "packages/core/src/model.ts": (
        "export class Base { save() {} }\nexport class Order extends Base { pay() {} }\n"
        "export class Hidden {}\n"
    ),
    "packages/core/src/price.ts": "/** Sums. */\nexport function total(order) {}\nexport const RATE = 2;\n",
    "packages/core/src/till.tsx": "export default class Till { open() {} }\n",
    "packages/core/src/tools/hammer.ts": 'import { x } from "#own";\nexport const hit = () => x;\n',
    "packages/core/src/own.ts": "export const x = 1;\n",
    "packages/plain/package.json": '{"name": "plain"}',
    "packages/plain/index.js": "module.exports = main;\nfunction main() {}\nmain.helper = function () {};\n",
    "app/src/exact.ts": "export function exactly() {}\n",
    "app/src/ui/index.tsx": "export function Button() {}\n",
    "app/src/legacy.js": 'const { read, write: put } = require("./io");\nconst io = require("./io");\n',
    "app/src/io.js": "exports.read = function () {};\nmodule.exports.write = write;\nfunction write() {}\n",
    "app/src/deep/page.ts": "",
    "app/src/styles.css": "a {}",
    "shared/log.ts": "export function info() {}\n",
}

GO = {
    "go.mod": "module example.com/shop\n\nreplace (\n\texample.com/tax v1.0.0 => ./third/tax // here\n)\n",
    "third/tax/go.mod": "module example.com/tax\n",
    "third/tax/tax.go": "package tax\n\nfunc Rate() int { return 1 }\n",
    "tools/go.mod": "module example.com/shop/tools\n",
    "tools/gen/gen.go": "package gen\n\nfunc Run() {}\n",
    "db/store.go": "package db\n\ntype Store struct{}\n\nfunc (s *Store) Get(id int) {}\n",
    "db/more.go": "package db\n\nfunc (s *Store) Put(id int) {}\n\nfunc Open() *Store { return nil }\n",
    "db/helper.go": "package db\n\nfunc helper() {}\n",
    "db/store_test.go": "package db\n\nfunc TestOnly() {}\n",
    "db/internal/raw/raw.go": "package raw\n\nfunc Read() {}\n",
    "main.go": (
        'package main\n\nimport (\n\t"fmt"\n\tst "example.com/shop/db"\n\t"example.com/tax"\n\t'
        '"example.com/shop/tools/gen"\n\t"example.com/shop/db/internal/raw"\n)\n\nfunc main() {}\n'
    ),
    "db/user.go": 'package db\n\nimport "example.com/shop/db/internal/raw"\n\nvar _ = raw.Read\n',
}

OTHERS = {
    "src/main/java/com/shop/Order.java": "package com.shop;\nclass Order { static int rate() {} }\n",
    "src/main/java/com/shop/Line.java": "package com.shop;\nclass Line extends Order {}\n",
    "src/main/java/com/till/Till.java": (
        "package com.till;\nimport com.shop.Order;\nimport static com.shop.Order.rate;\nimport com.shop.*;\n"
        "class Till { void open(Order order) {} }\n"
    ),
    "crate/src/lib.rs": "mod price;\npub mod parts;\nuse crate::price::total;\nuse parts::Wheel as W;\n",
    "crate/src/price.rs": "use super::parts::Wheel;\npub fn total() {}\n",
    "crate/src/parts/mod.rs": "pub struct Wheel {}\nimpl Wheel { pub fn new() {} }\n",
    "other-crate/src/lib.rs": "pub fn shared() {}\n",
    "crate/src/user.rs": "use other_crate::shared;\nuse crate::parts::*;\n",
    "c/include/shop/order.h": "struct order { int id; };\nint total(struct order *o);\n",
    "c/src/main.c": '#include "shop/order.h"\n#include "local.h"\n#include <stdio.h>\nint main(void) {}\n',
    "c/src/local.h": "void local(void);\n",
}


def graph_of(files: dict[str, str]) -> Graph:
    return Graph(RepoIndex({p: outline(p, t.encode(), language_of(p)) for p, t in files.items()}))


WEB_GRAPH, GO_GRAPH, OTHERS_GRAPH = graph_of(WEB), graph_of(GO), graph_of(OTHERS)


@pytest.mark.parametrize(
    ("name", "path", "file"),
    [
        ("./io", "app/src/legacy.js", "app/src/io.js"),
        ("../ui", "app/src/deep/page.ts", "app/src/ui/index.tsx"),
        ("../io.js", "app/src/deep/page.ts", "app/src/io.js"),
        ("./price.js", "packages/core/src/index.ts", "packages/core/src/price.ts"),
        ("./till.js", "packages/core/src/index.ts", "packages/core/src/till.tsx"),
        ("@/ui", "app/src/deep/page.ts", "app/src/ui/index.tsx"),
        ("exact", "app/src/deep/page.ts", "app/src/exact.ts"),
        ("src/io", "app/src/deep/page.ts", "app/src/io.js"),
        ("~base/log", "app/src/deep/page.ts", "shared/log.ts"),
        ("@shop/core", "app/src/deep/page.ts", "packages/core/src/index.ts"),
        ("@shop/core/tools/hammer", "app/src/deep/page.ts", "packages/core/src/tools/hammer.ts"),
        ("#own", "packages/core/src/tools/hammer.ts", "packages/core/src/own.ts"),
        ("plain", "app/src/deep/page.ts", "packages/plain/index.js"),
        ("../styles.css?inline", "app/src/deep/page.ts", "app/src/styles.css"),
        ("react", "app/src/deep/page.ts", ""),
        ("../../../../outside", "app/src/deep/page.ts", ""),
        ("@shop/unknown", "app/src/deep/page.ts", ""),
    ],
)
def test_a_script_imports_a_file(name: str, path: str, file: str) -> None:
    assert WEB_GRAPH.module(name, path) == file


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("Order", Target("packages/core/src/model.ts", "Order")),
        ("sum", Target("packages/core/src/price.ts", "total")),
        ("prices", Target("packages/core/src/price.ts")),
        ("default", Target("packages/core/src/till.tsx", "Till")),
        ("Shown", Target("packages/core/src/model.ts", "Hidden")),
        ("total", None),
    ],
)
def test_what_a_package_passes_on(name: str, target: Target | None) -> None:
    assert WEB_GRAPH.exported("packages/core/src/index.ts", name) == target


def test_commonjs_names_and_whole_modules() -> None:
    assert dict(WEB_GRAPH.bindings("app/src/legacy.js")) == {
        "read": Target("app/src/io.js", "read"),
        "put": Target("app/src/io.js", "write"),
        "io": Target("app/src/io.js"),
    }
    graph = graph_of({**WEB, "app/src/use.js": 'const plain = require("plain");\n'})
    assert graph.bindings("app/src/use.js")["plain"] == Target("packages/plain/index.js", "main")


@pytest.mark.parametrize(
    ("name", "path", "package"),
    [
        ("example.com/shop/db", "main.go", "db/"),
        ("example.com/tax", "main.go", "third/tax/"),
        ("example.com/shop/tools/gen", "main.go", "tools/gen/"),
        ("example.com/shop/db/internal/raw", "main.go", ""),
        ("example.com/shop/db/internal/raw", "db/user.go", "db/internal/raw/"),
        ("fmt", "main.go", ""),
        ("example.com/shop/none", "main.go", ""),
    ],
)
def test_go_imports_a_folder(name: str, path: str, package: str) -> None:
    assert GO_GRAPH.module(name, path) == package


def test_a_package_is_all_of_its_files() -> None:
    assert GO_GRAPH.imported("main.go") >= {"db/store.go", "db/more.go", "third/tax/tax.go"}
    assert "db/store_test.go" not in GO_GRAPH.imported("main.go")
    assert GO_GRAPH.resolve("main.go", "Open", "st") == Target("db/more.go", "Open")
    assert GO_GRAPH.resolve("main.go", "Rate", "tax") == Target("third/tax/tax.go", "Rate")
    assert GO_GRAPH.resolve("main.go", "TestOnly", "st") is None


def test_go_needs_no_import_within_a_package() -> None:
    assert GO_GRAPH.resolve("db/more.go", "helper") == Target("db/helper.go", "helper")
    assert GO_GRAPH.member(Target("db/store.go", "Store"), "Put") == Target("db/more.go", "Store.Put")
    assert GO_GRAPH.resolve("db/more.go", "TestOnly") is None


@pytest.mark.parametrize(
    ("path", "name", "target"),
    [
        ("src/main/java/com/till/Till.java", "Order", "src/main/java/com/shop/Order.java:Order"),
        ("src/main/java/com/till/Till.java", "rate", "src/main/java/com/shop/Order.java:Order.rate"),
        ("src/main/java/com/till/Till.java", "Line", "src/main/java/com/shop/Line.java:Line"),
        ("src/main/java/com/shop/Line.java", "Order", "src/main/java/com/shop/Order.java:Order"),
        ("crate/src/lib.rs", "total", "crate/src/price.rs:total"),
        ("crate/src/lib.rs", "W", "crate/src/parts/mod.rs:Wheel"),
        ("crate/src/price.rs", "Wheel", "crate/src/parts/mod.rs:Wheel"),
        ("crate/src/user.rs", "shared", "other-crate/src/lib.rs:shared"),
        ("crate/src/user.rs", "Wheel", "crate/src/parts/mod.rs:Wheel"),
        ("c/src/main.c", "total", "c/include/shop/order.h:total"),
        ("c/src/main.c", "local", "c/src/local.h:local"),
    ],
)
def test_names_of_other_languages(path: str, name: str, target: str) -> None:
    found = OTHERS_GRAPH.resolve(path, name)
    assert found is not None
    assert f"{found.path}:{found.name}" == target


def best(graph_files: dict[str, str], path: str, text: str) -> list[str]:
    """What the end of `text` needs for certain, the best three."""
    graph = graph_of({**graph_files, path: text})
    found = rank(graph, Place(path, len(text.encode()), text, text.count("\n")))
    return [f"{c.path}:{c.symbol.qualified}" for c in found[:3] if c.certain]


@pytest.mark.parametrize(
    ("files", "path", "text", "name"),
    [
        (
            WEB,
            "app/src/a.ts",
            'import { sum } from "@shop/core";\n\nsum(',
            "packages/core/src/price.ts:total",
        ),
        (
            WEB,
            "app/src/a.ts",
            'import { Order } from "@shop/core";\n\n\n\nconst o = new Order();\n\n\no.save(',
            "packages/core/src/model.ts:Base.save",
        ),
        (
            GO,
            "cmd/a.go",
            'package a\n\nimport "example.com/shop/db"\n\nfunc f() { db.Open(',
            "db/more.go:Open",
        ),
        (
            GO,
            "cmd/a.go",
            'package a\n\nimport "example.com/shop/db"\n\nfunc f(s *db.Store, id int) {\n\n\n\n\n\n\ns.Put(',
            "db/more.go:Store.Put",
        ),
    ],
)
def test_what_a_place_needs(files: dict[str, str], path: str, text: str, name: str) -> None:
    assert name in best(files, path, text)


def test_a_method_knows_its_receiver() -> None:
    text = "package db\n\nfunc (s *Store) All() {\n\ts.Get("
    assert "db/store.go:Store.Get" in best(GO, "db/all.go", text)


def test_a_broken_configuration_is_a_note() -> None:
    (row,) = project_facts(b'{"compilerOptions": {', "jsonc")
    assert row[0] == "broken"
    graph = graph_of({**WEB, "app/tsconfig.json": '{"extends": '})
    assert graph.module("@/ui", "app/src/deep/page.ts") == ""
    assert graph.module("./io", "app/src/legacy.js") == "app/src/io.js"


TS, PACKAGE = "tsconfig.json", "package.json"
BROKEN: dict[str, tuple[dict[str, str], str]] = {
    "a list": ({TS: "[]"}, "It holds a list; it should be an object"),
    "cut off": ({TS: '{"x": 1'}, "It is no JSON"),
    "after a comment": ({TS: '{\n/* a\nb */\n"paths": x,\n}'}, "line 4 column 10"),
    "extends a number": ({TS: '{"extends": 3}'}, "`extends` is a number"),
    "extends nothing": ({TS: '{"extends": ""}'}, "`extends` is empty"),
    "extends what is gone": ({TS: '{"extends": "./gone"}'}, "'gone.json' is not among the indexed files"),
    "extends what is above": ({TS: '{"extends": "../a.json"}'}, "outside of the repository"),
    "extends itself": ({TS: '{"extends": "./tsconfig"}'}, "It extends itself."),
    "a circle": (
        {TS: '{"extends": "./a/b.json"}', "a/b.json": '{"extends": "../tsconfig.json"}'},
        "itself by way of 'a/b.json'",
    ),
    "extends what is broken": ({TS: '{"extends": "./b.json"}', "b.json": '{"compilerOptions": '}, "no JSON"),
    "options": ({TS: '{"compilerOptions": []}'}, "`compilerOptions` is a list; it should be an object"),
    "base": ({TS: '{"compilerOptions": {"baseUrl": 1}}'}, "`compilerOptions.baseUrl` is a number"),
    "paths": ({TS: '{"compilerOptions": {"paths": {"@/*": "x"}}}'}, "targets of '@/*'"),
    "no target": ({TS: '{"compilerOptions": {"paths": {"@/*": []}}}'}, "has no target"),
    "stars": ({TS: '{"compilerOptions": {"paths": {"*/*": ["x"]}}}'}, "more than one star"),
    "an empty manifest": ({PACKAGE: ""}, "It is no JSON"),
    "a manifest's name": ({PACKAGE: '{"name": []}'}, "`name` is a list; it should be a text"),
    "exports": ({PACKAGE: '{"exports": {".": "a", "import": "b"}}'}, "beside conditions"),
    "imports": ({PACKAGE: '{"imports": {"own": "./a"}}'}, "does not begin with #"),
    "workspaces": ({PACKAGE: '{"workspaces": "packages/*"}'}, "a list of patterns"),
    "no module": ({"go.mod": "go 1.22\n"}, "It names no module"),
    "an open block": ({"go.mod": "module a\nrequire (\n\tb v1\n"}, "line 2 opens is not closed"),
    "an unknown directive": ({"go.mod": "module a\nmodul b\n"}, "Line 2 begins with no directive"),
    "no replacement": ({"go.mod": "module a\nreplace b c\n"}, "Line 2 is no replacement"),
    "replaced by nothing": ({"go.mod": "module a\nreplace b => ./b\n"}, "where nothing is indexed"),
    "no TOML": ({"pyproject.toml": "[project\n"}, "It is no TOML"),
    "a project that is a text": ({"pyproject.toml": 'project = "x"\n'}, "`project` is a text"),
    "too large": ({TS: '{"extends": "./b"}' + " " * (1 << 20)}, "larger than 1 MiB"),
}


def problems_of(files: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return problems({p: outline(p, t.encode(), language_of(p)) for p, t in files.items()})


@pytest.mark.parametrize(("files", "said"), BROKEN.values(), ids=BROKEN)
def test_what_is_broken_in_a_projects_files_is_told(files: dict[str, str], said: str) -> None:
    assert any(said in what for _, what in problems_of(files)), problems_of(files)
    assert all(what.endswith(".") for _, what in problems_of(files))


@pytest.mark.parametrize(
    "files",
    [
        WEB,
        GO,
        {TS: "", "data.json": '{"name": '},
        {TS: '{"extends": ["@tsconfig/node18/tsconfig.json", "./b"]}', "b.json": "{}"},
        {PACKAGE: '{"name": "x", "exports": {"./a": null}, "workspaces": {"packages": ["p"]}}'},
        {"go.mod": "module a // b\n\ngo 1.22.0\ntoolchain go1.22.1\nretract [v1.0.0, v1.1.0]\n"},
        {"pyproject.toml": '[project]\nname = "x"\n[tool.ruff]\nline-length = 100\n'},
    ],
)
def test_nothing_is_told_of_files_that_are_as_they_should_be(files: dict[str, str]) -> None:
    assert problems_of(files) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "./a", "*", "#x", "../..", "/"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["extends", "compilerOptions", "paths", "baseUrl", "name", "exports", "imports", "workspaces"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from([TS, PACKAGE, "a/tsconfig.json", "a.json", "jsconfig.json"]), JSON))
def test_whatever_types_stand_there_it_is_rows_and_sentences(values: dict[str, object]) -> None:
    files = {path: json.dumps(value) for path, value in values.items()}
    assert all(said.endswith(".") for _, said in problems_of(files))
    graph_of({**files, "x.ts": ""}).module("@/x", "x.ts")


@given(st.text(alphabet='()=>/ \n".mdulergpcrqi1v', max_size=80))
def test_whatever_stands_in_a_go_mod_it_is_rows_and_sentences(text: str) -> None:
    assert all(said.endswith(".") for _, said in problems_of({"go.mod": text}))


def test_configurations_may_extend_each_other_in_a_circle() -> None:
    graph = graph_of({**WEB, "tsconfig.base.json": '{"extends": "./app/tsconfig.json"}'})
    assert graph.module("@/ui", "app/src/deep/page.ts") == "app/src/ui/index.tsx"


@pytest.mark.parametrize("name", ["@shop/settings/base.json", "@shop/settings/base", "@shop/settings"])
def test_a_configuration_may_extend_that_of_a_package_of_the_repository(name: str) -> None:
    shared = '{"compilerOptions": {"baseUrl": "../..", "paths": {"~all/*": ["shared/*"]}}}'
    files = {
        **WEB,
        "packages/settings/package.json": '{"name": "@shop/settings"}',
        "packages/settings/base.json": shared,
        "packages/settings/tsconfig.json": shared,
        "app/tsconfig.json": json.dumps({"extends": name}),
    }
    assert graph_of(files).module("~all/log", "app/src/deep/page.ts") == "shared/log.ts"


def test_a_changed_configuration_changes_where_imports_lead() -> None:
    changed = {**WEB, "app/tsconfig.json": '{"compilerOptions": {"paths": {"new/*": ["src/*"]}}}'}
    outlines = dict(WEB_GRAPH.index.outlines)
    path = "app/tsconfig.json"
    outlines[path] = outline(path, changed[path].encode(), "jsonc")
    graph = WEB_GRAPH.renewed(RepoIndex(outlines, 1))
    assert graph.module("new/ui", "app/src/deep/page.ts") == "app/src/ui/index.tsx"


def test_json_with_comments() -> None:
    text = '{"a": "//no", /* b */ "c": [1, 2,], // d\n "e": ",}",}'
    assert read_json(text) == {"a": "//no", "c": [1, 2], "e": ",}"}


@given(st.text(max_size=80), st.sampled_from(sorted({**WEB, **GO, **OTHERS})))
@settings(deadline=None)
def test_no_name_is_too_strange(name: str, path: str) -> None:
    files = {**WEB, **GO, **OTHERS}
    found = MODULES.module(name, path)
    assert found == "" or found in files or any(p.startswith(found) for p in files)


@given(st.binary(max_size=200), st.sampled_from(["json", "jsonc", "go.mod"]))
@settings(deadline=None)
def test_no_configuration_is_too_strange(data: bytes, language: str) -> None:
    for prefix in (b"", b'{"compilerOptions": ', b'{"name": "x", "exports": ', b"module x\nreplace ("):
        for row in project_facts(prefix + data, language):
            assert all(isinstance(cell, str) for cell in row)


MODULES = Modules(graph_of({**WEB, **GO, **OTHERS}).index.outlines)
