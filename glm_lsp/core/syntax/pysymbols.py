"""Values made of the nodes of a Python file: definitions, imports, first lines of docstrings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from keyword import iskeyword

from tree_sitter import Node

from glm_lsp.core.syntax.trees import text_of
from glm_lsp.core.values import Import, Span, Symbol, SymbolKind

_FIRST = frozenset(bytes([i]) for i in b"\"'uUrR#")
"""What a string may begin with, or a comment before it."""
_ONE = rb"[A-Za-z_]\w*(?:[ \t]+as[ \t]+[A-Za-z_]\w*)?"
_FROM = re.compile(rb"from[ \t]+(\.*\w+(?:\.\w+)*)[ \t]+import[ \t]+(%b(?:[ \t]*,[ \t]*%b)*)" % (_ONE, _ONE))
"""The commonest form: in one line, without brackets."""
NOT_TEXT = re.compile(rb"[^\"'uUrR]")


def docstring(data: bytes, block: Node) -> str:
    """The first line of the string that opens a block or a module; empty where there is none."""
    if data[block.start_byte : block.start_byte + 1] not in _FIRST:
        return ""
    node = docstring_node(data, block)
    if node is None:
        return ""
    text = text_of(data, node).lstrip("uUrR").strip("\"'").strip()
    return text.split("\n", 1)[0].strip()


def docstring_node(data: bytes, block: Node) -> Node | None:
    """The string node that documents a block or a module; f-strings and bytes do not count."""
    statement = block.named_child(0) if block.named_child_count else None
    if statement is not None and statement.type == "comment":
        statement = next((c for c in block.named_children if c.type != "comment"), None)
    if statement is None or statement.type != "expression_statement" or statement.named_child_count != 1:
        return None
    node = statement.named_child(0)
    if node.type != "string" or node.child_count == 0:
        return None
    return None if NOT_TEXT.search(data, node.start_byte, node.child(0).end_byte) else node


def symbol_of(data: bytes, node: Node, name: Node, outer: Node, parent: Symbol | None) -> Symbol:
    """The class or function of `node`; `outer` holds its decorators too."""
    if data.startswith(b"class", node.start_byte):
        kind = SymbolKind.CLASS
    elif parent is not None and parent.kind is SymbolKind.CLASS:
        kind = SymbolKind.METHOD
    else:
        kind = SymbolKind.FUNCTION
    block = node.child_by_field_name("body")
    end = outer.end_byte
    return Symbol(
        name=text_of(data, name),
        kind=kind,
        span=Span(outer.start_byte, end),
        signature=_signature(data, node, block),
        parent=parent.qualified if parent else None,
        docstring=docstring(data, block) if block else "",
        name_span=Span(name.start_byte, name.end_byte),
        body=Span(block.start_byte, block.end_byte) if block else Span(end, end),
        start_line=outer.start_point.row,
        end_line=outer.end_point.row,
    )


def moved(symbol: Symbol, by: int, down: int, parent: Symbol | None, outer: Node | None) -> Symbol:
    """The same definition at another place, so many bytes and lines on; `outer`: with these decorators."""
    owner = parent.qualified if parent is not None else None
    if outer is None and not by and not down and owner == symbol.parent:
        return symbol
    return Symbol(
        name=symbol.name,
        kind=symbol.kind,
        span=Span(outer.start_byte if outer is not None else symbol.span.start + by, symbol.span.end + by),
        signature=symbol.signature,
        parent=owner,
        docstring=symbol.docstring,
        name_span=Span(symbol.name_span.start + by, symbol.name_span.end + by),
        body=Span(symbol.body.start + by, symbol.body.end + by),
        start_line=outer.start_point.row if outer is not None else symbol.start_line + down,
        end_line=symbol.end_line + down,
    )


def _signature(data: bytes, node: Node, block: Node | None) -> str:
    """The lines from `def` or `class` to the colon, with the statement's own indentation taken off."""
    start, end = node.start_byte, block.start_byte if block else node.end_byte
    text = data[start:end].rstrip()
    if b"#" in text or not text.endswith(b":"):  # a comment stands there, perhaps
        for child in reversed(node.children):
            if child.type == ":" and child.end_byte <= end:
                text = data[start : child.end_byte]
                break
    lines = text.decode("utf-8", "replace").split("\n")
    if len(lines) == 1:
        return lines[0]
    indent = node.start_point.column
    rest = (line[min(indent, len(line) - len(line.lstrip())) :].rstrip("\r") for line in lines[1:])
    return "\n".join([lines[0].rstrip("\r"), *rest])


def imports_of(data: bytes, node: Node) -> Iterator[Import]:
    """The imports of a statement."""
    if plain := _FROM.fullmatch(data, node.start_byte, node.end_byte):
        module = plain[1].decode()
        names = [name.split() for name in plain[2].decode().split(",")]
        if module != "__future__" and all(name and not iskeyword(name[0]) for name in names):
            name_of = module.lstrip(".")
            level = len(module) - len(name_of)
            for name in names:
                yield Import(name_of, name[0], name[2] if len(name) == 3 else "", level)
            return
    module, level = "", 0
    source = node.child_by_field_name("module_name")
    if node.type == "future_import_statement":
        module = "__future__"
    elif source is not None:
        text = "".join(text_of(data, source).split())
        module = text.lstrip(".")
        level = len(text) - len(module)
    plain = node.type == "import_statement"
    for item in node.children_by_field_name("name"):
        name, alias = item, None
        if item.type == "aliased_import":
            name, alias = item.child_by_field_name("name"), item.child_by_field_name("alias")
        text = "".join(text_of(data, name).split()) if name else ""
        shown = text_of(data, alias) if alias else ""
        yield Import(text, "", shown) if plain else Import(module, text, shown, level)
    if any(child.type == "wildcard_import" for child in node.named_children):
        yield Import(module, "*", "", level)
