"""The variables that a Python module and its classes define."""

from __future__ import annotations

from collections.abc import Iterator

from tree_sitter import Node

from glm_lsp.core.syntax.trees import text_of
from glm_lsp.core.values import Span, Symbol, SymbolKind


def variables(root: Node, data: bytes, symbols: list[Symbol]) -> Iterator[Symbol]:
    """Module variables, each at its first assignment, and the fields and constants of classes.

    In a class only annotated names and names in capitals count. Code under `if`, `try` and `with` counts too.
    """
    classes = {s.body.start: s for s in symbols if s.kind is SymbolKind.CLASS}
    seen: set[tuple[str | None, str]] = set()
    for statement, owner in _statements(root, classes):
        target, annotated = _target(statement)
        if target is None:
            continue
        name = text_of(data, target)
        parent = owner.qualified if owner else None
        wanted = name != "_" and (owner is None or annotated or name.isupper())
        if wanted and (parent, name) not in seen:
            seen.add((parent, name))
            yield Symbol(
                name=name,
                kind=SymbolKind.VARIABLE,
                span=Span(statement.start_byte, statement.end_byte),
                signature=_assignment(data, statement),
                parent=parent,
                name_span=Span(target.start_byte, target.end_byte),
                body=Span(statement.end_byte, statement.end_byte),
                start_line=statement.start_point.row,
                end_line=statement.end_point.row,
            )


COMPOUND = frozenset(
    {
        "block", "if_statement", "elif_clause", "else_clause", "try_statement", "except_clause",
        "except_group_clause", "finally_clause", "with_statement", "decorated_definition",
    }
)  # fmt: skip


def _statements(root: Node, classes: dict[int, Symbol]) -> Iterator[tuple[Node, Symbol | None]]:
    """Statements that run when the module is imported, with the class that they stand in."""
    pending: list[tuple[Node, Symbol | None]] = [(root, None)]
    while pending:
        node, owner = pending.pop()
        for child in node.named_children:
            kind = child.type
            if kind in ("expression_statement", "type_alias_statement"):
                yield child, owner
            elif kind in COMPOUND:
                pending.append((child, owner))
            elif kind == "class_definition" and (body := child.child_by_field_name("body")):
                pending.append((body, classes.get(body.start_byte, owner)))


def _target(statement: Node) -> tuple[Node | None, bool]:
    """The one name that a statement assigns, and whether it is annotated."""
    if statement.type == "type_alias_statement":
        left = statement.child_by_field_name("left")
        name = left.named_child(0) if left and left.named_child_count else None
        return (name if name and name.type == "identifier" else None), True
    inner = statement.named_child(0) if statement.named_child_count else None
    if inner is None or inner.type != "assignment":
        return None, False
    left = inner.child_by_field_name("left")
    annotated = inner.child_by_field_name("type") is not None
    return (left if left and left.type == "identifier" else None), annotated


SIGNATURE_BYTES = 160


def _assignment(data: bytes, statement: Node) -> str:
    """The assignment, its value left out where it is long."""
    if statement.start_point.row == statement.end_point.row and (
        statement.end_byte - statement.start_byte <= SIGNATURE_BYTES
    ):
        return text_of(data, statement)
    inner = statement.named_child(0)
    value = inner.child_by_field_name("right") if inner and statement.type == "expression_statement" else None
    end = value.start_byte if value else statement.end_byte
    head = data[statement.start_byte : min(end, statement.start_byte + SIGNATURE_BYTES)]
    return head.decode("utf-8", "ignore").split("\n", 1)[0].rstrip(" =\r\\(") + " = ..."
