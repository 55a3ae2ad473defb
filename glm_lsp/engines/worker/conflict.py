"""Whether a client's model is the one that is loaded, and who gives way where it is not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from glm_lsp import __version__
from glm_lsp.engines.frames import Load, Refused
from glm_lsp.engines.worker.clients import Client

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
class Loaded:
    """What a worker has loaded, or is loading, and the file as it was then."""

    load: Load
    file: tuple[int, int, int, int] | None

    @classmethod
    def now(cls, load: Load) -> Loaded:
        return cls(load, _file(load.path))


def _file(path: str) -> tuple[int, int, int, int] | None:
    """What tells a model file from the one that lies there later: device, inode, size, time of change."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def difference(loaded: Loaded | None, wanted: Load, version: str, *, served: bool) -> str:
    """Why a worker is none for this client, as part of a sentence; empty where it is one.

    `served`: others are connected, so what is only a matter of taste is no reason.
    """
    if loaded is None:
        return ""
    for field, name in _NAMES.items():
        ours, theirs = getattr(loaded.load, field), getattr(wanted, field)
        if ours != theirs:
            return f"{name} is {_shown(ours)} there and {_shown(theirs)} here"
    if _file(wanted.path) != loaded.file:
        return "the model file has been changed since it was loaded"
    if served:
        return ""
    if any(getattr(loaded.load, field) != getattr(wanted, field) for field in _PLACEMENT):
        return "it is placed otherwise"
    return "" if version == __version__ else "it is of another version of glm-lsp"


def refusal(differing: str, loaded: Loaded | None, others: Sequence[Client]) -> Refused:
    """Give way where nobody else is served, else say for whom we stay."""
    if not others:
        return Refused("Nobody else needs the worker: it gives way to another.", ending=True)
    model = loaded.load.path if loaded is not None else "no model"
    names = ", ".join(sorted({str(client) for client in others}))
    return Refused(
        f"The worker cannot serve this: {differing}. It has {model} loaded for {names}; "
        "end it with glm-lsp worker stop."
    )


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
