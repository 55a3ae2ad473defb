"""`textDocument/hover` on what is held back: what kind it is, and how to allow what is no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lsprotocol import types

from glm_lsp.core.errors import GlmError
from glm_lsp.lsp.convert import range_of
from glm_lsp.lsp.documents import Lines, Place

if TYPE_CHECKING:
    from glm_lsp.lsp.server import Server


class Hovers:
    """Nothing else has a hover of ours: of code, others know more."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def hover(self, params: types.HoverParams) -> types.Hover | None:
        """What is said of the place; None where nothing is held back. Raises UsageError if it is not open."""
        server, uri = self._server, params.text_document.uri
        document = server.folders.document(uri)
        offset = document.offset(Place(params.position.line, params.position.character))
        text, version = document.freeze("").data, document.version
        runtime = server.runtime or await server.ready()
        if document.version != version:
            return None
        try:
            view = server.folders.view(runtime, server.settings, uri)
        except GlmError:
            return None
        from glm_lsp.core.secrets import fingerprint, remedy  # noqa: PLC0415 (after `initialize`)
        from glm_lsp.workspace.config import settings_file  # noqa: PLC0415

        for place in view.document.held or ():
            if place.span.start <= offset <= place.span.end:
                told = fingerprint(text[place.span.start : place.span.end])
                said = (
                    f"glm-lsp holds this back from every model: {place.kind}.\n\n"
                    f"If it is no secret, allow it in your own settings file, {settings_file()}:\n\n"
                    f"{remedy([told], sorted(view.home.repository.allowed))}"
                )
                content = types.MarkupContent(types.MarkupKind.PlainText, said)
                return types.Hover(content, range_of(Lines(text, server.client.encoding), place.span))
        return None
