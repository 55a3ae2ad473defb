"""What is known of the files on disk, and which of them must be looked at again.

Blocks, so all of it is called in a thread, one call at a time.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import tree_sitter

from glm_lsp.core.lazy import LazyOutline, Outlines
from glm_lsp.core.syntax.languages import OUTLINE_VERSION
from glm_lsp.core.values import FileOutline
from glm_lsp.workspace import encoding
from glm_lsp.workspace.discovery import Skipped
from glm_lsp.workspace.files import Unreadable, load
from glm_lsp.workspace.manifest import LeftOut, Manifest, State, recipe_of
from glm_lsp.workspace.names import Names
from glm_lsp.workspace.records import Records
from glm_lsp.workspace.rules import VERSION as RULES_VERSION
from glm_lsp.workspace.secrets import rules_version
from glm_lsp.workspace.stamps import Clock, Stat, stat_of

MOST_READ = 200
"""Files up to this number are compared with what was known by reading them here; more in other processes."""
LARGE_DELTA = 1000
ATTRIBUTES = ".gitattributes"
_NO_STATS: Mapping[str, Stat] = {}
_PASSING = ("cannot be read", "has an outline that cannot be read")
"""Reasons that the file's own times do not tell the end of."""


@dataclass(slots=True)
class Plan:
    """What is to be done about some paths."""

    kept: list[str] = field(default_factory=list[str])
    """Nothing: outline or reason stand."""
    todo: list[str] = field(default_factory=list[str])
    """To be outlined."""
    digests: dict[str, str] = field(default_factory=dict[str, str])
    """Of those to be outlined: the text whose outline is known."""
    stats: dict[str, Stat] = field(default_factory=dict[str, Stat])
    """Taken before anybody reads the files."""
    restated: int = 0
    """Files whose times have changed and whose text has not."""


class Known:
    """The state of the files of one repository, in memory and in the cache."""

    def __init__(
        self,
        root: Path,
        directory: Path,
        max_file_bytes: int,
        allowed: Collection[str],
        tell: Callable[[str], None],
        *,
        include: Collection[str] = (),
    ) -> None:
        self._root, self._max_file_bytes = root, max_file_bytes
        recipe = recipe_of(
            OUTLINE_VERSION,
            rules_version(allowed),
            max_file_bytes,
            sorted(allowed),
            _grammars(),
            RULES_VERSION,
            sorted(include),
        )
        self._manifest = Manifest(directory, root, recipe, tell)
        self._tell = tell
        self._state = State()
        self._base: Mapping[str, FileOutline] = {}
        self._names: Names | None = None
        self._spool: Records | None = None
        self._changed: set[str] = set()
        """Paths about which the base, or the delta, is not up to date."""
        self._unsaved = False
        self._full = False
        """That there is no room on the disk has been told."""
        self._trusted = True
        self._stamp: tuple[int, ...] | None = None
        self._clock = Clock.now()
        self._lock_handle = -1
        self._loaded = threading.Event()

    @property
    def saved(self) -> bool:
        """Whether anything is known, or may have been saved."""
        return bool(self._state.stats) or self._manifest.base_path.exists()

    def load(self, *, again: bool = False) -> None:
        """Read what was saved, the first time, or when another process has written since."""
        try:
            self._load(again)
        finally:
            self._loaded.set()

    def _load(self, again: bool) -> None:
        stamp = self._manifest.stamp()
        if self._stamp is not None and (not again or stamp == self._stamp):
            return
        self._stamp = stamp
        before = self._state.outlines
        self._state = state = self._manifest.load()
        for table in (state.base, state.outlines) if before else ():
            for path, outline in table.items():
                old = before.get(path)
                if old is not None and (old.digest, old.error) == (outline.digest, outline.error):
                    table[path] = old  # who holds it need not look again
        self._base = state.base
        self._names = Names(self._manifest.tables_path, state.binding) if state.binding else None
        now = Clock.now()
        self._trusted = not any(clock.jumped(now) for clock in state.clocks)
        self._changed = state.in_delta | {
            p
            for p in ({*state.base, *state.outlines} if before or state.in_delta else ())
            if state.base.get(p) is not state.outlines.get(p)
        }
        self._unsaved = False

    def sure(self) -> Collection[str]:
        """Files that were let through by the rules about names, if those are still the same."""
        self._loaded.wait()
        state, now_ns = self._state, time.time_ns()
        for path in state.stats:
            if path.endswith(ATTRIBUTES):
                seen = stat_of(self._root / path, now_ns)
                if seen is None or not state.stats[path].vouches(seen):
                    return ()
        return state.outlines.keys() | state.left.keys() if self._trusted else ()

    def outlines(self) -> Outlines:
        """The outlines of the files on disk."""
        base, now = self._base, self._state.outlines
        over = {p: now.get(p) for p in {**base, **now} if base.get(p) is not now.get(p)}
        made = Outlines(base, self._names)
        return made.changed({path: over[path] for path in sorted(over)}) if over else made

    def keep_only(self, paths: Collection[str]) -> None:
        """There are no other files."""
        there = frozenset(paths)
        self._drop([p for p in (*self._state.outlines, *self._state.left) if p not in there])

    def check(
        self, paths: Collection[str], *, whole: bool = False, stats: Mapping[str, Stat] = _NO_STATS
    ) -> Plan:
        """Compare files with what is known of them: by `stat`, then by their text.

        `stats`: what `stat` has just said of some of them. With `whole` there are no others. Where attributes
        have changed since, files are looked at again: what one says of itself may count now, or no more.
        """
        now = Clock.now()
        if self._clock.jumped(now):
            self._trusted = False
        self._clock = now
        plan, doubtful, state = Plan(), list[str](), self._state
        prefix, again = f"{self._root}/", self._attributed(paths) if whole else ()
        for path in paths:
            seen = stats.get(path) or stat_of(prefix + path, time.time_ns())
            if seen is not None:
                plan.stats[path] = seen
                before = state.stats.get(path)
                if path.startswith(again):
                    if path in state.outlines:
                        plan.digests[path] = self._digest(path)
                elif before is not None and self._trusted and before.vouches(seen):
                    plan.kept.append(path)
                    continue
                elif self._digest(path):
                    doubtful.append(path)
                    continue
            plan.todo.append(path)
        if len(doubtful) <= MOST_READ:
            for path in doubtful:
                if self._reads_as(path) == self._digest(path):
                    self._restate(path, plan.stats[path])
                    plan.kept.append(path)
                    plan.restated += 1
                else:
                    plan.todo.append(path)
        else:
            plan.todo += [path for path in doubtful if path in state.left]
            known = {path: self._digest(path) for path in doubtful if path in state.outlines}
            plan.digests |= known
            plan.todo += known
        plan.todo.sort()
        return plan

    def _attributed(self, paths: Collection[str]) -> tuple[str, ...]:
        """How the paths begin to which attributes apply that have changed, come or gone."""
        now = {path for path in paths if path.endswith(ATTRIBUTES)}
        known = {path for path in (*self._state.outlines, *self._state.left) if path.endswith(ATTRIBUTES)}
        changed = now ^ known
        changed |= {path for path in now & known if self._reads_as(path) != self._digest(path)}
        return tuple(path.removesuffix(ATTRIBUTES) for path in changed)

    def _digest(self, path: str) -> str:
        """Of the text that is known; empty where nothing is."""
        outline, left = self._state.outlines.get(path), self._state.left.get(path)
        return outline.digest if outline is not None else left.digest if left is not None else ""

    def _reads_as(self, path: str) -> str:
        try:
            return load(self._root, path, self._max_file_bytes, links=False, look=False).digest
        except Unreadable:
            return ""

    def _restate(self, path: str, seen: Stat) -> None:
        self._state.stats[path] = seen
        self._touch(path)

    def _touch(self, path: str) -> None:
        self._changed.add(path)
        self._unsaved = True

    def same(self, path: str, seen: Stat | None) -> None:
        """The file has the text that is known."""
        if seen is not None:
            self._restate(path, seen)

    def add(self, path: str, data: bytes, first: encoding.Facts, seen: Stat | None) -> FileOutline:
        """Take the record of a file that was read after `seen`."""
        if self._spool is None:
            self._spool = Records.spool(self._manifest.directory)
        row = self._spool.add(data)
        if self._spool.problem and not self._full:
            self._full = self._manifest.full = True
            self._tell(
                f"The index of {self._root} has no room on the disk ({self._spool.problem}) and stays in "
                "memory; the next start takes longer."
            )
        state = self._state
        outline = state.outlines[path] = self._spool.outline(path, row, first)
        state.counts[path] = (first.symbols, first.references)
        state.left.pop(path, None)
        self._seen(path, seen)
        return outline

    def leave(self, skipped: Skipped, seen: Stat | None) -> None:
        """The file has no outline."""
        path = skipped.path
        self._state.outlines.pop(path, None)
        lasting = not skipped.reason.startswith(_PASSING)
        digest = self._reads_as(path) if seen is not None and lasting else ""
        self._state.left[path] = LeftOut(skipped.reason, digest)
        self._seen(path, seen if lasting else None)

    def _seen(self, path: str, seen: Stat | None) -> None:
        if seen is None:
            self._state.stats.pop(path, None)
        else:
            self._state.stats[path] = seen
        self._touch(path)

    def drop(self, paths: Iterable[str]) -> None:
        """The files are gone, or not to be read any more."""
        self._drop([p for p in paths if p in self._state.outlines or p in self._state.left])

    def _drop(self, paths: Sequence[str]) -> None:
        for path in paths:
            for table in (self._state.outlines, self._state.left, self._state.stats):
                table.pop(path, None)
            self._touch(path)

    def below(self, directory: str) -> list[str]:
        """The known files of a directory."""
        prefix = f"{directory}/" if directory else ""
        return [p for p in (*self._state.outlines, *self._state.left) if p.startswith(prefix)]

    def reason(self, path: str) -> str:
        """Why a file has no outline; empty where it has one."""
        left = self._state.left.get(path)
        return left.reason if left is not None else ""

    def counts(self, path: str) -> tuple[int, int]:
        """Symbols and references of a file."""
        return self._state.counts.get(path, (0, 0))

    def outline(self, path: str) -> FileOutline | None:
        return self._state.outlines.get(path)

    def damaged(self) -> list[str]:
        """Files whose records turned out to be damaged: forgotten, to be outlined again."""
        bad = {id(pack): pack.damaged for pack in self._packs if pack is not None and pack.damaged}
        found = [
            path
            for path, outline in self._state.outlines.items()
            if isinstance(outline, LazyOutline) and outline.row in bad.get(id(outline.records), ())
        ]
        self.drop(found)
        for pack in self._packs:
            if pack is not None:
                pack.damaged = set()
        self._manifest.distrust()
        self._stamp = None if self._stamp is None else self._manifest.stamp()
        self._state.binding = ""
        return found

    def save(self) -> None:
        """Write what has changed: a delta, or everything where much has."""
        if not self._unsaved:
            return
        state, clock = self._state, Clock.now()
        whole = (
            not state.binding
            or not self._trusted
            or len(self._changed) > max(LARGE_DELTA, len(self._base) // 5)
        )
        if not whole:
            there = [p for p in self._changed if p in state.outlines or p in state.left]
            gone = [p for p in self._changed if p not in state.outlines and p not in state.left]
            whole = not self._manifest.save_delta(state, there, gone, state.binding, clock)
        if whole:
            state.outlines = {path: state.outlines[path] for path in sorted(state.outlines)}
            binding, written = self._manifest.save(state, clock)
            state.binding = binding
            self._base = {path: state.outlines[path] for path in written} if binding else dict(state.outlines)
            self._names = Names(self._manifest.tables_path, binding) if binding else None
            self._changed = {path for path in state.outlines if path not in self._base}
            self._trusted = True
        self._stamp = self._manifest.stamp()
        self._unsaved = False

    @property
    def suspect(self) -> bool:
        """Whether a record turned out to be damaged."""
        return any(pack is not None and pack.damaged for pack in self._packs)

    @property
    def _packs(self) -> tuple[Records | None, ...]:
        return self._state.records, self._state.delta, self._spool

    def close(self) -> None:
        """Keep what has changed since it was saved last."""
        if self._stamp is not None:
            self.save()

    def take_turn(self) -> bool:
        """Be the one process that indexes this repository; False while another one does."""
        if self._manifest.directory is None or self._lock_handle >= 0:
            return True
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(self._manifest.lock_path, flags, 0o600)
        except OSError:
            return True  # nothing can be shared
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError:
            os.close(handle)
            return True
        self._lock_handle = handle
        return True

    def end_turn(self) -> None:
        """Let others."""
        handle, self._lock_handle = self._lock_handle, -1
        if handle >= 0:
            os.close(handle)


@cache
def _grammars() -> tuple[str, ...]:
    """The versions of the grammars, without loading them: the names under which they are installed."""
    home = Path(tree_sitter.__file__).parents[1]
    return tuple(sorted(p.name for p in home.iterdir() if p.match("tree_sitter*.dist-info")))
