"""A model editor: real capabilities, its own text, and every rule of the protocol checked on every
message."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE
from tests.lsp import rules
from tests.lsp.model import TextModel
from tests.lsp.wire import WAIT_S, Message, Wire

SCRIPTED = str(Path(__file__).with_name("scripted_server.py"))
CLIENTS = Path(__file__).with_name("clients")
OWN = {"glm/inlineReady": "inlineReady", "glm/statusChanged": "statusChanges"}
"""Notifications of ours, and the option by which a client asks for them."""
NAMES = tuple(sorted(path.stem for path in CLIENTS.glob("*.json")))


class Editor:
    """An editor with one server. Leave the `with` block in peace and everything it saw is judged."""

    def __init__(
        self,
        name: str,
        root: Path,
        *,
        command: Sequence[str] = (SCRIPTED,),
        script: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        configuration: Any = None,
        folders: Sequence[Path] | None = None,
        env: dict[str, str] | None = None,
        answers: dict[str, Callable[[Message], Any]] | None = None,
        home: Path | None = None,
        restless: frozenset[str] = frozenset(),
    ) -> None:
        """`home` is where the server keeps its own files; tasks named in `restless` may run for ever."""
        client = json.loads((CLIENTS / f"{name}.json").read_text())
        self.name, self.root = name, root
        self.can: dict[str, Any] = client["capabilities"]
        self.info, self.options, self.configuration = client["clientInfo"], options, configuration
        self.folders = [root] if folders is None else list(folders)
        self.documents: dict[str, TextModel] = {}
        self.seen: list[Message] = []
        """Everything the server sent."""
        self.shown: list[str] = []
        self.opened: list[str] = []
        self.registered: list[str] = []
        self.progress: dict[str, list[dict[str, Any]]] = {}
        self.answers = answers or {}
        self._created: set[str] = set()
        self._pending: dict[int | str, tuple[str, Any]] = {}
        self._replies: dict[int | str, Message] = {}
        self._changed = threading.Condition()
        self._broken: list[str] = []
        self._next_id = 0
        self._shut = False
        self._restless = restless
        state = (home or root.parent) / f"{root.name}-home"
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("GLM_LSP_")},
            # Its worker is one of the tests', and ends with them.
            RUNTIME_VARIABLE: os.environ[RUNTIME_VARIABLE],
            "HOME": str(state),
            "XDG_STATE_HOME": str(state / "state"),
            "XDG_CONFIG_HOME": str(state / "config"),
            "XDG_CACHE_HOME": str(state / "cache"),
            "XDG_DATA_HOME": str(state / "data"),
            "GLM_TEST_SCRIPT": json.dumps(script or {}),
            "GLM_LSP_COMPLETION_DEBOUNCE_MS": "0",
            **(env or {}),
        }
        self.wire = Wire(command, tap=self._take, env=self.env)

    # A session

    def __enter__(self) -> Editor:
        self.wire.__enter__()
        folders = [{"uri": folder.as_uri(), "name": folder.name} for folder in self.folders]
        self.server = self.ask(
            "initialize",
            {
                "processId": None,
                "clientInfo": self.info,
                "rootUri": folders[0]["uri"] if folders else None,
                "capabilities": self.can,
                "initializationOptions": self.options,
                "workspaceFolders": folders or None,
            },
        )["capabilities"]
        self.encoding = self.server.get("positionEncoding", "utf-16")
        assert self.encoding in (rules.at(self.can, "general.positionEncodings") or ["utf-16"])
        self.notify("initialized", {})
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                if self.wire.process.poll() is None:
                    self.settle()
                    assert self.ask("shutdown") is None
                    self._shut = True
                    self.notify("exit")
                    assert self.wire.process.wait(WAIT_S) == 0, self.wire.stderr[-3000:]
                self.judge()
        finally:
            self.wire.__exit__()

    def settle(self) -> None:
        """Wait until the server has nothing left to do."""
        while True:
            status = self.ask("glm-lsp/status")
            if not set(status["running"]) - self._restless and not status["indexing"]:
                assert status["live_completions"] == 0
                assert status["progress"] == []
                return
            with self._changed:
                self._changed.wait(0.05)

    def judge(self) -> None:
        assert not self._broken, self._broken
        assert not self._pending, f"without a reply: {self._pending}"
        for token, values in self.progress.items():
            kinds = [value["kind"] for value in values]
            assert kinds[0] == "begin" and kinds[-1] == "end" and set(kinds[1:-1]) <= {"report"}, (
                token,
                kinds,
            )
            done = [value["percentage"] for value in values if value.get("percentage") is not None]
            assert done == sorted(done)
        assert "Traceback" not in self.wire.stderr, self.wire.stderr

    # What the user does

    def uri(self, name: str) -> str:
        return (self.root / name).as_uri()

    def open(self, name: str, text: str | None = None, language: str = "python") -> str:
        uri = name if ":" in name else self.uri(name)
        text = (self.root / name).read_bytes().decode() if text is None else text
        self.documents[uri] = TextModel(text, self.encoding)
        item = {"uri": uri, "languageId": language, "version": 1, "text": text}
        self.notify("textDocument/didOpen", {"textDocument": item})
        return uri

    def type(self, uri: str, index: int, text: str, removed: int = 0) -> None:
        """Replace `removed` code points at `index`."""
        with self._changed:
            model = self.documents[uri]
            model.version += 1
            range_ = {"start": model.position(index), "end": model.position(index + removed)}
            model.text = model.text[:index] + text + model.text[index + removed :]
            change = {"range": range_, "text": text}
            document = {"uri": uri, "version": model.version}
            self.notify("textDocument/didChange", {"textDocument": document, "contentChanges": [change]})

    def close(self, uri: str) -> None:
        del self.documents[uri]
        self.notify("textDocument/didClose", {"textDocument": {"uri": uri}})

    def inline(self, uri: str, index: int, *, invoked: bool = False) -> int | str:
        """Ask for ghost text; the request's id."""
        context = {"triggerKind": 1 if invoked else 2}
        position = self.documents[uri].position(index)
        params = {"textDocument": {"uri": uri}, "position": position, "context": context}
        return self.send("textDocument/inlineCompletion", params)

    def complete(self, uri: str, index: int) -> int | str:
        """Ask as this editor does: for ghost text if it can show it, else for the menu."""
        if "inlineCompletionProvider" in self.server:
            return self.inline(uri, index)
        params = {"textDocument": {"uri": uri}, "position": self.documents[uri].position(index)}
        return self.send("textDocument/completion", {**params, "context": {"triggerKind": 1}})

    def accept(self, uri: str, item: Message) -> str:
        """The text after taking a completion."""
        model = copy.copy(self.documents[uri])
        edit = item.get("textEdit") or {"range": item["range"], "newText": item["insertText"]}
        model.apply([edit])
        return model.text

    def actions(self, uri: str, start: int, end: int, **context: Any) -> list[Message]:
        model = self.documents[uri]
        range_ = {"start": model.position(start), "end": model.position(end)}
        params = {"textDocument": {"uri": uri}, "range": range_, "context": {"diagnostics": [], **context}}
        return self.ask("textDocument/codeAction", params)

    def run(self, action: Message) -> int | str:
        """Choose an action: run its command; the request's id."""
        command = action["command"] if isinstance(action["command"], dict) else action
        params = {"command": command["command"], "arguments": command["arguments"]}
        return self.send("workspace/executeCommand", params)

    # Messages

    def send(self, method: str, params: Any = None) -> int | str:
        with self._changed:
            self._next_id += 1
            identifier: int | str = self._next_id if self._next_id % 2 else f"id-{self._next_id}"
            self._pending[identifier] = (method, params)
            message = {"jsonrpc": "2.0", "id": identifier, "method": method}
            self._send(message if params is None else {**message, "params": params})
        if method in rules.PROVIDES:
            assert rules.at(self.server, rules.PROVIDES[method]) is not None, method
        return identifier

    def notify(self, method: str, params: Any = None) -> None:
        message = {"jsonrpc": "2.0", "method": method}
        self._send(message if params is None else {**message, "params": params})

    def cancel(self, identifier: int | str) -> None:
        self.notify("$/cancelRequest", {"id": identifier})

    def reply(self, identifier: int | str) -> Message:
        """The whole reply to a request."""
        self.until(lambda: identifier in self._replies)
        return self._replies[identifier]

    def result(self, identifier: int | str) -> Any:
        reply = self.reply(identifier)
        assert "error" not in reply, reply
        return reply["result"]

    def ask(self, method: str, params: Any = None) -> Any:
        return self.result(self.send(method, params))

    def until(self, condition: Callable[[], bool], timeout_s: float = WAIT_S) -> None:
        with self._changed:
            found = self._changed.wait_for(
                lambda: condition() or bool(self._broken) or self._gone(), timeout_s
            )
        assert not self._broken, self._broken
        assert found and not self._gone(), f"it never came; stderr:\n{self.wire.stderr[-3000:]}"

    def _gone(self) -> bool:
        return not self._shut and self.wire.process.poll() not in (None, 0)

    def _send(self, message: Message) -> None:
        if "method" in message:
            rules.check_request_shape(message)
        with self._changed:
            self.wire.send(message)

    def _take(self, message: Message) -> None:
        """In the reading thread: judge, answer, remember."""
        with self._changed:
            try:
                self.seen.append(message)
                if "method" not in message:
                    self._take_reply(message)
                elif "id" in message:
                    self._take_request(message)
                else:
                    self._take_notification(message)
            except Exception as error:
                self._broken.append(f"{error!r} at {json.dumps(message)[:2000]}")
            self._changed.notify_all()

    def _take_reply(self, message: Message) -> None:
        method, params = self._pending.pop(message["id"])
        rules.check_reply_shape(method, message)
        rules.check_result(message, params, method, self.can, getattr(self, "server", {}))
        self._replies[message["id"]] = message

    def _take_notification(self, message: Message) -> None:
        assert not self._shut, "sent after shutdown"
        rules.check_request_shape(message)
        method, params = message["method"], message["params"]
        wanted = (self.options or {}).get(OWN.get(method, ""))
        assert method in rules.FREE or wanted, method
        if method == "$/progress":
            assert params["token"] in self._created, "progress before its token was accepted"
            values = self.progress.setdefault(params["token"], [])
            assert not values or values[-1]["kind"] != "end", "progress after its end"
            values.append(params["value"])
        elif method == "window/showMessage":
            self.shown.append(params["message"])

    def _take_request(self, message: Message) -> None:
        assert not self._shut, "sent after shutdown"
        rules.check_request_shape(message)
        method, params = message["method"], message["params"]
        if method in rules.NEEDS:
            assert rules.at(self.can, rules.NEEDS[method]), f"{method} is not supported"
        else:
            assert method in rules.FREE or method == "client/registerCapability", method
        answer = self.answers.get(method, self._answer)(message)
        if isinstance(answer, Exception):
            error = {"code": -32803, "message": str(answer)}
            return self._send({"jsonrpc": "2.0", "id": message["id"], "error": error})
        if answer is not NotImplemented:
            self._send({"jsonrpc": "2.0", "id": message["id"], "result": answer})
            if method == "window/workDoneProgress/create":
                assert params["token"] not in self._created
                self._created.add(params["token"])

    def _answer(self, message: Message) -> Any:
        method, params = message["method"], message["params"]
        if method == "workspace/applyEdit":
            return self._apply(params)
        if method == "workspace/configuration":
            return [self.configuration for _ in params["items"]]
        if method == "window/showDocument":
            self.opened.append(params["uri"])
            return {"success": True}
        if method == "window/showMessageRequest":
            self.shown.append(params["message"])
            return params["actions"][0]
        if method == "client/registerCapability":
            for registration in params["registrations"]:
                assert rules.at(self.can, rules.REGISTERED[registration["method"]])
                self.registered.append(registration["method"])
        return None

    def _apply(self, params: Message) -> Message:
        """As a strict editor: versions must be the current ones, and all of it or nothing."""
        edit = params["edit"]
        rules.check_edit(edit, self.can)
        assert "metadata" not in params or rules.at(self.can, "workspace.workspaceEdit.metadataSupport")
        changes = edit.get("documentChanges") or [
            {"textDocument": {"uri": uri, "version": None}, "edits": edits}
            for uri, edits in edit["changes"].items()
        ]
        versioned = "documentChanges" in edit
        for change in changes:
            known = self.documents.get(change["textDocument"]["uri"])
            version = change["textDocument"]["version"]
            if versioned and version != (known.version if known else None):
                return {"applied": False, "failureReason": "the document has changed"}
        for change in changes:
            self._apply_to(change["textDocument"]["uri"], change["edits"])
        return {"applied": True}

    def _apply_to(self, uri: str, edits: list[dict[str, Any]]) -> None:
        known = self.documents.get(uri)
        if known is None:
            path = Path(uri.removeprefix("file://"))
            model = TextModel(path.read_bytes().decode(), self.encoding)
            model.apply(edits)
            path.write_bytes(model.text.encode())
            return
        known.apply(edits)
        known.version += 1
        document = {"uri": uri, "version": known.version}
        self.notify(
            "textDocument/didChange", {"textDocument": document, "contentChanges": [{"text": known.text}]}
        )
