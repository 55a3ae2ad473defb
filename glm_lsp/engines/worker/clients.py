"""The worker's clients, and the desk that their requests go to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from glm_lsp.engines.frames import Generate, Load, Reply

MOST_CLIENTS = 256
MOST_PENDING_BYTES = 64 << 20
"""A client that leaves more unread is dropped."""
Send = Callable[[Reply], None]


class Desk(Protocol):
    """Where requests go. Called from the listener's thread; nothing of it may wait."""

    def submit(self, client: int, request: Generate, send: Send) -> None: ...

    def cancel(self, client: int, identity: int) -> None: ...

    def drop(self, client: int) -> None: ...

    def working_for(self) -> Collection[int]:
        """The clients with work, waiting or running."""
        ...

    def close(self) -> None:
        """Stop what runs and take nothing more."""
        ...


@dataclass(eq=False, slots=True)
class Client:
    """Somebody who has said hello. Without `load` a visitor, who asks or stops and counts for nothing."""

    number: int
    name: str
    pid: int
    load: Load | None
    writer: asyncio.StreamWriter

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid})"

    def send(self, data: bytes) -> None:
        """Never waits; who does not read is dropped in the end."""
        if self.writer.is_closing():
            return
        self.writer.write(data)
        if self.writer.transport.get_write_buffer_size() > MOST_PENDING_BYTES:
            say(f"{self} does not read what it asked for, and is dropped.")
            self.writer.transport.abort()


def say(sentence: str) -> None:
    """Put a sentence into the worker's log."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
