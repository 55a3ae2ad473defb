"""What stands before a dot, and of which class it is, as far as the code says so where it can be seen.

Pure, and by the text alone: annotations, constructor calls, attributes that a class sets on itself, what
functions say that they return. `OUTSIDE` is an answer too: a module or a type that the repository does not
have, whose members are none of ours.
"""

from __future__ import annotations

import builtins
import re
from collections.abc import Callable
from functools import lru_cache

from glm_lsp.core.graph import SELVES, Graph, Target
from glm_lsp.core.imports import Modules
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import OWNERS, SymbolKind

OUTSIDE = Target("", "")
"""Of no class of the repository, for certain."""
OTHER = "…"
"""An expression that is no name."""
MOST_STEPS = 4
_BACK_BYTES = 160
_CHAIN = re.compile(rb"[\w$#\x80-\xff]+(?:\s*(?:\.|->|::|\?\.|!\.)\s*[\w$#\x80-\xff]+)*$")
_JOINTS = re.compile(rb"\s*(?:\?\.|!\.|->|::|\.)\s*")
_RETURNS = re.compile(
    r"(?:->|\)\s*:)\s*[\"']?(?:Optional\[|Promise<|Awaitable\[|type\[)?[\"']?\*?([^\W\d][\w.]*)"
)
_GO_RETURNS = re.compile(r"\)\s*\(?\*?([^\W\d][\w.]*)")
_WRAPPERS = frozenset(
    {"Optional", "Promise", "Awaitable", "Annotated", "Final", "ClassVar", "Readonly", "Partial"}
)
_UNKNOWN = frozenset(
    {"Any", "any", "unknown", "object", "T", "Self", "auto", "var", "let", "const", "return", "Union"}
)
_BUILTIN_TYPES = frozenset(
    {n for n in dir(builtins) if isinstance(getattr(builtins, n), type)}
    | {"Dict", "List", "Set", "Tuple", "FrozenSet", "Callable", "Iterable", "Iterator", "Sequence", "Mapping"}
    | {"string", "number", "boolean", "void", "null", "undefined", "Array", "Map", "Record", "None", "error"}
) - {"object", "type", "super"}  # fmt: skip
_MORE_MEMBERS = """
read write close flush seek send throw run start stop put cancel done result open readline push shift slice
map
filter reduce forEach concat then catch finally has delete entries toString String Error Close Read Write
Len Next Done
"""
BUILTIN_MEMBERS = frozenset(_MORE_MEMBERS.split()) | {
    name
    for kind in (dict, list, str, bytes, set, tuple, int, float)
    for name in dir(kind)
    if not name.startswith("_")
}
"""Methods that types of the languages themselves have: an unknown receiver is likely to be one of these."""


def before(data: bytes, start: int) -> str | None:
    """Whose member the name at `start` is: `a.b`, `a.b()` for a call, else `OTHER`; None: there is no dot."""
    at = _skip(data, start)
    two = data[max(at - 2, 0) : at]
    if two in (b"?.", b"!.", b"::") or (two == b"->" and at == start):  # Python writes `-> Type`
        at -= 2
    elif two.endswith(b".") and two != b"..":
        at -= 1
    else:
        return None
    at = _skip(data, at)
    call = ""
    if data[at - 1 : at] == b")":
        at = _opening(data, at)
        call = "()"
        if at < 0:
            return OTHER
    chain = _CHAIN.search(data, max(0, at - _BACK_BYTES), at)
    if chain is None:
        return OTHER
    head = _skip(data, chain.start())
    if data[head - 1 : head] == b"." or data[head - 2 : head] in (b"->", b"::"):
        return OTHER
    text = _JOINTS.sub(b".", chain[0]).decode("utf-8", "replace")
    return text + call


def _skip(data: bytes, at: int) -> int:
    while at > 0 and data[at - 1] in b" \t\r\n":
        at -= 1
    return at


def _opening(data: bytes, end: int) -> int:
    """Where the bracket opens that closes before `end`; -1 where that is too far away."""
    depth = 0
    for at in range(end - 1, max(-1, end - 600), -1):
        byte = data[at]
        depth += (byte == 0x29) - (byte == 0x28)
        if depth == 0:
            return at
    return -1


class Types:
    """Which class an expression is of. `text` gives the text of a file that may be looked into, or None."""

    def __init__(self, graph: Graph, text: Callable[[str], str | None]) -> None:
        self.graph, self._text = graph, text
        self._attributes: dict[tuple[Target, str], Target | None] = {}
        self._bound: dict[str, frozenset[str]] = {}
        self._outer: dict[str, str] = {}

    def of(
        self, path: str, expression: str, inside: str, scope: str, steps: int = MOST_STEPS
    ) -> Target | None:
        """The class of `expression` (as `before` gives it) in `path`; None where nothing says it.

        `inside` is the class around, `scope` the text of the function around, empty at module level.
        """
        if expression.startswith(OTHER) or steps == 0:
            return None
        if expression.endswith("()"):
            return self._called(path, expression[:-2], inside, scope, steps)
        head, *rest = expression.split(".")
        found = self._variable(path, head, inside, scope, steps)
        for attribute in rest:
            if found is None or found is OUTSIDE:
                return found
            found = self._attribute(found, attribute, steps)
        return found

    def named(self, path: str, said: str, inside: str) -> Target | None:
        """The class or interface that a type's name means in `path`; None where the repository has none."""
        found = self._meaning(path, said, inside, "", MOST_STEPS)
        return None if found is OUTSIDE else found

    def outside(self, path: str, name: str) -> bool:
        """Whether a name is imported from somewhere that is not in the repository."""
        if path not in self._bound:
            outline = self.graph.index.outlines.get(path)
            items = outline.imports if outline else ()
            known = self.graph.bindings(path)
            names = {i.alias or i.name or Modules.bound(i, path).split(".")[0] for i in items}
            roots = {name.split(".")[0] for name in known}
            self._bound[path] = frozenset(names - roots - {"*", ""})
        return name in self._bound[path]

    def _variable(self, path: str, name: str, inside: str, scope: str, steps: int) -> Target | None:
        if name in SELVES:
            if name != "super":
                return Target(path, inside) if inside else None
            bases = self.graph.bases(Target(path, inside)) if inside else ()
            return bases[0] if bases else OUTSIDE
        language = language_of(path)
        if scope and (said := declared(scope, name, language)):
            return self._meaning(path, said, inside, scope, steps)
        target = self.graph.resolve(path, name)
        if target is None:
            if self.outside(path, name):
                return OUTSIDE
            said = declared(self._outermost(path), name, language)
            return self._meaning(path, said, inside, "", steps) if said else None
        symbol = self.graph.symbol(target) if target.name else None
        if symbol is None:
            return None
        if symbol.kind is SymbolKind.VARIABLE:
            said = declared(symbol.signature, symbol.name, language_of(target.path))
            return self._meaning(target.path, said, "", "", steps) if said else None
        return target if symbol.kind in OWNERS else None

    def _outermost(self, path: str) -> str:
        """The lines of a file that are not indented: what a variable is elsewhere says nothing here."""
        if path not in self._outer:
            lines = (self._text(path) or "").split("\n")
            self._outer[path] = "\n".join(line for line in lines if line[:1].strip())
        return self._outer[path]

    def _meaning(self, path: str, said: str, inside: str, scope: str, steps: int) -> Target | None:
        """The class that a type's or a constructor's name means; of a function, what it returns."""
        if said in _UNKNOWN:
            return None
        if said in _BUILTIN_TYPES:
            return OUTSIDE
        qualifier, _, name = said.rpartition(".")
        target = self.graph.resolve(path, name, qualifier, inside)
        if target is None:
            head = said.split(".", maxsplit=1)[0]
            if self.outside(path, head):
                return OUTSIDE
            return self._called(path, said, inside, scope, steps - 1) if qualifier and steps > 1 else None
        return self._made(target, steps)

    def _made(self, target: Target, steps: int) -> Target | None:
        """What calling a definition gives."""
        symbol = self.graph.symbol(target) if target.name else None
        if symbol is None:
            return None
        if symbol.kind in OWNERS:
            return target
        pattern = _GO_RETURNS if target.path.endswith(".go") else _RETURNS
        matches = list(pattern.finditer(symbol.signature))
        said = matches[-1][1] if matches else ""
        owner = symbol.parent or ""
        if said == "Self" and owner:
            return Target(target.path, owner)
        return self._meaning(target.path, said, owner, "", steps - 1) if said and steps > 1 else None

    def _called(self, path: str, chain: str, inside: str, scope: str, steps: int) -> Target | None:
        qualifier, _, name = chain.rpartition(".")
        if not qualifier and name == "super":
            return self._variable(path, "super", inside, scope, steps)
        target = self.graph.resolve(path, name, qualifier, inside)
        if target is None and qualifier:
            owner = self.of(path, qualifier, inside, scope, steps - 1)
            if owner is None:
                return None
            if owner is OUTSIDE:  # what others make may be anything, and ours, too; but for a class of theirs
                return OUTSIDE if name[:1].isupper() else None
            target = self.graph.member(owner, name)
        elif target is None:
            theirs = name[:1].isupper() and self.outside(path, name)
            return OUTSIDE if name in _BUILTIN_TYPES or theirs else None
        return self._made(target, steps) if target else None

    def _attribute(self, owner: Target, name: str, steps: int) -> Target | None:
        """The class of an attribute, as its class or a base declares or sets it."""
        key = (owner, name)
        if key not in self._attributes:
            self._attributes[key] = None
            self._attributes[key] = self._look(owner, name, steps)
        return self._attributes[key]

    def _look(self, owner: Target, name: str, steps: int) -> Target | None:
        graph, language = self.graph, language_of(owner.path)
        member = graph.member(owner, name)
        symbol = graph.symbol(member) if member else None
        if member and symbol:
            if symbol.kind is not SymbolKind.VARIABLE:
                return self._made(member, steps)  # a property
            if said := declared(symbol.signature, name, language):
                return self._meaning(member.path, said, owner.name, "", steps)
        for place in (owner, *graph.bases(owner)):
            whole, symbol = self._text(place.path), graph.symbol(place)
            if whole is None or symbol is None:
                continue
            text = whole.encode()[symbol.span.start : symbol.span.end].decode("utf-8", "replace")
            if said := _set_on_self(text, name) or (
                declared(text, name, language) if language != "python" else ""
            ):
                if found := self._meaning(place.path, said, place.name, "", steps):
                    return found
                if kind := declared(text, said, language):
                    return self._meaning(place.path, kind, place.name, "", steps)
        return None


@lru_cache(maxsize=2048)
def _patterns(name: str, language: str) -> tuple[re.Pattern[str], ...]:
    word = re.escape(name)
    start = rf"(?<![\w.]){word}"
    made = rf"{start}\s*(?::[^=\n(){{}}]{{1,80}})?:?=\s*(?:await\s+|new\s+|&|\*)?([^\W\d][\w.]*)\s*[({{]"
    typed = (
        rf"{start}\s*[?!]?:\s*(?:readonly\s+|typeof\s+)?[\"']?([^\W\d][\w.]*)"
        r"(?:[\[<]\s*[\"']?([^\W\d][\w.]*))?"
    )
    given = {
        "python": (typed, made, rf"\b([^\W\d][\w.]*)\([^\n]{{0,200}}\)\s+as\s+{word}\b"),
        "go": (made, rf"{start}\s+\*?(?:\[\]\*?)?([^\W\d][\w.]*)"),
        **dict.fromkeys(
            ("java", "c", "cpp", "csharp"),
            (made, rf"\b([^\W\d][\w.]*)(?:<[^<>]*>)?[\s*&]+{word}\s*(?=[=;,:)])"),
        ),
    }.get(language, (typed, made))
    return tuple(re.compile(pattern) for pattern in given)


def declared(text: str, name: str, language: str) -> str:
    """The type, or what makes the value, of a variable as `text` declares it; empty where it does not."""
    if name not in text:
        return ""
    for pattern in _patterns(name, language):
        if match := pattern.search(text):
            said = str(match[1])
            return str(match[2] or said) if said in _WRAPPERS and pattern.groups > 1 else said
    return ""


def _set_on_self(text: str, name: str) -> str:
    pattern = (
        rf"(?:self|this)\.{re.escape(name)}\s*(?::\s*[\"']?(?:Optional\[)?([^\W\d][\w.]*)[^=\n]*|"
        r"=\s*(?:await\s+|new\s+)?([^\W\d][\w.]*))"
    )
    match = re.search(pattern, text)
    return str(match[1] or match[2]) if match else ""
