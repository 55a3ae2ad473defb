"""Where the tables of an index (`core.tables`) are kept: beside the outlines that they were made of."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from array import array
from pathlib import Path

from glm_lsp.core.tables import Tables

MAGIC = b"glm-lsp names 1\n"
MOST_BYTES = 1 << 30


class Names:
    """The tables of one base. Implements `core.tables.Source`: called from any thread, and never raises."""

    def __init__(self, path: Path, binding: str) -> None:
        self._path, self._binding = path, binding.encode()

    def tables(self, count: int) -> Tables | None:
        """The tables of `count` files; None where there are none of this base."""
        try:
            handle = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as file:
            try:
                data = file.read(MOST_BYTES)
            except OSError:
                return None
        body = memoryview(data)[len(MAGIC) + 32 :]
        check = hashlib.blake2b(body, digest_size=32, key=self._binding).digest()
        if not data.startswith(MAGIC + check):
            return None
        columns: list[array[int]] = []
        at = 0
        while at < len(body):
            size = int.from_bytes(body[at : at + 8], "little")
            column = array("I")
            column.frombytes(body[at + 8 : at + 8 + size])
            columns.append(column)
            at += 8 + size
        try:
            return Tables.of_columns(columns, count)
        except ValueError:
            return None

    def keep(self, tables: Tables) -> None:
        """Write them for the next time; where that fails they are made again."""
        parts: list[bytes] = []
        for column in tables.columns():
            data = column.tobytes()
            parts += (len(data).to_bytes(8, "little"), data)
        body = b"".join(parts)
        name = ""
        try:
            handle, name = tempfile.mkstemp(prefix=self._path.name, suffix=".part", dir=self._path.parent)
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + hashlib.blake2b(body, digest_size=32, key=self._binding).digest())
                file.write(body)
            Path(name).replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                if name:
                    Path(name).unlink()
