"""The scripted server, which can also say what its engine was told: `test/prompts`."""

from __future__ import annotations

import sys
from typing import Any

from glm_lsp.lsp.server import Server
from tests.lsp import scripted_server


def extend(server: Server) -> scripted_server.Handlers:
    async def prompts(params: object) -> list[str]:
        router: Any = server.runtime and server.runtime.router
        return [
            "\n".join([*(segment.text for segment in request.prompt.segments), request.prompt.suffix])
            for request in router.scripted.requests
        ]

    return {"test/prompts": prompts}


if __name__ == "__main__":
    sys.exit(scripted_server.main(extend))
