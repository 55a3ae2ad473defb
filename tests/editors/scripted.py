"""The server with the scripted engine of `tests/lsp/scripted_server.py`, for real editors.

Three more requests: `test/process` tells the server's process, for who wants to end it; `test/prompt` is the
last prompt, `{"text"}`; `test/asked` counts the requests for ghost text that somebody made by hand,
`{"invoked"}`. For editors that cannot be made to ask, GLM_TEST_NOTES names a folder: `pid` there is the
server's process, `hovers` grows with each hover that it is asked for.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path

from lsprotocol import types

from glm_lsp.core.generation import Chunk, GenerateRequest, Work
from glm_lsp.lsp.server import Server
from tests.lsp import scripted_server


class Engine(scripted_server.Engine):
    """Remembers the last prompt for somebody who types."""

    last = ""

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        if request.work is Work.TYPING:
            Engine.last = "".join(segment.text for segment in request.prompt.segments)
        async for chunk in super().generate(request):
            yield chunk


def extend(server: Server) -> scripted_server.Handlers:
    invoked = 0

    async def inline(params: types.InlineCompletionParams) -> types.InlineCompletionList:
        nonlocal invoked
        invoked += params.context.trigger_kind == types.InlineCompletionTriggerKind.Invoked
        return await server.completions.inline(params)

    return {
        **_noting(server),
        "test/process": lambda _: {"pid": os.getpid()},
        "test/prompt": lambda _: {"text": Engine.last},
        "test/asked": lambda _: {"invoked": invoked},
        types.TEXT_DOCUMENT_INLINE_COMPLETION: inline,
    }


def _noting(server: Server) -> scripted_server.Handlers:
    notes = Path(os.environ.get("GLM_TEST_NOTES", os.devnull))
    if not notes.is_dir():
        return {}
    (notes / "pid").write_text(str(os.getpid()))

    async def hover(params: types.HoverParams) -> types.Hover | None:
        with (notes / "hovers").open("a") as file:
            file.write("hover\n")
        return await server.hovers.hover(params)

    return {types.TEXT_DOCUMENT_HOVER: hover}


if __name__ == "__main__":
    scripted_server.Engine = Engine
    sys.exit(scripted_server.main(extend))
