"""Write changes to the files of a repository: recoverable, all or nothing.

Plan in memory; keep the old contents and journal the intent with the hashes before and after; write new
files next to the old ones; look again that nothing moved; replace one by one; look again; mark as done. Each
step is flushed before the next. Whatever stops it, the next run has the journal put the files back as they
were, or finds that all of them had arrived, before it writes anything.

Byte order mark, mode and owner stay. A link inside the root is written through; one that leads out is
refused. A file with other hard links is replaced under this name alone, which the report says: the other name
may lie anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core import text
from glm_lsp.core.edits import apply_edits
from glm_lsp.core.errors import ConflictError, PolicyError
from glm_lsp.core.patch import Patch, patch
from glm_lsp.core.paths import shown_path
from glm_lsp.core.values import Change, Document
from glm_lsp.disk import atomic
from glm_lsp.workspace.files import Unreadable, as_text, check_name
from glm_lsp.workspace.journal import OLD, clear, home_of, locked, mark, put_right, restore
from glm_lsp.workspace.places import PathRefused, Place, beside, locate

BOM = b"\xef\xbb\xbf"
Step = Callable[[str], None]


def no_step(name: str) -> None:
    """What happens between two steps: nothing. Tests stop the process there."""


@dataclass(frozen=True, slots=True)
class ApplyReport:
    """What has been written. With `rolled_back`, nothing: `reason` is a sentence that says why."""

    written: tuple[str, ...] = ()
    rolled_back: bool = False
    reason: str = ""
    notes: tuple[str, ...] = ()
    recovered: tuple[str, ...] = ()
    """Files that an interrupted run had half written, now as they were before it."""


@dataclass(slots=True)
class _Target:
    """One file of a transaction: raw bytes before and after, and the status they were read under."""

    place: Place
    change: Change
    before: bytes
    after: bytes
    status: os.stat_result
    new: str
    """Name of the new file beside it."""

    def check(self) -> None:
        """Raises ConflictError unless the file is still the one that was read."""
        try:
            now = self.place.status()
            same = (now.st_dev, now.st_ino, now.st_size) == (
                *(self.status.st_dev, self.status.st_ino, self.status.st_size),
            ) and self.place.read() == self.before
        except OSError:
            same = False
        if not same:
            raise ConflictError(f"{shown_path(self.place.path)} changed while it was edited; run again.")


def apply(
    root: Path, changes: Sequence[Change], *, state: Path | None = None, step: Step = no_step
) -> ApplyReport:
    """Make all of `changes`, or none.

    Raises ConflictError if a file is not the one that its change was made for, or somebody else is writing;
    PolicyError for a path that must not be written. A failure of the disk is a report with `rolled_back`.
    """
    root = root.resolve()
    home = home_of(root, state)
    with locked(home):
        recovered = put_right(root, home)
        targets: list[_Target] = []
        try:
            for change in changes:
                targets.append(_target(root, change))  # noqa: PERF401 (on an error, those so far are closed)
            paths = [t.place.path for t in targets]
            if len(set(paths)) < len(paths):
                raise ConflictError("Two changes lead to the same file; propose them as one.")
            return _commit(home, targets, recovered, step) if targets else ApplyReport(recovered=recovered)
        finally:
            for target in targets:
                target.place.close()


def _target(root: Path, change: Change) -> _Target:
    shown = shown_path(change.path)
    try:
        check_name(change.path)
        place = locate(root, change.path)
    except PathRefused as error:
        raise PolicyError(f"Nothing was written: {error}") from None
    except Unreadable as error:
        kind = PolicyError if error.kind == "policy" else ConflictError
        raise kind(f"Nothing was written: {shown} {error.reason}.") from None
    try:
        check_name(place.path)
        status = place.status()
        before = place.read()
        content = as_text(before)
        if text.digest(content) != change.base_digest:
            raise ConflictError(
                f"Nothing was written: {shown} changed since it was read, by another run or by hand; "
                "run again."
            )
        after = before[: len(before) - len(content)] + apply_edits(content, change.edits)
    except BaseException as error:
        place.close()
        if isinstance(error, (Unreadable, OSError, ValueError)):
            raise ConflictError(f"Nothing was written: {shown} cannot be edited: {error}.") from None
        raise
    return _Target(place, change, before, after, status, beside(place.name))


def _commit(home: Path, targets: Sequence[_Target], recovered: tuple[str, ...], step: Step) -> ApplyReport:
    """The transaction itself; the lock is held, and every file was found as expected."""
    replaced: list[_Target] = []
    try:
        for number, target in enumerate(targets):
            atomic.write(home / f"{number}.old", target.before)
            step(f"kept {number}")
        mark(home, "prepared", targets)
        step("prepared")
        for number, target in enumerate(targets):
            target.place.write_beside(target.new, target.after, target.status)
            step(f"written {number}")
        for target in targets:
            target.check()
        mark(home, "replacing", targets)
        step("replacing")
        for number, target in enumerate(targets):
            target.check()
            replaced.append(target)
            target.place.take(target.new)
            step(f"replaced {number}")
        for target in targets:
            if target.place.read() != target.after:
                raise ConflictError(
                    f"{shown_path(target.place.path)} was written by somebody else meanwhile."
                )
        mark(home, "done", targets)
        step("done")
    except BaseException as error:
        unresolved = _back(replaced)
        for target in targets:
            target.place.discard(target.new)
            target.place.discard(target.new + OLD)
        if unresolved:
            names = ", ".join(map(shown_path, unresolved))
            raise ConflictError(
                f"The disk failed ({error}), and {names} could not be put back; "
                "the old contents are kept: run again when the disk can be written."
            ) from error
        clear(home)
        if isinstance(error, OSError):
            reason = f"The disk refused ({error.strerror or error}); every file is as it was."
            return ApplyReport(rolled_back=True, reason=reason, recovered=recovered)
        raise
    clear(home)
    linked = (t for t in targets if t.status.st_nlink > 1)
    notes = tuple(
        f"{shown_path(t.place.path)} had other hard links; they keep the old content." for t in linked
    )
    return ApplyReport(tuple(t.change.path for t in targets), notes=notes, recovered=recovered)


def _back(replaced: Sequence[_Target]) -> list[str]:
    """Put back what was replaced; the files for which that failed. What somebody else wrote since is left."""
    unresolved: list[str] = []
    for target in reversed(replaced):
        try:
            if target.place.read() == target.after != target.before:
                restore(target.place, target.new, target.before, target.status)
        except OSError:
            unresolved.append(target.place.path)
    return unresolved


def moved(root: Path, changes: Sequence[Change]) -> frozenset[str]:
    """The paths of `changes` whose files are not any more the ones that the changes were made for."""
    found: set[str] = set()
    for change in changes:
        try:
            _target(root.resolve(), change).place.close()
        except ConflictError:
            found.add(change.path)
        except PolicyError:  # `apply` says what is wrong
            continue
    return frozenset(found)


def unified_diff(source: Path | Mapping[str, Document], changes: Sequence[Change]) -> str:
    """The changes as `git apply` takes them; see `patches`."""
    return "".join(made.text for made in patches(source, changes).values())


def patches(
    source: Path | Mapping[str, Document], changes: Sequence[Change], allowed: Collection[str] = ()
) -> dict[str, Patch]:
    """The changes as `git apply` takes them, by path. `source` is a root, or the documents by path.

    No secret is shown (`core.patch`). Otherwise content stands as it is: whoever prints it on a terminal
    escapes it first. Raises ConflictError for a file that is not the one its change was made for.
    """
    made: dict[str, Patch] = {}
    for change in changes:
        if isinstance(source, Path):
            target = _target(source.resolve(), change)
            target.place.close()
            content = target.before.removeprefix(BOM)
            made[change.path] = patch(Document(change.path, content, change.base_digest, ""), change, allowed)
        else:
            made[change.path] = patch(source[change.path], change, allowed)
    return made
