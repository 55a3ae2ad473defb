"""A language server of somebody else, beside ours: one item, one hover, both at once. It stands for `ty`."""

from __future__ import annotations

import json
import sys
from typing import Any

CAPABILITIES: dict[str, Any] = {"textDocumentSync": 1, "completionProvider": {}, "hoverProvider": True}
ANSWERS: dict[str, Any] = {
    "initialize": {"capabilities": CAPABILITIES},
    "textDocument/completion": {"isIncomplete": False, "items": [{"label": "neighbour_item"}]},
    "textDocument/hover": {"contents": "The neighbour says what it is."},
}


def main() -> None:
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while True:
        size = 0
        while (line := source.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        if not size:
            return
        message = json.loads(source.read(size))
        if "id" in message and "method" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], "result": ANSWERS.get(message["method"])}
            body = json.dumps(reply).encode()
            sink.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
            sink.flush()


if __name__ == "__main__":
    main()
