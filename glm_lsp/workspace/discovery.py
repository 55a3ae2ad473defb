"""Which files of a root are worth reading: what git lists, or what a walk finds."""

from __future__ import annotations

import asyncio
import os
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from glm_lsp.workspace import git
from glm_lsp.workspace.files import (
    Unreadable,
    check_name,
    is_relative,
    kind_of,
    masked_name,
    open_directory,
)
from glm_lsp.workspace.ignore import NEVER_DIRECTORIES, Ignore
from glm_lsp.workspace.stamps import Stat

ATTRIBUTES = b".gitattributes"
SPEAKS = ATTRIBUTES.decode()
IGNORED = ".gitignore"
MOST_OPEN = 64
"""Directories that a walk keeps open, one in the other."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
AHEAD = 10_000
"""So many files are listed before it is asked which ones were let through already."""
MAX_FILES = 200_000
"""A root with more is a mistake, a home directory perhaps: the rest is left out, and said so."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that the index leaves out; `reason` completes the sentence `PATH …`."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Files to read, sorted, and those left out by their name or kind alone. Ignored ones are in neither."""

    paths: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    by_git: bool
    stats: Mapping[str, Stat] = field(default_factory=dict[str, Stat], repr=False, compare=False)
    """Of the files that a walk has found, as they were then."""


def discover(
    root: Path,
    ignore: Ignore,
    sure: Callable[[], Collection[str]] = tuple,
    stopped: Callable[[], bool] = bool,
) -> Listing:
    """List the files below `root`. Blocks: call it in a thread.

    `sure` gives files that the rules about names let through before; it is asked when the first are listed.
    As soon as `stopped` says so, it ends with what it has.
    """
    listed = git.files(root)
    skipped: list[Skipped] = []
    stats: dict[str, Stat] = {}
    names = walk(root, ignore, skipped, stats=stats) if listed is None else iter(listed)
    first = list(islice(names, AHEAD)) if listed is None else listed
    taken = sure()
    if any(name.endswith(ATTRIBUTES) and name.decode("utf-8", "replace") not in taken for name in first):
        taken = ()
    paths: list[str] = []
    for raw in chain(first, names) if listed is None else listed:
        if stopped():
            break
        if len(paths) >= MAX_FILES:
            skipped.append(Skipped(".", f"has more than {MAX_FILES:,} files; index a smaller directory"))
            break
        try:
            path = raw.decode("utf-8", "replace")
            if path in taken:
                paths.append(path)
                continue
            if raw.endswith(ATTRIBUTES):
                taken = ()  # it may speak of those that come after it, which a walk lists with it or later
            paths.append(accept(raw, ignore))
        except Unreadable as unreadable:
            name = masked_name(raw.decode("utf-8", "backslashreplace"))
            skipped.append(Skipped(name, unreadable.reason))
    skipped.sort(key=lambda s: s.path)
    return Listing(tuple(sorted(paths)), tuple(skipped), listed is not None, stats)


async def discovered(root: Path, ignore: Ignore, sure: Callable[[], Collection[str]]) -> Listing:
    """`discover` in a thread. Who is interrupted meanwhile does not wait for the rest of a large tree."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(discover, root, ignore, sure, stop.is_set)
    finally:
        stop.set()


def accept(raw: bytes, ignore: Ignore) -> str:
    """The path of a file that is worth reading, by its name. Raises Unreadable."""
    try:
        path = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("has a name that is not UTF-8") from None
    if path.endswith("/"):
        raise Unreadable("is a repository of its own")
    if not is_relative(path):
        raise Unreadable("is not a path below the root")
    if ignore.excluded(path):
        raise Unreadable("is left out by index.exclude")
    check_name(path)
    if (why := ignore.rules.by_name(path)) is not None:
        raise Unreadable(why.reason)
    return path


def walk(
    root: Path, ignore: Ignore, skipped: list[Skipped], below: str = "", stats: dict[str, Stat] | None = None
) -> Iterator[bytes]:
    """Regular files of `root`, below a directory there, that are not ignored, without following links.

    Puts into `stats` what was seen of them.
    """
    descent = _Descent(root)
    try:
        yield from _walked(descent, ignore, skipped, below, stats)
    finally:
        descent.close()


def _walked(
    descent: _Descent, ignore: Ignore, skipped: list[Skipped], below: str, stats: dict[str, Stat] | None
) -> Iterator[bytes]:
    pending = [below]
    while pending:
        directory = pending.pop()
        now_ns = time.time_ns()
        try:
            entries = descent.entries(directory)
        except OSError as error:
            reason = f"cannot be read: {(error.strerror or 'system error').lower()}"
            skipped.append(Skipped(_shown(directory) or ".", reason))
            continue
        if directory and all(name != IGNORED for name, _ in entries):
            ignore.silent(_shown(directory))
        prefix, speaks = f"{directory}/" if directory else "", ignore.speaks(_shown(directory))
        for name, seen in entries:
            path, mode = prefix + name, seen.st_mode
            if stat.S_ISDIR(mode):
                if not (ignore.prunes(_shown(path)) if speaks else name in NEVER_DIRECTORIES):
                    pending.append(path)
            elif speaks and ignore.matches(_shown(path)):
                continue
            elif what := kind_of(mode):
                skipped.append(Skipped(_shown(path), what))
            else:
                if stats is not None:
                    stats[path] = Stat(seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino, now_ns)
                yield os.fsencode(path)


class _Descent:
    """Directories below one root, opened without following links; those on the way to the last stay open."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[tuple[str, int]] = []

    def entries(self, directory: str) -> list[tuple[str, os.stat_result]]:
        """What lies in a directory, sorted, but what may speak of the rest first. Raises OSError."""
        parts = directory.split("/") if directory else []
        kept, most = 0, min(len(parts), len(self._open))
        while kept < most and self._open[kept][0] == parts[kept]:
            kept += 1
        while len(self._open) > kept:
            os.close(self._open.pop()[1])
        here = self._open[-1][1] if self._open else -1
        passing = -1
        try:
            if here < 0:
                here = passing = open_directory(self._root, "")
            for part in parts[kept:]:
                below = os.open(part, _DIRECTORY, dir_fd=here)
                if passing >= 0:
                    os.close(passing)
                    passing = -1
                here = below
                if len(self._open) < MOST_OPEN:
                    self._open.append((part, below))
                else:
                    passing = below
            with os.scandir(here) as listed:
                found = {e.name: e.stat(follow_symlinks=False) for e in listed}
        finally:
            if passing >= 0:
                os.close(passing)
        return sorted(found.items(), key=_first)

    def close(self) -> None:
        while self._open:
            os.close(self._open.pop()[1])


def _first(entry: tuple[str, object]) -> tuple[bool, str]:
    return entry[0] != SPEAKS, entry[0]


def _shown(path: str) -> str:
    """A path that may hold bytes which are not UTF-8, fit to be shown and matched."""
    if path.isascii():
        return path
    return os.fsencode(path).decode("utf-8", "backslashreplace")
