"""The bundled model for the engines' tests: one thread, and a KV cache of f32, so that equal means equal."""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.core import profiles
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import INSTALL, EmbeddedEngine


@pytest.fixture(scope="session")
def nano() -> ModelProfile:
    return profiles.load("nano")


@pytest.fixture(scope="session")
def model_path(nano: ModelProfile) -> str:
    return nano.gguf_path


@pytest.fixture(scope="session")
def llama() -> Any:
    """The bindings, in this process; tests that use them skip where they are not installed."""
    # Before a library with OpenMP loads: spinning threads would starve whatever else runs here.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return pytest.importorskip("llama_cpp.llama_cpp", reason=f"llama-cpp-python is not installed: {INSTALL}")


@pytest.fixture
def embedded_settings() -> Settings:
    return Settings({"model.threads": 1, "worker.drafts": False, "model.kv_type": "f32"})


@pytest.fixture
async def engine(
    nano: ModelProfile, embedded_settings: Settings, llama: Any, runtime: Path
) -> AsyncIterator[EmbeddedEngine]:
    """An engine with a worker that nobody else has asked for anything."""
    engine = EmbeddedEngine(embedded_settings, nano)
    yield engine
    await engine.close()
