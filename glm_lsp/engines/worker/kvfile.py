"""One saved prompt as a file: what is read back is what was written, or it is refused.

    head      magic, version, lengths, and a digest over all of that, the identity and the tokens
    identity  UTF-8: which model, engine and prompt shapes the data belongs to
    tokens    32-bit little-endian ids
    data      llama.cpp's state of the sequence
    table     one digest per block of the data: reading and checking overlap, on several cores
    seal      a digest over the head's digest and the table

llama.cpp takes any bytes for a state, and some of them end the process or are loaded as nonsense: so nothing
reaches it that has one bit changed. A file is not trusted in anything: lengths are compared with the file's
size before memory is taken, and the data is read into memory, never mapped, because a mapped file that
shrinks ends the process.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import stat
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

VERSION = 1
BLOCK_BYTES = 4 << 20
SYNC_BYTES = 64 << 20
"""So much is written before it is flushed: gigabytes of unwritten pages would push out the model's own."""
IDENTITY_LIMIT = 1 << 14
TOKENS_LIMIT = 1 << 24
_MAGIC = b"GLM-KV\r\n"
_HEAD = struct.Struct("<8sIIQQ32s")
_DIGEST = 32


class Damaged(Exception):  # noqa: N818 (reads as the state that it is)
    """Not a file that this module wrote, or not any more; the text says in what."""


class Abandoned(Exception):  # noqa: N818 (an event, not a fault)
    """Writing or reading was given up: the process ends, or somebody waits for something else."""


@dataclass(frozen=True, slots=True)
class Head:
    """The lengths of a file, compared with its size, and its identity, not yet compared with anything."""

    identity: str
    tokens: int
    data_bytes: int
    digest: bytes
    fixed: bytes

    @property
    def tokens_at(self) -> int:
        return _HEAD.size + len(self.identity.encode())

    @property
    def data_at(self) -> int:
        return self.tokens_at + 4 * self.tokens


def size_bytes(identity: str, tokens: int, data_bytes: int) -> int:
    """The size of the file that `write` makes of so much."""
    table = -(-data_bytes // BLOCK_BYTES) * _DIGEST
    return _HEAD.size + len(identity.encode()) + 4 * tokens + data_bytes + table + _DIGEST


def read_head(handle: int) -> Head:
    """Read the head of an open file and its identity. Raises Damaged, or OSError."""
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
        raise Damaged("it is not a file of yours")
    fixed = os.pread(handle, _HEAD.size, 0)
    if len(fixed) < _HEAD.size:
        raise Damaged("it ends in its own head")
    magic, version, identity_bytes, tokens, data_bytes, digest = _HEAD.unpack(fixed)
    if magic != _MAGIC or version != VERSION:
        raise Damaged("it is of another kind or version")
    if identity_bytes > IDENTITY_LIMIT or tokens > TOKENS_LIMIT:
        raise Damaged("it claims lengths that cannot be")
    raw = os.pread(handle, identity_bytes, _HEAD.size)
    try:
        identity = raw.decode()
    except UnicodeDecodeError as error:
        raise Damaged("its identity is no text") from error
    if status.st_size != size_bytes(identity, tokens, data_bytes):
        raise Damaged("it has another size than it was written with")
    return Head(identity, tokens, data_bytes, digest, fixed[:-_DIGEST])


def read_tokens(handle: int, head: Head) -> bytes:
    """Read the tokens, 4 bytes each, and check them and the head. Raises Damaged, or OSError."""
    tokens = os.pread(handle, 4 * head.tokens, head.tokens_at)
    if _head_digest(head.fixed, head.identity.encode(), tokens) != head.digest:
        raise Damaged("its head or its tokens are not as they were written")
    return tokens


def read_data(handle: int, head: Head, wanted: Callable[[], bool] = lambda: True) -> memoryview:
    """Read and check the data; the memory it takes is the data's size, once.

    `wanted` is asked between blocks; Abandoned is raised when it says no. Raises Damaged, OSError or
    MemoryError.
    """
    if not head.data_bytes:
        raise Damaged("it holds no data")
    # Not zero-filled by us and given back to the system as a whole, unlike a bytearray.
    try:
        room = mmap.mmap(-1, head.data_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError from error
    data = memoryview(room)
    digests: list[Future[bytes]] = []
    with ThreadPoolExecutor(min(_cores(), 4), "kv-check") as pool:
        for start in range(0, head.data_bytes, BLOCK_BYTES):
            if not wanted():
                raise Abandoned
            block = data[start : start + BLOCK_BYTES]
            _read_all(handle, block, head.data_at + start)
            digests.append(pool.submit(_digest, block))
    table = b"".join(digest.result() for digest in digests)
    end = head.data_at + head.data_bytes
    stored = os.pread(handle, len(table) + _DIGEST, end)
    if stored != table + _digest(head.digest + table):
        raise Damaged("its data is not as it was written")
    return data


def write(
    handle: int,
    identity: str,
    tokens: bytes,
    data: memoryview,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Write a whole file to an empty one that is open, and flush it to the disk. Raises OSError.

    `wanted` is asked between blocks; Abandoned is raised when it says no.
    """
    data = data.cast("B")
    name = identity.encode()
    fixed = _HEAD.pack(_MAGIC, VERSION, len(name), len(tokens) // 4, len(data), b"")[:-_DIGEST]
    digest = _head_digest(fixed, name, tokens)
    _write_all(handle, memoryview(fixed + digest + name + tokens))
    table = b""
    flushed = 0
    for start in range(0, len(data), BLOCK_BYTES):
        if not wanted():
            raise Abandoned
        block = data[start : start + BLOCK_BYTES]
        table += _digest(block)
        _write_all(handle, block)
        if start + len(block) - flushed >= SYNC_BYTES:
            flushed = start + len(block)
            _flush(handle)
    _write_all(handle, memoryview(table + _digest(digest + table)))
    os.fsync(handle)
    _forget_pages(handle)


def _head_digest(fixed: bytes, identity: bytes, tokens: bytes) -> bytes:
    digest = hashlib.blake2b(fixed, digest_size=_DIGEST)
    digest.update(identity)
    digest.update(tokens)
    return digest.digest()


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()


def _read_all(handle: int, into: memoryview, at: int) -> None:
    while into:
        count = os.preadv(handle, [into], at)
        if not count:
            raise Damaged("it became shorter while it was read")
        into, at = into[count:], at + count


def _write_all(handle: int, data: memoryview) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _flush(handle: int) -> None:
    os.fsync(handle)
    _forget_pages(handle)


def _forget_pages(handle: int) -> None:
    """What was written is read again after a restart at the earliest; the weights need the memory more."""
    if hasattr(os, "posix_fadvise"):
        with contextlib.suppress(OSError):
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
