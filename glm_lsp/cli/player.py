"""Does what the events of a replay say: in a repository's overlay, with a session of its own."""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from glm_lsp.cli import shapes
from glm_lsp.core.errors import BudgetError, PolicyError, UsageError
from glm_lsp.core.generation import (
    Chunk,
    Engine,
    EngineFacts,
    Finish,
    GenerateRequest,
    Prompt,
    Segment,
    Tokenizer,
    Usage,
    Work,
)
from glm_lsp.core.layout import LOG_TITLE
from glm_lsp.core.settings import Settings
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.text import digest
from glm_lsp.core.values import Block, Document, RefusalKind
from glm_lsp.features.complete import mode, pack_context
from glm_lsp.features.replay import Event, Op, Reading, Tape
from glm_lsp.features.session import Session
from glm_lsp.features.warm import warm
from glm_lsp.workspace.files import CONTROL, CONTROL_NAME, Unreadable, is_relative, read_bytes
from glm_lsp.workspace.repository import Repository

IDLE_S = 2.0
"""Nobody types when nothing has come for this long: as the server has it."""
MOST_PATH_BYTES = 4096
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request. Without a prompt, `refused` says why the server would not have sent one."""

    event: Event
    epoch: int
    reading: Reading
    prompt: Prompt | None
    refused: str = ""
    turned: str = ""
    """What began a new epoch; empty where none began."""

    def line(self) -> str:
        """The request's line of JSON."""
        blocks = ",".join(map(_block, self.prompt.blocks)) if self.prompt else ""
        said: dict[str, Any] = {
            "prompt_tokens": self.reading.tokens if self.prompt else 0,
            "evaluated_tokens": self.reading.evaluated if self.prompt else 0,
            "epoch": self.epoch,
            "event": self.event.number,
        }
        if self.turned:
            said["turned"] = self.turned
        if self.refused:
            said["refused"] = self.refused
        return json.dumps(said)[:-1] + f', "blocks": [{blocks}]}}'

    def dump(self) -> str:
        """How this prompt's tokens come from those of the one before; one that is not sent changes none."""
        appended = self.reading.appended or ()
        return json.dumps({"keep": self.reading.kept, "append": [t.decode("latin-1") for t in appended]})


@lru_cache(maxsize=4096)
def _block(block: Block) -> str:
    return json.dumps(shapes.block(block, text=False))


@dataclass(slots=True)
class _Text:
    """A file as the events have left it: in the editor, as last saved, on the real disk (None: nowhere)."""

    data: bytes
    saved: bytes | None
    disk: bytes | None
    open: bool = True
    version: int = 0


class Reader(Engine):
    """Reads everything and writes nothing: an engine of which only the prompts matter."""

    def __init__(self, facts: EngineFacts) -> None:
        self._facts = facts

    @property
    def facts(self) -> EngineFacts:
        return self._facts

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        yield Chunk(finish=Finish.STOP, usage=Usage(output_tokens=0))

    async def close(self) -> None:
        """Nothing was opened."""


class Player:
    """Does what the events say, in a repository's overlay and with a session of its own."""

    def __init__(self, repository: Repository, session: Session) -> None:
        self.repository, self.session = repository, session
        self.tape = Tape(session.tokenizer, session.profile.template)
        self._texts: dict[str, _Text] = {}
        self._trunk: tuple[Segment, ...] = ()
        self._epoch = 0
        self._tokens = 0
        self._now: float | None = None
        self._place: tuple[str, int] | None = None

    async def play(self, found: Iterable[Event]) -> AsyncGenerator[Answer, None]:
        """An answer for each request. Raises UsageError or PolicyError, naming the event's line."""
        for event in found:
            await self._pause(event)
            try:
                path = self._named(event.path)
                if event.op is Op.REQUEST:
                    yield await self._request(event, path)
                else:
                    self._apply(event, path)
            except (UsageError, PolicyError) as error:
                raise type(error)(f"Line {event.number}: {error}") from None

    def text(self, path: str) -> bytes:
        """A file's text as the editor has it. Raises UsageError or PolicyError where there is none."""
        return self._known(path).data

    def _apply(self, event: Event, path: str) -> None:
        match event.op:
            case Op.OPEN:
                given = None if event.text is None else event.text.encode()
                text = self._texts.get(path)
                if text is None:
                    disk = self._on_disk(path)
                    self._make_room(path)
                    text = _Text(b"", disk, disk)
                data = text.saved if given is None else given
                if data is None:
                    raise UsageError(f"There is no file {path}; give its text to make one.")
                self._texts[path] = text
                text.open = True
                self._set(path, text, data)
            case Op.EDIT:
                text, new = self._known(path), (event.text or "").encode()
                _check(text.data, path, event.start, event.end)
                self._set(path, text, text.data[: event.start] + new + text.data[event.end :])
                self._place = path, event.start + len(new)
            case Op.SAVE:
                text = self._opened(path)
                text.saved = text.data
            case _:
                text = self._opened(path)
                text.open = False
                if text.saved is None or text.saved == text.disk:
                    del self._texts[path]
                    self.repository.forget(path)
                else:
                    self._set(path, text, text.saved)  # the overlay stands for what the disk would have

    def _set(self, path: str, text: _Text, data: bytes) -> None:
        text.data = data
        text.version += 1
        shown = data.removeprefix(_BOM)
        self.repository.update(Document(path, shown, digest(shown), language_of(path, shown), text.version))

    def _known(self, path: str) -> _Text:
        """A file that the events have spoken of; one that they have not is opened."""
        text = self._texts.get(path)
        if text is None:
            disk = self._on_disk(path)
            if disk is None:
                raise UsageError(f"There is no file {path}; open it with its text.")
            text = self._texts[path] = _Text(disk, disk, disk)
        text.open = True
        return text

    def _opened(self, path: str) -> _Text:
        text = self._texts.get(path)
        if text is None or not text.open:
            raise UsageError(f"{path} is not open.")
        return text

    def _on_disk(self, path: str) -> bytes | None:
        """The file's bytes; None where there is none. Raises UsageError or PolicyError."""
        most = self.session_settings.integer("index.max_file_bytes")
        try:
            data = read_bytes(self.repository.root, path, most).data
            data.decode()
        except UnicodeDecodeError:
            raise UsageError(f"{path} is not valid UTF-8.") from None
        except Unreadable as unreadable:
            if unreadable.kind is RefusalKind.POLICY:
                raise PolicyError(f"{path} {unreadable.reason}.") from None
            if not self._is_there(path):
                return None
            raise UsageError(f"{path} {unreadable.reason}.") from None
        return data

    def _is_there(self, path: str) -> bool:
        """Whether something has this name on the disk. Raises UsageError where nothing ever can have it."""
        try:
            os.lstat(self.repository.root / path)
        except FileNotFoundError:
            return False
        except NotADirectoryError:
            raise UsageError(f"There can be no {path}: what is above it is a file.") from None
        except OSError as error:
            raise UsageError(f"There can be no {path}: {(error.strerror or 'error').lower()}.") from None
        return True

    def _make_room(self, path: str) -> None:
        """Raise UsageError where a file that the events have made leaves no room for one of this name."""
        for other in self._texts:
            for file, below in ((other, path), (path, other)):
                if below.startswith(f"{file}/"):
                    raise UsageError(f"There can be no {path} beside {other}: one would be below the other.")

    @property
    def session_settings(self) -> Settings:
        return self.repository.snapshot().settings

    def _named(self, path: str) -> str:
        """The path as the repository calls it. Raises UsageError for none, PolicyError for one outside."""
        if not path:
            raise UsageError("The path is empty; name a file below the root.")
        if len(path.encode()) > MOST_PATH_BYTES:
            raise UsageError(f"The path {path[:80]!r}… is longer than {MOST_PATH_BYTES:,} bytes.")
        if CONTROL.search(path) or "\0" in path:
            raise UsageError(f"The path {path[:200]!r} is left out: {CONTROL_NAME}; name another file.")
        name = posixpath.normpath(path)
        if path.startswith("/") or not is_relative(name):
            raise PolicyError(f"The path {path[:200]!r} is not below the root; name a file in it.")
        return name

    async def _pause(self, event: Event) -> None:
        """Where nobody typed for a while, what the server does then."""
        if event.t is None:
            return
        before, self._now = self._now, event.t
        if before is not None and event.t - before >= IDLE_S and self._place is not None:
            path, offset = self._place
            await self.repository.settle()
            await warm(self.session, self.repository.snapshot(), path, offset)

    async def _request(self, event: Event, path: str) -> Answer:
        text, offset = self._texts.get(path), event.offset
        data = text.data if text is not None else self._on_disk(path)
        if data is None:
            raise UsageError(f"There is no file {path}; open it with its text.")
        _check(data, path, offset, offset)
        offset -= min(offset, len(data) - len(data.removeprefix(_BOM)))
        self._place = path, offset
        await self.repository.settle()
        snapshot = self.repository.snapshot()
        most = self.session_settings.integer("index.max_file_bytes")
        if len(data) > most:  # as with one on the disk, but the session may go on, and make it shorter
            return self._refused(event, f"{path} is larger than {most:,} bytes (index.max_file_bytes).")
        try:
            prompt = await pack_context(self.session, snapshot, path, offset)
        except (PolicyError, BudgetError) as error:
            return self._refused(event, str(error))
        except UsageError as error:
            if text is None:
                raise
            return self._refused(event, str(error))
        turned = self._turned(prompt.segments[: prompt.trunk_segments])
        reading = self.tape.read(prompt, mode(snapshot))
        self._tokens = reading.tokens
        return Answer(event, self._epoch, reading, prompt, "", turned)

    def _refused(self, event: Event, why: str) -> Answer:
        """Nothing is sent, and nothing read: the prompt before stays the one that an engine has."""
        return Answer(event, self._epoch, Reading(self._tokens, self._tokens, ()), None, why)

    def _turned(self, trunk: tuple[Segment, ...]) -> str:
        """What of the trunk is new, other than at its end, and so began an epoch; empty where nothing is."""
        before, self._trunk = self._trunk, trunk
        same = next((n for n, (a, b) in enumerate(zip(before, trunk, strict=False)) if a != b), len(before))
        if before and same >= len(before) and len(trunk) >= len(before):
            return ""
        self._epoch += 1
        if not before:
            return "start"
        return "log" if any(s.text == LOG_TITLE for s in before[: same + 1]) else "head"


def _check(data: bytes, path: str, start: int, end: int) -> None:
    """Raise UsageError unless both are places between characters of the text, in order."""
    size = len(data)
    if end < start:
        raise UsageError(f"The end, {end}, is before the start, {start}; an edit goes from start to end.")
    if not 0 <= start <= end <= size:
        meant = f"{start}" if start == end else f"{start} to {end}"
        raise UsageError(f"{path} has {size} bytes, so there is no place {meant} in it.")
    for at in (start, end):
        if at < size and data[at] & 0xC0 == 0x80:
            raise UsageError(f"Byte {at} of {path} is inside a character; give the place before or after it.")


@contextlib.asynccontextmanager
async def playing(
    root: Path, settings: Settings, budget_tokens: int = 0, tokenizer: Tokenizer | None = None
) -> AsyncGenerator[Player, None]:
    """A player for the directory, indexed. Budget 0 and no tokenizer: as for a completion.

    Nothing is shared with other processes, so that the same events give the same prompts.
    """
    from glm_lsp.app import Runtime  # noqa: PLC0415 (mistakes are told before anything heavy is loaded)

    if budget_tokens:
        settings = replace(settings, values={**settings.values, "context.budget_tokens": budget_tokens})
    runtime = Runtime(settings, reads_only=True)
    try:
        repository = runtime.repository(root)
        like = runtime.session(repository, Work.TYPING, generates=False)
        room = budget_tokens + settings.integer("completion.max_tokens")
        room += settings.integer("thinking.reasoning_tokens")
        facts = like.engine.facts
        facts = replace(facts, context_tokens=max(facts.context_tokens, room), warms=True)
        counter = tokenizer or like.tokenizer
        session = Session(repository, Reader(facts), counter, like.profile, allowed=repository.allowed)
        await repository.index()
        yield Player(repository, session)
    finally:
        await runtime.close()
