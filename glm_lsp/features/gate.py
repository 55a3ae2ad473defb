"""The last gate before an engine: whatever a prompt is made of, no secret passes it.

Documents are masked long before. What comes from elsewhere is not: a task, a checker's message, an answer
that is quoted back. Pieces that were looked through are remembered, and most of a prompt was said before.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from dataclasses import replace
from functools import lru_cache, partial

from glm_lsp.core.generation import Chunk, Engine, EngineFacts, GenerateRequest
from glm_lsp.core.secrets import censored

REMEMBERED = 4096


class Gate(Engine):
    """An engine that is told no secrets."""

    def __init__(self, engine: Engine, allowed: Collection[str] = ()) -> None:
        self._engine = engine
        self._clean = lru_cache(maxsize=REMEMBERED)(partial(censored, allowed=allowed))

    @property
    def facts(self) -> EngineFacts:
        return self._engine.facts

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        async with aclosing(self._engine.generate(self.passed(request))) as stream:
            async for chunk in stream:
                yield chunk

    async def close(self) -> None:
        await self._engine.close()

    def passed(self, request: GenerateRequest) -> GenerateRequest:
        """The request with every secret masked; the same one where there is none."""
        prompt = request.prompt
        segments = tuple(
            segment if (text := self._clean(segment.text)) == segment.text else replace(segment, text=text)
            for segment in prompt.segments
        )
        suffix = self._clean(prompt.suffix)
        if suffix == prompt.suffix and all(a is b for a, b in zip(segments, prompt.segments, strict=True)):
            return request
        return replace(request, prompt=replace(prompt, segments=segments, suffix=suffix))
