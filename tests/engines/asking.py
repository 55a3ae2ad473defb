"""Requests to an embedded engine with the bundled model, and the shape of what it streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from glm_lsp.core.generation import Chunk, Engine, GenerateRequest, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.engines.scripted import prompt_of

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


def copy(nano: ModelProfile, path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(Path(nano.gguf_path).read_bytes()))
