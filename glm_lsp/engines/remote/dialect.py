"""What a dialect is, and the OpenAI shape that most of them share.

A dialect is stateless: it turns a request into a `Call` and each event of the answer into a `Delta`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar

import msgspec

from glm_lsp.core.errors import EngineUnavailable
from glm_lsp.core.generation import Form, GenerateRequest, Prefill, Prompt, Role, Thinking, Usage
from glm_lsp.core.template import render
from glm_lsp.engines.remote.filters import Reasoning, disarm

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """One POST. `path` is below the dialect's root; the rest says how to read the answer."""

    path: str
    body: Body
    reasoning: Reasoning = Reasoning.LEADING
    echo: str = ""
    """The beginning of the answer that was only described to the model, which may repeat it."""
    lost: str = ""
    """Whitespace cut from the end of the prefill, which the model will write again."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A provider's own account of a failure."""

    message: str
    code: str = ""
    kind: str = ""
    counted: int = 0
    """Tokens of the prompt, where the provider says so, and those that it takes (`taken`)."""
    taken: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event adds. `finish` is the provider's own word; `problem` its error, with its code."""

    text: str = ""
    reasoning: str = ""
    apart: bool = False
    """Reasoning has a field of its own, even if there is nothing in it."""
    finish: str = ""
    usage: Usage | None = None
    prefill: Prefill | None = None
    problem: Problem | None = None


class Dialect:
    """One provider's way to be asked. Subclasses say what differs."""

    kind: ClassVar[str]
    title: ClassVar[str]
    """For messages."""
    prefill: ClassVar[bool] = False
    grammar: ClassVar[bool] = False
    fim: ClassVar[bool] = False
    most_stops: ClassVar[int] = 16
    default_path: ClassVar[str] = "/v1"
    """What a base address without a path means."""
    cut_path: ClassVar[str] = ""
    """A suffix of the base address that this dialect puts in again by itself."""
    tokenizes: ClassVar[bool] = False
    """It counts lines for us: `tokenize` and `counted` are its own."""

    def call(self, request: GenerateRequest, model: str, template: str) -> Call:
        """Raises EngineUnavailable when this dialect cannot serve the request's form."""
        raise NotImplementedError

    def read(self, data: str) -> Delta:
        """Read one event's data. Raises msgspec.DecodeError when it is not what the provider documents."""
        return read_openai(data)

    def tokenize(self, lines: Sequence[str], model: str) -> Call:
        """Ask for the tokens of these lines, each of which begins a word and ends with a newline."""
        raise NotImplementedError

    def counted(self, data: bytes, lines: Sequence[str]) -> list[int]:
        """Tokens of each line, from the answer. Raises ValueError where it is not what is documented."""
        raise NotImplementedError

    def _no_fim(self, request: GenerateRequest) -> None:
        if request.prompt.form is Form.FIM:
            raise EngineUnavailable(
                f"{self.title} cannot fill in the middle: set completion.form to 'chat', "
                "or use an engine that can (embedded, vllm, sglang, llama-server)."
            )

    def _stops(self, request: GenerateRequest, lost: str = "") -> list[str]:
        """Those stop strings that the provider takes; all of them are enforced here as well.

        One that stands in `lost` would end the answer where the model only writes the prefill's end again.
        """
        return [s for s in request.stop if s and s not in lost][: self.most_stops]


def messages(prompt: Prompt, *, prefilled: str = "", described: str = "") -> list[Body]:
    """Chat messages of `prompt`, system first. Repository text has no power over the template (`disarm`).

    `prefilled` becomes the last, open message; `described` is told at the end of the user's turn.
    """
    result: list[Body] = []
    if system := prompt.text(Role.SYSTEM):
        result.append({"role": "system", "content": disarm(system)})
    said = [segment for segment in prompt.segments if segment.role is not Role.SYSTEM]
    turns = [(role, "".join(s.text for s in turn)) for role, turn in groupby(said, key=lambda s: s.role)]
    if turns and turns[-1][0] is Role.ASSISTANT:
        turns.pop()
    turns = turns or [(Role.USER, "")]
    result += [{"role": role.value, "content": disarm(text)} for role, text in turns]
    if described:
        result[-1]["content"] = f"{result[-1]['content']}{begun(disarm(described))}"
    if prefilled:
        result.append({"role": "assistant", "content": disarm(prefilled)})
    return result


def begun(prefill: str) -> str:
    """Tell a model in words how its answer begins, where the provider does not let us begin it."""
    closed = prefill if prefill.endswith("\n") else prefill + "\n"
    return (
        "\nThe answer has already been begun with the text between the two lines of dashes:\n"
        f"----------\n{closed}----------\n"
        "Write only what follows its last character. Do not repeat it, open no new fence, explain nothing.\n"
    )


def raw_prompt(prompt: Prompt, template: str, thinking: Thinking = Thinking.OFF) -> str:
    """The whole prompt in GLM's own tokens, for providers that take plain text and look for tokens in it."""
    pieces = render(prompt, thinking, template)
    return "".join(piece.text if piece.special else disarm(piece.text) for piece in pieces)


def split_trailing(text: str, space: str) -> tuple[str, str]:
    """Cut the characters of `space` off a prefill's end: most tokens begin with the space before a word."""
    kept = text.rstrip(space)
    return kept, text[len(kept) :]


def cap(request: GenerateRequest) -> int:
    """Bound on all that is generated: the answer, and reasoning where it is on."""
    return request.max_tokens + (request.reasoning_tokens if request.thinking is not Thinking.OFF else 0)


# The OpenAI shape. Unknown fields are none of our business; wrong types are an error.


class _Text(msgspec.Struct):
    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Text | None = None
    text: str | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None
    reasoning_tokens: int | None = None


class Timings(msgspec.Struct):
    """llama-server's own figures."""

    cache_n: int | None = None
    prompt_n: int | None = None
    prompt_ms: float | None = None
    predicted_n: int | None = None
    predicted_ms: float | None = None


class Progress(msgspec.Struct):
    """llama-server's `return_progress`."""

    total: int
    processed: int


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    timings: Timings | None = None
    prompt_progress: Progress | None = None
    error: dict[str, Any] | str | bool | None = None
    code: int | str | None = None
    msg: str | None = None
    message: str | None = None
    object: str | None = None
    type: str | None = None


_EVENT = msgspec.json.Decoder(_Event)


def read_openai(data: str) -> Delta:
    """Read a chat or completion chunk. Only the first choice counts: we never ask for more."""
    event = _EVENT.decode(data)
    if problem := _problem(event):
        return Delta(problem=problem)
    choice = event.choices[0] if event.choices else _Choice()
    delta = choice.delta or _Text()
    return Delta(
        text=delta.content or choice.text or "",
        reasoning=delta.reasoning_content or delta.reasoning or "",
        apart=delta.reasoning_content is not None or delta.reasoning is not None,
        finish=choice.finish_reason or "",
        usage=usage(event.usage, event.timings),
        prefill=prefill(event.prompt_progress),
    )


def read_problem(body: str) -> Problem | None:
    """The error in a body that is not a stream, in any of the shapes providers use; None if there is none."""
    try:
        return _problem(_EVENT.decode(body))
    except msgspec.DecodeError:
        return None


def _problem(event: _Event) -> Problem | None:
    if isinstance(event.error, dict):
        table = event.error
        message, code = _word(table, "message", "msg"), _word(table, "code")
        figures = (_figure(table, "n_prompt_tokens"), _figure(table, "n_ctx"))
        return Problem(message, code, _word(table, "type"), *figures)
    if event.error:
        return Problem(str(event.error), str(event.code or ""))
    if not event.choices and (event.object == "error" or event.msg or (event.code and event.message)):
        return Problem(event.message or event.msg or "", str(event.code or ""), event.type or "")
    return None


def _figure(table: dict[str, Any], name: str) -> int:
    value = table.get(name)
    return value if isinstance(value, int) and 0 < value < 1 << 31 else 0


def _word(table: dict[str, Any], *names: str) -> str:
    values: Sequence[Any] = [table[n] for n in names if table.get(n) is not None]
    return str(values[0]) if values else ""


def prefill(progress: Progress | None) -> Prefill | None:
    return Prefill(progress.processed, progress.total) if progress else None


def usage(reported: _Usage | None, timings: Timings | None = None) -> Usage | None:
    """Our figures from theirs. None where neither says anything."""
    if reported is None and timings is None:
        return None
    told, timed = reported or _Usage(), timings or Timings()
    cached = told.prompt_tokens_details.cached_tokens if told.prompt_tokens_details else timed.cache_n
    total = told.prompt_tokens
    if total is None and timed.prompt_n is not None:
        total = timed.prompt_n + (timed.cache_n or 0)
    thought = told.completion_tokens_details.reasoning_tokens if told.completion_tokens_details else None
    return Usage(
        prompt_tokens=total,
        cached_tokens=cached,
        output_tokens=told.completion_tokens if told.completion_tokens is not None else timed.predicted_n,
        reasoning_tokens=thought if thought is not None else told.reasoning_tokens,
        prefill_seconds=None if timed.prompt_ms is None else timed.prompt_ms / 1000,
        decode_seconds=None if timed.predicted_ms is None else timed.predicted_ms / 1000,
    )
