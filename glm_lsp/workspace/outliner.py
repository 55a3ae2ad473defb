"""The process that reads and parses files for the index: `python -P -m glm_lsp.workspace.outliner`.

It speaks frames over its pipes (four bytes of length, big-endian, then msgpack): it takes a `Job`, answers
`Ready`, and takes `Batch`es; for each file of a batch, in order, it answers `Found`, `Same` or `Left`. It may
hang, crash or run out of memory on a hostile file: the parent kills it, leaves that file out and starts
another.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from glm_lsp.core.secrets import attributed
from glm_lsp.core.syntax import Halted, outline, recipe
from glm_lsp.disk.store import Store
from glm_lsp.workspace.encoding import VERSION, pack
from glm_lsp.workspace.files import Unreadable, load, shown
from glm_lsp.workspace.secrets import rules_version


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


class Batch(msgspec.Struct, array_like=True, frozen=True):
    """Files to outline. `fresh`: do not look into the store."""

    paths: list[str]
    digests: list[str]
    """For each path the digest of the text whose outline is known already; empty: none."""
    fresh: bool = False


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


MAX_FRAME_BYTES = 1 << 28
encode = msgspec.msgpack.Encoder().encode


def frame(message: msgspec.Struct) -> bytes:
    """A message as it goes over a pipe."""
    body = encode(message)
    return len(body).to_bytes(4, "big") + body


def main() -> int:
    """Answer batches until the pipe ends."""
    # Results go to a private copy of stdout: whatever prints by accident must not damage the frames.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    frames = _frames(sys.stdin.buffer)
    job = msgspec.msgpack.decode(next(frames), type=Job)
    _limit(job)
    gc.disable()  # outlines are in no cycles, and looking for some takes time
    store = Store(Path(job.cache)) if job.cache else None
    decode = msgspec.msgpack.Decoder(Batch).decode
    answers.write(frame(Ready()))
    answers.flush()
    for body in frames:
        new: dict[str, bytes] = {}
        batch = decode(body)
        for path, known in zip(batch.paths, batch.digests, strict=True):
            answers.write(frame(_outline(job, path, known, store if not batch.fresh else None, new)))
            answers.flush()
        if store is not None:
            store.set_many(new)
    if store is not None:
        store.close()
    return 0


def _frames(stream: BinaryIO) -> Iterator[bytes]:
    while len(head := stream.read(4)) == 4:
        yield stream.read(int.from_bytes(head, "big"))


def _limit(job: Job) -> None:
    os.nice(5)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if job.memory_bytes:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))


def _outline(
    job: Job, path: str, known: str, store: Store | None, new: dict[str, bytes]
) -> Found | Same | Left:
    """The answer for one file; what should be kept goes into `new`."""
    # A timer of processor time whose signal ends the process: it works inside native code, too, and neither a
    # busy machine nor a suspended one sets it off.
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * job.file_cpu_s)
    until = time.process_time() + job.file_cpu_s
    try:
        document = load(Path(job.root), path, job.max_file_bytes, links=False, look=False)
        if known == document.digest:
            return Same(path)
        key = _key(job, document.language, document.digest)
        if store is not None and (kept := store.get(key)) is not None:
            return Found(path, kept)
        document = shown(document, job.allowed)
        found = outline("", document.data, document.language, halt=lambda: time.process_time() > until)
        packed = pack(attributed(found, document))
        if recipe(document.language):
            new[key] = packed
        return Found(path, packed)
    except Unreadable as unreadable:
        return Left(path, unreadable.reason)
    except Halted:
        return Left(path, f"took the parser more than {job.file_cpu_s:g} s of processor time")
    except MemoryError:
        return Left(path, "needs too much memory to parse")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _key(job: Job, language: str, digest: str) -> str:
    """Entries of one repository never answer for another one."""
    home = hashlib.blake2b(job.root.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
    return f"outline{VERSION}/{rules_version(job.allowed)}/{recipe(language)}/{home}/{digest}"


if __name__ == "__main__":
    sys.exit(main())
