"""Which ledgers are whose: the facts that must be the same before one client goes on from another's."""

from __future__ import annotations

from dataclasses import asdict

from glm_lsp import __version__
from glm_lsp.core.layout import LAYOUT_VERSION
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.features import prompts

RULES = (
    *("engine.default", "engine.typing", "engine.refactor", "model.path", "model.profile"),
    *("typing_model.path", "typing_model.profile", "remote.kind", "remote.endpoint", "remote.model"),
    *("index.exclude", "index.max_file_bytes"),
)
"""The settings that decide which engine reads a prompt, or what may enter one."""


def rules(settings: Settings, profile: ModelProfile) -> dict[str, object]:
    """What a ledger was made under, but for the repository and the rules of secrets.

    The mode of thinking is not among it: it changes no ledger, and where it changes the tokens before one,
    the engine finds that they are others. Nor is the vocabulary, by which tokens are counted anew.
    """
    return {
        "version": __version__,
        "layout": LAYOUT_VERSION,
        "system": prompts.system(),
        "profile": asdict(profile),
        "settings": {name: settings[name] for name in RULES},
    }
