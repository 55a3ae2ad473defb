"""What must never enter a prompt, a saved state or a log, and how it is kept out of them."""

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
