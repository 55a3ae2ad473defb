"""Code actions: listing reads the catalogue and asks no model; choosing one runs a command of `commands`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lsprotocol import types

from glm_lsp.core.errors import GlmError
from glm_lsp.core.paths import objection
from glm_lsp.core.values import Diagnostic
from glm_lsp.lsp.client import SECTION
from glm_lsp.lsp.convert import range_of, span_of
from glm_lsp.lsp.documents import Lines
from glm_lsp.lsp.folders import View

if TYPE_CHECKING:
    from glm_lsp.features.catalogue import Offer
    from glm_lsp.lsp.server import Server

KINDS = {
    "docstring": "refactor.rewrite.glm.docstring",
    "fix": "quickfix",
    "explain": "glm.explain",
    "continue": "refactor.rewrite.glm.continue",
    "refactor": "refactor.rewrite.glm",
}
"""Kind of the protocol for each kind of offer."""
COMMANDS = {f"{SECTION}.{kind}": kind for kind in KINDS}


class Actions:
    """Handlers of `textDocument/codeAction` and `codeAction/resolve`."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def list(self, params: types.CodeActionParams) -> list[types.CodeAction | types.Command]:
        """What can be done here. Raises UsageError for a document that is not open.

        A document in which nothing may be done (protected, binary, huge) has no actions.
        """
        server = self._server
        uri = params.text_document.uri
        document = server.folders.document(uri)
        version = document.version
        runtime = server.runtime or await server.ready()
        if document.version != version:
            return []
        try:
            view = server.folders.view(runtime, server.settings, uri)
        except GlmError:
            return []
        from glm_lsp.core.secrets import unquoted  # noqa: PLC0415 (after `initialize`)
        from glm_lsp.features import catalogue  # noqa: PLC0415

        lines = Lines(view.document.data, server.client.encoding)
        diagnostics = [diagnostic_of(lines, diagnostic) for diagnostic in params.context.diagnostics]
        span, path = span_of(lines, params.range), view.document.path
        own, held = document.freeze(path).data, view.document.held or ()
        diagnostics = [replace(d, message=unquoted(d.message, own, held)) for d in diagnostics]
        offers = catalogue.offers(view.snapshot, path, span, diagnostics)
        instructed = any(offer.kind == catalogue.OfferKind.REFACTOR for offer in offers)
        if len(span) and server.client.prompts and not instructed and not objection(path):
            whole = catalogue.whole_lines(view.document.data, span)
            title = "Refactor by instruction…"
            offers = (*offers, catalogue.Offer(catalogue.OfferKind.REFACTOR, title, path, whole))
        only = params.context.only
        return [
            self._action(view, lines, offer, params.context.diagnostics, diagnostics)
            for offer in offers
            if only is None or any(_within(KINDS[offer.kind], wanted) for wanted in only)
        ]

    async def resolve(self, action: types.CodeAction) -> types.CodeAction:
        """Our actions are complete as listed, and those of others are none of our business."""
        return action

    def _action(
        self,
        view: View,
        lines: Lines,
        offer: Offer,
        theirs: Sequence[types.Diagnostic],
        ours: Sequence[Diagnostic],
    ) -> types.CodeAction | types.Command:
        argument: dict[str, Any] = {
            "uri": view.uri,
            "version": view.document.version,
            "range": plain_range(range_of(lines, offer.span)),
            "path": offer.path,
            "title": offer.title,
            "argument": offer.argument,
        }
        command = types.Command(offer.title, f"{SECTION}.{offer.kind}", arguments=[argument])
        if not self._server.client.action_literals:
            return command
        fixed = [t for t, o in zip(theirs, ours, strict=True) if o.message in offer.argument]
        return types.CodeAction(
            title=offer.title,
            kind=KINDS[offer.kind],
            command=command,
            diagnostics=fixed or None if offer.kind == "fix" else None,
            tags=[types.CodeActionTag.LlmGenerated] if self._server.client.llm_tag else None,
        )


def diagnostic_of(lines: Lines, diagnostic: types.Diagnostic) -> Diagnostic:
    """The editor's diagnostic as ours; a message in Markdown is taken as it is written."""
    message: Any = diagnostic.message
    return Diagnostic(
        span=span_of(lines, diagnostic.range),
        message=message if isinstance(message, str) else str(message.value),
        code="" if diagnostic.code is None else str(diagnostic.code),
        source=diagnostic.source or "",
    )


def plain_range(range_: types.Range) -> dict[str, Any]:
    """The range as plain JSON, for a command's arguments."""
    start, end = range_.start, range_.end
    return {
        "start": {"line": start.line, "character": start.character},
        "end": {"line": end.line, "character": end.character},
    }


def _within(kind: str, wanted: str) -> bool:
    """`quickfix` asks for `quickfix` and `quickfix.anything`; the empty kind asks for all."""
    return not wanted or kind == wanted or kind.startswith(wanted + ".")
