"""A repository as the features see it: its index, its open documents, and the one gate to its files.

The event loop owns all state. Listing runs in a thread, parsing in other processes; only documents that are
open in the editor are parsed here: small ones at once, larger ones in a thread, and until that is done the
index keeps the outline of the older text (its digest tells).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import time
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.core.errors import NOTICES, ConflictError, GlmError, UsageError
from glm_lsp.core.history import History
from glm_lsp.core.lazy import Outlines, differing
from glm_lsp.core.secrets.allow import SETTING as ALLOWED
from glm_lsp.core.settings import Settings
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Document, FileOutline, Refusal, RefusalKind, RepoIndex
from glm_lsp.disk.places import default_directory
from glm_lsp.workspace import git
from glm_lsp.workspace.discovery import Listing, discovered
from glm_lsp.workspace.files import Unreadable, check_name, is_relative, load, refusal
from glm_lsp.workspace.ignore import Ignore
from glm_lsp.workspace.known import Known
from glm_lsp.workspace.look import MOST_DIRECTORIES, RULES, Look, within
from glm_lsp.workspace.messages import Job
from glm_lsp.workspace.run import IndexReport, Progress, Run, report
from glm_lsp.workspace.search import holding

if TYPE_CHECKING:
    from tree_sitter import Tree

    from glm_lsp.workspace.opened import Open

__all__ = ["IndexReport", "Repository"]

_notices = logging.getLogger(NOTICES)

_NO_HISTORY = History()
INLINE_BYTES = 4_096
"""A document up to this size is outlined at once, which takes a millisecond; a larger one in a thread."""
INLINE_S = 0.25
THREAD_S = 5.0
FILE_CPU_S = 10.0
MEMORY_BYTES = 3 << 30
MOST_WORKERS = 4
MOST_REFRESHED = 5000
"""Where more has changed, all is looked at: something may have been overlooked."""


class Repository:
    """One directory, which need not be under version control. Implements `core.snapshot.Sources`."""

    def __init__(self, root: Path, settings: Settings) -> None:
        """Raises UsageError where `root` is no directory."""
        if not root.is_dir():
            what = "is not a directory" if root.exists() else "does not exist"
            raise UsageError(f"{root} {what}; name the directory of a project.")
        self.root = root.resolve()
        if str(self.root).encode("utf-8", "replace").decode() != str(self.root):
            raise UsageError(f"{self.root} has a name that is not UTF-8; rename the directory.")
        self._settings = settings
        self.allowed = frozenset(settings.texts(ALLOWED))
        """Fingerprints of what is no secret, as the user says."""
        self._ignore = self._new_ignore()
        self._listing: Listing | None = None
        self._walked: Listing | None = None
        """The one at which all directories were looked for."""
        self._listed: frozenset[str] = frozenset()
        self._empty: set[str] = set()
        """Directories in which files of the index may appear."""
        self._open: dict[str, Open] = {}
        self._known = Known(
            self.root,
            default_directory() / "index",
            settings.integer("index.max_file_bytes"),
            self.allowed,
            _notices.warning,
            include=[*settings.texts("index.include"), "", *settings.texts("index.exclude")],
        )
        self._disk = Outlines({})
        """As the files on disk are."""
        self._outlines = self._disk
        """As the documents that are open are, the other files as on disk."""
        self._fresh: dict[str, FileOutline | None] = {}
        """What is not in these two yet."""
        self._revision = 0
        self._index = RepoIndex(self._outlines)
        self._snapshot: Snapshot | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: set[asyncio.Task[None]] = set()
        self._lock = asyncio.Lock()
        self._closed = self._mending = self._settled_before = False
        self._history: History | None = None

    async def index(self, progress: Progress | None = None) -> IndexReport:
        """Bring the index up to date with the disk. `progress(done, total)` counts files.

        What was saved is believed where the files are certainly those of then. Raises GlmError where indexing
        cannot start at all, and ConflictError if the repository is closed meanwhile.
        """
        async with self._lock:
            start = time.monotonic()
            self._ignore.fresh()
            run = Run(self._known, self.job(), self.workers, progress, self._took)
            try:
                run.begin()
                loading = asyncio.create_task(asyncio.to_thread(self._known.load))
                listing = await discovered(self.root, self._ignore, self._known.sure)
                await loading
                self._listing, self._listed = replace(listing, stats={}), frozenset(listing.paths)
                await self._finish(run.bring(listing.paths, whole=True, stats=listing.stats))
            finally:
                await run.end()
            self._settled(await asyncio.to_thread(self._known.outlines))
            return await asyncio.to_thread(report, self._known, listing, time.monotonic() - start)

    async def refresh(self, paths: Collection[str], progress: Progress | None = None) -> int:
        """Look at some paths again, all at once: files or directories, there or gone. How many files it took.

        A change of the rules about what is ignored, or of very much, is a change of everything.
        """
        if self._listing is None or any(not p or p.rpartition("/")[2] in RULES for p in paths):
            return (await self.index(progress)).files
        async with self._lock:
            self._ignore.fresh()
            look = await asyncio.to_thread(Look, self.root, self._ignore, self._known, self._listed, paths)
            if len(look.there) + len(look.gone) <= MOST_REFRESHED:
                run = Run(self._known, self.job(), self.workers, progress, None)
                await asyncio.to_thread(self._known.drop, look.gone)
                await self._finish(run.bring(look.there, whole=False))
                self._listed = self._listed.difference(look.gone).union(look.there)
                self._empty |= look.directories
                self._settled(await asyncio.to_thread(self._known.outlines))
                return len(look.there) + len(look.gone)
        return (await self.index(progress)).files

    def _new_ignore(self) -> Ignore:
        texts = self._settings.texts
        return Ignore(self.root, texts("index.exclude"), texts("index.include"))

    def directories(self) -> frozenset[str]:
        """Directories that hold files of the index, or may; the root is the empty string. Blocks."""
        found = {""}
        if self._walked is not self._listing:
            self._walked = self._listing
            inside = within(self.root, self._new_ignore(), "")
            if len(inside) >= MOST_DIRECTORIES:
                _notices.warning(
                    f"{self.root} has more than {MOST_DIRECTORIES:,} directories: new files in those that "
                    "hold none yet are noticed when the repository is opened again, not at once."
                )
            self._empty.update(inside)
        for path in self._listed:
            while (path := path.rpartition("/")[0]) and path not in found:
                found.add(path)
        self._empty = {d for d in self._empty if d not in found and (self.root / d).is_dir()}
        return frozenset(found | self._empty)

    def report(self) -> IndexReport | None:
        """What there is now; None before there was an index."""
        if self._listing is None:
            return None
        paths = tuple(sorted(self._listed))
        listing = Listing(paths, self._listing.skipped, self._listing.by_git)
        return report(self._known, listing, 0.0)

    def _settled(self, disk: Outlines) -> None:
        """The files on disk are these. What has not changed stays the very object that it was."""
        self._fresh.clear()
        if disk.base is self._disk.base and not differing(self._disk, disk):
            return
        self._disk = disk
        mine = {path: self._outlines[path] for path in self._open if path in self._outlines}
        self._outlines = disk.changed({**dict.fromkeys(self._open), **mine}) if self._open else disk
        self._changed(outlines=True)
        _keep(collect=self._settled_before)
        self._settled_before = True

    def job(self) -> Job:
        """What the indexing processes are told."""
        return Job(
            root=str(self.root),
            cache=str(default_directory() / "outlines"),
            max_file_bytes=self._settings.integer("index.max_file_bytes"),
            file_cpu_s=FILE_CPU_S,
            memory_bytes=MEMORY_BYTES,
            allowed=sorted(self.allowed),
            include=list(self._settings.texts("index.include")),
        )

    @property
    def workers(self) -> int:
        return self._settings.integer("index.workers") or min(MOST_WORKERS, os.cpu_count() or 1)

    def _took(self, path: str, found: FileOutline | None) -> None:
        """While everything is indexed, what is done is there already."""
        if path not in self._open:
            self._fresh[path] = found
            self._changed(outlines=True)

    def update(self, document: Document) -> None:
        """The editor has this text. One that must not be read (a secret, ignored, huge) is left out."""
        from glm_lsp.core.secrets import masked  # noqa: PLC0415 (a start without documents needs none of these)
        from glm_lsp.workspace.opened import Open, outlined  # noqa: PLC0415

        document = masked(document, open_=True, allowed=self.allowed)
        if self._gate(document.path) is not None or not self._fit(document):
            self._open.pop(document.path, None)
            self._set_outline(document.path, None)
            return
        state = self._open.get(document.path)
        if state is None:
            state = self._open[document.path] = Open(document)
            if self._history is None:
                self._history = History()
                self._spawn(self._learn())
        state.document = document
        self._changed()
        if len(document.data) <= INLINE_BYTES and not state.busy:
            self._take(state, document, *outlined(state, document, INLINE_S))
        elif not state.busy:
            state.busy = True
            self._spawn(self._follow(state))

    def forget(self, path: str) -> None:
        """The editor has closed the file: what is on disk counts again."""
        if self._open.pop(path, None) is not None:
            self._outlines = self._outlines.changed({path: self._disk.get(path)})
            self._changed(outlines=True)
            self._spawn(self._reread(path))

    def snapshot(self) -> Snapshot:
        """The state now; it never changes afterwards. The same value as long as nothing happens."""
        if self._known.suspect and not self._mending:
            self._mending = True
            self._spawn(self._mend())
        if self._snapshot is None:
            if self._fresh:
                self._disk = self._disk.changed(self._fresh)
                self._outlines = self._outlines.changed(self._fresh)
                self._fresh = {}
            if self._index.outlines is not self._outlines:
                self._index = RepoIndex(self._outlines, self._revision)
            self._snapshot = Snapshot(
                root=str(self.root),
                revision=self._revision,
                documents={path: state.document for path, state in self._open.items()},
                index=self._index,
                settings=self._settings,
                history=self._history or _NO_HISTORY,
            )
        return self._snapshot

    async def read(self, path: str) -> Document | Refusal:
        """The text of a file for a prompt, the editor's if it is open; or why it may not be had."""
        state = self._open.get(path)
        if state is not None:
            return state.document
        try:
            return await asyncio.to_thread(self._read, path)
        except Unreadable as unreadable:
            return refusal(path, unreadable)

    async def holding(self, paths: Sequence[str], words: Sequence[str]) -> frozenset[str]:
        """Those of `paths`, as far as they are indexed, that have one of `words`, wherever in them."""
        known = [path for path in paths if path in self._listed]
        most = self._settings.integer("index.max_file_bytes")
        return await asyncio.to_thread(holding, self.root, known, words, most)

    def relative(self, path: Path) -> str | Refusal:
        """The name within this repository of a path that a user or a client named; `.` is the root itself.

        Refused: outside the root, links that lead out of it, files named like secrets, ignored files.
        A relative path starts at the root.
        """
        whole = Path(os.path.normpath(self.root / path))
        if not whole.is_relative_to(self.root):
            whole = whole.parent.resolve() / whole.name
        try:
            inside = whole.relative_to(self.root).as_posix()
            whole.resolve().relative_to(self.root)
        except (ValueError, OSError, RuntimeError):
            return Refusal(str(path), RefusalKind.POLICY, f"{path} is outside of {self.root}.")
        if inside == ".":
            return inside
        return self._gate(inside) or inside

    async def settle(self) -> None:
        """Wait until the outlines of all open documents are those of their texts."""
        while tasks := tuple(self._tasks):
            await asyncio.gather(*tasks)
            # Since Python 3.12 what is done is awaited at once, before its callback takes it out.
            self._tasks.difference_update(tasks)

    async def close(self) -> None:
        """Stop what runs and end the processes. May be called twice."""
        self._closed = True
        tasks = [*self._running, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._lock:
            await asyncio.to_thread(self._known.close)

    def _gate(self, path: str) -> Refusal | None:
        """What the path alone says."""
        try:
            if not is_relative(path):
                raise Unreadable("is not a path below the root", RefusalKind.POLICY)
            check_name(path)
        except Unreadable as unreadable:
            return refusal(path, unreadable)
        if path not in self._listed and self._ignore.ignored(path):
            return Refusal(path, RefusalKind.POLICY, f"{path} is ignored (.gitignore or index.exclude).")
        return None

    def _fit(self, document: Document) -> bool:
        return not document.left_out and len(document.data) <= self._settings.integer("index.max_file_bytes")

    def _read(self, path: str) -> Document:
        """In a thread. Git knows rules that we do not, the user's own for one: ask it about new files."""
        if not is_relative(path):
            raise Unreadable("is not a path below the root", RefusalKind.POLICY)
        check_name(path)
        if path not in self._listed:
            listed = git.files_at(self.root, path)
            ignored = self._ignore.ignored(path) if listed is None else not listed
            if ignored or self._ignore.excluded(path):
                raise Unreadable("is ignored (.gitignore or index.exclude)", RefusalKind.POLICY)
        most = self._settings.integer("index.max_file_bytes")
        return load(self.root, path, most, allowed=self.allowed)

    def _changed(self, *, outlines: bool = False) -> None:
        self._revision += 1
        self._snapshot = None

    def _set_outline(self, path: str, found: FileOutline | None) -> None:
        if self._outlines.get(path) is not found:
            self._fresh.pop(path, None)
            self._outlines = self._outlines.changed({path: found})
            self._changed(outlines=True)

    def _take(self, state: Open, document: Document, tree: Tree | None, found: FileOutline) -> None:
        state.parsed, state.tree = document.data, tree
        if self._open.get(document.path) is state:
            self._set_outline(document.path, found)

    async def _follow(self, state: Open) -> None:
        """Outline a large document in a thread, again as long as its text has moved on meanwhile."""
        from glm_lsp.workspace.opened import outlined  # noqa: PLC0415

        try:
            while True:
                document = state.document
                done = await asyncio.to_thread(outlined, state, document, THREAD_S)
                self._take(state, document, *done)
                if state.document is document:
                    return
        finally:
            state.busy = False

    async def _reread(self, path: str) -> None:
        """The editor has closed the file: look what it is on disk."""
        with contextlib.suppress(GlmError):
            if self._listing is not None:
                await self.refresh([path])

    async def _mend(self) -> None:
        """Outline the files again whose saved outlines were damaged."""
        with contextlib.suppress(GlmError):
            async with self._lock:
                paths = await asyncio.to_thread(self._known.damaged)
            await self.refresh(paths)
        self._mending = False

    async def _learn(self) -> None:
        """What the commits say, once: the ranking needs no more than that of the day."""
        self._history = History(await asyncio.to_thread(git.commits, self.root))
        self._snapshot = None

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, work: Coroutine[None, None, None]) -> None:
        """Wait for the run; end it with us, and say so if `close` ended it."""
        if self._closed:
            work.close()
            raise ConflictError(f"{self.root} was closed while it was indexed.")
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await task
        except asyncio.CancelledError:
            if self._closed and task.cancelled():
                raise ConflictError(f"{self.root} was closed while it was indexed.") from None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise


def _keep(*, collect: bool) -> None:
    """Put what lives now out of the garbage collector's sight.

    What an index holds lives long and is in no cycle; otherwise each full collection would look at all of it:
    200 ms and more on a large tree, in which nothing is answered. Before the first run there is mostly code,
    and looking for garbage in it (`collect`) takes longer than it is worth.
    """
    if gc.isenabled():
        if collect:
            gc.collect()
        gc.freeze()
