"""The embedded engine with its real worker process: streams, cancellation, death, bad models."""

import asyncio
import contextlib
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
from glm_lsp.engines.frames import Cancelled, Generate, Text
from glm_lsp.engines.process import WorkerProcess
from glm_lsp.engines.scripted import prompt_of

pytestmark = pytest.mark.embedded
CODE = "import os\n\n\ndef read(path):\n    with open(path) as file:\n        "


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
    assert chunks[0].prefill is not None
    assert [bool(c.finish) for c in chunks].index(True) == len(chunks) - 1
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.evaluated_tokens is not None
    assert usage.evaluated_tokens > 0
    assert usage.prompt_tokens == chunks[0].prefill.total_tokens
    assert usage.cached_tokens == chunks[0].prefill.done_tokens
    return "".join(c.text for c in chunks)


async def gone(pid: int) -> None:
    """Wait until no such process is left."""
    while True:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if is_zombie(pid):
            return
        await asyncio.sleep(0.02)


def is_zombie(pid: int) -> bool:
    """It has ended, and whoever inherited it has not asked how."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    return False


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
    worker = await WorkerProcess.start(engine._load())
    pieces = (("[gMASK]<sop><|user|>", True), ("Go on.\n", False), ("<|assistant|><think></think>", True))
    running = worker.submit(Generate(1, pieces, 3500, grammar=ENDLESS))
    waiting = worker.submit(Generate(2, pieces, 3500, grammar=ENDLESS))
    while not isinstance(await worker.next(running, 60), Text):
        pass
    worker.cancel(2)
    assert await worker.next(waiting, 60) == Cancelled(2, 0)
    worker.cancel(1)
    while not isinstance(reply := await worker.next(running, 60), Cancelled):
        pass
    assert 0 < reply.output_tokens < 3500
    await worker.close()


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


@pytest.mark.parametrize(
    ("ending", "cause"), [(signal.SIGKILL, "lack of memory"), (signal.SIGABRT, "assertion")]
)
async def test_death_in_mid_stream_is_a_sentence_and_the_next_request_works(
    engine: EmbeddedEngine, ending: signal.Signals, cause: str
) -> None:
    stream = engine.generate(endless())
    async for chunk in stream:
        if chunk.text:
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
    Path(f"/proc/{pid}/fd/2").write_text(words, encoding="utf-8")


async def test_deaths_in_a_row_end_in_a_rest(engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_BACK_OFF_S", 0.0)
    for _ in range(5):
        stream = engine.generate(endless())
        task = asyncio.ensure_future(anext(stream))
        pid = await born(engine)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(EngineDied, match="while loading the model"):
            await task
    with pytest.raises(EngineUnavailable, match="died 5 times without an answer; it is tried again in"):
        await collect(engine, ask())
    monkeypatch.setattr(embedded, "_REST_S", 0.0)
    check(await collect(engine, ask()))


async def born(engine: EmbeddedEngine) -> int:
    """The worker's process id, as soon as there is one."""
    while engine.worker_pid is None:  # noqa: ASYNC110 (a process has no event for its birth)
        await asyncio.sleep(0)
    return engine.worker_pid


async def test_silence_is_a_stall(nano: ModelProfile, llama: object) -> None:
    engine = EmbeddedEngine(Settings({"model.threads": 1, "engine.stall_seconds": 20.0}), nano)
    await engine.start()
    engine._settings = Settings({"model.threads": 1, "engine.stall_seconds": 1.0})
    pid = engine.worker_pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(EngineStalled, match="no sign of life for 1 s"):
        await collect(engine, ask())
    await gone(pid)
    engine._settings = Settings({"model.threads": 1})
    check(await collect(engine, ask()))
    await engine.close()


async def test_close_ends_the_worker_and_what_is_under_way(engine: EmbeddedEngine) -> None:
    stream = engine.generate(endless())
    await anext(stream)
    pid = engine.worker_pid
    assert pid is not None
    closing = asyncio.create_task(engine.close())
    with pytest.raises(EngineUnavailable, match="closed"):
        async for _ in stream:
            pass
    await closing
    await gone(pid)
    with pytest.raises(EngineUnavailable, match="closed"):
        await collect(engine, ask())


PARENT = """
import asyncio, os, signal, sys
from glm_lsp.core import profiles
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import EmbeddedEngine

async def main():
    engine = EmbeddedEngine(Settings({"model.threads": 1}), profiles.load("nano"))
    await engine.start()
    print(engine.worker_pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_the_worker_ends_with_its_parent(llama: object) -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    worker = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    await gone(worker)


async def test_files_in_the_working_directory_are_not_imported(
    engine: EmbeddedEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("numpy", "msgspec", "llama_cpp", "signal"):
        (tmp_path / f"{name}.py").write_text(
            "open('taken', 'w').close()\nraise SystemExit(9)\n", encoding="utf-8"
        )
    monkeypatch.chdir(tmp_path)
    check(await collect(engine, ask()))
    assert not (tmp_path / "taken").exists()


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
        ({"model.gpu_layers": 4}, ConfigError, "without GPU support"),
    ],
)
async def test_bad_settings_are_a_sentence(
    settings: dict[str, object], error: type[GlmError], message: str, nano: ModelProfile, llama: object
) -> None:
    engine = EmbeddedEngine(Settings({"model.threads": 1, **settings}), nano)
    with pytest.raises(error, match=message):
        await collect(engine, ask())
    await engine.close()


async def test_a_model_that_does_not_fit_memory_is_refused(nano: ModelProfile, llama: object) -> None:
    greedy = type(nano)(**{**{f: getattr(nano, f) for f in nano.__slots__}, "kv_bytes_per_token_f16": 10**10})
    engine = EmbeddedEngine(Settings({"model.threads": 1}), greedy)
    with pytest.raises(ConfigError, match=r"needs [\d.]+ GB of memory .*but only [\d.]+ GB are free"):
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
    chunks = await collect(engine, ask(prefill="", thinking=Thinking.HIGH, reasoning_tokens=5))
    text = check(chunks)
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.reasoning_tokens == 5
    assert "".join(c.reasoning for c in chunks)
    assert "think>" not in text


async def test_a_begun_word_is_continued(engine: EmbeddedEngine) -> None:
    text = check(await collect(engine, ask(CODE + "retur", heal=True, max_tokens=1)))
    assert text.startswith("n")
