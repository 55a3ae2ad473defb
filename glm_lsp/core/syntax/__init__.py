"""Syntax trees and what is read from them: outlines, errors, blocks.

Python has a grammar; for any other language the answers say so (`supported`), and nothing fails.
Offsets are UTF-8 bytes. Trees belong to the thread that made them.
"""

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
