"""Where this machine's clients and its worker meet: a directory of ours with a lock, a token and a socket.

The worker holds the lock for as long as it lives, so there is one per slot; who holds it owns all names of
the slot. A client that finds nobody starts a worker: of several started at once one gets the lock, the others
leave. What lies in the directory is not trusted before it is seen to be ours: no links, no other owner, no
other mode.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import secrets
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import platformdirs

from glm_lsp.core.errors import EngineUnavailable

RUNTIME_VARIABLE = "GLM_LSP_RUNTIME"
MAIN, TYPING, BUNDLED = "main", "typing", "bundled"
SLOTS = (MAIN, TYPING, BUNDLED)
"""The bundled model has a slot of its own: trying it out displaces nobody's large one."""
BUSY = 3
"""A worker's exit status where another one has the slot."""
_LONGEST_SOCKET_PATH = 100
_LOCAL = "127.0.0.1"
_WINDOWS = sys.platform == "win32"
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_SMALL_FILE = 1 << 16


@dataclass(frozen=True, slots=True)
class Place:
    """The names of one slot. Made by `place`, which has checked the directory."""

    directory: Path
    slot: str
    socket: Path
    """On Windows a file that holds the port number."""

    @property
    def lock(self) -> Path:
        return self.directory / f"{self.slot}.lock"

    @property
    def token(self) -> Path:
        return self.directory / f"{self.slot}.token"

    @property
    def log(self) -> Path:
        """What the worker, and llama.cpp in it, has written to stderr."""
        return self.directory / f"{self.slot}.log"

    @property
    def old_log(self) -> Path:
        """What the worker before has written."""
        return self.directory / f"{self.slot}.log.old"

    @property
    def last(self) -> Path:
        """How the last worker ended: an `Obituary`."""
        return self.directory / f"{self.slot}.last"


@dataclass(frozen=True, slots=True)
class Obituary:
    """How a worker ended. `kind` names an error class of `core.errors`; empty after a good end."""

    pid: int
    keeper: int
    """The process that started it and waited for it."""
    kind: str
    message: str
    unsaved: str = ""
    """Why what it had read is not saved, as a sentence."""


@dataclass(frozen=True, slots=True)
class Door:
    """A connection to whoever listens, seen to be a process of ours, and the token to show."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str


def place(slot: str) -> Place:
    """The slot's names in the runtime directory, which is made if need be.

    Raises EngineUnavailable where the directory is a link, somebody else's or open to others.
    """
    directory = _runtime_directory()
    _private(directory)
    path = directory / f"{slot}.sock"
    if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH and not _WINDOWS:
        # A socket's path has room for some hundred bytes, whatever the file system takes.
        short = Path("/tmp") / f"glm-lsp-{os.geteuid()}"  # noqa: S108 (checked as the other one is)
        _private(short)
        path = short / f"{hashlib.blake2b(os.fsencode(directory), digest_size=8).hexdigest()}-{slot}.sock"
    return Place(directory, slot, path)


def _runtime_directory() -> Path:
    if chosen := os.environ.get(RUNTIME_VARIABLE):
        return Path(chosen).absolute()
    if sys.platform == "win32":
        return platformdirs.user_runtime_path("glm-lsp", appauthor=False)
    # Elsewhere platformdirs warns on stderr of a directory of its own choice, which is not the one we use.
    user = os.geteuid()
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{user}", f"/var/run/user/{user}"):
        with contextlib.suppress(OSError, ValueError):
            status = Path(parent).stat()
            if Path(parent).is_absolute() and stat.S_ISDIR(status.st_mode) and status.st_uid == user:
                return Path(parent) / "glm-lsp"
    return Path(tempfile.gettempdir()).absolute() / f"glm-lsp-{user}"


def _private(directory: Path) -> None:
    """Make the directory, or see that it is a real one, ours, and closed to others."""
    try:
        directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        status, above = directory.lstat(), directory.parent.stat()
    except OSError as error:
        raise EngineUnavailable(
            f"The runtime directory {directory} cannot be made ({error.strerror or error}); "
            f"set {RUNTIME_VARIABLE} to a directory of your own."
        ) from error
    if not stat.S_ISDIR(status.st_mode):
        wrong = "is a link or a file, not a directory"
    elif _WINDOWS:
        return
    elif status.st_uid != os.geteuid():
        wrong = "belongs to another user"
    elif stat.S_IMODE(status.st_mode) & 0o077:
        wrong = f"is open to other users (mode {stat.S_IMODE(status.st_mode):04o})"
    elif above.st_mode & stat.S_IWOTH and not above.st_mode & stat.S_ISVTX:
        wrong = (
            f"can be replaced by other users ({directory.parent} has mode {stat.S_IMODE(above.st_mode):04o})"
        )
    else:
        return
    raise EngineUnavailable(
        f"The runtime directory {directory} {wrong}, so nobody knows who would answer there; "
        f"make it yours alone (chmod 700), or set {RUNTIME_VARIABLE} to another one."
    )


class Lock:
    """The lock of a slot, held from `acquire` until `release` or the end of every process that has it."""

    def __init__(self, at: Place) -> None:
        self._path = at.lock
        self.handle = -1

    def acquire(self, *, shared: bool = False) -> bool:
        """Take the lock; false if somebody has it. Raises EngineUnavailable if there can be none.

        A shared one keeps others from taking it, but not from sharing it.
        """
        flags = os.O_RDWR | os.O_CREAT | _NOFOLLOW | _CLOEXEC | _NONBLOCK
        try:
            handle = os.open(self._path, flags, 0o600)
        except OSError as error:
            raise EngineUnavailable(
                f"The lock {self._path} cannot be opened ({error.strerror or error}); remove it."
            ) from error
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or not (_WINDOWS or status.st_uid == os.geteuid()):
            os.close(handle)
            raise EngineUnavailable(f"The lock {self._path} is no file of yours; remove it.")
        if _locked(handle, shared=shared):
            self.handle = handle
            return True
        os.close(handle)
        return False

    def name(self, *processes: int) -> None:
        """Write into it who holds it, so that they can be told and ended; without, it locks as well."""
        with contextlib.suppress(OSError):
            os.lseek(self.handle, 0, os.SEEK_SET)
            os.ftruncate(self.handle, 0)
            os.write(self.handle, " ".join(map(str, processes)).encode())

    def release(self) -> None:
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1


def _locked(handle: int, *, shared: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def held(at: Place) -> bool:
    """Whether some worker has the slot. Raises EngineUnavailable where that cannot be known."""
    lock = Lock(at)
    # Shared: two who look at the same time must not take each other for a worker.
    if lock.acquire(shared=True):
        lock.release()
        return False
    return True


def named(at: Place) -> tuple[int, ...]:
    """The process ids that the lock's file names: keeper and worker, or nobody. Nobody has looked at them."""
    words = _read(at.lock).split()
    return tuple(int(word) for word in words[:2] if word.isdigit() and len(word) < 10)


# The client's side.


async def knock(at: Place) -> Door | None:
    """Connect to the slot's worker; None if nobody is there. Raises EngineUnavailable if it is not ours."""
    _no_directories(at)
    if not _read(at.token) or not _ours(at.socket):
        return None
    try:
        if _WINDOWS:
            reader, writer = await asyncio.open_connection(_LOCAL, int(_read(at.socket) or b"0"))
        else:
            reader, writer = await asyncio.open_unix_connection(at.socket)
    except (OSError, ValueError):
        return None
    if not same_user(writer.get_extra_info("socket")):
        writer.close()
        raise EngineUnavailable(
            f"The process that listens at {at.socket} is another user's; set {RUNTIME_VARIABLE} to a "
            "directory of your own."
        )
    # Only now: another worker may just have come, and whoever listens has put its token there before.
    return Door(reader, writer, _read(at.token).decode("ascii", "replace"))


def mark(at: Place) -> tuple[int, int]:
    """Tells the socket that lies there from another one that takes its place; zeros if there is none."""
    try:
        status = at.socket.lstat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_ctime_ns


def _no_directories(at: Place) -> None:
    """A worker replaces whatever lies at its names, except directories: who knows what is in them."""
    for path in (at.socket, at.token, at.last, at.log, at.old_log):
        if path.is_dir() and not path.is_symlink():
            raise EngineUnavailable(
                f"At {path} is a directory, where the embedded engine's worker keeps a file; remove it."
            )


async def start(at: Place) -> int:
    """Start a worker that outlives us; return its keeper's process id, 0 if somebody else has the slot.

    Raises EngineUnavailable if the system does not start it, with what it said.
    """
    # Neither the working directory nor `-m` may have a repository's files imported; keys are not for it.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GLM_LSP_") or k in _KEPT}
    command = (sys.executable, "-P", "-m", "glm_lsp.engines.worker", at.slot)
    environment |= {RUNTIME_VARIABLE: str(at.directory)}
    if sys.platform == "win32":
        flags = subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP
        return subprocess.Popen(command, cwd=at.directory, env=environment, creationflags=flags).pid  # noqa: ASYNC220
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=at.directory,
            env=environment,
        )
    except OSError as error:
        raise EngineUnavailable(
            f"The embedded engine's worker cannot be started ({error.strerror or error}); end other programs."
        ) from error
    said, complained = await process.communicate()
    if process.returncode == BUSY:
        return 0
    if process.returncode or not said.strip().isdigit():
        words = " ".join(complained.decode("utf-8", "replace").split())[-600:]
        raise EngineUnavailable(
            f"The embedded engine's worker cannot be started: {words or 'no reason given'}"
        )
    return int(said)


_KEPT = frozenset({"GLM_LSP_CACHE", RUNTIME_VARIABLE})


def obituary(at: Place, *, pid: int = 0, keeper: int = 0) -> Obituary | None:
    """How that worker ended, if it is the last that did."""
    if (found := last_word(at)) is None:
        return None
    return found if (pid and found.pid == pid) or (keeper and found.keeper == keeper) else None


def last_word(at: Place) -> Obituary | None:
    """How the last worker ended, where word of that was left."""
    with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
        table = json.loads(_read(at.last))
        names = (str(table["kind"]), str(table["message"]), str(table.get("unsaved", "")))
        return Obituary(int(table["pid"]), int(table["keeper"]), *names)
    return None


# The worker's side: all of it with the lock held.


def listen(at: Place) -> socket.socket:
    """A listening socket in the place of whatever was left there. Raises OSError."""
    _remove(at.socket)
    if _WINDOWS:
        server = socket.create_server((_LOCAL, 0))
        write(at.socket, str(server.getsockname()[1]).encode())
        return server
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        server.bind(os.fspath(at.socket))
        at.socket.chmod(0o600)
        server.listen(64)
    except OSError:
        server.close()
        raise
    return server


def found(at: Place, inode: int) -> bool:
    """Whether clients still find the socket that `listen` made, and the token."""
    try:
        return at.socket.lstat().st_ino == inode and at.token.is_file()
    except OSError:
        return False


def new_token(at: Place) -> str:
    """A token that only this start of the worker takes, put where clients look for it."""
    token = secrets.token_hex(32)
    write(at.token, token.encode())
    return token


def publish(at: Place, found: Obituary) -> None:
    """Leave word of how a worker ended."""
    write(at.last, json.dumps(asdict(found)).encode())


def leave(at: Place) -> None:
    """Take away what would have a client knock in vain."""
    for path in (at.socket, at.token):
        with contextlib.suppress(OSError):
            _remove(path)


def write(path: Path, data: bytes) -> None:
    """Write a small file of ours, whole or not at all, through no link."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NOFOLLOW | _CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _remove(path: Path) -> None:
    """A link goes, not what it points to; a directory in the way is an error."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()


def _read(path: Path) -> bytes:
    """A small file of ours; empty if there is none such."""
    try:
        handle = os.open(path, os.O_RDONLY | _NOFOLLOW | _CLOEXEC | _NONBLOCK)
    except OSError:
        return b""
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode) or not _closed_to_others(status):
            return b""
        return file.read(_SMALL_FILE).strip()


def _ours(path: Path) -> bool:
    """Whether a socket of ours lies there (on Windows: the file with its port)."""
    try:
        status = path.lstat()
    except OSError:
        return False
    kind = stat.S_ISREG(status.st_mode) if _WINDOWS else stat.S_ISSOCK(status.st_mode)
    return kind and _closed_to_others(status)


def _closed_to_others(status: os.stat_result) -> bool:
    return _WINDOWS or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)


def same_user(connection: socket.socket) -> bool:
    """Whether the other end is a process of this user, where the system tells."""
    if sys.platform == "linux":
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return struct.unpack("3i", credentials)[1] == os.geteuid()
    if sys.platform == "darwin":
        sol_local, local_peercred = 0, 1
        # struct xucred: version, uid, number of groups, 16 groups.
        credentials = connection.getsockopt(sol_local, local_peercred, 4 + 4 + 4 + 16 * 4)
        return struct.unpack("2I", credentials[:8])[1] == os.geteuid()
    return True
