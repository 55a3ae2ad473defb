"""The worker's clients, and the desk that their requests go to."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from glm_lsp.engines.frames import Generate, Load, Reply, Text, encode

MOST_CLIENTS = 256
MOST_VISITORS = 64
"""Beside the clients. For one more the oldest is dropped: whoever asks or stops is never refused."""
MOST_PENDING_BYTES = 64 << 20
"""A client that leaves more unread is dropped."""
GATHERED_S = 0.05
"""A fast model's text goes out so often, not token by token."""
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


class Outbox:
    """Replies on their way to the thread that sends them, from the one that runs the model.

    Waking that thread costs this one more than writing the text does. So text that comes soon after other
    text waits a moment for more of it; the first does not, and whatever is no text goes out at once, after
    all that was there before.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, send: Callable[[int, bytes], None]) -> None:
        self._loop = loop
        self._send = send
        self._waiting: deque[tuple[int, Text | bytes]] = deque()
        self._scheduled = False
        self._timer: asyncio.TimerHandle | None = None

    def put(self, client: int, reply: Reply) -> None:
        """From any thread; returns at once. Raises FrameError if the reply cannot be sent."""
        # Text can, and is encoded where nothing waits for it.
        self._waiting.append((client, reply if isinstance(reply, Text) else encode(reply)))
        if not self._scheduled or not isinstance(reply, Text):
            self._scheduled = True
            self._loop.call_soon_threadsafe(self.flush)

    def flush(self) -> None:
        """Send what is there. In the loop's thread."""
        # Before the queue is read: whoever appends from now on schedules another.
        self._scheduled = False
        if not self._waiting:
            return
        parts: dict[int, list[Text | bytes]] = {}
        while self._waiting:
            client, reply = self._waiting.popleft()
            _append(parts.setdefault(client, []), reply)
        for client, replies in parts.items():
            self._send(client, b"".join(encode(r) if isinstance(r, Text) else r for r in replies))
        self._scheduled = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(GATHERED_S, self.flush)


def _append(replies: list[Text | bytes], reply: Text | bytes) -> None:
    """Add a reply; text goes on where the last one ended, if that was text of the same answer."""
    last = replies[-1] if replies else None
    if (
        isinstance(last, Text)
        and isinstance(reply, Text)
        and last.id == reply.id
        and bool(last.reasoning) == bool(reply.reasoning)
    ):
        replies[-1] = Text(last.id, last.text + reply.text, last.reasoning + reply.reasoning)
    else:
        replies.append(reply)


def say(sentence: str) -> None:
    """Put a sentence into the worker's log."""
    sys.stderr.write(f"{sentence}\n")
    sys.stderr.flush()
