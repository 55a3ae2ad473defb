"""What a request sees, taken before its first await and never changed; and the port to read more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from glm_lsp.core.history import History
from glm_lsp.core.settings import DEFAULTS, Settings
from glm_lsp.core.values import Document, Refusal, RepoIndex


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The workspace at one moment. `documents` holds the open ones; others are read through `Sources`."""

    root: str
    """Absolute path of the workspace, for messages and transactions only."""
    revision: int = 0
    documents: Mapping[str, Document] = field(default_factory=dict[str, Document])
    index: RepoIndex = field(default_factory=RepoIndex)
    settings: Settings = DEFAULTS
    history: History = field(default_factory=History)
    """What the repository's commits say; empty until somebody has read them."""


class Sources(Protocol):
    """Reads files that are not open. The only way into a prompt: secret, ignored, binary and huge files
    and paths outside the root come back as refusals."""

    async def read(self, path: str) -> Document | Refusal: ...
