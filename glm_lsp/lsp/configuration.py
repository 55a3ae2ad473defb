"""Settings from the editor: at `initialize`, on request, and when they change.

They may come from a workspace, so what chooses an engine, an address, a key, a model or a path is not taken
from them; the user is told by name.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from lsprotocol import types
from pygls.exceptions import JsonRpcException

from glm_lsp.core.settings import BY_NAME, Settings, Source
from glm_lsp.lsp.client import SECTION

if TYPE_CHECKING:
    from glm_lsp.lsp.server import Server

log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""An editor that has not answered `workspace/configuration` by then is served with what it said before."""
_THEIRS = frozenset({"command", "trace"})
"""Settings of an editor's own extension that stand beside ours."""


class Configuration:
    """The settings in force."""

    def __init__(self, server: Server, base: Settings) -> None:
        self._server = server
        self._arguments = arguments_of(base)
        self._told: set[str] = set()
        self.initial: Mapping[str, Any] = {}
        """What stood in `initializationOptions`."""
        self.known = asyncio.Event()
        """The editor has been asked, or could not be."""

    async def start(self) -> None:
        """Ask the editor."""
        try:
            await self._take(await self._pull() if self._server.client.configuration else {})
        finally:
            self.known.set()

    async def register(self) -> None:
        """Ask to be told of changes: of the settings, and of files on disk."""
        client = self._server.client
        registrations = [
            types.Registration(id=f"{SECTION}/{method}", method=method, register_options=options)
            for method, wanted, options in (
                (
                    types.WORKSPACE_DID_CHANGE_CONFIGURATION,
                    client.register_configuration,
                    {"section": SECTION},
                ),
                (types.WORKSPACE_DID_CHANGE_WATCHED_FILES, client.register_files, _WATCHED),
            )
            if wanted
        ]
        if registrations:
            try:
                params = types.RegistrationParams(registrations)
                await self._server.protocol.ask(types.CLIENT_REGISTER_CAPABILITY, params)
            except JsonRpcException as error:
                log.info("the editor did not register: %s", error)

    async def changed(self, params: types.DidChangeConfigurationParams) -> None:
        """`workspace/didChangeConfiguration`: settings pushed, or a hint to ask for them."""
        await self.known.wait()  # what was asked for first is older
        pushed: object = params.settings
        section: object = (
            cast("Mapping[str, Any]", pushed).get(SECTION) if isinstance(pushed, Mapping) else None
        )
        if isinstance(section, Mapping):
            await self._take(cast("Mapping[str, Any]", section))
        elif self._server.client.configuration:
            await self._take(await self._pull())

    async def _pull(self) -> Mapping[str, Any]:
        params = types.ConfigurationParams([types.ConfigurationItem(section=SECTION)])
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await self._server.protocol.ask(types.WORKSPACE_CONFIGURATION, params)
        except (JsonRpcException, TimeoutError) as error:
            log.info("the editor did not say its settings: %s", error or type(error).__name__)
            return {}
        first = cast("Sequence[object]", answer)[0] if isinstance(answer, list | tuple) and answer else None
        return cast("Mapping[str, Any]", first) if isinstance(first, Mapping) else {}

    async def _take(self, said: Mapping[str, Any]) -> None:
        """Put the settings together again; tell what was not taken, each once."""
        from glm_lsp.workspace import config  # noqa: PLC0415 (after `initialize`)

        merged = {**flat(self.initial), **flat(said)}
        server = self._server
        server.settings = settings = config.load(client=merged, argv=self._arguments)
        if server.runtime is not None and await server.runtime.configure(settings):
            server.indexing.again()
        logging.getLogger("glm_lsp").setLevel(settings.text("log.level").upper())
        for problem in settings.problems:
            if problem.message not in self._told:
                self._told.add(problem.message)
                log.warning("%s", problem.message)
                server.tell(problem.message)


_WATCHED = {"watchers": [{"globPattern": "**/*"}]}
"""Whatever the rules about ignored files let through may be in the index, and the rules are files."""


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted names, so that two sources can be laid over each other."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{prefix}{key}"
        if not prefix and key in _THEIRS:
            continue
        if isinstance(value, Mapping) and name not in BY_NAME:
            found |= flat(cast("Mapping[str, Any]", value), f"{name}.")
        else:
            found[name] = value
    return found


def arguments_of(settings: Settings) -> list[str]:
    """The command line's settings, written as they were given."""

    def text(value: Any) -> str:
        if isinstance(value, tuple):
            return ",".join(map(str, cast("tuple[object, ...]", value)))
        return str(value)

    names = [name for name in BY_NAME if settings.origin.get(name) is Source.ARGUMENT]
    return [f"{name}={text(settings[name])}" for name in names]
