"""The embedded engine with its real worker process: streams, cancellation, death, bad models."""

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from glm_lsp.core import profiles
from glm_lsp.core.errors import (
    ConfigError,
    EngineDied,
    EngineError,
    EngineStalled,
    EngineUnavailable,
    GlmError,
    PromptTooLong,
    UsageError,
)
from glm_lsp.core.generation import Chunk, Engine, GenerateRequest, Thinking, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import embedded
from glm_lsp.engines.embedded import INSTALL, EmbeddedEngine
from glm_lsp.engines.frames import Cancelled, Generate, Progress, Text
from glm_lsp.engines.router import Router
from glm_lsp.engines.scripted import prompt_of
from tests.engines.living import client, gone, until

pytestmark = pytest.mark.embedded
CODE = "import os\n\n\ndef read(path):\n    with open(path) as file:\n        "


SOURCE = "".join(f"def step_{n}(value, other):\n    return value * {n} + other\n" for n in range(14))
ENDLESS = r"root ::= [ -~\n] root"


def ask(
    prefill: str = CODE, *, max_tokens: int = 12, user: str = "Go on.\n", **options: object
) -> GenerateRequest:
    return GenerateRequest(prompt_of(user, prefill=prefill), max_tokens, **options)  # type: ignore[arg-type]


def endless(work: Work = Work.ACTION) -> GenerateRequest:
    """A request that no model ends by itself, long enough to outlast any test."""
    return ask(max_tokens=3500, grammar=ENDLESS, work=work)


async def collect(engine: Engine, request: GenerateRequest) -> list[Chunk]:
    return [chunk async for chunk in engine.generate(request)]


def check(chunks: list[Chunk]) -> str:
    """The stream has the port's shape; return its text."""
    # One without a total says only that others go first.
    begun = [c.prefill for c in chunks if c.prefill is not None and c.prefill.total_tokens]
    assert chunks[0].prefill is not None
    assert [bool(c.finish) for c in chunks].index(True) == len(chunks) - 1
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.evaluated_tokens is not None
    assert usage.evaluated_tokens > 0
    assert usage.prompt_tokens == begun[0].total_tokens
    assert usage.cached_tokens == begun[0].done_tokens
    return "".join(c.text for c in chunks)


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


CLIENT = """
import asyncio
from glm_lsp.core import profiles
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import EmbeddedEngine
from tests.engines.test_embedded import endless

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


def copy(nano: ModelProfile, path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(Path(nano.gguf_path).read_bytes()))


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
        ({"model.gpu_layers": 4}, ConfigError, "sees no GPU"),
    ],
)
async def test_bad_settings_are_a_sentence(
    settings: dict[str, object], error: type[GlmError], message: str, nano: ModelProfile, llama: object
) -> None:
    engine = EmbeddedEngine(Settings({"model.threads": 1, "worker.drafts": False, **settings}), nano)
    with pytest.raises(error, match=message):
        await collect(engine, ask())
    await engine.close()


async def test_a_model_that_does_not_fit_memory_is_refused(nano: ModelProfile, llama: object) -> None:
    greedy = {"model.threads": 1, "worker.drafts": False, "model.kv_tokens": 10**9}
    engine = EmbeddedEngine(Settings(greedy), nano)
    with pytest.raises(ConfigError, match=r"needs [\d.]+ GB of memory .*, but only [\d.]+ GB are free"):
        await engine.start()
    await engine.close()


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
    ],
    ids=["long", "grammar", "temperature", "surrogate"],
)
async def test_a_request_that_cannot_be_served_harms_nobody(
    engine: EmbeddedEngine, request_: GenerateRequest, error: type[EngineError], message: str
) -> None:
    with pytest.raises(error, match=message):
        await collect(engine, request_)
    pid = engine.worker_pid
    check(await collect(engine, ask()))
    assert engine.worker_pid == pid


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
