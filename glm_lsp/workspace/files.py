"""Reading below one root, and nowhere else.

Every component is opened from the directory before it without following links, so that what was checked is
what is read, whatever is swapped in between. A link is followed by hand, as far as it stays inside the root.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from glm_lsp.core import secrets, text
from glm_lsp.core.syntax.languages import language_of
from glm_lsp.core.values import Document, Refusal, RefusalKind
from glm_lsp.workspace.secrets import named_secret

MAX_LINKS = 8
CONTROL = re.compile("[\x01-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters of a path that end a line, or do worse: in the head of a file in a prompt they could pass for
another file's text."""
CONTROL_NAME = "its name holds a control character"
_LEAST_BYTES = 1 << 12
MAX_LINE_BYTES = 50_000
"""A file with a longer line is minified or data."""

_BINARY = """
.7z .a .avi .bin .bmp .bz2 .class .db .dll .dylib .egg .eot .exe .gguf .gif .gz .ico .jar .jpeg .jpg .lib .mo
.mov .mp3 .mp4 .npy .npz .o .obj .ogg .onnx .otf .pdf .pickle .pkl .png .pt .pyc .pyd .pyo .rar
.safetensors .so .sqlite .tar .tgz .tiff .ttf .wasm .wav .webm .webp .whl .woff .woff2 .xz .zip .zst
"""
BINARY_SUFFIXES = frozenset(_BINARY.split())

_LONG_WORD = re.compile(r"\b(?=[A-Za-z_.=+-]{0,80}\d)[A-Za-z0-9_.=+-]{16}")
"""What is shorter, or without a digit, is no token."""

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a pipe"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
    (stat.S_ISLNK, "is a link"),
)


class Unreadable(Exception):  # noqa: N818 (reads as the state that it is)
    """A file that is not read: `reason` completes the sentence `PATH …`. Turned into values by `read`."""

    def __init__(self, reason: str, kind: RefusalKind = RefusalKind.UNREADABLE) -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Contents:
    """Bytes as they are on disk, from the file `path`, links followed."""

    path: str
    data: bytes


def is_relative(path: str) -> bool:
    """Whether a path is in the form that the values use: relative, no `.` or `..`, forward slashes."""
    return bool(path) and "\0" not in path and not any(p in ("", ".", "..") for p in path.split("/"))


def read_bytes(root: Path, path: str, max_bytes: int) -> Contents:
    """The bytes of `path` below `root`. Raises Unreadable with the reason; no pipe or device blocks it."""
    if not is_relative(path):
        raise Unreadable("is not a path below the root", RefusalKind.POLICY)
    for _ in range(MAX_LINKS):
        try:
            found = _read_or_link(root, path, max_bytes)
        except OSError as error:
            raise Unreadable(f"cannot be read: {(error.strerror or 'system error').lower()}") from None
        except ValueError:
            raise Unreadable("has a name that the system cannot open") from None
        if isinstance(found, bytes):
            return Contents(path, found)
        path = found
    raise Unreadable("is a link in a loop", RefusalKind.POLICY)


def _read_or_link(root: Path, path: str, max_bytes: int) -> bytes | str:
    """The file's bytes, or the path to go on with where a component is a link."""
    parts = path.split("/")
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for at, part in enumerate(parts):
            mode = os.stat(part, dir_fd=here, follow_symlinks=False).st_mode
            if stat.S_ISLNK(mode):
                return link_target(root, parts[:at], os.readlink(part, dir_fd=here), parts[at + 1 :])
            if at == len(parts) - 1:
                return _read(part, here, mode, max_bytes)
            below = os.open(part, _DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        raise Unreadable("is not a path below the root", RefusalKind.POLICY)
    finally:
        os.close(here)


def open_directory(root: Path, path: str) -> int:
    """A descriptor of the directory `path` below `root`, opened without following links. Raises OSError."""
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in path.split("/") if path else ():
        try:
            below = os.open(part, _DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def kind_of(mode: int) -> str:
    """Why a thing of this mode is no file to be read; empty for a regular file."""
    if stat.S_ISREG(mode):
        return ""
    return next((what for is_kind, what in _KINDS if is_kind(mode)), "is no regular file")


def _read(name: str, directory: int, mode: int, max_bytes: int) -> bytes:
    _regular(mode)
    handle = os.open(name, _FILE, dir_fd=directory)
    try:
        status = os.fstat(handle)
        _regular(status.st_mode)
        size = status.st_size
        parts: list[bytes] = []
        while size <= max_bytes and (part := os.read(handle, max(status.st_size, _LEAST_BYTES) + 1)):
            parts.append(part)
            size = max(size, sum(map(len, parts)))  # it may have grown since
    finally:
        os.close(handle)
    if size > max_bytes:
        raise Unreadable(f"is larger than {max_bytes:,} bytes (index.max_file_bytes)")
    return b"".join(parts)


class Reader:
    """Reads many files below one root, sorted by path: a directory stays open for the files in it.

    What is open cannot be swapped for a link; `done` closes it, so that nothing old is read for long.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._open: list[tuple[str, int]] = []

    def read(self, path: str, max_bytes: int) -> Contents:
        """Like `read_bytes`."""
        try:
            data = self._read(path.split("/"), max_bytes) if is_relative(path) else None
        except (OSError, ValueError):
            data = None
        return Contents(path, data) if data is not None else read_bytes(self._root, path, max_bytes)

    def done(self) -> None:
        """Close all directories."""
        while self._open:
            os.close(self._open.pop()[1])

    def _read(self, parts: list[str], max_bytes: int) -> bytes | None:
        """None where a link is in the way."""
        *directories, name = ["", *parts]
        kept = 0
        while kept < min(len(directories), len(self._open)) and self._open[kept][0] == directories[kept]:
            kept += 1
        while len(self._open) > kept:
            os.close(self._open.pop()[1])
        for part in directories[kept:]:
            if self._open:
                below = os.open(part, _DIRECTORY, dir_fd=self._open[-1][1])
            else:
                below = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._open.append((part, below))
        here = self._open[-1][1]
        mode = os.stat(name, dir_fd=here, follow_symlinks=False).st_mode
        return None if stat.S_ISLNK(mode) else _read(name, here, mode, max_bytes)


def _regular(mode: int) -> None:
    if what := kind_of(mode):
        raise Unreadable(what)


def link_target(root: Path, directory: list[str], link: str, rest: list[str]) -> str:
    """Where a link leads, as a path below the root. Raises Unreadable where it leads out."""
    out = Unreadable("is a link out of the repository", RefusalKind.POLICY)
    if link.startswith("/"):
        try:
            parts = list(PurePosixPath(link).relative_to(root).parts)
        except ValueError:
            raise out from None
        directory = []
    else:
        parts = link.split("/")
    whole = list(directory)
    for part in parts:
        if part == "..":
            if not whole:
                raise out
            whole.pop()
        elif part not in ("", "."):
            whole.append(part)
    whole += rest
    if not whole:
        raise Unreadable("is a directory")
    return "/".join(whole)


def as_text(data: bytes) -> bytes:
    """UTF-8 without its byte order mark. Raises Unreadable where the bytes are no text that we can use."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Unreadable("is UTF-16 text; only UTF-8 is read")
    if b"\0" in data:
        raise Unreadable("is binary")
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("is not valid UTF-8") from None
    start = 0
    while len(data) - start > MAX_LINE_BYTES:
        # A line break must come within the next so many bytes: look for the last one there.
        end = data.rfind(b"\n", start, start + MAX_LINE_BYTES + 1)
        if end < 0:
            raise Unreadable(f"is minified: it has a line of more than {MAX_LINE_BYTES:,} bytes")
        start = end + 1
    return data


def check_name(path: str) -> None:
    """Raises Unreadable for a path whose file must not be read, by its name alone."""
    if CONTROL.search(path):
        raise Unreadable(f"is left out: {CONTROL_NAME}", RefusalKind.POLICY)
    if what := named_secret(path):
        raise Unreadable(f"is left out: it is named like {what}", RefusalKind.POLICY)
    if _LONG_WORD.search(path) and masked_name(path) != path:
        raise Unreadable("is left out: its name holds a secret", RefusalKind.POLICY)
    if os.path.splitext(path)[1].lower() in BINARY_SUFFIXES:  # noqa: PTH122 (each file of a large tree asks)
        raise Unreadable("is binary, by its name")


def masked_name(path: str) -> str:
    """A path as it may be told: a token in it is not."""
    return secrets.censored(path) if _LONG_WORD.search(path) else path


def load(
    root: Path,
    path: str,
    max_bytes: int,
    *,
    links: bool = True,
    look: bool = True,
    allowed: Collection[str] = (),
    reader: Reader | None = None,
) -> Document:
    """A file for indexes and prompts, its secrets masked; through a link only with `links`.

    `allowed`: fingerprints of what is no secret. Without `look` the document is as it stands, and must be
    shown to nobody before `core.secrets` has masked it.
    Raises Unreadable. Blocks, so call it in a thread or a child.
    """
    check_name(path)
    contents = reader.read(path, max_bytes) if reader else read_bytes(root, path, max_bytes)
    if contents.path != path:
        if not links:
            raise Unreadable(f"is a link to {contents.path}")
        check_name(contents.path)
    data = as_text(contents.data)
    document = Document(path, data, text.digest(data), language_of(path, data))
    return shown(document, allowed) if look else document


def shown(document: Document, allowed: Collection[str] = ()) -> Document:
    """The document as it may be seen. Raises Unreadable for one that must not be."""
    document = secrets.masked(document, allowed=allowed)
    if document.left_out:
        raise Unreadable(f"is left out: {document.left_out}", RefusalKind.POLICY)
    return document


def refusal(path: str, unreadable: Unreadable) -> Refusal:
    """The value for an `Unreadable`."""
    return Refusal(path, unreadable.kind, f"{masked_name(path)} {unreadable.reason}.")
