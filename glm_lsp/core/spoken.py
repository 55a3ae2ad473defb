"""Names that code spells out: in strings, and as keys of objects that stand for something with members.

Pure, by the tree and the imports. Tests put others in the place of names in this way, configuration names
what is to be called, and objects of a type have its members as keys.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from tree_sitter import Node

from glm_lsp.core.graph import Graph, Target

_MOST_CLIMB = 14
_DOTTED = re.compile(rb"((?:[\w$]+\.)*[\w$]+)[.:]$")
_CHAIN = re.compile(rb"[\w$]+(?:\.[\w$]+)*")
_BY_NAME = frozenset(
    {
        *("getattr", "setattr", "hasattr", "delattr", "object"),
        *("spyOn", "spy", "stub", "replace", "replaceProperty", "mock", "method"),
    }
)
"""What takes an object and the name of a member."""
_REPLACING = frozenset({"mock", "doMock", "setMock", "unstable_mockModule", "module", "multiple"})
"""What takes a module's name and what is to stand in its place, by names."""
_KEYS = frozenset({"pair", "pair_pattern", "method_definition", "keyword_argument"})
_SHORT = frozenset({"shorthand_property_identifier", "shorthand_property_identifier_pattern"})
_OBJECTS = frozenset({"object", "object_pattern"})
_THROUGH = frozenset({"parenthesized_expression", "array", "ternary_expression", "binary_expression"})
_ASSERTING = frozenset({"satisfies_expression", "as_expression"})
_TYPED = frozenset(
    {"variable_declarator", "public_field_definition", "required_parameter", "optional_parameter"}
)
_FUNCTIONS = frozenset(
    {
        *("arrow_function", "function_expression", "function_declaration", "method_definition"),
        *("generator_function", "generator_function_declaration"),
    }
)
_WRAPPERS = frozenset(
    {
        *("Partial", "Required", "Readonly", "Promise", "PromiseLike", "Pick", "Omit", "Array"),
        *("ReadonlyArray", "Record", "NonNullable", "Exclude", "string", "number", "boolean", "void"),
        *("null", "undefined", "any", "unknown", "never", "const"),
    }
)


def qualifier(left: bytes) -> str:
    """The dotted path that `left` ends with, without the last dot or colon; empty where there is none."""
    found = _DOTTED.search(left)
    return found[1].decode("utf-8", "replace") if found else ""


def dotted(graph: Graph, path: str, said: str, name: str, goes_on: bool) -> tuple[Target | None, str]:
    """What `said.name` in the words of a file means as Python would import it, and the module's name in it;
    (None, "") where the repository has no such module. One that `goes_on` may be a module before others."""
    parts = said.split(".")
    asking = posixpath.join(posixpath.dirname(path), "_.py")
    if goes_on and graph.module(f"{said}.{name}", asking):
        return None, ""
    for count in range(len(parts), 0, -1):
        module = ".".join(parts[:count])
        if found := graph.module(module, asking):
            target: Target | None = Target(found)
            for one in (*parts[count:], name):
                if target is not None:
                    target = graph.member(target, one) if target.name else graph.exported(target.path, one)
            return target, module
    return None, ""


def users(graph: Graph, targets: Iterable[Target]) -> frozenset[str]:
    """The simple names of the files that import what is wanted, or something beside it."""
    files = sorted({target.path for target in targets})

    def named() -> frozenset[str]:
        return frozenset(posixpath.basename(p).split(".")[0] for f in files for p in graph.importers(f))

    return graph.kept("users", "\n".join(files), named)


def owner(node: Node, data: bytes) -> str:
    """The expression whose member a string, or the key of a pattern, names; empty where there is none."""
    pattern = _object(node)
    if pattern is not None and pattern.type == "object_pattern":
        outer = pattern.parent
        value = outer.child_by_field_name("value") if outer and outer.type == "variable_declarator" else None
        if value is None or outer is None or outer.child_by_field_name("type") is not None:
            return ""
        if value.type == "call_expression":
            callee = value.child_by_field_name("function")
            return f"{chain}()" if callee is not None and (chain := _chain(callee, data)) else ""
        return _chain(value, data)
    text = node if node.type == "string" else node.parent
    around = text.parent if text is not None and text.type == "string" else None
    if text is None or around is None:
        return ""
    if around.type == "subscript_expression":
        whose = around.child_by_field_name("object")
        return _chain(whose, data) if whose is not None else ""
    if around.type not in ("arguments", "argument_list") or _last(around.parent, data) not in _BY_NAME:
        return ""
    named = around.named_children[:2]
    return _chain(named[0], data) if len(named) > 1 and named[1].start_byte == text.start_byte else ""


def replaced(node: Node, data: bytes) -> str:
    """The name of the module in whose place a test puts an object with this key; empty where it does not."""
    if _object(node) is None and (node.parent is None or node.parent.type != "keyword_argument"):
        return ""
    objects = 0
    here: Node | None = node.parent
    for _ in range(_MOST_CLIMB):
        if here is None:
            return ""
        objects += here.type in _OBJECTS
        if objects > 1:
            return ""
        if here.type in ("arguments", "argument_list") and _last(here.parent, data) in _REPLACING:
            first = here.named_children[0]
            if first.type == "call_expression":  # import("./module")
                inner = first.child_by_field_name("arguments")
                first = inner.named_children[0] if inner is not None and inner.named_child_count else first
            if first.type != "string":
                return ""
            return data[first.start_byte : first.end_byte].strip(b"\"'`").decode("utf-8", "replace")
        here = here.parent
    return ""


def shapes(node: Node, data: bytes) -> tuple[str, ...]:
    """The types of which one is that of the object whose key this is, as the code around it says."""
    here = _object(node)
    for _ in range(_MOST_CLIMB):
        outer = here.parent if here is not None else None
        if here is None or outer is None:
            return ()
        if outer.type in _ASSERTING and outer.named_child_count > 1:
            return _names(outer.named_child(outer.named_child_count - 1), data)
        if outer.type == "type_assertion":
            return _names(outer.named_child(0), data)
        if outer.type in _TYPED:
            said = outer.child_by_field_name("type")
            value = outer.child_by_field_name("value")
            if said is None and here.type == "object_pattern" and value and value.type == "new_expression":
                said = value.child_by_field_name("constructor")
            return _names(said, data)
        if outer.type == "return_statement":
            while outer is not None and outer.type not in _FUNCTIONS:
                outer = outer.parent
        if outer is not None and outer.type in _FUNCTIONS:
            if (said := outer.child_by_field_name("return_type")) is not None:
                return _names(said, data)
        elif outer is None or outer.type not in (*_THROUGH, *_ASSERTING):
            return ()
        here = outer
    return ()


def _object(node: Node) -> Node | None:
    """The object, or the pattern of one, whose key a node is."""
    outer = node.parent
    if outer is not None and node.type in _SHORT:
        return outer if outer.type in _OBJECTS else None
    if outer is None or outer.type not in _KEYS:
        return None
    key = outer.child_by_field_name("key") or outer.child_by_field_name("name")
    if key is None or key.start_byte != node.start_byte:
        return None
    return outer.parent if outer.parent is not None and outer.parent.type in _OBJECTS else None


def _chain(node: Node, data: bytes) -> str:
    text = data[node.start_byte : node.end_byte]
    return text.decode("utf-8", "replace") if _CHAIN.fullmatch(text) else ""


def _last(call: Node | None, data: bytes) -> str:
    """The last word of what is called."""
    function = call.child_by_field_name("function") if call is not None else None
    text = data[function.start_byte : function.end_byte] if function is not None else b""
    return re.split(rb"[^\w$]", text)[-1].decode("utf-8", "replace")


def _names(node: Node | None, data: bytes) -> tuple[str, ...]:
    text = data[node.start_byte : node.end_byte] if node is not None else b""
    words = (word.decode("utf-8", "replace") for word in _CHAIN.findall(text))
    return tuple(dict.fromkeys(word for word in words if word not in _WRAPPERS))
