"""Packed outlines in a file, read one at a time.

Nothing is mapped into memory: a mapped file that shrinks is a signal that ends the process. Each record has a
checksum, so that a damaged one is empty instead of wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from glm_lsp.core.lazy import Definitions, LazyOutline, lazy
from glm_lsp.core.references import References
from glm_lsp.core.tables import Keys
from glm_lsp.core.values import HeldBack, Span
from glm_lsp.workspace import encoding

CHECK_BYTES = 8
KEPT_BYTES = 48 << 20
"""Of records whose parts are remembered; decoded they take a few times as much."""
_NO_USES = References((), (), (), ())


def checksum(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=CHECK_BYTES).digest()


class Records:
    """Records by number, in a file that only grows. Implements `core.lazy.Records`.

    Where the file cannot be written (a full disk), new records stay in memory: `problem` says why.
    """

    def __init__(self) -> None:
        self.offsets, self.lengths, self.checks = array("Q"), array("I"), bytearray()
        self.damaged: set[int] = set()
        """Rows that could not be read."""
        self.problem = ""
        self._handle = -1
        self._end = 0
        self._memory: dict[int, bytes] = {}
        self._parts: OrderedDict[tuple[int, int], Definitions | References] = OrderedDict()
        self._kept_bytes = 0
        self._lock = threading.Lock()

    @classmethod
    def spool(cls, directory: Path | None) -> Records:
        """Records to be added to, in a file without a name below `directory`; None: in memory."""
        made = cls()
        if directory is not None:
            try:
                with tempfile.TemporaryFile(dir=directory) as file:
                    made._handle = os.dup(file.fileno())
            except OSError as error:
                made.problem = error.strerror or "system error"
        return made

    def read_from(self, handle: int) -> None:
        """The file that holds them, to be closed with this."""
        self._handle = handle

    def add(self, data: bytes, check: bytes = b"") -> int:
        """Keep a record; its number."""
        row = len(self.offsets)
        self.offsets.append(self._end)
        self.lengths.append(len(data))
        self.checks += check or checksum(data)
        if self._handle < 0 or self.problem:
            self._memory[row] = data
            return row
        try:
            written = os.pwrite(self._handle, data, self._end)
            if written != len(data):
                raise OSError(28, "no space left")
            self._end += written
        except OSError as error:
            self.problem = (error.strerror or "system error").lower()
            self._memory[row] = data
        return row

    def record(self, row: int) -> bytes | None:
        """The bytes of a record; None for one that cannot be read, or is not what was written."""
        data = self._memory.get(row)
        if data is None:
            try:
                data = os.pread(self._handle, self.lengths[row], self.offsets[row])
            except OSError:
                data = b""
        if checksum(data) == bytes(self.checks[CHECK_BYTES * row : CHECK_BYTES * (row + 1)]):
            return data
        self.damaged.add(row)
        return None

    def definitions(self, row: int) -> Definitions:
        found = self._part(row, 1)
        return found if isinstance(found, Definitions) else Definitions()

    def uses(self, row: int) -> References:
        found = self._part(row, 2)
        return found if isinstance(found, References) else _NO_USES

    def keys(self, row: int) -> Keys:
        try:
            return encoding.facts(self.record(row) or b"").keys
        except ValueError:
            return Keys()

    def outline(self, path: str, row: int, first: encoding.Facts) -> LazyOutline:
        """The outline of a record, whose facts are given."""
        return lazy(
            path=path,
            digest=first.digest,
            language=first.language,
            size_bytes=first.size_bytes,
            lines=first.lines,
            error=first.error,
            project=tuple(first.project),
            held=encoding.held_of(first),
            records=self,
            row=row,
        )

    def outline_of(
        self,
        path: str,
        row: int,
        facts: tuple[str, str, int, int, str, int, int],
        project: Sequence[tuple[str, ...]] = (),
        held: Sequence[tuple[int, int, str, int]] = (),
    ) -> LazyOutline:
        """The outline of a record of a file: digest, language, bytes, lines and error are given."""
        digest, language, size_bytes, lines, error, _, _ = facts
        return lazy(
            path=path,
            digest=digest,
            language=language,
            size_bytes=size_bytes,
            lines=lines,
            error=error,
            project=tuple(project),
            held=tuple(HeldBack(Span(start, end), kind, line) for start, end, kind, line in held)
            if held
            else (),
            records=self,
            row=row,
        )

    def close(self) -> None:
        """Outlines that are still in use are empty from now on."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)

    def __del__(self) -> None:
        self.close()

    def _part(self, row: int, part: int) -> Definitions | References | None:
        key = (row, part)
        with self._lock:
            if (found := self._parts.get(key)) is not None:
                self._parts.move_to_end(key)
                return found
        data = self.record(row)
        if data is None:
            return None
        try:
            found = encoding.definitions(data) if part == 1 else encoding.uses(data)
        except ValueError:
            self.damaged.add(row)
            return None
        with self._lock:
            if key not in self._parts:
                self._parts[key] = found
                self._kept_bytes += self.lengths[row]
            while self._kept_bytes > KEPT_BYTES:
                (old, _), _ = self._parts.popitem(last=False)
                self._kept_bytes -= self.lengths[old]
        return found
