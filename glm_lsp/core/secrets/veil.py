"""Documents and words without their secrets, as everything but the editor and the disk may see them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from glm_lsp.core.secrets.allow import kept
from glm_lsp.core.secrets.assigned import begins
from glm_lsp.core.secrets.follow import Follower
from glm_lsp.core.secrets.heads import opened
from glm_lsp.core.secrets.marker import SHORT, mask
from glm_lsp.core.secrets.repeat import everywhere
from glm_lsp.core.secrets.scan import find
from glm_lsp.core.values import Document, FileOutline, HeldBack

QUOTED_CHARS = 5
"""What is shorter stands in any text."""
_FOLLOWER = Follower()
"""A memory of what was computed, which nothing else depends on."""


def masked(document: Document, *, open_: bool = False, allowed: Collection[str] = ()) -> Document:
    """The document as everything but the editor and the disk may see it.

    Its digest stays that of the real text, by which the two are told to be the same file in the same state.
    One that is masked already is itself. `open_`: it is being edited, so only what has changed since the last
    time is looked through. `allowed`: fingerprints of what is no secret.
    """
    if document.held is not None:
        return document
    if open_:
        veiled = _FOLLOWER.veiled(document.path, document.data, allowed)
        return replace(document, data=veiled.shown, held=veiled.places, left_out=veiled.found.whole)
    found = find(document.path, document.data)
    places = everywhere(document.data, kept(document.data, found.places, allowed))
    return replace(document, data=mask(document.data, places), held=places, left_out=found.whole)


def being_typed(document: Document, offset: int) -> str:
    """Why nothing is suggested at byte `offset`: a secret stands or begins there; empty where none does."""
    for place in document.held or ():
        if place.span.start < offset <= place.span.end:
            return f"The cursor is in a place that is held back ({place.kind})."
    line = document.data[max(document.data.rfind(b"\n", 0, offset) + 1, offset - 1_000) : offset]
    return "A secret seems to be written here." if begins(line) or opened(line) else ""


def attributed(found: FileOutline, document: Document) -> FileOutline:
    """The outline of a masked document, under the digest of the real text."""
    if not document.held and found.digest == document.digest:
        return found
    return replace(found, digest=document.digest, held=document.held or ())


def censored(text: str, allowed: Collection[str] = ()) -> str:
    """Words that come from elsewhere (a task, a checker's message), with secrets in them masked."""
    data = text.encode("utf-8", "surrogatepass")
    found = find("", data)
    if found.whole:
        return f"[held back: {found.whole}]"
    places = everywhere(data, kept(data, found.places, allowed))
    return mask(data, places).decode("utf-8", "surrogatepass") if places else text


def unquoted(text: str, data: bytes, places: Sequence[HeldBack]) -> str:
    """Words about a file with this `data` (a checker's message), without what they quote of what is held."""
    for place in places:
        for line in data[place.span.start : place.span.end].decode("utf-8", "replace").split("\n"):
            value = line.strip(" \t\r\"'\\,;n")
            if len(value) >= QUOTED_CHARS and not value.startswith("-----"):
                text = text.replace(value, SHORT)
    return censored(text)
