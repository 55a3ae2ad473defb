"""The JSON shapes that several verbs share. Lines are 1-based and inclusive here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from glm_lsp.core.settings import Problem
from glm_lsp.core.values import Block, Dropped, RepoIndex


def block(value: Block, *, text: bool = True) -> dict[str, Any]:
    """A block of a prompt; without `text`, what it is and why."""
    shape: dict[str, Any] = {
        "kind": str(value.kind),
        "path": value.path,
        "start_line": value.start_line + 1,
        "end_line": value.end_line + 1,
        "symbols": list(value.symbols),
        "tokens": value.tokens,
        "reason": value.reason,
    }
    return {**shape, "text": value.text} if text else shape


def dropped(value: Dropped) -> dict[str, Any]:
    """A block that was wanted and left out."""
    return {
        "path": value.path,
        "symbols": list(value.symbols),
        "tokens": value.tokens,
        "reason": value.reason,
    }


def held_back(index: RepoIndex, blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """The places that are held back in files of which a prompt shows something; never what stands there."""
    outlines = [index.outlines[path] for path in sorted({b.path for b in blocks}) if path in index.outlines]
    return [{"path": o.path, "line": h.line + 1, "kind": h.kind} for o in outlines for h in o.held]


def problem(value: Problem) -> dict[str, str]:
    """A value that was not taken."""
    return {"name": value.name, "source": str(value.source), "message": value.message}
