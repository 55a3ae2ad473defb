"""Where in which repository: `FILE:LINE:COL` as a person writes it becomes a root, a path and a byte offset.

LINE and COL are 1-based and COL counts code points; a line ends before its `\\r\\n` or `\\n`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.core.errors import GlmError, PolicyError, UsageError
from glm_lsp.core.text import line_starts
from glm_lsp.core.values import Document, Refusal, RefusalKind

if TYPE_CHECKING:
    from glm_lsp.workspace.repository import Repository

VERSION_CONTROL = frozenset({".git", ".hg", ".svn", ".jj", ".bzr"})
HELP = "where: 1-based line and column, the column in code points"


@dataclass(frozen=True, slots=True)
class Place:
    """`line` and `column` are 1-based; `column` counts code points."""

    file: Path
    line: int
    column: int


def parse(text: str) -> Place:
    """Read `FILE:LINE:COL`; the file's name may hold colons. Raises UsageError."""
    file, *rest = text.rsplit(":", 2)
    numbers = [p for p in rest if p.isascii() and p.isdigit() and len(p) < 10]
    if len(numbers) != 2 or not file:
        raise UsageError(f"'{text}' is not FILE:LINE:COL; write for example pkg/module.py:12:5.")
    line, column = int(numbers[0]), int(numbers[1])
    if line < 1 or column < 1:
        raise UsageError(f"In '{text}', LINE and COL count from 1.")
    return Place(Path(file), line, column)


def root_of(path: Path) -> Path:
    """The directory of the nearest `.git` upwards from `path`; without one, `path`'s own directory."""
    start = path.absolute() if path.is_dir() else path.absolute().parent
    for directory in (start, *start.parents):
        if (directory / ".git").exists():
            return directory
    return start


def root_for(paths: Sequence[str]) -> Path:
    """The repository one stands in; only outside of any, the one that the first path is in."""
    here = root_of(Path.cwd())
    if not paths or (here / ".git").exists() or Path(paths[0]).absolute().is_relative_to(here):
        return here
    return root_of(Path(paths[0]))


def locate(file: Path) -> Path:
    """The repository root for an existing file. Raises UsageError where there is none."""
    try:
        str(file.absolute()).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(f"The path of {file} is not UTF-8; rename it to use it here.") from None
    if file.is_dir():
        raise UsageError(f"{file} is a directory; name a file in it.")
    if not file.exists():
        raise UsageError(f"There is no file {file}.")
    root, here = root_of(file), Path.cwd()
    if (root / ".git").exists() or here in (Path.home(), Path(here.anchor)):
        return root
    # Without version control the directory one stands in is what an editor would have opened.
    return here if file.absolute().is_relative_to(here) else root


def named(repository: Repository, file: Path) -> str | Refusal:
    """What the repository calls a path, or why it is left alone; what is version control's own is said so."""
    found = repository.relative(file)
    whole = Path(os.path.normpath(file))
    if isinstance(found, Refusal) and whole.is_relative_to(repository.root):
        inside = whole.relative_to(repository.root)
        own = next((part for part in inside.parts if part.casefold() in VERSION_CONTROL), "")
        if own:
            reason = f"{inside.as_posix()} is inside {own}, which is version control's own, and is protected."
            return Refusal(inside.as_posix(), RefusalKind.POLICY, reason)
    return found


async def open_document(repository: Repository, file: Path) -> Document:
    """The file, as far as the repository's policy lets it be read. Raises PolicyError or UsageError."""
    relative = named(repository, file.absolute())
    if isinstance(relative, Refusal):
        raise refused(relative)
    document = await repository.read(relative)
    if isinstance(document, Refusal):
        raise refused(document)
    return document


def refused(refusal: Refusal) -> GlmError:
    """A refusal of the one file that was asked for is an error."""
    return (PolicyError if refusal.kind is RefusalKind.POLICY else UsageError)(refusal.reason)


def offset_of(document: Document, line: int, column: int) -> int:
    """The byte offset of a 1-based line and column. Raises UsageError past the end of file or line."""
    starts = line_starts(document.data)
    if line > len(starts):
        count = "1 line" if len(starts) == 1 else f"{len(starts)} lines"
        raise UsageError(f"{document.path} has {count}, so there is no line {line}.")
    start = starts[line - 1]
    end = starts[line] if line < len(starts) else len(document.data)
    text = document.data[start:end].decode("utf-8").removesuffix("\n").removesuffix("\r")
    if column > len(text) + 1:
        raise UsageError(
            f"Line {line} of {document.path} has {len(text)} characters, so there is no column {column}."
        )
    return start + len(text[: column - 1].encode("utf-8"))
