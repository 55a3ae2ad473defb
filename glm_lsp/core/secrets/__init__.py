"""What must never enter a prompt, a saved state or a log, and how it is kept out of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from glm_lsp.core.secrets.allow import SETTING, fingerprint, remedy
    from glm_lsp.core.secrets.marker import MARKER, mask
    from glm_lsp.core.secrets.rules import version
    from glm_lsp.core.secrets.scan import Found, find
    from glm_lsp.core.secrets.veil import attributed, being_typed, censored, masked, unquoted

__all__ = [
    "MARKER",
    "SETTING",
    "Found",
    "attributed",
    "being_typed",
    "censored",
    "find",
    "fingerprint",
    "mask",
    "masked",
    "remedy",
    "unquoted",
    "version",
]

_HOMES = {
    "allow": (
        "SETTING",
        "fingerprint",
        "remedy",
    ),
    "marker": (
        "MARKER",
        "mask",
    ),
    "rules": ("version",),
    "scan": (
        "Found",
        "find",
    ),
    "veil": (
        "attributed",
        "being_typed",
        "censored",
        "masked",
        "unquoted",
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
