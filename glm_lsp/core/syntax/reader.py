"""The outline of a file in any language that has a query: definitions, imports, exports.

A pattern says what it finds by `(#set! is …)`:

- a definition: `class`, `interface`, `enum`, `type`, `module`, `function`, `method`, `variable`, with the
  captures `@node` (all of it), `@name`, and where there are such `@body`, `@end` (where the signature ends),
  `@value` (what may be left out of a signature), `@of` (what it is a member of, if that is not around it),
  `@last` (with which it ends, if that is not its node), `@pattern` (that binds the name among others),
  `@outer` (a statement of which it is the chief part);
  `other-type` and `prototype` give way to what says more about the same name; with `used` the name is that of
  another definition, too;
- `scope`: `@node` holds members of `@name`; it is no definition itself;
- `outer`: `@outer` around the definition called `@name` belongs to it;
- `import`: `@node`, `@module`, `@name`, `@alias`; `export`: `@name`, `@local`, `@module`. What has no capture
  may be a constant: `(#set! name default)`;
- `inert`: `@node` has no uses of names in it; `use`: a whole import of Rust; with `unfold` what the node
  holds is read by one of `unfold.UNFOLDS`, with `shallow` the pattern is looked for among the outermost
  statements only, and with `needs` in files only in whose text that word stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tree_sitter import Node, Tree

from glm_lsp.core.syntax import comments
from glm_lsp.core.syntax.aliases import SIGNATURE_BYTES, of_long_type
from glm_lsp.core.syntax.languages import Row, row
from glm_lsp.core.syntax.matching import Captures, matches
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.trees import Halted, text_of
from glm_lsp.core.syntax.unfold import UNFOLDS
from glm_lsp.core.syntax.uses import uses
from glm_lsp.core.values import OWNERS, Export, Import, Reference, Span, Symbol, SymbolKind

HALT_MATCHES = 512
MOST_NESTING = 16
MOST_SIGNATURE_BYTES = 2000
_KINDS = {
    **{str(kind): kind for kind in SymbolKind},
    "other-type": SymbolKind.TYPE,
    "prototype": SymbolKind.FUNCTION,
}
_WEAK = {"variable": 2, "other-type": 1, "prototype": 1}
"""Where two patterns say something about one name, the one that says more is right."""
_EXPORTS = ("exports", "module.exports")
_PREFIX = re.compile(rb"[ \t]*+(?:(export)\s+)?(?:(default)\s+)?(?:declare\s+)?(?:abstract\s+)?(?:async\s+)?")
_WRAPPERS = ("decorated_definition", "template_declaration")
_ANNOTATIONS = re.compile(rb"(?:@[\w.]+(?:\([^()]{0,200}(?:\([^()]{0,200}\)[^()]{0,200}){0,8}\))?\s*)+")
_OF = re.compile(r"[^\W\d]\w*")


@dataclass(frozen=True, slots=True)
class Facts:
    """What `read` finds; all in the order of the file."""

    symbols: tuple[Symbol, ...]
    references: Sequence[Reference]
    imports: tuple[Import, ...]
    exports: tuple[Export, ...]
    docstring: str


@dataclass(slots=True)
class _Definition:
    """A definition as the query found it; places are bytes of the file."""

    kind: SymbolKind | None
    """None: a scope that is no definition."""
    node: Node
    name: Node
    captures: Captures
    start: int
    end: int
    outer: Node | None = None
    weak: int = 0
    prototype: bool = False
    statement: int = -1
    """Where the statement begins of which it is a part; -1: nowhere else."""


@dataclass(slots=True)
class _Reading:
    row: Row
    data: bytes
    definitions: dict[int, _Definition] = field(default_factory=dict[int, _Definition])
    """By the place of the name."""
    outers: dict[int, Node] = field(default_factory=dict[int, Node])
    by_start: dict[int, int] = field(default_factory=dict[int, int])
    """Places of the names of variables, by where their nodes begin."""
    imports: dict[tuple[int, Import], Span] = field(default_factory=dict[tuple[int, Import], Span])
    exports: dict[Export, int] = field(default_factory=dict[Export, int])
    inert: list[Span] = field(default_factory=list[Span])
    """Statements whose names are no uses, besides imports."""
    used: set[int] = field(default_factory=set[int])
    """Places of names of definitions that are uses as well."""


def read(
    tree: Tree,
    data: bytes,
    language: str,
    halt: Callable[[], bool] | None = None,
    memo: Memo | None = None,
) -> Facts:
    """Everything that the outline of a supported language needs. Raises `Halted` when `halt` says so."""
    reading = _queried(tree, data, language, halt)
    symbols = tuple(_symbols(reading, halt))
    imports = sorted(reading.imports.items(), key=lambda item: item[0][0])
    references = uses(
        data,
        reading.row.lexicon,
        symbols,
        [*(span for _, span in imports), *reading.inert],
        halt,
        memo=memo,
        used=reading.used,
    )
    return Facts(
        symbols=symbols,
        references=references,
        imports=tuple(dict.fromkeys(item for (_, item), _ in imports)),
        exports=tuple(sorted(reading.exports, key=lambda e: (reading.exports[e], e.name))),
        docstring=comments.of_file(data, reading.row),
    )


def definitions(tree: Tree, data: bytes, language: str) -> tuple[Symbol, ...]:
    """The definitions that `read` finds, variables left out."""
    reading = _queried(tree, data, language, None)
    return tuple(s for s in _symbols(reading) if s.kind is not SymbolKind.VARIABLE)


def _queried(tree: Tree, data: bytes, language: str, halt: Callable[[], bool] | None) -> _Reading:
    reading = _Reading(row(language), data)
    left = HALT_MATCHES
    for own, captures in matches(tree, data, language, halt):
        left -= 1
        if not left:
            left = HALT_MATCHES
            if halt is not None and halt():
                raise Halted
        if (unfold := own.get("unfold")) is None:
            _take(reading, own, captures)
            continue
        for what, more in UNFOLDS[unfold](own, captures, data):
            _take(reading, what, more)
    return reading


def _take(reading: _Reading, settings: Mapping[str, str | None], captures: Captures) -> None:
    """Note one match."""
    what = settings.get("is") or ""
    if what in _KINDS or what == "scope":
        name, node = captures["name"][0], captures["node"][0]
        at = name.start_byte if what != "scope" else -1 - node.start_byte
        known = reading.definitions.get(at)
        weak = _WEAK.get(what, 0)
        if name.end_byte > name.start_byte and (known is None or weak < known.weak):
            outer = captures["outer"][0] if "outer" in captures else None
            if what == "variable":
                reading.by_start[node.start_byte] = at
                if "used" in settings:
                    reading.used.add(at)
            reading.definitions[at] = _Definition(
                _KINDS.get(what),
                node,
                name,
                captures,
                node.start_byte,
                _end(reading.data, captures["last"][0] if "last" in captures else node),
                outer,
                weak,
                what == "prototype",
            )
    elif what == "outer":
        reading.outers[captures["name"][0].start_byte] = captures["outer"][0]
    elif what in ("import", "use"):
        node = captures["node"][0]
        span = Span(node.start_byte, node.end_byte)
        if what == "use":
            items = tuple(rust_uses(text_of(reading.data, captures["module"][0])))
        else:
            items = (_import(reading, settings, captures),)
        for item in items:
            reading.imports.setdefault((node.start_byte, item), span)
    elif what == "inert":
        reading.inert.append(Span(captures["node"][0].start_byte, captures["node"][0].end_byte))
    elif what == "export":
        name, local, module = (
            _text(reading.data, settings, captures, key) for key in ("name", "local", "module")
        )
        node = captures["node"][0]
        reading.exports.setdefault(Export(name, local, module), node.start_byte)
        if module:
            reading.inert.append(Span(node.start_byte, node.end_byte))


def _end(data: bytes, node: Node) -> int:
    """Where a node ends, without a line ending that the grammar counts as its own."""
    end = node.end_byte
    return end - 1 if end > node.start_byte and data[end - 1] == 0x0A else end


def _text(data: bytes, settings: Mapping[str, str | None], captures: Captures, key: str) -> str:
    if key in captures:
        node = captures[key][0]
        text = data[node.start_byte : node.end_byte].decode("utf-8", "replace")
        if text.isidentifier() or text.isalnum():
            return text
        return "".join(text.split()).strip("\"'`<>")
    return settings.get(key) or ""


def _name(data: bytes, definition: _Definition) -> str:
    """What a definition is called; an operator of C++ with its signs, or with what it converts to."""
    node = definition.name
    if data.startswith(b"operator", node.start_byte) and node.type in ("operator_name", "operator_cast"):
        words = data[node.start_byte + len("operator") : _converts(node)].decode("utf-8", "replace").split()
        joined = " ".join(words) if node.type == "operator_cast" else "".join(words)
        return f"operator {joined}" if joined[:1].isalpha() else f"operator{joined}"
    return _text(data, {}, definition.captures, "name")


def _converts(node: Node) -> int:
    """Where the type ends to which an operator converts; elsewhere where the node does."""
    here = node.child_by_field_name("declarator") if node.type == "operator_cast" else None
    while here is not None and here.type != "abstract_function_declarator":
        here = here.child_by_field_name("declarator") or (
            here.named_child(0) if here.named_child_count else None
        )
    return here.start_byte if here is not None else node.end_byte


def _import(reading: _Reading, settings: Mapping[str, str | None], captures: Captures) -> Import:
    module, name, alias = (
        _text(reading.data, settings, captures, key) for key in ("module", "name", "alias")
    )
    if name == "mod" and reading.row.id == "rust":
        return Import(f"self::{module}", "", module)
    return Import(module, name, "" if alias == name else alias)


def rust_uses(tree: str) -> Iterator[Import]:
    """The imports of a `use`: `a::{b, c as d, e::*}`."""
    pending = [("", " as ".join("".join(part.split()) for part in re.split(r"\sas\s", tree)), 0)]
    while pending:
        prefix, text, depth = pending.pop()
        head, brace, rest = text.partition("{")
        if brace and depth < MOST_NESTING:
            inner = rest[: rest.rfind("}")] if "}" in rest else rest
            pending += [(prefix + head, part, depth + 1) for part in _split(inner) if part]
            continue
        path, _, alias = (prefix + text).partition(" as ")
        module, _, name = path.rpartition("::")
        if name == "self":
            module, _, name = module.rpartition("::")
        yield Import(module, name, alias) if module else Import(name, "", alias or name)


def _split(text: str) -> Iterator[str]:
    """At the commas outside of braces."""
    depth = start = 0
    for at, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if sign == "," and depth == 0:
            yield text[start:at]
            start = at + 1
    yield text[start:]


def _symbols(reading: _Reading, halt: Callable[[], bool] | None = None) -> Iterator[Symbol]:
    """The definitions as values, in the order of the file, each under the one around it."""
    data, script = reading.data, "ecmascript" in reading.row.queries
    for start, _ in reading.imports:
        if (imported := reading.by_start.get(start)) is not None:
            reading.definitions.pop(imported, None)
    _widen(reading)
    found = sorted(reading.definitions.values(), key=lambda d: (d.start, -d.end, d.name.start_byte))
    around: list[tuple[int, str, SymbolKind | None]] = []
    for number, definition in enumerate(found):
        if halt is not None and number % HALT_MATCHES == 0 and halt():
            raise Halted
        while around and around[-1][0] <= definition.start:
            around.pop()
        name = _name(data, definition)
        method = definition.kind is SymbolKind.METHOD
        owners = [a for a in around if method or a[2] is not SymbolKind.VARIABLE]
        parent, owner = (owners[-1][1], owners[-1][2]) if owners else (None, None)
        if definition.prototype and owner in (SymbolKind.FUNCTION, SymbolKind.METHOD):
            continue  # what looks like one in a body is a variable
        if definition.kind is None:
            last = _OF.findall(name.split("<")[0])
            around.append((definition.end, last[-1] if last else name, SymbolKind.CLASS))
            continue
        if of := definition.captures.get("of"):
            whole = text_of(data, of[0]).removesuffix(".prototype")
            names = _OF.findall(whole.split("<")[0].split("[")[0])
            if script and whole in _EXPORTS:
                reading.exports.setdefault(Export(name, name), definition.start)
                parent = owner = None
            elif names:
                parent, owner = names[-1], SymbolKind.CLASS
        if script and (parent is None or owner is SymbolKind.MODULE):
            _export(reading, definition, name, exported=parent is None)
        symbol = _symbol(reading, definition, name, parent, owner)
        here = (definition.end, symbol.qualified, symbol.kind)
        if symbol.kind is SymbolKind.VARIABLE and around and around[-1][2] is SymbolKind.VARIABLE:
            around[-1] = here  # thousands may stand in one statement, side by side
        else:
            around.append(here)
        yield symbol


def _widen(reading: _Reading) -> None:
    """Give decorators and statements to the definitions that they belong to.

    Of several in one statement (`const a = 1, b = 2`) only the first gets its first word.
    """
    last = -1
    for definition in sorted(reading.definitions.values(), key=lambda d: d.start):
        outer = definition.outer or reading.outers.get(definition.name.start_byte)
        definition.outer = outer
        if outer is None:
            continue
        if outer.child_count > 1 and outer.child(1).type == "(":
            definition.outer = None  # a group, whose members have lines of their own
            continue
        definition.statement = outer.start_byte
        if outer.start_byte == last:
            definition.outer = None
        else:
            definition.start = last = outer.start_byte
            if outer.named_child_count == 1 or outer.type in _WRAPPERS:
                definition.end = outer.end_byte


def _export(reading: _Reading, definition: _Definition, name: str, *, exported: bool) -> None:
    """The words before a definition: `export default` belongs to it."""
    data, at = reading.data, definition.statement if definition.statement >= 0 else definition.start
    if data.startswith(b"export", at):
        prefix = _PREFIX.match(data, at, at + 200)
    else:
        line = max(data.rfind(b"\n", 0, at) + 1, at - 200)
        prefix = _PREFIX.match(data, line, at)
        if prefix is not None and prefix.end() != at:
            prefix = None
        elif prefix is not None and prefix[1] and definition.start == at:
            definition.start = prefix.start(1)
    if exported and prefix is not None and prefix[1]:
        reading.exports.setdefault(Export("default" if prefix[2] else name, name), definition.start)


def _symbol(
    reading: _Reading, definition: _Definition, name: str, parent: str | None, owner: SymbolKind | None
) -> Symbol:
    data, node, captures = reading.data, definition.node, definition.captures
    kind = definition.kind or SymbolKind.CLASS
    if kind is SymbolKind.FUNCTION and owner in OWNERS and owner is not SymbolKind.MODULE:
        kind = SymbolKind.METHOD
    elif kind is SymbolKind.METHOD and parent is None:
        kind = SymbolKind.FUNCTION
    body = captures["body"][0] if "body" in captures else None
    end = definition.end
    first = last = definition.outer or node
    if end < _end(data, last):
        last = captures["last"][0] if "last" in captures else node
    return Symbol(
        name=name,
        kind=kind,
        span=Span(definition.start, end),
        signature=_signature(data, definition, kind, body),
        parent=parent,
        docstring=comments.above(data, definition.start, reading.row),
        name_span=Span(definition.name.start_byte, definition.name.end_byte),
        body=Span(body.start_byte, min(body.end_byte, end)) if body is not None else Span(end, end),
        start_line=(first if definition.start <= first.start_byte else node).start_point.row,
        end_line=last.end_point.row - (last.end_byte > end),
    )


def _signature(data: bytes, definition: _Definition, kind: SymbolKind, body: Node | None) -> str:
    """What a caller must know: the text up to the body, or a short statement as it is."""
    node, captures = definition.node, definition.captures
    start, end = node.start_byte, _end(data, node)
    if kind in (SymbolKind.VARIABLE, SymbolKind.TYPE, SymbolKind.ENUM):
        if definition.outer is not None and definition.outer.type not in _WRAPPERS:
            start, end = definition.start, definition.end
        long = end - start > SIGNATURE_BYTES or data.find(b"\n", start, end) >= 0
        value = captures["value"][0] if "value" in captures else body
        said = of_long_type(data, start, end, value) if long and kind is SymbolKind.TYPE and value else ""
        if said:
            return said
        if long and said is not None:
            end = value.start_byte if value is not None else end
            if "pattern" in captures:
                head = data[start : min(end, start + SIGNATURE_BYTES)].decode("utf-8", "replace")
                return " ".join(head.split()).rstrip(" =") + " = ..."
            end = min(end, start + SIGNATURE_BYTES)
            head = data[start:end].decode("utf-8", "replace").split("\n", 1)[0]
            bare = kind is SymbolKind.ENUM or node.type == "field_declaration"
            more = " ..." if head.startswith("#") else "" if bare else " = ..."
            return head.rstrip(" \r\t\\({=:") + more
    elif "end" in captures:
        end = captures["end"][0].end_byte
    elif body is not None:
        end = body.start_byte
    if definition.outer is not None and definition.outer.type not in _WRAPPERS:
        start = min(start, definition.outer.start_byte)
    if data[start : start + 1] == b"@" and (notes := _ANNOTATIONS.match(data, start, end)):
        start = notes.end()
    text = data[start : min(end, start + MOST_SIGNATURE_BYTES)].decode("utf-8", "replace").rstrip(" \t\r\n;,")
    if body is not None and not text.endswith("=>"):
        text = text.rstrip("{ \t\r\n")
    if definition.name.start_byte >= end:
        text = f"{text} {text_of(data, definition.name)}"
    if "\n" not in text:
        return text.rstrip("\r")
    line = data.rfind(b"\n", 0, start) + 1
    indent = start - line if not data[line:start].strip() else _indent(data[line:start])
    lines = text.split("\n")
    dedented = (one[min(indent, len(one) - len(one.lstrip())) :].rstrip("\r") for one in lines[1:])
    return "\n".join([lines[0].rstrip("\r"), *dedented])


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip())
