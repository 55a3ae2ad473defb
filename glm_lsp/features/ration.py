"""An engine on a ration: as much time and as many tokens as somebody gave, and nothing asked twice.

It stands in front of a run's engine. Whole answers go to a memory as they come, and a question that the
memory knows is answered from there. The memory is whoever runs it to choose; this module keeps nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Protocol

from glm_lsp.core.errors import SpentError
from glm_lsp.core.generation import Chunk, Engine, EngineFacts, Finish, GenerateRequest, Role
from glm_lsp.core.layout import LAYOUT_VERSION


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole answer, without what was begun for the model."""

    text: str
    finish: Finish


class Memory(Protocol):
    """What an unfinished run remembers of itself."""

    def recall(self, key: str) -> Kept | None: ...

    def keep(self, key: str, answer: Kept) -> None: ...

    def landed(self, path: str, digest: str) -> bool:
        """Whether the file, in this state, is what the run made of it."""
        ...


class Ration(Engine):
    """An engine until `seconds` are over or `tokens` are written; None: without that limit.

    The seconds count from `since` (of the monotonic clock), else from now. No request may write more than is
    left, reasoning included. Of an answer that is stopped in the middle nothing is used.
    """

    def __init__(
        self,
        engine: Engine,
        count: Callable[[str], int],
        *,
        seconds: float | None = None,
        since: float | None = None,
        tokens: int | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.memory = memory
        self.recalled = 0
        """Answers that came from the memory."""
        self.answered = 0
        """Whole answers that the engine gave."""
        self.used_tokens = 0
        self._engine, self._count = engine, count
        self._seconds, self._tokens = seconds, tokens
        begun = time.monotonic() if since is None else since
        self._ends = None if seconds is None else begun + seconds
        self._base = ""

    @property
    def facts(self) -> EngineFacts:
        return self._engine.facts

    def check(self) -> None:
        """Raises SpentError where the time or the tokens are used up."""
        if self._ends is not None and time.monotonic() >= self._ends:
            raise self._late()
        if self._tokens is not None and self.used_tokens >= self._tokens:
            raise self._spent()

    @asynccontextmanager
    async def about(self, digest: str) -> AsyncGenerator[None, None]:
        """Work on a file in the state `digest`; raises SpentError before it, or when its time is up."""
        self.check()
        self._base = digest
        limit = asyncio.timeout(None if self._ends is None else self._ends - time.monotonic())
        try:
            async with limit:
                yield
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._late() from None

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        key = _key(request, self._base)
        if self.memory is not None and (known := self.memory.recall(key)):
            self.recalled += 1
            if known.text:
                yield Chunk(text=known.text)
            yield Chunk(finish=known.finish)
            return
        self.check()
        asked = self._within(request)
        text = written = ""
        reported: int | None = None
        cut = False
        try:
            async with aclosing(self._engine.generate(asked)) as stream:
                async for chunk in stream:
                    text += chunk.text
                    written += chunk.reasoning + chunk.text
                    reported = chunk.usage.output_tokens if chunk.usage else reported
                    cut = chunk.finish is Finish.LENGTH and asked is not request
                    if cut:
                        break
                    if chunk.finish is not None:
                        self._keep(key, Kept(text, chunk.finish))
                    yield chunk
        except GeneratorExit:  # it was not worth reading on: what is known of it says why
            self._keep(key, Kept(text, Finish.STOP))
            raise
        finally:
            self.used_tokens += self._count(written) if reported is None else reported
        if cut:
            raise self._spent()

    def landed(self, path: str, digest: str) -> bool:
        """Whether the run has landed that file before it was stopped."""
        return self.memory is not None and self.memory.landed(path, digest)

    async def close(self) -> None:
        await self._engine.close()

    def _within(self, request: GenerateRequest) -> GenerateRequest:
        """The request, with what is left of the tokens shared between reasoning and answer as it had them."""
        most, thoughts = request.max_tokens, request.reasoning_tokens
        left = most + thoughts if self._tokens is None else self._tokens - self.used_tokens
        if left >= most + thoughts:
            return request
        thoughts = min(left * thoughts // (most + thoughts), left - 1)
        return replace(request, max_tokens=left - thoughts, reasoning_tokens=thoughts)

    def _keep(self, key: str, answer: Kept) -> None:
        self.answered += 1
        if self.memory is not None:
            self.memory.keep(key, answer)

    def _spent(self) -> SpentError:
        return SpentError(
            f"The token limit is spent ({self.used_tokens:,} of {self._tokens or 0:,} tokens written)."
        )

    def _late(self) -> SpentError:
        return SpentError(f"The time limit of {self._seconds:,.0f} s is spent.")


def _key(request: GenerateRequest, base: str) -> str:
    """What an answer depends on, besides the model: the file's state, the question, the parameters.

    The repository around the file is not in it: a run's own changes would make its memory worthless.
    """
    prompt = request.prompt
    question = [s.text for s in prompt.segments if s.role is Role.USER][-1:]
    said = [prompt.text(Role.SYSTEM), *question, prompt.prefill, prompt.suffix, prompt.form.value]
    how = [request.max_tokens, request.thinking.value, request.reasoning_tokens, *request.stop]
    drawn = [request.temperature, request.top_p, request.seed, request.grammar, request.heal]
    parts = json.dumps([LAYOUT_VERSION, base, said, how, drawn])
    return hashlib.blake2b(parts.encode(), digest_size=20).hexdigest()
