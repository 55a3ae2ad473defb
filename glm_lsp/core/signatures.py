"""What the log tells of outlined files: signatures that are not as the trunk tells them, and new ones."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from glm_lsp.core import layout
from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Definitions, Ledger
from glm_lsp.core.pack import Count, signature_lines
from glm_lsp.core.shown import covers
from glm_lsp.core.values import Block, BlockKind, Span, Symbol, SymbolKind

_PUBLIC = re.compile(r"[^\W_]\w*")
"""The name of a definition that is nested in none."""


def with_signatures(
    ledger: Ledger,
    path: str,
    digest: str,
    symbols: Definitions,
    count: Count,
    *,
    private: Collection[str] = (),
    names: Collection[str] | None = None,
    most: int = 0,
) -> Ledger:
    """Log the signatures of a file that the trunk tells otherwise; of `Ledger.known` files new ones too.

    New are those that came after the head was made, but what other files cannot name (`private`). What an
    edit has told of is told. With `names`, those that a place speaks of, the others wait for another place;
    but of new ones at most `most` tokens are told of each state of the file.
    """
    changed = [s for s in _changed(ledger, path, symbols) if not _followed(ledger, path, s)]
    new = [s for s in _new(ledger, path, symbols) if s.qualified not in private]
    new = [s for s in new if not _followed(ledger, path, s)]
    wanted, back = [*changed, *new], _said_gone(ledger, path)
    chosen = [s for s in wanted if names is None or s.name in names or s.qualified in back]
    if names is not None and most and ledger.hinted.get(path) != digest:
        more = [s for s in new if s not in chosen]
        while more and (block := _block(path, more, symbols, count)).tokens > most:
            more = more[: min(len(more) - 1, len(more) * most // block.tokens)]
        chosen += more
        ledger = replace(ledger, hinted={**ledger.hinted, path: digest})
    block = _block(path, chosen, symbols, count)
    if len(chosen) == len(wanted) and all(_last(n).startswith("_") for n in _gone(ledger, path, symbols)):
        ledger = replace(ledger, outlined={**ledger.outlined, path: digest})
    elif chosen:
        ledger = replace(ledger, outlined={**ledger.outlined, path: ""})
    return ledgers.with_log(ledger, [block], count) if chosen else ledger


def with_gone(
    ledger: Ledger,
    path: str,
    symbols: Definitions,
    count: Count,
    most: int,
    *,
    names: Collection[str] | None = None,
) -> Ledger:
    """Log what an outlined file does not define any more, as far as it has at most `most` tokens.

    With `names`, those that a place speaks of, and what others could import.
    """
    gone = _gone(ledger, path, symbols)
    gone = [n for n in gone if names is None or _last(n) in names or _PUBLIC.fullmatch(n)]
    text = layout.gone(path, gone)
    while gone and count(text) > most:
        gone = gone[: len(gone) // 2]
        text = layout.gone(path, gone)
    reason = "not defined any more"
    block = Block(BlockKind.LOG, path, Span(0, 0), text, count(text), symbols=tuple(gone), reason=reason)
    # Even if the file becomes again what it was before: that is not what has been told.
    untold = replace(ledger, outlined={**ledger.outlined, path: ""})
    return ledgers.with_log(untold, [block], count) if gone else ledger


def retracts(ledger: Ledger, path: str, symbols: Definitions) -> bool:
    """Whether the trunk says of something that it is gone, and it is there."""
    return any(name in symbols for name in _said_gone(ledger, path))


def _last(qualified: str) -> str:
    return qualified.rpartition(".")[2]


def _said_gone(ledger: Ledger, path: str) -> set[str]:
    """What the trunk's last word is of that it is gone."""
    said, gone = set[str](), layout.gone_of(path)
    for block in ledger.told_of(path):
        if block.text.startswith(gone):
            said.update(block.symbols)
        else:
            said.difference_update(block.symbols)
    return said


def _gone(ledger: Ledger, path: str, symbols: Definitions) -> list[str]:
    """Names whose signatures the trunk tells, and that are not there. Of source it is the edits that tell."""
    outline, gone = layout.outline_block(path, ()), layout.gone_of(path)
    found: dict[str, None] = {}
    for block in ledger.told_of(path):
        if block.text.startswith(outline):
            found |= dict.fromkeys(name for name in block.symbols if name not in symbols)
        elif block.text.startswith(gone):
            for name in block.symbols:
                found.pop(name, None)
    return list(found)


def _changed(ledger: Ledger, path: str, symbols: Definitions) -> Iterator[Symbol]:
    """What the trunk tells otherwise."""
    last: dict[str, str] = {}
    for block in ledger.told_of(path):
        for name in block.symbols:
            last[name] = block.text
    for name, text in last.items():
        yield from (s for s in symbols.get(name, ())[:1] if not _says(text, path, s))


def is_stale(ledger: Ledger, path: str, symbol: Symbol) -> bool:
    """Whether the last that the trunk says of a definition is another signature."""
    told = (b for b in reversed(ledger.told_of(path)) if symbol.qualified in b.symbols)
    last = next(told, None)
    return last is not None and not _says(last.text, path, symbol)


def _says(text: str, path: str, symbol: Symbol) -> bool:
    """Whether a block has the signature as it is: an outline by itself, source among other words."""
    signature = signature_lines(symbol)
    outline = text.startswith(layout.outline_block(path, ()))
    return f"\n{signature}\n" in text if outline else signature in text


def _new(ledger: Ledger, path: str, symbols: Definitions) -> Iterator[Symbol]:
    """What the trunk does not tell: it came after the head, or changed when the head's word was outdated.

    What the trunk has told of an outdated file still stands where nothing else is said.
    """
    known = ledger.known.get(path)
    if known is None:
        return
    names = {name for block in ledger.told_of(path) for name in block.symbols}
    outdated = path in ledger.outdated
    for name, (symbol, *_) in symbols.items():
        if name in names or symbol.kind is SymbolKind.VARIABLE:
            continue
        before = known.get(name)
        if before is None or (outdated and before[0].signature != symbol.signature):
            yield symbol


def _followed(ledger: Ledger, path: str, symbol: Symbol) -> bool:
    """Whether the trunk shows the lines of the signature as they are."""
    first = symbol.start_line
    return path in ledger.tracked and covers(
        ledger.shown.get(path, ()), first, first + symbol.signature.count("\n")
    )


def _block(path: str, chosen: Sequence[Symbol], symbols: Definitions, count: Count) -> Block:
    """Signatures in the order of the file, each below those that it is nested in."""
    parts = {s.qualified: s for s in chosen}
    for symbol in chosen:
        owner = symbol.parent
        while owner and owner not in parts and owner in symbols:
            parts[owner] = symbols[owner][0]
            owner = parts[owner].parent
    lines = [signature_lines(s) for s in sorted(parts.values(), key=lambda s: s.span.start)]
    text = layout.outline_block(path, lines)
    first, last = min((s.start_line for s in chosen), default=0), max((s.end_line for s in chosen), default=0)
    span = Span(min((s.span.start for s in chosen), default=0), max((s.span.end for s in chosen), default=0))
    names = tuple(parts)
    return Block(
        BlockKind.LOG, path, span, text, count(text), 0.0, first, last, names, "its signature changed"
    )
