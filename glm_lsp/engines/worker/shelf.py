"""The directory in which saved prompts lie: names, room, locks, and what `glm-lsp cache` shows of it.

Several workers and the command line use it at once. A file appears under its name only when all of it is on
the disk; what is being written has a name of its own and is locked by its writer, so that what a killed
writer has left is known and removed. Everything happens below an open directory of ours, and no link is
followed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import Collection, Generator
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.disk.store import default_directory, private_directory
from glm_lsp.engines.worker import kvfile

FREE_KEPT_BYTES = 2 << 30
FREE_KEPT_SHARE = 0.05
"""The smaller of the two stays free on the disk: a full one breaks more than this cache is worth."""
_NAME = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.kv")
_PART = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}\.kv\.[0-9a-f]{16}\.part")
_LOCK = "lock"


class NoRoom(Exception):  # noqa: N818 (reads as the state that it is)
    """Neither now nor by removing saved prompts is there room for a file. Nothing was removed.

    `disk`: the disk is too full; else others are writing what takes up all of the cap just now.
    """

    def __init__(self, disk: bool) -> None:
        super().__init__()
        self.disk = disk


@dataclass(frozen=True, slots=True)
class Lying:
    """A file as the directory tells it. `used` is when it was last written or loaded, in Unix seconds."""

    name: str
    size_bytes: int
    used: float


@dataclass(frozen=True, slots=True)
class Entry:
    """A saved prompt, by its head alone. `identity` is empty where that cannot be read."""

    name: str
    identity: str
    tokens: int
    size_bytes: int
    used: float


def default_shelf() -> Path:
    """Where workers save prompts."""
    return default_directory() / "kv"


def name_of(identity: str, tokens: bytes) -> str:
    """The file name of these tokens for this identity."""
    return f"{key_of(identity)}-{hashlib.blake2b(tokens, digest_size=16).hexdigest()}.kv"


def key_of(identity: str) -> str:
    """What the names of all files of an identity begin with; other versions of the format are others."""
    return hashlib.blake2b(f"{kvfile.VERSION}\n{identity}".encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def opened(directory: Path, *, make: bool = False) -> Generator[int]:
    """An open handle of the directory. Raises FileNotFoundError, or another OSError where it is not ours."""
    if os.name != "posix":
        raise FileNotFoundError(errno.ENOENT, "Prompts are not saved on this system", str(directory))
    if make:
        private_directory(directory)
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(handle)
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise PermissionError(
                errno.EPERM, "It is not a directory that only you can enter", str(directory)
            )
        yield handle
    finally:
        os.close(handle)


def open_file(directory: int, name: str) -> int:
    """Open for reading; never waiting for the other end of a pipe. Raises OSError, or Damaged for a link."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.ENXIO):
            raise kvfile.Damaged("it is no file") from error
        raise


def names(directory: int, key: str = "") -> list[str]:
    """The names of finished files, or of what lies in their place."""
    return [name for name in os.listdir(directory) if name.startswith(key) and _NAME.fullmatch(name)]


def lying(directory: int) -> list[Lying]:
    """Everything that takes room here, least recently used first; unfinished files count too."""
    now = time.time()
    found: list[Lying] = []
    for name in os.listdir(directory):
        if _NAME.fullmatch(name) or _PART.fullmatch(name):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                # A clock that was wrong once must not keep a file for ever.
                found.append(Lying(name, status.st_size, min(status.st_mtime, now)))
    return sorted(found, key=lambda file: file.used)


def reserve(
    directory: int, name: str, size_bytes: int, cap_bytes: int, superseded: Collection[str] = ()
) -> tuple[str, int]:
    """Make room for a file under the cap and on the disk, and begin it under a passing name.

    Returns that name and an open, locked handle. Raises NoRoom or OSError. If any files must go, those in
    `superseded` go first.
    """
    with locked(directory):
        remove_abandoned(directory)
        make_room(directory, size_bytes, cap_bytes, superseded)
        part = f"{name}.{secrets.token_hex(8)}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(part, flags, 0o600, dir_fd=directory)
        try:
            _lock(handle)
            # Others count it as what it will be, and a full disk shows itself before gigabytes are written.
            os.ftruncate(handle, size_bytes)
            if hasattr(os, "posix_fallocate"):
                try:
                    os.posix_fallocate(handle, 0, size_bytes)
                except OSError as error:
                    if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                        raise
        except BaseException:
            os.close(handle)
            remove(directory, part)
            raise
        return part, handle


def make_room(
    directory: int, need_bytes: int, cap_bytes: int, superseded: Collection[str] = ()
) -> list[Lying]:
    """Remove least recently used files until `need_bytes` fit; return what was removed. Raises NoRoom."""
    files = lying(directory)
    excess = sum(file.size_bytes for file in files) + need_bytes - cap_bytes
    disk = os.fstatvfs(directory)
    kept = min(FREE_KEPT_BYTES, int(disk.f_blocks * disk.f_frsize * FREE_KEPT_SHARE))
    lacking = need_bytes + kept - disk.f_bavail * disk.f_frsize if need_bytes else 0
    candidates = sorted((f for f in files if _NAME.fullmatch(f.name)), key=lambda f: f.name not in superseded)
    evictable = sum(file.size_bytes for file in candidates)
    if need_bytes and max(excess, lacking) > evictable:
        raise NoRoom(lacking > evictable)
    removed: list[Lying] = []
    freed = 0
    for file in candidates:
        if freed >= max(excess, lacking):
            break
        if remove(directory, file.name):
            removed.append(file)
            freed += file.size_bytes
    return removed


def remove(directory: int, name: str) -> bool:
    """Remove a file, or a link or pipe in its place; false if it is still there."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def remove_abandoned(directory: int) -> None:
    """Remove what killed writers have left: unfinished files that nobody holds locked. With the lock held."""
    for name in os.listdir(directory):
        if not _PART.fullmatch(name):
            continue
        try:
            handle = open_file(directory, name)
        except (OSError, kvfile.Damaged):
            remove(directory, name)
            continue
        try:
            if _lock(handle, wait=False):
                remove(directory, name)
        finally:
            os.close(handle)


@contextlib.contextmanager
def locked(directory: int) -> Generator[None]:
    """One process at a time; held for moments, never while data is written."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(_LOCK, flags, 0o600, dir_fd=directory)
    try:
        _lock(handle)
        yield
    finally:
        os.close(handle)


def entries(directory: Path) -> list[Entry]:
    """What is saved, most recently used first; no data is read or checked. Raises OSError."""
    found: list[Entry] = []
    try:
        with opened(directory) as handle:
            for file in lying(handle):
                identity, tokens = _facts(handle, file.name)
                found.append(Entry(file.name, identity, tokens, file.size_bytes, file.used))
    except FileNotFoundError:
        return []
    return found[::-1]


def clear(directory: Path) -> tuple[list[Lying], list[Lying]]:
    """Remove all saved prompts; return what was removed and what could not be. Raises OSError.

    A file that a worker is writing just now stays: it is not there yet.
    """
    try:
        with opened(directory) as handle, locked(handle):
            remove_abandoned(handle)
            files = [file for file in lying(handle) if _NAME.fullmatch(file.name)]
            gone = [remove(handle, file.name) for file in files]
    except FileNotFoundError:
        return [], []
    return (
        [file for file, was in zip(files, gone, strict=True) if was],
        [file for file, was in zip(files, gone, strict=True) if not was],
    )


def _facts(directory: int, name: str) -> tuple[str, int]:
    if not _NAME.fullmatch(name):
        return "", 0
    try:
        handle = open_file(directory, name)
    except (OSError, kvfile.Damaged):
        return "", 0
    try:
        head = kvfile.read_head(handle)
    except (OSError, kvfile.Damaged):
        return "", 0
    finally:
        os.close(handle)
    return head.identity, head.tokens


def _lock(handle: int, *, wait: bool = True) -> bool:
    import fcntl  # noqa: PLC0415 (there is none on Windows, where no prompt is saved)

    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
