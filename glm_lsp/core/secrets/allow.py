"""What a user has found to be no secret: known by a fingerprint of its text, which tells nothing about it.

A fingerprint takes milliseconds to work out, and is short, so that one that is printed is of little use to
somebody who tries passwords. It follows the text wherever it moves; another text has another one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from functools import lru_cache

from glm_lsp.core.secrets import names
from glm_lsp.core.values import HeldBack

SETTING = "secrets.allow"
ROUNDS, FINGERPRINT_BYTES = 4_000, 8
MOST_PLACES = 1_000
"""In a text with more places nothing is allowed: looking for what is would take seconds."""
_SALT = b"glm-lsp: a text that is no secret"


def fingerprint(value: bytes) -> str:
    """Sixteen hexadecimal digits for the text of a place."""
    return _fingerprint(bytes(value))


@lru_cache(maxsize=2 * MOST_PLACES)
def _fingerprint(value: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", value, _SALT, ROUNDS, FINGERPRINT_BYTES).hex()


def kept(data: bytes, places: tuple[HeldBack, ...], allowed: Collection[str]) -> tuple[HeldBack, ...]:
    """The places that stay held back: not those of names that this text defines, nor what is `allowed`."""
    places = names.apart(data, places)
    if not allowed or not places or len(places) > MOST_PLACES:
        return places
    return tuple(p for p in places if fingerprint(data[p.span.start : p.span.end]) not in allowed)


def remedy(fingerprints: Collection[str], allowed: Collection[str]) -> str:
    """The lines of a settings file that allow these texts, too."""
    listed = ", ".join(f'"{one}"' for one in dict.fromkeys((*allowed, *fingerprints)))
    section, _, key = SETTING.partition(".")
    return f"[{section}]\n{key} = [{listed}]"
