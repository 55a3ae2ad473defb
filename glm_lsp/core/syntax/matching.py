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

from glm_lsp.core.syntax.languages import Row, grammar, query_text, row
from glm_lsp.core.syntax.trees import Halted

WHOLE_BYTES = 1 << 17
"""Larger files are queried in pieces of this size."""
WIDE_NODES = 2000
MOST_STATES = 256
"""Of a query at one time; four times what was seen in large libraries."""
REACH = 4
INNER_REACH = 2
"""How deep a query looks from a holder of definitions, and how deep what it looks for stands in a holder."""
HALT_NODES = 4096
INDENT = 200
SHALLOW = 4
"""How deep patterns that say `(#set! shallow)` are looked for."""
Captures = Mapping[str, list[Node]]


@dataclass(frozen=True, slots=True)
class Part:
    """Some patterns of a language's query."""

    query: Query
    depth: int
    """To which it looks."""
    settings: tuple[Mapping[str, str | None], ...]
    """By pattern."""


def parts(language: str, data: bytes) -> list[Part]:
    """The parts of a supported language's query that may find something in a text.

    The first is for the whole file, the others are for its outermost statements only.
    """
    return [
        _compiled(language, key)
        for key in _parted(query_text(language))
        if not key[1] or data.find(key[1]) >= 0
    ]


@cache
def _compiled(language: str, key: _Key) -> Part:
    query = Query(grammar(language), _parted(query_text(language))[key])
    settings = tuple(query.pattern_settings(i) for i in range(query.pattern_count))
    return Part(query, SHALLOW if key[0] else row(language).depth, settings)


_Key = tuple[bool, bytes]
"""Whether it does not look deep, and what a file must have in its text so that it finds something."""
_SIGNS = re.compile(r'"(?:[^"\\]|\\.)*"|;[^\n]*|[()]')
_NEEDS = re.compile(r"\(#set! needs (\w+)\)")


@cache
def _parted(text: str) -> dict[_Key, str]:
    """The patterns of a query that look everywhere, then those that do not look deep, and by what they need.

    Parted before they are compiled, each part when it is needed: that takes up to a tenth of a second.
    """
    parts: dict[_Key, list[str]] = {(False, b""): []}
    depth = start = 0
    for sign in _SIGNS.finditer(text):
        if sign[0] == "(":
            start = sign.start() if not depth else start
            depth += 1
        elif sign[0] == ")":
            depth -= 1
            if not depth:
                pattern = text[start : sign.end()]
                needs = _NEEDS.search(pattern)
                key = "(#set! shallow)" in pattern, needs[1].encode() if needs else b""
                parts.setdefault(key, []).append(pattern)
    return {key: "\n".join(patterns) for key, patterns in parts.items()}


def matches(
    tree: Tree, data: bytes, language: str, halt: Callable[[], bool] | None
) -> Iterator[tuple[Mapping[str, str | None], Captures]]:
    """What the query finds, some of it more than once, and what the pattern sets."""
    here, top = row(language), tree.root_node
    first, *others = parts(language, data)
    for root in _roots(top, here.depth, halt):
        if here.holders and root == top:
            for node, reach in _places(root, data, language, halt):
                yield from _found(node, first, min(first.depth, reach), halt)
        else:
            yield from _found(root, first, first.depth, halt)
        for part in others:
            yield from _found(root, part, part.depth, halt)


def _found(
    root: Node, part: Part, depth: int, halt: Callable[[], bool] | None
) -> Iterator[tuple[Mapping[str, str | None], Captures]]:
    """What one part of a query finds from a node down to a depth."""
    whole = root.end_byte - root.start_byte <= WHOLE_BYTES
    for start in range(root.start_byte, max(root.end_byte, root.start_byte + 1), WHOLE_BYTES):
        if halt is not None and halt():
            raise Halted
        cursor = QueryCursor(part.query)
        cursor.set_max_start_depth(depth)
        cursor.match_limit = MOST_STATES
        if not whole:
            cursor.set_byte_range(start, start + WHOLE_BYTES)
        for pattern, captures in cursor.matches(root):
            yield part.settings[pattern], captures


@cache
def _numbers(language: str) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of a language's holders and bodies: one kind may have several."""
    known, here = grammar(language), row(language)
    kinds = [(number, known.node_kind_for_id(number)) for number in range(known.node_kind_count)]
    holders, bodies = (
        frozenset(number for number, kind in kinds if kind in names) for names in (here.holders, here.bodies)
    )
    return holders, bodies


def _places(
    root: Node, data: bytes, language: str, halt: Callable[[], bool] | None
) -> Iterator[tuple[Node, int]]:
    """The nodes from which definitions are looked for, and how deep: most of a file is what functions do."""
    here, (holders, bodies) = row(language), _numbers(language)
    yield root, REACH
    cursor = root.walk()
    bases, left = [0], HALT_NODES
    if not cursor.goto_first_child():
        return
    while True:
        node = cursor.node
        left -= 1
        if not left:
            left = HALT_NODES
            if halt is not None and halt():
                raise Halted
        kind = node.kind_id if node is not None else -1
        if node is not None and kind in holders:
            level, base = len(bases), bases[-1]
            if level - base > REACH - INNER_REACH:
                base = level
                yield node, REACH
            if level < here.depth and cursor.goto_first_child():
                bases.append(base)
                continue
        elif node is not None and _has_inner(data, here, node, kind in bodies):
            yield node, max(here.depth - len(bases), 0)
        while not cursor.goto_next_sibling():
            bases.pop()
            if not bases or not cursor.goto_parent():
                return


def _has_inner(data: bytes, here: Row, node: Node, body: bool) -> bool:
    """Whether a definition may stand in a node that is no holder."""
    start, end = node.start_byte, node.end_byte
    brace = data.find(b"{", start, end)
    if brace < 0 or here.inner is None:
        return False
    if here.words and all(data.find(word, start, end) < 0 for word in here.words):
        return False
    # With the end of the line before it, which tells that it begins a line.
    start = brace if body and not node.is_error else max(data.rfind(b"\n", max(start - INDENT, 0), start), 0)
    return here.inner.search(data, start, end - 1) is not None


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
        if (
            here is not None
            and level < depth
            and here.end_byte - here.start_byte > WIDE_NODES  # a token has a byte at least
            and here.has_error
            and cursor.goto_first_child()
        ):
            level += 1
            continue
        while not cursor.goto_next_sibling():
            if not level or not cursor.goto_parent():
                return False
            level -= 1
