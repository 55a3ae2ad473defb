"""Choose what of a ranking enters a prompt, to the token: signatures as an outline by file, bodies as source.

Pure: the same candidates, room and counts give the same bytes. Every text begins with an ASCII graphic
character and ends with a newline, so the counts of blocks add up (see `layout`). Room and sizes are tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from glm_lsp.core import layout
from glm_lsp.core.generation import Prompt, Thinking
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.rank import Candidate
from glm_lsp.core.template import SPECIAL_TOKENS, render
from glm_lsp.core.values import Block, BlockKind, Dropped, Span, Symbol, SymbolKind

Count = Callable[[str], int]
MOST_MISSES = 40
"""After so many candidates in a row that do not fit, the rest is not tried."""
EARNING = 0.4
"""How much dearer signatures are put off: at 1 by what a token brings, at 0 by the score alone."""
NO_ROOM = "does not fit its share of the budget"


@dataclass(frozen=True, slots=True)
class Packed:
    """What was chosen, in the order of the prompt, and what was not."""

    blocks: tuple[Block, ...]
    tokens: int
    dropped: tuple[Dropped, ...] = ()


def lines_of(data: bytes) -> tuple[str, ...]:
    """A file's lines without their ends; the last is empty where the file ends with a newline."""
    text = data.decode("utf-8", "replace")
    if "\r" in text:
        text = text.replace("\r\n", "\n")
    return tuple(text.split("\n"))


def line_offset(data: bytes, line: int) -> int:
    """Byte offset of the first byte of a line, counted from 0; the end where there are fewer."""
    at = 0
    for _ in range(line):
        at = data.find(b"\n", at) + 1
        if at == 0:
            return len(data)
    return at


def outline(graph: Graph, candidates: Sequence[Candidate], count: Count, room: int) -> Packed:
    """The best candidates' signatures as blocks by file, files sorted by path, lines in the file's order.

    A method brings its class's line along. The blocks and the outline's title never count more than `room`.
    """
    room -= count(layout.OUTLINE_TITLE)
    chosen: dict[str, dict[str, Symbol]] = {}
    costs: dict[str, int] = {}
    order: list[Candidate] = []
    missed: list[Candidate] = []
    used = misses = 0
    for candidate in earning(candidates, count, costs):
        here = chosen.get(candidate.path, {})
        new = [s for s in _with_parents(graph, candidate) if s.qualified not in here]
        told = {s.span for s in here.values()} if candidate.symbol.kind is SymbolKind.VARIABLE else ()
        cost = sum(_line_cost(s, count, costs) for s in new if s.span not in told)
        if candidate.path not in chosen:
            cost += count(layout.outline_block(candidate.path, ()))
        if used + cost > room:
            missed.append(candidate)
            misses += 1
            if misses >= MOST_MISSES:
                break
            continue
        misses, used = 0, used + cost
        chosen.setdefault(candidate.path, {}).update({s.qualified: s for s in new})
        order.append(candidate)
    blocks = _outline_blocks(chosen, order, count)
    while blocks and sum(b.tokens for b in blocks) > room:
        missed.append(order.pop())
        chosen = {}
        for candidate in order:
            parts = {s.qualified: s for s in _with_parents(graph, candidate)}
            chosen.setdefault(candidate.path, {}).update(parts)
        blocks = _outline_blocks(chosen, order, count)
    tokens = sum(b.tokens for b in blocks) + (count(layout.OUTLINE_TITLE) if blocks else 0)
    return Packed(blocks, tokens, _dropped(missed, count))


def earning(
    candidates: Sequence[Candidate], count: Count, costs: dict[str, int] | None = None
) -> list[Candidate]:
    """The candidates by what each token of their signatures brings: a score is the logarithm of a chance."""
    known: dict[str, int] = {} if costs is None else costs
    return sorted(candidates, key=lambda c: EARNING * math.log(_line_cost(c.symbol, count, known)) - c.score)


def signature_lines(symbol: Symbol) -> str:
    """A signature, indented by how deep the definition is nested."""
    indent = "    " * (symbol.parent.count(".") + 1 if symbol.parent else 0)
    return "\n".join(indent + line for line in symbol.signature.split("\n"))


def bodies(
    candidates: Sequence[Candidate],
    files: Mapping[str, Sequence[str]],
    count: Count,
    room: int,
    title: str = layout.SOURCE_TITLE,
) -> Packed:
    """The best candidates' source, the most relevant last. `files` holds the lines of their files.

    What overlaps a chosen body, or whose file is not in `files`, is left out silently; the rest of the misses
    is reported. `title` is counted where a body is chosen.
    """
    chosen: list[Block] = []
    dropped: list[Dropped] = []
    used = count(title)
    for candidate in candidates:
        lines, symbol = files.get(candidate.path), candidate.symbol
        if lines is None or any(_overlap(b, candidate) for b in chosen):
            continue
        block = body(candidate, lines, count)
        if used + block.tokens > room:
            dropped.append(Dropped(candidate.path, (symbol.qualified,), block.tokens, f"its body {NO_ROOM}"))
            continue
        used += block.tokens
        chosen.append(block)
    return Packed(tuple(reversed(chosen)), used if chosen else 0, tuple(dropped))


def body(candidate: Candidate, lines: Sequence[str], count: Count) -> Block:
    """One definition's lines as a block."""
    symbol = candidate.symbol
    text = "\n".join(lines[symbol.start_line : symbol.end_line + 1])
    shown = layout.source_block(candidate.path, symbol.start_line, symbol.end_line, text)
    return Block(
        kind=BlockKind.BODY,
        path=candidate.path,
        span=symbol.span,
        text=shown,
        tokens=count(shown),
        score=candidate.score,
        start_line=symbol.start_line,
        end_line=symbol.end_line,
        symbols=(symbol.qualified,),
        reason=candidate.reason,
    )


def prompt_tokens(
    prompt: Prompt, count: Count, thinking: Thinking = Thinking.OFF, template: str = "glm-5.2"
) -> int:
    """Tokens of the whole prompt as the engine will see it, the template's own included."""
    tokens = 0
    for piece in render(prompt, thinking, template):
        special, rest = _taken_apart(piece.text) if piece.special else (0, piece.text)
        tokens += special + (count(rest) if rest else 0)
    return tokens


@lru_cache(maxsize=256)
def _taken_apart(text: str) -> tuple[int, str]:
    """How many special tokens a text of the template has, and what is left of it."""
    tokens = 0
    for special in SPECIAL_TOKENS:
        tokens += text.count(special)
        text = text.replace(special, "")
    return tokens, text


def most_that_fits(most: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to `most` for which `fits` holds; -1 where not even 0 does.

    `fits` must not hold again above a number for which it does not.
    """
    if fits(most):
        return most
    low, high = -1, most
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


def _with_parents(graph: Graph, candidate: Candidate) -> list[Symbol]:
    found = [candidate.symbol]
    while parent := found[0].parent:
        symbol = graph.symbol(Target(candidate.path, parent))
        if symbol is None or symbol in found:
            break
        found.insert(0, symbol)
    return found


def _line_cost(symbol: Symbol, count: Count, costs: dict[str, int]) -> int:
    line = signature_lines(symbol) + "\n"
    if line not in costs:
        costs[line] = count(line)
    return costs[line]


def _outline_blocks(
    chosen: Mapping[str, Mapping[str, Symbol]], order: Iterable[Candidate], count: Count
) -> tuple[Block, ...]:
    best: dict[str, Candidate] = {}
    for candidate in order:
        best.setdefault(candidate.path, candidate)
    blocks: list[Block] = []
    for path in sorted(chosen):
        symbols = sorted(chosen[path].values(), key=lambda s: (s.span.start, s.qualified))
        once = {(s.span, s.signature): s for s in symbols}  # one statement may define several names
        text = layout.outline_block(path, [signature_lines(s) for s in once.values()])
        blocks.append(
            Block(
                kind=BlockKind.SKELETON,
                path=path,
                span=Span(symbols[0].span.start, max(s.span.end for s in symbols)),
                text=text,
                tokens=count(text),
                score=best[path].score,
                start_line=symbols[0].start_line,
                end_line=max(s.end_line for s in symbols),
                symbols=tuple(s.qualified for s in symbols),
                reason=f"{best[path].symbol.qualified}: {best[path].reason}",
            )
        )
    return tuple(blocks)


def _overlap(block: Block, candidate: Candidate) -> bool:
    symbol = candidate.symbol
    return (
        block.path == candidate.path
        and block.start_line <= symbol.end_line
        and symbol.start_line <= block.end_line
    )


def _dropped(missed: Sequence[Candidate], count: Count) -> tuple[Dropped, ...]:
    by_file: dict[str, Dropped] = {}
    for candidate in missed:
        old = by_file.get(candidate.path, Dropped(candidate.path, (), 0, f"its signature {NO_ROOM}"))
        tokens = old.tokens + count(signature_lines(candidate.symbol) + "\n")
        symbols = (*old.symbols, candidate.symbol.qualified)
        by_file[candidate.path] = replace(old, symbols=symbols, tokens=tokens)
    return tuple(by_file.values())
