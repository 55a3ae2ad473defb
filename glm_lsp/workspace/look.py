"""What became of some paths that are said to have changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path

from glm_lsp.workspace import git
from glm_lsp.workspace.discovery import Skipped, accept, walk
from glm_lsp.workspace.files import Unreadable, is_relative
from glm_lsp.workspace.ignore import NEVER_DIRECTORIES, Ignore
from glm_lsp.workspace.known import Known

RULES = frozenset({".gitignore", "exclude", ".gitattributes"})
"""Names of files that say what is ignored (`.git/info/exclude`) or generated."""
MOST_DIRECTORIES = 200_000
"""Of those in which files may appear: more are not looked for."""
ASKED = 500
"""Paths that git is asked about at a time."""


class Look:
    """Which files are there to be read, and which known ones are not any more. Made in a thread."""

    def __init__(
        self, root: Path, ignore: Ignore, known: Known, listed: Collection[str], paths: Collection[str]
    ) -> None:
        """`paths`: files or directories, there or gone. Those that are none of ours are passed over."""
        self._root, self._ignore = root, ignore
        there: set[str] = set()
        gone: set[str] = set()
        new: list[str] = []
        self.directories: set[str] = set()
        """Those among `paths` that files of ours may appear in."""
        for path in paths:
            if not is_relative(path) or not NEVER_DIRECTORIES.isdisjoint(path.split("/")):
                continue
            mode = self._mode(path)
            known_here = [path] if known.outline(path) is not None or known.reason(path) else []
            if stat.S_ISDIR(mode):
                gone.update(known_here)
                found = self._below(path)
                if found or not self._ignore.ignored(f"{path}/x"):
                    self.directories.update(within(root, ignore, path))
                there.update(found)
                gone.update(set(known.below(path)).difference(found))
                continue
            gone.update(known.below(path))
            if not mode:
                gone.update(known_here)
            elif path in listed:
                there.add(path)
            else:
                new.append(path)
        for path in self._taken(new):
            there.add(path)
        self.there: Sequence[str] = sorted(there)
        self.gone: Sequence[str] = sorted(gone - there)

    def _mode(self, path: str) -> int:
        """The kind of file; 0 where there is none, or only behind a link."""
        try:
            mode = os.lstat(self._root / path).st_mode
            parent = path.rpartition("/")[0]
            if parent and os.path.realpath(self._root / parent) != f"{self._root}/{parent}":
                return 0
        except (OSError, ValueError):
            return 0
        return mode

    def _below(self, directory: str) -> list[str]:
        """The files of a directory that are to be read."""
        listed = git.files(self._root, [directory])
        if listed is not None:
            return self._accepted(listed)
        if self._ignore.ignored(f"{directory}/x"):
            return []
        skipped: list[Skipped] = []
        return self._accepted(list(walk(self._root, self._ignore, skipped, directory)))

    def _taken(self, paths: Sequence[str]) -> list[str]:
        """Those of files that nobody has listed yet which no rule leaves out."""
        found: list[str] = []
        for at in range(0, len(paths), ASKED):
            part = paths[at : at + ASKED]
            listed = git.files(self._root, part)
            if listed is None:
                listed = [os.fsencode(path) for path in part if not self._ignore.ignored(path)]
            found += self._accepted(listed)
        return found

    def _accepted(self, names: Sequence[bytes]) -> list[str]:
        found: list[str] = []
        for name in names:
            try:
                found.append(accept(name, self._ignore))
            except Unreadable:
                continue
        return found


def within(root: Path, ignore: Ignore, directory: str) -> list[str]:
    """A directory and those in it, as far as files may come into the index there."""
    found, at = [directory], 0
    while at < len(found) < MOST_DIRECTORIES:
        try:
            with os.scandir(root / found[at]) as entries:
                names = [e.name for e in entries if e.is_dir(follow_symlinks=False)]
        except OSError:
            names = []
        inside = (f"{found[at]}/{name}" if found[at] else name for name in names if is_relative(name))
        found += [d for d in inside if not ignore.prunes(d) and ignore.rules.by_name(f"{d}/x") is None]
        at += 1
    return found
