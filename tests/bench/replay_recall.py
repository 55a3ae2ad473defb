"""What the code at a cursor needs of other files, and whether a prompt's text shows it.

Needed: what the lines around the cursor and the next words to be typed name, and one other file alone
defines. Shown: the first line of the definition's signature stands in the text, or in the file as the text
gives it. For a line in which somebody has typed stands in two pieces: what was before the cursor, and after.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from glm_lsp.core.values import FileOutline, SymbolKind

NEAR_LINES = 8
_NAME = re.compile(r"[^\W\d]\w{2,}")


@dataclass(frozen=True)
class Need:
    path: str
    name: str
    line: str
    """The first of its signature, without indentation."""


def needs(outlines: Mapping[str, FileOutline], path: str, text: str, line: int, coming: str) -> list[Need]:
    """What `path` needs around `line`, and for the text that comes next."""
    lines = text.split("\n")
    near = "\n".join(lines[max(0, line - NEAR_LINES) : line + NEAR_LINES + 1])
    names = set(_NAME.findall(near + "\n" + coming))
    found: dict[str, list[Need]] = {name: [] for name in names}
    for outline in outlines.values():
        for symbol in outline.symbols:
            if symbol.name in found and symbol.kind is not SymbolKind.VARIABLE:
                first = symbol.signature.split("\n")[0].strip()
                found[symbol.name].append(Need(outline.path, symbol.name, first))
    alone = [places[0] for places in found.values() if len(places) == 1]
    return sorted((n for n in alone if n.path != path and n.line), key=lambda n: (n.path, n.name))


def recall(
    wanted: Iterable[Need], text: str, files: Mapping[str, Sequence[str | None]] = MappingProxyType({})
) -> tuple[int, int]:
    """(shown, needed). `files` are the lines that the text gives, where they do not stand in it so."""
    found = [
        need.line in text or any(need.line in line for line in files.get(need.path, ()) if line)
        for need in wanted
    ]
    return sum(found), len(found)
