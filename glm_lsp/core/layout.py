"""The text shapes of a prompt: block headers, the log of edits, and the tails of each kind of request.

Pure and byte-stable: the bundled model is trained on exactly these shapes, and every saved prefix depends on
them, so a change here raises `LAYOUT_VERSION`. The order (system, outline, source, log, tail) is the
ledger's: what changes least stands first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LAYOUT_VERSION = 4

OUTLINE_TITLE = "# Outline of the repository\n"
SOURCE_TITLE = "# Source\n"
LOG_TITLE = "# Edits since then\n"
FENCE = "```"
SUFFIX_LINES = 12


def outline_block(path: str, signatures: Sequence[str]) -> str:
    """Signatures of one file, indented as they nest, under a header line."""
    return "".join((f"== {path}\n", *(f"{s}\n" for s in signatures)))


def source_block(path: str, start_line: int, end_line: int, text: str) -> str:
    """Lines `start_line`..`end_line` (0-based, inclusive; shown 1-based) of a file, as they stand."""
    return f"== {path}:{start_line + 1}-{end_line + 1}\n{_closed(text)}"


def log_entry(path: str, start_line: int, removed_lines: int, text: str) -> str:
    """`removed_lines` lines from `start_line` (0-based) on were replaced by `text` (empty: removed)."""
    text = _closed(text)
    return f"== {path} line {start_line + 1} -{removed_lines} +{text.count(chr(10))}\n{text}"


def outdated(path: str) -> str:
    """What was shown of a file is not so any more; what follows may show some of it again."""
    return f"== {path} is outdated\n"


def gone(path: str, names: Sequence[str]) -> str:
    """A file does not define these names any more, whose signatures were shown."""
    return f"{gone_of(path)}{', '.join(names)}\n"


def gone_of(path: str) -> str:
    """How `gone` begins."""
    return f"== {path} no longer defines "


def context_texts(outline: Sequence[str], source: Sequence[str], log: Sequence[str]) -> tuple[str, ...]:
    """The user turn above the tail, one text per segment; a title stands only where something follows it.

    `outline` holds `outline_block`s, `source` holds `source_block`s, most relevant last, `log` holds entries
    and blocks in the order in which they came. Every text ends with a newline and begins with `#` or `=`, so
    a segment's tokens never depend on its neighbours.
    """
    parts = ((OUTLINE_TITLE, outline), (SOURCE_TITLE, source), (LOG_TITLE, log))
    return tuple(text for title, texts in parts if texts for text in (title, *texts))


@dataclass(frozen=True, slots=True)
class CompletionTail:
    """The end of a completion prompt: what the user turn says, and the answer we begin for the model."""

    instruction: str
    prefill: str
    stop: str = FENCE
    """The answer is over where it holds this."""


def completion_tail(
    title: str, language: str, window: str, suffix: str, *, placed: bool = False
) -> CompletionTail:
    """Ask for what stands between `window` (text up to the cursor, starting at a line) and `suffix`.

    The suffix stands before the window, so that typing only appends; `window` is the answer's beginning.
    `suffix` begins right after the cursor, so with a newline where the cursor stands at the end of its line.
    Both have LF line ends. Where the code itself shows a fence, ours is longer. The title is a path, or
    where it is `placed` a `place_of` it, and then what is wanted is said in one word.
    """
    fence = _fence(window, suffix)
    shown = f"{fence}\n{_closed(suffix)}{fence}\n"
    wanted = "Write the code before it, up to and through the gap.\n"
    asked = f", before:\n{shown}" if placed else f"\nThe code after the gap:\n{shown}{wanted}"
    return CompletionTail(f"# Complete {title}{asked}", f"{fence}{language}\n{window}", fence)


def place_of(path: str, start_line: int, replaced: int | None = None, name: str = "") -> str:
    """A place in a file: the window's first line (0-based), and how many lines of the text told so far it
    stands in place of, as in `log_entry`; with a name, the definition that it is in. Without a path it is
    in the file that was completed last.
    """
    told = f"{path} line {start_line + 1}".lstrip()
    instead = "" if replaced is None else f" -{replaced}"
    return f"{told}{instead}{f' in {name}' if name else ''}"


def typed_block(tail: CompletionTail) -> str:
    """An answer that was begun and stands in the log since: its beginning, and the fence that ends it."""
    return f"{tail.prefill}\n{tail.stop}"


def typed_parts(text: str) -> tuple[str, str]:
    """`typed_block` as an engine reads it: what it has read already, and what ends it."""
    said, _, fence = text.rpartition("\n")
    return said, f"\n{fence}"


def gap_tail(title: str, language: str, window: str, suffix: str) -> CompletionTail:
    """As `completion_tail`, for engines that begin their answer themselves: it is the gap alone."""
    fence = _fence(window, suffix)
    return CompletionTail(
        f"# Complete {title}\nThe code after the gap:\n{fence}\n{_closed(suffix)}{fence}\n"
        f"Write only what stands in the gap, in a fence, and repeat nothing. The code before the gap:\n"
        f"{fence}{language}\n{_closed(window)}{fence}\n",
        "",
        fence,
    )


def docstring_tail(path: str, name: str, source: str) -> CompletionTail:
    """Ask for the one sentence that documents `name`, whose `source` has no docstring."""
    fence = _fence(source)
    return CompletionTail(
        f"# Document {name} in {path}\n{fence}\n{_closed(source)}{fence}\n"
        "Write its docstring: one sentence that ends with a period.\n",
        '"""',
        '"""',
    )


def request_tail(title: str, language: str, code: str, request: str) -> str:
    """Ask for something about code: a title, the code in a fence, and in words what is wanted of it."""
    fence = _fence(code)
    return f"# {title}\n{fence}{language}\n{_closed(code)}{fence}\n{_closed(request)}"


def _fence(*texts: str) -> str:
    """Backquotes, one more than the longest run in `texts`; three where there is none of three."""
    longest = max((len(run) for text in texts for run in re.findall("`{3,}", text)), default=0)
    return "`" * max(len(FENCE), longest + 1)


def _closed(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
