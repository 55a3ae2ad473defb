"""What the features do in languages other than Python: the same, by the same outlines."""

from __future__ import annotations

import pytest

from glm_lsp.core.values import Document, Span
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import pack_context, suggest
from glm_lsp.features.units import split
from tests.features.stage import Words, document, session, snapshot

WEB = {
    "core/package.json": '{"name": "@shop/core", "main": "./dist/index.js"}',
    "core/src/index.ts": 'export * from "./order";\n',
    "core/src/order.ts": (
        "/** One order. */\nexport class Order {\n  /** Sum it up. */\n  total(tax: number): number {\n"
        "    return tax;\n  }\n}\nexport function load(id: string): Order {\n  return new Order();\n}\n"
    ),
    "app/main.ts": 'import { load } from "@shop/core";\n\nexport function show(id: string) {\n  load(\n}\n',
}
GO = {
    "go.mod": "module example.com/shop\n",
    "db/store.go": "package db\n\n// Store keeps orders.\ntype Store struct{}\n",
    "db/open.go": "package db\n\n// Open opens one.\nfunc Open(path string) *Store {\n\treturn &Store{}\n}\n",
    "main.go": 'package main\n\nimport "example.com/shop/db"\n\nfunc main() {\n\tdb.Open(\n}\n',
}


@pytest.mark.parametrize(
    ("files", "path", "needle", "wanted"),
    [
        (WEB, "app/main.ts", "load(\n", ("function load(id: string): Order", "core/src/order.ts")),
        (GO, "main.go", "db.Open(\n", ("func Open(path string) *Store", "db/open.go")),
    ],
)
async def test_a_prompt_has_the_definitions_that_the_place_needs(
    files: dict[str, str], path: str, needle: str, wanted: tuple[str, ...]
) -> None:
    offset = files[path].index(needle) + len(needle) - 1
    room = session(files, ScriptedEngine("id"))
    prompt = await pack_context(room, snapshot(files, opened=(path,)), path, offset, 800)
    text = "".join(segment.text for segment in prompt.segments)
    for words in wanted:
        assert words in text


async def test_a_line_is_completed_in_go() -> None:
    path, text = "main.go", GO["main.go"]
    offset = text.index("db.Open(") + len("db.Open(")
    found = await suggest(
        session(GO, ScriptedEngine('"shop.db")')), snapshot(GO, opened=(path,)), path, offset
    )
    assert found.suggestion is not None
    assert found.suggestion.text == '"shop.db")'


def cut(file: Document, room: int) -> list[str]:
    units, refusals = split(file, lambda unit: Words().count(unit.shown(anchors=False)), room)
    assert not refusals
    return [unit.name for unit in units]


def test_a_go_file_is_cut_at_its_methods_too() -> None:
    text = "package db\n\ntype Store struct{}\n" + "".join(
        f"\nfunc (s *Store) M{n}() int {{\n\treturn {n} + {n} + {n} + {n}\n}}\n" for n in range(4)
    )
    names = cut(document(text, "db.go"), 60)
    assert len(names) > 2
    assert names[-1].startswith("db.go: Store.M")


def test_a_span_of_a_symbol_is_the_definition_with_what_belongs_to_it() -> None:
    order = snapshot(WEB).index.outlines["core/src/order.ts"].symbols[0]
    data = WEB["core/src/order.ts"].encode()
    assert data[order.span.start : order.span.end].startswith(b"export class Order {")
    assert order.span != Span(0, len(data))
