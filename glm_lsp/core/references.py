"""Many references in little memory.

An index holds millions of them: as objects they take hundreds of bytes each and stall the garbage collector;
in columns over shared names they take twelve. Each `Reference` is made when it is asked for.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import cast, overload

from glm_lsp.core.values import FileOutline, Reference, Span

MOST = 1 << 32
"""No place is as large."""


class References(Sequence[Reference]):
    """A sequence like a tuple of references; equal to a tuple of the same ones. Never changes."""

    __slots__ = ("_names", "_qualifiers", "_starts", "_used")

    def __init__(
        self, names: Sequence[str], used: Sequence[int], qualifiers: Sequence[int], starts: Sequence[int]
    ) -> None:
        """`used` and `qualifiers` are positions in `names`; each span is as long as its name in UTF-8.

        Raises ValueError for columns that do not fit together.
        """
        try:
            self._used, self._qualifiers = array("I", used), array("I", qualifiers)
            self._starts = array("I", starts)
        except OverflowError:
            raise ValueError("a number is out of range") from None
        self._names = tuple(names)
        if not len(self._used) == len(self._qualifiers) == len(self._starts):
            raise ValueError("the columns differ in length")
        if self._used and max(max(a) for a in (self._used, self._qualifiers)) >= len(self._names):
            raise ValueError("a name is missing")

    def names(self) -> frozenset[str]:
        """The names that are used, without making the references."""
        return frozenset(map(self._names.__getitem__, self._used))

    @property
    def table(self) -> tuple[str, ...]:
        """Every name and qualifier that occurs, once: whether a name may be used is seen here at once."""
        return self._names

    def uses(self, start: int = 0, end: int = MOST) -> Mapping[tuple[str, str], int]:
        """Name and qualifier of what is used from byte `start` up to `end`, with the number of times."""
        table, counts = self._names, Counter[tuple[int, int]]()
        if (start, end) == (0, MOST):
            counts.update(zip(self._used, self._qualifiers, strict=True))
        else:
            counts.update(
                (used, qualifier)
                for used, qualifier, at in zip(self._used, self._qualifiers, self._starts, strict=True)
                if start <= at < end
            )
        return {(table[used], table[qualifier]): count for (used, qualifier), count in counts.items()}

    def columns(self) -> tuple[tuple[str, ...], list[int], list[int], list[int]]:
        """What it was made of: `names`, `used`, `qualifiers`, `starts`."""
        return self._names, self._used.tolist(), self._qualifiers.tolist(), self._starts.tolist()

    def __len__(self) -> int:
        return len(self._used)

    @overload
    def __getitem__(self, index: int) -> Reference: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Reference, ...]: ...
    def __getitem__(self, index: int | slice) -> Reference | tuple[Reference, ...]:
        if isinstance(index, slice):
            return tuple(self[i] for i in range(*index.indices(len(self))))
        return self._make(self._used[index], self._qualifiers[index], self._starts[index])

    def __iter__(self) -> Iterator[Reference]:
        return map(self._make, self._used, self._qualifiers, self._starts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, References | tuple):
            return tuple(self) == tuple(cast("Sequence[Reference]", other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"References({list(self)!r})"

    def _make(self, used: int, qualifier: int, start: int) -> Reference:
        name = self._names[used]
        length = len(name) if name.isascii() else len(name.encode())
        return Reference(name, Span(start, start + length), self._names[qualifier])


def counted(outline: FileOutline, start: int = 0, end: int = MOST) -> Mapping[tuple[str, str], int]:
    """Name and qualifier of what is used between two places, with the number of times."""
    references = outline.references
    if isinstance(references, References):
        return references.uses(start, end)
    return Counter((r.name, r.qualifier) for r in references if start <= r.span.start < end)
