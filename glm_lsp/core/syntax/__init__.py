"""Syntax trees and what is read from them: outlines, errors, blocks.

Python has a grammar; for any other language the answers say so (`supported`), and nothing fails.
Offsets are UTF-8 bytes. Trees belong to the thread that made them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glm_lsp.core.syntax.languages import language_of, recipe, supported
    from glm_lsp.core.syntax.memo import Memo
    from glm_lsp.core.syntax.outline import (
        NO_GRAMMAR,
        block_end,
        definitions,
        definitions_at,
        docstring_span,
        enclosing_definition,
        outline,
    )
    from glm_lsp.core.syntax.trees import Halted, chain, checked, edited, errors, parse, reparse, soon, walk

__all__ = [
    "NO_GRAMMAR",
    "Halted",
    "Memo",
    "block_end",
    "chain",
    "checked",
    "definitions",
    "definitions_at",
    "docstring_span",
    "edited",
    "enclosing_definition",
    "errors",
    "language_of",
    "outline",
    "parse",
    "recipe",
    "reparse",
    "soon",
    "supported",
    "walk",
]

_HOMES = {
    "languages": (
        "language_of",
        "recipe",
        "supported",
    ),
    "memo": ("Memo",),
    "outline": (
        "NO_GRAMMAR",
        "block_end",
        "definitions",
        "definitions_at",
        "docstring_span",
        "enclosing_definition",
        "outline",
    ),
    "trees": (
        "Halted",
        "chain",
        "checked",
        "edited",
        "errors",
        "parse",
        "reparse",
        "soon",
        "walk",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Imported when it is first used: who needs a part of this does not wait for the others."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = found
    return found


class _Package(ModuleType):
    """`outline` is what the module of that name offers, also where that module is imported by itself."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
