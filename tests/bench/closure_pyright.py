"""References as pyright's language server tells them: a second opinion beside jedi's."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

Where = tuple[str, int, int]
"""A path, a 0-based line and column."""


class Pyright:
    """The server of the `pyright` package, over pipes."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        command = [sys.executable, "-m", "pyright.langserver", "--stdio"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root
        )
        self._number = 0
        self._opened: set[str] = set()
        folder = {"uri": self._root.as_uri(), "name": "root"}
        capabilities = {"workspace": {"configuration": False, "workspaceFolders": True}}
        self._ask(
            "initialize",
            {
                "processId": None,
                "rootUri": folder["uri"],
                "workspaceFolders": [folder],
                "capabilities": capabilities,
            },
        )
        self._send({"method": "initialized", "params": {}})

    def uses(self, places: Sequence[Where]) -> set[tuple[str, int]]:
        """The lines that speak of what is defined at `places`, these included."""
        found: set[tuple[str, int]] = set()
        for path, line, column in places:
            uri = (self._root / path).as_uri()
            if path not in self._opened:
                self._opened.add(path)
                text = (self._root / path).read_text(encoding="utf-8")
                document = {"uri": uri, "languageId": "python", "version": 1, "text": text}
                self._send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
            asked = {
                "textDocument": {"uri": uri},
                "position": {"line": line, "character": column},
                "context": {"includeDeclaration": True},
            }
            for one in self._ask("textDocument/references", asked) or ():
                at = Path(unquote(urlsplit(one["uri"]).path))
                if at.is_relative_to(self._root):
                    found.add((at.relative_to(self._root).as_posix(), one["range"]["start"]["line"]))
        return found

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _ask(self, method: str, params: Any) -> Any:
        self._number += 1
        self._send({"id": self._number, "method": method, "params": params})
        while True:
            message = self._read()
            if "method" in message and "id" in message:
                items = (
                    message.get("params", {}).get("items")
                    if message["method"] == "workspace/configuration"
                    else None
                )
                self._send({"id": message["id"], "result": [None] * len(items) if items else None})
            elif message.get("id") == self._number:
                return message.get("result")

    def _send(self, message: dict[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        stdin, _ = self._pipes()
        stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        stdin.flush()

    def _read(self) -> dict[str, Any]:
        _, stdout = self._pipes()
        length = 0
        while line := stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if not length:
            raise RuntimeError("pyright's server has ended")
        return json.loads(stdout.read(length))

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        pipes: Any = (self._process.stdin, self._process.stdout)
        return pipes
