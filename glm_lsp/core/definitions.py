"""The definitions of each file, by name, by qualified name and by class; made when asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from glm_lsp.core import reach
from glm_lsp.core.values import FileOutline, Symbol, SymbolKind


class Target(NamedTuple):
    """What a local name stands for: a definition, or a whole module where `name` is empty (`path` is then a
    folder with a slash where a package is one).

    A tuple, because a ranking hashes thousands of them.
    """

    path: str
    name: str = ""


_PASSED = re.compile(r"(?:[\w ]*\s)?([\w$]+)\s*(?::[^=]*)?=\s*([\w$]+)\.\1\s*;?")
_NO_SYMBOLS: Mapping[str, tuple[Symbol, ...]] = {}
_Lists = Mapping[str, tuple[Target, ...]]


class Definitions:
    """Those of all files of an index."""

    def __init__(self, outlines: Mapping[str, FileOutline]) -> None:
        self._outlines = outlines
        self._symbols: dict[str, Mapping[str, tuple[Symbol, ...]]] = {}
        self._by_name: dict[str, _Lists] = {}
        self._by_parent: dict[str, _Lists] = {}
        self._private: dict[str, frozenset[str]] = {}

    def renewed(self, outlines: Mapping[str, FileOutline], changed: Iterable[str]) -> Definitions:
        """Those of other outlines, of which these are `changed`."""
        made = Definitions(outlines)
        # Copied first: a thread whose request was given up may still be filling them.
        made._symbols, made._by_name = dict(self._symbols), dict(self._by_name)
        made._by_parent, made._private = dict(self._by_parent), dict(self._private)
        for path in changed:
            made._symbols.pop(path, None)
            made._by_name.pop(path, None)
            made._by_parent.pop(path, None)
            made._private.pop(path, None)
        return made

    def symbols(self, path: str) -> Mapping[str, tuple[Symbol, ...]]:
        """The definitions of a file by qualified name, in the order of the file."""
        found = self._symbols.get(path)
        if found is None:
            outline = self._outlines.get(path)
            if outline is None:
                return _NO_SYMBOLS
            lists: dict[str, list[Symbol]] = {}
            for symbol in outline.symbols:
                lists.setdefault(symbol.qualified, []).append(symbol)
            found = self._symbols[path] = {name: tuple(items) for name, items in lists.items()}
        return found

    def private(self, path: str) -> frozenset[str]:
        """The qualified names of a file's definitions that other files cannot name."""
        found = self._private.get(path)
        if found is None:
            outline = self._outlines.get(path)
            found = reach.private(outline, self.symbols(path)) if outline is not None else frozenset[str]()
            self._private[path] = found
        return found

    def named(self, path: str, name: str) -> tuple[Target, ...]:
        """What a file defines by that name at any level."""
        found = self._by_name.get(path)
        if found is None:
            rows = ((symbols[0].name, key) for key, symbols in self.symbols(path).items())
            found = self._by_name[path] = _listed(path, rows)
        return found.get(name, ())

    def members(self, owner: Target) -> tuple[Target, ...]:
        """What a class defines itself: its public names and its constructor."""
        found = self._by_parent.get(owner.path)
        if found is None:
            rows = (
                (parent, key)
                for key, symbols in self.symbols(owner.path).items()
                if (parent := symbols[0].parent) and _offered(symbols[0].name)
            )
            found = self._by_parent[owner.path] = _listed(owner.path, rows)
        return found.get(owner.name, ())


def _offered(name: str) -> bool:
    return not name.startswith(("_", "#")) or name == "__init__"


def _listed(path: str, rows: Iterable[tuple[str, str]]) -> _Lists:
    lists: dict[str, list[Target]] = {}
    for key, qualified in rows:
        lists.setdefault(key, []).append(Target(path, qualified))
    return {key: tuple(items) for key, items in lists.items()}


def called_like(member: Target, said: str) -> bool:
    """Whether the class of a member is called like a value, in small letters: `client` is a `TestClient`,
    `lastrequest` a `Request`."""
    owner = member.name.rpartition(".")[0].rpartition(".")[2].replace("_", "").lower()
    return bool(owner) and (owner.endswith(said) or (len(owner) > 3 and said.endswith(owner)))


def defined(outline: FileOutline) -> set[str]:
    """The qualified names of what a file defines, and whose those are that it passes on."""
    return {f"{passed_on(symbol)}={symbol.qualified}" for symbol in outline.symbols}


def passed_on(symbol: Symbol) -> str:
    """Whose member a variable of a file passes on under its own name, `m` in `run = m.run`; empty: it does
    not."""
    if symbol.kind is not SymbolKind.VARIABLE or symbol.parent or "." not in symbol.signature:
        return ""
    match = _PASSED.fullmatch(symbol.signature.strip())
    return match[2] if match and match[1] == symbol.name else ""
