"""vLLM's OpenAI-compatible server, 0.23 and later.

Source: the request models of its chat and completion endpoints. Cached tokens are reported when the server
runs with `--enable-prompt-tokens-details`; reasoning comes apart from the answer with
`--reasoning-parser glm45`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from glm_lsp.core.generation import Form, GenerateRequest, Thinking
from glm_lsp.engines.remote.counting import by_line, bytes_of
from glm_lsp.engines.remote.dialect import (
    Body,
    Call,
    Dialect,
    cap,
    messages,
    raw_prompt,
    split_trailing,
)
from glm_lsp.engines.remote.filters import Reasoning


class Vllm(Dialect):
    """Prefill by an open last message, grammar by structured outputs, FIM by GLM's three tokens."""

    kind = "vllm"
    title = "The vLLM server"
    prefill = True
    grammar = True
    fim = True
    default_path = ""
    cut_path = "/v1"
    tokenizes = True

    def call(self, request: GenerateRequest, model: str, template: str) -> Call:
        if request.prompt.form is Form.FIM:
            # The prompt brings its own special tokens; vLLM would add others in front.
            prompt: Body = {"prompt": raw_prompt(request.prompt, template), "add_special_tokens": False}
            return Call("/v1/completions", self._body(request, model) | prompt)
        thinks = request.thinking is not Thinking.OFF
        begun = request.prompt.prefill
        if not begun or thinks:
            told: Body = {"messages": messages(request.prompt, described=begun)}
            mode = Reasoning.HELD if thinks else Reasoning.LEADING
            return Call("/v1/chat/completions", self._chat(request, model) | told, mode, echo=begun)
        # The chat template trims the end of an answer, so that it is cut here, where we know of it.
        kept, lost = split_trailing(begun, " \t\n")
        body = self._chat(request, model, lost)
        body["messages"] = messages(request.prompt, prefilled=kept)
        if kept:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return Call("/v1/chat/completions", body, lost=lost)

    def tokenize(self, lines: Sequence[str], model: str) -> Call:
        fields = {"add_special_tokens": False, "return_token_strs": True}
        return Call("/tokenize", {"model": model, "prompt": "".join(lines), **fields})

    def counted(self, data: bytes, lines: Sequence[str]) -> list[int]:
        """Token strings are those of the vocabulary: letters that stand for bytes."""
        return by_line([bytes_of(token) for token in _TOKENS.decode(data).token_strs], lines)

    def _chat(self, request: GenerateRequest, model: str, lost: str = "") -> Body:
        switches: Body = {"chat_template_kwargs": template_switches(request.thinking)}
        return self._body(request, model, lost) | switches

    def _body(self, request: GenerateRequest, model: str, lost: str = "") -> Body:
        body = sampling(request, model, self._stops(request, lost))
        if request.grammar:
            body["structured_outputs"] = {"grammar": request.grammar}
        return body


def sampling(request: GenerateRequest, model: str, stops: list[str]) -> Body:
    """The fields that vLLM and SGLang share, chat or not."""
    body: Body = {
        "model": model,
        "max_tokens": cap(request),
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if stops:
        body["stop"] = stops
    return body


def template_switches(thinking: Thinking) -> Body:
    """Variables of GLM's published chat template. Only the literal `high` lowers the effort; else Max."""
    if thinking is Thinking.OFF:
        return {"enable_thinking": False}
    if thinking is Thinking.HIGH:
        return {"enable_thinking": True, "reasoning_effort": "high"}
    return {"enable_thinking": True}


class _Tokens(msgspec.Struct):
    token_strs: list[str]


_TOKENS = msgspec.json.Decoder(_Tokens)
