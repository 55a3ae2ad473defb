"""Files that pass every check and end llama.cpp in an assertion: a sentence, few deaths, and it heals."""

# ruff: noqa: ASYNC240 (a test may block its own loop)

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.core.errors import EngineDied, EngineUnavailable, ModelFileError
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import connection, embedded, rendezvous
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.rendezvous import MAIN, place
from tests.engines.living import gone, until, workers
from tests.engines.test_embedded import ask, check, collect, endless

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.usefixtures("llama", "runtime"),
]


ASSERTION = r"an assertion in llama\.cpp failed"


def malformed(nano: ModelProfile, path: Path, key: str, value: int) -> Path:
    """The bundled model with one number of its metadata changed."""
    data = bytearray(Path(nano.gguf_path).read_bytes())
    name = f"{nano.architecture}.{key}".encode()
    at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4
    struct.pack_into("<I", data, at, value)
    path.write_bytes(data)
    return path


def engine_of(nano: ModelProfile, path: Path) -> EmbeddedEngine:
    settings = Settings({"model.threads": 1, "worker.drafts": False, "model.path": str(path)})
    return EmbeddedEngine(settings, nano)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("expert_used_count", 0, r"GGML_ASSERT\(n_expert_used_max > 0\) failed"),
        ("block_count", 0, r"GGML_ASSERT\(hparams\.n_layer_all > 0"),
        ("attention.key_length", 3, r"GGML_ASSERT\(a->ne\[0\] == b->ne\[0\]\) failed"),
    ],
)
async def test_an_assertion_while_it_loads_is_one_sentence(
    key: str, value: int, said: str, nano: ModelProfile, tmp_path: Path
) -> None:
    engine = engine_of(nano, malformed(nano, tmp_path / "bad.gguf", key, value))
    with pytest.raises(
        EngineDied,
        match=rf"While it loaded the model: .* SIGABRT \(an assertion in llama.cpp failed\).*{said}",
    ) as caught:
        await collect(engine, ask())
    assert "\n" not in str(caught.value)
    await engine.close()
    await until(lambda: not workers(place(MAIN)))


async def test_deaths_are_bounded_and_a_mended_file_heals(
    nano: ModelProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_BACK_OFF_S", 0.0)
    path = malformed(nano, tmp_path / "model.gguf", "expert_used_count", 0)
    engine = engine_of(nano, path)
    for _ in range(5):
        with pytest.raises(EngineDied, match=ASSERTION):
            await collect(engine, ask())
    await until(lambda: not workers(place(MAIN)))
    for _ in range(20):
        with pytest.raises(EngineUnavailable, match="died 5 times without an answer; it is tried again in"):
            await collect(engine, ask())
        assert workers(place(MAIN)) == []
    path.write_bytes(Path(nano.gguf_path).read_bytes())
    check(await collect(engine, ask()))
    assert engine._deaths == 0
    await engine.close()


def counting(monkeypatch: pytest.MonkeyPatch, *, after_s: float = 0.0) -> list[float]:
    """When a worker was reached for, or started; what it says of the model comes so much later."""
    started: list[float] = []
    reach = connection.reach

    async def counted(*arguments: Any, **options: Any) -> connection.Connection:
        started.append(time.monotonic())
        await asyncio.sleep(after_s)
        return await reach(*arguments, **options)

    monkeypatch.setattr(connection, "reach", counted)
    return started


async def test_a_file_that_is_refused_is_tried_again_when_it_has_changed_or_after_a_while(
    nano: ModelProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = tmp_path / "model.gguf", Path(nano.gguf_path).read_bytes()
    path.write_bytes(whole[:-1000])
    engine = engine_of(nano, path)
    started = counting(monkeypatch)
    for _ in range(20):
        with pytest.raises(ModelFileError, match="is cut off"):
            await collect(engine, ask())
    assert len(started) == 1
    monkeypatch.setattr(embedded, "_REFUSED_S", 0.0)
    with pytest.raises(ModelFileError, match="is cut off"):
        await collect(engine, ask())
    assert len(started) == 2
    monkeypatch.setattr(embedded, "_REFUSED_S", 3600.0)
    path.write_bytes(whole)
    check(await collect(engine, ask()))
    assert len(started) == 3
    await engine.close()


async def test_a_file_whose_loading_takes_long_until_it_is_refused_rests_from_then_on(
    nano: ModelProfile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(Path(nano.gguf_path).read_bytes()[:-1000])
    engine = engine_of(nano, path)
    monkeypatch.setattr(embedded, "_REFUSED_S", 3.0)
    started = counting(monkeypatch, after_s=3.5)
    for _ in range(3):
        with pytest.raises(ModelFileError, match="is cut off"):
            await collect(engine, ask())
    assert len(started) == 1
    await engine.close()


@pytest.mark.parametrize("ended", ["stopped", "SIGTERM"])
async def test_a_worker_that_was_ended_early_is_no_model_that_is_refused(
    nano: ModelProfile, ended: str
) -> None:
    engine = engine_of(nano, Path(nano.gguf_path))
    check(await collect(engine, ask()))
    first = engine.worker_pid
    assert first is not None
    if ended == "stopped":
        assert await connection.stop(place(MAIN), force=True) == ""
    else:
        os.kill(first, signal.SIGTERM)
    await until(lambda: engine.worker_pid is None)
    check(await collect(engine, ask()))
    assert engine.worker_pid not in (None, first)
    await engine.close()


async def test_an_end_as_for_lack_of_memory_names_the_remedy(nano: ModelProfile) -> None:
    engine = engine_of(nano, Path(nano.gguf_path))
    stream = engine.generate(endless())
    await anext(stream)
    keeper, pid = rendezvous.named(place(MAIN))
    assert keeper != pid == engine.worker_pid
    os.kill(pid, signal.SIGKILL)
    remedy = (
        r"starts it again\. If memory ran out, lower model\.kv_tokens or model\.context_tokens, or end other"
    )
    with pytest.raises(EngineDied, match=rf"SIGKILL \(from outside, or by the system .*\)\. .*{remedy}"):
        async for _ in stream:
            pass
    await gone(pid)
    check(await collect(engine, ask()))
    await engine.close()
