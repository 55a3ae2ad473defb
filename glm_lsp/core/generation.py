"""The ports to whoever writes text: `Engine` and `Tokenizer`, and the values that cross them.

A `Prompt` says what to send without saying how: `core.template` renders it for engines that take GLM's own
tokens, the remote dialects turn it into chat messages.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Protocol

from glm_lsp.core.values import Block, Dropped


class Role(StrEnum):
    """Where a segment stands in the conversation, in the order of the prompt."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    """What the model says: earlier answers, and at the end the start of this one, written for it."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One piece of prompt text.

    Each segment but the last ends with a newline and the next begins with an ASCII graphic character, so that
    token counts add up and a segment's tokens never depend on its neighbours.
    """

    role: Role
    text: str
    tokens: int = 0


class Form(StrEnum):
    CHAT = "chat"
    FIM = "fim"


@dataclass(frozen=True, slots=True)
class Prompt:
    """An ordered prompt. `tokens` includes the template's own; `blocks` say what the text is made of.

    In `Form.FIM` USER segments precede the cursor's prefix, the ASSISTANT segment is that prefix; `suffix`
    is what follows the cursor. In `Form.CHAT` `suffix` is empty: the tail shows it in words.
    """

    segments: tuple[Segment, ...]
    tokens: int
    blocks: tuple[Block, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    form: Form = Form.CHAT
    suffix: str = ""
    budget_tokens: int = 0
    trunk_segments: int = 0
    """So many segments, the first ones, are what a repository's requests share."""

    def text(self, role: Role) -> str:
        """The joined text of one role."""
        return "".join(s.text for s in self.segments if s.role is role)

    @property
    def prefill(self) -> str:
        """The answer's beginning: what the last turn says, where that is the model's."""
        last = takewhile(lambda s: s.role is Role.ASSISTANT, reversed(self.segments))
        return "".join(reversed([s.text for s in last]))


class Work(StrEnum):
    """Work classes, routed and prioritised separately; earlier is more urgent."""

    TYPING = "typing"
    ACTION = "action"
    REFACTOR = "refactor"
    IDLE = "idle"


class Thinking(StrEnum):
    OFF = "off"
    HIGH = "high"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation. Deterministic by default: temperature 0, fixed seed."""

    prompt: Prompt
    max_tokens: int
    """0: the prompt is evaluated and kept for later, and nothing is written (`work` is then IDLE)."""
    thinking: Thinking = Thinking.OFF
    reasoning_tokens: int = 0
    """Bound on reasoning, besides `max_tokens`; 0 with thinking off."""
    stop: tuple[str, ...] = ()
    """Generation ends before the first of these in the answer (the prefill does not count)."""
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    grammar: str = ""
    """GBNF for the answer without the prefill, for engines that can; elsewhere the text is checked later."""
    schema: str = ""
    """In place of a grammar: a JSON schema, as JSON."""
    heal: bool = False
    """The prefill may end inside a word: back up to a token boundary and let the model finish the word."""
    work: Work = Work.ACTION
    source: str = ""
    """Text that the answer is expected to repeat, with changes. It spares time, and changes no answer."""


class Finish(StrEnum):
    STOP = "stop"
    """The model ended its turn, or a stop string or the grammar ended it."""
    LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a generation cost. None where the engine does not say."""

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    """Prompt tokens reused from an earlier evaluation; evaluated = prompt - cached."""
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    prefill_seconds: float | None = None
    decode_seconds: float | None = None

    @property
    def evaluated_tokens(self) -> int | None:
        if self.prompt_tokens is None or self.cached_tokens is None:
            return None
        return self.prompt_tokens - self.cached_tokens


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompt evaluation so far: a sign of life before the first token."""

    done_tokens: int
    total_tokens: int
    seconds_left: float | None = None
    """Until the first token, as far as the engine's own speed so far tells."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the stream. `text` never holds reasoning. Exactly one chunk, the last, has `finish`."""

    text: str = ""
    prefill: Prefill | None = None
    reasoning: str = ""
    """Reasoning text, for display only."""
    finish: Finish | None = None
    usage: Usage | None = None
    """With the last chunk; before that as far as it is known, as soon as the prompt has been read."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What an engine can do, known before the first request."""

    name: str
    """As in the settings: `embedded`, or the name of a remote."""
    model: str
    context_tokens: int
    prefill: bool
    """It continues an answer that we began."""
    grammar: bool
    fim: bool
    local: bool
    """Nothing is sent to another machine: a process of ours answers, or one behind a loopback address."""
    warms: bool = False
    """It can read a prompt ahead of time and keep it, at no cost but this machine's idle time."""


class Engine(Protocol):
    """Writes text. One instance serves many requests, also at the same time."""

    @property
    def facts(self) -> EngineFacts: ...

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the answer.

        Closing the generator, or cancelling the task that awaits it, stops the engine itself, not just the
        waiting. Raises an `EngineError`; a stream that ends without `finish` is an error, never a result.
        """
        ...

    async def close(self) -> None: ...


class Tokenizer(Protocol):
    """Counts tokens as the model does, or never fewer."""

    @property
    def exact(self) -> bool: ...

    def count(self, text: str) -> int:
        """Tokens of `text`, special tokens not recognised."""
        ...
