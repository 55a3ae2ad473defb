"""Places that a task touches, as values: what `sites` finds, and what it is told to look for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from glm_lsp.core.graph import Target
from glm_lsp.core.values import Span


class Part(StrEnum):
    """What a place is to a change."""

    DEFINITION = "definition"
    OVERRIDE = "override"
    """A definition that overrides the one that is meant, or is overridden by it."""
    USE = "use"
    IMPORT = "import"
    """Imported or passed on to others."""
    TYPE = "type"
    """A type that the signature of a definition speaks of: to be known, not to be changed."""
    TEST = "test"
    """A test file of the definition's file, without a use of it."""
    MENTION = "mention"
    """In words: documentation, a comment, a string."""


@dataclass(frozen=True, slots=True)
class Site:
    """One place. `scope` is the definition around it, empty at module level; `line` is 0-based.

    `certain`: resolved. Not certain, but `likely`: nothing else bears the name, as far as is known.
    """

    path: str
    span: Span
    line: int
    part: Part
    scope: str
    reason: str
    certain: bool = True
    likely: bool = True
    distance: int = 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name to look for: that of `targets`, which belong together. `others` is how many more bear it."""

    name: str
    targets: frozenset[Target]
    shown: str
    """As people call it."""
    owners: frozenset[str]
    """Simple names of the classes that it is a member of; empty: it is none."""
    variable: bool = False
    others: int = 0

    @property
    def member(self) -> bool:
        return bool(self.owners)

    @property
    def modules(self) -> frozenset[str]:
        """The simple names of the files that it is defined in."""
        return frozenset(t.path.rpartition("/")[2].split(".")[0] for t in self.targets)


def stems(sites: Sequence[Site]) -> tuple[Site, ...]:
    """Sites without doubles, in the order of files and places; the surest of those at one place."""
    best: dict[tuple[str, int], Site] = {}
    for site in sites:
        key = (site.path, site.span.start)
        if key not in best or (site.certain, site.likely) > (best[key].certain, best[key].likely):
            best[key] = site
    return tuple(best[key] for key in sorted(best))
