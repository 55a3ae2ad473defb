"""Outlines, and the questions about a place in a file that need its tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tree_sitter import Node, Tree

from glm_lsp.core import text
from glm_lsp.core.imports.config import project_facts
from glm_lsp.core.syntax import python, reader
from glm_lsp.core.syntax.languages import row
from glm_lsp.core.syntax.memo import Memo
from glm_lsp.core.syntax.pysymbols import docstring_node
from glm_lsp.core.syntax.trees import chain, parse, soon
from glm_lsp.core.syntax.uses import uses
from glm_lsp.core.values import FileOutline, Span, Symbol, SymbolKind

NO_GRAMMAR = "no grammar for this language"
TOO_SLOW = "takes the parser too long"


def outline(
    path: str,
    data: bytes,
    language: str,
    *,
    tree: Tree | None = None,
    halt: Callable[[], bool] | None = None,
    memo: Memo | None = None,
    digest: str = "",
) -> FileOutline:
    """What the index knows about one file. Never raises on any bytes, except `Halted` when `halt` says so.

    Without a `halt` a text that takes the parser many times as long as others gets an outline with an error.
    `tree` must be a tree of exactly `data`; `memo` is what earlier texts of the same file have left, which
    makes it quicker and changes nothing; `digest` is what the file is known by, if not that of `data`.
    Without a grammar the names that occur are known, besides size and number of lines, and what a project's
    configuration says.
    """
    digest, size, lines = digest or text.digest(data), len(data), _lines(data)
    known = row(language)
    if tree is None:
        tree = parse(data, language, halt=halt) if halt is not None else soon(data, language)
    if tree is None and known.package:
        return FileOutline(path, digest, language, size_bytes=size, lines=lines, error=TOO_SLOW)
    if tree is None:
        return FileOutline(
            path=path,
            digest=digest,
            language=language,
            references=() if known.prose else uses(data, known.lexicon, halt=halt),
            size_bytes=size,
            lines=lines,
            error=NO_GRAMMAR,
            project=project_facts(data, language, path),
        )
    if language == "python":
        facts = python.read(tree, data, halt, memo)
    else:
        facts = reader.read(tree, data, language, halt, memo)
    return FileOutline(
        path=path,
        digest=digest,
        language=language,
        symbols=facts.symbols,
        references=facts.references,
        imports=facts.imports,
        size_bytes=size,
        lines=lines,
        docstring=facts.docstring,
        exports=facts.exports,
    )


def definitions(data: bytes, language: str, *, tree: Tree | None = None) -> tuple[Symbol, ...]:
    """The classes and functions of an outline alone, at a fraction of its cost; none without a grammar, nor
    for a text that takes the parser many times as long as others.
    """
    tree = tree or soon(data, language)
    if tree is None:
        return ()
    return (
        python.definitions(tree, data) if language == "python" else reader.definitions(tree, data, language)
    )


def definitions_at(symbols: Sequence[Symbol], offset: int) -> tuple[Symbol, ...]:
    """The definitions that hold byte `offset`, outermost first; variables do not count."""
    return tuple(
        s
        for s in symbols
        if s.kind is not SymbolKind.VARIABLE and s.span.start <= offset < max(s.span.end, s.span.start + 1)
    )


def enclosing_definition(
    data: bytes, language: str, offset: int, *, tree: Tree | None = None
) -> Symbol | None:
    """The innermost class or function around byte `offset`, decorators included; None at module level."""
    found = definitions_at(definitions(data, language, tree=tree), offset)
    return found[-1] if found else None


def docstring_span(data: bytes, language: str, block: Span, *, tree: Tree | None = None) -> Span | None:
    """Where the docstring of the definition stands whose body is `block`, quotes included; None without one.

    The module's own: give the span of the whole file.
    """
    tree = tree or soon(data, language)
    if tree is None or row(language).documents != "string":
        return None
    root = tree.root_node
    if block.start == 0 and block.end >= len(data):
        node = docstring_node(data, root)
    else:
        owners = [n for n in chain(tree, block.start) if n.type == "block" and n.start_byte == block.start]
        node = docstring_node(data, owners[0]) if owners else None
    return Span(node.start_byte, node.end_byte) if node else None


def block_end(data: bytes, language: str, offset: int, *, tree: Tree | None = None) -> int:
    """Byte offset where the block ends in which `offset` stands; `len(data)` at module level.

    On a line that is blank up to the offset its indentation decides, as it does for the next statement typed.
    Without a grammar the block ends where the indentation first falls below that of the line.
    """
    tree = tree or soon(data, language)
    known = row(language)
    start = data.rfind(b"\n", 0, offset) + 1
    before = data[start:offset]
    blank = not before.strip()
    if tree is None:
        return _indented_end(data, offset, _indent(data[start : _line_end(data, start)]))
    anchor = len(data[:offset].rstrip())
    blocks = [n for n in chain(tree, max(anchor - 1, 0)) if n.type in known.blocks]
    if known.braces:
        blocks = [n for n in chain(tree, offset) if n.type in known.blocks and n.start_byte < offset]
    elif blank:
        blocks = [n for n in blocks if _column(data, n) <= len(before)]
    if not blocks:
        return len(data)
    return max(blocks[-1].end_byte, offset)


def _column(data: bytes, block: Node) -> int:
    """The column of a block's statements; of its statement's line where it stands on the same line."""
    return block.start_point.column


def _indent(line: bytes) -> int:
    return len(line) - len(line.lstrip(b" \t"))


def _line_end(data: bytes, start: int) -> int:
    end = data.find(b"\n", start)
    return len(data) if end < 0 else end


def _indented_end(data: bytes, offset: int, indent: int) -> int:
    end = at = _line_end(data, offset)
    while at < len(data):
        stop = _line_end(data, at + 1)
        line = data[at + 1 : stop]
        if line.strip() and _indent(line) < indent:
            break
        if line.strip():
            end = stop
        at = stop
    return end


def _lines(data: bytes) -> int:
    return data.count(b"\n") + (1 if data and not data.endswith(b"\n") else 0)
