"""Evaluated prompts on the disk: what one worker has read, the next one need not.

Entries belong to an identity (`worker.identity`); one of another identity is never looked at, a damaged one
never loaded. Losing an entry is never an error, and saving never raises: what somebody should know goes,
once, through `notes`. One thread writes; everything else happens in the caller's.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.disk.store import Refused
from glm_lsp.engines import probe
from glm_lsp.engines.probe import gigabytes
from glm_lsp.engines.worker import kvfile, prefixes, shelf
from glm_lsp.engines.worker.prefixes import Chunks, Ids

AGAIN_S = 600.0
"""After a failed write nothing is written for so long: a full disk does not become empty by trying."""
NEAR_SHARE = 2 / 3
"""Two prompts that have so much of the longer one in common are kept once: as the newer one."""
_ROOM = "Free some space, or lower worker.saved_kv_gb."
_ELSE = "Set GLM_LSP_CACHE to a directory of yours, or worker.saved_kv_gb to 0; then stop the worker once."
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_LEFT_FREE_BYTES = 256 << 20
_MOST_WAITING = 2


@dataclass(frozen=True, slots=True)
class Found:
    """An entry and how many of the tokens asked for it begins with."""

    tokens: int
    entry: str
    entry_tokens: int
    """Cells of the KV cache that restoring it takes, before it is cut to `tokens`."""
    data_bytes: int


@dataclass(frozen=True, slots=True)
class _Known:
    tokens: int
    chunks: Chunks
    data_bytes: int
    tokens_at: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    name: str
    tokens: bytes
    data: memoryview


class SavedKv:
    """The saved prompts of one identity. `notes` gets sentences, from any thread.

    The directory may be shared by any number of workers; `cap_bytes` is for all of it. 0 turns saving and
    loading off.
    """

    def __init__(self, directory: Path, identity: str, cap_bytes: int, notes: Callable[[str], None]) -> None:
        self.directory = directory
        self.identity = identity
        self.cap_bytes = cap_bytes if os.name == "posix" else 0
        self.read_bytes_s = 0.0
        """As measured by the last load; 0 before the first."""
        self.unsaved = ""
        """Why the last write failed, as a sentence; empty where it did not, or there was none."""
        self._key = shelf.key_of(identity)
        self._notes = notes
        self._told: set[str] = set()
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._rejected: set[str] = set()
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._writing = b""
        self._closing = False
        self._abandoned = False
        self._not_before = 0.0
        self._writer = threading.Thread(target=self._write_all, name="saved-kv", daemon=True)
        if self.cap_bytes > 0:
            self._writer.start()

    def best(self, tokens: Ids) -> Found | None:
        """The entry with the longest common prefix, or None. A few milliseconds with hundreds of entries."""
        return self._best(prefixes.to_bytes(tokens)) if self.cap_bytes > 0 and len(tokens) else None

    def newest(self) -> Found | None:
        """The entry that was used last, whole."""
        if self.cap_bytes <= 0:
            return None
        try:
            with self._lock, shelf.opened(self.directory) as directory:
                self._look(directory)
                used = [file.name for file in shelf.lying(directory) if file.name in self._known]
                if not used:
                    return None
                known = self._known[used[-1]]
                return Found(known.tokens, used[-1], known.tokens, known.data_bytes)
        except OSError:
            return None

    def load(self, found: Found, wanted: Callable[[], bool] = lambda: True) -> tuple[memoryview, Ids] | None:
        """An entry's data and all of its tokens, checked; None where it is gone, damaged or does not fit.

        The data is in memory of its own, which is free again when the last view of it is gone. From any
        thread; `wanted` is asked between blocks, and None returned when it says no.
        """
        started = time.perf_counter()
        try:
            with shelf.opened(self.directory) as directory, _closing(directory, found.entry) as handle:
                head, tokens = self._checked(handle, found.entry)
                free = probe.machine().free_bytes
                if free is not None and head.data_bytes + _LEFT_FREE_BYTES > free:
                    raise MemoryError
                data = kvfile.read_data(handle, head, wanted)
                with contextlib.suppress(OSError):
                    os.utime(handle)
        except kvfile.Abandoned:
            return None
        except kvfile.Damaged as damage:
            self._reject(found.entry, str(damage))
            return None
        except MemoryError:
            self.tell(
                "memory",
                f"A saved prompt of {gigabytes(found.data_bytes)} is not loaded, because there is not "
                "enough free memory to read it; it is evaluated anew.",
            )
            return None
        except OSError as error:
            with self._lock:
                self._unreadable(found.entry, error)
            return None
        self.read_bytes_s = head.data_bytes / max(time.perf_counter() - started, 1e-6)
        return data, prefixes.from_bytes(tokens)

    def reject(self, found: Found, reason: str) -> None:
        """Remove an entry that llama.cpp would not have."""
        self._reject(found.entry, reason)

    def wanted(self, tokens: Ids, data_bytes: int = 0) -> bool:
        """Whether `save` would take these tokens: asked before their state is copied, which takes time.

        They are not where an entry begins with all of them; that one then counts as used.
        """
        if not len(tokens) or self._closing or not self._may_write():
            return False
        size = kvfile.size_bytes(self.identity, len(tokens), data_bytes)
        if size > self.cap_bytes:
            self.tell(
                "cap",
                f"A prompt of {len(tokens):,} tokens ({gigabytes(size)}) is not saved: all of them may take "
                f"{gigabytes(self.cap_bytes)} (worker.saved_kv_gb).",
            )
            return False
        raw = prefixes.to_bytes(tokens)
        with self._changed:
            coming = (self._writing, *(waiting.tokens for waiting in self._waiting))
            if len(self._waiting) >= _MOST_WAITING or any(other.startswith(raw) for other in coming):
                return False
        found = self._best(raw)
        if found is None or found.tokens < len(tokens):
            return True
        with contextlib.suppress(OSError), shelf.opened(self.directory) as directory:
            os.utime(found.entry, dir_fd=directory, follow_symlinks=False)
        return False

    def save(self, tokens: Ids, data: memoryview) -> bool:
        """Have the state of these tokens written by the writer thread, which alone holds `data` from now on.

        False where it is not: it is there already, or too much is waiting, or the disk failed a while ago.
        """
        if not len(data) or not self.wanted(tokens, len(data)):
            return False
        raw = prefixes.to_bytes(tokens)
        with self._changed:
            self._waiting.append(_Waiting(shelf.name_of(self.identity, raw), raw, data))
            self._changed.notify_all()
        return True

    def drain(self, wait_s: float) -> bool:
        """Wait until everything is written; false if that took too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._writing, wait_s)

    def close(self, wait_s: float) -> None:
        """Finish writing for at most so long; what is not written by then is lost, and no harm done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self.cap_bytes <= 0:
            return
        self._writer.join(wait_s)
        if self._writer.is_alive():
            self.unsaved = f"What was read last was not saved: writing it to {self.directory} took too long."
        self._abandoned = True
        # Between two blocks it sees that; a disk that hangs is left to hang alone.
        self._writer.join(2.0)

    @property
    def bytes_on_disk(self) -> int:
        """What all entries take, those of other identities too."""
        try:
            with shelf.opened(self.directory) as directory:
                return sum(file.size_bytes for file in shelf.lying(directory))
        except OSError:
            return 0

    def _may_write(self) -> bool:
        return self.cap_bytes > 0 and time.monotonic() >= self._not_before

    def _best(self, raw: bytes) -> Found | None:
        try:
            with self._lock, shelf.opened(self.directory) as directory:
                self._look(directory)

                def read(name: str, start: int, count: int) -> bytes:
                    try:
                        with _closing(directory, name) as handle:
                            return os.pread(handle, 4 * count, self._known[name].tokens_at + 4 * start)
                    except (OSError, kvfile.Damaged):
                        return b""

                runs = ((name, known.tokens, known.chunks) for name, known in self._known.items())
                name, length = prefixes.best(raw, runs, read)
                if not length:
                    return None
                known = self._known[name]
                return Found(length, name, known.tokens, known.data_bytes)
        except OSError:
            return None

    def _look(self, directory: int) -> None:
        """Learn what other workers have added and removed. With the lock held."""
        present = set(shelf.names(directory, self._key))
        for name in self._known.keys() - present:
            del self._known[name]
        for name in present - self._known.keys() - self._rejected:
            try:
                with _closing(directory, name) as handle:
                    head, tokens = self._checked(handle, name)
            except kvfile.Damaged as damage:
                self._refuse(directory, name, str(damage))
            except OSError as error:
                self._unreadable(name, error)
            else:
                self._known[name] = _Known(
                    head.tokens, prefixes.chunks(tokens), head.data_bytes, head.tokens_at
                )

    def _checked(self, handle: int, name: str) -> tuple[kvfile.Head, bytes]:
        head = kvfile.read_head(handle)
        if head.identity != self.identity:
            raise kvfile.Damaged("it belongs to another model, engine or kind of prompt than its name says")
        tokens = kvfile.read_tokens(handle, head)
        if shelf.name_of(self.identity, tokens) != name:
            raise kvfile.Damaged("it holds other tokens than its name says")
        return head, tokens

    def _reject(self, name: str, reason: str) -> None:
        with self._lock, contextlib.suppress(OSError), shelf.opened(self.directory) as directory:
            self._refuse(directory, name, reason)

    def _refuse(self, directory: int, name: str, reason: str) -> None:
        """Never look at a file again, and remove it. With the lock held."""
        self._known.pop(name, None)
        gone = shelf.remove(directory, name)
        if not gone:
            self._rejected.add(name)
        self.tell(
            name,
            f"The saved prompt {self.directory / name} was not used: {reason}. "
            + ("It has been removed." if gone else "It cannot be removed; remove it."),
        )

    def _unreadable(self, name: str, error: OSError) -> None:
        """A file that is gone is nothing to speak of; one on a failing disk is not tried again. With the lock
        held."""
        self._known.pop(name, None)
        if error.errno not in (errno.ENOENT, errno.EMFILE, errno.ENFILE):
            self._rejected.add(name)
        if error.errno != errno.ENOENT:
            self.tell(
                f"read {error.errno}",
                f"The saved prompt {self.directory / name} cannot be read: {error.strerror or error}. "
                "It is evaluated anew.",
            )

    def tell(self, subject: str, sentence: str) -> None:
        """Each thing once: a worker may live for weeks."""
        if subject not in self._told:
            self._told.add(subject)
            self._notes(sentence)

    def _write_all(self) -> None:
        """The writer thread."""
        if sys.platform == "linux":
            # One thread's priority: the model's threads go first.
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        with (
            self._attempt("What is read"),
            shelf.opened(self.directory, make=True) as directory,
        ):
            with shelf.locked(directory):
                shelf.remove_abandoned(directory)
                shelf.make_room(directory, 0, self.cap_bytes)
            with self._lock:
                self._look(directory)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting or self._abandoned:
                    return
                job = self._waiting.popleft()
                self._writing = job.tokens
            if self._may_write():
                with self._attempt(f"A prompt of {len(job.tokens) // 4:,} tokens"):
                    self._write(job)
            # It may be many gigabytes, and the next one may be long in coming.
            del job
            with self._changed:
                self._writing = b""
                self._changed.notify_all()

    @contextlib.contextmanager
    def _attempt(self, what: str) -> Generator[None]:
        """Nothing that goes wrong with the disk is more than a sentence."""
        try:
            yield
        except kvfile.Abandoned:
            return
        except shelf.NoRoom as full:
            if full.disk:
                reason = f"the disk with {self.directory} is nearly full"
                self._failed("room", f"{what} was not saved: {reason}. {_ROOM}")
        except Refused as error:
            self._failed("directory", f"{what} cannot be saved: {self.directory} is unused, {error}. {_ELSE}")
        except FileNotFoundError as error:
            # Removed under us the next save makes it anew, if it can be made.
            if os.name == "posix" and not self._makes():
                self._unwritable(what, error)
        except OSError as error:
            if error.errno in _FULL:
                reason = f"the disk with {self.directory} is full"
                self._failed(f"write {error.errno}", f"{what} was not saved: {reason}. {_ROOM}")
            else:
                self._unwritable(what, error)

    def _makes(self) -> bool:
        with contextlib.suppress(OSError, Refused), shelf.opened(self.directory, make=True):
            return True
        return False

    def _unwritable(self, what: str, error: OSError) -> None:
        reason = f"the directory {self.directory} cannot be written to ({error.strerror or error})"
        self._failed(f"write {error.errno}", f"{what} cannot be saved: {reason}. {_ELSE}")

    def _failed(self, subject: str, sentence: str) -> None:
        self.unsaved = sentence
        self._not_before = time.monotonic() + AGAIN_S
        self.tell(subject, sentence)

    def _write(self, job: _Waiting) -> None:
        with shelf.opened(self.directory, make=True) as directory:
            with self._lock:
                self._look(directory)
                superseded = self._superseded(directory, job)
            size = kvfile.size_bytes(self.identity, len(job.tokens) // 4, len(job.data))
            part, handle = shelf.reserve(directory, job.name, size, self.cap_bytes, superseded)
            try:
                kvfile.write(handle, self.identity, job.tokens, job.data, lambda: not self._abandoned)
                os.replace(part, job.name, src_dir_fd=directory, dst_dir_fd=directory)
            except BaseException:
                shelf.remove(directory, part)
                raise
            finally:
                os.close(handle)
            with contextlib.suppress(OSError):
                os.fsync(directory)
            # Only now: the newer one is safely there.
            for name in superseded:
                shelf.remove(directory, name)
            with self._lock:
                self._rejected.discard(job.name)
            self.unsaved = ""

    def _superseded(self, directory: int, job: _Waiting) -> list[str]:
        """The entries that are no longer needed beside the new one: it begins with them, or nearly does.

        The rest of a near one is evaluated again if it is ever wanted: dearer than the disk, but each place
        in a repository that somebody completes at once would leave a copy of nearly the same gigabytes.
        """
        names: list[str] = []
        begins = prefixes.chunks(job.tokens)
        count = len(job.tokens) // 4
        for name, known in self._known.items():
            common = prefixes.CHUNK_TOKENS * prefixes.common_chunks(known.chunks, begins)
            if common >= NEAR_SHARE * max(count, known.tokens):
                names.append(name)
            elif common // prefixes.CHUNK_TOKENS == len(known.chunks) and known.tokens < count:
                with contextlib.suppress(OSError, kvfile.Damaged), _closing(directory, name) as handle:
                    if job.tokens.startswith(os.pread(handle, 4 * known.tokens, known.tokens_at)):
                        names.append(name)
        return [name for name in names if name != job.name]


@contextlib.contextmanager
def _closing(directory: int, name: str) -> Generator[int]:
    handle = shelf.open_file(directory, name)
    try:
        yield handle
    finally:
        os.close(handle)
