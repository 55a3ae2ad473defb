"""Which files hold a word: a look at the bytes, of which nothing is kept or shown.

For what an index does not know: names in strings, comments and texts. What is then shown of a file goes
through the one gate (`Repository.read`) as always.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from glm_lsp.workspace.files import Unreadable, check_name, read_bytes


def holding(root: Path, paths: Iterable[str], words: Sequence[str], max_bytes: int) -> frozenset[str]:
    """Those of `paths` below `root` whose bytes have one of `words`. What cannot be read has none. Blocks."""
    wanted = [word.encode() for word in words if word]
    found: set[str] = set()
    for path in paths if wanted else ():
        try:
            check_name(path)
            data = read_bytes(root, path, max_bytes).data
        except Unreadable:
            continue
        if any(word in data for word in wanted):
            found.add(path)
    return frozenset(found)
