"""What a script exports as `default`, in every form, and what it requires."""

from __future__ import annotations

import pytest

from glm_lsp.core.syntax import outline

SCRIPTS = ("javascript", "typescript", "typescriptreact")
DEFINED = (
    ("export default function () {}", "function"),
    ("export default () => 1", "function"),
    ("export default async (a) => { b() }", "function"),
    ("export default class { m() {} }", "class"),
    ("export default { a: 1 }", "variable"),
)
NAMED = (
    "export default foo",
    "export default /* c */ foo",
    "export default memo(foo)",
    "export default memo(foo, 2)",
)
NEITHER = (
    "export default 1",
    "export default memo()",
    "export default memo(1, foo)",
    "export default memo`x`",
    "export default new Foo(bar)",
    "export default a.b",
)


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize(("text", "kind"), DEFINED)
def test_a_value_without_a_name_is_called_default(text: str, kind: str, language: str) -> None:
    found = outline("", text.encode(), language)
    assert (found.symbols[0].name, str(found.symbols[0].kind)) == ("default", kind)


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("text", NAMED)
def test_a_name_is_exported_as_default(text: str, language: str) -> None:
    found = outline("", text.encode(), language)
    assert not found.symbols
    assert [(e.name, e.local) for e in found.exports] == [("default", "foo")]


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("text", NEITHER)
def test_any_other_expression_is_nothing_that_others_could_find(text: str, language: str) -> None:
    found = outline("", text.encode(), language)
    assert not found.symbols
    assert not found.exports


@pytest.mark.parametrize("language", SCRIPTS)
def test_patterns_that_need_a_word_are_looked_for_where_it_stands(language: str) -> None:
    text = b"const a = require('b'), { c: d } = require('e');\nrequire('f');\nexports.x = a;\n"
    found = outline("", text, language)
    assert [(i.module, i.name, i.alias) for i in found.imports] == [
        ("b", "", "a"),
        ("e", "c", "d"),
        ("f", "", ""),
    ]
    assert [(e.name, e.local) for e in found.exports] == [("x", "a")]


def test_a_file_is_known_by_the_digest_that_is_given() -> None:
    assert outline("", b"a = 1\n", "python", digest="known").digest == "known"
