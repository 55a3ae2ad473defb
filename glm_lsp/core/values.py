"""Values that pass between the rooms. All frozen; offsets are UTF-8 bytes, half-open; lines are 0-based.

Paths are relative to the workspace root with forward slashes, as `str`; a path never starts with `/` or `..`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec


class Row(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value of which an index makes millions: made in a tenth of a dataclass's time, encoded as it is."""


class Span(Row, frozen=True, order=True, array_like=True, gc=False):
    """Bytes `start` up to, not including, `end`."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise ValueError(f"a span needs 0 <= start <= end, not {self.start}..{self.end}")

    def __len__(self) -> int:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class TextEdit:
    """Replace the bytes of `span` by `text`."""

    span: Span
    text: str


class HeldBack(Row, frozen=True, array_like=True, gc=False):
    """A place that must not be seen, and what kind of secret it is; `line` is its first, 0-based."""

    span: Span
    kind: str
    line: int


@dataclass(frozen=True, slots=True)
class Document:
    """One file as it stands, in the editor or on disk.

    `data` is UTF-8 without a byte order mark. `digest` is `text.digest` of the file's own text.
    `version` is the editor's, None for a file read from disk.
    """

    path: str
    data: bytes
    digest: str
    language: str
    version: int | None = None
    held: tuple[HeldBack, ...] | None = None
    """The places of `data` that are masked: secrets. None: nobody has looked, so it goes into no prompt."""
    left_out: str = ""
    """Why the whole of it must not be seen; empty: it may."""


class SymbolKind(StrEnum):
    MODULE = "module"
    CLASS = "class"
    FUNCTION = "function"
    METHOD = "method"
    VARIABLE = "variable"
    INTERFACE = "interface"
    """An interface, trait or protocol."""
    ENUM = "enum"
    TYPE = "type"
    """A named type that is none of the above."""


OWNERS = frozenset(
    {SymbolKind.CLASS, SymbolKind.INTERFACE, SymbolKind.ENUM, SymbolKind.TYPE, SymbolKind.MODULE}
)
"""Kinds that have members."""


class Symbol(Row, frozen=True, array_like=True, gc=False):
    """A definition. `signature` is one or more source lines without the body, dedented, no final newline."""

    name: str
    kind: SymbolKind
    span: Span
    """The whole definition, decorators included."""
    signature: str
    parent: str | None = None
    """Qualified name of the enclosing definition within the file."""
    docstring: str = ""
    """Its first line, without quotes."""
    name_span: Span = Span(0, 0)
    body: Span = Span(0, 0)
    """The block under the signature, docstring included; empty where there is none."""
    start_line: int = 0
    end_line: int = 0
    """Last line of the definition, inclusive."""

    @property
    def qualified(self) -> str:
        """`Class.method`, unique enough within a file."""
        return f"{self.parent}.{self.name}" if self.parent else self.name


class Reference(Row, frozen=True, array_like=True, gc=False):
    """A use of `name`; `qualifier` is what stands before the dot, as written."""

    name: str
    span: Span
    qualifier: str = ""


class Import(Row, frozen=True, array_like=True, gc=False):
    """`from module import name as alias`; no `name` for `import module`; `level` counts leading dots.

    The same in every language: `module` is written as the language writes it, `name` is `*` for everything,
    and `default` for what a module exports without a name.
    """

    module: str
    name: str = ""
    alias: str = ""
    level: int = 0


class Export(Row, frozen=True, array_like=True, gc=False):
    """What a file offers as `name`: its own `local`, or that of `module`.

    `*` as both names offers everything of `module`, and no `local` the module itself. `=` is what the whole
    file is for those who import it (`module.exports = …`).
    """

    name: str
    local: str = ""
    module: str = ""


@dataclass(frozen=True, slots=True)
class FileOutline:
    """What the index knows about one file. `error` says why there is no more (the rest is then empty)."""

    path: str
    digest: str
    language: str
    symbols: tuple[Symbol, ...] = ()
    references: Sequence[Reference] = ()
    imports: tuple[Import, ...] = ()
    size_bytes: int = 0
    lines: int = 0
    error: str = ""
    docstring: str = ""
    """First line of the module's own docstring."""
    exports: tuple[Export, ...] = ()
    """What other files can import, where the language has a word for it."""
    project: tuple[tuple[str, ...], ...] = ()
    """What a file that configures a project says about imports: a key and its values (`core.imports`)."""
    held: tuple[HeldBack, ...] = ()
    """Places of the file that are held back: what is outlined is the masked text."""


@dataclass(frozen=True, slots=True)
class RepoIndex:
    """Outlines by path. A new revision is a new value."""

    outlines: Mapping[str, FileOutline] = field(default_factory=dict[str, FileOutline])
    revision: int = 0


class BlockKind(StrEnum):
    SKELETON = "skeleton"
    BODY = "body"
    LOG = "log"
    TYPED = "typed"
    """In the log too: what stood before the cursor where somebody typed, said as the answer that it began."""
    TAIL = "tail"


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a file that may enter a prompt. `text` is what stands in the prompt, header line included.

    `start_line` and `end_line` are 0-based and inclusive; `tokens` counts `text`; `score` is comparable
    within one ranking only; `reason` is a phrase a person can read.
    """

    kind: BlockKind
    path: str
    span: Span
    text: str
    tokens: int = 0
    score: float = 0.0
    start_line: int = 0
    end_line: int = 0
    symbols: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Dropped:
    """A block that was wanted and left out."""

    path: str
    symbols: tuple[str, ...]
    tokens: int
    reason: str


@dataclass(frozen=True, slots=True)
class Budget:
    """`context_tokens` is what the engine holds; the prompt may use what reply and reasoning leave."""

    context_tokens: int
    reply_tokens: int
    reasoning_tokens: int = 0

    @property
    def prompt_tokens(self) -> int:
        return self.context_tokens - self.reply_tokens - self.reasoning_tokens


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Text to stand in place of `span` (usually empty, at the cursor)."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Change:
    """Edits to one file whose content had `base_digest`; spans refer to that content, sorted, disjoint."""

    path: str
    base_digest: str
    edits: tuple[TextEdit, ...]


class RefusalKind(StrEnum):
    POLICY = "policy"
    """A path, a secret or a protected file."""
    UNREADABLE = "unreadable"
    """Missing, binary, huge, not UTF-8, in no language we can check."""
    FORMAT = "format"
    """The model's answer was not in the format, or its anchors matched nothing, or several places."""
    VERIFY = "verify"
    """The edit would have damaged the file: new error nodes, lost symbols, shrinkage."""
    ENGINE = "engine"
    BUDGET = "budget"
    CONFLICT = "conflict"
    SPENT = "spent"
    """Not tried: the time or the tokens that were given are used up."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was not done, and why: `reason` is a sentence."""

    path: str
    kind: RefusalKind
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something in a change that a person should look at before it is written: `text` is a sentence."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class EditPlan:
    """What a feature proposes; nothing has been written yet."""

    title: str
    changes: tuple[Change, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A problem that somebody else's checker found; `source` names the checker, `code` its rule."""

    span: Span
    message: str
    code: str = ""
    source: str = ""
