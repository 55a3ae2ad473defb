"""Two windows on one repository: processes of their own, each with an engine, on this project's tree.

`python -m tests.bench.worker_windows` is one of them: for each line of stdin, `PATH OFFSET`, it completes
there as the editor would and says what that cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import takewhile

from glm_lsp.core.generation import Usage, Work
from glm_lsp.core.settings import Settings
from tests.bench.rows import Options, Row
from tests.lsp.wire import ROOT

PLACES = (
    "glm_lsp/core/pack.py",
    "glm_lsp/core/rank.py",
    "glm_lsp/disk/store.py",
    "glm_lsp/features/complete.py",
    "glm_lsp/engines/embedded.py",
    "glm_lsp/workspace/apply.py",
)
ELSEWHERE = "glm_lsp/cli/refactor.py"


@dataclass(frozen=True)
class _Asked:
    prompt: int
    trunk: int
    """Tokens that are shared with other requests, as the packer sees it."""
    evaluated: int
    seconds: float
    texts: list[tuple[int, str]]
    """Tokens and text of each segment of the trunk."""


async def windows(options: Options) -> AsyncIterator[Row]:
    """Goal: nothing that one window has had read above its tail is read again for another.

    At the same place that leaves a tail at most. In another file what is needed there and was not told so far
    is told first, and evaluated with the tail.
    """
    with _window() as first, _window() as second, _window() as third:
        options.progress("all windows have read the repository")
        both = await asyncio.gather(*(asyncio.to_thread(_ask, w, PLACES[0]) for w in (first, second)))
        cold, warm = max(both, key=lambda a: a.evaluated), min(both, key=lambda a: a.evaluated)
        yield Row(
            "two windows ask at once, both for the first time: the one that is read first",
            f"{cold.evaluated:,} of {cold.prompt:,} tokens evaluated",
            f"trunk of {cold.trunk:,} tokens, {cold.seconds:.2f} s",
        )
        yield _same("the other one, at the same place", [(cold, warm)])
        asked: list[tuple[_Asked, _Asked]] = []
        for path in PLACES[1:]:
            cold = await asyncio.to_thread(_ask, first, path)
            asked.append((cold, await asyncio.to_thread(_ask, second, path)))
        yield _same(f"one window goes to {len(asked)} other files, the other one follows", asked)
        warm = await asyncio.to_thread(_ask, third, ELSEWHERE)
        shared = max(_shared(warm, before) for pair in asked for before in pair)
        tail, told = warm.prompt - warm.trunk, warm.trunk - shared
        yield Row(
            "a third window, first request, in another file",
            f"{warm.evaluated:,} of {warm.prompt:,} tokens evaluated",
            f"{shared:,} told before, {told:,} now, a tail of {tail:,}, {warm.seconds:.2f} s",
            f"{warm.evaluated:,} evaluated, at most {tail + told:,}",
            0 < warm.evaluated <= tail + told < warm.prompt,
        )


def _shared(one: _Asked, other: _Asked) -> int:
    """Tokens with which both trunks begin."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one.texts, other.texts, strict=False))
    return sum(tokens for (tokens, _), _ in same)


def _same(what: str, asked: Sequence[tuple[_Asked, _Asked]]) -> Row:
    """Two windows at the same places, the second after the first."""
    evaluated = [again.evaluated for _, again in asked]
    tails = [again.prompt - again.trunk for _, again in asked]
    return Row(
        what,
        f"{', '.join(map(str, evaluated))} of {', '.join(f'{again.prompt:,}' for _, again in asked)}",
        f"the one before: {', '.join(f'{before.evaluated:,}' for before, _ in asked)}",
        f"{sum(evaluated):,} evaluated, at most {sum(tails):,}, the tails",
        all(0 < n <= tail for n, tail in zip(evaluated, tails, strict=True)),
    )


def _ask(window: subprocess.Popen[str], path: str) -> _Asked:
    assert window.stdin is not None
    text = (ROOT / path).read_bytes()
    # In the middle of the file, where a statement has just begun.
    offset = text.index(b"return ", len(text) // 2) + len(b"return ")
    window.stdin.write(f"{path} {offset}\n")
    window.stdin.flush()
    return _Asked(**json.loads(_line(window)))


def _line(window: subprocess.Popen[str]) -> str:
    assert window.stdout is not None
    if line := window.stdout.readline():
        return line
    raise RuntimeError("A window has ended; what it said is above.")


@contextlib.contextmanager
def _window() -> Iterator[subprocess.Popen[str]]:
    command = (sys.executable, "-m", "tests.bench.worker_windows")
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ
    ) as window:
        try:
            _line(window)
            yield window
        finally:
            assert window.stdin is not None
            window.stdin.close()
            window.wait()


async def _be_a_window() -> None:
    import time  # noqa: PLC0415

    from glm_lsp.app import Runtime  # noqa: PLC0415
    from glm_lsp.features.complete import suggest  # noqa: PLC0415

    # No warm-up: what a request finds is then what requests have read.
    runtime = Runtime(Settings({"worker.warm_up": False}), "window")
    repository = runtime.repository(ROOT)
    await repository.index()
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        path, offset = line.split()
        session = runtime.session(repository, Work.TYPING)
        began = time.perf_counter()
        completion = await suggest(session, repository.snapshot(), path, int(offset))
        seconds = time.perf_counter() - began
        usage = completion.usage or Usage()
        prompt = completion.prompt
        trunk = sum(segment.tokens for segment in prompt.segments[: prompt.trunk_segments])
        texts = [(segment.tokens, segment.text) for segment in prompt.segments[: prompt.trunk_segments]]
        said = _Asked(usage.prompt_tokens, trunk, usage.evaluated_tokens, seconds, texts)
        print(json.dumps(asdict(said)), flush=True)
    await runtime.close()


if __name__ == "__main__":
    asyncio.run(_be_a_window())
