"""The journal of a transaction: what is being written to a repository, and how it is put right.

It lies in the user's state directory, one folder per root, with the old contents beside it; nothing in a
repository can forge one. Whoever holds the folder's lock is the only one who writes to that root.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from glm_lsp.core.errors import ConfigError, ConflictError
from glm_lsp.disk import atomic
from glm_lsp.workspace.files import Unreadable
from glm_lsp.workspace.places import PathRefused, Place, locate

OLD = ".old"
"""What the name of a new file gets at its end while old contents are put back by way of it."""


class Target(Protocol):
    """A file of a transaction, as the journal tells of it."""

    @property
    def place(self) -> Place: ...

    @property
    def new(self) -> str: ...

    @property
    def before(self) -> bytes: ...

    @property
    def after(self) -> bytes: ...


def recover(root: Path, *, state: Path | None = None) -> tuple[str, ...]:
    """Put right what an interrupted run left behind; the files that were put back. Raises ConflictError."""
    root = root.resolve()
    home = home_of(root, state)
    if not pending(root, state=state):
        return ()
    with locked(home):
        return put_right(root, home)


def pending(root: Path, *, state: Path | None = None) -> bool:
    """Whether a run on this root was interrupted (or is under way)."""
    home = home_of(root.resolve(), state)
    return (home / "journal.json").exists()


def busy(root: Path, *, state: Path | None = None) -> str:
    """A sentence where somebody else is writing to this root at this moment; else empty."""
    try:
        with locked(home_of(root.resolve(), state)):
            return ""
    except ConflictError as error:
        return str(error)


def state_directory() -> Path:
    """Where journals are kept: `GLM_LSP_STATE`, else the user's state directory."""
    if given := os.environ.get("GLM_LSP_STATE"):
        return Path(given).absolute()
    import platformdirs  # noqa: PLC0415 (costs every start otherwise)

    return Path(platformdirs.user_state_dir("glm-lsp", appauthor=False))


def home_of(root: Path, state: Path | None = None) -> Path:
    """The folder of the journal for a (resolved) root; it need not exist."""
    key = hashlib.blake2b(os.fsencode(root), digest_size=12).hexdigest()
    return (state or state_directory()) / "transactions" / key


@contextlib.contextmanager
def locked(home: Path) -> Generator[None, None, None]:
    """One writer per root at a time."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(
            f"The journal of what is written cannot be kept in {home} ({error.strerror or error}), so no "
            "file was touched; set GLM_LSP_STATE to a directory of your own."
        ) from None
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConflictError("Another glm-lsp is writing to this repository; wait for it.") from None
        yield
    finally:
        os.close(handle)


def mark(home: Path, state: str, targets: Sequence[Target]) -> None:
    """Write the journal: what is going on, and how to tell old from new."""
    files = [
        {
            "path": t.place.path,
            "new": t.new,
            "before": hashlib.sha256(t.before).hexdigest(),
            "after": hashlib.sha256(t.after).hexdigest(),
        }
        for t in targets
    ]
    atomic.write(home / "journal.json", json.dumps({"state": state, "files": files}).encode())


def clear(home: Path) -> None:
    """Forget a transaction: the journal first, for without it the rest means nothing."""
    with contextlib.suppress(OSError):
        (home / "journal.json").unlink(missing_ok=True)
        atomic.sync_directory(home)
        for path in home.iterdir():
            if path.name != "lock":
                path.unlink()


def put_right(root: Path, home: Path) -> tuple[str, ...]:
    """Finish what the journal tells of. Raises ConflictError where a file cannot be put back."""
    journal = home / "journal.json"
    if not journal.exists():
        clear(home)
        return ()
    try:
        told: dict[str, Any] = json.loads(journal.read_bytes())
        state = str(told["state"])
        files = [[str(f[key]) for key in ("path", "new", "before", "after")] for f in told["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConflictError(
            f"The journal {journal} cannot be read ({error}); look at it, then remove it."
        ) from None
    found = [_Recovered.of(root, home, number, entry) for number, entry in enumerate(files)]
    try:
        complete = all(f.now == f.after for f in found)
        edited = [f for f in found if state == "replacing" and not complete and f.edited]
        kept = _keep(home, edited)
        restored: list[str] = []
        for file in found:
            if file.place is None:
                continue
            file.place.discard(file.new)
            file.place.discard(file.new + OLD)
            if state == "replacing" and not complete and file.now == file.after != file.before:
                restore(file.place, file.new, file.old(), file.place.status())
                restored.append(file.place.path)
    except OSError as error:
        raise ConflictError(
            f"An interrupted run could not be put right ({error.strerror or error}); "
            f"the old contents are in {home}."
        ) from None
    finally:
        for file in found:
            if file.place is not None:
                file.place.close()
    clear(home)
    if edited:
        names = ", ".join(f.path for f in edited)
        back = f" Put back: {', '.join(restored)}." if restored else ""
        raise ConflictError(
            f"An earlier run was interrupted while it wrote, and {names} changed since: left as it is now, "
            f"with that run's change in it; its text from before that run is in {kept}.{back} "
            "Look at it, then run this again."
        )
    return tuple(restored)


def _keep(home: Path, files: Sequence[_Recovered]) -> Path:
    """Copies of the old contents of files that somebody edited after an interrupted run."""
    kept = home.with_name(f"{home.name}-kept")
    for file in files:
        kept.mkdir(mode=0o700, exist_ok=True)
        (kept / file.path.replace("/", "__")).write_bytes(file.old())
    return kept


@dataclass(slots=True)
class _Recovered:
    """A file of an interrupted transaction; `place` is None where it is gone. Hashes are sha256."""

    path: str
    place: Place | None
    new: str
    before: str
    after: str
    now: str
    kept: Path

    @property
    def edited(self) -> bool:
        """Somebody changed it after the run replaced it."""
        return self.place is not None and self.now not in (self.before, self.after, "")

    def old(self) -> bytes:
        """The contents to put back. Raises OSError unless they are the ones that the journal means."""
        data = self.kept.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.before:
            raise OSError(f"{self.kept} is damaged")
        return data

    @classmethod
    def of(cls, root: Path, home: Path, number: int, entry: Sequence[str]) -> _Recovered:
        path, new, before, after = entry
        place: Place | None = None
        now = ""
        with contextlib.suppress(OSError, Unreadable, PathRefused):
            place = locate(root, path)
            now = hashlib.sha256(place.read()).hexdigest()
        return cls(path, place, new, before, after, now, home / f"{number}.old")


def restore(place: Place, new: str, data: bytes, like: os.stat_result) -> None:
    """Put old contents back, by way of a file whose name the journal gives, so that it is found again."""
    name = new + OLD
    place.discard(name)
    place.write_beside(name, data, like)
    place.take(name)
