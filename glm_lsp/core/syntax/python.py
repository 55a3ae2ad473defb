"""The outline of a Python file: its definitions, imports and uses of names.

One walk over its statements with a cursor, no recursion and no tree-sitter query: a query never ends on a
file that nests deeper than 65,535 and takes quadratic time on a wide error node, and it cannot be stopped
from outside; the walk is linear, stops when asked and passes over expressions, most of a tree. What they use
is found in the text (`uses`).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tree_sitter import Node, Tree

from glm_lsp.core.syntax.languages import grammar
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.pysymbols import docstring, imports_of, moved, symbol_of
from glm_lsp.core.syntax.trees import Halted
from glm_lsp.core.syntax.uses import uses
from glm_lsp.core.syntax.variables import variables
from glm_lsp.core.values import Export, Import, Reference, Span, Symbol, SymbolKind

PLAIN_PARAMETERS = re.compile(rb"\((?:[\w\s*,=.\x80-\xff])*\)")
PARAMETER = re.compile(rb"[(,][\s*]*([A-Za-z_\x80-\xff][\w\x80-\xff]*)")
"""Of such a list."""
REMEMBERED_DEPTH = 2
"""Definitions that stand deeper are not remembered by themselves: each level holds the text once more."""
HALT_NODES = 4096
"""`halt` is asked once for so many nodes."""


@dataclass(slots=True)
class _Scope:
    """A definition while the file is walked; the module's own code is the scope without a symbol."""

    symbol: Symbol | None
    parent: _Scope | None
    end: int
    bound: set[bytes] = field(default_factory=set[bytes])
    depth: int = 0


_Inert = tuple[int, int, Sequence[Import]]
"""Text from one place to another that is no use of a name, and what it imports."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What `read` finds; all in the order of the file."""

    symbols: tuple[Symbol, ...]
    references: Sequence[Reference]
    imports: tuple[Import, ...]
    docstring: str
    exports: tuple[Export, ...] = ()


def read(tree: Tree, data: bytes, halt: Callable[[], bool] | None = None, memo: Memo | None = None) -> Facts:
    """Everything the outline needs from one tree.

    A reference is listed once for each definition that makes it (or once for the module's own code);
    parameters and local variables of functions are not references. Raises `Halted` when `halt` says so.
    """
    walk = _Walk(data, memo)
    walk.run(tree, halt, _handlers())
    walk.remember()
    symbols = [*walk.symbols, *variables(tree.root_node, data, walk.symbols)]
    symbols.sort(key=lambda s: (s.span.start, -s.span.end))
    inert = [Span(start, end) for start, end, _ in walk.inert]
    return Facts(
        symbols=tuple(symbols),
        references=uses(data, "python", symbols, inert, halt, memo=memo, bound=walk.bound()),
        imports=tuple(one for _, _, imports in walk.inert for one in imports),
        docstring=docstring(data, tree.root_node),
    )


def definitions(tree: Tree, data: bytes, halt: Callable[[], bool] | None = None) -> tuple[Symbol, ...]:
    """The classes and functions that `read` finds, in a tenth of its time: expressions are passed over."""
    walk = _Walk(data)
    walk.run(tree, halt, _definition_handlers())
    return tuple(sorted(walk.symbols, key=lambda s: (s.span.start, -s.span.end)))


TARGETS = frozenset(
    {
        "parameters", "typed_parameter", "list_splat_pattern", "dictionary_splat_pattern",
        "as_pattern_target", "pattern_list", "tuple_pattern", "list_pattern",
    }
)  # fmt: skip
"""Nodes that bind the names that they are made of."""

NAMED = frozenset({"default_parameter", "typed_default_parameter"})
"""Nodes that bind the name in their field `name`."""

IMPORTS = frozenset({"import_statement", "import_from_statement", "future_import_statement"})
WORDS = frozenset(
    {"match_statement", "case_clause", "type_alias_statement", "print_statement", "exec_statement"}
)
"""Statements that begin with a word that might be a name."""

LEAVES = frozenset(
    {
        "comment", "integer", "float", "true", "false", "none", "ellipsis", "pass_statement",
        "break_statement", "continue_statement", "line_continuation",
    }
)  # fmt: skip
"""Nodes with nothing of interest below them."""

WITHOUT_DEFINITIONS = IMPORTS | {
    "expression_statement", "return_statement", "raise_statement", "assert_statement", "delete_statement",
    "comment", "decorator", "parameters", "argument_list", "type", "identifier", "attribute", "subscript",
    "call", "string", "boolean_operator", "comparison_operator", "not_operator", "binary_operator",
    "case_pattern", "list", "tuple", "dictionary", "conditional_expression", "lambda", "list_comprehension",
    "generator_expression", "parenthesized_expression", "unary_operator", "await", "global_statement",
    "nonlocal_statement",
}  # fmt: skip
"""The commonest nodes under which no class or function can stand in a file without errors."""


class _Walk:
    """One pass over a tree, parents before children."""

    def __init__(self, data: bytes, memo: Memo | None = None) -> None:
        self.data = data
        self._memo = memo
        self._read: list[tuple[Hashable, Node, int, int]] = []
        """Definitions to be remembered: their keys, and which scope and inert text are their first."""
        self.symbols: list[Symbol] = []
        self.inert: list[_Inert] = []
        self._scope = _Scope(None, None, len(data) + 1)
        self._scopes = [self._scope]
        self._decorated: dict[int, Node] = {}

    def run(self, tree: Tree, halt: Callable[[], bool] | None, handlers: Handlers) -> None:
        """Visit the nodes. `handlers` has what to do with the kinds that matter."""
        cursor = tree.walk()
        down, on, up = cursor.goto_first_child, cursor.goto_next_sibling, cursor.goto_parent
        left = HALT_NODES
        while True:
            node = cursor.node
            if node is None:
                return
            left -= 1
            if not left:
                left = HALT_NODES
                if halt is not None and halt():
                    raise Halted
            handler = handlers.get(node.kind_id, _visit)
            # The first comparison is for speed: most nodes are of no interest but for what is below them.
            if (handler is _visit or (handler is not None and handler(self, node))) and down():
                continue
            while not on():
                if not up():
                    return

    def bound(self) -> dict[int, frozenset[bytes]]:
        """The names that statements of functions bind, by the place of the function's name."""
        return {
            scope.symbol.name_span.start: frozenset(scope.bound)
            for scope in self._scopes
            if scope.symbol is not None and scope.bound
        }

    def _bind(self, target: Node | None) -> None:
        """Note the names that a target binds."""
        if target is None:
            return
        data, scope = self.data, self._owner(target.start_byte)
        local = scope.symbol is not None and scope.symbol.kind is not SymbolKind.CLASS
        pending = [target]
        while pending:
            node = pending.pop()
            kind = node.type
            if kind == "identifier":
                start, end = node.start_byte, node.end_byte
                if local:
                    scope.bound.add(data[start:end])
                else:
                    self.inert.append((start, end, ()))
            elif kind in TARGETS:
                pending += node.named_children[:1] if kind == "typed_parameter" else node.named_children
            elif kind in NAMED and (name := node.child_by_field_name("name")) is not None:
                pending.append(name)

    def _owner(self, offset: int) -> _Scope:
        scope = self._scope
        while scope.end <= offset and scope.parent is not None:
            scope = scope.parent
        self._scope = scope
        return scope

    def definition(self, node: Node) -> bool:
        """A class or function opens a scope."""
        name = node.child_by_field_name("name")
        if name is None or name.start_byte == name.end_byte:
            return True
        outer = self._decorated.pop(node.start_byte, node)
        scope = self._owner(node.start_byte)
        if self._memo is not None and scope.depth < REMEMBERED_DEPTH and not node.has_error:
            kind = scope.symbol.kind if scope.symbol is not None else None
            key = self.data[node.start_byte : node.end_byte], node.start_point.column, kind
            if (kept := self._memo.get(key)) is not None:
                self._again(kept, outer, scope)
                return False
            self._read.append((key, node, len(self._scopes), len(self.inert)))
        symbol = symbol_of(self.data, node, name, outer, scope.symbol)
        self.symbols.append(symbol)
        self._scope = _Scope(symbol, scope, outer.end_byte, depth=scope.depth + 1)
        self._scopes.append(self._scope)
        return True

    def _again(self, kept: tuple[Sequence[_Scope], Sequence[_Inert]], outer: Node, parent: _Scope) -> None:
        """A definition that an earlier text had too, where it stands now; `outer` has its decorators."""
        scopes, inert = kept
        now: dict[int, _Scope] = {}
        by = down = 0
        for scope in scopes:
            if (symbol := scope.symbol) is None:
                continue
            around = now[id(scope.parent)] if now else parent
            if not now:
                by, down = outer.end_byte - symbol.span.end, outer.end_point.row - symbol.end_line
            symbol = moved(symbol, by, down, around.symbol, None if now else outer)
            mine = _Scope(symbol, around, scope.end + by, scope.bound, around.depth + 1)
            now[id(scope)] = mine
            self.symbols.append(symbol)
            self._scopes.append(mine)
        self.inert += [(start + by, end + by, imports) for start, end, imports in inert]

    def remember(self) -> None:
        """Keep what was read for the next text."""
        if self._memo is None:
            return
        self._memo.begin(len(self.data))
        starts = [s.symbol.span.start if s.symbol is not None else -1 for s in self._scopes]
        places = [start for start, _, _ in self.inert]
        for key, node, scope, first in self._read:
            last = bisect_left(starts, node.end_byte, scope)
            inert = self.inert[first : bisect_left(places, node.end_byte, first)]
            self._memo.keep(key, (self._scopes[scope:last], inert), node.end_byte - node.start_byte)

    def decorated(self, node: Node) -> bool:
        """A definition with decorators: they belong to its span."""
        inner = node.child_by_field_name("definition")
        if inner is not None:
            self._decorated[inner.start_byte] = node
        return True

    def function(self, node: Node) -> bool:
        """A function: its parameters are bound in it."""
        number = len(self._scopes)
        if not self.definition(node) or len(self._scopes) == number:
            return len(self._scopes) == number and node.has_error
        if (parameters := node.child_by_field_name("parameters")) is not None:
            text = self.data[parameters.start_byte : parameters.end_byte]
            if PLAIN_PARAMETERS.fullmatch(text):
                self._scope.bound.update(PARAMETER.findall(text))
            else:
                self._bind(parameters)
        return True

    def assigned(self, node: Node) -> bool:
        """A statement that may be an assignment, or several in one."""
        inner = node.named_child(0) if node.named_child_count else None
        while inner is not None and inner.type == "assignment":
            self._bind(inner.child_by_field_name("left"))
            inner = inner.child_by_field_name("right")
        return node.has_error

    def loop(self, node: Node) -> bool:
        """A `for`."""
        self._bind(node.child_by_field_name("left"))
        return True

    def target(self, node: Node) -> bool:
        """What follows `as`."""
        self._bind(node)
        return False

    def word(self, node: Node) -> bool:
        """A statement whose first word is no name."""
        if node.child_count:
            self.inert.append((node.start_byte, node.child(0).end_byte, ()))
        return True

    def imported(self, node: Node) -> bool:
        """An import statement; the names in it are no uses."""
        self.inert.append((node.start_byte, node.end_byte, tuple(imports_of(self.data, node))))
        return False


def _visit(walk: _Walk, node: Node) -> bool:
    """A node that says nothing itself."""
    return True


def _broken(walk: _Walk, node: Node) -> bool:
    """What holds no definitions, unless the parser lost its way in it."""
    return node.has_error


Handlers = dict[int, Callable[[_Walk, Node], bool] | None]
"""What to do with a node, by the number of its kind; each says whether to visit its children.

None: punctuation and keywords, which have no children.
"""


@cache
def _handlers() -> Handlers:
    by_type: dict[str, Callable[[_Walk, Node], bool] | None] = {
        **dict.fromkeys(LEAVES),
        **dict.fromkeys(WITHOUT_DEFINITIONS, _broken),
        "function_definition": _Walk.function,
        "class_definition": _Walk.definition,
        "decorated_definition": _Walk.decorated,
        "expression_statement": _Walk.assigned,
        "for_statement": _Walk.loop,
        "as_pattern_target": _Walk.target,
        **dict.fromkeys(WORDS, _Walk.word),
        **dict.fromkeys(IMPORTS, _Walk.imported),
    }
    return _by_number(by_type)


@cache
def _definition_handlers() -> Handlers:
    by_type: dict[str, Callable[[_Walk, Node], bool] | None] = {
        **dict.fromkeys(LEAVES),
        **dict.fromkeys(WITHOUT_DEFINITIONS, _broken),
        "function_definition": _Walk.definition,
        "class_definition": _Walk.definition,
        "decorated_definition": _Walk.decorated,
    }
    return _by_number(by_type)


def _by_number(by_type: Mapping[str, Callable[[_Walk, Node], bool] | None]) -> Handlers:
    """One type may have several numbers."""
    language = grammar("python")
    handlers: Handlers = {}
    for number in range(language.node_kind_count):
        if not language.node_kind_is_named(number):
            handlers[number] = None
        elif (kind := language.node_kind_for_id(number)) in by_type:
            handlers[number] = by_type[kind or ""]
    return handlers
