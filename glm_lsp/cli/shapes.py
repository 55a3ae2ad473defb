"""The JSON shapes that several verbs share. Lines are 1-based and inclusive here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glm_lsp.core.settings import Problem, Settings
from glm_lsp.core.values import Block, Dropped, RepoIndex

if TYPE_CHECKING:
    from glm_lsp.workspace.held import Held


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


def held_back(
    root: Path, index: RepoIndex, blocks: Sequence[Block], settings: Settings
) -> list[dict[str, Any]]:
    """The places that are held back in files of which a prompt shows something; never what stands there."""
    from glm_lsp.workspace.held import Held  # noqa: PLC0415 (with the rules, which `--help` does not need)

    outlines = [index.outlines[path] for path in sorted({b.path for b in blocks}) if path in index.outlines]
    return held(root, [Held(o.path, place, o.digest) for o in outlines for place in o.held], settings)


def held(root: Path, places: Sequence[Held], settings: Settings) -> list[dict[str, Any]]:
    """Places that are held back, each with the fingerprint by which `secrets.allow` shows it to models."""
    from glm_lsp.workspace.held import fingerprints  # noqa: PLC0415

    found = fingerprints(root, places, settings.integer("index.max_file_bytes"))
    return [
        {"path": h.path, "line": h.line + 1, "kind": h.kind, "fingerprint": told}
        for h, told in zip(places, found, strict=True)
    ]


def remedy(held: Sequence[dict[str, Any]], settings: Settings) -> str:
    """What to write where if one of these is no secret, with the first as the example."""
    from glm_lsp.core import secrets  # noqa: PLC0415
    from glm_lsp.workspace.config import settings_file  # noqa: PLC0415

    told = [h["fingerprint"] for h in held if h["fingerprint"]]
    if not told:
        return ""
    lines = secrets.remedy(told[:1], settings.texts(secrets.SETTING))
    return f"If one is no secret, allow it in your own settings file, {settings_file()}:\n\n{lines}\n"


def problem(value: Problem) -> dict[str, str]:
    """A value that was not taken."""
    return {"name": value.name, "source": str(value.source), "message": value.message}
