"""Completions while typing: ghost text where the editor has it, else an item of the ordinary menu.

One live request per document and kind: a newer one supersedes it, the older is answered at once with an
empty list and its generation is stopped. What a request sees is taken before its first await. A failing
engine is told once, not on every keystroke.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from lsprotocol import types

from glm_lsp.core.errors import GlmError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.text import visible
from glm_lsp.core.values import Span, Suggestion
from glm_lsp.lsp.convert import name_of, place_of, range_of, text_for
from glm_lsp.lsp.documents import Lines, Place
from glm_lsp.lsp.folders import View

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.lsp.server import Server

_WORD = re.compile(rb"\w*$", re.ASCII)
LABEL_CHARS = 80


class _Found(NamedTuple):
    view: View
    suggestion: Suggestion


class _Live(NamedTuple):
    task: asyncio.Task[Suggestion | None]
    superseded: asyncio.Future[None]


class Completions:
    """Handlers of both completion requests."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._live: dict[tuple[str, str], _Live] = {}

    @property
    def live(self) -> int:
        """Generations that run."""
        return len(self._live)

    async def inline(self, params: types.InlineCompletionParams) -> types.InlineCompletionList:
        """`textDocument/inlineCompletion`."""
        uri, place = params.text_document.uri, place_of(params.position)
        typed = params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
        found = await self._suggest("inline", uri, place, typed=typed)
        if found is None:
            return types.InlineCompletionList(items=[])
        view, suggestion = found
        lines = Lines(view.document.data, self._server.client.encoding)
        text = text_for(lines, suggestion.text)
        item = types.InlineCompletionItem(insert_text=text, range=range_of(lines, suggestion.span))
        return types.InlineCompletionList(items=[item])

    async def popup(self, params: types.CompletionParams) -> types.CompletionList:
        """`textDocument/completion`: the same suggestion as one item."""
        nothing = types.CompletionList(is_incomplete=True, items=[])
        if self._server.runtime is None:
            await self._server.ready()  # before that the editor's settings are not known
        wanted = self._server.settings.text("completion.popup")
        if wanted == "never" or (wanted == "auto" and self._server.client.inline_completion):
            return types.CompletionList(is_incomplete=False, items=[])
        uri, place = params.text_document.uri, place_of(params.position)
        # Typing a word counts as invoked in this request, so it cannot be told from a user who asks.
        found = await self._suggest("popup", uri, place, typed=True)
        if found is None:
            return nothing
        return types.CompletionList(is_incomplete=True, items=[self._item(*found)])

    def _item(self, view: View, suggestion: Suggestion) -> types.CompletionItem:
        """The item replaces the word at the cursor, which every editor's filter compares with
        `filter_text`."""
        data = view.document.data
        match = _WORD.search(data[data.rfind(b"\n", 0, suggestion.span.start) + 1 : suggestion.span.start])
        word = match.group().decode() if match else ""
        span = Span(suggestion.span.start - len(word), suggestion.span.end)
        lines = Lines(data, self._server.client.encoding)
        text = word + text_for(lines, suggestion.text)
        label = next((line.strip() for line in text.split("\n") if line.strip()), text)
        plain = f"```{view.document.language}\n{text}\n```"
        markdown = self._server.client.markdown_documentation
        label = visible(label if len(label) <= LABEL_CHARS else label[: LABEL_CHARS - 1] + "…")
        return types.CompletionItem(
            label=label,
            kind=types.CompletionItemKind.Text,
            detail="GLM",
            documentation=types.MarkupContent(types.MarkupKind.Markdown, plain) if markdown else text,
            filter_text=word + suggestion.text.split("\n")[0],
            text_edit=types.TextEdit(range_of(lines, span), text),
            insert_text_format=types.InsertTextFormat.PlainText,
            preselect=False,
        )

    async def _suggest(self, kind: str, uri: str, place: Place, *, typed: bool) -> _Found | None:
        """One suggestion, or None where there is none, it was superseded, or the engine failed.

        Raises UsageError for a document that is not open and a line that it does not have. What else forbids
        a suggestion is raised where the user asked for one, and told once where it was only typing.
        """
        server = self._server
        document = server.folders.document(uri)
        if place.line >= document.lines:
            raise UsageError(
                f"Line {place.line + 1} is past the end of {name_of(uri)}, which has {document.lines} lines."
            )
        self.supersede(uri, kind)
        server.warming.touched(uri, place)
        version, offset = document.version, document.offset(place)
        runtime = server.runtime or await server.ready()
        if document.version != version or not server.settings.flag("completion.enabled"):
            return None
        try:
            view = server.folders.view(runtime, server.settings, uri)
        except GlmError as error:
            if not typed:
                raise
            server.tell_once(str(error))
            return None
        wait_s = server.settings.number("completion.debounce_ms") / 1000 if typed else 0.0
        suggestion = await self._newest(kind, uri, self._generate(runtime, view, offset, wait_s))
        return _Found(view, suggestion) if suggestion is not None else None

    async def _newest(
        self, kind: str, uri: str, work: Coroutine[Any, Any, Suggestion | None]
    ) -> Suggestion | None:
        """The result of `work`, or None as soon as a newer request or an edit supersedes it."""
        superseded = asyncio.get_running_loop().create_future()
        task = self._server.protocol.spawn(work, f"{kind} completion")
        live = self._live[uri, kind] = _Live(task, superseded)
        try:
            await asyncio.wait({task, superseded}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            superseded.cancel()
            task.cancel()
            if self._live.get((uri, kind)) is live:
                del self._live[uri, kind]
        return task.result() if task.done() and not task.cancelled() else None

    def supersede(self, uri: str, kind: str = "") -> None:
        """Stop what runs for the document, of one kind or of both; its requests are answered at once."""
        for key in [key for key in self._live if key[0] == uri and kind in ("", key[1])]:
            live = self._live.pop(key)
            live.task.cancel()
            live.superseded.cancel()

    async def _generate(self, runtime: Runtime, view: View, offset: int, wait_s: float) -> Suggestion | None:
        from glm_lsp.features import complete  # noqa: PLC0415 (after `initialize`)

        if wait_s:
            await asyncio.sleep(wait_s)
        try:
            session = await runtime.session_soon(view.home.repository, Work.TYPING)
            found = await complete.suggest(session, view.snapshot, view.document.path, offset)
        except GlmError as error:
            self._server.fails(str(error))
            return None
        self._server.figures.completion(found)
        self._server.works_again()
        return found.suggestion
