"""Tells what changes on disk, where the editor does not.

Directories that hold files of the index are watched, one by one: what is ignored costs nothing. Where the
system gives no more watches, everything is looked at now and then instead, and the user is told.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Any

DEBOUNCE_MS = 1500
"""Changes that follow each other closely are told together, at most this long after the first."""
STEP_MS = 200
LINGER_S = 2 * (DEBOUNCE_MS + STEP_MS) / 1000
"""So long those who watched until now go on, until all that they have seen is told."""
POLL_S = 10.0
POLL_SHARE = 50
"""Looking at everything takes at most one part in so many of the time."""
MOST_TOLD = 5000
"""More changes at once are told as a change of everything: some may have been lost."""

Notify = Callable[[list[str], bool, bool, int, bool, bool], Any]


class Watcher:
    """Watches one root. `run` ends when it is cancelled."""

    def __init__(
        self,
        root: Path,
        directories: Callable[[], Collection[str]],
        changed: Callable[[Collection[str]], Awaitable[object]],
        tell: Callable[[str], None],
        *,
        notify: Notify | None = None,
        poll_s: float = POLL_S,
    ) -> None:
        """`directories` are those to be watched, relative to `root`, itself as an empty string; it is asked
        again after each change. `changed` is awaited with paths relative to `root`, files or directories; an
        empty string among them means that anything may have changed."""
        self._root, self._directories, self._changed, self._tell = root, directories, changed, tell
        self._notify, self._poll_s = notify, poll_s
        self.polls = False
        """Whether it looks at everything now and then."""
        self.watching = asyncio.Event()
        """Changes are noticed from now on."""

    async def run(self) -> None:
        """Watch until cancelled."""
        try:
            await self._watch()
        except (OSError, ImportError) as error:
            self.polls = True
            why = "the system has no more watches for files (fs.inotify.max_user_watches)"
            if not isinstance(error, OSError) or "limit" not in str(error):
                why = f"they cannot be watched ({error})"
            self._tell(
                f"Files of {self._root.name} that other programs change are noticed within about "
                f"{self._poll_s:g} s, not at once: {why}."
            )
            await self._poll()

    async def _poll(self) -> None:
        self.watching.set()
        cost_s = 0.0
        while True:
            await asyncio.sleep(max(self._poll_s, POLL_SHARE * cost_s))
            start = time.monotonic()
            await self._changed({""})
            cost_s = time.monotonic() - start

    async def _watch(self) -> None:
        notify = self._notify or await asyncio.to_thread(_rust_notify)
        loop, prefix = asyncio.get_running_loop(), f"{self._root}/"
        watched: frozenset[str] = frozenset()
        inbox, feeds = _Inbox(), list[_Feed]()
        try:
            while True:
                wanted = frozenset(await asyncio.to_thread(self._directories))
                if not feeds or wanted != watched:
                    for old in feeds:
                        # What it has seen and not told yet, nobody else tells.
                        loop.call_later(LINGER_S, old.stop)
                    feeds.append(await asyncio.to_thread(_Feed, notify, self._root, wanted, loop, inbox))
                    feeds = [feed for feed in feeds if not feed.stopped]
                    # What changed while nobody watched: while all was looked at for the first time, and in
                    # directories that are new.
                    if more := wanted - watched if watched else {""}:
                        await self._changed(more)
                    watched = wanted
                    self.watching.set()
                paths = await inbox.changes()
                found = {p.removeprefix(prefix) for p in paths if p.startswith(prefix)}
                if len(found) > MOST_TOLD:
                    found = {""}
                if found:
                    await self._changed(found)
        finally:
            for feed in feeds:
                feed.stop()


class _Inbox:
    """Paths that have changed, whoever tells of them."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._arrived = asyncio.Event()

    def arrive(self, paths: Collection[str]) -> None:
        self._paths.update(paths)
        self._arrived.set()

    async def changes(self) -> set[str]:
        """The paths that have changed since the last call; waits for one."""
        await self._arrived.wait()
        self._arrived.clear()
        paths, self._paths = self._paths, set()
        return paths


class _Feed:
    """One set of watched directories, and a thread that waits for changes there. Raises OSError."""

    def __init__(
        self,
        notify: Notify,
        root: Path,
        directories: Collection[str],
        loop: asyncio.AbstractEventLoop,
        inbox: _Inbox,
    ) -> None:
        paths = [str(root / directory) for directory in sorted(directories)]
        # Not told to overlook missing permissions: it then overlooks that there are no more watches, too.
        there = [p for p in paths if Path(p).is_dir() and os.access(p, os.R_OK | os.X_OK)]
        self._rust = notify(there, False, False, 0, False, False)
        self._loop, self._inbox = loop, inbox
        self._stop = threading.Event()
        threading.Thread(target=self._wait, name="watcher", daemon=True).start()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """The thread ends soon."""
        self._stop.set()

    def _wait(self) -> None:
        while not self._stop.is_set():
            found = self._rust.watch(DEBOUNCE_MS, STEP_MS, 0, self._stop)
            if isinstance(found, str):
                if found == "stop":
                    return
                continue
            paths = {path for _, path in found}
            try:
                self._loop.call_soon_threadsafe(self._inbox.arrive, paths)
            except RuntimeError:
                return  # the loop is closed


def _rust_notify() -> Notify:
    # Not `watchfiles.watch`: it takes part in handling signals, which are none of its business here.
    from watchfiles._rust_notify import RustNotify  # noqa: PLC0415

    return RustNotify
