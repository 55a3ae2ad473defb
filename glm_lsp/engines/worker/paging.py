"""What a model costs that is larger than memory: its weights are mapped, and the system reads them as needed.

The figures are estimates: the system keeps what was used last, experts are chosen as if by chance.
"""

from __future__ import annotations

import mmap
import os
import time
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.engines.gguf import Tensor
from glm_lsp.engines.probe import ModelFacts, gigabytes
from glm_lsp.engines.worker.memory import EXPERTS, Need, on_host
from glm_lsp.engines.worker.placement import Placement

_PIECE_BYTES = 4 << 20
_PIECES = 16
_BUDGET_S = 0.5


@dataclass(frozen=True, slots=True)
class Paging:
    """Bytes that the disk has to give, where not all weights find room."""

    token_bytes: int
    """For each token that is written."""
    batch_bytes: int
    """At most, for each batch of a prompt: nearly all experts have work in it."""


def paging(facts: ModelFacts, placement: Placement, need: Need, free_bytes: int | None) -> Paging | None:
    """What is read from the disk again and again; None where the weights find room, or are not mapped.

    `need` is what the placement takes of main memory.
    """
    if free_bytes is None or not placement.mapped or need.total <= free_bytes:
        return None
    room = max(free_bytes - need.kv - need.buffers, 0)
    experts = sum(_size(t) for t in on_host(facts, placement) if EXPERTS.match(t.name))
    dense = need.weights - experts
    used = facts.experts_used / facts.experts if facts.experts and facts.experts_used else 1.0
    if room < dense:
        # Walking again and again through more than there is room for meets nothing that is there still.
        return Paging(int(dense + experts * used), need.weights)
    missing = 1 - (room - dense) / experts if experts else 0.0
    return Paging(int(experts * used * missing), int(experts * missing))


def sentence(found: Paging, need: Need, free_bytes: int, batch_tokens: int, read_bytes_s: float) -> str:
    """What the user is to expect. `read_bytes_s` is the disk's speed; 0: not known."""

    def seconds(size: int) -> str:
        return f" ({size / read_bytes_s:,.1f} s)" if read_bytes_s else ""

    speed = f" at the {gigabytes(int(read_bytes_s))}/s that it gives here" if read_bytes_s else ""
    return (
        f"The model needs {need.told('memory')}, and {gigabytes(free_bytes)} are free, so weights are read "
        f"from the disk again and again{speed}: about {gigabytes(found.token_bytes)}"
        f"{seconds(found.token_bytes)} for each token that is written, up to {gigabytes(found.batch_bytes)}"
        f"{seconds(found.batch_bytes)} for each {batch_tokens} tokens of a prompt. More memory, or a smaller "
        "quantisation, makes it faster; with model.mmap = false such a model is refused."
    )


def read_bytes_s(path: Path) -> float:
    """How fast the disk gives this file, past the system's cache; 0 where that cannot be measured.

    Reads at most 64 MB, for about half a second.
    """
    direct = getattr(os, "O_DIRECT", 0)
    if not direct:
        return 0.0
    try:
        handle = os.open(path, os.O_RDONLY | direct)
    except OSError:
        return 0.0
    read = 0
    started = time.perf_counter()
    try:
        # Its memory is aligned to pages, which reading past the cache asks for.
        with mmap.mmap(-1, _PIECE_BYTES) as piece:
            step = max(os.fstat(handle).st_size // _PIECES // _PIECE_BYTES, 1) * _PIECE_BYTES
            for number in range(_PIECES):
                read += os.preadv(handle, [piece], number * step)
                if time.perf_counter() - started > _BUDGET_S:
                    break
    except OSError:
        return 0.0
    finally:
        os.close(handle)
    return read / max(time.perf_counter() - started, 1e-9)


def _size(tensor: Tensor) -> int:
    return tensor.end - tensor.start
