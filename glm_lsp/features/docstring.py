"""Docstrings where they are missing: the place, the indentation and the quotes are ours, the sentence is the
model's.

The answer is bounded by a grammar where the engine knows grammars, and is checked by `sentence` everywhere.
A file may change by its new docstrings only: `same_but_docstrings` compares the syntax trees.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tree_sitter import Node

from glm_lsp.core import guard
from glm_lsp.core.edits import apply_edits
from glm_lsp.core.errors import BudgetError
from glm_lsp.core.generation import Work
from glm_lsp.core.layout import docstring_tail
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import soon, walk
from glm_lsp.core.values import (
    Change,
    Document,
    Refusal,
    RefusalKind,
    Span,
    Symbol,
    SymbolKind,
    TextEdit,
)
from glm_lsp.features.asking import OnProgress, Place, Question, consult, room_for, silent
from glm_lsp.features.session import Session

LEAST_CHARS, MOST_CHARS = 10, 120
ANSWER_TOKENS = 64
MARGIN_TOKENS = 8
SOURCE_LINES = 60
"""A definition is shown to the model up to this many lines."""
GRAMMAR = rf"""root ::= first rest{{{LEAST_CHARS - 3},{MOST_CHARS - 12}}} "." "\"\"\""
first ::= [A-Z]
rest ::= [^."\\\x00-\x1F\x7F] | "." [a-z0-9_]
"""
"""One line without quotes and backslashes; a dot inside stands before a lower-case letter. The closing quotes
belong to it: period and quotes are often one token, and a model that may not write it rambles on instead."""
_SENTENCE = re.compile(
    rf"[^\"\\\x00-\x1f\x7f-\x9f]{{{LEAST_CHARS - 1},{MOST_CHARS - 1}}}?(?<!e\.g)(?<!i\.e)\.(?=\s|$)"
)
_DEFINITIONS = ("function_definition", "class_definition")
_STRING = re.compile(rb"[(\s]*[rRuUbBfF]{0,2}[\"']")
_STATEMENTS = frozenset(
    {
        *("module", "block", "ERROR", "decorated_definition", *_DEFINITIONS),
        *("if_statement", "elif_clause", "else_clause", "for_statement", "while_statement"),
        *("try_statement", "except_clause", "except_group_clause", "finally_clause", "with_statement"),
        *("match_statement", "case_clause"),
    }
)
_UNDOCUMENTED_DECORATORS = re.compile(r"@\s*(?:[\w.]+\.)?overload\b|@\s*[\w.]+\.(?:setter|deleter|getter)\b")


@dataclass(frozen=True, slots=True)
class Gap:
    """A definition without a docstring, and where one would stand.

    `before`, the sentence and `after` take the place of `where`. Where `problem` says why none can be put in,
    there is no such place.
    """

    name: str
    definition: Span
    """Decorators included."""
    source: str
    """The definition as the model sees it: dedented, LF, the first lines."""
    where: Span
    before: str = ""
    after: str = ""
    problem: str = ""
    minor: bool = False
    """Private or inside a function: documented when asked for by itself, not by 'all that are missing'."""

    def edit(self, text: str) -> TextEdit:
        return TextEdit(self.where, self.before + text + self.after)


def gaps(document: Document) -> tuple[Gap, ...]:
    """The definitions of a Python file that lack a docstring, in order; none for stubs and other languages.

    Overloads and property setters do not count: their documentation stands elsewhere.
    """
    tree = None if document.path.endswith(".pyi") else soon(document.data, document.language)
    if tree is None or document.language != "python":
        return ()
    style = _Style.of(document.data, tree.root_node)
    found = _undocumented(document.data, tree.root_node)
    return tuple(_gap(node, names, document.data, style) for node, names in found)


def undocumented(data: bytes, symbol: Symbol) -> bool:
    """Whether an outline's symbol has no docstring, as far as the text around it tells: no tree is made."""
    if symbol.kind is SymbolKind.VARIABLE or symbol.docstring:
        return False
    head = data[symbol.span.start : symbol.name_span.start].decode("utf-8", "replace").split("\n")
    if any(_UNDOCUMENTED_DECORATORS.match(line.strip()) for line in head):
        return False
    return not _STRING.match(data[symbol.body.start : symbol.body.start + 16])


def _undocumented(data: bytes, root: Node) -> Iterator[tuple[Node, tuple[str, ...]]]:
    """Definitions without a docstring, each with the parts of its name; `<` first if inside a function."""
    open_: list[tuple[Node, str]] = []
    for node in walk(root, _holds_statements):
        if node.type not in _DEFINITIONS:
            continue
        while open_ and open_[-1][0].end_byte <= node.start_byte:
            open_.pop()
        name, body = node.child_by_field_name("name"), node.child_by_field_name("body")
        if name is None or body is None:
            continue
        open_.append((node, _text(data, name)))
        decorators = _decorators(data, node)
        if not _documented(body) and not any(_UNDOCUMENTED_DECORATORS.match(d) for d in decorators):
            inside = any(outer.type == "function_definition" for outer, _ in open_[:-1])
            yield node, (*("<" * inside), *(n for _, n in open_))


def _holds_statements(node: Node) -> bool:
    """Whether definitions may stand under a node: expressions, most of a tree, are passed over."""
    return node.type in _STATEMENTS


def _first(body: Node) -> Node | None:
    """The first statement of a block."""
    return next((c for c in body.named_children if c.type != "comment"), None)


def _documented(body: Node) -> bool:
    """Whether a string opens the body, in whatever form: an odd one is left to its author."""
    node = _first(body)
    while node is not None and node.type in ("expression_statement", "parenthesized_expression"):
        node = node.named_children[0] if node.named_child_count == 1 else None
    return node is not None and node.type in ("string", "concatenated_string")


def _decorators(data: bytes, node: Node) -> list[str]:
    parent = node.parent
    if parent is None or parent.type != "decorated_definition":
        return []
    return [_text(data, child) for child in parent.named_children if child.type == "decorator"]


def _text(data: bytes, node: Node) -> str:
    return data[node.start_byte : node.end_byte].decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Style:
    """What the file's own text looks like."""

    quotes: str
    unit: str
    """One level of indentation."""

    @classmethod
    def of(cls, data: bytes, root: Node) -> _Style:
        single = double = 0
        unit = ""
        for node in walk(root, _holds_statements):
            if node.type != "block" or node.named_child_count == 0:
                continue
            first = node.named_children[0]
            if _documented(node):
                opening = _text(data, first).lstrip("rRuU")
                single += opening.startswith("'''")
                double += opening.startswith('"""')
            owner = node.parent
            if not unit and owner is not None and owner.start_point.column == 0:
                lead = _lead(data, first.start_byte)
                unit = lead if lead and not lead.strip() else ""
        return cls("'''" if single > double else '"""', unit or "    ")


def _lead(data: bytes, offset: int) -> str:
    """What stands before `offset` on its line."""
    return data[data.rfind(b"\n", 0, offset) + 1 : offset].decode("utf-8", "replace")


def _gap(node: Node, names: tuple[str, ...], data: bytes, style: _Style) -> Gap:
    inside = names[0] == "<"
    parts = names[1:] if inside else names
    decorated = node.parent if node.parent and node.parent.type == "decorated_definition" else node
    gap = Gap(
        name=".".join(parts),
        definition=Span(decorated.start_byte, decorated.end_byte),
        source=_shown(data[decorated.start_byte : decorated.end_byte], decorated.start_point.column),
        where=Span(node.start_byte, node.start_byte),
        minor=inside or any(part.startswith("_") for part in parts),
    )
    placed = _place(node, data, style)
    if isinstance(placed, str):
        return Gap(gap.name, gap.definition, gap.source, gap.where, problem=placed, minor=gap.minor)
    where, before, after = placed
    return Gap(gap.name, gap.definition, gap.source, where, before, after, minor=gap.minor)


def _shown(source: bytes, column: int) -> str:
    lines = source.decode("utf-8", "replace").replace("\r\n", "\n").split("\n")[:SOURCE_LINES]
    rest = (line[min(column, len(line) - len(line.lstrip())) :] for line in lines[1:])
    return "\n".join([lines[0], *rest]).rstrip() + "\n"


def _place(node: Node, data: bytes, style: _Style) -> tuple[Span, str, str] | str:
    """Where the docstring goes and what stands around its sentence, or why there is no place for it."""
    body = node.child_by_field_name("body")
    colon = next((c for c in reversed(node.children) if c.type == ":"), None)
    statements = [c for c in body.named_children if c.type != "comment"] if body else []
    line = node.start_point.row + 1
    if body is None or colon is None or not statements or node.has_error:
        return f"The definition at line {line} has syntax errors; mend them first."
    end = data.find(b"\n", colon.end_byte)
    end = len(data) if end < 0 else end
    ending = "\r\n" if data[:end].endswith(b"\r") else "\n"
    first = statements[0]
    if b"\r" in data[colon.end_byte : first.start_byte].replace(b"\r\n", b""):
        return f"The definition at line {line} has a line that ends in a lone carriage return; mend it first."
    if first.start_point.row == colon.end_point.row:
        lead = _lead(data, node.start_byte)
        if lead.strip():
            return f"The definition at line {line} does not begin its line."
        indent = ending + lead + style.unit
        return Span(colon.end_byte, first.start_byte), indent + style.quotes, style.quotes + indent
    between = data[colon.end_byte : end].strip()
    lead = _lead(data, first.start_byte)
    if lead.strip() or (between and not between.startswith(b"#")):
        return f"The body of the definition at line {line} does not begin a line of its own."
    following = data[end + 1 :].split(b"\n", 1)[0]
    apart = ending if node.type == "class_definition" and following.strip() else ""
    return Span(end + 1, end + 1), lead + style.quotes, style.quotes + ending + apart


def sentence(answer: str) -> str:
    """The one sentence of an answer, or an empty string where there is none that may stand.

    What an engine without grammars wraps around it (quotes, a fence) is taken off; after the first sentence,
    the rest is left out. It is never completed or shortened into something the model did not write.
    """
    text = re.sub(r"\A\s*```\w*\n", "", answer).strip()
    text = re.sub(r'\A[rR]?("""|\'\'\')', "", text).lstrip()
    text = re.split(r'"""|\'\'\'|\n', text, maxsplit=1)[0].strip().strip("`").strip()
    match = _SENTENCE.match(text)
    found = match[0] if match else ""
    plain = found.isprintable() and not re.search(r"<\||\|>|'''", found) and found[:1].isalnum()
    return found if plain else ""


def same_but_docstrings(before: bytes, after: bytes, edits: Sequence[TextEdit], language: str) -> bool:
    """Whether `after` is `before` with `edits`, and its tree differs by one docstring per edit only."""
    if apply_edits(before, edits) != after:
        return False
    old, new = soon(before, language), soon(after, language)
    if old is None or new is None:
        return False
    inserted: set[int] = set()
    moved = 0
    for edit in edits:
        at = edit.span.start + moved + len(edit.text) - len(edit.text.lstrip())
        inserted.add(at)
        moved += len(edit.text.encode("utf-8")) - len(edit.span)
    skipped = {
        first.id
        for block in walk(new.root_node)
        if block.type == "block" and (first := _first(block)) is not None
        if first.start_byte in inserted and _documented(block)
    }
    if len(skipped) != len(edits):
        return False
    return list(_shape(before, old.root_node, set())) == list(_shape(after, new.root_node, skipped))


def _shape(data: bytes, root: Node, skipped: set[int]) -> Iterator[tuple[str, str, int]]:
    """Type, leaf text and number of children of each node, parents first: all there is to a tree.

    Comments and `skipped` are left out.
    """

    def counts(node: Node) -> bool:
        return node.type != "comment" and node.id not in skipped

    for node in walk(root, counts):
        if counts(node):
            children = node.children
            yield node.type, "" if children else _text(data, node), sum(map(counts, children))


async def write(
    session: Session,
    snapshot: Snapshot,
    document: Document,
    wanted: Sequence[Gap],
    on_progress: OnProgress = silent,
    *,
    work: Work = Work.REFACTOR,
) -> tuple[Change | None, tuple[Refusal, ...]]:
    """Ask for one sentence per gap; the change that puts them in, and what could not be done.

    Raises an EngineError: without an engine, the other gaps cannot be filled either.
    """
    edits: list[TextEdit] = []
    refusals: list[Refusal] = []
    for number, gap in enumerate(wanted, start=1):
        reason = gap.problem
        if not reason:
            on_progress(f"{gap.name} ({number} of {len(wanted)})", 100 * (number - 1) // len(wanted))
            try:
                answer = await _ask(session, snapshot, document, gap, work)
            except BudgetError as error:
                answer, reason = "", str(error)
            if text := sentence(answer):
                edits.append(gap.edit(text))
            elif not reason:
                shown = answer.strip()[:80]
                reason = f"What the model wrote is not one sentence that ends with a period: {shown!a}."
        if reason:
            refusals.append(Refusal(document.path, RefusalKind.FORMAT, f"{gap.name}: {reason}"))
    if not edits:
        return None, tuple(refusals)
    ordered = tuple(sorted(edits, key=lambda edit: edit.span))
    change = Change(document.path, document.digest, ordered)
    if held := guard.held_back(document, change):
        return None, (*refusals, Refusal(document.path, RefusalKind.POLICY, held))
    after = apply_edits(document.data, ordered)
    same = await asyncio.to_thread(same_but_docstrings, document.data, after, ordered, document.language)
    if not same:
        reason = "The docstrings would have changed more than themselves, so none was put in."
        return None, (*refusals, Refusal(document.path, RefusalKind.VERIFY, reason))
    return change, tuple(refusals)


async def _ask(session: Session, snapshot: Snapshot, document: Document, gap: Gap, work: Work) -> str:
    """The model's answer about a definition, which is shown as far as it fits. Raises BudgetError."""
    place = Place(document.path, gap.where.start)
    room = await room_for(session, snapshot, place, Question("", max_tokens=ANSWER_TOKENS, work=work))
    lines = gap.source.split("\n")
    tail = docstring_tail(document.path, gap.name, gap.source)
    while session.tokenizer.count(tail.instruction) + MARGIN_TOKENS > room and len(lines) > 2:
        lines = lines[: max(len(lines) // 2, 2)]
        tail = docstring_tail(document.path, gap.name, "\n".join(lines))
    question = Question(tail.instruction, tail.prefill, ANSWER_TOKENS, (tail.stop, "\n"), GRAMMAR, work=work)
    answer = await consult(session, snapshot, place, question)
    return answer.text
