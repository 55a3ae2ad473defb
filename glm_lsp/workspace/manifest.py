"""What is known of a repository from one run to the next: outlines, and the files that they were made of.

Two files below the cache directory: the base holds everything, the delta what has changed since. Each is
written anew and put in place at once, and its checksums are checked before anything in it is believed: what
cannot be read is renamed away, and made again. A file's own digest decides; what `stat` says stands for it
only where it cannot be mistaken (`Stat.vouches`).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import tempfile
import time
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glm_lsp.core.lazy import LazyOutline
from glm_lsp.core.values import FileOutline
from glm_lsp.disk.places import Refused, private_directory
from glm_lsp.workspace.encoding import VERSION
from glm_lsp.workspace.records import CHECK_BYTES, Records
from glm_lsp.workspace.saved import MAGIC, Damaged, Head, Rows, encode, opened, read_head, stats_of
from glm_lsp.workspace.stamps import Clock, Stat

STALE_S = 3600


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file without an outline: why, and the digest of its text where it was read."""

    reason: str
    digest: str = ""


@dataclass(slots=True)
class State:
    """What is known of the files on disk, by path."""

    outlines: dict[str, FileOutline] = field(default_factory=dict[str, FileOutline])
    left: dict[str, LeftOut] = field(default_factory=dict[str, LeftOut])
    stats: dict[str, Stat] = field(default_factory=dict[str, Stat])
    counts: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Numbers of symbols and references."""
    binding: str = ""
    """Which base this is; empty: none has been written."""
    clocks: list[Clock] = field(default_factory=list[Clock])
    base: dict[str, FileOutline] = field(default_factory=dict[str, FileOutline])
    """The outlines of the base alone."""
    in_delta: set[str] = field(default_factory=set[str])
    """Paths of which the delta says something."""
    records: Records | None = None
    """Those of the base."""
    delta: Records | None = None


@dataclass(frozen=True, slots=True)
class _Content:
    """What goes into one file."""

    rows: Sequence[tuple[str, FileOutline]]
    state: State
    left: Mapping[str, LeftOut]
    removed: Iterable[str]
    binding: str
    clock: Clock


class Manifest:
    """The files of one repository and recipe. Every method blocks."""

    def __init__(self, directory: Path, root: Path, recipe: str, tell: Callable[[str], None]) -> None:
        """`recipe`: what outlines depend on besides the files. `tell` is given sentences for the user."""
        self._root, self._recipe, self._tell = root, recipe, tell
        self._told: set[str] = set()
        self.full = False
        """Whether the user knows already that the disk has no room for this index."""
        home = hashlib.blake2b(os.fsencode(root), digest_size=12).hexdigest()
        self.directory: Path | None = directory
        try:
            private_directory(directory)
        except (OSError, Refused) as error:
            why = (error.strerror or "system error").lower() if isinstance(error, OSError) else str(error)
            self._say(f"The index of {root} is not kept in {directory}: {why}.")
            self.directory = None
        self.base_path = directory / f"{home}.base"
        self.delta_path = directory / f"{home}.delta"
        self.tables_path = directory / f"{home}.names"
        self.lock_path = directory / f"{home}.lock"

    def stamp(self) -> tuple[int, ...]:
        """Another value when another process has written."""
        found: list[int] = []
        for path in (self.base_path, self.delta_path):
            try:
                status = path.lstat()
                found += (status.st_ino, status.st_mtime_ns)
            except OSError:
                found += (0, 0)
        return tuple(found)

    def load(self) -> State:
        """What was written last; empty where nothing was, or nothing that can be used."""
        state = State()
        if self.directory is None:
            return state
        base = self._opened(self.base_path)
        if base is None:
            return state
        head, records, rows = base
        _take(state, head, rows)
        state.binding, state.records, state.base = head.binding, records, dict(state.outlines)
        delta = self._opened(self.delta_path, head.binding)
        if delta is not None:
            for path in delta[0].removed:
                for table in (state.outlines, state.left, state.stats):
                    table.pop(path, None)
            _take(state, delta[0], delta[2])
            state.delta = delta[1]
            state.in_delta = {*delta[0].removed, *delta[0].paths, *delta[0].left}
        return state

    def distrust(self) -> None:
        """A record was damaged: rename the base away."""
        if os.path.lexists(self.base_path):
            self._set_aside(self.base_path, "is damaged")

    def save(self, state: State, clock: Clock) -> tuple[str, list[str]]:
        """Write a new base. Binding and files of what was written; nothing where it could not be."""
        rows = [(path, o) for path, o in state.outlines.items() if path in state.stats]
        binding = hashlib.blake2b(
            encode([(path, o.digest, o.error) for path, o in rows]), digest_size=16
        ).hexdigest()
        before = self._binding_there()
        written = self._write(self.base_path, _Content(rows, state, state.left, (), binding, clock))
        if written is None:
            return "", []
        with contextlib.suppress(OSError):
            self.delta_path.unlink(missing_ok=True)
            if binding != before:
                self.tables_path.unlink(missing_ok=True)
        return binding, written

    def save_delta(
        self, state: State, changed: Iterable[str], removed: Iterable[str], binding: str, clock: Clock
    ) -> bool:
        """Write what differs from the base that `binding` names; False where it is there no more."""
        if self._binding_there() != binding:
            return False
        changed = sorted(changed)
        rows = [(p, state.outlines[p]) for p in changed if p in state.outlines and p in state.stats]
        left = {p: state.left[p] for p in changed if p in state.left}
        content = _Content(rows, state, left, sorted(removed), binding, clock)
        return self._write(self.delta_path, content) is not None

    def _binding_there(self) -> str:
        try:
            handle = os.open(self.base_path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""
        try:
            return read_head(handle)[0].binding
        except (Damaged, OSError):
            return ""
        finally:
            os.close(handle)

    def _opened(self, path: Path, binding: str = "") -> tuple[Head, Records, Rows] | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            return self._set_aside(path, (error.strerror or "cannot be opened").lower())
        keep = False
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                raise Damaged("is not a file of yours")
            head, end = read_head(handle)
            if head.recipe != self._recipe or (binding and head.binding != binding):
                return None
            records, rows = opened(handle, head, end)
            keep = True
            return head, records, rows
        except (Damaged, OSError, ValueError) as error:
            return self._set_aside(path, str(error))
        finally:
            if not keep:
                with contextlib.suppress(OSError):
                    os.close(handle)

    def _set_aside(self, path: Path, why: str) -> None:
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
        self._say(
            f"The saved index of {self._root} {why}: it was renamed to {aside} and is made again; "
            "nothing is lost but time."
        )

    def _write(self, path: Path, content: _Content) -> list[str] | None:
        """The files that were written; None where it failed, which the user is told."""
        if self.directory is None:
            return None
        name = ""
        self._sweep()
        try:
            handle, name = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=self.directory)
            with os.fdopen(handle, "wb") as file:
                written = _Writer(file.write).write(content, self._recipe)
            Path(name).replace(path)
            return written
        except OSError as error:
            with contextlib.suppress(OSError):
                if name:
                    Path(name).unlink()
            if not (self.full and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
                self._say(
                    f"The index of {self._root} cannot be kept in {self.directory}: "
                    f"{(error.strerror or 'system error').lower()}; the next start takes longer."
                )
            return None

    def _sweep(self) -> None:
        """Remove what processes that were killed have left behind."""
        with contextlib.suppress(OSError):
            for part in self.base_path.parent.glob(f"{self.base_path.stem}.*.part"):
                if time.time() - part.lstat().st_mtime > STALE_S:
                    part.unlink()

    def _say(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._tell(sentence)


class _Writer:
    """One file: magic, where the head lies, the records, the head.

    The place of the head stands at the end, so that the file is written in one go.
    """

    def __init__(self, write: Callable[[bytes], object]) -> None:
        self._write, self._end = write, 0
        self._sum = hashlib.blake2b(digest_size=16)

    def write(self, content: _Content, recipe: str) -> list[str]:
        state = content.state
        self._put(MAGIC)
        offsets, lengths, checks, stats = array("Q"), array("I"), bytearray(), array("q")
        paths: list[str] = []
        facts: list[tuple[str, str, int, int, str, int, int]] = []
        project: dict[int, list[tuple[str, ...]]] = {}
        held: dict[int, list[tuple[int, int, str, int]]] = {}
        for path, outline in content.rows:
            if not isinstance(outline, LazyOutline) or not isinstance(outline.records, Records):
                continue
            records, row = outline.records, outline.row
            data = records.record(row)
            if data is None:
                continue
            number = len(paths)
            paths.append(path)
            counts = state.counts.get(path, (0, 0))
            o = outline
            facts.append((o.digest, o.language, o.size_bytes, o.lines, o.error, *counts))
            if outline.project:
                project[number] = list(outline.project)
            if outline.held:
                held[number] = [(h.span.start, h.span.end, h.kind, h.line) for h in outline.held]
            offsets.append(self._end)
            lengths.append(len(data))
            checks += records.checks[CHECK_BYTES * row : CHECK_BYTES * (row + 1)]
            stats.extend(state.stats[path])
            self._sum.update(data)
            self._put(data)
        left_stats = array("q")
        kept = {p: x for p, x in content.left.items() if p in state.stats}
        for path in kept:
            left_stats.extend(state.stats[path])
        head = encode(
            Head(
                recipe=recipe,
                binding=content.binding,
                clock=content.clock,
                records=self._sum.digest(),
                paths=paths,
                facts=facts,
                project=project,
                held=held,
                offsets=offsets.tobytes(),
                lengths=lengths.tobytes(),
                checks=bytes(checks),
                stats=stats.tobytes(),
                left={p: (x.reason, x.digest) for p, x in kept.items()},
                left_stats=left_stats.tobytes(),
                removed=list(content.removed),
            )
        )
        at = self._end
        self._put(head)
        place = at.to_bytes(8, "little") + len(head).to_bytes(8, "little")
        self._put(place + hashlib.blake2b(place + head, digest_size=32).digest())
        return paths

    def _put(self, data: bytes) -> None:
        self._write(data)
        self._end += len(data)


def _take(state: State, head: Head, rows: Rows) -> None:
    state.clocks.append(head.clock)
    if state.left:
        for path in rows.outlines:
            state.left.pop(path, None)
    state.outlines |= rows.outlines
    state.stats |= rows.stats
    state.counts |= rows.counts
    for (path, (reason, digest)), seen in zip(head.left.items(), stats_of(head.left_stats), strict=True):
        state.left[path] = LeftOut(reason, digest)
        state.stats[path] = seen
        state.outlines.pop(path, None)


def recipe_of(*parts: object) -> str:
    """Another text where any of the parts, or the form of records, is another one."""
    return hashlib.blake2b(repr((VERSION, parts)).encode(), digest_size=16).hexdigest()
