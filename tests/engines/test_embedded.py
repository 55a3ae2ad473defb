"""The embedded engine with its real worker process: streams, order, cancellation, what is shared."""

import asyncio
import dataclasses
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from glm_lsp.core.errors import (
    EngineUnavailable,
)
from glm_lsp.core.generation import Chunk, GenerateRequest, Thinking, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.frames import Cancelled, Generate, Progress, Text
from glm_lsp.engines.router import Router
from glm_lsp.engines.scripted import prompt_of
from tests.engines.asking import CODE, ENDLESS, SOURCE, ask, check, collect, copy, endless
from tests.engines.living import client

pytestmark = pytest.mark.embedded


async def test_streams_an_answer_and_reuses_the_prompt(engine: EmbeddedEngine) -> None:
    assert engine.worker_pid is None
    first = check(await collect(engine, ask()))
    again = await collect(engine, ask())
    assert check(again) == first
    assert again[-1].usage == engine.figures
    assert engine.figures is not None
    assert engine.figures.evaluated_tokens == 1


async def test_an_answer_that_is_left_early_has_told_its_cost(engine: EmbeddedEngine) -> None:
    request = ask(grammar=ENDLESS)  # with it, any model writes something
    whole = (await collect(engine, request))[-1].usage
    async with aclosing(engine.generate(request)) as stream:
        known = [chunk.usage async for chunk in _until_text(stream) if chunk.usage]
    assert whole is not None
    assert [(u.prompt_tokens, u.evaluated_tokens) for u in known] == [(whole.prompt_tokens, 1)]
    assert engine.figures == known[0]


async def _until_text(stream: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    async for chunk in stream:
        yield chunk
        if chunk.text:
            return


async def test_requests_at_the_same_time_are_all_answered(engine: EmbeddedEngine) -> None:
    alone = check(await collect(engine, ask()))
    texts = await asyncio.gather(*(collect(engine, ask(max_tokens=12 + n)) for n in range(4)))
    assert all(check(chunks).startswith(alone) for chunks in texts)


async def test_the_urgent_goes_before_those_that_wait(engine: EmbeddedEngine) -> None:
    done: list[Work] = []

    async def run(work: Work) -> None:
        await collect(engine, ask(max_tokens=30, work=work))
        done.append(work)

    await engine.start()
    running = engine.generate(ask(max_tokens=60, grammar=ENDLESS, work=Work.IDLE))
    await anext(running)
    async with asyncio.TaskGroup() as tasks:
        for work in (Work.IDLE, Work.REFACTOR, Work.ACTION, Work.TYPING):
            tasks.create_task(run(work))
        async for _ in running:
            pass
    assert done == [Work.TYPING, Work.ACTION, Work.REFACTOR, Work.IDLE]


async def test_closing_the_stream_frees_the_engine(engine: EmbeddedEngine) -> None:
    stream = engine.generate(endless())
    async for chunk in stream:
        if chunk.text:
            break
    await stream.aclose()
    check(await collect(engine, ask()))


async def test_cancelling_stops_decoding_in_llama_cpp(engine: EmbeddedEngine) -> None:
    async with client(kv_type="f32") as worker:
        pieces = (
            *(("[gMASK]<sop><|user|>", True), ("Go on.\n", False)),
            ("<|assistant|><think></think>", True),
        )
        running = worker.submit(Generate(1, pieces, 3500, grammar=ENDLESS))
        waiting = worker.submit(Generate(2, pieces, 3500, grammar=ENDLESS))
        while not isinstance(await worker.next(running, 60), Text):
            pass
        worker.cancel(2)
        while not isinstance(reply := await worker.next(waiting, 60), Cancelled):
            assert isinstance(reply, Progress)
        assert reply == Cancelled(2, 0)
        worker.cancel(1)
        while not isinstance(reply := await worker.next(running, 60), Cancelled):
            pass
        assert 0 < reply.output_tokens < 3500


async def test_a_cancelled_task_cancels_the_request(engine: EmbeddedEngine) -> None:
    await engine.start()
    tasks = [asyncio.create_task(collect(engine, endless())) for _ in range(3)]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(r, asyncio.CancelledError) for r in await asyncio.gather(*tasks, return_exceptions=True)
    )
    check(await collect(engine, ask()))


async def test_close_leaves_the_worker_to_others(
    engine: EmbeddedEngine, nano: ModelProfile, embedded_settings: Settings
) -> None:
    other = EmbeddedEngine(embedded_settings, nano, client="other")
    going_on, ended = other.generate(endless()), engine.generate(endless())
    await anext(going_on)
    await anext(ended)
    pid = engine.worker_pid
    assert pid == other.worker_pid
    closing = asyncio.create_task(engine.close())
    with pytest.raises(EngineUnavailable, match="closed"):
        async for _ in ended:
            pass
    await closing
    with pytest.raises(EngineUnavailable, match="closed"):
        await collect(engine, ask())
    async for chunk in going_on:
        if chunk.text:
            break
    status = await other.status()
    assert status is not None
    assert status.clients == (f"other (process {os.getpid()})",)
    assert [job.client for job in status.jobs] == ["other"]
    await going_on.aclose()
    await other.close()


async def test_a_model_that_was_loaded_is_there_for_the_next_engine(
    engine: EmbeddedEngine, nano: ModelProfile, embedded_settings: Settings
) -> None:
    text = check(await collect(engine, ask()))
    pid = engine.worker_pid
    await engine.close()
    again = EmbeddedEngine(embedded_settings, nano)
    chunks = await collect(again, ask())
    assert check(chunks) == text
    assert again.worker_pid == pid
    assert again.figures is not None
    assert again.figures.evaluated_tokens == 1
    await again.close()


async def test_reading_ahead_writes_nothing_and_spares_the_next(engine: EmbeddedEngine) -> None:
    user = SOURCE
    prompt = prompt_of(user, prefill="")
    trunk = dataclasses.replace(prompt, segments=prompt.segments[:1], trunk_segments=1)
    chunks = await collect(engine, GenerateRequest(trunk, 0, work=Work.IDLE))
    assert not any(c.text for c in chunks)
    read = engine.figures
    assert read is not None
    assert read.output_tokens == 0
    check(await collect(engine, ask(user=user)))
    assert engine.figures is not None
    assert engine.figures.cached_tokens is not None
    assert read.prompt_tokens is not None
    assert engine.figures.cached_tokens >= read.prompt_tokens - 2


async def test_the_schema_reaches_the_model(engine: EmbeddedEngine) -> None:
    schema = '{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}'
    text = check(await collect(engine, ask(prefill="", schema=schema, max_tokens=40)))
    assert text.replace(" ", "").startswith('{"n":')


async def test_reasoning_is_bounded_and_apart(engine: EmbeddedEngine) -> None:
    chunks = await collect(engine, ask(prefill="", thinking=Thinking.HIGH, reasoning_tokens=1))
    text = check(chunks)
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.reasoning_tokens == 1
    assert "".join(c.reasoning for c in chunks)
    assert "think>" not in text


async def test_a_begun_word_is_continued(engine: EmbeddedEngine) -> None:
    text = check(await collect(engine, ask(CODE + "retur", heal=True, max_tokens=1)))
    assert text.startswith("n")


async def test_a_model_for_typing_runs_beside_the_large_one(
    nano: ModelProfile, llama: object, runtime: Path, tmp_path: Path
) -> None:
    settings = {"model.threads": 1, "worker.drafts": False, "typing_model.context_tokens": 1024}
    for name in ("model", "typing_model"):
        copy(nano, tmp_path / f"{name}-nano.gguf", lambda data: data)
        settings |= {f"{name}.path": str(tmp_path / f"{name}-nano.gguf")}
    router = Router(Settings(settings))
    typing, action = router.engine(Work.TYPING), router.engine(Work.ACTION)
    assert isinstance(typing, EmbeddedEngine)
    assert isinstance(action, EmbeddedEngine)
    await asyncio.gather(typing.start(), action.start())
    assert typing.worker_pid != action.worker_pid
    small, large = await typing.status(), await action.status()
    assert small is not None
    assert large is not None
    assert (small.model, large.model) == (settings["typing_model.path"], settings["model.path"])
    assert small.kv_tokens == 2048
    busy = action.generate(endless())
    await anext(busy)
    check(await collect(typing, ask(work=Work.TYPING)))
    await busy.aclose()
    await router.close()
