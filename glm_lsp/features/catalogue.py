"""What can be done at a place in a file. Pure and cheap: editors ask on every move of the cursor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from glm_lsp.core.paths import objection
from glm_lsp.core.secrets import censored, masked
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.syntax import definitions, definitions_at
from glm_lsp.core.values import Diagnostic, Document, Span, Symbol
from glm_lsp.features.docstring import Gap, gaps, undocumented


class OfferKind(StrEnum):
    DOCSTRING = "docstring"
    FIX = "fix"
    EXPLAIN = "explain"
    CONTINUE = "continue"
    REFACTOR = "refactor"


@dataclass(frozen=True, slots=True)
class Offer:
    """One thing that can be done with `span`.

    `argument` is what the kind needs besides the place: a diagnostic's message, a refactor's instruction. A
    client may make a REFACTOR offer of its own, with an instruction that its user typed.
    """

    kind: OfferKind
    title: str
    path: str
    span: Span
    argument: str = ""


_INSTRUCTION = re.compile(r"(?:#|//|--|;|%|/\*|<!--|\"\"\"|')\s*glm:\s*(\S.*?)\s*(?:\*/|-->|\"\"\")?\s*$")
_TITLE_CHARS = 60
_PARSED_BYTES = 64_000
"""A file whose index is behind is parsed here up to this size."""


def offers(snapshot: Snapshot, path: str, span: Span, diagnostics: Sequence[Diagnostic]) -> tuple[Offer, ...]:
    """What can be done with `span` of an open file, most specific first. No model is asked.

    A protected file can be explained, not changed. A span past the end is taken to the end.
    """
    document = snapshot.documents.get(path)
    if document is None:
        return ()
    document = masked(document, open_=True)
    size = len(document.data)
    span = Span(min(span.start, size), min(span.end, size))
    known = _definitions(snapshot, document)
    around = definitions_at(known, span.start)
    found = _explain(document, span, around)
    if not objection(path):
        lines = whole_lines(document.data, span)
        found = [
            *_refactor(document, lines),
            *_fix(document, lines, diagnostics),
            *_docstring(document, span, known),
            *found,
            *([Offer(OfferKind.CONTINUE, "Continue here", path, span)] if not len(span) else []),
        ]
    return tuple(found)


def whole_lines(data: bytes, span: Span) -> Span:
    """The lines that `span` touches, without the last line's ending."""
    end = span.end - 1 if len(span) and data[span.end - 1 : span.end] == b"\n" else span.end
    stop = data.find(b"\n", end)
    return Span(data.rfind(b"\n", 0, span.start) + 1, max(span.start, len(data) if stop < 0 else stop))


def instruction_in(text: str) -> str:
    """The instruction of the first `glm:` comment in a text; empty where there is none."""
    matches = (_INSTRUCTION.search(line.rstrip("\r")) for line in text.split("\n"))
    return next((match[1] for match in matches if match), "")


def _definitions(snapshot: Snapshot, document: Document) -> Sequence[Symbol]:
    """As the text stands: it is parsed here where the index is behind, for somebody is typing."""
    known = snapshot.index.outlines.get(document.path)
    if known is not None and known.digest == document.digest:
        return known.symbols
    if len(document.data) > _PARSED_BYTES:
        return ()
    return definitions(document.data, document.language)


def chosen_gaps(document: Document, span: Span) -> tuple[Gap, ...]:
    """The definitions to document: the one that is `span`, else those in it, else the one around it."""
    found = gaps(document)
    same = [g for g in found if g.definition == span]
    inside = same or [g for g in found if span.start <= g.definition.start < span.end]
    return tuple(inside or [g for g in found if g.definition.start <= span.start <= g.definition.end][-1:])


def _docstring(document: Document, span: Span, known: Sequence[Symbol]) -> list[Offer]:
    """From the definitions alone. The few that turn out to have no place for one are refused when chosen."""
    if document.language != "python" or document.path.endswith(".pyi"):
        return []
    inside = [s for s in known if span.start <= s.span.start < span.end]
    wanted = [s for s in inside or definitions_at(known, span.start)[-1:] if undocumented(document.data, s)]
    if not wanted:
        return []
    title = f"Document {wanted[0].qualified}" if len(wanted) == 1 else f"Document {len(wanted)} definitions"
    place = wanted[0].span if len(wanted) == 1 else span
    return [Offer(OfferKind.DOCSTRING, title, document.path, place, ", ".join(s.qualified for s in wanted))]


def _fix(document: Document, lines: Span, diagnostics: Sequence[Diagnostic]) -> list[Offer]:
    found: list[Offer] = []
    for diagnostic in diagnostics:
        if diagnostic.span.end < lines.start or diagnostic.span.start > lines.end:
            continue
        rule = " ".join(part for part in (diagnostic.source, diagnostic.code) if part)
        message = censored(diagnostic.message)
        argument = f"{rule}: {message}" if rule else message
        title = f"Fix: {_short(message)}"
        found.append(Offer(OfferKind.FIX, title, document.path, diagnostic.span, argument))
    return found


def _explain(document: Document, span: Span, around: Sequence[Symbol]) -> list[Offer]:
    if document.data[span.start : span.end].strip():
        return [Offer(OfferKind.EXPLAIN, "Explain the selection", document.path, span)]
    if around:
        return [Offer(OfferKind.EXPLAIN, f"Explain {around[-1].name}", document.path, around[-1].span)]
    return []


def _refactor(document: Document, lines: Span) -> list[Offer]:
    text = document.data[lines.start : lines.end].decode("utf-8", "replace")
    instruction = instruction_in(text)
    if not instruction:
        return []
    return [Offer(OfferKind.REFACTOR, f"Refactor: {_short(instruction)}", document.path, lines, instruction)]


def _short(text: str) -> str:
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= _TITLE_CHARS else line[: _TITLE_CHARS - 1] + "…"
