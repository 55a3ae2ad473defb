"""What the thread that runs the model says to clients: in order, soon, and not token by token."""

from __future__ import annotations

import asyncio

import pytest

from glm_lsp.core.generation import Finish
from glm_lsp.engines.frames import Done, Reply, ReplyReader, Text
from glm_lsp.engines.worker import clients
from glm_lsp.engines.worker.clients import Outbox
from tests.engines.living import until

A, B, C = (Text(1, text) for text in "abc")
DONE = Done(1, Finish.STOP, 8, 0, 3, 0, 0.1, 0.1)


class Sent:
    """An outbox in the running loop, and what came out of it, send by send."""

    def __init__(self) -> None:
        self.sends: list[tuple[int, list[Reply]]] = []
        self.outbox = Outbox(asyncio.get_running_loop(), self._send)

    def _send(self, client: int, data: bytes) -> None:
        self.sends.append((client, ReplyReader().read(data)))

    async def put(self, *replies: Reply, client: int = 1) -> None:
        for reply in replies:
            self.outbox.put(client, reply)
        await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _for_ever(monkeypatch: pytest.MonkeyPatch) -> None:  # pyright: ignore[reportUnusedFunction]
    """Whatever waits for its moment waits until the test is over."""
    monkeypatch.setattr(clients, "GATHERED_S", 3600.0)


async def test_the_first_text_goes_out_at_once_and_the_next_waits() -> None:
    sent = Sent()
    await sent.put(A)
    await sent.put(B)
    assert sent.sends == [(1, [A])]


async def test_an_end_takes_along_in_one_go_what_waits_before_it() -> None:
    sent = Sent()
    for reply in (A, B, C, DONE):
        await sent.put(reply)
    assert sent.sends == [(1, [A]), (1, [Text(1, "bc"), DONE])]


async def test_what_waits_goes_out_when_its_moment_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "GATHERED_S", 0.0)
    sent = Sent()
    await sent.put(A)
    await sent.put(B, C)
    await until(lambda: len(sent.sends) == 2)
    assert sent.sends == [(1, [A]), (1, [Text(1, "bc")])]
    # And when nothing has waited, the next text is a first one again.
    await asyncio.sleep(0.01)
    await sent.put(A)
    assert sent.sends[-1] == (1, [A])


async def test_clients_get_their_own() -> None:
    sent = Sent()
    await sent.put(A)
    await sent.put(B, client=2)
    await sent.put(C)
    await sent.put(DONE, client=2)
    assert sent.sends == [(1, [A]), (2, [B, DONE]), (1, [C])]


async def test_only_text_of_one_answer_and_one_kind_is_joined() -> None:
    sent = Sent()
    await sent.put(A)
    thought, more = Text(1, reasoning="so"), Text(1, reasoning=" on")
    other = Text(2, "x")
    for reply in (thought, more, B, C, other, A, DONE):
        await sent.put(reply)
    joined = [Text(1, reasoning="so on"), Text(1, "bc"), other, A, DONE]
    assert sent.sends == [(1, [A]), (1, joined)]
