"""The process that reads and parses files for the index: `python -P -m glm_lsp.workspace.outliner`.

What it is told and answers stands in `messages`. It may hang, crash or run out of memory on a hostile file:
the parent kills it, leaves that file out and starts another.
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
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import BinaryIO

import msgspec
from tree_sitter import QueryError

from glm_lsp.core.secrets import attributed
from glm_lsp.core.syntax import Halted, outline, parse, recipe
from glm_lsp.core.syntax.trees import WHOLE_BYTES
from glm_lsp.disk.store import Store
from glm_lsp.workspace.encoding import VERSION, pack
from glm_lsp.workspace.files import Reader, Unreadable, load, shown
from glm_lsp.workspace.messages import (
    REMEMBERED,
    Answer,
    Batch,
    Broken,
    Found,
    Job,
    Left,
    Ready,
    Same,
    frame,
    too_slow,
)
from glm_lsp.workspace.rules import Rules
from glm_lsp.workspace.secrets import rules_version

FLUSH_BYTES = 1 << 17
FLUSH_S = 0.05
"""Answers are sent together that come within this time."""


class _Unusable(Exception):  # noqa: N818 (reads as the state that it is)
    """No file can be outlined."""


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
    root = Path(job.root)
    work = _Work(job, Reader(root), Rules(root, job.include), store, store is not None and not store.count)
    answers.write(frame([Ready()]))
    answers.flush()
    try:
        for body in frames:
            batch = decode(body)
            _answer(work, batch, answers)
            work.reader.done()
            if store is not None:
                store.set_many(work.new)
            work.new.clear()
    except _Unusable as unusable:
        answers.write(frame([Broken(str(unusable))]))
        answers.flush()
    if store is not None:
        store.close()
    return 0


def _answer(work: _Work, batch: Batch, stream: BinaryIO) -> None:
    """Outline the files of a batch, and send what comes of it."""
    blame, waiting, size, since = batch.blame, list[Answer](), 0, time.monotonic()
    for path, known in zip(batch.paths, batch.digests, strict=True):
        answer = _outline(work, path, known, batch.fresh or work.new_store, blame)
        blame = ""
        waiting.append(answer)
        size += len(answer.outline) if isinstance(answer, Found) else 0
        now = time.monotonic()
        if batch.careful or size >= FLUSH_BYTES or now - since >= FLUSH_S:
            stream.write(frame(waiting))
            stream.flush()
            waiting, size, since = [], 0, now
    if waiting:
        stream.write(frame(waiting))
        stream.flush()


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


@dataclass(slots=True)
class _Work:
    """What a process needs for every file."""

    job: Job
    reader: Reader
    rules: Rules
    store: Store | None
    new_store: bool = False
    """There was nothing in the store when this process began: what others add meanwhile is not looked for."""
    new: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What should be kept."""


def _outline(work: _Work, path: str, known: str, fresh: bool, blame: str) -> Found | Same | Left:
    """The answer for one file."""
    job = work.job
    # A timer of processor time whose signal ends the process: it works inside native code, too, and neither a
    # busy machine nor a suspended one sets it off.
    signal.setitimer(signal.ITIMER_VIRTUAL, 2 * job.file_cpu_s)
    until = time.process_time() + job.file_cpu_s
    key = language = ""
    try:
        document = load(Path(job.root), path, job.max_file_bytes, links=False, look=False, reader=work.reader)
        if (why := work.rules.by_content(path, document.data)) is not None:
            return Left(path, why.reason)
        if known == document.digest:
            return Same(path)
        language = document.language
        key = _key(job, document.language, document.digest)
        if blame:
            return _left(work, path, key, blame)
        if work.store is not None and not fresh:
            if (kept := work.store.get(key)) is not None:
                return Found(path, kept)
            if (why := work.store.get(_left_key(job, key))) is not None:
                return Left(path, f"{why.decode('utf-8', 'replace')} {REMEMBERED}")
        document = shown(document, job.allowed)
        tree = None
        if len(document.data) <= WHOLE_BYTES:
            # In one go, which is quicker: the timer ends what takes too long.
            signal.setitimer(signal.ITIMER_VIRTUAL, job.file_cpu_s)
            tree = parse(document.data, document.language)
            signal.setitimer(signal.ITIMER_VIRTUAL, 2 * job.file_cpu_s)
        kept_by_text = bool(recipe(document.language))
        named = "" if kept_by_text else path  # what is kept by a file's text must not depend on its name
        found = outline(
            named,
            document.data,
            document.language,
            tree=tree,
            halt=lambda: time.process_time() > until,
            digest=document.digest,
        )
        packed = pack(attributed(found, document))
        if kept_by_text:
            work.new[key] = packed
        return Found(path, packed)
    except Unreadable as unreadable:
        return Left(path, unreadable.reason)
    except QueryError as error:
        raise _Unusable(f"cannot use its query for {language}: {error}") from None
    except Halted:
        return _left(work, path, key, too_slow(job))
    except MemoryError:
        return _left(work, path, key, "needs too much memory to parse")
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _left(work: _Work, path: str, key: str, reason: str) -> Left:
    """Leave a file out, also next time, as long as neither its text nor the parser changes."""
    if work.store is not None and key:
        work.store.set(_left_key(work.job, key), reason.encode())
    return Left(path, reason)


def _left_key(job: Job, key: str) -> str:
    """With more time or memory it may be another matter."""
    return f"left/{job.file_cpu_s:g}/{job.memory_bytes}/{key}"


def _key(job: Job, language: str, digest: str) -> str:
    """Entries of one repository never answer for another one."""
    return f"outline{VERSION}/{rules_version(job.allowed)}/{recipe(language)}/{_home(job.root)}/{digest}"


@cache
def _home(root: str) -> str:
    return hashlib.blake2b(root.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
