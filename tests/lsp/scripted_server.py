"""The real server with a scripted engine. What it answers stands in the variable GLM_TEST_SCRIPT, as JSON:
`{"typing": text, "docstring": text, "other": text, "delay_s": seconds, "held": bool (answers wait until it is
false), "trickle_s": seconds between two pieces, "fail": sentence, "index": bool, "warms": bool, "dies":
sentence (once)}`.

Three more requests: `test/engine` counts what the engine saw, `test/script` changes the script, `test/text`
is the text of a document as the server has it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from glm_lsp.app import Runtime
from glm_lsp.core import profiles
from glm_lsp.core.errors import EngineDied, EngineUnavailable
from glm_lsp.core.generation import Chunk, GenerateRequest, Work
from glm_lsp.core.settings import Settings
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.engines.tokenizers import ApproximateTokenizer
from glm_lsp.lsp import server
from glm_lsp.lsp.transport import take_stdio
from glm_lsp.workspace import config

script: dict[str, Any] = {
    "typing": "answer",
    "docstring": "Say what this does, shortly.",
    "other": "Nothing.",
}


def answer(request: GenerateRequest) -> str:
    if fail := script.get("fail"):
        raise EngineUnavailable(fail)
    if dies := script.pop("dies", None):
        raise EngineDied(dies)
    if request.work is Work.TYPING:
        return script["typing"]
    return script["docstring"] if request.grammar else script["other"]


class Engine(ScriptedEngine):
    """Waits as the script says at the moment, and counts what has not ended."""

    live = written = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        self.live += 1
        try:
            async with aclosing(super().generate(request)) as stream:
                async for chunk in stream:
                    while script.get("held"):  # noqa: ASYNC110 (told by a message, which sets no event)
                        await asyncio.sleep(0.01)
                    yield chunk
                    self.written += bool(chunk.text)
                    await asyncio.sleep(script.get("trickle_s", 0.0))
        finally:
            self.live -= 1

    @property
    def _delay_s(self) -> float:
        return script.get("delay_s", 0.0)

    @_delay_s.setter
    def _delay_s(self, value: float) -> None:
        pass


class ScriptedRouter:
    def __init__(self) -> None:
        self.scripted = Engine(answer, facts=replace(FACTS, warms=bool(script.get("warms"))))
        self._profile = profiles.load("glm-5.2")
        self._tokenizer = ApproximateTokenizer()

    def engine(self, work: Work) -> ScriptedEngine:
        return self.scripted

    def profile(self, work: Work) -> profiles.ModelProfile:
        return self._profile

    def tokenizer(self, work: Work) -> ApproximateTokenizer:
        return self._tokenizer

    def counting(self, work: Work) -> str:
        return "A bound."

    def explain(self) -> tuple[()]:
        return ()

    async def close(self) -> None:
        await self.scripted.close()


Handlers = dict[str, Callable[[Any], Any]]


def main(extend: Callable[[server.Server], Handlers] | None = None) -> int:
    """Serve; `extend` gives handlers for more requests."""
    script.update(json.loads(os.environ.get("GLM_TEST_SCRIPT", "{}")))
    router = ScriptedRouter()

    def runtime(settings: Settings) -> Runtime:
        made = Runtime(settings)
        made._router = router  # type: ignore[assignment]
        return made

    made = server.Server(config.load(argv=sys.argv[1:]), runtime)

    async def engine(params: object) -> dict[str, int]:
        engine = router.scripted
        ahead = sum(request.work is Work.IDLE for request in engine.requests)
        asked = len(engine.requests)
        return {
            "requests": asked,
            "ahead": ahead,
            "cancelled": engine.cancelled,
            "live": engine.live,
            "written": engine.written,
        }

    async def change(params: dict[str, Any]) -> None:
        script.update(params)

    async def text(params: dict[str, Any]) -> str:
        return made.folders.document(params["uri"]).freeze("").data.decode()

    made.protocol.handlers |= {"test/engine": engine, "test/script": change, "test/text": text}
    made.protocol.handlers |= extend(made) if extend is not None else {}
    return asyncio.run(made.protocol.serve(take_stdio(), made.close))


if __name__ == "__main__":
    sys.exit(main())
