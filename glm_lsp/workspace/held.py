"""Places that are held back, as they are told to the user: where, what kind, and how to allow one."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core.secrets import fingerprint
from glm_lsp.core.values import Document, HeldBack
from glm_lsp.workspace.files import Unreadable, load


@dataclass(frozen=True, slots=True)
class Held:
    """A place of a file; `digest` is that of the file's text. What stands there is not told."""

    path: str
    place: HeldBack
    digest: str

    @property
    def line(self) -> int:
        """0-based."""
        return self.place.line

    @property
    def kind(self) -> str:
        return self.place.kind


def fingerprints(root: Path, places: Iterable[Held], max_bytes: int) -> list[str]:
    """By which each place can be allowed; empty where the file has changed since. Blocks."""
    texts: dict[str, Document | None] = {}
    found: list[bytes] = []
    for held in places:
        if held.path not in texts:
            try:
                texts[held.path] = load(root, held.path, max_bytes, look=False)
            except Unreadable:
                texts[held.path] = None
        text, span = texts[held.path], held.place.span
        same = text is not None and text.digest == held.digest
        found.append(text.data[span.start : span.end] if text is not None and same else b"")
    with ThreadPoolExecutor() as threads:  # each takes milliseconds, without a lock
        return list(threads.map(_fingerprint, found))


def _fingerprint(value: bytes) -> str:
    return fingerprint(value) if value else ""
