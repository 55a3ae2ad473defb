"""The variables that a Python module and its classes define."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from tree_sitter import Node

from glm_lsp.core.syntax.languages import grammar
from glm_lsp.core.syntax.trees import text_of
from glm_lsp.core.values import Span, Symbol, SymbolKind


def variables(root: Node, data: bytes, symbols: list[Symbol]) -> Iterator[Symbol]:
    """Variables of the module and of its classes, each at its first assignment.

    All names that a statement assigns: in `A, B = 1, 2` and in `A = B = 1` there are two. Code under `if`,
    `try` and `with` counts too.
    """
    classes = {s.body.start: s for s in symbols if s.kind is SymbolKind.CLASS}
    seen: set[tuple[str | None, str]] = set()
    for statement, owner in _statements(root, classes):
        signature = ""
        parent = owner.qualified if owner else None
        for target in _targets(statement):
            name = text_of(data, target)
            if name == "_" or (parent, name) in seen:
                continue
            seen.add((parent, name))
            start, end = statement.start_byte, statement.end_byte
            signature = signature or _assignment(data, statement)
            yield Symbol(
                name=name,
                kind=SymbolKind.VARIABLE,
                span=Span(start, end),
                signature=signature,
                parent=parent,
                name_span=Span(target.start_byte, target.end_byte),
                body=Span(end, end),
                start_line=statement.start_point.row,
                end_line=statement.end_point.row,
            )


COMPOUND = frozenset(
    {
        "block", "if_statement", "elif_clause", "else_clause", "try_statement", "except_clause",
        "except_group_clause", "finally_clause", "with_statement", "decorated_definition",
    }
)  # fmt: skip
STATEMENTS = frozenset({"expression_statement", "type_alias_statement"})
PATTERNS = frozenset({"pattern_list", "tuple_pattern", "list_pattern", "list_splat_pattern"})


@cache
def _kinds() -> dict[int, int]:
    """0 for numbers of statements that may assign, 1 for what they stand in, 2 for classes: numbers compare
    in half the time of names."""
    kinds: dict[int, int] = {}
    language = grammar("python")
    for number in range(language.node_kind_count):
        name = language.node_kind_for_id(number)
        if language.node_kind_is_named(number):
            known = 0 if name in STATEMENTS else 1 if name in COMPOUND else 2
            if known < 2 or name == "class_definition":
                kinds[number] = known
    return kinds


def _statements(root: Node, classes: dict[int, Symbol]) -> Iterator[tuple[Node, Symbol | None]]:
    """Statements that run when the module is imported, with the class that they stand in."""
    get = _kinds().get
    pending: list[tuple[Node, Symbol | None]] = [(root, None)]
    while pending:
        node, owner = pending.pop()
        for child in node.named_children:
            kind = get(child.kind_id)
            if kind is None:
                continue
            if kind == 0:
                yield child, owner
            elif kind == 1:
                pending.append((child, owner))
            elif body := child.child_by_field_name("body"):
                pending.append((body, classes.get(body.start_byte, owner)))


def _targets(statement: Node) -> list[Node]:
    """The names that a statement assigns, in its order."""
    inner = statement.named_child(0) if statement.named_child_count else None
    kind = inner.type if inner is not None else ""
    found: list[Node] = []
    if kind == "type":
        name = alias_name(statement)
        return [name] if name is not None else []
    while inner is not None and kind == "assignment":
        left = inner.child_by_field_name("left")
        if left is not None:
            if (kind := left.type) == "identifier":
                found.append(left)
            elif kind in PATTERNS:
                found += _names(left)
        inner = inner.child_by_field_name("right")
        kind = inner.type if inner is not None else ""
    return found


def alias_name(statement: Node) -> Node | None:
    """The `Name` of `type Name[T] = ...`, where tree-sitter calls both sides types."""
    name = statement.child_by_field_name("left")
    while name is not None and name.type in ("type", "generic_type"):
        name = name.named_child(0) if name.named_child_count else None
    return name if name is not None and name.type == "identifier" else None


def _names(pattern: Node) -> Iterator[Node]:
    """The names in brackets and lists of them."""
    pending = [pattern]
    while pending:
        node = pending.pop()
        if (kind := node.type) == "identifier":
            yield node
        elif kind in PATTERNS:
            pending += reversed(node.named_children)


SIGNATURE_BYTES = 160


def _assignment(data: bytes, statement: Node) -> str:
    """The assignment, its value left out where it is long; of a call what is called."""
    start, end = statement.start_byte, statement.end_byte
    if end - start <= SIGNATURE_BYTES and statement.start_point.row == statement.end_point.row:
        return text_of(data, statement)
    value = statement.named_child(0) if statement.type == "expression_statement" else None
    while value is not None and value.type == "assignment":
        value = value.child_by_field_name("right")
    head = data[start : min(value.start_byte if value else end, start + SIGNATURE_BYTES)]
    text = head.decode("utf-8", "ignore")
    first = text.split("\n", 1)[0]
    if first.rstrip(" \r\\")[-1:] in ("", "(", "[", ",") and "#" not in text:
        first = " ".join(text.split())  # names in brackets, each on its line
    called = value.child_by_field_name("function") if value is not None and value.type == "call" else None
    made = text_of(data, called) if called is not None and called.end_byte - start <= SIGNATURE_BYTES else ""
    return first.rstrip(" =\r\\(") + (f" = {made}(...)" if made and "\n" not in made else " = ...")
