"""How soon a worker turns to something else: to a keystroke in other work, and to nothing at a cancel."""

from __future__ import annotations

import asyncio
import json
import math
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from glm_lsp.engines.connection import Connection
from glm_lsp.engines.frames import Cancelled, Done, Progress, Text
from tests.bench import real
from tests.bench.probe import percentile
from tests.bench.real import STALL_S, Answered
from tests.bench.rows import Options, Row
from tests.lsp.wire import ROOT

BATCHES = 2
CANCELLED_MS = 100.0
_LARGE = 60
"""Cancels of the large model; it takes long to come to where it is cancelled."""
_TRICKLE_S, _TRICKLE = 0.03, "30 ms"
"""An idle worker is watched for so long."""


@dataclass(frozen=True)
class Typed:
    """A keystroke: seconds until its first step, and how much of the other work's time had passed by then."""

    took_s: float
    share: float


Pace = Callable[[float], float]
"""Seconds of a micro-batch when this share of the work's time has passed."""


async def keystrokes(options: Options) -> AsyncIterator[Row]:
    """Goal: it begins within 2 micro-batches of the other work, which then evaluates 0 tokens again."""
    for model, name, context, written in (
        (options.nano(), "nano", 4096, 3000),
        (options.large(), _size(options.large()), 4096, 400),
    ):
        threads = 1 if name == "nano" else options.threads
        load = real.load_of(model, context=context, kv_tokens=3 * context, threads=threads)
        async with real.worker(load) as worker:
            options.progress(f"{name}: undisturbed")
            start, calm = await real.endless(worker, written // 4)
            gap_s = written * calm.token_s / (options.keystrokes + 5)
            options.progress(f"{name}: while an answer is written")
            took, background = await _typed(
                worker, load, real.request(start + "#", most=written), options.keystrokes, gap_s
            )
            pace = slowing(written // 4, calm.result.decode_seconds, background)
            for row in _told(f"{name}, while an answer is written", took, pace, background):
                yield row
            size = min(context - 1, 16 * real.BATCH)
            calm = await real.answer(worker, real.request(real.text_of(model, size // 2, 1), most=0))
            options.progress(f"{name}: while a prompt is read, {calm.batch_s:.2f} s a micro-batch")
            count = max(size // real.BATCH - 4, 4)
            took, background = await _typed(
                worker,
                load,
                real.request(real.text_of(model, size, 2), most=0),
                count,
                size / real.BATCH * calm.batch_s / (count + 2),
            )
            batch_s = calm.batch_s
            for row in _told(f"{name}, while a prompt is read", took, lambda _, s=batch_s: s, background):
                yield row


def _size(model: Path) -> str:
    return f"{model.stat().st_size / 1e9:.2f} GB"


async def _typed(
    worker: Connection, load: object, background: object, count: int, gap_s: float
) -> tuple[list[Typed], Answered]:
    """Another process types while we have work done: its keystrokes before our end, and that."""
    command = (sys.executable, "-m", "tests.bench.worker_yield", msgspec.json.encode(load).decode())
    typist = await asyncio.create_subprocess_exec(
        *command,
        str(count),
        str(gap_s),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    assert typist.stdin is not None and typist.stdout is not None
    assert (await typist.stdout.readline()).strip() == b"ready"
    under_way = asyncio.Event()

    def heard(_found: Answered, reply: object) -> None:
        if isinstance(reply, Text) or (isinstance(reply, Progress) and reply.done):
            under_way.set()

    job = asyncio.create_task(real.answer(worker, background, heard))  # type: ignore[arg-type]
    await under_way.wait()
    typist.stdin.write(b"go\n")
    said = json.loads(await typist.stdout.readline())
    ended = await job
    await typist.wait()
    # What came after the other work's end met an idle worker, and says nothing.
    whole_s = ended.end - ended.read if ended.read else ended.end - ended.begun
    first = ended.read or ended.begun
    return [
        Typed(begun - sent, max(sent - first, 0.0) / whole_s) for sent, begun in said if sent < ended.end
    ], ended


def slowing(tokens: int, seconds: float, whole: Answered) -> Pace:
    """How long a step of an answer takes, by the share of the answer's time that has passed.

    Each token looks at all before it, so a step takes `a + b n`. Both follow from the time of the first
    `tokens` and from that of the whole answer.
    """
    total, total_s = whole.result.output_tokens, whole.result.decode_seconds
    b = max(2 * (total_s / total - seconds / tokens) / (total - tokens), 0.0)
    a = total_s / total - b * total / 2

    def step_s(share: float) -> float:
        # The n-th token after so much time: a n + b n^2 / 2 = share * total_s.
        return math.sqrt(max(a * a + 2 * b * share * total_s, 0.0))

    return step_s


def _told(where: str, typed: list[Typed], pace: Pace, background: Answered) -> list[Row]:
    done = background.result
    if not typed:
        raise RuntimeError("The other work was over before the first keystroke.")
    steps = [key.took_s / pace(key.share) for key in typed]
    late = percentile(steps, 1.0)
    took_s = [key.took_s for key in typed]
    p50_ms, most_ms = statistics.median(took_s) * 1e3, max(took_s) * 1e3
    least_ms, last_ms = pace(0.0) * 1e3, pace(1.0) * 1e3
    span = f"{least_ms:.1f} to {last_ms:.1f}" if last_ms > least_ms else f"{least_ms:.1f}"
    return [
        Row(
            f"{where}: keystroke to the start of its first step",
            f"p50 {p50_ms:.1f} ms, largest {most_ms:.1f} ms of {len(took_s)}",
            f"{span} ms a micro-batch of that work",
            f"p50 {percentile(steps, 0.5):.2f}, largest {late:.2f} micro-batches, at most {BATCHES}",
            late <= BATCHES,
        ),
        Row(
            "the other work, gone on with",
            f"interrupted {done.interrupted} times",
            "",
            f"{done.evaluated_again} tokens evaluated again, 0 wanted",
            done.evaluated_again == 0,
        ),
    ]


async def _type(load_text: str, count: int, gap_s: float) -> None:
    """The typist's process: times of sending and of the first step's start, as JSON."""
    load = msgspec.json.decode(load_text, type=type(real.load_of(Options(1).nano(), context=1, threads=1)))
    worker = await real.reach(load, "typist")
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    real.raise_priority()
    chance = random.Random(0)
    text = real.text_of(Path(load.path), 40, 3)
    times: list[tuple[float, float]] = []
    for number in range(count):
        await asyncio.sleep(gap_s * chance.uniform(0.5, 1.5))
        text += f" {number}"
        found = await real.answer(worker, real.request(text, most=2, urgency=real.TYPING))
        times.append((found.sent, found.begun))
    await worker.close()
    print(json.dumps(times), flush=True)


async def cancels(options: Options) -> AsyncIterator[Row]:
    """Goal: p99 under 100 ms until the worker is idle while writing, and one micro-batch while reading."""
    for model, name, count in (
        (options.nano(), "nano", options.cancels),
        (options.large(), _size(options.large()), min(_LARGE, options.cancels)),
    ):
        threads = 1 if name == "nano" else options.threads
        load = real.load_of(model, context=4096, threads=threads)
        async with real.worker(load) as worker:
            start, calm = await real.endless(worker, 200)
            options.progress(f"{name}: {count} cancels while writing")
            found: list[_Times] = []
            for number in range(5 * count):
                once = await _cancelled_writing(worker, start, number, calm)
                # An answer may end before it is cancelled: then another is taken.
                found += [once] if once is not None else []
                if len(found) == count:
                    break
            yield _idle(f"{name}, while writing", found, calm.token_s, CANCELLED_MS / 1e3)
            size = 2048
            calm = await real.answer(worker, real.request(real.text_of(model, size, 1), most=0))
            options.progress(f"{name}: {count} while reading, {calm.batch_s:.2f} s a micro-batch")
            found = []
            for number in range(count):
                text = real.text_of(model, size, 100 + number)
                once = await _cancelled_reading(worker, text, number, calm)
                found += [once] if once is not None else []
            yield _idle(f"{name}, while reading", found, calm.batch_s, calm.batch_s)


_Times = tuple[float, float, float]
"""Until the reply, until the worker says that it has no job, and processor time spent in the time after."""


async def _cancelled_writing(worker: Connection, start: str, number: int, calm: Answered) -> _Times | None:
    chance = random.Random(number)
    asked = real.request(start + f"{number},", most=3000)
    return await _cancel(worker, asked, Text, chance.randrange(1, 12), chance.random() * calm.token_s)


async def _cancelled_reading(worker: Connection, text: str, number: int, calm: Answered) -> _Times | None:
    chance = random.Random(number)
    asked = real.request(text, most=0)
    # The first report is of what is there before anything is read.
    return await _cancel(worker, asked, Progress, chance.randrange(1, 3), chance.random() * calm.batch_s)


async def _cancel(worker: Connection, asked: object, sign: type, signs: int, delay_s: float) -> _Times | None:
    """Wait for so many signs of work and a little longer, cancel, see when the worker is idle; None if it
    ended by itself before."""
    request: real.Generate = asked  # type: ignore[assignment]
    replies = worker.submit(request)
    while signs:
        reply = await worker.next(replies, STALL_S)
        signs -= isinstance(reply, sign) and bool(getattr(reply, "total", 1))
        if isinstance(reply, Done):
            worker.forget(request.id)
            return None
    await asyncio.sleep(delay_s)
    began = time.perf_counter()
    worker.cancel(request.id)

    async def told() -> float | None:
        while not isinstance(reply := await worker.next(replies, STALL_S), Cancelled):
            if isinstance(reply, Done):
                return None
        return time.perf_counter() - began

    waiting = asyncio.create_task(told())
    # A job is listed until llama.cpp has come back and what it held is let go.
    while (await worker.ask(STALL_S)).jobs:
        pass
    idle_s = time.perf_counter() - began
    reply_s = await waiting
    worker.forget(request.id)
    if reply_s is None:
        return None
    before = real.processor_s(worker.pid)
    await asyncio.sleep(_TRICKLE_S)
    return reply_s, max(idle_s, reply_s), real.processor_s(worker.pid) - before


def _idle(where: str, found: list[_Times], step_s: float, goal_s: float) -> Row:
    idle_ms = [idle * 1e3 for _, idle, _ in found]
    late = percentile(idle_ms, 0.99)
    after_ms = statistics.median(after for _, _, after in found) * 1e3
    goal = f"{goal_s * 1e3:.0f} ms" + (" (one micro-batch)" if goal_s == step_s else "")
    return Row(
        f"{where}: cancel until idle, {len(found)} times",
        f"p50 {percentile(idle_ms, 0.5):.1f} ms, p99 {late:.1f} ms, largest {max(idle_ms):.1f} ms",
        f"{step_s * 1e3:.1f} ms a step; {after_ms:.2f} ms of processor time in the {_TRICKLE} after",
        f"p99 {late:.1f} ms, under {goal}",
        late < goal_s * 1e3,
    )


if __name__ == "__main__":
    asyncio.run(_type(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
