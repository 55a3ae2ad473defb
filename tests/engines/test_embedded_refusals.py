"""What cannot be served, models, settings and requests, is a sentence and harms nobody."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from glm_lsp.core import profiles
from glm_lsp.core.errors import (
    NOTICES,
    ConfigError,
    EngineError,
    EngineUnavailable,
    GlmError,
    PromptTooLong,
    UsageError,
)
from glm_lsp.core.generation import GenerateRequest
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import INSTALL, EmbeddedEngine
from tests.engines.asking import ask, check, collect, copy

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], "is cut off"),
        (lambda data: data[:5000], "is damaged"),
        (lambda data: b"MZ" + data, "is not a GGUF model file"),
        (lambda data: data.replace(b"glm-dsa", b"gpt-foo", 1), "is of architecture 'gpt-foo'"),
        (
            lambda data: data.replace(b"glm-dsa.block_count", b"glm-dsa.block_kount", 1),
            "cannot load the model file",
        ),
    ],
    ids=["cut", "head", "other", "architecture", "key"],
)
async def test_a_bad_model_is_a_sentence(
    damage: Callable[[bytes], bytes], message: str, nano: ModelProfile, llama: object, tmp_path: Path
) -> None:
    path = tmp_path / "bad.gguf"
    copy(nano, path, damage)
    engine = EmbeddedEngine(Settings({"model.path": str(path), "model.threads": 1}), nano)
    with pytest.raises(ConfigError, match=message):
        await collect(engine, ask())
    await engine.close()


async def test_a_mended_model_is_taken_up(nano: ModelProfile, llama: object, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    copy(nano, path, lambda data: data[:5000])
    engine = EmbeddedEngine(Settings({"model.path": str(path), "model.threads": 1}), nano)
    with pytest.raises(ConfigError, match="is damaged"):
        await engine.start()
    copy(nano, path, lambda data: data)
    check(await collect(engine, ask()))
    await engine.close()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"model.path": "/none.gguf"}, EngineUnavailable, "/none.gguf does not exist; set model.path"),
        ({"model.context_tokens": 8192}, ConfigError, "is 8,192, but nano was trained for 4,096"),
    ],
)
async def test_bad_settings_are_a_sentence(
    settings: dict[str, object], error: type[GlmError], message: str, nano: ModelProfile, llama: object
) -> None:
    engine = EmbeddedEngine(Settings({"model.threads": 1, "worker.drafts": False, **settings}), nano)
    with pytest.raises(error, match=message):
        await collect(engine, ask())
    await engine.close()


async def test_layers_on_a_gpu_need_one(nano: ModelProfile, llama: object) -> None:
    from glm_lsp.engines.worker.devices import devices  # noqa: PLC0415 (it loads llama.cpp)

    if devices():
        pytest.skip("llama.cpp sees a GPU here")
    engine = EmbeddedEngine(Settings({"model.threads": 1, "model.gpu_layers": 4}), nano)
    with pytest.raises(ConfigError, match="sees no GPU"):
        await collect(engine, ask())
    await engine.close()


async def test_a_model_that_does_not_fit_memory_is_refused(nano: ModelProfile, llama: object) -> None:
    greedy = {"model.threads": 1, "worker.drafts": False, "model.kv_tokens": 10**9}
    engine = EmbeddedEngine(Settings(greedy), nano)
    with pytest.raises(ConfigError, match=r"needs [\d.]+ GB of memory .*, but only [\d.]+ GB are free"):
        await engine.start()
    await engine.close()


async def test_a_cache_that_is_made_larger_than_it_was_set_is_told_once(
    nano: ModelProfile, llama: object, caplog: pytest.LogCaptureFixture
) -> None:
    small = {"model.threads": 1, "worker.drafts": False, "model.kv_tokens": 100}
    engine = EmbeddedEngine(Settings(small), nano)
    for _ in range(2):
        await engine.start()
    await engine.close()
    told = [record.getMessage() for record in caplog.records if record.name == NOTICES]
    assert told == ["model.kv_tokens is 100, less than the context: the KV cache holds 4,096 tokens."]


async def test_a_profile_without_a_file_says_what_to_set(engine: EmbeddedEngine) -> None:
    assert "set model.path" in EmbeddedEngine(Settings(), profiles.load("glm-5.2")).availability()
    assert engine.availability() == ""


async def test_without_llama_cpp_it_says_what_to_install(
    nano: ModelProfile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    engine = EmbeddedEngine(Settings(), nano)
    assert engine.availability().endswith(INSTALL)
    with pytest.raises(EngineUnavailable, match="needs llama-cpp-python"):
        await collect(engine, ask())


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (ask(user="x = 1\n" * 3000), PromptTooLong, "context has 4,096"),
        (ask(grammar="root ::= ("), UsageError, "grammar"),
        (ask(temperature=-1.0), UsageError, "Sampling needs"),
        (ask(prefill="", user="\ud800"), UsageError, "not Unicode"),
        (ask(seed=1 << 64), UsageError, "more than 64 bits"),
    ],
    ids=["long", "grammar", "temperature", "surrogate", "seed"],
)
async def test_a_request_that_cannot_be_served_harms_nobody(
    engine: EmbeddedEngine, request_: GenerateRequest, error: type[EngineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await collect(engine, request_)
    pid = engine.worker_pid
    check(await collect(engine, ask()))
    assert engine.worker_pid == pid
