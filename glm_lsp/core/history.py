"""Which files change together: what the commits of a repository say of their paths.

Pure. A commit is the set of files that it changed. Two files that often stand in one commit are likely to be
needed for one another's work; a commit of many files says little about any two of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

MOST_FILES = 30
"""A commit with more files (a formatter's run, an import of foreign code) says nothing."""
LEAST_COMMON = 2
"""Fewer common commits may be chance."""
MOST_PARTNERS = 40


class History:
    """Commits, the latest first, made askable. Never changes."""

    def __init__(self, commits: Iterable[frozenset[str]] = ()) -> None:
        self._commits = tuple(c for c in commits if 1 < len(c) <= MOST_FILES)
        self._of: dict[str, list[int]] = {}
        for number, commit in enumerate(self._commits):
            for path in commit:
                self._of.setdefault(path, []).append(number)

    def __len__(self) -> int:
        return len(self._commits)

    def partners(self, path: str) -> Mapping[str, float]:
        """Files that changed together with `path`, with the share of its commits, those of few files more.

        From 0 to 1; the best `MOST_PARTNERS`.
        """
        counts: dict[str, int] = {}
        shares: dict[str, float] = {}
        whole = 0.0
        for number in self._of.get(path, ()):
            commit = self._commits[number]
            weight = 1.0 / (len(commit) - 1)
            whole += weight
            for other in commit:
                if other != path:
                    counts[other] = counts.get(other, 0) + 1
                    shares[other] = shares.get(other, 0.0) + weight
        found = [(-shares[p], p) for p, n in counts.items() if n >= LEAST_COMMON]
        return {p: -share / whole for share, p in sorted(found)[:MOST_PARTNERS]}
