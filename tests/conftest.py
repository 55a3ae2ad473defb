"""Nothing of this machine's user: settings, cache and workers are the tests' own, and end with them."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings

from glm_lsp.core.settings import SETTINGS
from glm_lsp.disk.store import CACHE_VARIABLE
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE, SLOTS
from glm_lsp.workspace.config import FILE_VARIABLE

# A loaded machine is no fault of the code.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(RUNTIME_VARIABLE, str(runtime))
        for slot in SLOTS:
            asyncio.run(connection.stop(rendezvous.place(slot), force=True))


@pytest.fixture(scope="session", autouse=True)
def _nobodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    home = tmp_path_factory.mktemp("nobody")
    with apart(), pytest.MonkeyPatch.context() as patch:
        for name in {setting.variable for setting in SETTINGS} & set(os.environ):
            patch.delenv(name)
        (home / "settings.toml").touch()
        patch.setenv(FILE_VARIABLE, str(home / "settings.toml"))
        patch.setenv("GLM_LSP_STATE", str(home / "state"))
        yield


@pytest.fixture
def runtime() -> Iterator[Path]:
    """A runtime directory of the test's own."""
    with apart() as directory:
        yield directory
