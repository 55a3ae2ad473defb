"""The language server: its life and its documents. What it can do lies in the files beside this one.

Nothing that an engine or the index needs is imported before the `initialize` reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from glm_lsp import __version__
from glm_lsp.core.errors import NOTICES
from glm_lsp.core.settings import Settings
from glm_lsp.core.text import visible
from glm_lsp.lsp.actions import COMMANDS, KINDS, Actions
from glm_lsp.lsp.client import DEFAULT_CLIENT, Client, client_of, options_of, settings_of
from glm_lsp.lsp.commands import Commands
from glm_lsp.lsp.completion import Completions
from glm_lsp.lsp.configuration import Configuration
from glm_lsp.lsp.convert import edits_of
from glm_lsp.lsp.documents import Documents
from glm_lsp.lsp.folders import Folders
from glm_lsp.lsp.hover import Hovers
from glm_lsp.lsp.indexing import Indexing
from glm_lsp.lsp.progress import Progress
from glm_lsp.lsp.protocol import protocol_for
from glm_lsp.lsp.status import STATUS, Changes, Figures, status_of
from glm_lsp.lsp.transport import Pipe, take_stdio
from glm_lsp.lsp.warming import Warming

if TYPE_CHECKING:
    from glm_lsp.app import Runtime

log = logging.getLogger(__name__)

SETTINGS_S = 20.0
"""A client that never says `initialized` is served after this long."""
RuntimeFactory = Callable[[Settings], "Runtime"]


class Server:
    """One editor's server."""

    def __init__(self, settings: Settings, runtime_factory: RuntimeFactory | None = None) -> None:
        self.protocol = protocol_for("glm-lsp", __version__)
        self.settings = settings
        self.client: Client = DEFAULT_CLIENT
        self.runtime: Runtime | None = None
        self.documents = Documents()
        self.folders = Folders(self.documents)
        self.figures = Figures()
        self.changes = Changes(self)
        self.progress = Progress(self.protocol)
        self.completions = Completions(self)
        self.actions = Actions(self)
        self.commands = Commands(self)
        self.hovers = Hovers(self)
        self.configuration = Configuration(self, settings)
        self.indexing = Indexing(self)
        self.folders.before_view = self.indexing.others
        self.warming = Warming(self)
        self._factory = runtime_factory
        self._building: asyncio.Task[Runtime] | None = None
        self._told: set[str] = set()
        self._failures: set[str] = set()
        self.failure = ""
        """Why the engine could not answer the last time; empty where it has."""
        self._register()
        logging.getLogger(NOTICES).addHandler(_Notices(self))

    # Life

    def _register(self) -> None:
        """Every message that we take, in one place."""
        self.protocol.handlers |= {
            types.INITIALIZE: self._initialize,
            types.INITIALIZED: self._initialized,
            types.SHUTDOWN: self._shutdown,
            types.EXIT: self._exit,
            types.SET_TRACE: self._ignore,
            types.TEXT_DOCUMENT_DID_OPEN: self._did_open,
            types.TEXT_DOCUMENT_DID_CHANGE: self._did_change,
            types.TEXT_DOCUMENT_DID_SAVE: self._did_save,
            types.TEXT_DOCUMENT_DID_CLOSE: self._did_close,
            types.TEXT_DOCUMENT_INLINE_COMPLETION: self.completions.inline,
            types.TEXT_DOCUMENT_COMPLETION: self.completions.popup,
            types.TEXT_DOCUMENT_CODE_ACTION: self.actions.list,
            types.TEXT_DOCUMENT_HOVER: self.hovers.hover,
            types.CODE_ACTION_RESOLVE: self.actions.resolve,
            types.WORKSPACE_EXECUTE_COMMAND: self.commands.execute,
            types.WORKSPACE_DID_CHANGE_CONFIGURATION: self.configuration.changed,
            types.WORKSPACE_DID_CHANGE_WORKSPACE_FOLDERS: self._folders_changed,
            types.WORKSPACE_DID_CHANGE_WATCHED_FILES: self.indexing.files_changed,
            types.WINDOW_WORK_DONE_PROGRESS_CANCEL: self._progress_cancelled,
            STATUS: self._status,
        }

    def _initialize(self, params: types.InitializeParams) -> types.InitializeResult:
        self.client = client_of(params)
        self.documents.encoding = self.client.encoding
        self.progress.supported = self.client.progress
        self.configuration.initial = settings_of(options_of(params))
        folders = [folder.uri for folder in params.workspace_folders or ()]
        if not folders and (root := params.root_uri or _as_uri(params.root_path)):
            folders = [root]
        self.folders.add(folders)
        return types.InitializeResult(
            capabilities=capabilities_for(self.client),
            server_info=types.ServerInfo("glm-lsp", __version__),
        )

    async def _initialized(self, _: types.InitializedParams) -> None:
        self.protocol.spawn(asyncio.to_thread(self.protocol.warm), "warming")
        await self.configuration.start()
        self.protocol.spawn(self.configuration.register(), "registering")
        await self.ready()
        self.indexing.begin(self.folders.roots)

    async def ready(self) -> Runtime:
        """The runtime, built once, after the editor's settings are known."""
        if self._building is None:
            self._building = self.protocol.spawn(self._build(), "runtime")
        return await asyncio.shield(self._building)

    async def _build(self) -> Runtime:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTINGS_S):
                await self.configuration.known.wait()
        factory = await asyncio.to_thread(_heavy_imports)
        self.runtime = (self._factory or factory)(self.settings)
        self.indexing.catch_up()
        return self.runtime

    async def _shutdown(self, _: object) -> None:
        await self.protocol.shut_down()
        await self.close()

    async def close(self) -> None:
        """Stop engines and indexing; twice is once."""
        runtime, self.runtime = self.runtime, None
        if runtime is not None:
            try:
                await runtime.close()
            except Exception as error:  # the connection ends in any case
                log.warning("could not close everything: %s", error)

    def _exit(self, _: object) -> None:
        self.protocol.end()

    def _ignore(self, _: object) -> None:
        """A message that asks nothing of us."""

    # Documents

    def _did_open(self, params: types.DidOpenTextDocumentParams) -> None:
        item = params.text_document
        self.completions.closed(item.uri)
        language = str(getattr(item.language_id, "value", item.language_id))
        self.documents.open(item.uri, language, item.version, item.text)
        self.indexing.edited(item.uri)
        self.warming.touched(item.uri)

    def _did_change(self, params: types.DidChangeTextDocumentParams) -> None:
        uri, version = params.text_document.uri, params.text_document.version
        document = self.folders.document(uri)
        if version <= document.version:
            log.warning("%s went from version %d to %d", uri, document.version, version)
        document.change(edits_of(params.content_changes), version)
        self.completions.edited(uri)
        self.indexing.edited(uri)
        self.warming.touched(uri)

    def _did_save(self, params: types.DidSaveTextDocumentParams) -> None:
        self.indexing.edited(params.text_document.uri)

    def _did_close(self, params: types.DidCloseTextDocumentParams) -> None:
        uri = params.text_document.uri
        self.completions.closed(uri)
        self.documents.close(uri)
        self.indexing.closed(uri)

    def _folders_changed(self, params: types.DidChangeWorkspaceFoldersParams) -> None:
        self.folders.remove(folder.uri for folder in params.event.removed)
        new = self.folders.add(folder.uri for folder in params.event.added)
        self.indexing.begin(new)

    def _progress_cancelled(self, params: types.WorkDoneProgressCancelParams) -> None:
        self.progress.cancelled(params.token)

    # What the user is told

    def tell(self, message: str, kind: types.MessageType = types.MessageType.Warning) -> None:
        """Show `message`."""
        self.protocol.notify(
            types.WINDOW_SHOW_MESSAGE, types.ShowMessageParams(kind, f"glm-lsp: {visible(message)}")
        )

    def tell_once(self, message: str) -> None:
        """Show `message` unless it was shown before."""
        if message not in self._told:
            self._told.add(message)
            log.warning("%s", message)
            self.tell(message)

    def fails(self, message: str) -> None:
        """An engine cannot answer while the user types: tell each reason once until one has worked again."""
        self._failures.add(message)
        self.failure = message
        self.changes.tell()
        self.tell_once(message)

    def works_again(self) -> None:
        """An engine has answered: the same failure, should it come back, is news."""
        self._told -= self._failures
        self._failures.clear()
        self.failure = ""
        self.changes.tell()

    async def _status(self, _: object) -> dict[str, Any]:
        return await status_of(self, await self.ready())


class _Notices(logging.Handler):
    """Shows what went wrong and went on all the same."""

    def __init__(self, server: Server) -> None:
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        self._server.tell(record.getMessage())


def capabilities_for(client: Client) -> types.ServerCapabilities:
    """What we offer to this editor."""
    return types.ServerCapabilities(
        position_encoding=types.PositionEncodingKind(client.encoding.value),
        text_document_sync=types.TextDocumentSyncOptions(
            open_close=True,
            change=types.TextDocumentSyncKind.Incremental,
            save=types.SaveOptions(include_text=False),
        ),
        completion_provider=types.CompletionOptions(resolve_provider=False),
        inline_completion_provider=types.InlineCompletionOptions() if client.inline_completion else None,
        hover_provider=client.hover,
        code_action_provider=types.CodeActionOptions(
            code_action_kinds=list(KINDS.values()), resolve_provider=True
        ),
        execute_command_provider=types.ExecuteCommandOptions(commands=list(COMMANDS)),
        workspace=types.WorkspaceOptions(
            workspace_folders=types.WorkspaceFoldersServerCapabilities(
                supported=True, change_notifications=True
            )
        ),
    )


def run(
    settings: Settings, *, runtime_factory: RuntimeFactory | None = None, pipe: Pipe | None = None
) -> int:
    """Serve one editor over stdin and stdout until it leaves; return the exit code.

    `runtime_factory` makes the runtime (tests give one with another engine).
    """
    logging.getLogger("glm_lsp").setLevel(settings.text("log.level").upper())
    pipe = pipe or take_stdio()
    server = Server(settings, runtime_factory)
    return asyncio.run(server.protocol.serve(pipe, server.close))


def _heavy_imports() -> RuntimeFactory:
    """Load what `initialize` did not need, off the event loop."""
    from glm_lsp.app import Runtime  # noqa: PLC0415

    for name in ("features.actions", "features.catalogue", "features.complete", "workspace.repository"):
        import_module(f"glm_lsp.{name}")
    from glm_lsp.core.syntax import definitions  # noqa: PLC0415

    definitions(b"", "python")  # loads the grammar
    return partial(Runtime, client="editor")


def _as_uri(path: str | None) -> str | None:
    from pathlib import Path  # noqa: PLC0415

    from glm_lsp.lsp.convert import uri_of  # noqa: PLC0415

    return uri_of(Path(path)) if path else None
