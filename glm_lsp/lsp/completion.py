"""Completions while typing: ghost text where the editor has it, else an item of the ordinary menu.

The newest request of a kind waits, an older one is answered at once with an empty list. Both kinds, and who
types along with what is being written, share one generation; what was suggested before is offered again
without one (see `live`). What a request sees is taken before its first await. A failing engine is told once,
not on every keystroke.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from lsprotocol import types

from glm_lsp.core.errors import GlmError, UsageError
from glm_lsp.core.generation import Work
from glm_lsp.core.held import Asked
from glm_lsp.core.text import visible
from glm_lsp.core.values import Span, Suggestion
from glm_lsp.lsp.convert import name_of, place_of, range_of, text_for
from glm_lsp.lsp.documents import Lines, Place
from glm_lsp.lsp.folders import View
from glm_lsp.lsp.live import Hear, Live, Unanswered

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.features.echoes import Echoes
    from glm_lsp.lsp.server import Server

_WORD = re.compile(rb"\w*$", re.ASCII)
LABEL_CHARS = 80
PATIENCE_S = 0.4
"""So long somebody who types waits for the engine, if the repository itself has something to say."""
READY = "glm/inlineReady"
"""Notification, `{"uri"}`: a suggestion has come for which nobody was made to wait; ask for it again. Sent to
clients with `{"inlineReady": true}` in their `initializationOptions`."""


class _Found(NamedTuple):
    view: View
    suggestions: tuple[Suggestion, ...]
    """The likeliest first."""


class Pace:
    """How long the engine takes for a suggestion, by the last ones."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=8)

    def took(self, seconds: float) -> None:
        """A suggestion came after so long."""
        self._last.append(seconds)

    def interrupted(self, seconds: float) -> None:
        """It would have taken longer: that tells something only where it was long already."""
        if seconds > PATIENCE_S:
            self._last.append(seconds)

    @property
    def slow(self) -> bool:
        """Most took longer than somebody who types waits."""
        return len(self._last) > 2 and sorted(self._last)[len(self._last) // 2] > PATIENCE_S


class Completions:
    """Handlers of both completion requests."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._live = Live(server.protocol.spawn)
        self._pace = Pace()
        self._readied: set[str] = set()
        self._echoes: type[Echoes] | None = None
        self._known: dict[Path, Echoes] = {}

    @property
    def live(self) -> int:
        """Generations that run."""
        return self._live.running

    async def inline(self, params: types.InlineCompletionParams) -> types.InlineCompletionList:
        """`textDocument/inlineCompletion`."""
        uri, place = params.text_document.uri, place_of(params.position)
        typed = params.context.trigger_kind == types.InlineCompletionTriggerKind.Automatic
        found = await self._suggest("inline", uri, place, typed=typed)
        if found is None:
            return types.InlineCompletionList(items=[])
        view, suggestions = found
        lines = Lines(view.document.data, self._server.client.encoding)
        items = [
            types.InlineCompletionItem(text_for(lines, one.text), range=range_of(lines, one.span))
            for one in suggestions
        ]
        return types.InlineCompletionList(items=items)

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
        return types.CompletionList(is_incomplete=True, items=[self._item(found.view, found.suggestions[0])])

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
        """Suggestions, or None where there is none, it was superseded, or the engine failed.

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
        data = view.document.data
        known = self._live.held(uri, data, offset)
        readied = uri in self._readied
        self._readied.discard(uri)
        if known and (typed or readied):
            return _Found(view, (known[0],))
        wait_s = server.settings.number("completion.debounce_ms") / 1000 if typed else 0.0
        echo = self._echo(view, offset) if typed else None

        async def work(hear: Hear) -> Suggestion | None:
            if wait_s:
                await asyncio.sleep(wait_s)
            return await self._generate(runtime, view, offset, len(known), hear)

        found = await self._live.suggestion(
            uri,
            kind,
            Asked(data, offset),
            work,
            anew=bool(known),
            patience_s=None if echo is None else 0.0 if self._pace.slow else PATIENCE_S,
            ready=lambda: self._ready(uri),
        )
        if isinstance(found, Suggestion):
            return _Found(view, (found, *(one for one in known if one != found)))
        if found is Unanswered.SUPERSEDED:
            return None
        every = [*known, *([echo] if echo is not None else [])]
        return _Found(view, tuple(every)) if every else None

    def _echo(self, view: View, offset: int) -> Suggestion | None:
        """What the repository itself says here, where somebody may have to wait for more."""
        if not self._server.settings.flag("completion.echo"):
            return None
        if self._echoes is None:
            from glm_lsp.features.echoes import Echoes  # noqa: PLC0415 (after `initialize`)

            self._echoes = Echoes
        repository = view.home.repository
        echoes = self._known.get(repository.root)
        if echoes is None:
            echoes = self._known[repository.root] = self._echoes(repository)
        snapshot, path, now_s = view.snapshot, view.document.path, asyncio.get_running_loop().time()
        if echoes.wants(snapshot, path, now_s):
            self._server.protocol.spawn(echoes.prepare(snapshot, path, now_s), "reading nearby")
        return echoes.suggestion(view.document, offset)

    def _ready(self, uri: str) -> None:
        """An answer has come that nobody waited for: a client that knows the message asks again."""
        if self._server.client.inline_ready:
            self._readied.add(uri)  # an editor can ask again only as if its user had
            self._server.protocol.notify(READY, {"uri": uri})

    def supersede(self, uri: str, kind: str = "") -> None:
        """Answer the requests that wait for the document, of one kind or of both."""
        self._live.supersede(uri, kind)

    def edited(self, uri: str) -> None:
        """The document has another text: who waits is answered, and what does not fit any more is stopped."""
        self._live.edited(uri, lambda: self._text(uri))

    def closed(self, uri: str) -> None:
        """The document is closed: nothing of it is kept."""
        self._readied.discard(uri)
        self._live.forget(uri)

    def _text(self, uri: str) -> bytes:
        """As a request would see it; empty where none would."""
        runtime = self._server.runtime
        try:
            return (
                self._server.folders.view(runtime, self._server.settings, uri).document.data
                if runtime
                else b""
            )
        except GlmError:
            return b""

    async def _generate(
        self, runtime: Runtime, view: View, offset: int, attempt: int, hear: Hear
    ) -> Suggestion | None:
        from glm_lsp.features import complete  # noqa: PLC0415 (after `initialize`)

        loop = asyncio.get_running_loop()
        begun = loop.time()
        self._server.changes.tell()
        try:
            session = await runtime.session_soon(view.home.repository, Work.TYPING)
            found = await complete.suggest(
                session, view.snapshot, view.document.path, offset, attempt=attempt, hear=hear
            )
        except asyncio.CancelledError:
            self._pace.interrupted(loop.time() - begun)
            raise
        except GlmError as error:
            self._server.fails(str(error))
            return None
        self._pace.took(loop.time() - begun)
        self._server.figures.completion(found)
        self._server.works_again()
        return found.suggestion
