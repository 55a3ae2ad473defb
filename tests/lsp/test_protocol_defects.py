"""Each guard of `lsp.protocol`, as a claim that holds for us and that plain pygls breaks.

The bare half may pass one day: then the guard is no longer needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lsp.wire import WAIT_S, Wire, frame

SCRIPT = str(Path(__file__).with_name("defects_server.py"))
URI = "file:///a.py"
BARE_S = 5.0
"""Plain pygls breaks most of these claims by silence: it is not waited for any longer."""
SIDES = [pytest.param("strict"), pytest.param("bare", marks=pytest.mark.xfail(reason="pygls", strict=False))]


@pytest.fixture(params=SIDES)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    wait_s = WAIT_S if request.param == "strict" else BARE_S
    with Wire([SCRIPT, request.param], wait_s=wait_s) as wire:
        wire.initialize()
        yield wire


def replies_until(wire: Wire, last: int) -> list[int]:
    """Ids of the replies, in order, up to `last`."""
    seen: list[int] = []
    while not seen or seen[-1] != last:
        message = wire.next()
        if "method" not in message:
            seen.append(message["id"])
    return seen


def did_open(wire: Wire, text: str) -> None:
    item = {"uri": URI, "languageId": "python", "version": 1, "text": text}
    wire.notify("textDocument/didOpen", {"textDocument": item})


def did_change(wire: Wire, version: int, line: int, character: int, text: str) -> None:
    at = {"line": line, "character": character}
    change = {"range": {"start": at, "end": at}, "text": text}
    document = {"uri": URI, "version": version}
    wire.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})


def test_busy_threads_do_not_make_the_server_deaf(wire: Wire) -> None:
    for number in range(1, 13):
        wire.send({"jsonrpc": "2.0", "id": number, "method": "test/busy", "params": {}})
    wire.send({"jsonrpc": "2.0", "id": 99, "method": "test/quick", "params": {}})
    assert replies_until(wire, 99) == [99]


def test_invalid_params_are_answered(wire: Wire) -> None:
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "textDocument/hover", "params": {"position": 7}})
    wire.send({"jsonrpc": "2.0", "id": 2, "method": "test/quick", "params": {}})
    assert replies_until(wire, 2) == [1, 2]


def test_a_nested_jsonrpc_key_is_data(wire: Wire) -> None:
    argument = {"jsonrpc": "2.0", "id": 5, "method": "x"}
    params = {"command": "test.echo", "arguments": [argument, argument]}
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "workspace/executeCommand", "params": params})
    wire.send({"jsonrpc": "2.0", "id": 2, "method": "test/ended", "params": {}})
    assert wire.next().get("result") == 2
    assert wire.next()["id"] == 2


@pytest.mark.parametrize("odd", ["\f", "\x85", "\u2028", "\x1c", "\v"])
def test_only_a_newline_ends_a_line(wire: Wire, odd: str) -> None:
    did_open(wire, f"a{odd}b\nc\n")
    did_change(wire, 2, 1, 1, "X")
    assert wire.request(1, "test/text", {"uri": URI})["result"] == f"a{odd}b\ncX\n"


def test_a_late_reply_to_a_cancelled_request_of_ours_is_ignored(wire: Wire) -> None:
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "test/ask", "params": {}})
    asked = next(m for m in iter(wire.next, None) if m.get("method") == "client/test")
    assert wire.reply(1)["result"] == "asked"
    wire.send({"jsonrpc": "2.0", "id": asked["id"], "result": None})
    wire.send({"jsonrpc": "2.0", "id": 2, "method": "test/quick", "params": {}})
    message = wire.next()
    assert message.get("id") == 2, message


def test_a_progress_token_is_forgotten_at_its_end(wire: Wire) -> None:
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "test/progress", "params": {}})
    created = wire.next()
    wire.send({"jsonrpc": "2.0", "id": created["id"], "result": None})
    assert wire.reply(1)["result"] == 0


def test_a_request_keeps_the_version_that_it_began_with(wire: Wire) -> None:
    did_open(wire, "a\n")
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "test/version", "params": {"uri": URI}})
    did_change(wire, 2, 0, 0, "X")
    assert wire.reply(1)["result"] == 1


def test_the_end_of_the_stream_ends_the_process_while_threads_run(wire: Wire) -> None:
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "test/long", "params": {}})
    wire.request(2, "test/quick", {})
    wire.process.stdin.close()
    assert wire.process.wait(wire.wait_s) == 0


def test_header_names_are_read_in_any_case(wire: Wire) -> None:
    wire.send_raw(
        frame({"jsonrpc": "2.0", "id": 1, "method": "test/quick", "params": {}}).replace(
            b"Content-Length", b"content-length"
        )
    )
    wire.send({"jsonrpc": "2.0", "id": 2, "method": "test/quick", "params": {}})
    assert replies_until(wire, 2) == [1, 2]


def test_a_cancelled_command_ends_its_handler(wire: Wire) -> None:
    params = {"command": "test.slow", "arguments": []}
    wire.send({"jsonrpc": "2.0", "id": 1, "method": "workspace/executeCommand", "params": params})
    wire.notify("$/cancelRequest", {"id": 1})
    assert wire.reply(1)["error"]["code"] == -32800
    assert wire.request(2, "test/ended", {})["result"] == 1


def check_refused(wire: Wire, send: Callable[[Wire], None], identifier: int | None, code: int) -> None:
    """The message is answered with the error, and the connection lives on."""
    send(wire)
    assert wire.reply(identifier)["error"]["code"] == code  # type: ignore[arg-type]
    assert wire.request(77, "test/quick", {})["result"] == "quick"


@pytest.fixture
def strict() -> Iterator[Wire]:
    with Wire([SCRIPT, "strict"]) as wire:
        wire.initialize()
        yield wire


DEEP = (
    b'{"jsonrpc": "2.0", "id": 1, "method": "test/quick", "params": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
)
BAD = {
    "not JSON": (b"{", None, -32700),
    "not UTF-8": (b'{"jsonrpc": "2.0", "id": 1, "method": "\xff"}', None, -32700),
    "a batch": (b"[]", None, -32600),
    "a text": (b'"x"', None, -32600),
    "no version": (b'{"id": 1, "method": "test/quick"}', None, -32600),
    "a null id": (b'{"jsonrpc": "2.0", "id": null, "method": "test/quick"}', None, -32600),
    "a boolean id": (b'{"jsonrpc": "2.0", "id": true, "method": "test/quick"}', None, -32600),
    "an unknown method": (b'{"jsonrpc": "2.0", "id": 1, "method": "no/such"}', 1, -32601),
    "no params": (b'{"jsonrpc": "2.0", "id": 1, "method": "textDocument/hover"}', 1, -32602),
    "a second initialize": (
        b'{"jsonrpc": "2.0", "id": 1, "method": "initialize", '
        b'"params": {"processId": null, "rootUri": null, "capabilities": {}}}',
        1,
        -32600,
    ),
    "too deep": (DEEP, None, -32700),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_message_gets_its_error(strict: Wire, name: str) -> None:
    body, identifier, code = BAD[name]
    check_refused(
        strict, lambda w: w.send_raw(b"Content-Length: %d\r\n\r\n%b" % (len(body), body)), identifier, code
    )
    assert "Traceback" not in strict.stderr


def test_requests_before_initialize_are_refused() -> None:
    with Wire([SCRIPT, "strict"]) as wire:
        assert wire.request(1, "test/quick", {})["error"]["code"] == -32002
        wire.notify("textDocument/didOpen", {"textDocument": {}})
        wire.initialize()
        assert wire.request(2, "test/quick", {})["result"] == "quick"


def test_after_shutdown_only_exit_is_served() -> None:
    with Wire([SCRIPT, "strict"]) as wire:
        wire.initialize()
        assert wire.request(1, "shutdown")["result"] is None
        assert wire.request(2, "test/quick", {})["error"]["code"] == -32600
        wire.notify("exit")
        assert wire.process.wait(WAIT_S) == 0


def test_messages_before_the_end_of_the_stream_are_served() -> None:
    with Wire([SCRIPT, "strict"]) as wire:
        wire.initialize()
        last = [
            {"id": 1, "method": "test/quick", "params": {}},
            {"id": 2, "method": "shutdown"},
            {"method": "exit"},
        ]
        wire.send_raw(b"".join(frame({"jsonrpc": "2.0", **message}) for message in last))
        wire.process.stdin.close()
        assert wire.reply(1)["result"] == "quick"
        assert wire.process.wait(WAIT_S) == 0


def test_a_client_that_could_not_read_us_is_not_answered(strict: Wire) -> None:
    strict.send({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "?"}})
    strict.send({"jsonrpc": "2.0", "id": 1, "method": "test/quick", "params": {}})
    assert strict.next()["id"] == 1


def test_a_result_that_cannot_be_written_is_an_error(strict: Wire) -> None:
    assert strict.request(1, "test/nan", {})["error"]["code"] == -32603
    assert strict.request(2, "test/quick", {})["result"] == "quick"


def test_exit_without_shutdown_is_an_error() -> None:
    with Wire([SCRIPT, "strict"]) as wire:
        wire.initialize()
        wire.notify("exit")
        assert wire.process.wait(WAIT_S) == 1


@pytest.mark.parametrize("initialized", [False, True])
def test_a_client_that_is_gone_ends_the_server_without_a_word(initialized: bool) -> None:
    with Wire([SCRIPT, "strict"]) as wire:
        if initialized:
            wire.initialize()
        wire.process.stdin.close()
        assert wire.process.wait(WAIT_S) == 0
        assert wire.stderr == ""


@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_messages_may_arrive_in_any_pieces(strict: Wire, chunk: int) -> None:
    data = b"".join(
        frame({"jsonrpc": "2.0", "id": n, "method": "test/quick", "params": {"é": "𝄞"}}) for n in range(1, 6)
    )
    for at in range(0, len(data), chunk):
        strict.send_raw(data[at : at + chunk])
    assert replies_until(strict, 5) == [1, 2, 3, 4, 5]


def test_a_frame_that_cannot_be_read_ends_the_connection(strict: Wire) -> None:
    strict.send_raw(b"Content-Length: 99999999999\r\n\r\n")
    assert strict.process.wait(WAIT_S) == 1
    assert "99999999999" in strict.stderr
