"""A prompt that was read once, after the worker's end: restored and its first token, beside reading it anew.

Each round is a new worker with its model loaded, which has answered something short and then finds the prompt
on the disk. What starting, loading and that first answer take is told beside it.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.disk.store import default_directory
from glm_lsp.engines.frames import Load
from tests.bench import real
from tests.bench.real import Answered
from tests.bench.rows import Options, Row

ROUNDS = 5
TIMES = 50
_SHORT = "def first():"


@dataclass
class _Restored:
    start_s: float
    """Until the model is loaded."""
    first_s: float
    """Of the first, short answer."""
    answer: Answered
    resident: str
    """The answer where all but the last token was in the cache already."""

    @property
    def seconds(self) -> float:
        return self.answer.end - self.answer.sent


async def restored(options: Options) -> AsyncIterator[Row]:
    """Goal: 50 times sooner, 4,096 tokens of nano and 32,768 of a random model."""
    async for row in _one(options, options.nano(), 4096, 1, "nano"):
        yield row
    async for row in _one(options, options.long(), options.long_tokens, options.threads, "a random model"):
        yield row


async def _one(options: Options, model: Path, tokens: int, threads: int, name: str) -> AsyncIterator[Row]:
    load = real.load_of(model, context=tokens, threads=threads, saved_bytes=1 << 36)
    # One token is written. The same prompt again, all of it the trunk: its last token alone is evaluated.
    text = real.text_of(model, tokens - 1, 0)
    options.progress(f"{name}: reading {tokens:,} tokens")
    there = set(default_directory().rglob("*.kv"))
    cold = await _ask(load, text, options)
    count = cold.answer.result.prompt_tokens
    kept = list(set(default_directory().rglob("*.kv")) - there)
    assert len(kept) == 1, f"the trunk was to be saved at the worker's end, and {len(kept)} files are there"
    found: dict[bool, list[_Restored]] = {False: [], True: []}
    for number in range(ROUNDS):
        for from_disk, rounds in found.items():
            if from_disk:
                forget(kept[0])
            again = await _ask(load, text, options)
            # Not with the cold one: there the last token was read with others, and the last bits differ.
            assert again.answer.text == cold.resident, "a restored prompt goes on with another token"
            assert again.answer.result.restored_tokens, "nothing was restored"
            rounds.append(again)
        options.progress(f"{name}: round {number + 1}, {found[False][-1].seconds * 1e3:.0f} ms")
    size = kept[0].stat().st_size / 1e6
    for from_disk, rounds in found.items():
        seconds = statistics.median(r.seconds for r in rounds)
        last = rounds[-1].answer.result
        left = count - last.cached_tokens
        times = cold.seconds / seconds
        yield Row(
            f"{count:,} tokens of {name}, request to first token, {size:.1f} MB saved, "
            f"{'read from the disk' if from_disk else 'in the page cache'}",
            f"{seconds * 1e3:.1f} ms ({left} evaluated in {last.prefill_seconds * 1e3:.1f} ms)",
            f"{cold.seconds:.2f} s read anew ({threads} thread{'s' if threads > 1 else ''})",
            f"{times:.0f} times sooner, at least {TIMES}",
            times >= TIMES,
        )
    both = [r for rounds in found.values() for r in rounds]
    yield Row(
        f"beside it: starting the process and loading {name}; its first answer, of 8 tokens' prompt",
        f"{statistics.median(r.start_s for r in both) * 1e3:.0f} ms; "
        f"{statistics.median(r.first_s for r in both) * 1e3:.0f} ms",
    )


async def _ask(load: Load, text: str, options: Options) -> _Restored:
    """One request to a worker of its own, which saves its trunk when it ends."""
    began = time.perf_counter()
    async with real.worker(load) as worker:
        ready = time.perf_counter()
        short = await real.answer(worker, real.request(_SHORT, most=1))
        said = ready

        def heard(found: Answered, _: object) -> None:
            nonlocal said
            if time.perf_counter() - said > 15:
                said = time.perf_counter()
                options.progress(f"{len(found.batches) * real.BATCH:,} tokens are read")

        answer = await real.answer(worker, real.request(text, most=1, trunk=1), heard)
        resident = await real.answer(worker, real.request(text, most=1, trunk=1))
    return _Restored(ready - began, short.end - short.sent, answer, resident.text)


def forget(path: Path) -> None:
    """Have the system read the file from the disk the next time."""
    if hasattr(os, "posix_fadvise"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
