"""llama.cpp's own server.

With thinking off the prompt is rendered here, in GLM's own tokens, and sent to `/completion`: the prefill is
exact, and neither a model file's template nor the server's reasoning parser has a say. With thinking on its
chat endpoint counts the reasoning budget. Its figures come in `timings`, prompt progress on request.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from glm_lsp.core.generation import Form, GenerateRequest, Thinking
from glm_lsp.engines.remote.counting import by_line
from glm_lsp.engines.remote.dialect import (
    Body,
    Call,
    Delta,
    Dialect,
    Progress,
    Timings,
    cap,
    messages,
    prefill,
    raw_prompt,
    read_openai,
    split_trailing,
    usage,
)
from glm_lsp.engines.remote.filters import Reasoning
from glm_lsp.engines.remote.vllm import template_switches

FIELDS = ["content", "stop", "stop_type", "timings", "truncated"]
"""Of the last event; without this list the server repeats the whole prompt in it."""


class LlamaServer(Dialect):
    """Prefill, grammar and fill-in-the-middle, all by the raw prompt."""

    kind = "llama-server"
    title = "The llama.cpp server"
    prefill = True
    grammar = True
    fim = True
    default_path = ""
    cut_path = "/v1"
    tokenizes = True

    def call(self, request: GenerateRequest, model: str, template: str) -> Call:
        body: Body = {
            "model": model,
            "temperature": request.temperature,
            "top_p": request.top_p,
            # Its defaults bend the distribution and differ between versions: all off.
            "top_k": 0,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            "seed": request.seed,
            "stream": True,
            "cache_prompt": True,
            "return_progress": True,
        }
        if stops := self._stops(request):
            body["stop"] = stops
        if request.thinking is not Thinking.OFF and request.prompt.form is Form.CHAT:
            return self._chat(request, body)
        if request.grammar:
            body["grammar"] = request.grammar
        prompt, lost = raw_prompt(request.prompt, template), ""
        if request.heal and request.prompt.prefill and request.prompt.form is Form.CHAT:
            kept, lost = split_trailing(request.prompt.prefill, " \t")
            prompt = prompt[: len(prompt) - len(lost)] if kept else prompt
            lost = lost if kept else ""
        body |= {"prompt": prompt, "n_predict": request.max_tokens, "response_fields": FIELDS}
        return Call("/completion", body, lost=lost)

    def read(self, data: str) -> Delta:
        delta = read_openai(data)
        if delta.problem is not None:
            return delta
        event = _EVENT.decode(data)
        if event.content is None and event.stop is None:
            return delta
        return Delta(
            text=event.content or "",
            finish={"limit": "length"}.get(event.stop_type, "stop") if event.stop else "",
            usage=usage(None, event.timings) if event.stop else None,
            prefill=prefill(event.prompt_progress),
        )

    def tokenize(self, lines: Sequence[str], model: str) -> Call:
        fields = {"add_special": False, "parse_special": False, "with_pieces": True}
        return Call("/tokenize", {"content": "".join(lines), **fields})

    def counted(self, data: bytes, lines: Sequence[str]) -> list[int]:
        pieces = [token.piece for token in _TOKENS.decode(data).tokens]
        return by_line([p.encode() if isinstance(p, str) else bytes(p) for p in pieces], lines)

    def _chat(self, request: GenerateRequest, body: Body) -> Call:
        """No grammar here: it would bind the reasoning too, and the answer is checked anyway."""
        begun = request.prompt.prefill
        body |= {
            "messages": messages(request.prompt, described=begun),
            "max_tokens": cap(request),
            "chat_template_kwargs": template_switches(request.thinking),
            "reasoning_budget_tokens": request.reasoning_tokens,
            "stream_options": {"include_usage": True},
        }
        return Call("/v1/chat/completions", body, Reasoning.HELD, echo=begun)


class _Event(msgspec.Struct):
    content: str | None = None
    stop: bool | None = None
    stop_type: str = "none"
    timings: Timings | None = None
    prompt_progress: Progress | None = None


_EVENT = msgspec.json.Decoder(_Event)


class _Token(msgspec.Struct):
    piece: str | list[int]
    """Its text, or its bytes where they are none."""


class _Tokens(msgspec.Struct):
    tokens: list[_Token]


_TOKENS = msgspec.json.Decoder(_Tokens)
