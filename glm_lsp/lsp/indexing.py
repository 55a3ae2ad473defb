"""The index behind the requests: built in the background with progress, kept up with what is typed and saved.

An idle server does nothing: every timer here is started by a message and fires once.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lsprotocol import types

from glm_lsp.core.errors import GlmError
from glm_lsp.core.generation import Work
from glm_lsp.lsp.convert import path_of

if TYPE_CHECKING:
    from glm_lsp.app import Runtime
    from glm_lsp.core.values import Document
    from glm_lsp.lsp.folders import Home
    from glm_lsp.lsp.progress import Report
    from glm_lsp.lsp.server import Server
    from glm_lsp.workspace.repository import IndexReport, Repository

log = logging.getLogger(__name__)

TYPING_S = 0.25
"""Documents are parsed again when nothing was typed for this long: not between two keystrokes."""
MOST_LOGGED = 100
FILES_S = 0.5
"""Files that change on disk together (a checkout) are indexed together."""
WATCHING = "watching"
"""The name of a task that waits for changes on disk; it never ends."""
MOST_WAIT_S = 5.0
"""Also where they never stop to change."""
IMPORTING = re.compile(
    rb"^(?:[ \t]*(?:from|import|export|use|using|include|require|#[ \t]*include)\b|.*\brequire\().*",
    re.MULTILINE,
)
"""Lines that say what names mean."""
IMPORTING_BYTES = 1 << 16
"""Where such lines are looked for: at the top."""
SHOWN_S = 1.0
REPORT_S = 0.2


class Indexing:
    """Builds and refreshes the repositories' indexes."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._edited: set[str] = set()
        self._imports: dict[str, list[bytes]] = {}
        """By URI: the lines that import, as they were when the document was last handed over."""
        self._told_held: set[str] = set()
        self._preparing: dict[str, asyncio.Task[None]] = {}
        """By URI: two folders may hold files of one path."""
        self._queue: list[Path] = []
        self._touched: dict[Path, set[str]] = {}
        """What has changed on disk, by folder."""
        self._watchers: dict[Path, asyncio.Task[None]] = {}
        self._worker: asyncio.Task[None] | None = None
        self.reports: dict[Path, IndexReport] = {}
        """The last report of each folder."""

    @property
    def busy(self) -> bool:
        return self._worker is not None and not self._worker.done()

    def begin(self, roots: Iterable[Path]) -> None:
        """Index folders one after the other."""
        self._queue += [root for root in roots if root not in self._queue]
        if self._queue and not self.busy:
            self._worker = self._server.protocol.spawn(self._work(), "indexing")
            self._server.changes.tell()
            self._worker.add_done_callback(lambda _: self._server.changes.tell())

    def again(self) -> None:
        """The repositories are new ones: hand over what is open, and index every folder."""
        self.reports.clear()
        self.catch_up()
        self.begin(self._server.folders.roots)

    def catch_up(self) -> None:
        """Hand over what was opened before there was a runtime."""
        for document in self._server.documents:
            self._update(document.uri)

    def edited(self, uri: str) -> None:
        """The document has a new text."""
        self._edited.add(uri)
        self._later("", TYPING_S, self._pause)

    def others(self, uri: str) -> None:
        """A request about one document sees the others as they are, also within a pause.

        Of its own text the index may be behind by what was typed since the last pause, but not by an import:
        the first request that uses it could not be told of it.
        """
        for other in self._edited - {uri}:
            self._edited.discard(other)
            self._update(other)
        if uri in self._edited:
            self._update(uri, typing=True)

    def _pause(self) -> None:
        edited, self._edited = self._edited, set()
        for uri in edited:
            self._update(uri)

    def closed(self, uri: str) -> None:
        """The file on disk counts again."""
        self._edited.discard(uri)
        self._imports.pop(uri, None)
        path = path_of(uri)
        if path is None or self._server.runtime is None:
            return
        try:
            home = self._server.folders.home(self._server.runtime, uri)
        except GlmError:
            return
        home.repository.forget(home.path)

    def files_changed(self, params: types.DidChangeWatchedFilesParams) -> None:
        """`workspace/didChangeWatchedFiles`."""
        for change in params.changes:
            path = path_of(change.uri)
            if path is None:
                continue
            for root in self._server.folders.roots:
                inside = path if path.is_relative_to(root) else path.parent.resolve() / path.name
                if inside.is_relative_to(root):
                    self._touch(root, [inside.relative_to(root).as_posix()])

    def _touch(self, root: Path, paths: Iterable[str]) -> None:
        """Look at these paths when no more have come for a moment, and at the latest after `MOST_WAIT_S`."""
        waiting = self._touched.setdefault(root, set())
        if not waiting:
            self._later(f"{root}\0", MOST_WAIT_S, lambda: self._refresh(root))
        waiting.update("" if path == "." else path for path in paths)
        self._later(str(root), FILES_S, lambda: self._refresh(root))

    def _refresh(self, root: Path) -> None:
        paths = self._touched.pop(root, None)
        if (timer := self._timers.pop(f"{root}\0", None)) is not None:
            timer.cancel()
        if paths:
            self._server.protocol.spawn(self._look(root, paths), "refreshing")

    async def _look(self, root: Path, paths: Collection[str]) -> None:
        """Index paths again, all in one; a run that takes long is shown."""
        runtime = await self._server.ready()
        if root not in self._server.folders.roots:
            return
        repository = runtime.repository(root)
        seen: list[tuple[int, int]] = []
        run = self._server.protocol.spawn(
            repository.refresh(paths, lambda done, total: seen.append((done, total))), "refreshing"
        )
        try:
            await asyncio.wait({run}, timeout=SHOWN_S)
            if not run.done():
                title = f"Indexing {root.name}"
                async with self._server.progress.work(title, percentage=0) as report:
                    eta = _Eta(report)
                    while not run.done():
                        if seen:
                            eta.advance(*seen[-1])
                        await asyncio.wait({run}, timeout=REPORT_S)
                    report.conclude(f"{len(paths):,} changes on disk")
            await run
        except GlmError as error:
            self._server.tell_once(str(error))
            return
        finally:
            run.cancel()
        if (found := await asyncio.to_thread(repository.report)) is not None:
            self.reports[root] = found

    def _watch(self, repository: Repository) -> None:
        """Watch for ourselves where the editor does not."""
        from glm_lsp.workspace.watcher import Watcher  # noqa: PLC0415 (after `initialize`)

        root, server = repository.root, self._server
        before = self._watchers.pop(root, None)
        if before is not None:
            before.cancel()
        if server.client.tells_of_files:
            return

        async def changed(paths: Collection[str]) -> None:
            await self._look(root, paths)

        watcher = Watcher(root, repository.directories, changed, server.tell_once)
        self._watchers[root] = server.protocol.spawn(watcher.run(), WATCHING)

    def _later(self, key: str, delay_s: float, action: Callable[[], None]) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()

        def fire() -> None:
            self._timers.pop(key, None)
            action()

        self._timers[key] = asyncio.get_running_loop().call_later(delay_s, fire)

    def _update(self, uri: str, *, typing: bool = False) -> None:
        """Hand a document over; while somebody is `typing` in it, only where it imports something else."""
        server = self._server
        document = server.documents.get(uri)
        if document is None or server.runtime is None:
            return
        try:
            home = server.folders.home(server.runtime, uri)
        except GlmError as error:
            log.info("%s", error)
            return
        frozen = document.freeze(home.path)
        imports = IMPORTING.findall(frozen.data[:IMPORTING_BYTES])
        if typing and imports == self._imports.get(uri):
            return
        self._imports[uri] = imports
        self._tell_held(home, frozen)
        if home.on_disk:  # one that has grown too large, or binary, is left out by the repository
            home.repository.update(frozen)
            if not typing:  # the request itself works out what it needs; the rest is for the pause
                self._prepare(server.runtime, home, uri)

    def _tell_held(self, home: Home, document: Document) -> None:
        """Say once for each file that something in it is held back; what it is, never how it reads."""
        from glm_lsp.core.secrets import masked  # noqa: PLC0415 (after `initialize`)

        if home.path in self._told_held:
            return
        if held := masked(document, open_=True, allowed=home.repository.allowed).held:
            self._told_held.add(home.path)
            kinds = ", ".join(dict.fromkeys(f"{place.kind} at line {place.line + 1}" for place in held[:3]))
            more = f" and {len(held) - 3} more" if len(held) > 3 else ""
            message = f"{home.path}: held back from every model: {kinds}{more}."
            log.info("%s", message)
            self._server.tell(message, types.MessageType.Info)

    def _prepare(self, runtime: Runtime, home: Home, uri: str) -> None:
        """While nobody types, work out what the next completion in this file would wait for."""
        if (before := self._preparing.pop(uri, None)) is not None:
            before.cancel()

        async def prepare() -> None:
            await home.repository.settle()
            try:
                session = await runtime.session_soon(home.repository, Work.TYPING)
            except GlmError:
                return  # there is no engine that would complete anything
            await session.prepare(home.repository.snapshot(), home.path)

        task = self._preparing[uri] = self._server.protocol.spawn(prepare(), "preparing")

        def forget(task: asyncio.Task[None]) -> None:
            if self._preparing.get(uri) is task:
                del self._preparing[uri]

        task.add_done_callback(forget)

    async def _work(self) -> None:
        from glm_lsp.workspace import config  # noqa: PLC0415 (after `initialize`)

        server = self._server
        runtime = await server.ready()
        while self._queue:
            root = self._queue.pop(0)
            if root not in server.folders.roots:
                continue
            for problem in config.problems_in(root):
                server.tell_once(problem.message)
            try:
                repository = runtime.repository(root)
                await self._index(repository)
                self._watch(repository)
            except GlmError as error:
                server.tell_once(str(error))

    async def _index(self, repository: Repository) -> None:
        async with self._server.progress.work(f"Indexing {repository.root.name}", percentage=0) as report:
            eta = _Eta(report)
            found = await repository.index(eta.advance)
            self.reports[repository.root] = found
            report.conclude(f"{found.files:,} files, {found.symbols:,} definitions")
        self._tell_problems(repository)
        log.info("indexed %d files in %.1f s, skipped %d", found.files, found.seconds, len(found.skipped))
        for place in found.held_back[:MOST_LOGGED]:
            log.info("held back: %s:%d (%s)", place.path, place.line + 1, place.kind)

    def _tell_problems(self, repository: Repository) -> None:
        """Broken files that configure the project, in one message: imports may lead nowhere by them."""
        from glm_lsp.workspace.explain import problems  # noqa: PLC0415 (after `initialize`)

        found = problems(repository.snapshot().index.outlines)
        for path, said in found:
            log.info("project file: %s: %s", path, said)
        if found:
            path, said = found[0]
            more = f" And {len(found) - 1} more; `glm-lsp index` lists them." if len(found) > 1 else ""
            self._server.tell_once(f"Imports may not be found: {path}: {said}{more}")


class _Eta:
    """Says how far it is, and how long the rest takes."""

    def __init__(self, report: Report) -> None:
        from glm_lsp.workspace.run import Telling  # noqa: PLC0415 (after `initialize`)

        self._report = report
        self._telling = Telling()

    def advance(self, done: int, total: int) -> None:
        if total:
            self._report.say(self._telling.text(done, total), min(100, 100 * done // total))
