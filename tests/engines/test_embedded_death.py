"""What becomes of requests when the worker, or a client of it, dies or stands still."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glm_lsp.core.errors import (
    EngineDied,
    EngineStalled,
    EngineUnavailable,
)
from glm_lsp.core.generation import Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import embedded
from glm_lsp.engines.embedded import EmbeddedEngine
from tests.engines.asking import ask, check, collect, endless
from tests.engines.living import gone, until

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize("phase", ["prefill", "decode"])
@pytest.mark.parametrize(
    ("ending", "cause"), [(signal.SIGKILL, "lack of memory"), (signal.SIGABRT, "assertion")]
)
async def test_death_in_mid_stream_is_a_sentence_and_the_next_request_works(
    engine: EmbeddedEngine, ending: signal.Signals, cause: str, phase: str
) -> None:
    stream = engine.generate(endless() if phase == "decode" else ask(user="x = 1\n" * 600))
    async for chunk in stream:
        if chunk.text or (phase == "prefill" and chunk.prefill and chunk.prefill.done_tokens):
            break
    first = engine.worker_pid
    assert first is not None
    os.kill(first, ending)
    with pytest.raises(
        EngineDied, match=f"was ended by {ending.name} .*{cause}.* next request starts it again"
    ):
        async for _ in stream:
            pass
    check(await collect(engine, ask()))
    assert engine.worker_pid not in (None, first)


@pytest.mark.skipif(sys.platform != "linux", reason="writes to the worker's stderr through /proc")
async def test_a_failed_assertion_is_told_with_its_last_words(engine: EmbeddedEngine) -> None:
    await engine.start()
    pid = engine.worker_pid
    assert pid is not None
    say(pid, "ggml.c:1: GGML_ASSERT(n_tokens <= n_batch) failed\n")
    stream = engine.generate(endless())
    await anext(stream)
    os.kill(pid, signal.SIGABRT)
    with pytest.raises(
        EngineDied, match=r"Its last words: ggml.c:1: GGML_ASSERT\(n_tokens <= n_batch\) failed"
    ):
        async for _ in stream:
            pass


def say(pid: int, words: str) -> None:
    """Write to a process's stderr, as native code in it would."""
    with Path(f"/proc/{pid}/fd/2").open("a", encoding="utf-8") as log:
        log.write(words)


async def test_deaths_in_a_row_end_in_a_rest(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_BACK_OFF_S", 0.0)
    for _ in range(5):
        stream = engine.generate(endless())
        task = asyncio.ensure_future(anext(stream))
        await until(lambda: engine.worker_pid is not None)
        assert engine.worker_pid is not None
        os.kill(engine.worker_pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="was ended by SIGKILL"):
            await task
    with pytest.raises(EngineUnavailable, match="died 5 times without an answer; it is tried again in"):
        await collect(engine, ask())
    monkeypatch.setattr(embedded, "_REST_S", 0.0)
    check(await collect(engine, ask()))


async def test_a_death_is_told_to_everybody_and_counted_once(engine: EmbeddedEngine) -> None:
    streams = [engine.generate(endless()) for _ in range(3)]
    for stream in streams:
        await anext(stream)
    assert engine.worker_pid is not None
    os.kill(engine.worker_pid, signal.SIGKILL)
    for stream in streams:
        with pytest.raises(EngineDied, match="was ended by SIGKILL"):
            async for _ in stream:
                pass
    assert engine._deaths == 1


async def test_a_worker_that_stands_still_is_ended_and_another_answers(
    nano: ModelProfile, llama: object, runtime: Path
) -> None:
    engine = EmbeddedEngine(
        Settings({"model.threads": 1, "worker.drafts": False, "engine.stall_seconds": 3.0}), nano
    )
    await engine.start()
    pid = engine.worker_pid
    assert pid is not None
    stream = engine.generate(endless())
    await anext(stream)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(
        EngineStalled, match=r"no sign of life for 3 s \(engine.stall_seconds\) and was ended"
    ):
        async for _ in stream:
            pass
    await gone(pid)
    check(await collect(engine, ask()))
    await engine.close()


CLIENT = """
import asyncio
from glm_lsp.core import profiles
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import EmbeddedEngine
from tests.engines.asking import endless

async def main():
    settings = Settings({"model.threads": 1, "worker.drafts": False, "model.kv_type": "f32"})
    engine = EmbeddedEngine(settings, profiles.load("nano"), client="killed")
    async for chunk in engine.generate(endless()):
        print(engine.worker_pid, flush=True)

asyncio.run(main())
"""


async def test_a_client_that_is_killed_takes_only_its_own_work_along(engine: EmbeddedEngine) -> None:
    await engine.start()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    assert int(await process.stdout.readline()) == engine.worker_pid
    stream = engine.generate(endless(Work.IDLE))
    await anext(stream)
    process.kill()
    await process.wait()
    async for chunk in stream:
        if chunk.text:
            break
    status = await engine.status()
    assert status is not None
    assert [(job.client, job.state) for job in status.jobs] == [("glm-lsp", "writing")]
    await stream.aclose()
    check(await collect(engine, ask()))
