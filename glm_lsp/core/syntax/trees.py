"""Trees: parsing, incremental edits, walks that never recurse.

A tree holds about thirty times the file's size, so callers keep trees of open documents only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tree_sitter import Node, Parser, Tree, TreeCursor

from glm_lsp.core.syntax.languages import grammar, supported
from glm_lsp.core.text import common_end, common_start
from glm_lsp.core.values import Span

CHUNK_BYTES = 1 << 16
WHOLE_BYTES = 1 << 17
"""Up to this size a file is parsed in one go, which holds the interpreter's lock for ten milliseconds."""


class Halted(Exception):  # noqa: N818 (reads as the state that it is)
    """The caller's `halt` said so."""


def parse(
    data: bytes, language: str, old: Tree | None = None, halt: Callable[[], bool] | None = None
) -> Tree | None:
    """The syntax tree of `data`; None without a grammar.

    `old` is a tree that `edited` has moved to the new text: only what changed is parsed again. Large files
    are read by callback, so that other threads run in between. `halt` is asked now and then; when it says
    yes, `Halted` is raised.
    """
    if not supported(language):
        return None
    parser = Parser(grammar(language))
    if halt is None and len(data) <= WHOLE_BYTES:
        return parser.parse(data, old) if old else parser.parse(data)

    def read(offset: int, point: object) -> bytes:
        return data[offset : offset + CHUNK_BYTES]

    def stop(offset: int, has_error: bool) -> bool:
        return halt is not None and halt()

    try:
        if old:
            return parser.parse(read, old, progress_callback=stop)
        return parser.parse(read, progress_callback=stop)
    except ValueError:
        if halt is not None and halt():
            raise Halted from None
        raise


def patience(size: int) -> Callable[[], bool]:
    """A `halt` that gives ordinary code ten times the steps that it needs, and hostile code no more."""
    left = iter(range(1000 + size // 8))
    return lambda: next(left, None) is None


def reparse(
    tree: Tree, old: bytes, new: bytes, language: str, halt: Callable[[], bool] | None = None
) -> Tree | None:
    """The syntax tree of `new`, the same as `parse` gives, made from the tree of `old` where that is quicker.

    Where the text is broken an incremental parse may mend it in another place than a full one: then the file
    is parsed in full, and at once where it was broken before, because most often it still is.
    """
    if tree.root_node.has_error:
        return parse(new, language, halt=halt)
    found = parse(new, language, edited(tree, old, new), halt)
    return parse(new, language, halt=halt) if found is not None and found.root_node.has_error else found


def edited(tree: Tree, old: bytes, new: bytes) -> Tree:
    """A copy of `tree`, made of `old`, with its positions moved to `new`; parse with it to update.

    The difference is taken as one edit between the common prefix and the common suffix.
    """
    start = common_start(old, new)
    tail = common_end(old, new, min(len(old), len(new)) - start)
    old_end, new_end = len(old) - tail, len(new) - tail
    moved = tree.copy()
    moved.edit(start, old_end, new_end, _point(old, start), _point(old, old_end), _point(new, new_end))
    return moved


def _point(data: bytes, offset: int) -> tuple[int, int]:
    return data.count(b"\n", 0, offset), offset - (data.rfind(b"\n", 0, offset) + 1)


def walk(node: Node, into: Callable[[Node], bool] | None = None) -> Iterator[Node]:
    """`node` and what is under it, parents first. `into` says whose children are visited: all by default."""
    cursor: TreeCursor = node.walk()
    while True:
        here = cursor.node
        if here is not None:
            yield here
            if (into is None or into(here)) and cursor.goto_first_child():
                continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return


def text_of(data: bytes, node: Node) -> str:
    """The node's text. Not `node.text`, which asks the parser's callback for a whole chunk each time."""
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")


def chain(tree: Tree, offset: int) -> list[Node]:
    """The nodes that hold byte `offset`, from the root to the leaf.

    At a border between two nodes the later one is taken; a node that ends at `offset` counts only at the end
    of its parent.
    """
    cursor = tree.walk()
    found: list[Node] = []
    while True:
        here = cursor.node
        if here is not None:
            found.append(here)
        if cursor.goto_first_child_for_byte(offset) is None:
            return found
        below = cursor.node
        if below is None or below.start_byte > offset:
            return found


def errors(data: bytes, language: str, tree: Tree | None = None) -> tuple[Span, ...]:
    """Where the text is not of its language: ERROR nodes, outermost only, and the places of MISSING ones.

    Empty without a grammar: ask `supported` first. A text that `checked` knows nothing about is one error.
    """
    found = checked(data, language, tree)
    return found if found is not None else (Span(0, len(data)),)


def checked(data: bytes, language: str, tree: Tree | None = None) -> tuple[Span, ...] | None:
    """Like `errors`; None for a text that takes the parser many times as long as others, so that nobody
    waits for it: some texts of 50 KB would take it minutes."""
    try:
        tree = tree or parse(data, language, halt=patience(len(data)))
    except Halted:
        return None
    if tree is None:
        return ()
    return tuple(
        Span(node.start_byte, node.end_byte)
        for node in walk(tree.root_node, lambda n: n.has_error and not n.is_error)
        if node.is_error or node.is_missing
    )


def soon(data: bytes, language: str) -> Tree | None:
    """The syntax tree; None without a grammar, and for a text that takes the parser too long."""
    try:
        return parse(data, language, halt=patience(len(data)))
    except Halted:
        return None
