"""A repository's prompt outlives the worker that has read it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from glm_lsp.cli import cache
from glm_lsp.core.generation import Chunk, GenerateRequest, Prompt, Role, Segment, Usage
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import connection
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.rendezvous import MAIN, place
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import shelf

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


async def answer(
    settings: Settings, nano: ModelProfile, tail: str, tokens: int = TRUNK_TOKENS
) -> tuple[str, Usage]:
    """What a new client of the machine's worker hears; afterwards the worker ends in good order."""
    engine = EmbeddedEngine(settings, nano)
    shared = trunk(nano.gguf_path, tokens)
    prompt = Prompt((*shared, Segment(Role.USER, tail)), 0, trunk_segments=len(shared))
    chunks: list[Chunk] = [chunk async for chunk in engine.generate(GenerateRequest(prompt, 12))]
    await engine.close()
    assert await connection.stop(place(MAIN), force=True) == ""
    usage = chunks[-1].usage
    assert usage is not None
    return "".join(chunk.text for chunk in chunks), usage


async def test_the_next_worker_reads_only_what_is_new(nano: ModelProfile) -> None:
    settings = Settings({"model.threads": 1, "model.kv_type": "f32"})
    first, cost = await answer(settings, nano, "# Complete a.py\nx = 1\n")
    assert cost.cached_tokens == 0
    (saved,) = cache.saved_models(shelf.default_shelf())
    assert saved.entries == 1
    assert saved.facts["kv_type"] == "f32"
    again, cost = await answer(settings, nano, "# Complete a.py\nx = 1\n")
    assert again == first
    assert cost.cached_tokens == saved.tokens
    _, cost = await answer(settings, nano, "# Complete b.py\ny = 2\n")
    assert cost.cached_tokens == saved.tokens
    shelf.clear(shelf.default_shelf())


async def test_nothing_is_saved_where_that_is_not_wanted(nano: ModelProfile) -> None:
    settings = Settings({"model.threads": 1, "model.kv_type": "f32", "worker.saved_kv_gb": 0.0})
    await answer(settings, nano, "# Complete a.py\nx = 1\n", 300)
    assert not shelf.default_shelf().exists()
