"""pygls made strict: each guard here answers a defect that was seen, and has a test that fails without it.

- Messages come from a thread of their own (`transport`), so busy handlers cannot make the server deaf.
- Every request gets exactly one reply: invalid parameters, unknown methods, a second `initialize`, anything
  before `initialize` or after `shutdown` get the error that the protocol names for them.
- Only the message itself is turned into types: a nested object with a `jsonrpc` key is data.
- Requests of both sides live in separate tables, and late or unasked replies are dropped.
- A handler runs up to its first await before the next message is taken.
- A cancelled request ends its task, whatever kind of handler serves it.
- Nothing is sent after the reply to `shutdown` but replies.
- pygls' own workspace is not used (`documents` is), and neither are its built-in handlers.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, cast

import cattrs
from lsprotocol import converters, types
from pygls.exceptions import JsonRpcException
from pygls.lsp.server import LanguageServer
from pygls.protocol import (
    JsonRPCNotification,
    JsonRPCRequestMessage,
    JsonRPCResponseMessage,
    LanguageServerProtocol,
)

from glm_lsp.core.errors import GlmError
from glm_lsp.core.text import visible
from glm_lsp.lsp.replies import Code, RequestError, code_of, reason_of
from glm_lsp.lsp.transport import Pipe

log = logging.getLogger(__name__)
# It logs whole messages, source included, and tracebacks.
logging.getLogger("pygls").setLevel(logging.CRITICAL)

type_of = types.METHOD_TO_TYPES
MessageId = int | str
CLOSE_S, THREADS_S = 5.0, 0.5
"""When the connection has ended: time for closing engines, and then for threads that still run."""
SWITCH_S = 0.0005
"""A thread that computes (parsing, a graph brought up to date) gives the event loop its turn after this long,
not after the ten times longer default."""


def plain_converter() -> cattrs.Converter:
    """lsprotocol's converter; custom messages keep their parameters and results as plain JSON values."""
    converter = converters.get_converter()
    for kind in (JsonRPCRequestMessage, JsonRPCResponseMessage, JsonRPCNotification):

        def structure(data: dict[str, Any], _: object, kind: type[Any] = kind) -> Any:
            names = [field.name for field in kind.__attrs_attrs__]
            return kind(**{name: data.get(name) for name in names})

        converter.register_structure_hook(kind, structure)
    return converter


def protocol_for(name: str, version: str) -> StrictProtocol:
    """A connection that serves nothing yet: fill its `handlers`."""
    server = LanguageServer(name, version, protocol_cls=StrictProtocol, converter_factory=plain_converter)
    return cast(StrictProtocol, server.protocol)


class StrictProtocol(LanguageServerProtocol):
    """The connection: who asked what, and who still waits."""

    def __init__(self, server: LanguageServer, converter: cattrs.Converter) -> None:
        super().__init__(server, converter)
        self.handlers: dict[str, Callable[[Any], Any]] = {}
        """What is called for each method, with its parameters; a coroutine function becomes a task."""
        self._tasks: dict[MessageId, asyncio.Task[Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._waiting: deque[Callable[[], None]] = deque()
        self._pipe: Pipe | None = None
        self._initialized = False
        self._silent = False
        self._exited = False
        self._ended: asyncio.Event | None = None
        self.lost = ""
        """Why the connection ended, where it did not end by itself."""

    def _register_builtin_features(self) -> None:
        """pygls' own handlers are not used."""

    # Lifecycle

    async def serve(self, pipe: Pipe, close: Callable[[], Awaitable[None]]) -> int:
        """Serve until `exit` or the end of the stream, then `close`; return the protocol's exit code.

        The process ends soon after, whatever hangs: a thread, a child, a client that reads nothing.
        """
        sys.setswitchinterval(SWITCH_S)
        code = await self._run(pipe)
        watchdog = _end_process_in(CLOSE_S, code)
        await close()
        pipe.close()
        if self.lost:
            log.error("the connection was lost: %s", self.lost)
        sys.stderr.flush()
        watchdog.cancel()
        _end_process_in(THREADS_S, code)
        return code

    async def _run(self, pipe: Pipe) -> int:
        self._ended = asyncio.Event()
        self._pipe = pipe

        ended = self._ended

        def lost(reason: str) -> None:
            self.lost = reason
            ended.set()

        pipe.start(
            lambda body: self._enqueue(partial(self.receive, body)),
            lambda reason: self._enqueue(partial(lost, reason)),
        )
        await self._ended.wait()
        await self.cancel_all()
        # The protocol calls `exit` without `shutdown` an error. A client that is gone has asked for nothing:
        # the server has done all that it should, and whoever watches is not alarmed.
        return 1 if self.lost or (self._exited and not self._shutdown) else 0

    def end(self) -> None:
        """Leave `run`: the client said `exit`."""
        self._exited = True
        if self._ended is not None:
            self._ended.set()

    async def cancel_all(self, besides: asyncio.Task[Any] | None = None) -> None:
        """Cancel every running handler and every request that waits for the client, and see them end."""
        for future in tuple(self._request_futures.values()):
            future.cancel()
        self._request_futures.clear()
        tasks = [task for task in (*self._tasks.values(), *self._background) if task is not besides]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S)

    async def shut_down(self) -> None:
        """Refuse what comes from now on, end what runs; afterwards only replies leave."""
        self._shutdown = True
        await self.cancel_all(besides=asyncio.current_task())
        self._silent = True

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` beside the requests; it ends with the connection at the latest."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._background.add(task)

        def done(task: asyncio.Task[Any]) -> None:
            self._background.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("%s failed: %s", name, error, exc_info=error)

        task.add_done_callback(done)
        return task

    @property
    def running(self) -> tuple[str, ...]:
        """Names of the tasks that run, for status and tests."""
        return tuple(task.get_name() for task in (*self._tasks.values(), *self._background))

    def warm(self) -> None:
        """Make the converters of what is taken and answered: 40 ms that the first messages need not wait.

        Any thread may do it.
        """
        for method in tuple(self.handlers):
            kinds = type_of.get(method, (None, None))
            if kinds[0] is not None:
                self._converter.get_structure_hook(kinds[0])
            if kinds[1] is not None:
                self._converter.get_unstructure_hook(kinds[1])

    # Incoming

    def _enqueue(self, action: Callable[[], None]) -> None:
        self._waiting.append(action)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._take_next)

    def _take_next(self) -> None:
        """One message in one turn of the loop: a handler takes its snapshot before the next one."""
        try:
            self._waiting[0]()
        finally:
            self._waiting.popleft()
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._take_next)

    def receive(self, body: bytes) -> None:
        """Take one message from the client. Never raises."""
        try:
            data = json.loads(body)
        except (ValueError, RecursionError) as error:
            self._refuse(None, types.ErrorCodes.ParseError, f"The message is not JSON: {error}.")
            return
        if not isinstance(data, dict):
            self._refuse(None, types.ErrorCodes.InvalidRequest, "The message is not a JSON object.")
            return
        message = cast(dict[str, Any], data)
        identifier: object = message.get("id")
        known = isinstance(identifier, int | str) and not isinstance(identifier, bool)
        if "method" not in message and not known and ("error" in message or "result" in message):
            log.warning("the client could not read a message: %s", message.get("error"))
        elif message.get("jsonrpc") != "2.0" or ("id" in message and not known):
            self._refuse(None, types.ErrorCodes.InvalidRequest, "The message is not JSON-RPC 2.0.")
        elif isinstance(message.get("method"), str):
            if known:
                self._request(cast(MessageId, identifier), message)
            else:
                self._notified(message)
        elif known and "method" not in message:
            self._reply(cast(MessageId, identifier), message)
        else:
            self._refuse(None, types.ErrorCodes.InvalidRequest, "The message has neither a method nor an id.")

    def _request(self, identifier: MessageId, message: dict[str, Any]) -> None:
        method: str = message["method"]
        if refusal := self._out_of_place(method):
            self._refuse(identifier, *refusal)
            return
        if identifier in self._tasks:
            self._refuse(
                identifier, types.ErrorCodes.InvalidRequest, f"Request {identifier!r} is still running."
            )
            return
        handler = self.handlers.get(method)
        if handler is None:
            self._refuse(identifier, types.ErrorCodes.MethodNotFound, f"glm-lsp does not know {method}.")
            return
        try:
            params = self._structure(message, type_of.get(method, (JsonRPCRequestMessage,))[0])
        except Exception as error:
            self._refuse(identifier, types.ErrorCodes.InvalidParams, f"{method}: {reason_of(error)}")
            return
        if method == types.INITIALIZE:
            self._initialized = True
        if inspect.iscoroutinefunction(handler):
            task = asyncio.get_running_loop().create_task(handler(params), name=f"{method} {identifier}")
            self._tasks[identifier] = task
            task.add_done_callback(lambda task: self._answer(identifier, method, task.result, task))
        else:
            self._answer(identifier, method, lambda: handler(params), None)

    def _answer(
        self, identifier: MessageId, method: str, result: Callable[[], Any], task: asyncio.Task[Any] | None
    ) -> None:
        if task is not None:
            self._tasks.pop(identifier, None)
        try:
            kind = type_of.get(method, (None, None))[1] or JsonRPCResponseMessage
            self._send_data(kind(id=identifier, result=result(), jsonrpc="2.0"))
        except asyncio.CancelledError:
            self._refuse(identifier, types.LSPErrorCodes.RequestCancelled, "The request was cancelled.")
        except GlmError as error:
            self._refuse(identifier, code_of(error), str(error))
        except Exception as error:
            log.exception("%s failed", method)
            what = type(error).__name__
            message = f"glm-lsp failed on {method} ({what}); its log on stderr has the details."
            self._refuse(identifier, types.ErrorCodes.InternalError, message)

    def _out_of_place(self, method: str) -> tuple[Code, str] | None:
        if self._shutdown:
            return types.ErrorCodes.InvalidRequest, f"{method} came after shutdown."
        if method == types.INITIALIZE:
            again = types.ErrorCodes.InvalidRequest, "initialize came a second time."
            return again if self._initialized else None
        if not self._initialized:
            return types.ErrorCodes.ServerNotInitialized, f"{method} came before initialize."
        return None

    def _notified(self, message: dict[str, Any]) -> None:
        method: str = message["method"]
        if method != types.EXIT and self._out_of_place(method):
            log.warning("ignored %s: it came before initialize or after shutdown", method)
            return
        try:
            params = self._structure(message, type_of.get(method, (JsonRPCNotification,))[0])
        except Exception as error:
            self.complain(f"{method}: {reason_of(error)}")
            return
        if method == types.CANCEL_REQUEST:
            if (task := self._tasks.get(params.id)) is not None:
                task.cancel()
            return
        handler = self.handlers.get(method)
        if handler is None:
            log.debug("ignored %s", method)
            return
        if inspect.iscoroutinefunction(handler):
            self.spawn(handler(params), method)
            return
        try:
            handler(params)
        except GlmError as error:
            self.complain(str(error))
        except Exception:
            log.exception("%s failed", method)

    def complain(self, message: str) -> None:
        """Tell the user what a notification did wrong: nobody waits for a reply to it."""
        log.warning("%s", message)
        self.notify(
            types.WINDOW_SHOW_MESSAGE,
            types.ShowMessageParams(type=types.MessageType.Warning, message=f"glm-lsp: {message}"),
        )

    def _reply(self, identifier: MessageId, message: dict[str, Any]) -> None:
        kind = self._result_types.pop(identifier, None) or JsonRPCResponseMessage
        future = self._request_futures.pop(identifier, None)
        if future is None or not future.set_running_or_notify_cancel():
            log.debug("dropped a late or unasked reply to %r", identifier)
            return
        try:
            if message.get("error") is not None:
                error = self._converter.structure(message["error"], types.ResponseError)
                future.set_exception(JsonRpcException.from_error(error))
            else:
                future.set_result(self._converter.structure({"result": None, **message}, kind).result)
        except Exception as error:
            future.set_exception(RequestError(types.ErrorCodes.InvalidParams, reason_of(error)))

    def _structure(self, message: dict[str, Any], kind: type[Any]) -> Any:
        return getattr(self._converter.structure(message, kind), "params", None)

    # Outgoing

    def _refuse(self, identifier: MessageId | None, code: Code, message: str) -> None:
        error = {"code": code.value, "message": visible(message)}
        self._write({"jsonrpc": "2.0", "id": identifier, "error": error})

    def _send_data(self, data: Any) -> None:
        """Every message of ours passes here."""
        message = cast(dict[str, Any], self._converter.unstructure(data))
        if self._silent and "method" in message:
            log.debug("%s was not sent: the server is shutting down", message["method"])
            if future := self._request_futures.pop(message.get("id", ""), None):
                future.cancel()
            return
        self._write(message)

    def _write(self, message: dict[str, Any]) -> None:
        body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        if self._pipe is not None:
            self._pipe.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def ask(self, method: str, params: Any) -> Any:
        """Send a request and wait for the client's answer. Raises JsonRpcException if it refuses."""
        future = self.send_request(method, params)
        return await asyncio.wrap_future(future)


def _end_process_in(delay_s: float, code: int) -> threading.Timer:
    timer = threading.Timer(delay_s, os._exit, (code,))
    timer.daemon = True
    timer.start()
    return timer
