"""The scripted server with probes.

`test/probe` starts one in its event loop, `test/stalls` says how late the loop was, `test/cpu` how much
processor time each inline completion and each listing of code actions took, in seconds, in order.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

from lsprotocol import types

from glm_lsp.lsp.server import Server
from tests.bench.probe import Probe
from tests.lsp import scripted_server

TIMED = (types.TEXT_DOCUMENT_INLINE_COMPLETION, types.TEXT_DOCUMENT_CODE_ACTION)


def extend(server: Server) -> scripted_server.Handlers:
    probe = Probe()
    took_s: dict[str, list[float]] = {method: [] for method in TIMED}

    def timed(method: str) -> Callable[[Any], Any]:
        handler = server.protocol.handlers[method]

        async def handle(params: Any) -> Any:
            start = time.process_time()
            try:
                return await handler(params)
            finally:
                took_s[method].append(time.process_time() - start)

        return handle

    async def start(params: object) -> None:
        server.protocol.spawn(probe.run(), "probe")

    async def stalls(params: object) -> dict[str, float]:
        return probe.figures()

    async def cpu(params: object) -> dict[str, list[float]]:
        return took_s

    handlers = {method: timed(method) for method in TIMED}
    return {**handlers, "test/probe": start, "test/stalls": stalls, "test/cpu": cpu}


if __name__ == "__main__":
    sys.exit(scripted_server.main(extend))
