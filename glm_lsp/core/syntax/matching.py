"""Queries run so that they end.

A query cannot be stopped while it runs: its progress callback is not safe to use. So it runs on pieces of a
file, does not look below `Row.depth`, and not at a broken stretch with thousands of tokens side by side, on
which it would take quadratic time, but into each of its parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from tree_sitter import Node, Query, QueryCursor, Tree

from glm_lsp.core.syntax.languages import grammar, query_text, row
from glm_lsp.core.syntax.trees import Halted

WHOLE_BYTES = 1 << 17
"""Larger files are queried in pieces of this size."""
WIDE_NODES = 2000
MOST_STATES = 256
"""Of a query at one time; four times what was seen in large libraries."""
SHALLOW = 4
"""How deep patterns that say `(#set! shallow)` are looked for."""
Captures = Mapping[str, list[Node]]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A language's query as two: one for the whole file, one that looks at its outermost statements only."""

    queries: tuple[tuple[Query, int, int], ...]
    """With the depth to which each looks, and how many patterns the ones before it have."""
    settings: tuple[Mapping[str, str | None], ...]
    """By pattern, counted through all queries."""


@cache
def compiled(language: str) -> Compiled:
    """The query of a supported language."""
    deep, shallow = _parted(query_text(language))
    queries: list[tuple[Query, int, int]] = []
    settings: list[Mapping[str, str | None]] = []
    for text, depth in ((deep, row(language).depth), (shallow, SHALLOW)):
        query = Query(grammar(language), text)
        queries.append((query, depth, len(settings)))
        settings += (query.pattern_settings(i) for i in range(query.pattern_count))
    return Compiled(tuple(queries), tuple(settings))


_SIGNS = re.compile(r'"(?:[^"\\]|\\.)*"|;[^\n]*|[()]')


def _parted(text: str) -> tuple[str, str]:
    """The patterns of a query that look everywhere, and those that do not look deep.

    Parted before they are compiled: what compiling takes, up to half a second, grows with the patterns.
    """
    parts: tuple[list[str], list[str]] = ([], [])
    depth = start = 0
    for sign in _SIGNS.finditer(text):
        if sign[0] == "(":
            start = sign.start() if not depth else start
            depth += 1
        elif sign[0] == ")":
            depth -= 1
            if not depth:
                pattern = text[start : sign.end()]
                parts["(#set! shallow)" in pattern].append(pattern)
    return "\n".join(parts[0]), "\n".join(parts[1])


def matches(
    tree: Tree, data: bytes, language: str, halt: Callable[[], bool] | None
) -> Iterator[tuple[int, Captures]]:
    """What the query finds, some of it more than once."""
    known = compiled(language)
    for root in _roots(tree.root_node, row(language).depth, halt):
        whole = root.end_byte - root.start_byte <= WHOLE_BYTES
        for start in range(root.start_byte, max(root.end_byte, root.start_byte + 1), WHOLE_BYTES):
            for query, depth, before in known.queries:
                if halt is not None and halt():
                    raise Halted
                cursor = QueryCursor(query)
                cursor.set_max_start_depth(depth)
                cursor.match_limit = MOST_STATES
                if not whole:
                    cursor.set_byte_range(start, start + WHOLE_BYTES)
                for pattern, captures in cursor.matches(root):
                    yield pattern + before, captures


def _roots(root: Node, depth: int, halt: Callable[[], bool] | None) -> Iterator[Node]:
    """The root, or where a part of it is broken and wide, what is below that."""
    pending = [(root, 0)]
    while pending:
        node, level = pending.pop()
        if halt is not None and halt():
            raise Halted
        if not _hides_width(node, depth - level, halt):
            yield node
            continue
        cursor = node.walk()
        more = cursor.goto_first_child()
        while more:
            child = cursor.node
            if child is not None and child.is_named and child.child_count:
                pending.append((child, level + 1))
            more = cursor.goto_next_sibling()


def _hides_width(node: Node, depth: int, halt: Callable[[], bool] | None) -> bool:
    """Whether an error of very many tokens is in a node, as far down as the query looks."""
    if not node.has_error:
        return False
    cursor = node.walk()
    level = left = 0
    while True:
        here = cursor.node
        left += 1
        if left % 4096 == 0 and halt is not None and halt():
            raise Halted
        if here is not None and here.is_error and here.child_count > WIDE_NODES:
            return True
        if here is not None and here.has_error and level < depth and cursor.goto_first_child():
            level += 1
            continue
        while not cursor.goto_next_sibling():
            if not level or not cursor.goto_parent():
                return False
            level -= 1
