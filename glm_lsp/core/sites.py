"""Where a text speaks of a definition: each occurrence of its name, judged.

Pure. An occurrence that imports, scopes and types tell to be the definition is certain, one that they tell to
be something else is left out. What remains is uncertain, and says why.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice

from tree_sitter import Node, Tree

from glm_lsp.core import spoken
from glm_lsp.core.graph import SELVES, Graph, Target
from glm_lsp.core.receivers import BUILTIN_MEMBERS, OTHER, OUTSIDE, Types, before
from glm_lsp.core.site import Part, Site, Wanted
from glm_lsp.core.syntax import Halted, parse
from glm_lsp.core.syntax.languages import row
from glm_lsp.core.syntax.trees import patience
from glm_lsp.core.values import OWNERS, Document, Span, Symbol, SymbolKind

_IMPORTS = frozenset(
    {
        *("import_statement", "import_from_statement", "future_import_statement", "import_declaration"),
        *("import_clause", "import_specifier", "namespace_import", "export_specifier", "export_clause"),
        *("use_declaration", "using_declaration", "import_spec"),
    }
)
_IMPLICIT_SELF = frozenset({"java", "cpp", "csharp", "kotlin", "swift", "scala", "ruby"})
_SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})
_LINKED = re.compile(rb"(?:\{@link(?:code|plain)?\s+|@see\s+|:(?:class|func|meth|attr|exc|data|obj):`[~.]?)$")
_KEYS = frozenset({"keyword_argument", "pair", "keyword_pattern", "keyed_element", "labeled_statement"})
_COMMANDS = frozenset({"shellscript", "makefile", "dockerfile"})
_PYTHON = (".py", ".pyi")
_QUOTES = (b'"', b"'", b"`")
_MOST_CLIMB = 6
_MOST_OWNERS = 12
"""Classes of one name that are asked whether they have a member."""
_DOTTED = re.compile(rb"[\w$]+(?:\.[\w$]+)*")


def find(graph: Graph, types: Types, wanted: Wanted, document: Document, tree: Tree | None) -> list[Site]:
    """The places of one file, in order. `tree` is of the document, None where there is no grammar."""
    return list(_File(graph, types, document, tree).sites(wanted))


def tree_of(document: Document) -> Tree | None:
    """The document's tree; None without a grammar, and for a text that takes the parser too long."""
    try:
        return parse(document.data, document.language, halt=patience(len(document.data)))
    except Halted:
        return None


def _resembles(word: str, wanted: Wanted) -> bool:
    """Whether a value is called like a class that the name is a member of."""
    said = word.replace("_", "").lower()
    return len(said) > 2 and any(said in owner.lower() for owner in wanted.owners)


class _File:
    """One file while it is looked through."""

    def __init__(self, graph: Graph, types: Types, document: Document, tree: Tree | None) -> None:
        self.graph, self.types, self.path, self.data = graph, types, document.path, document.data
        self.language, self.tree = document.language, tree
        outline = graph.index.outlines.get(document.path)
        self.known = outline is not None and outline.digest == document.digest
        self.outline = outline
        symbols = outline.symbols if outline and self.known else ()
        self.scopes = [s for s in symbols if s.kind is not SymbolKind.VARIABLE]
        self.starts = [self._begins(s) for s in self.scopes]
        self.names = {s.name_span.start: s for s in symbols}

    def sites(self, wanted: Wanted) -> Iterator[Site]:
        """Every place where the name stands, or an alias of it."""
        prose = row(self.language).prose or not self.language or self.language in _COMMANDS
        bound = self.graph.bindings(self.path)
        aliases = [n for n, t in bound.items() if t in wanted.targets and n != wanted.name and "." not in n]
        for name in (wanted.name, *sorted(aliases)):
            word = name.encode()
            used = None
            for match in re.finditer(
                rb"(?<![\w$\x80-\xff])" + re.escape(word) + rb"(?![\w$\x80-\xff])", self.data
            ):
                start, end = match.span()
                if prose:
                    yield from self._mention(wanted, start, end, in_prose=True)
                    continue
                if used is None:
                    used = self._used(name)
                if name == wanted.name or before(self.data, start) is None:
                    yield from self._judged(wanted, start, end, used)

    def _judged(self, wanted: Wanted, start: int, end: int, used: frozenset[int] | None) -> Iterator[Site]:
        node = self._leaf(start, end)
        if node is not None and (told := self._told(wanted, node, start)) is not None:
            if told:
                yield self._site(start, end, Part.USE, told)
            return
        if (symbol := self.names.get(start)) is not None:
            if Target(self.path, symbol.qualified) in wanted.targets:
                yield self._site(start, end, Part.DEFINITION, f"defines {wanted.shown}", distance=0)
            return
        if node is not None and not node.is_named:
            return  # a word of the language itself
        kind = node.type if node is not None else ""
        words = "comment" in kind or "string" in kind or kind in ("jsx_text", "char_literal", "regex_pattern")
        if words and not (node is not None and self._annotation(node)):
            if node is not None and self._offered(node, end):
                if self.graph.exported(self.path, wanted.name) in wanted.targets:
                    yield self._site(start, end, Part.IMPORT, f"offers {wanted.shown} by name")
                return
            yield from self._mention(wanted, start, end, in_prose="comment" in kind)
            return
        if node is not None and self._within_import(node):
            yield from self._imported(wanted, start, end)
            return
        receiver = before(self.data, start)
        around = self._around(start)
        if receiver is None:
            if self._key(node, start):
                if wanted.variable or (wanted.member and self.language != "python"):
                    yield self._site(start, end, Part.USE, "a key of that name", certain=False, likely=False)
            elif (
                used is None
                or around in used
                or (wanted.member and self.language in _IMPLICIT_SELF)
                or (self.language in _SCRIPTS and not self._bound(around, self.data[start:end]))
            ):
                yield from self._bare(wanted, start, end, around)
        else:
            yield from self._qualified(wanted, start, end, receiver, around)

    def _told(self, wanted: Wanted, node: Node, start: int) -> str | None:
        """Why a string or a key means what is wanted; empty where it means another's, None where neither is
        told."""
        graph, name = self.graph, wanted.name
        if module := spoken.replaced(node, self.data):
            file = graph.module(module, self.path)
            found = graph.exported(file, name) if file else None
            return f"stands in for {wanted.shown}" if found in wanted.targets else None
        around = self._around(start)
        inside = self._class_around(around)
        if owner := spoken.owner(node, self.data):
            target = graph.resolve(self.path, name, owner, inside) if "(" not in owner else None
            if target is None and (kind := self.types.of(self.path, owner, inside, self._scope_text(around))):
                target = graph.member(kind, name)
            return f"names {wanted.shown}" if target in wanted.targets else None
        found = None
        for said in spoken.shapes(node, self.data) if wanted.member else ():
            kind = self.types.named(self.path, said, inside)
            found = (graph.member(kind, name) if kind else None) or found
            if kind and found in wanted.targets:
                return f"a key of an object that is of type {kind.name}"
        return None if found is None else ""

    def _bound(self, around: int, name: bytes) -> bool:
        """Whether a function around a place of a script has a parameter or a variable of that name."""
        word = re.escape(name)
        symbol = self.scopes[around] if around >= 0 else None
        while symbol is not None and symbol.kind not in OWNERS:
            text = self.data[symbol.name_span.end : symbol.span.end]
            declared = (
                rb"\b(?:const|let|var|function|class|infer)\s+(?:[{\[][^}\]]{0,300}\b)?" + word + rb"\b"
            )
            given = (
                rb"[(,{<]\s*(?:\.\.\.)?"
                + word
                + rb"\s*(?:\?\s*)?(?::|=[^=>]|extends\b)|\b"
                + word
                + rb"\s*=>"
            )
            head = self.data[symbol.name_span.end : max(symbol.body.start, symbol.name_span.end)]
            plain = rb"[(,{]\s*(?:\.\.\.)?" + word + rb"\s*[,)}=]"
            if re.search(declared, text) or re.search(given, text) or re.search(plain, head):
                return True
            symbol = self.graph.symbol(Target(self.path, symbol.parent)) if symbol.parent else None
        return False

    @staticmethod
    def _key(node: Node | None, start: int) -> bool:
        """Whether a name is that of an argument, or a key, in place of a value."""
        outer = node.parent if node is not None else None
        first = outer.named_child(0) if outer is not None and outer.type in _KEYS else None
        return first is not None and first.start_byte <= start < first.end_byte

    def _bare(self, wanted: Wanted, start: int, end: int, around: int) -> Iterator[Site]:
        """A name by itself, which the function around it does not bind."""
        name = self.data[start:end].decode("utf-8", "replace")
        inside = self._class_around(around)
        target = self.graph.resolve(self.path, name)
        if inside and self.language in _IMPLICIT_SELF and wanted.member:
            target = self.graph.member(Target(self.path, inside), name) or target
        if target in wanted.targets:
            yield self._site(start, end, Part.USE, f"uses {wanted.shown}")
        elif target is None and wanted.member and inside and self._in_class_body(around):
            if Target(self.path, f"{inside}.{name}") in wanted.targets:
                yield self._site(start, end, Part.USE, f"uses {wanted.shown} in its class")
        elif target is None and not wanted.member and self._unbound(name):
            reason = "the name is not imported in a way that can be followed"
            yield self._site(start, end, Part.USE, reason, certain=False, likely=wanted.others == 0)

    def _qualified(self, wanted: Wanted, start: int, end: int, receiver: str, around: int) -> Iterator[Site]:
        """A name after a dot."""
        inside = self._class_around(around)
        name = wanted.name
        target = None
        if receiver.endswith("()") or receiver.startswith(OTHER):
            head = receiver
        else:
            target = self.graph.resolve(self.path, name, receiver, inside)
            head = receiver.split(".", maxsplit=1)[0]
        if target is None:
            owner = self.types.of(self.path, receiver, inside, self._scope_text(around))
            if owner is OUTSIDE or (head not in SELVES and self.types.outside(self.path, head)):
                return
            if owner is not None:
                target = self.graph.member(owner, name)
                if target is None and (not wanted.member or not self._below(owner, wanted)):
                    return
                if target is None:
                    reason = f"called on {owner.name}, from which a class with {wanted.shown} derives"
                    yield self._site(start, end, Part.USE, reason, certain=False)
                    return
        if target in wanted.targets:
            yield self._site(start, end, Part.USE, f"uses {wanted.shown}")
        elif target is None and wanted.member:
            yield self._unknown(wanted, start, end, receiver)
        elif target is None and not wanted.variable and receiver.rpartition(".")[2] in wanted.modules:
            yield self._site(start, end, Part.USE, "after its module's name", certain=False)

    def _unknown(self, wanted: Wanted, start: int, end: int, receiver: str) -> Site:
        """A use of a member whose receiver is of a class that nothing tells."""
        what = (
            f"the type of {receiver} is not known" if OTHER not in receiver else "the receiver is not known"
        )
        likely = True
        if wanted.others:
            what += f", and {wanted.others + 1} definitions are called {wanted.name}"
            likely = False
        elif wanted.name in BUILTIN_MEMBERS:
            what += f", and built-in types have {wanted.name} too"
            likely = False
        if not likely and _resembles(receiver.removesuffix("()").rpartition(".")[2], wanted):
            likely = True
            what = f"the type of {receiver} is not known, but it is named like {wanted.shown}'s class"
        return self._site(start, end, Part.USE, what, certain=False, likely=likely)

    def _below(self, owner: Target, wanted: Wanted) -> bool:
        """Whether a class with the member derives from `owner`."""
        for target in wanted.targets:
            pending, seen = [Target(target.path, target.name.rpartition(".")[0])], set[Target]()
            while pending and len(seen) < 50:
                kind = pending.pop()
                if kind == owner:
                    return True
                if kind not in seen:
                    seen.add(kind)
                    pending += self.graph.bases(kind)
        return False

    def _imported(self, wanted: Wanted, start: int, end: int) -> Iterator[Site]:
        name = self.data[start:end].decode("utf-8", "replace")
        bound = self.graph.bindings(self.path)
        items = self.outline.imports if self.outline else ()
        shown = {i.alias or i.name for i in items if name in (i.name, i.alias)} | {name}
        if any(bound.get(n) in wanted.targets for n in shown):
            yield self._site(start, end, Part.IMPORT, f"imports {wanted.shown}")
            return
        exports = self.outline.exports if self.outline else ()
        passed = [e for e in exports if name in (e.local, e.name)]
        if any(self.graph.exported(self.path, e.name) in wanted.targets for e in passed):
            yield self._site(start, end, Part.IMPORT, f"passes {wanted.shown} on")
            return
        theirs = any(name in (i.name, i.alias) for i in items)
        if not theirs and self.graph.exported(self.path, name) in wanted.targets:
            yield self._site(start, end, Part.IMPORT, f"passes {wanted.shown} on")

    def _mention(self, wanted: Wanted, start: int, end: int, *, in_prose: bool) -> Iterator[Site]:
        """A name in words or in a string."""
        left = self.data[max(0, start - 200) : start]
        if (
            _LINKED.search(left)
            and not wanted.member
            and self.graph.resolve(self.path, wanted.name) in wanted.targets
        ):
            yield self._site(start, end, Part.MENTION, f"links to {wanted.shown}", distance=2)
            return
        where = "in words" if in_prose else "in a string"
        said = spoken.qualifier(left)
        if said and any(t.path.endswith(_PYTHON) for t in wanted.targets):
            goes_on = self.data[end : end + 1] == b"."
            target, module = spoken.dotted(self.graph, self.path, said, wanted.name, goes_on)
            if target in wanted.targets:
                yield self._site(start, end, Part.MENTION, f"`{said}.{wanted.name}` {where}", distance=2)
                return
            if target is not None and "." in module:
                return
        dotted = re.search(rb"((?:[\w$]+\.)+)$", left)
        begun = left[-1:] in b"\"'`" or left[-2:] in (b"}.", b"}:")  # f"{MODULE}.name"
        quoted = begun and self.data[end : end + 1] in b"\"'`" and left != b""
        if dotted is not None:
            whole = left[: dotted.start()][-1:] in _QUOTES and self.data[end : end + 1] in _QUOTES
            qualifier = dotted[1][:-1].decode("utf-8", "replace")
            last = qualifier.rpartition(".")[2]
            packages = {t.path.rpartition("/")[0].rpartition("/")[2] for t in wanted.targets}
            if last in wanted.owners or (not wanted.member and last in wanted.modules | packages):
                yield self._site(start, end, Part.MENTION, f"`{last}.{wanted.name}` {where}", distance=2)
            elif wanted.member and last not in SELVES:
                called = quoted or self.data[end : end + 1] in (b"(", b"`")
                likely = self._has(last, wanted) or (called and _resembles(last, wanted))
                doubt = f"mentioned {where}" if likely else "may be another's"
                yield self._site(
                    start, end, Part.MENTION, f"`{last}.{wanted.name}`: {doubt}",
                    certain=False, likely=likely, distance=2,
                )  # fmt: skip
            elif whole and last in spoken.users(self.graph, wanted.targets):
                reason = f"`{last}.{wanted.name}` {where}: a file of that name imports it"
                sure = wanted.others == 0
                yield self._site(start, end, Part.MENTION, reason, certain=False, likely=sure, distance=2)
            return
        code = self.data[end : end + 1] == b"(" or quoted or bool(re.search(r"_|[a-z0-9][A-Z]", wanted.name))
        sure = code and wanted.others == 0 and wanted.name not in BUILTIN_MEMBERS
        if code:
            yield self._site(
                start, end, Part.MENTION, f"the name stands {where}", certain=False, likely=sure, distance=2
            )

    def _has(self, word: str, wanted: Wanted) -> bool:
        """Whether a class of that name has the member, by inheritance for one."""
        named = islice(self.graph.each_named(word), _MOST_OWNERS)
        return any(self.graph.member(owner, wanted.name) in wanted.targets for owner in named)

    def _site(
        self,
        start: int,
        end: int,
        part: Part,
        reason: str,
        *,
        certain: bool = True,
        likely: bool = True,
        distance: int = 1,
    ) -> Site:
        around = self._around(start)
        scope = self.scopes[around].qualified if around >= 0 else ""
        line = self.data.count(b"\n", 0, start)
        return Site(self.path, Span(start, end), line, part, scope, reason, certain, likely, distance)

    def _begins(self, symbol: Symbol) -> int:
        """Where a scope begins: decorators belong to the scope around."""
        return symbol.name_span.start if self.language == "python" else symbol.span.start

    def _around(self, offset: int) -> int:
        """The number of the innermost definition around a place; -1: none."""
        at = bisect_right(self.starts, offset) - 1
        while at >= 0:
            if offset < self.scopes[at].span.end:
                return at
            at -= 1
        return -1

    def _used(self, name: str) -> frozenset[int] | None:
        """The scopes that use a bare name which is not their own; None where that is not known."""
        if self.outline is None or not self.known or self.outline.error:
            return None
        return frozenset(
            self._around(r.span.start) for r in self.outline.references if r.name == name and not r.qualifier
        )

    def _class_around(self, around: int) -> str:
        """The qualified name of the class around a scope, by which `self` is understood."""
        symbol = self.scopes[around] if around >= 0 else None
        while symbol is not None:
            if symbol.kind in OWNERS and symbol.kind is not SymbolKind.MODULE:
                return symbol.qualified
            if symbol.kind is SymbolKind.METHOD and symbol.parent:
                return symbol.parent
            symbol = self.graph.symbol(Target(self.path, symbol.parent)) if symbol.parent else None
        return ""

    def _in_class_body(self, around: int) -> bool:
        return around >= 0 and self.scopes[around].kind in OWNERS

    def _scope_text(self, around: int) -> str:
        """The function around a scope, and those around that."""
        symbol = self.scopes[around] if around >= 0 else None
        texts: list[str] = []
        while symbol is not None and symbol.kind not in OWNERS:
            texts.append(self.data[symbol.span.start : symbol.span.end].decode("utf-8", "replace"))
            symbol = self.graph.symbol(Target(self.path, symbol.parent)) if symbol.parent else None
        return texts[-1] if texts else ""

    def _unbound(self, name: str) -> bool:
        """Whether a name may come from somewhere that cannot be seen."""
        if self.types.outside(self.path, name):
            return False
        items = self.outline.imports if self.outline else ()
        return self.language != "python" or any(item.name == "*" for item in items)

    def _leaf(self, start: int, end: int) -> Node | None:
        return self.tree.root_node.descendant_for_byte_range(start, end) if self.tree is not None else None

    @staticmethod
    def _within_import(node: Node) -> bool:
        here: Node | None = node
        for _ in range(_MOST_CLIMB):
            if here is None:
                return False
            if here.type in _IMPORTS:
                return True
            here = here.parent
        return False

    def _offered(self, node: Node, end: int) -> bool:
        """Whether a string is an entry of `__all__`."""
        here: Node | None = node
        for _ in range(_MOST_CLIMB):
            if here is not None and here.type in ("assignment", "augmented_assignment"):
                return (
                    self.data.startswith(b"__all__", here.start_byte) and self.data[end : end + 1] in b"\"'"
                )
            here = here.parent if here is not None else None
        return False

    @staticmethod
    def _annotation(node: Node) -> bool:
        """Whether a string stands where a type does."""
        here: Node | None = node
        for _ in range(4):
            here = here.parent if here is not None else None
            if here is not None and here.type == "type":
                return True
        return False
