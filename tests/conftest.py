"""Workers of the tests' own: their runtime directory and cache lie apart, and none outlives the run."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glm_lsp.disk.store import CACHE_VARIABLE
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE, SLOTS


@contextmanager
def apart() -> Iterator[Path]:
    """A runtime directory and a cache of one's own; the workers there are stopped at the end."""
    # Not below pytest's own directories: a socket's path is short.
    with tempfile.TemporaryDirectory(prefix="glm-") as directory, pytest.MonkeyPatch.context() as patch:
        runtime = Path(directory) / "run"
        patch.setenv(RUNTIME_VARIABLE, str(runtime))
        patch.setenv(CACHE_VARIABLE, str(Path(directory) / "cache"))
        yield runtime
        stop_workers(runtime)


def stop_workers(runtime: Path) -> None:
    """Stop whatever worker runs in that directory, also where a test has left it otherwise than it was."""
    if not runtime.is_dir() or runtime.is_symlink():
        return
    runtime.chmod(0o700)
    before = os.environ.get(RUNTIME_VARIABLE)
    os.environ[RUNTIME_VARIABLE] = str(runtime)
    try:
        for slot in SLOTS:
            asyncio.run(connection.stop(rendezvous.place(slot), force=True))
    finally:
        if before is not None:
            os.environ[RUNTIME_VARIABLE] = before


@pytest.fixture(scope="session", autouse=True)
def _workers_apart() -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    with apart():
        yield


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of the test's own."""
    with apart() as directory:
        yield directory
