"""Outlines as bytes: between processes, and on disk.

A record has three parts, so that a part can be had without the others: what is always known of a file
(`Facts`), its definitions and imports, and its references in the columns of `core.references`. The path is in
none of them: the same bytes are the same outline anywhere.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import msgspec
from msgspec.structs import force_setattr

from glm_lsp.core.lazy import Definitions
from glm_lsp.core.references import References
from glm_lsp.core.tables import Keys, keys_of
from glm_lsp.core.values import Export, FileOutline, HeldBack, Import, Reference, Span, Symbol

VERSION = 5
_HEAD_BYTES = 8


class Facts(msgspec.Struct, array_like=True, frozen=True):
    """What is known of a file without looking at its definitions and references."""

    digest: str
    language: str
    size_bytes: int
    lines: int
    error: str
    symbols: int
    references: int
    keys: Keys
    project: list[tuple[str, ...]]
    held: list[tuple[int, int, str, int]]


class _Definitions(msgspec.Struct, array_like=True, frozen=True):
    symbols: Sequence[Symbol]
    imports: Sequence[Import]
    exports: Sequence[Export]
    docstring: str


class _Uses(msgspec.Struct, array_like=True, frozen=True):
    names: list[str]
    """Names and qualifiers of references; the columns below hold positions in it."""
    used: list[int]
    qualifiers: list[int]
    steps: list[int]
    """Starts of references, each as the distance from the one before."""


_encode = msgspec.msgpack.Encoder().encode
_decode_facts = msgspec.msgpack.Decoder(Facts).decode
_decode_definitions = msgspec.msgpack.Decoder(_Definitions).decode
_decode_uses = msgspec.msgpack.Decoder(_Uses).decode


def pack(outline: FileOutline) -> bytes:
    """The bytes of an outline, without its path."""
    names, used, qualifiers, starts = _columns(outline.references)
    facts = _encode(
        Facts(
            digest=outline.digest,
            language=outline.language,
            size_bytes=outline.size_bytes,
            lines=outline.lines,
            error=outline.error,
            symbols=len(outline.symbols),
            references=len(outline.references),
            keys=keys_of(outline),
            project=list(outline.project),
            held=[(h.span.start, h.span.end, h.kind, h.line) for h in outline.held],
        )
    )
    definitions = _encode(
        _Definitions(
            symbols=outline.symbols,
            imports=outline.imports,
            exports=outline.exports,
            docstring=outline.docstring,
        )
    )
    steps = [b - a for a, b in zip([0, *starts], starts, strict=False)]
    uses = _encode(_Uses(list(names), used, qualifiers, steps))
    head = len(facts).to_bytes(4, "little") + len(definitions).to_bytes(4, "little")
    return head + facts + definitions + uses


def _columns(references: Sequence[Reference]) -> tuple[Sequence[str], list[int], list[int], list[int]]:
    if isinstance(references, References):
        return references.columns()
    table: dict[str, int] = {}
    used = [table.setdefault(r.name, len(table)) for r in references]
    qualifiers = [table.setdefault(r.qualifier, len(table)) for r in references]
    return tuple(table), used, qualifiers, [r.span.start for r in references]


def facts(data: bytes) -> Facts:
    """The first part of a record. Raises ValueError for bytes that are none."""
    return _decoded(_decode_facts, _parts(data)[0])


def definitions(data: bytes) -> Definitions:
    """The second part. Raises ValueError."""
    packed = _decoded(_decode_definitions, _parts(data)[1])
    for symbol in packed.symbols:
        force_setattr(symbol, "name", sys.intern(symbol.name))  # nobody else has it yet
    return Definitions(tuple(packed.symbols), tuple(packed.imports), tuple(packed.exports), packed.docstring)


def uses(data: bytes) -> References:
    """The third part. Raises ValueError."""
    packed = _decoded(_decode_uses, _parts(data)[2])
    names = tuple(map(sys.intern, packed.names))
    return References(names, packed.used, packed.qualifiers, list(accumulate(packed.steps)))


def unpack(path: str, data: bytes, interned: dict[str, str] | None = None) -> FileOutline:
    """The outline that `pack` made bytes of, for `path`. Raises ValueError for any other bytes.

    Names are interned by Python; `interned` is not needed any more.
    """
    first, second = facts(data), definitions(data)
    return FileOutline(
        path=path,
        digest=first.digest,
        language=first.language,
        symbols=second.symbols,
        references=uses(data),
        imports=second.imports,
        size_bytes=first.size_bytes,
        lines=first.lines,
        error=first.error,
        docstring=second.docstring,
        exports=second.exports,
        project=tuple(first.project),
        held=held_of(first),
    )


def held_of(first: Facts) -> tuple[HeldBack, ...]:
    """The places that are held back."""
    return tuple(HeldBack(Span(start, end), kind, line) for start, end, kind, line in first.held)


def _parts(data: bytes) -> tuple[memoryview, memoryview, memoryview]:
    if len(data) < _HEAD_BYTES:
        raise ValueError("no outline: too short")
    first, second = int.from_bytes(data[:4], "little"), int.from_bytes(data[4:8], "little")
    if _HEAD_BYTES + first + second > len(data):
        raise ValueError("no outline: cut off")
    view, middle = memoryview(data), _HEAD_BYTES + first
    return view[_HEAD_BYTES:middle], view[middle : middle + second], view[middle + second :]


def _decoded(decode: Any, part: memoryview) -> Any:
    try:
        return decode(part)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"no outline: {error}") from None
