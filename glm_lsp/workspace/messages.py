"""What the indexing process (`outliner`) and who started it say to each other.

Frames over pipes: four bytes of length, big-endian, then msgpack. The process takes a `Job`, answers `Ready`,
and takes `Batch`es; for each file of a batch, in order, it answers `Found`, `Same` or `Left`, several in a
frame where they come quickly.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Job(msgspec.Struct, array_like=True, frozen=True):
    """What holds for every file."""

    root: str
    cache: str
    """Directory of the store; empty: none."""
    max_file_bytes: int
    file_cpu_s: float
    """Processor time for one file; after twice as much the process ends itself."""
    memory_bytes: int
    allowed: list[str] = []
    """Fingerprints of texts that are no secrets, sorted."""
    include: list[str] = []
    """Patterns of files that are not left out for being generated or minified."""


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Files to outline. `fresh`: do not look into the store."""

    paths: list[str]
    digests: list[str]
    """For each path the digest of the text whose outline is known already; empty: none."""
    fresh: bool = False
    blame: str = ""
    """What an earlier process died of while it had the first file: that is remembered, not tried again."""
    careful: bool = False
    """An earlier process died of one of these files: each answer is to be sent at once, so that it shows
    which one."""


class Found(msgspec.Struct, array_like=True, frozen=True, tag=True):
    path: str
    outline: bytes
    """`encoding.pack`."""


class Same(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """The file has the digest that was named."""

    path: str


class Left(msgspec.Struct, array_like=True, frozen=True, tag=True):
    path: str
    reason: str


class Ready(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """It has started: whatever ends it from here on is a file's fault."""


class Broken(msgspec.Struct, array_like=True, frozen=True, tag=True):
    """It can outline nothing, whatever the file: `reason` completes the sentence `it …`."""

    reason: str


Answer = Found | Same | Left | Ready | Broken
MAX_FRAME_BYTES = 1 << 28
REMEMBERED = "(known from an earlier run)"
_encode = msgspec.msgpack.Encoder().encode
answers = msgspec.msgpack.Decoder(list[Answer]).decode
"""The answers of a frame's body. Raises msgspec.MsgspecError."""


def frame(message: Job | Batch | Sequence[Answer]) -> bytes:
    """A message, or answers, as they go over a pipe."""
    body = _encode(message)
    return len(body).to_bytes(4, "big") + body


def too_slow(job: Job) -> str:
    """The reason why a file is left out that took the parser too long."""
    return f"took the parser more than {job.file_cpu_s:g} s of processor time"
