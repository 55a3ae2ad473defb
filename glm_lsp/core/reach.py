"""What code elsewhere cannot name: locals of functions, what is not exported, what tests keep to themselves.

Pure. A definition that a place cannot name is no candidate for it, however much speaks for it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping

from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import FileOutline, Symbol, SymbolKind

TEST_FILE = re.compile(
    r"(?:^|/)(?:tests?|spec|specs|__tests__|testing)/|(?:^|/)(?:test_[^/]*|conftest)\.\w+$|"
    r"[_.](?:test|tests|spec)\.\w+$|(?:^|/)[^/]*Tests?\.\w+$"
)
_SCRIPTS = frozenset({"javascript", "javascriptreact", "typescript", "typescriptreact"})
_FAMILY = {**dict.fromkeys(_SCRIPTS, "script"), "c": "c", "cpp": "c"}
_STATIC = re.compile(r"^\s*(?:template\s*<[^;{]*>\s*)?(?:[\w]+\s+)*?static\b")
_C_SOURCES = frozenset({".c", ".cc", ".cpp", ".cxx", ".c++"})
_NOTHING, _INIT = frozenset[str](), frozenset({"init"})
_FUNCTIONS = frozenset({SymbolKind.FUNCTION, SymbolKind.METHOD})


def is_test(path: str) -> bool:
    """Whether a file holds tests, by its path."""
    return TEST_FILE.search(path) is not None


def family(path: str) -> str:
    """The languages that share definitions with that of a file, under one name; empty for what has none."""
    language = language_of(path)
    return _FAMILY.get(language, language)


def hidden(
    path: str, other: str, private: Callable[[str], frozenset[str]], imported: bool
) -> frozenset[str] | None:
    """What code in `path` cannot name of the definitions of `other`; None: nothing there can be named.

    `private`: see below; `imported`: `path` imports `other`, so that it does name something there.
    """
    if other == path:
        return _NOTHING
    mine, theirs = family(path), family(other)
    if theirs == "go" and mine == "go":
        beside = posixpath.dirname(path) == posixpath.dirname(other)
        if other.endswith("_test.go") and not (beside and path.endswith("_test.go")):
            return None
        return _INIT if beside else private(other)
    if not imported and (mine != theirs or (is_test(other) and not is_test(path))):
        return None
    return private(other)


def private(outline: FileOutline, symbols: Mapping[str, tuple[Symbol, ...]]) -> frozenset[str]:
    """The definitions of a file that only the file itself can name; in Go, its package."""
    language, path = outline.language, outline.path
    found: set[str] = set()
    exported = (
        {export.local.partition(".")[0] for export in outline.exports} if language in _SCRIPTS else set[str]()
    )
    exported |= {export.name for export in outline.exports if not export.module} if exported else set()
    tests = language == "python" and is_test(path)
    sources = language in ("c", "cpp") and posixpath.splitext(path)[1].lower() in _C_SOURCES
    for qualified, same in symbols.items():
        symbol = same[0]
        if symbol.parent:
            # A method of an object that a function of a script returns is called from everywhere.
            given = language in _SCRIPTS and symbol.kind is SymbolKind.METHOD
            hidden = _local(symbol, symbols) and not given
            hidden = hidden or (language == "go" and not symbol.name[:1].isupper())
        elif language == "go":
            hidden = not symbol.name[:1].isupper()
        elif exported:
            hidden = symbol.name not in exported
        elif tests:
            hidden = symbol.name.startswith(("test_", "Test"))
        else:
            hidden = sources and _STATIC.match(symbol.signature) is not None
        if hidden:
            found.add(qualified)
    return frozenset(found)


def _local(symbol: Symbol, symbols: Mapping[str, tuple[Symbol, ...]]) -> bool:
    """Whether a definition stands in a function at any depth."""
    parent = symbol.parent
    for _ in range(8):
        if not parent:
            return False
        owner = symbols.get(parent)
        if owner and owner[0].kind in _FUNCTIONS:
            return True
        parent = owner[0].parent if owner else parent.rpartition(".")[0]
    return False
