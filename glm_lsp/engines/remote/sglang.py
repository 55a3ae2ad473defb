"""SGLang's OpenAI-compatible server, 0.5.13 and later; KTransformers serves through it.

Source: the request models of its chat and completion endpoints. It appends an open last message to the
rendered template by itself, so `add_generation_prompt` is no field of its. Cached tokens are reported when
the server runs with `--enable-cache-report`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from glm_lsp.core.generation import Form, GenerateRequest, Thinking
from glm_lsp.engines.remote.counting import CROSSING
from glm_lsp.engines.remote.dialect import Call, Dialect, messages, raw_prompt, split_trailing
from glm_lsp.engines.remote.filters import Reasoning
from glm_lsp.engines.remote.vllm import sampling, template_switches


class Sglang(Dialect):
    """Prefill by an open last message, grammar as EBNF, FIM by GLM's three tokens."""

    kind = "sglang"
    title = "The SGLang server"
    prefill = True
    grammar = True
    fim = True
    default_path = ""
    cut_path = "/v1"
    tokenizes = True

    def call(self, request: GenerateRequest, model: str, template: str) -> Call:
        body = sampling(request, model, self._stops(request))
        if request.grammar:
            body["ebnf"] = request.grammar
        if request.prompt.form is Form.FIM:
            body["prompt"] = raw_prompt(request.prompt, template)
            return Call("/v1/completions", body)
        thinks = request.thinking is not Thinking.OFF
        body["chat_template_kwargs"] = template_switches(request.thinking)
        body["separate_reasoning"] = True
        begun = request.prompt.prefill
        if not begun or thinks:
            body["messages"] = messages(request.prompt, described=begun)
            mode = Reasoning.HELD if thinks else Reasoning.LEADING
            return Call("/v1/chat/completions", body, mode, echo=begun)
        kept, lost = split_trailing(begun, " \t") if request.heal else (begun, "")
        body["messages"] = messages(request.prompt, prefilled=kept)
        if kept:
            body["continue_final_message"] = True
        return Call("/v1/chat/completions", body, lost=lost)

    def tokenize(self, lines: Sequence[str], model: str) -> Call:
        """Line by line, and as a whole: so it can be seen whether the lines' tokens add up."""
        prompts = [*lines, "".join(lines)]
        return Call("/tokenize", {"model": model, "prompt": prompts, "add_special_tokens": False})

    def counted(self, data: bytes, lines: Sequence[str]) -> list[int]:
        *each, whole = _TOKENS.decode(data).count
        if len(each) != len(lines) or min(each, default=1) < 1:
            raise ValueError("it does not say how many tokens each text has")
        if sum(each) != whole:
            raise ValueError(CROSSING)
        return each


class _Tokens(msgspec.Struct):
    count: list[int]


_TOKENS = msgspec.json.Decoder(_Tokens)
