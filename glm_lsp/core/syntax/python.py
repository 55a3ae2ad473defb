"""The outline of a Python file: its definitions, imports and uses of names.

One walk, no recursion and no tree-sitter query: a query never ends on a file that nests deeper
than 65,535 and takes quadratic time on a wide error node, and it cannot be stopped from outside; the walk is
linear, stops when asked, lets other threads run, and is no slower.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from tree_sitter import Node, Tree

from glm_lsp.core.references import References
from glm_lsp.core.syntax.languages import grammar
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.pysymbols import docstring, imports_of, moved, symbol_of
from glm_lsp.core.syntax.trees import Halted
from glm_lsp.core.syntax.variables import alias_name, variables
from glm_lsp.core.values import Export, Import, Reference, Symbol, SymbolKind

DOTTED = re.compile(rb"[\w\x80-\xff]+(?:\.[\w\x80-\xff]+)+")
QUALIFIER_BYTES = 80
"""A longer expression before the dot, or one that is no dotted name, is written as `OTHER`."""
OTHER = "…"
OTHER_BYTES = OTHER.encode()


REMEMBERED_DEPTH = 4
"""Definitions that stand deeper are not remembered by themselves: each level holds the text once more."""
HALT_NODES = 4096
"""`halt` is asked once for so many nodes."""
WIDE = 1000
"""Of a node with more children there are not as many objects at a time."""


@dataclass(slots=True)
class _Scope:
    """A definition while the file is walked; the module's own code is the scope without a symbol."""

    symbol: Symbol | None
    parent: _Scope | None
    end: int
    bound: set[bytes] = field(default_factory=set[bytes])
    uses: dict[tuple[bytes, bytes], int] = field(default_factory=dict[tuple[bytes, bytes], int])
    """Name and qualifier, and where they stand first, less `moved`."""
    moved: int = 0
    depth: int = 0


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
    walk.run(tree, halt)
    walk.remember()
    symbols = [*walk.symbols, *variables(tree.root_node, data, walk.symbols)]
    symbols.sort(key=lambda s: (s.span.start, -s.span.end))
    return Facts(tuple(symbols), walk.references(), tuple(walk.imports), docstring(data, tree.root_node))


def definitions(tree: Tree, data: bytes, halt: Callable[[], bool] | None = None) -> tuple[Symbol, ...]:
    """The classes and functions that `read` finds, in a tenth of its time: expressions are passed over."""
    walk = _Walk(data)
    walk.run(tree, halt, _definition_handlers())
    return tuple(sorted(walk.symbols, key=lambda s: (s.span.start, -s.span.end)))


IDENTIFIERS_BOUND = frozenset(
    {
        "parameters", "lambda_parameters", "typed_parameter", "list_splat_pattern",
        "dictionary_splat_pattern", "as_pattern_target", "pattern_list", "tuple_pattern", "list_pattern",
    }
)  # fmt: skip
"""Nodes whose own identifiers are names that a parameter list or a statement binds."""

FIELD_BOUND = {
    "default_parameter": "name",
    "typed_default_parameter": "name",
    "named_expression": "name",
    "assignment": "left",
    "for_statement": "left",
    "for_in_clause": "left",
}
"""Nodes that bind the identifier in this field."""

IMPORTS = frozenset({"import_statement", "import_from_statement", "future_import_statement"})

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
    "with_clause", "case_pattern", "list", "tuple", "dictionary",
}  # fmt: skip
"""The commonest nodes under which no class or function can stand in a file without errors."""


class _Walk:
    """One pass over a tree, parents before children."""

    def __init__(self, data: bytes, memo: Memo | None = None) -> None:
        self.data = data
        self._memo = memo
        self._read: list[tuple[Hashable, Node, int, int]] = []
        """Definitions to be remembered: their keys, and which scope and import are their first."""
        self._imported: list[int] = []
        """Where the imports stand."""
        self.symbols: list[Symbol] = []
        self.imports: list[Import] = []
        self._scope = _Scope(None, None, len(data) + 1)
        self._scopes = [self._scope]
        self._decorated: dict[int, Node] = {}
        self._bound: set[int] = set()
        self._names: set[int] = set()
        """Places of identifiers that are no uses: definitions, labels, names after a dot."""

    def run(self, tree: Tree, halt: Callable[[], bool] | None, handlers: Handlers | None = None) -> None:
        """Visit every node. `handlers` has what to do with the few kinds that matter, all by default.

        All named children of a node in one step: one by one they take twice as long.
        """
        get = (handlers or _handlers()).get
        pending: list[Node | None] = [tree.root_node]
        wide: list[Iterator[Node]] = []
        left = HALT_NODES
        while pending:
            node = pending.pop()
            if node is None:  # the next one of a wide node
                node = next(wide[-1], None)
                if node is None:
                    wide.pop()
                    continue
                pending.append(None)
            left -= 1
            if not left:
                left = HALT_NODES
                if halt is not None and halt():
                    raise Halted
            handler = get(node.kind_id, _visit)
            # The first comparison is for speed: most nodes are of no interest but for what is below them.
            if handler is _visit or (handler is not None and handler(self, node)):
                if node.child_count > WIDE:
                    pending.append(None)
                    wide.append(_children(node))
                else:
                    children = node.named_children
                    children.reverse()
                    pending += children

    def _bind(self, node: Node | None) -> None:
        if node is not None and node.type == "identifier":
            self._bound.add(node.start_byte)

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
        self._names.add(name.start_byte)
        outer = self._decorated.pop(node.start_byte, node)
        scope = self._owner(node.start_byte)
        if self._memo is not None and scope.depth < REMEMBERED_DEPTH and not node.has_error:
            kind = scope.symbol.kind if scope.symbol is not None else None
            key = self.data[node.start_byte : node.end_byte], node.start_point.column, kind
            if (kept := self._memo.get(key)) is not None:
                self._again(kept, outer, scope)
                return False
            self._read.append((key, node, len(self._scopes), len(self.imports)))
        symbol = symbol_of(self.data, node, name, outer, scope.symbol)
        self.symbols.append(symbol)
        self._scope = _Scope(symbol, scope, outer.end_byte, depth=scope.depth + 1)
        self._scopes.append(self._scope)
        return True

    def _again(self, kept: tuple[Sequence[_Scope], Sequence[Import]], outer: Node, parent: _Scope) -> None:
        """A definition that an earlier text had too, where it stands now; `outer` has its decorators."""
        scopes, imports = kept
        self.imports += imports
        self._imported += [outer.start_byte] * len(imports)
        now: dict[int, _Scope] = {}
        by = down = 0
        for scope in scopes:
            if (symbol := scope.symbol) is None:
                continue
            around = now[id(scope.parent)] if now else parent
            if not now:
                by, down = outer.end_byte - symbol.span.end, outer.end_point.row - symbol.end_line
            symbol = moved(symbol, by, down, around.symbol, None if now else outer)
            mine = _Scope(
                symbol, around, scope.end + by, scope.bound, scope.uses, scope.moved + by, around.depth + 1
            )
            now[id(scope)] = mine
            self.symbols.append(symbol)
            self._scopes.append(mine)

    def remember(self) -> None:
        """Keep what was read for the next text."""
        if self._memo is None:
            return
        self._memo.begin(len(self.data))
        starts = [s.symbol.span.start if s.symbol is not None else -1 for s in self._scopes]
        for key, node, scope, first in self._read:
            last = bisect_left(starts, node.end_byte, scope)
            imports = self.imports[first : bisect_left(self._imported, node.end_byte, first)]
            self._memo.keep(key, (self._scopes[scope:last], imports), node.end_byte - node.start_byte)

    def decorated(self, node: Node) -> bool:
        """A definition with decorators: they belong to its span."""
        inner = node.child_by_field_name("definition")
        if inner is not None:
            self._decorated[inner.start_byte] = node
        return True

    def bind_field(self, node: Node) -> bool:
        """A statement that binds the name in one of its fields."""
        bound = node.child_by_field_name(FIELD_BOUND[node.type])
        if bound is not None and bound.type == "identifier":
            self._bound.add(bound.start_byte)
        return True

    def alias(self, node: Node) -> bool:
        """A statement that gives a type a name."""
        self._bind(alias_name(node))
        return True

    def bind_children(self, node: Node) -> bool:
        """A list of names that are bound."""
        for child in node.named_children:
            self._bind(child)
        return True

    def string(self, node: Node) -> bool:
        """Only a string with a brace in it can hold names."""
        return self.data.find(b"{", node.start_byte, node.end_byte) >= 0

    def label(self, node: Node) -> bool:
        """A name that belongs to what is called or matched, not to this file."""
        self._names.add(node.start_byte)
        return True

    def imported(self, node: Node) -> bool:
        """An import statement; the names in it are no uses."""
        self.imports.extend(imports_of(self.data, node))
        self._imported += [node.start_byte] * (len(self.imports) - len(self._imported))
        return False

    def identifier(self, node: Node) -> bool:
        """A name, unless what stands around it has said that it is none."""
        start = node.start_byte
        scope = self._scope
        if scope.end <= start:
            scope = self._owner(start)
        name = self.data[start : node.end_byte]
        if start in self._bound:
            scope.bound.add(name)
        elif start not in self._names:
            scope.uses.setdefault((name, b""), start)
        return False

    def attribute(self, node: Node) -> bool:
        start, end = node.start_byte, node.end_byte
        dotted = self.data[start:end] if end - start <= QUALIFIER_BYTES else b""
        if DOTTED.fullmatch(dotted):
            self._dotted(dotted, start)
            return False
        name = node.child_by_field_name("attribute")
        if name is None:
            return True
        at, end = name.start_byte, name.end_byte
        if at < end:
            self._names.add(at)
            # What stands before the dot may use the same name, and is visited later.
            uses, use = self._owner(start).uses, (self.data[at:end], OTHER_BYTES)
            uses[use] = min(at, uses.get(use, at))
        return True

    def _dotted(self, dotted: bytes, start: int) -> None:
        """The uses in `a.b.c`, without a look at the nodes below it."""
        scope = self._owner(start)
        uses, dot = scope.uses, dotted.index(b".")
        if start in self._bound:
            scope.bound.add(dotted[:dot])
        elif start not in self._names and (dotted[:dot], b"") not in uses:
            uses[dotted[:dot], b""] = start
        while dot >= 0:
            after = dotted.find(b".", dot + 1)
            use = dotted[dot + 1 : after if after >= 0 else None], dotted[:dot]
            if use not in uses:
                uses[use] = start + dot + 1
            dot = after

    def references(self) -> References:
        """Uses of names, after the walk: only then is it known what each function binds."""
        found = [
            (start + scope.moved, name, qualifier)
            for scope in self._scopes
            for (name, qualifier), start in scope.uses.items()
            if (qualifier or not _local(name, scope)) and _is_text(name)
        ]
        found.sort()
        table: dict[bytes, int] = {b"": 0}
        names, qualifiers = array("I"), array("I")
        for _, name, qualifier in found:
            names.append(table.setdefault(name, len(table)))
            qualifiers.append(table.setdefault(qualifier, len(table)))
        texts = [name.decode("utf-8", "replace") for name in table]
        return References(texts, names, qualifiers, [start for start, _, _ in found])


def _is_text(name: bytes) -> bool:
    """Whether a name is UTF-8: of a broken one the length would not be known."""
    if name.isascii():
        return True
    try:
        return bool(name.decode())
    except UnicodeDecodeError:
        return False


def _children(node: Node) -> Iterator[Node]:
    """The named children, one at a time."""
    cursor = node.walk()
    more = cursor.goto_first_child()
    while more:
        if (child := cursor.node) is not None and child.is_named:
            yield child
        more = cursor.goto_next_sibling()


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
        "identifier": _Walk.identifier,
        "attribute": _Walk.attribute,
        "function_definition": _Walk.definition,
        "class_definition": _Walk.definition,
        "decorated_definition": _Walk.decorated,
        "keyword_argument": _Walk.label,
        "keyword_pattern": _Walk.label,
        "string": _Walk.string,
        "type_alias_statement": _Walk.alias,
        **dict.fromkeys(FIELD_BOUND, _Walk.bind_field),
        **dict.fromkeys(IDENTIFIERS_BOUND, _Walk.bind_children),
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


def _local(name: bytes, scope: _Scope | None) -> bool:
    """Whether a function around the place binds the name itself."""
    while scope is not None and scope.symbol is not None:
        if name in scope.bound and scope.symbol.kind is not SymbolKind.CLASS:
            return True
        scope = scope.parent
    return False
