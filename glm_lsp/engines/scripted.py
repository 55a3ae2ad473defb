"""An engine that answers what it is told to: for tests, of ours and of whoever builds on this package.

It keeps the port's promises for real: prefill before text, stop strings, bounded output, cancellation, exact
prefix reuse over the rendered prompt, and one final chunk with the usage.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from functools import lru_cache
from itertools import chain

from glm_lsp.core.errors import EngineError, EngineUnavailable, PromptTooLong
from glm_lsp.core.generation import (
    Chunk,
    Engine,
    EngineFacts,
    Finish,
    GenerateRequest,
    Prefill,
    Prompt,
    Role,
    Segment,
    Thinking,
    Usage,
)
from glm_lsp.core.template import render
from glm_lsp.engines.stops import StopMatcher

FACTS = EngineFacts(
    name="scripted",
    model="scripted",
    context_tokens=32_768,
    prefill=True,
    grammar=True,
    fim=True,
    local=True,
)
_WORD = re.compile(r"\w+|\s+|[^\w\s]")


CHUNK = 512
"""Words compared at once while looking for the common prefix."""


def words(text: str) -> list[str]:
    """What this engine calls tokens: words, runs of space, single signs. They join to the text again."""
    return _WORD.findall(text)


@lru_cache(maxsize=1024)
def _words_of_piece(text: str) -> tuple[str, ...]:
    """A prompt's pieces come again: what a request costs here must not hide what it costs elsewhere."""
    return tuple(words(text))


class ScriptedEngine(Engine):
    """Answers with a text, with one text after the other (the last one stays), or with what a function says.

    `fail` is raised in place of an answer, or after `fail_after` characters of it. `reasoning` is streamed
    first where a request thinks. `requests` and `cancelled` (a count) record what happened.
    """

    def __init__(
        self,
        answer: str | Sequence[str] | Callable[[GenerateRequest], str],
        *,
        chunk_chars: int = 8,
        delay_s: float = 0.0,
        facts: EngineFacts | None = None,
        fail: EngineError | None = None,
        fail_after: int = 0,
        reasoning: str = "",
    ) -> None:
        self._answer = answer
        self._chunk_chars = chunk_chars
        self._delay_s = delay_s
        self._facts = facts or FACTS
        self._fail = fail
        self._fail_after = fail_after
        self._reasoning = reasoning
        self._seen: list[str] = []
        self._closed = False
        self.requests: list[GenerateRequest] = []
        self.cancelled = 0

    @property
    def facts(self) -> EngineFacts:
        return self._facts

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        if self._closed:
            raise EngineUnavailable("The scripted engine is closed; make a new one.")
        self.requests.append(request)
        finished = False
        try:
            async for chunk in self._stream(request):
                finished = chunk.finish is not None
                yield chunk
        except EngineError:
            finished = True
            raise
        finally:
            if not finished:
                self.cancelled += 1

    async def close(self) -> None:
        self._closed = True

    async def _stream(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        if self._fail is not None and self._fail_after == 0:
            await asyncio.sleep(self._delay_s)
            raise self._fail
        prompt = _prompt_words(request)
        if len(prompt) + 1 > self._facts.context_tokens:
            raise PromptTooLong(
                f"The prompt has {len(prompt)} tokens; the scripted engine's context has "
                f"{self._facts.context_tokens}."
            )
        cached = min(_common(prompt, self._seen), max(len(prompt) - 1, 0))
        self._seen = prompt
        await asyncio.sleep(self._delay_s)
        read = Usage(prompt_tokens=len(prompt), cached_tokens=cached)
        yield Chunk(prefill=Prefill(len(prompt), len(prompt)), usage=read)
        reasoning = (
            words(self._reasoning)[: request.reasoning_tokens] if request.thinking is not Thinking.OFF else []
        )
        if reasoning:
            yield Chunk(reasoning="".join(reasoning))
        answer = words(self._next(request))
        finish = Finish.LENGTH if len(answer) > request.max_tokens else Finish.STOP
        text = "".join(answer[: request.max_tokens])
        stops, sent = StopMatcher(request.stop), 0
        for at in range(0, len(text), self._chunk_chars):
            await asyncio.sleep(self._delay_s)
            piece = stops.feed(text[at : at + self._chunk_chars])
            sent += len(piece)
            if piece:
                yield Chunk(text=piece)
            if self._fail is not None and at + self._chunk_chars >= self._fail_after:
                raise self._fail
            if stops.hit:
                finish = Finish.STOP
                break
        if rest := stops.flush():
            sent += len(rest)
            yield Chunk(text=rest)
        usage = Usage(
            prompt_tokens=len(prompt),
            cached_tokens=cached,
            output_tokens=len(words(text[:sent])) + len(reasoning),
            reasoning_tokens=len(reasoning),
            prefill_seconds=0.0,
            decode_seconds=0.0,
        )
        yield Chunk(finish=finish, usage=usage)

    def _next(self, request: GenerateRequest) -> str:
        if callable(self._answer):
            return self._answer(request)
        if isinstance(self._answer, str):
            return self._answer
        return self._answer[min(len(self.requests), len(self._answer)) - 1]


def _prompt_words(request: GenerateRequest) -> list[str]:
    pieces = render(request.prompt, request.thinking)
    return list(chain.from_iterable(_words_of_piece(piece.text) for piece in pieces))


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the common prefix."""
    at, least = 0, min(len(left), len(right))
    while at < least and left[at : at + CHUNK] == right[at : at + CHUNK]:
        at = min(at + CHUNK, least)
    while at < least and left[at] == right[at]:
        at += 1
    return at


def prompt_of(text: str, system: str = "", prefill: str = "") -> Prompt:
    """A chat prompt of one user turn; a shorthand for trying an engine."""
    pairs = ((Role.SYSTEM, system), (Role.USER, text), (Role.ASSISTANT, prefill))
    return Prompt(tuple(Segment(role, part) for role, part in pairs if part), tokens=0)
