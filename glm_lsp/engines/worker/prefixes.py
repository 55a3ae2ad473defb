"""Longest common prefixes over many long runs of tokens, in little memory and no time to speak of.

A run is known by a digest of each of its chunks: 8 bytes per 256 tokens. Comparing those finds the chunk in
which two runs part; the caller has the tokens of that one chunk read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

CHUNK_TOKENS = 256
_CHUNK_BYTES = 4 * CHUNK_TOKENS
Ids = npt.NDArray[np.int32]
Chunks = npt.NDArray[np.uint64]


def to_bytes(tokens: Ids) -> bytes:
    """Tokens as files and digests have them: 4 bytes each, little-endian."""
    return np.ascontiguousarray(tokens, dtype="<i4").tobytes()


def from_bytes(raw: bytes) -> Ids:
    """The other way round; read-only."""
    return np.frombuffer(raw, dtype="<i4").astype(np.int32, copy=False)


def chunks(raw: bytes) -> Chunks:
    """The digests of all whole chunks of a run, given as bytes."""
    ends = range(_CHUNK_BYTES, len(raw) + 1, _CHUNK_BYTES)
    digests = (hashlib.blake2b(raw[end - _CHUNK_BYTES : end], digest_size=8).digest() for end in ends)
    return np.frombuffer(b"".join(digests), dtype=np.uint64)


def common_chunks(a: Chunks, b: Chunks) -> int:
    """How many chunks two runs have in common from the first on."""
    size = min(len(a), len(b))
    differing = np.flatnonzero(a[:size] != b[:size])
    return int(differing[0]) if len(differing) else size


def common_bytes(a: bytes, b: bytes) -> int:
    """How many tokens two runs, given as bytes, have in common from the first on."""
    size = min(len(a), len(b)) // 4
    differing = np.flatnonzero(np.frombuffer(a, np.int32, size) != np.frombuffer(b, np.int32, size))
    return int(differing[0]) if len(differing) else size


def best(
    raw: bytes,
    runs: Iterable[tuple[str, int, Chunks]],
    read: Callable[[str, int, int], bytes],
) -> tuple[str, int]:
    """The name of the run, out of (name, tokens, chunks), with the longest prefix in common with `raw`.

    Returns that length with it, 0 where there is none. `read(name, start, count)` returns tokens of a run as
    bytes, fewer where it cannot; it is asked for one chunk of each of the most promising runs. Of equal ones
    the shortest run is taken: it is loaded soonest.
    """
    wanted = chunks(raw)
    promising: list[tuple[int, str]] = []
    most = 0
    for name, tokens, known in runs:
        whole = common_chunks(wanted, known)
        if whole > most:
            most, promising = whole, []
        if whole == most:
            promising.append((tokens, name))
    found, length = "", 0
    start = most * CHUNK_TOKENS
    rest = raw[4 * start : 4 * start + _CHUNK_BYTES]
    for tokens, name in sorted(promising):
        if tokens <= length:
            continue
        reached = start + common_bytes(rest, read(name, start, min(CHUNK_TOKENS, tokens - start)))
        if reached > length:
            found, length = name, reached
    return found, length
