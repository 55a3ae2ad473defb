"""Whether a client's model is the one that is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass

from glm_lsp.engines.frames import Load

_NAMES = {
    "path": "the model file",
    "architecture": "the architecture of the profile",
    "template": "the prompt template",
    "context_tokens": "model.context_tokens",
    "kv_tokens": "model.kv_tokens",
    "batch_tokens": "model.batch_tokens",
    "kv_type": "model.kv_type",
}
"""What an answer depends on. Of the rest a difference is worth a restart only where nobody else is served."""
_PLACEMENT = (
    *("threads", "batch_threads", "gpu_layers", "cpu_expert_layers", "tensor_overrides", "mmap", "mlock"),
)


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What tells a model file from the one that lies there later."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


def file_facts(path: str) -> FileFacts | None:
    """None where there is no such file."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return FileFacts(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def difference(loaded: Load, wanted: Load) -> str:
    """In what they conflict, as part of a sentence; empty where the same worker serves both."""
    for field, name in _NAMES.items():
        ours, theirs = getattr(loaded, field), getattr(wanted, field)
        if ours != theirs:
            return f"{name} is {_shown(ours)} there and {_shown(theirs)} here"
    return ""


def placed_otherwise(loaded: Load, wanted: Load) -> bool:
    """Whether the same model would run in another way."""
    return any(getattr(loaded, field) != getattr(wanted, field) for field in _PLACEMENT)


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
