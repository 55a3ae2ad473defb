"""Reading and writing through a real worker beside llama-bench, and what a token costs besides llama.cpp."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from glm_lsp.engines.connection import Connection
from glm_lsp.engines.frames import Load
from tests.bench import llama_bench, real
from tests.bench.llama_bench import Missing, Setup
from tests.bench.rows import Options, Row
from tests.lsp.wire import ROOT

PROMPT, WRITTEN = 512, 64
STEPS = 100
"""Of one run: short ones turn about, because this machine's speed wanders within seconds."""
_RATIO = 0.97
_ADDED_US = 50.0


async def beside_llama_bench(options: Options) -> AsyncIterator[Row]:
    """Goal 0.97 of llama-bench, reading and writing; the same model, threads, batch and kernels."""
    model, threads = options.large(), options.threads
    program = llama_bench.found(options.llama_bench)
    setup = Setup(model, threads, real.BATCH)
    # Room for one request: what the requests before have left would be in the way of this one's attention.
    load = real.load_of(model, context=PROMPT + WRITTEN + 1, threads=threads)
    read: list[tuple[float, float]] = []
    wrote: list[tuple[float, float]] = []
    async with real.worker(load) as worker:
        await _ours(worker, model, 0)
        for number in range(options.rounds):
            # Turn about, and each round begins with the other one.
            if number % 2:
                theirs = await asyncio.to_thread(_theirs, program, setup)
                ours = await _ours(worker, model, number + 1)
            else:
                ours = await _ours(worker, model, number + 1)
                theirs = await asyncio.to_thread(_theirs, program, setup)
            read.append((ours[0], theirs[0]))
            wrote.append((ours[1], theirs[1]))
            options.progress(f"round {number + 1}: ours {_pair(ours)}, llama-bench {_pair(theirs)}")
    for what, pairs in ((f"reading {PROMPT} tokens", read), (f"writing {WRITTEN} tokens after them", wrote)):
        ratio, low, high = _likely([a / b for a, b in pairs])
        yield Row(
            f"{what}, {model.stat().st_size / 1e9:.2f} GB, {_threads(threads)}",
            f"{_middle(pairs, 0):.1f} tokens/s through the worker's socket",
            f"{_middle(pairs, 1):.1f} tokens/s (llama-bench, not repacked), {len(pairs)} rounds turn about",
            f"ratio {ratio:.3f} ({low:.3f} to {high:.3f}), at least {_RATIO}",
            ratio >= _RATIO,
        )
    try:
        said = _pair(await asyncio.to_thread(_theirs, program, setup, repack=True))
    except Missing as error:
        said = f"it does not run: {error}"
    yield Row(
        "llama-bench with its own default, weights repacked",
        "not offered: repacked weights end or falsify this architecture on some processors",
        said,
    )


async def _ours(worker: Connection, model: Path, seed: int) -> tuple[float, float]:
    """Tokens per second of a new prompt, and of its answer, whose tokens vary as llama-bench's do."""
    for number in range(20):
        text = real.text_of(model, PROMPT, 100 * seed + number)
        found = await real.answer(worker, real.request(text, most=WRITTEN, warm=1.0))
        assert found.result.cached_tokens < 16, "the prompt was not new"
        if found.result.output_tokens > WRITTEN // 2:
            return (PROMPT - found.result.cached_tokens) / (found.read - found.sent), 1 / found.token_s
    raise RuntimeError("The random model ends its answers at once.")


def _theirs(program: Path, setup: Setup, *, repack: bool = False) -> tuple[float, float]:
    """The same of llama-bench: it writes at the same depth."""
    read, _ = llama_bench.measure(program, setup, PROMPT, 0, repack=repack)
    _, wrote = llama_bench.measure(program, setup, 0, WRITTEN, depth=PROMPT, repack=repack)
    return read, wrote


async def added(options: Options) -> AsyncIterator[Row]:
    """Goal: at most 50 µs a token more than the least that llama.cpp takes, on the small model."""
    model = options.nano()
    # Room for one request: what those before have left would be searched by this one's attention.
    prompt = len(real.tokenizer(model).encode(real.opening(0)))
    load = real.load_of(model, context=prompt + STEPS + 16, threads=1)
    wall: list[tuple[float, float]] = []
    processor: list[tuple[float, float]] = []
    async with real.worker(load) as worker, _bare(load) as bare:
        start, _ = await real.endless(worker, STEPS + 1)
        ids = list(map(int, real.tokenizer(model).encode(start)))
        for number in range(20 * options.rounds + 1):
            # The prompt is there already, so its last token alone is read; the rest is writing.
            marks: list[float] = []

            def mark(found: real.Answered, _: object, marks: list[float] = marks) -> None:
                if found.read and not marks:
                    marks.append(real.processor_s(worker.pid))

            ours = await real.answer(worker, real.request(start, most=STEPS + 1), mark)
            spent = real.processor_s(worker.pid) - marks[0]
            least_wall, least_processor, _ = await asyncio.to_thread(bare.ask, ids, STEPS)
            assert ours.result.output_tokens == STEPS + 1
            wall.append((ours.token_s, least_wall / STEPS))
            processor.append((spent / STEPS, least_processor / STEPS))
            if number % 20 == 0:
                options.progress(f"round {number}: {wall[-1][0] * 1e6:.0f} µs, {wall[-1][1] * 1e6:.0f} µs")
    for what, pairs in (("wall", wall), ("processor time, all threads", processor)):
        more, low, high = _likely([(a - b) * 1e6 for a, b in pairs])
        yield Row(
            f"a token of nano, {what}",
            f"{_middle(pairs, 0) * 1e6:.0f} µs through the worker's socket",
            f"{_middle(pairs, 1) * 1e6:.0f} µs (bare llama_decode and argmax), {len(pairs)} rounds",
            f"{more:+.0f} µs ({low:+.0f} to {high:+.0f}), at most {_ADDED_US:.0f}",
            more <= _ADDED_US,
        )
    with contextlib.suppress(Missing):
        program, setup = llama_bench.found(options.llama_bench), Setup(model, 1, real.BATCH)
        _, speed = await asyncio.to_thread(
            llama_bench.measure, program, setup, 0, STEPS, depth=prompt, repetitions=5
        )
        theirs = 1e6 / speed
        yield Row(
            "the same beside llama-bench, at the same depth",
            f"{_middle(wall, 0) * 1e6:.0f} µs",
            f"{theirs:.0f} µs (it chooses no token, and was not measured turn about)",
            f"{_middle(wall, 0) * 1e6 - theirs:+.0f} µs",
        )


class Bare:
    """The bare loop's process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, ids: list[int], steps: int) -> tuple[float, float, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([ids, steps]) + "\n")
        self._process.stdin.flush()
        wall, processor, token = json.loads(self.line())
        return wall, processor, token

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@asynccontextmanager
async def _bare(load: Load) -> AsyncIterator[Bare]:
    with _process(msgspec.json.encode(load).decode()) as process:
        bare = Bare(process)
        assert (await asyncio.to_thread(bare.line)).strip() == "ready", "the bare loop did not start"
        yield bare


@contextlib.contextmanager
def _process(load: str) -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "tests.bench.bare_loop", load)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _pair(speeds: tuple[float, float]) -> str:
    return f"reading {speeds[0]:.1f}, writing {speeds[1]:.1f} tokens/s"


def _middle(pairs: list[tuple[float, float]], at: int) -> float:
    return statistics.median(pair[at] for pair in pairs)


def _likely(values: list[float]) -> tuple[float, float, float]:
    """The median, and between which two of the values that of many more rounds would be, 19 times of 20."""
    ordered, away = sorted(values), 0.98 * math.sqrt(len(values))
    middle = (len(values) - 1) / 2
    low, high = max(math.floor(middle - away), 0), min(math.ceil(middle + away), len(values) - 1)
    return statistics.median(values), ordered[low], ordered[high]
