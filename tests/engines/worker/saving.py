"""Saved prompts for the tests: tokens and states out of a number, and a directory of their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import SavedKv

CAP = 1 << 30
WAIT_S = 60.0


def tokens(count: int, seed: int = 0) -> Ids:
    return np.random.default_rng(seed).integers(0, 150_000, count).astype(np.int32)


def state(size: int, seed: int = 0) -> memoryview:
    return memoryview(np.random.default_rng(seed).bytes(size))


@contextmanager
def saving(
    directory: Path, identity: str = "a model", cap_bytes: int = CAP
) -> Iterator[tuple[SavedKv, list[str]]]:
    """Saved prompts in that directory, and what was said about them."""
    said: list[str] = []
    saved = SavedKv(directory, identity, cap_bytes, said.append)
    try:
        yield saved, said
    finally:
        saved.close(WAIT_S)


def put(saved: SavedKv, ids: Ids, data: memoryview) -> bool:
    """Save and wait until it is written."""
    taken = saved.save(ids, data)
    assert saved.drain(WAIT_S)
    return taken


def files(directory: Path) -> list[str]:
    """What lies in the directory besides the lock."""
    return sorted(path.name for path in directory.iterdir() if path.name != "lock")


def got(saved: SavedKv, ids: Ids) -> tuple[int, bytes, list[int]] | None:
    """What the best entry for these tokens has in common with them, and its data and tokens, checked."""
    found = saved.best(ids)
    loaded = saved.load(found) if found is not None else None
    if found is None or loaded is None:
        return None
    return found.tokens, bytes(loaded[0]), loaded[1].tolist()
