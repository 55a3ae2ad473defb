"""Documents that are open in the editor: their trees, and outlines made of them here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tree_sitter import Tree

from glm_lsp.core.secrets import attributed
from glm_lsp.core.syntax import Halted, Memo, outline, parse, reparse
from glm_lsp.core.values import Document, FileOutline


@dataclass(slots=True)
class Open:
    """A document in the editor. `tree` is of `parsed`, an earlier text or this one."""

    document: Document
    parsed: bytes = b""
    tree: Tree | None = None
    memo: Memo = field(default_factory=Memo)
    busy: bool = False


def outlined(state: Open, document: Document, limit_s: float) -> tuple[Tree | None, FileOutline]:
    """The document's tree, made from an earlier one where there is one, and its outline."""
    until = time.monotonic() + limit_s

    def halt() -> bool:
        return time.monotonic() > until

    try:
        if state.tree is None:
            new = parse(document.data, document.language, halt=halt)
        else:
            new = reparse(state.tree, state.parsed, document.data, document.language, halt)
        found = outline(document.path, document.data, document.language, tree=new, halt=halt, memo=state.memo)
        return new, attributed(found, document)
    except Halted:
        error = f"took the parser more than {limit_s:g} s"
        return None, FileOutline(
            document.path, document.digest, document.language, size_bytes=len(document.data), error=error
        )
