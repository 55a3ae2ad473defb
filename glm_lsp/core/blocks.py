"""Search/replace blocks, the fallback format, and the ladder that finds where a block belongs.

    === file pkg/a.py
    <<<<<<< SEARCH
    the lines to find
    =======
    the lines to put there
    >>>>>>> REPLACE
    === end

Whole lines are compared, rung by rung: exactly; without byte order mark and carriage returns; without
trailing whitespace; under one indent shift, which the replacement then gets too; in NFC with look-alike
punctuation made plain. The first rung with one match wins, a rung with several fails, and after the last rung
there is no guess: similarity only feeds the message. Lines that a block repeats unchanged keep their bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from typing import TypeVar

from glm_lsp.core.edits import LineEdit, Lines, Mismatch, unescaped

SEARCH, MIDDLE, REPLACE = "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE"
_MARKER = re.compile(r"\\*(?:<{7} SEARCH|={7}|>{7} REPLACE|=== )")
_T = TypeVar("_T")
_LOOK_ALIKES = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′´`", "'"),
        **dict.fromkeys("“”„‟″", '"'),
        **dict.fromkeys("‐‑‒–—−", "-"),
        **dict.fromkeys(
            "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000", " "
        ),
        "…": "...",
    }
)


@dataclass(frozen=True, slots=True)
class SearchBlock:
    search: tuple[str, ...]
    replace: tuple[str, ...]


def is_search_replace(lines: Sequence[str]) -> bool:
    """Whether an answer begins its first edit in this format."""
    first = next((line for line in lines if line.startswith("@@ ") or line.rstrip() == SEARCH), "")
    return first.rstrip() == SEARCH


def format_blocks(path: str, blocks: Sequence[SearchBlock]) -> str:
    """An answer in this format, as a perfect model would write it."""
    out = [f"=== file {path}"]
    for block in blocks:
        search, replace = ([_escaped(line) for line in part] for part in (block.search, block.replace))
        out += [SEARCH, *search, MIDDLE, *replace, REPLACE]
    return "\n".join((*out, "=== end", ""))


def _escaped(line: str) -> str:
    return "\\" + line if _MARKER.match(line) else line


def read_blocks(body: Sequence[str], lines: Lines) -> tuple[list[LineEdit], list[str]]:
    """The edits of one file's blocks, each found in the file as it stands, and remarks. Raises Mismatch."""
    edits: list[LineEdit] = []
    remarks: list[str] = []
    for block in _cut(body):
        found = find(block, lines)
        if isinstance(found, str):
            remarks.append(found)
        else:
            edits += found
    return edits, remarks


def _cut(body: Sequence[str]) -> list[SearchBlock]:
    blocks: list[SearchBlock] = []
    parts: list[list[str]] = []
    for line in body:
        match line.rstrip(), len(parts):
            case (marker, 0) if marker == SEARCH:
                parts = [[]]
            case (marker, 1) if marker == MIDDLE:
                parts.append([])
            case (marker, 2) if marker == REPLACE:
                blocks.append(SearchBlock(tuple(parts[0]), tuple(parts[1])))
                parts = []
            case (marker, _) if marker in (SEARCH, MIDDLE, REPLACE):
                raise Mismatch(f"The marker `{marker}` stands out of order in block {len(blocks) + 1}.")
            case (text, 0):
                if text:
                    raise Mismatch(f"Expected `{SEARCH}`, but found {line[:80]!r}.")
            case _:
                parts[-1].append(unescaped(line, _MARKER))
    if parts:
        raise Mismatch(f"Block {len(blocks) + 1} is not closed by `{REPLACE}`.")
    if not blocks:
        raise Mismatch("A file is named, but no block follows.")
    return blocks


def find(block: SearchBlock, lines: Lines) -> list[LineEdit] | str:
    """The edits of one block, or the remark that it is applied already. Raises Mismatch."""
    size = len(block.search)
    if not any(line.strip() for line in block.search):
        if lines or block.search:
            raise Mismatch(
                "A block with nothing to search for fits everywhere; repeat the lines it stands beside."
            )
        return [LineEdit(0, 0, block.replace)]
    for key in (_exact, _no_return, _no_trailing):
        wanted = [key(line) for line in block.search]
        have = [key(line) for line in lines.texts]
        if at := _places(wanted, have):
            return _settled(block, lines, _only(at), block.replace, key)
    if shifted := _shifts(block.search, lines.texts):
        line, shift = _only(shifted)
        return _settled(block, lines, line, shift.of(block.replace), _no_trailing)
    wanted, have = [_plain(line) for line in block.search], [_plain(line) for line in lines.texts]
    if at := _places(wanted, have):
        return _settled(block, lines, _only(at), block.replace, _plain)
    if block.replace and len(
        _places([_no_trailing(x) for x in block.replace], [_no_trailing(x) for x in lines.texts])
    ):
        return "An edit was left out, because the file already has it."
    raise Mismatch(f"The {size} searched lines are not in the file.{_nearest(block, lines)}")


def _exact(line: str) -> str:
    return line


def _no_return(line: str) -> str:
    return line.removeprefix("\ufeff").rstrip("\r")


def _no_trailing(line: str) -> str:
    return _no_return(line).rstrip()


def _plain(line: str) -> str:
    return unicodedata.normalize("NFC", _no_trailing(line)).translate(_LOOK_ALIKES)


def _places(wanted: Sequence[str], have: Sequence[str]) -> list[int]:
    """Every line at which `wanted` stands in `have`."""
    size = len(wanted)
    return [
        i for i in range(len(have) - size + 1) if have[i] == wanted[0] and list(have[i : i + size]) == wanted
    ]


def _only(found: Sequence[_T]) -> _T:
    if len(found) > 1:
        raise Mismatch(
            f"The searched lines stand at {len(found)} places; repeat more lines around the right one."
        )
    return found[0]


@dataclass(frozen=True, slots=True)
class _Shift:
    """What the file's indentation has more, or less, than the block's, on every line that is not blank."""

    more: str
    less: str

    def of(self, lines: Sequence[str]) -> tuple[str, ...]:
        if self.less and any(line.strip() and not line.startswith(self.less) for line in lines):
            raise Mismatch(
                "The replacement is indented less than the searched lines, which need the other direction."
            )
        return tuple(self.more + line.removeprefix(self.less) if line.strip() else "" for line in lines)


def _shifts(search: Sequence[str], texts: Sequence[str]) -> list[tuple[int, _Shift]]:
    """Every place where the searched lines stand under one indent shift."""
    bare = [line.strip() for line in search]
    found: list[tuple[int, _Shift]] = []
    stripped = [line.strip() for line in texts]
    for at in _places(bare, stripped):
        pairs = [(a, b) for a, b in zip(search, texts[at : at + len(search)], strict=True) if a.strip()]
        shifts = {_shift(_indent(a), _indent(b)) for a, b in pairs}
        if len(shifts) == 1 and (shift := shifts.pop()) is not None:
            found.append((at, shift))
    return found


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _shift(searched: str, actual: str) -> _Shift | None:
    if actual.endswith(searched):
        return _Shift(actual[: len(actual) - len(searched)], "")
    if searched.endswith(actual):
        return _Shift("", searched[: len(searched) - len(actual)])
    return None


def _settled(
    block: SearchBlock, lines: Lines, at: int, replace: Sequence[str], key: Callable[[str], str]
) -> list[LineEdit] | str:
    """The edits at the place found: only what differs between search and replace; the rest stays."""
    search, wanted = [key(line) for line in block.search], [key(line) for line in block.replace]
    have = [key(line) for line in lines.texts]
    final = [key(line) for line in replace]
    for shift in _places(search, wanted):
        if at - shift >= 0 and final != search and have[at - shift : at - shift + len(final)] == final:
            return "An edit was left out, because the file already has it."
    opcodes = SequenceMatcher(None, search, wanted, autojunk=False).get_opcodes()
    return [LineEdit(at + a, at + b, tuple(replace[c:d])) for tag, a, b, c, d in opcodes if tag != "equal"]


def _nearest(block: SearchBlock, lines: Lines) -> str:
    """The text that resembles the searched lines most, for the model to look at."""
    first = next(line for line in block.search if line.strip())
    close = get_close_matches(first, lines.texts[:5000], n=1, cutoff=0.6)
    if not close:
        return ""
    at = lines.texts.index(close[0])
    near = "\n".join(lines.texts[at : at + min(len(block.search), 6)])
    return f" The nearest text, from line {at + 1} on, is:\n{near}"
