"""One file of the saved index: magic, records, and a head that says where they lie and what they are of.

The place of the head stands at the end, so that a file is written in one go. Whatever is not exactly what was
written raises `Damaged`.
"""

from __future__ import annotations

import hashlib
import os
import threading
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from glm_lsp.core.values import FileOutline
from glm_lsp.workspace.records import CHECK_BYTES, Records
from glm_lsp.workspace.stamps import Clock, Stat

MAGIC = b"glm-lsp index 1\n"
_PLACE_BYTES = 8 + 8 + 32
WHOLE_BYTES = 64 << 20
"""Records up to this size together are checked as a whole when they are opened."""
CHUNK_BYTES = 1 << 22


class Head(msgspec.Struct, array_like=True, frozen=True):
    recipe: str
    binding: str
    clock: Clock
    records: bytes
    """Checksum of all records together."""
    paths: list[str]
    facts: list[tuple[str, str, int, int, str, int, int]]
    project: dict[int, list[tuple[str, ...]]]
    held: dict[int, list[tuple[int, int, str, int]]]
    offsets: bytes
    lengths: bytes
    checks: bytes
    stats: bytes
    left: dict[str, tuple[str, str]]
    left_stats: bytes
    removed: list[str]


encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Head).decode


class Damaged(Exception):  # noqa: N818 (reads as the state that it is)
    """A file that is not what was written: the message completes “it …”."""


def opened(handle: int, head: Head, end: int) -> tuple[Records, Rows]:
    """The records that the head tells of, and what is known of each.

    `end`: where they end. The handle is theirs from now on; it stays the caller's where Damaged is raised,
    because they are not what was written.
    """
    records = Records()
    records.offsets.frombytes(head.offsets)
    records.lengths.frombytes(head.lengths)
    records.checks += head.checks
    with _Aside(_check_records, handle, head, end):
        rows = rows_of(head, records)
    records.read_from(handle)
    return records, rows


def read_head(handle: int) -> tuple[Head, int]:
    """The head, and where the records end. Raises Damaged."""
    size = os.fstat(handle).st_size
    if os.pread(handle, len(MAGIC), 0) != MAGIC:
        raise Damaged("is of another version, or no index")
    tail = os.pread(handle, _PLACE_BYTES, max(size - _PLACE_BYTES, 0))
    at, length = int.from_bytes(tail[:8], "little"), int.from_bytes(tail[8:16], "little")
    if len(tail) < _PLACE_BYTES or at + length + _PLACE_BYTES != size:
        raise Damaged("is cut off")
    data = os.pread(handle, length, at)
    if hashlib.blake2b(tail[:16] + data, digest_size=32).digest() != tail[16:]:
        raise Damaged("is damaged")
    try:
        head = _decode(data)
    except msgspec.MsgspecError:
        raise Damaged("is of another version") from None
    rows = len(head.paths)
    sizes = (len(head.offsets), len(head.lengths), len(head.checks), len(head.stats), len(head.left_stats))
    if len(head.facts) != rows or sizes != (
        8 * rows,
        4 * rows,
        CHECK_BYTES * rows,
        40 * rows,
        40 * len(head.left),
    ):
        raise Damaged("does not fit together")
    return head, at


def _check_records(handle: int, head: Head, end: int) -> None:
    if end > WHOLE_BYTES:
        return
    found, at = hashlib.blake2b(digest_size=16), len(MAGIC)
    while at < end:
        data = os.pread(handle, min(CHUNK_BYTES, end - at), at)
        if not data:
            raise Damaged("is cut off")
        found.update(data)
        at += len(data)
    if found.digest() != head.records:
        raise Damaged("is damaged")


@dataclass(frozen=True, slots=True)
class Rows:
    """What the head says of each file that has an outline."""

    outlines: dict[str, FileOutline]
    stats: dict[str, Stat]
    counts: dict[str, tuple[int, int]]


def rows_of(head: Head, records: Records) -> Rows:
    made = list(map(records.outline_of, head.paths, range(len(head.paths)), head.facts))
    for row, project in head.project.items():
        made[row] = records.outline_of(head.paths[row], row, head.facts[row], project, head.held.get(row, ()))
    for row, held in head.held.items():
        if row not in head.project:
            made[row] = records.outline_of(head.paths[row], row, head.facts[row], (), held)
    return Rows(
        dict(zip(head.paths, made, strict=True)),
        dict(zip(head.paths, stats_of(head.stats), strict=True)),
        {path: facts[5:7] for path, facts in zip(head.paths, head.facts, strict=True)},
    )


def stats_of(data: bytes) -> Iterator[Stat]:
    numbers = array("q")
    numbers.frombytes(data)
    columns = iter(numbers)
    return map(Stat._make, zip(columns, columns, columns, columns, columns, strict=True))


class _Aside:
    """Has something done in a thread while the block runs, and raises at its end what went wrong there."""

    def __init__(self, work: Callable[..., None], *arguments: object) -> None:
        self._work, self._arguments = work, arguments
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work(*self._arguments)
        except Exception as error:  # raised where it is waited for
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        if self._error is not None:
            raise self._error
