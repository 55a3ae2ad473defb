"""Which files of a root are worth reading: what git lists, or what a walk finds."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.workspace import git
from glm_lsp.workspace.files import Unreadable, check_name, is_relative, kind_of, masked_name, open_directory
from glm_lsp.workspace.ignore import Ignore

ATTRIBUTES = b".gitattributes"
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


def discover(
    root: Path,
    ignore: Ignore,
    sure: Callable[[], Collection[str]] = tuple,
    stopped: Callable[[], bool] = bool,
) -> Listing:
    """List the files below `root`. Blocks: call it in a thread.

    `sure` gives files that the rules about names let through before; it is asked after git is. As soon as
    `stopped` says so, it ends with what it has.
    """
    listed = git.files(root)
    taken = sure() if listed is not None else ()
    if any(
        name.endswith(ATTRIBUTES) and name.decode("utf-8", "replace") not in taken for name in listed or ()
    ):
        taken = ()
    skipped: list[Skipped] = []
    names = walk(root, ignore, skipped) if listed is None else iter(listed)
    paths: list[str] = []
    for raw in names:
        if stopped():
            break
        if len(paths) >= MAX_FILES:
            skipped.append(Skipped(".", f"has more than {MAX_FILES:,} files; index a smaller directory"))
            break
        try:
            path = raw.decode("utf-8", "replace")
            paths.append(path if path in taken else accept(raw, ignore))
        except Unreadable as unreadable:
            name = masked_name(raw.decode("utf-8", "backslashreplace"))
            skipped.append(Skipped(name, unreadable.reason))
    return Listing(tuple(sorted(paths)), tuple(sorted(skipped, key=lambda s: s.path)), listed is not None)


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


def walk(root: Path, ignore: Ignore, skipped: list[Skipped], below: str = "") -> Iterator[bytes]:
    """Regular files of `root`, below a directory there, that are not ignored, without following links."""
    pending = [below]
    while pending:
        directory = pending.pop()
        try:
            entries = _entries(root, directory)
        except OSError as error:
            reason = f"cannot be read: {(error.strerror or 'system error').lower()}"
            skipped.append(Skipped(_shown(directory) or ".", reason))
            continue
        for name, mode in entries:
            path = f"{directory}/{name}" if directory else name
            what = kind_of(mode)
            if what == "is a directory":
                if not ignore.prunes(_shown(path)):
                    pending.append(path)
            elif ignore.matches(_shown(path)):
                continue
            elif what:
                skipped.append(Skipped(_shown(path), what))
            else:
                yield os.fsencode(path)


def _entries(root: Path, directory: str) -> list[tuple[str, int]]:
    handle = open_directory(root, directory)
    try:
        with os.scandir(handle) as entries:
            return sorted((e.name, e.stat(follow_symlinks=False).st_mode) for e in entries)
    finally:
        os.close(handle)


def _shown(path: str) -> str:
    """A path that may hold bytes which are not UTF-8, fit to be shown and matched."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
