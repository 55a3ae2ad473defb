"""A cache on disk: bytes by string keys, kept below the user's cache directory.

The floor is diskcache without its pickles. What lies on the disk is not trusted: an entry whose mode, key,
file name or checksum is not exactly what this module writes is an entry that is not there; a database that
cannot be read, or whose settings are not ours, is renamed away and a new one begun. Losing an entry is never
an error.
"""

# pyright: reportMissingTypeStubs=false, reportIncompatibleMethodOverride=false, reportUnknownMemberType=false

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import sqlite3
import stat
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
from diskcache import Cache, Disk, Timeout

from glm_lsp.disk.places import CACHE_VARIABLE, Refused, default_directory, private_directory

__all__ = ["CACHE_VARIABLE", "Refused", "Store", "default_directory", "private_directory"]

SIZE_LIMIT_BYTES = 1 << 30
_FILE_NAME = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_MODE_RAW, _MODE_BINARY = 1, 2
CULL = 10
"""So many entries make room at a time, besides one for each that comes."""
_SETTINGS: dict[str, int | str] = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",
    "size_limit": SIZE_LIMIT_BYTES,
    "cull_limit": CULL,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 2048,
    "sqlite_journal_mode": "wal",
    # A mapped file that shrinks, or a disk that fails, is a signal that ends the process; a read is an error.
    "sqlite_mmap_size": 0,
    "sqlite_synchronous": 1,
    "disk_min_file_size": 1 << 15,
    "disk_pickle_protocol": 0,
}
_COUNTERS = frozenset({"count", "size", "hits", "misses"})


class _Envelope(msgspec.Struct, array_like=True, frozen=True):
    """What stands in the database or the file: the checksum binds the value to its key."""

    checksum: bytes
    value: bytes


_decode = msgspec.msgpack.Decoder(_Envelope).decode
_encode = msgspec.msgpack.Encoder().encode


class _PlainDisk(Disk):
    """Only string keys and bytes; nothing is ever unpickled and no file outside the directory is touched."""

    def put(self, key: Any) -> tuple[str, bool]:
        if not isinstance(key, str):
            raise Refused("keys are strings")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        if not raw or not isinstance(key, str):
            raise Refused("a key that is no string")
        return key

    def store(
        self, value: Any, read: bool, key: Any = None
    ) -> tuple[int, int, str | None, memoryview | None]:
        if read or not isinstance(value, bytes):
            raise Refused("values are bytes")
        if len(value) < self.min_file_size:
            return 0, _MODE_RAW, None, memoryview(value)
        name, path = self.filename()
        for part in (Path(path).parent.parent, Path(path).parent):
            part.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(value)
        return len(value), _MODE_BINARY, name, None

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        if read:
            raise Refused("values are bytes")
        if mode == _MODE_RAW and filename is None and isinstance(value, bytes):
            return value
        if (
            mode == _MODE_BINARY
            and value is None
            and isinstance(filename, str)
            and _FILE_NAME.fullmatch(filename)
        ):
            return self._read(filename)
        raise Refused("an entry of a mode that is not ours")

    def _read(self, filename: str) -> bytes:
        directory = os.open(cast("str", self._directory), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            *parents, name = filename.split("/")
            for part in parents:
                below = os.open(
                    part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory
                )
                os.close(directory)
                directory = below
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            with os.fdopen(os.open(name, flags, dir_fd=directory), "rb") as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Refused("a value that is no file")
                return file.read()
        finally:
            os.close(directory)

    def remove(self, file_path: Any) -> None:
        # Eviction deletes by the name in the row: only names that we make are deleted.
        if isinstance(file_path, str) and _FILE_NAME.fullmatch(file_path):
            super().remove(file_path)


class Store:
    """Bytes by key. Safe for several threads and processes at once; every method may block for a moment.

    Where the directory cannot be used (another owner, read-only, full) the store is simply empty:
    `problem` says why.
    """

    def __init__(self, directory: Path, size_limit_bytes: int = SIZE_LIMIT_BYTES) -> None:
        self.directory = directory
        self.problem = ""
        self._settings = {**_SETTINGS, "size_limit": size_limit_bytes}
        self._cache: Any = None
        self._open()

    @property
    def count(self) -> int:
        """The number of entries."""
        found = 0
        with self._guard():
            found = len(self._cache) if self._cache is not None else 0
        return found

    def get(self, key: str) -> bytes | None:
        """The value, or None if there is none that we wrote under this key."""
        found: Any = None
        with self._guard():
            found = self._cache.get(key) if self._cache is not None else None
        if found is None:
            return None
        try:
            envelope = _decode(found)
        except msgspec.MsgspecError:
            return None
        return envelope.value if envelope.checksum == _checksum(key, envelope.value) else None

    def set(self, key: str, value: bytes) -> None:
        """Keep a value; the oldest ones make room when the store is full."""
        self.set_many({key: value})

    def set_many(self, values: Mapping[str, bytes]) -> None:
        """Keep values in one transaction."""
        with self._guard():
            if self._cache is not None and values:
                # Looking for what must make room takes as long as all the rest: once is enough.
                self._cache.cull_limit = 0
                with self._cache.transact():
                    for left, (key, value) in zip(
                        range(len(values) - 1, -1, -1), values.items(), strict=True
                    ):
                        if not left:
                            self._cache.cull_limit = CULL + len(values)
                        self._cache.set(key, _encode(_Envelope(_checksum(key, value), value)))

    def drop(self, keys: Iterable[str]) -> None:
        """Remove entries, in one transaction; the ones that are not there are no error."""
        with self._guard():
            if self._cache is not None:
                with self._cache.transact():
                    for key in keys:
                        self._cache.delete(key)

    def close(self) -> None:
        if self._cache is not None:
            self._cache.close()
            self._cache = None

    def _open(self) -> None:
        try:
            private_directory(self.directory)
            for _ in range(2):
                try:
                    _vet(self.directory / "cache.db", self._settings)
                    _close_to_others(self.directory / "cache.db")
                    self._cache = cast("Any", Cache)(
                        str(self.directory), timeout=5, disk=_PlainDisk, **self._settings
                    )
                    return
                except (Refused, sqlite3.DatabaseError, ValueError, TypeError, AttributeError) as error:
                    if isinstance(error, sqlite3.OperationalError):
                        raise
                    self._set_aside()
        except (OSError, sqlite3.Error, Refused, Timeout) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            self.problem = f"The cache in {self.directory} is not used: {reason}."
            self._cache = None

    @contextlib.contextmanager
    def _guard(self) -> Generator[None]:
        """A failing operation is one that did nothing; a damaged database is replaced."""
        try:
            yield
        except (Refused, OSError, Timeout, sqlite3.OperationalError):
            return
        except sqlite3.DatabaseError:
            self.close()
            with contextlib.suppress(OSError):
                self._set_aside()
                self._open()

    def _set_aside(self) -> None:
        """Rename a damaged cache away, in place of one renamed earlier."""
        aside = self.directory.with_name(self.directory.name + ".damaged")
        shutil.rmtree(aside, ignore_errors=True)
        self.directory.rename(aside)
        private_directory(self.directory)


def _checksum(key: str, value: bytes) -> bytes:
    return hashlib.blake2b(
        value, digest_size=16, key=hashlib.blake2b(key.encode(), digest_size=32).digest()
    ).digest()


def _close_to_others(database: Path) -> None:
    """Have the database readable for us alone; what SQLite lays beside it has its mode."""
    if os.path.lexists(database):
        # Never opened: to close it again would let go of the locks that this process has on it.
        if stat.S_IMODE(database.lstat().st_mode) != 0o600:
            database.chmod(0o600)
        return
    with contextlib.suppress(FileExistsError):
        os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _vet(database: Path, settings: Mapping[str, int | str]) -> None:
    """Raises Refused where the database's own settings are not ours: diskcache would obey them."""
    if not os.path.lexists(database):
        return
    if not stat.S_ISREG(database.lstat().st_mode):
        raise Refused("its database is no file")
    connection = sqlite3.connect(database, timeout=5)
    try:
        tables = {
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        }
        if "Settings" not in tables:
            return
        rows = connection.execute("SELECT key, value FROM Settings").fetchall()
    finally:
        connection.close()
    for key, value in rows:
        counter = key in _COUNTERS and isinstance(value, int)
        if not counter and settings.get(key) != value:
            raise Refused("its settings are not ours")
