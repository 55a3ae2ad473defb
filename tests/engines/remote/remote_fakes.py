"""Strict stand-ins for the providers: real sockets, and a 400 for every field that is not documented.

Each model below lists the fields of one endpoint as the provider documents them, with their types and bounds.
A `Fake` answers each request with the next `Reply` (the last one stays) and keeps what it was asked.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

Strings = list[str]
Unit = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[int, Meta(ge=1)]


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Message(Strict):
    role: Literal["system", "user", "assistant"]
    content: str


class StreamOptions(Strict):
    include_usage: bool | UnsetType = UNSET
    continuous_usage_stats: bool | UnsetType = UNSET


Messages = Annotated[list[Message], Meta(min_length=1)]


class ZaiThinking(Strict):
    type: Literal["enabled", "disabled"]
    clear_thinking: bool | UnsetType = UNSET


class ZaiChat(Strict, kw_only=True):
    messages: Messages
    stream: Literal[True]
    model: Literal["glm-5.2", "glm-5.1", "glm-5", "glm-4.7", "glm-4.6"]
    thinking: ZaiThinking | UnsetType = UNSET
    reasoning_effort: Literal["max", "xhigh", "high", "medium", "low", "minimal", "none"] | UnsetType = UNSET
    do_sample: bool | UnsetType = UNSET
    temperature: Unit | UnsetType = UNSET
    top_p: Annotated[float, Meta(ge=0.01, le=1)] | UnsetType = UNSET
    max_tokens: Annotated[int, Meta(ge=1, le=131_072)] | UnsetType = UNSET
    stop: Annotated[Strings, Meta(max_length=4)] | UnsetType = UNSET
    tool_stream: bool | UnsetType = UNSET
    request_id: str | UnsetType = UNSET
    user_id: str | UnsetType = UNSET


class Sampled(Strict, kw_only=True):
    """What OpenAI documents and every compatible server takes."""

    model: str
    max_tokens: Positive | UnsetType = UNSET
    temperature: Annotated[float, Meta(ge=0, le=2)] | UnsetType = UNSET
    top_p: Annotated[float, Meta(gt=0, le=1)] | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stream_options: StreamOptions | UnsetType = UNSET


class SampledChat(Sampled, kw_only=True):
    messages: Messages
    stream: Literal[True]


class OpenAIChat(SampledChat, kw_only=True):
    stop: Annotated[Strings, Meta(max_length=4)] | UnsetType = UNSET
    reasoning_effort: Literal["minimal", "low", "medium", "high"] | UnsetType = UNSET


class TemplateSwitches(Strict):
    """Variables that GLM's published template knows."""

    enable_thinking: bool | UnsetType = UNSET
    clear_thinking: bool | UnsetType = UNSET
    reasoning_effort: str | UnsetType = UNSET


class StructuredOutputs(Strict):
    grammar: str


class VllmChat(SampledChat, kw_only=True):
    stop: Strings | UnsetType = UNSET
    continue_final_message: bool = False
    add_generation_prompt: bool = True
    chat_template_kwargs: TemplateSwitches | UnsetType = UNSET
    structured_outputs: StructuredOutputs | UnsetType = UNSET
    include_reasoning: bool | UnsetType = UNSET

    def __post_init__(self) -> None:
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
        if self.continue_final_message and self.messages[-1].role != "assistant":
            raise ValueError("the final message is not the assistant's")


class VllmCompletion(Sampled, kw_only=True):
    prompt: str
    stream: Literal[True]
    stop: Strings | UnsetType = UNSET
    add_special_tokens: bool = True
    structured_outputs: StructuredOutputs | UnsetType = UNSET


class SglangChat(SampledChat, kw_only=True):
    stop: Strings | UnsetType = UNSET
    continue_final_message: bool = False
    chat_template_kwargs: TemplateSwitches | UnsetType = UNSET
    separate_reasoning: bool = True
    stream_reasoning: bool = True
    ebnf: str | UnsetType = UNSET
    regex: str | UnsetType = UNSET


class SglangCompletion(Sampled, kw_only=True):
    prompt: str
    stream: Literal[True]
    stop: Strings | UnsetType = UNSET
    ebnf: str | UnsetType = UNSET


class LlamaSampling(Strict, kw_only=True):
    model: str | UnsetType = UNSET
    temperature: float | UnsetType = UNSET
    top_p: float | UnsetType = UNSET
    top_k: int | UnsetType = UNSET
    min_p: float | UnsetType = UNSET
    repeat_penalty: float | UnsetType = UNSET
    seed: int | UnsetType = UNSET
    stop: Strings | UnsetType = UNSET
    cache_prompt: bool | UnsetType = UNSET
    return_progress: bool | UnsetType = UNSET


class LlamaCompletion(LlamaSampling, kw_only=True):
    prompt: str
    n_predict: Annotated[int, Meta(ge=-1)]
    stream: Literal[True]
    grammar: str | UnsetType = UNSET
    response_fields: Strings | UnsetType = UNSET


class LlamaChat(LlamaSampling, kw_only=True):
    messages: Messages
    stream: Literal[True]
    max_tokens: Positive
    chat_template_kwargs: TemplateSwitches | UnsetType = UNSET
    reasoning_budget_tokens: Annotated[int, Meta(ge=-1)] | UnsetType = UNSET
    stream_options: StreamOptions | UnsetType = UNSET


class LlamaTokenize(Strict, kw_only=True):
    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class VllmTokenize(Strict, kw_only=True):
    model: str
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool = False


class SglangTokenize(Strict, kw_only=True):
    model: str
    prompt: str | Strings
    add_special_tokens: bool = True


ENDPOINTS: Mapping[str, Mapping[str, type[Strict]]] = {
    "zai": {"/api/paas/v4/chat/completions": ZaiChat},
    "openai": {"/v1/chat/completions": OpenAIChat},
    "vllm": {"/v1/chat/completions": VllmChat, "/v1/completions": VllmCompletion, "/tokenize": VllmTokenize},
    "sglang": {
        "/v1/chat/completions": SglangChat,
        "/v1/completions": SglangCompletion,
        "/tokenize": SglangTokenize,
    },
    "llama-server": {
        "/v1/chat/completions": LlamaChat,
        "/completion": LlamaCompletion,
        "/tokenize": LlamaTokenize,
    },
}


@dataclass(frozen=True)
class Wait:
    """Send nothing for so long."""

    seconds: float


HANG = Wait(3600)
RESET = "reset"


@dataclass(frozen=True)
class Reply:
    """An answer, byte for byte. A step is bytes to send, a `Wait`, or RESET to tear the connection down."""

    steps: Sequence[bytes | Wait | str]
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "text/event-stream"})


def event(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"data: {text}\n\n".encode()


DONE = event("[DONE]")


def refusal(status: int, body: Any, **headers: str) -> Reply:
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/html" if text.startswith("<") else "application/json"
    return Reply(
        [text.encode()],
        status,
        {"content-type": kind, **{k.replace("_", "-"): v for k, v in headers.items()}},
    )


def chunk(kind: str, text: str = "", *, reasoning: str = "", finish: str | None = None) -> bytes:
    """One piece of a chat answer in the shape of `kind` (llama-server: of its chat endpoint)."""
    delta: dict[str, Any] = {"content": text}
    if reasoning:
        name = "reasoning" if kind == "vllm" else "reasoning_content"
        delta = {name: reasoning}
    return event(
        {
            "id": "x",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def raw_chunk(text: str, *, stop_type: str = "", **more: Any) -> bytes:
    """One piece of an answer of llama-server's own endpoint."""
    return event({"content": text, "stop": bool(stop_type), "stop_type": stop_type or "none", **more})


def answer(kind: str, *texts: str, finish: str = "stop", usage: Any = None) -> list[bytes | Wait | str]:
    """A whole answer as `kind` gives it to a request without thinking."""
    if kind == "llama-server":
        stop_type = {"stop": "eos", "length": "limit"}[finish]
        return [*(raw_chunk(t) for t in texts), raw_chunk("", stop_type=stop_type, timings=usage or {})]
    steps: list[bytes | Wait | str] = [chunk(kind, t) for t in texts]
    if kind == "zai":
        choice = {"index": 0, "finish_reason": finish, "delta": {"role": "assistant", "content": ""}}
        return [*steps, event({"choices": [choice], "usage": usage}), DONE]
    steps.append(chunk(kind, finish=finish))
    return [*steps, *([event({"choices": [], "usage": usage})] if usage else []), DONE]


class Fake:
    """A server of one kind on this machine. `asked` holds bodies; `left` is set when a client goes away."""

    def __init__(self, kind: str, *replies: Reply, tls: ssl.SSLContext | None = None) -> None:
        self.kind = kind
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.counted: list[dict[str, Any]] = []
        """Of the bodies, those that ask for tokens."""
        self.tokenize: Callable[[dict[str, Any]], Reply] = lambda _: refusal(501, "Not here")
        self.paths: list[str] = []
        self.heads: list[dict[str, str]] = []
        self.came = asyncio.Event()
        self.left = asyncio.Event()
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def endpoint(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{port}"

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._serve(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left.set()
        except asyncio.CancelledError:
            pass  # the end of the test; asyncio would log it as a fault of ours
        finally:
            self._tasks.discard(task)
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        path = head[0].split()[1]
        self.paths.append(path)
        self.heads.append(headers)
        reply = self._judge(path, body)
        lines = [f"HTTP/1.1 {reply.status} X", *(f"{k}: {v}" for k, v in reply.headers.items())]
        writer.write("\r\n".join([*lines, "transfer-encoding: chunked", "", ""]).encode())
        for step in reply.steps:
            if isinstance(step, bytes) and step:
                writer.write(f"{len(step):x}\r\n".encode() + step + b"\r\n")
                await writer.drain()
            elif isinstance(step, Wait):
                await self._wait(reader, step.seconds)
            elif step == RESET:
                await asyncio.sleep(0.02)
                writer.transport.abort()
                return False
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _wait(self, reader: asyncio.StreamReader, seconds: float) -> None:
        """Wait, unless the other side leaves: a client that is waited for sends nothing more."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if not await reader.read(1):
                    raise ConnectionError

    def _judge(self, path: str, body: bytes) -> Reply:
        """The next reply, or 404 and 400 as the provider would give them."""
        schema = ENDPOINTS[self.kind].get(path)
        if schema is None:
            return refusal(404, {"error": {"message": "Not Found", "type": "NotFoundError", "code": 404}})
        try:
            msgspec.json.decode(body, type=schema)
        except msgspec.ValidationError as error:
            return refusal(400, {"error": {"message": f"{error}", "type": "BadRequestError", "code": 400}})
        if path == "/tokenize":
            self.counted.append(json.loads(body))
            return self.tokenize(self.counted[-1])
        self.asked.append(json.loads(body))
        self.came.set()
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
