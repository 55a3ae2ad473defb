"""Completions from the repository itself, where the engine takes longer than a person waits or is not there.

What is near the cursor's file is read ahead, through the same gate as all that enters a prompt; an answer
needs no await, and a keystroke gets it in milliseconds. Where answers are wrong too often, there are none.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping

from glm_lsp.core import trim
from glm_lsp.core.echo import MOST_DEPTH, SPEAKS, WORD, Echo, Lines, Place, Shapes, echo
from glm_lsp.core.gap import Gap
from glm_lsp.core.held import Asked
from glm_lsp.core.predeclared import family, keywords, predeclared
from glm_lsp.core.secrets import MARKER, being_typed
from glm_lsp.core.snapshot import Snapshot, Sources
from glm_lsp.core.values import Document, Refusal, Span, Suggestion

MOST_FILES, MOST_LINES = 60, 30_000
"""That are looked through beside the cursor's own."""
MOST_FILE_BYTES = 200_000
AGAIN_S = 20.0
"""Between two looks at what is near a file."""
RIGHT = 0.6
"""Of the last answers so many must have been right, or nothing more is said for a while."""
JUDGED = 20
SILENCE = 100
"""Requests for which nothing is said then."""
MOST_CONTEXT = 20_000
"""Characters on each side of the cursor by which an answer is trimmed."""


class Echoes:
    """Of one repository."""

    def __init__(self, sources: Sources, *, least: float = SPEAKS, learns: bool = True) -> None:
        """`least`: the confidence from which on something is said. `learns`: it is seen what was right."""
        self._sources = sources
        self._least, self._learns = least, learns
        self.last: Echo | None = None
        """What was found last, however sure."""
        self._near: dict[str, tuple[str, Lines]] = {}
        """By path: digest and lines of what was read, the last used last."""
        self._order: dict[str, tuple[str, ...]] = {}
        """By path of a file: what is looked through for it, the nearest first."""
        self._shapes: dict[str, Shapes] = {}
        self._names: tuple[str, frozenset[str]] = ("", frozenset())
        self._said: tuple[Asked, bytes] | None = None
        self._right: deque[bool] = deque(maxlen=2 * JUDGED)
        self._silent = 0
        self._prepared: dict[str, tuple[int, float]] = {}
        """By path, the revision of the index for which it was made ready, and when."""
        self._busy = False

    def wants(self, snapshot: Snapshot, path: str, now_s: float) -> bool:
        """Whether `prepare` should be called: what is near the file is not known, or may have changed."""
        revision, then_s = self._prepared.get(path, (-1, -AGAIN_S))
        return not self._busy and revision != snapshot.index.revision and now_s - then_s >= AGAIN_S

    async def prepare(self, snapshot: Snapshot, path: str, now_s: float) -> None:
        """Read what stands near a file. What cannot be read is left out. `now_s` is of any steady clock."""
        self._busy = True
        try:
            await self._prepare(snapshot, path)
            self._prepared[path] = snapshot.index.revision, now_s
        finally:
            self._busy = False

    async def _prepare(self, snapshot: Snapshot, path: str) -> None:
        outline = snapshot.index.outlines.get(path)
        document = snapshot.documents.get(path)
        language = document.language if document is not None else outline.language if outline else ""
        wanted = await asyncio.to_thread(_nearest, snapshot, path, language)
        left = MOST_LINES
        found: list[str] = []
        for one in wanted:
            known = snapshot.index.outlines.get(one)
            if known is not None and known.lines > left:
                continue
            lines = await self._read(snapshot, one)
            if lines is not None:
                found.append(one)
                left -= len(lines.texts)
        self._order[path] = tuple(found)
        kept = {one for order in list(self._order.values())[-4:] for one in order}
        self._near = {one: lines for one, lines in self._near.items() if one in kept}

    async def _read(self, snapshot: Snapshot, path: str) -> Lines | None:
        document = snapshot.documents.get(path)
        outline = snapshot.index.outlines.get(path)
        digest = document.digest if document is not None else outline.digest if outline is not None else ""
        known = self._near.get(path)
        if known is not None and known[0] == digest:
            return known[1]
        if document is None:
            read = await self._sources.read(path)
            if isinstance(read, Refusal):
                return None
            document = read
        shapes = self._shapes_of(family(document.language))
        lines = await asyncio.to_thread(Lines, path, document.data.decode("utf-8", "replace"), shapes)
        self._near[path] = (digest, lines)
        return lines

    def suggestion(self, document: Document, offset: int) -> Suggestion | None:
        """The rest of the line at byte `offset`; None where that is not sure enough. Awaits nothing."""
        self.last = None
        if self._learns:
            self._judge(document.data, offset)
        if self._silent:
            self._silent -= 1
            return None
        of = family(document.language)
        if not of or len(document.data) > MOST_FILE_BYTES:
            return None
        before = document.data[:offset].decode("utf-8", "replace")
        after = document.data[offset:].decode("utf-8", "replace")
        if after.split("\n", 1)[0].strip(" \t\r)]}>\"'`,;:"):
            return None
        if being_typed(document, offset):
            return None
        shapes = self._shapes_of(of)
        *above, line = before.split("\n")
        filled = [bare for one in above[-40:] if (bare := one.strip())][-MOST_DEPTH:]
        place = Place(document.path, tuple(filled), line.lstrip(), self._known(document, of))
        texts = [Lines(document.path, "\n".join([*above, after]), shapes, once=True)]
        texts += [self._near[one][1] for one in self._order.get(document.path, ()) if one in self._near]
        found = self.last = echo(place, texts, shapes)
        if found is None or found.confidence < self._least:
            return None
        gap = Gap(before[-MOST_CONTEXT:], after[:MOST_CONTEXT], document.language, most_lines=1)
        text = trim.trim(found.text, gap)
        if not text.strip() or MARKER.search(text):
            return None
        self._said = (Asked(document.data, offset), text.encode())
        return Suggestion(Span(offset, offset), text)

    def _judge(self, data: bytes, offset: int) -> None:
        """See whether what was said last turned out right: all of it was typed or taken, and a line ended."""
        if self._said is None:
            return
        asked, text = self._said
        since = asked.since(data, offset)
        if since is None:
            self._said = None  # somebody went elsewhere: neither right nor wrong
        elif not text.startswith(since[0]):
            self._right.append(
                since[0].startswith(text) and since[0][len(text) :].lstrip(b" \t\r")[:1] in b"\n"
            )
            self._said = None
            if len(self._right) >= JUDGED and sum(self._right) < RIGHT * len(self._right):
                self._right.clear()
                self._silent = SILENCE

    def _known(self, document: Document, of: str) -> frozenset[str]:
        """Names that may stand in a document."""
        if self._names[0] != document.digest:
            text = document.data.decode("utf-8", "replace")
            self._names = (document.digest, frozenset(WORD.findall(text)) | keywords(of) | predeclared(of))
        return self._names[1]

    def _shapes_of(self, of: str) -> Shapes:
        return self._shapes.setdefault(of, Shapes(keywords(of)))


def _nearest(snapshot: Snapshot, path: str, language: str) -> list[str]:
    """Files of the same family, those that are open first, then by how much of the path they share."""
    of, folders = family(language), path.split("/")[:-1]
    if not of:
        return []

    def distance(one: str) -> tuple[bool, int, str]:
        theirs = one.split("/")[:-1]
        shared = 0
        for a, b in zip(folders, theirs, strict=False):
            if a != b:
                break
            shared += 1
        return one not in snapshot.documents, len(folders) + len(theirs) - 2 * shared, one

    languages: Mapping[str, str] = {
        **{
            one: outline.language
            for one, outline in snapshot.index.outlines.items()
            if not _large(outline.size_bytes)
        },
        **{one: document.language for one, document in snapshot.documents.items()},
    }
    return sorted((o for o, spoken in languages.items() if o != path and family(spoken) == of), key=distance)[
        :MOST_FILES
    ]


def _large(size_bytes: int) -> bool:
    return size_bytes > MOST_FILE_BYTES
