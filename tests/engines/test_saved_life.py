"""A repository's prompt outlives the worker that has read it."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from glm_lsp.cli import cache
from glm_lsp.core import profiles
from glm_lsp.core.errors import EngineDied
from glm_lsp.core.generation import Chunk, GenerateRequest, Prompt, Role, Segment, Usage
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import connection
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.rendezvous import MAIN, place
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import shelf
from tests.engines.living import gone, parent_of, until, workers

ROOT = Path(__file__).parents[2]
TRUNK_TOKENS = 3000
"""So many that reading them again takes seconds on any machine."""

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="prompts are not saved on Windows"),
    pytest.mark.usefixtures("llama", "runtime"),
]


def trunk(model_path: str, tokens: int) -> tuple[Segment, ...]:
    """What a repository's prompts begin with: this project's own code."""
    tokenizer = GgufTokenizer(model_path)
    lines: list[str] = []
    count = 0
    for line in (ROOT / "glm_lsp/core/trim.py").read_text(encoding="utf-8").splitlines() * 2:
        text = f"# {line}\n"
        count += tokenizer.count(text)
        if count > tokens:
            break
        lines.append(text)
    return Segment(Role.SYSTEM, "# You write code.\n"), Segment(Role.USER, "".join(lines))


async def ask(engine: EmbeddedEngine, tail: str, tokens: int = TRUNK_TOKENS) -> tuple[str, Usage]:
    """What a client hears."""
    shared = trunk(profiles.load("nano").gguf_path, tokens)
    prompt = Prompt((*shared, Segment(Role.USER, tail)), 0, trunk_segments=len(shared))
    chunks: list[Chunk] = [chunk async for chunk in engine.generate(GenerateRequest(prompt, 12))]
    usage = chunks[-1].usage
    assert usage is not None
    return "".join(chunk.text for chunk in chunks), usage


async def answer(
    settings: Settings, nano: ModelProfile, *tails: str, tokens: int = TRUNK_TOKENS
) -> list[tuple[str, Usage]]:
    """What a new client of the machine's worker hears; afterwards the worker ends in good order."""
    engine = EmbeddedEngine(settings, nano)
    heard = [await ask(engine, tail, tokens) for tail in tails]
    await engine.close()
    assert await connection.stop(place(MAIN), force=True) == ""
    return heard


A, B = "# Complete a.py\nx = 1\n", "# Complete b.py\ny = 2\n"


async def test_the_next_worker_reads_only_what_is_new(
    nano: ModelProfile, embedded_settings: Settings
) -> None:
    # From its own trunk the first one goes on as the others do from the disk, to the last bit.
    (_, cold), (first, _) = await answer(embedded_settings, nano, B, A)
    assert cold.cached_tokens == 0
    (saved,) = cache.saved_models(shelf.default_shelf())
    assert saved.entries == 1
    assert saved.facts["kv_type"] == "f32"
    ((again, cost),) = await answer(embedded_settings, nano, A)
    assert again == first
    assert cost.cached_tokens == saved.tokens
    ((_, cost),) = await answer(embedded_settings, nano, B)
    assert cost.cached_tokens == saved.tokens


async def test_nothing_is_saved_where_that_is_not_wanted(
    nano: ModelProfile, embedded_settings: Settings
) -> None:
    await answer(Settings({**embedded_settings.values, "worker.saved_kv_gb": 0.0}), nano, A, tokens=300)
    assert not shelf.default_shelf().exists()


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
async def test_the_successor_of_a_killed_worker_reads_nothing_again(
    nano: ModelProfile, embedded_settings: Settings
) -> None:
    """What was read was saved while nobody asked for anything; so SIGKILL takes only the tail along."""
    engine = EmbeddedEngine(embedded_settings, nano)
    await ask(engine, B)
    first, _ = await ask(engine, A)
    await until(lambda: any(saved.tokens for saved in cache.saved_models(shelf.default_shelf())))
    (saved,) = cache.saved_models(shelf.default_shelf())
    (worker,) = (pid for pid in workers(place(MAIN)) if parent_of(pid) in workers(place(MAIN)))
    os.kill(worker, signal.SIGKILL)
    await gone(worker)
    try:
        again, cost = await ask(engine, A)
    except EngineDied:
        again, cost = await ask(engine, A)
    await engine.close()
    assert again == first
    assert cost.cached_tokens == saved.tokens > TRUNK_TOKENS / 2
