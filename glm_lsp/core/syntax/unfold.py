"""What a pattern leaves to be read from its nodes: `(#set! unfold …)` names one of `UNFOLDS`.

A pattern of one or two nodes is compiled and matched many times as fast as one that spells out every shape of
what is in them, and one with a list in it (the names of an import) would take quadratic time on a long list.
Each match becomes several, or none: settings that take the place of the pattern's own, and captures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

from tree_sitter import Node

Captures = Mapping[str, list[Node]]
Settings = Mapping[str, str | None]
Match = tuple[Settings, Captures]

_FUNCTIONS = ("identifier", "field_identifier", "destructor_name", "operator_name")
_DECLARED = ("identifier", "destructor_name", "operator_name")
_CASTS = ("operator_cast",)
_POINTERS = ("pointer_declarator", "reference_declarator")
_DEFAULTED = ("default_method_clause", "delete_method_clause")
_NAMELESS = ("function_expression", "arrow_function", "class")
_PATTERNS = ("object_pattern", "array_pattern")
_VARIABLE: Settings = {"is": "variable"}
_EMBEDDED: Settings = {"is": "variable", "used": ""}
BLANK = 0x5F
MOST_NESTING = 8


def _text(data: bytes, node: Node | None) -> bytes:
    return data[node.start_byte : node.end_byte] if node is not None else b""


def _field(node: Node, name: str, *types: str) -> Node | None:
    """The node of a field, if it is one of these types."""
    found = node.child_by_field_name(name)
    return found if found is not None and found.type in types else None


def fields(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """`(#set! take "name body value?")`: fields of `@node`; without `?` there must be one."""
    node = captures["node"][0]
    found = dict(captures)
    for name, may_miss in _taken(settings["take"] or ""):
        if (child := node.child_by_field_name(name)) is not None:
            found[name] = [child]
        elif not may_miss:
            return
    yield settings, found


@cache
def _taken(text: str) -> tuple[tuple[str, bool], ...]:
    return tuple((word.rstrip("?"), word[-1] == "?") for word in text.split())


def declarators(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The variables of a statement `@outer` of a script."""
    outer = captures["outer"]
    for node in outer[0].named_children:
        name = node.child_by_field_name("name") if node.type == "variable_declarator" else None
        if name is None:
            continue
        value = node.child_by_field_name("value")
        found = {"node": [node], "outer": outer}
        if value is not None:
            found["value"] = [value]
        if name.type == "identifier":
            yield settings, {**found, "name": [name]}
        elif name.type in _PATTERNS and _required(data, value) is None:
            for one in _bound(name):
                yield settings, {**found, "name": [one], "pattern": [name]}


def _bound(pattern: Node) -> Iterator[Node]:
    """The names that a pattern binds: `{ a, b: c, ...rest }`, `[d, [e = 1]]`."""
    pending = [(pattern, 0)]
    while pending:
        node, level = pending.pop()
        kind = node.type
        if kind in ("identifier", "shorthand_property_identifier_pattern"):
            yield node
        elif level > MOST_NESTING:
            continue
        elif kind == "pair_pattern":
            if (value := node.child_by_field_name("value")) is not None:
                pending.append((value, level + 1))
        elif kind in ("assignment_pattern", "object_assignment_pattern"):
            if (left := node.child_by_field_name("left")) is not None:
                pending.append((left, level + 1))
        elif kind in _PATTERNS or kind == "rest_pattern":
            pending += [(child, level + 1) for child in reversed(node.named_children)]


def namespace(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A namespace of TypeScript, and the variables that stand directly in it."""
    yield settings, captures
    for one in captures["body"][0].named_children:
        inner = one.child_by_field_name("declaration") if one.type == "export_statement" else one
        if inner is not None and inner.type in ("lexical_declaration", "variable_declaration"):
            yield from declarators(_VARIABLE, {"outer": [inner]}, data)


def struct(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A type of Go that is a struct, and its fields. An embedded one is called as its type is, which is a use
    of that."""
    yield settings, captures
    for node in captures["body"][0].named_children:
        if node.type != "field_declaration":
            continue
        names = node.children_by_field_name("name")
        for name in names:
            if name.end_byte - name.start_byte > 1 or data[name.start_byte] != BLANK:
                yield _VARIABLE, {"node": [node], "name": [name]}
        here = node.child_by_field_name("type") if not names else None
        for _ in range(MOST_NESTING):
            if here is None or here.type == "type_identifier":
                break
            here = here.child_by_field_name("name" if here.type == "qualified_type" else "type")
        if here is not None and here.type == "type_identifier":
            yield _EMBEDDED, {"node": [node], "name": [here]}


def default(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """What a script exports without a name: a value that is a definition, or the name of what is exported."""
    node = captures["node"][0]
    value = node.child_by_field_name("value")
    kind = value.type if value is not None else ""
    if value is None:
        return
    if kind in _NAMELESS:
        if (body := value.child_by_field_name("body")) is not None:
            yield {"is": "class" if kind == "class" else "function"}, {**captures, "body": [body]}
    elif kind == "object":
        yield _VARIABLE, {**captures, "value": [value]}
    else:
        arguments = _field(value, "arguments", "arguments") if kind == "call_expression" else None
        local = arguments.named_child(0) if arguments is not None and arguments.named_child_count else value
        if local.type == "identifier":
            yield {**settings, "name": "default"}, {"node": [node], "local": [local]}


def specifiers(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The names in the braces `@names` of an import, each with its alias, or of an export: there the name is
    what others see, and `local` what it is here."""
    exported = settings["is"] == "export"
    for one in captures["names"][0].named_children:
        name = one.child_by_field_name("name") if one.type.endswith("port_specifier") else None
        if name is None:
            continue
        alias = one.child_by_field_name("alias")
        if exported:
            yield settings, {**captures, "local": [name], "name": [alias or name]}
        else:
            yield settings, {**captures, "name": [name], **({"alias": [alias]} if alias else {})}


def _required(data: bytes, node: Node | None) -> Node | None:
    """The string in `require("…")`."""
    if node is None or node.type != "call_expression":
        return None
    called = _field(node, "function", "identifier")
    if called is None or _text(data, called) != b"require":
        return None
    arguments = _field(node, "arguments", "arguments")
    if arguments is None or not arguments.named_child_count:
        return None
    first = arguments.named_child(0)
    return first if first.type == "string" else None


def required(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """What is bound by `@node`, a declarator whose value is a `require`: the module, or some of its names."""
    node = captures["node"][0]
    value = node.child_by_field_name("value")
    if value is None or data.find(b"require", value.start_byte, value.end_byte) < 0:
        return
    name = node.child_by_field_name("name")
    if name is None:
        return
    if value.type == "member_expression":
        module, place = (
            _required(data, value.child_by_field_name("object")),
            value.child_by_field_name("property"),
        )
        if module is not None and place is not None and name.type == "identifier":
            yield settings, {"node": [node], "module": [module], "name": [place], "alias": [name]}
        return
    if (module := _required(data, value)) is None:
        return
    found = {"node": [node], "module": [module]}
    if name.type == "identifier":
        yield settings, {**found, "alias": [name]}
    elif name.type == "object_pattern":
        for one in name.named_children:
            if one.type == "shorthand_property_identifier_pattern":
                yield settings, {**found, "name": [one]}
            elif one.type == "pair_pattern":
                key, alias = one.child_by_field_name("key"), _field(one, "value", "identifier")
                if key is not None and alias is not None:
                    yield settings, {**found, "name": [key], "alias": [alias]}


def called(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A statement that is nothing but a `require`."""
    node = captures["node"][0]
    module = _required(data, node.named_child(0) if node.named_child_count else None)
    if module is not None:
        yield settings, {"node": [node], "module": [module]}


def member(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A field of a class of a script; a method if it is a function."""
    node = captures["node"][0]
    name = node.child_by_field_name("name") or node.child_by_field_name("property")
    if name is None:
        return
    found = {"node": [node], "name": [name]}
    value = node.child_by_field_name("value")
    body = value.child_by_field_name("body") if value is not None and value.type == "arrow_function" else None
    if body is not None:
        yield {"is": "method"}, {**found, "body": [body]}
    else:
        yield settings, {**found, "value": [value]} if value is not None else found


def put(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A function that is put into an object: `a.b = function () {…}`."""
    node = captures["node"][0]
    left = _field(node, "left", "member_expression")
    right = _field(node, "right", "function_expression", "arrow_function")
    if left is None or right is None:
        return
    of = _field(left, "object", "identifier", "member_expression")
    name, body = _field(left, "property", "property_identifier"), right.child_by_field_name("body")
    if of is not None and name is not None and body is not None:
        yield settings, {"node": [node], "of": [of], "name": [name], "body": [body]}


def commonjs(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The exports that the assignment `@node` of a script makes: `exports.a = b`, `module.exports = …`."""
    node = captures["node"][0]
    left, right = _field(node, "left", "member_expression"), node.child_by_field_name("right")
    owner = left.child_by_field_name("object") if left is not None else None
    if left is None or owner is None or right is None:
        return
    place = _field(left, "property", "property_identifier")
    local = _text(data, right).decode("utf-8", "replace") if right.type == "identifier" else ""
    if owner.type == "member_expression":
        if local and _text(data, _field(owner, "object", "identifier")) == b"module":
            yield {"is": "export", "local": local}, {"node": [node], **({"name": [place]} if place else {})}
        return
    whole = _text(data, owner) if owner.type == "identifier" else b""
    if whole == b"exports" and local and place:
        yield {"is": "export", "local": local}, {"node": [node], "name": [place]}
    elif whole == b"module" and _text(data, place) == b"exports":
        if local:
            yield {"is": "export", "name": "=", "local": local}, {"node": [node]}
        elif right.type == "object":
            yield from _members(node, right)
        elif right.type == "call_expression" and _field(right, "function", "identifier"):
            arguments = _field(right, "arguments", "arguments")
            first = (
                arguments.named_child(0) if arguments is not None and arguments.named_child_count else None
            )
            if first is not None and first.type == "string":
                yield {"is": "export", "name": "*", "local": "*"}, {"node": [node], "module": [first]}


def _members(node: Node, right: Node) -> Iterator[Match]:
    for one in right.named_children:
        if one.type == "shorthand_property_identifier":
            yield {"is": "export"}, {"node": [node], "name": [one], "local": [one]}
        elif one.type == "pair":
            key, local = _field(one, "key", "property_identifier"), _field(one, "value", "identifier")
            if key is not None and local is not None:
                yield {"is": "export"}, {"node": [node], "name": [key], "local": [local]}


def function(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """A function of C or C++, whose name stands below pointers, references and the names of namespaces; an
    operator that converts has a declarator of its own."""
    node = captures["node"][0]
    body = _field(node, "body", "compound_statement")
    if body is None:
        last = _last(node)
        if last is None or last.type not in _DEFAULTED:
            return
    here = node.child_by_field_name("declarator")
    for _ in range(MOST_NESTING):
        if here is None or here.type not in _POINTERS:
            break
        here = here.child_by_field_name("declarator") or _last(here)
    if here is None:
        return
    plain = here.type == "function_declarator"
    name, of = here.child_by_field_name("declarator") if plain else here, None
    for _ in range(MOST_NESTING):
        if name is None or name.type != "qualified_identifier":
            break
        of, name = name.child_by_field_name("scope"), name.child_by_field_name("name")
        if of is None and name is not None and name.type != "qualified_identifier":
            return
    if name is None or name.type not in ((_FUNCTIONS if of is None else _DECLARED) if plain else _CASTS):
        return
    found = {"node": [node], "name": [name]}
    if body is not None:
        found["body"] = [body]
    if of is None:
        yield settings, found
    else:
        yield {"is": "method"}, {**found, "of": [of]}


def _last(node: Node) -> Node | None:
    return node.named_child(node.named_child_count - 1) if node.named_child_count else None


def prototype(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The function that a field of C++ declares, below a pointer or a reference at most; what is static."""
    node = captures["node"][0]
    for one in node.children_by_field_name("declarator"):
        here: Node | None = one
        if one.type in _POINTERS:
            here = one.child_by_field_name("declarator") or _last(one)
        if here is None:
            continue
        if here.type == "function_declarator":
            name = _field(here, "declarator", "field_identifier", "operator_name")
            if name is not None:
                yield settings, {"node": [node], "name": [name]}
        elif data.find(b"static", node.start_byte, one.start_byte) >= 0:
            name = _field(here, "declarator", "field_identifier") if here.type == "array_declarator" else here
            if name is not None and name.type == "field_identifier":
                value = node.child_by_field_name("default_value")
                found = {"node": [node], "name": [name]}
                yield _VARIABLE, {**found, "value": [value]} if value is not None else found


def declared(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The function that the part `@declarator` of a declaration of C++ declares; below a reference only an
    operator."""
    here: Node | None = captures["declarator"][0]
    kinds = ("operator_name",) if here.type == "reference_declarator" else _DECLARED
    if here.type in _POINTERS:
        here = here.child_by_field_name("declarator") or _last(here)
    if here is not None and here.type == "function_declarator":
        here = _field(here, "declarator", *kinds)
    elif here is not None and here.type != "operator_cast":
        return
    if here is not None:
        yield settings, {"node": captures["node"], "name": [here]}


def variables(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The variables that a declaration of C or C++ makes; pointers and arrays only with a value."""
    node = captures["node"][0]
    for one in node.children_by_field_name("declarator"):
        value = one.child_by_field_name("value") if one.type == "init_declarator" else None
        inner: Node | None = one if value is None else one.child_by_field_name("declarator")
        if value is not None and inner is not None and inner.type == "pointer_declarator":
            inner = inner.child_by_field_name("declarator")
        if value is not None and inner is not None and inner.type == "array_declarator":
            inner = inner.child_by_field_name("declarator")
        if inner is not None and inner.type == "identifier":
            yield settings, {"node": [node], "name": [inner], **({"value": [value]} if value else {})}


def typedef(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The names that a `typedef` gives: to a type without one it is the type's own."""
    node = captures["node"][0]
    kind = node.child_by_field_name("type")
    kinds = {"struct_specifier": "class", "union_specifier": "class", "enum_specifier": "enum"}
    what = kinds.get(kind.type) if kind is not None else None
    body = kind.child_by_field_name("body") if kind is not None and what else None
    named = kind is not None and kind.child_by_field_name("name") is not None
    for one in node.children_by_field_name("declarator"):
        if one.type == "type_identifier":
            found = {"node": [node], "name": [one]}
            if body is not None and not named:
                yield {"is": what}, {**found, "body": [body]}
            else:
                yield settings, found
        elif one.type == "function_declarator":
            inner = _field(one, "declarator", "parenthesized_declarator")
            pointer = _last(inner) if inner is not None else None
            name = _field(pointer, "declarator", "type_identifier") if pointer is not None else None
            if pointer is not None and pointer.type == "pointer_declarator" and name is not None:
                yield {"is": "type"}, {"node": [node], "name": [name]}


def template(settings: Settings, captures: Captures, data: bytes) -> Iterator[Match]:
    """The class or function that a template of C++ is of; a concept is nowhere else."""
    for one in captures["outer"][0].named_children:
        name: Node | None = None
        if one.type == "concept_definition" and (named := _field(one, "name", "identifier")) is not None:
            value = _last(one)
            found = {**captures, "node": [one], "name": [named]}
            yield {"is": "type"}, {**found, "value": [value]} if value is not None else found
        if one.type in ("class_specifier", "struct_specifier"):
            if one.child_by_field_name("body") is not None:
                name = _field(one, "name", "type_identifier")
        elif one.type == "function_definition":
            inner = _field(one, "declarator", "function_declarator")
            name = inner.child_by_field_name("declarator") if inner is not None else None
        if name is not None:
            yield settings, {**captures, "name": [name]}


UNFOLDS: dict[str, Callable[[Settings, Captures, bytes], Iterator[Match]]] = {
    one.__name__: one
    for one in (
        fields, declarators, default, specifiers, required, called, member, put, commonjs, function,
        prototype, variables, typedef, template, namespace, struct, declared,
    )
}  # fmt: skip
