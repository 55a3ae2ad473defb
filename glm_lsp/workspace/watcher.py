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
        feed: _Feed | None = None
        try:
            while True:
                wanted = frozenset(await asyncio.to_thread(self._directories))
                if feed is None or wanted != watched:
                    new = await asyncio.to_thread(_Feed, notify, self._root, wanted, loop)
                    old, feed = feed, new
                    if old is not None:
                        old.stop()
                        # What appeared in a directory before it was watched, nobody has told.
                        if more := wanted - watched:
                            await self._changed(more)
                    watched = wanted
                    self.watching.set()
                paths = await feed.changes()
                found = {p.removeprefix(prefix) for p in paths if p.startswith(prefix)}
                if len(found) > MOST_TOLD:
                    found = {""}
                if found:
                    await self._changed(found)
        finally:
            if feed is not None:
                feed.stop()


class _Feed:
    """One set of watched directories, and a thread that waits for changes there. Raises OSError."""

    def __init__(
        self, notify: Notify, root: Path, directories: Collection[str], loop: asyncio.AbstractEventLoop
    ) -> None:
        paths = [str(root / directory) for directory in sorted(directories)]
        # Not told to overlook missing permissions: it then overlooks that there are no more watches, too.
        there = [p for p in paths if Path(p).is_dir() and os.access(p, os.R_OK | os.X_OK)]
        self._rust = notify(there, False, False, 0, False, False)
        self._loop = loop
        self._stop = threading.Event()
        self._paths: set[str] = set()
        self._arrived = asyncio.Event()
        threading.Thread(target=self._wait, name="watcher", daemon=True).start()

    async def changes(self) -> set[str]:
        """The paths that have changed since the last call; waits for one."""
        await self._arrived.wait()
        self._arrived.clear()
        paths, self._paths = self._paths, set()
        return paths

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
                self._loop.call_soon_threadsafe(self._arrive, paths)
            except RuntimeError:
                return  # the loop is closed

    def _arrive(self, paths: set[str]) -> None:
        self._paths |= paths
        self._arrived.set()


def _rust_notify() -> Notify:
    # Not `watchfiles.watch`: it takes part in handling signals, which are none of its business here.
    from watchfiles._rust_notify import RustNotify  # noqa: PLC0415

    return RustNotify
