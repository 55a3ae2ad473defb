"""Outlines as bytes: between processes, and on disk.

References go in the columns of `core.references`. The path is not part of it: the same bytes are the same
outline anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec

from glm_lsp.core.references import References
from glm_lsp.core.values import Export, FileOutline, HeldBack, Import, Reference, Span, Symbol, SymbolKind

VERSION = 2


class _Symbol(msgspec.Struct, array_like=True, frozen=True, gc=False):
    name: str
    kind: SymbolKind
    span: tuple[int, int]
    signature: str
    parent: str | None
    docstring: str
    name_span: tuple[int, int]
    body: tuple[int, int]
    lines: tuple[int, int]


class _Packed(msgspec.Struct, array_like=True, frozen=True):
    digest: str
    language: str
    size_bytes: int
    lines: int
    error: str
    docstring: str
    symbols: list[_Symbol]
    imports: list[tuple[str, str, str, int]]
    names: list[str]
    """Names and qualifiers of references; the columns below hold positions in it."""
    used: list[int]
    qualifiers: list[int]
    steps: list[int]
    """Starts of references, each as the distance from the one before."""
    exports: list[tuple[str, str, str]]
    project: list[tuple[str, ...]]
    held: list[tuple[int, int, str, int]]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Packed).decode


def pack(outline: FileOutline) -> bytes:
    """The bytes of an outline, without its path."""
    names, used, qualifiers, starts = _columns(outline.references)
    steps = [b - a for a, b in zip([0, *starts], starts, strict=False)]
    return _encode(
        _Packed(
            digest=outline.digest,
            language=outline.language,
            size_bytes=outline.size_bytes,
            lines=outline.lines,
            error=outline.error,
            docstring=outline.docstring,
            symbols=[_pack_symbol(s) for s in outline.symbols],
            imports=[(i.module, i.name, i.alias, i.level) for i in outline.imports],
            names=list(names),
            used=used,
            qualifiers=qualifiers,
            steps=steps,
            exports=[(e.name, e.local, e.module) for e in outline.exports],
            project=list(outline.project),
            held=[(h.span.start, h.span.end, h.kind, h.line) for h in outline.held],
        )
    )


def _columns(references: Sequence[Reference]) -> tuple[Sequence[str], list[int], list[int], list[int]]:
    if isinstance(references, References):
        return references.columns()
    table: dict[str, int] = {}
    used = [table.setdefault(r.name, len(table)) for r in references]
    qualifiers = [table.setdefault(r.qualifier, len(table)) for r in references]
    return tuple(table), used, qualifiers, [r.span.start for r in references]


def unpack(path: str, data: bytes, interned: dict[str, str]) -> FileOutline:
    """The outline that `pack` made bytes of, for `path`.

    `interned` holds one copy of each name and is added to. Raises ValueError for any other bytes.
    """
    try:
        packed = _decode(data)
        names = [interned.setdefault(name, name) for name in packed.names]
        references = References(names, packed.used, packed.qualifiers, list(accumulate(packed.steps)))
        return FileOutline(
            path=path,
            digest=packed.digest,
            language=packed.language,
            symbols=tuple(_unpack_symbol(s, interned) for s in packed.symbols),
            references=references,
            imports=tuple(Import(*i) for i in packed.imports),
            size_bytes=packed.size_bytes,
            lines=packed.lines,
            error=packed.error,
            docstring=packed.docstring,
            exports=tuple(Export(*e) for e in packed.exports),
            project=tuple(packed.project),
            held=tuple(HeldBack(Span(start, end), kind, line) for start, end, kind, line in packed.held),
        )
    except msgspec.MsgspecError as error:
        raise ValueError(f"no outline: {error}") from None


def _pack_symbol(symbol: Symbol) -> _Symbol:
    return _Symbol(
        symbol.name,
        symbol.kind,
        (symbol.span.start, symbol.span.end),
        symbol.signature,
        symbol.parent,
        symbol.docstring,
        (symbol.name_span.start, symbol.name_span.end),
        (symbol.body.start, symbol.body.end),
        (symbol.start_line, symbol.end_line),
    )


def _unpack_symbol(packed: _Symbol, interned: dict[str, str]) -> Symbol:
    return Symbol(
        interned.setdefault(packed.name, packed.name),
        packed.kind,
        Span(*packed.span),
        packed.signature,
        packed.parent,
        packed.docstring,
        Span(*packed.name_span),
        Span(*packed.body),
        *packed.lines,
    )
