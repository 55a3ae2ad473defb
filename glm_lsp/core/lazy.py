"""Outlines that are read when they are asked for, and changed a few at a time.

An index of a hundred thousand files does not fit in memory as objects. What is always known of a file is
here; its definitions and references stay where they are (`Records`) until somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

from glm_lsp.core import tables
from glm_lsp.core.references import References
from glm_lsp.core.tables import Keys, Source
from glm_lsp.core.values import Export, FileOutline, HeldBack, Import, Symbol


@dataclass(frozen=True, slots=True)
class Definitions:
    """What a file defines, imports and exports. `docstring`: the first line of its own."""

    symbols: tuple[Symbol, ...] = ()
    imports: tuple[Import, ...] = ()
    exports: tuple[Export, ...] = ()
    docstring: str = ""


class Records(Protocol):
    """Where outlines lie. `row` names one. Called from any thread; what cannot be read is empty."""

    def definitions(self, row: int) -> Definitions: ...

    def uses(self, row: int) -> References: ...

    def keys(self, row: int) -> Keys: ...


_FIELDS = tuple(field.name for field in fields(FileOutline))
_DEFINITIONS = frozenset({"symbols", "imports", "exports", "docstring"})
_set = object.__setattr__


class LazyOutline(FileOutline):
    """An outline like any other, equal to one of the same content."""

    __slots__ = ("records", "row")

    records: Records
    row: int

    def __getattr__(self, name: str) -> Any:
        """What has not been set: a part that is read each time (`Records` remembers the last ones)."""
        if name in _DEFINITIONS:
            return getattr(self.records.definitions(self.row), name)
        if name == "references":
            return self.records.uses(self.row)
        raise AttributeError(name)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FileOutline):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in _FIELDS))


def lazy(
    *,
    path: str,
    digest: str,
    language: str,
    size_bytes: int,
    lines: int,
    error: str,
    project: tuple[tuple[str, ...], ...],
    held: tuple[HeldBack, ...],
    records: Records,
    row: int,
) -> LazyOutline:
    """The outline of record `row`, whose other parts are given."""
    made = LazyOutline.__new__(LazyOutline)
    _set(made, "path", path)
    _set(made, "digest", digest)
    _set(made, "language", language)
    _set(made, "size_bytes", size_bytes)
    _set(made, "lines", lines)
    _set(made, "error", error)
    _set(made, "project", project)
    _set(made, "held", held)
    _set(made, "records", records)
    _set(made, "row", row)
    return made


def keys_of(outline: FileOutline) -> Keys:
    """As `tables.keys_of`; what lies with a record is not worked out again."""
    if isinstance(outline, LazyOutline):
        return outline.records.keys(outline.row)
    return tables.keys_of(outline)


def project(outlines: Mapping[str, FileOutline], path: str) -> tuple[tuple[str, ...], ...]:
    """What a file configures; nothing where there is no such file."""
    outline = outlines.get(path)
    return outline.project if outline is not None else ()


MOST_CHANGED = 256
"""A state with more files that differ from its base becomes a base."""


class Outlines(Mapping[str, FileOutline]):
    """Outlines by path, in the order of the base, new files last. Never changes; a change costs little.

    States that share a base know at once in which files they differ.
    """

    __slots__ = ("_base", "_length", "_over", "source")

    def __init__(self, base: Mapping[str, FileOutline], source: Source | None = None) -> None:
        """`base` must not change any more. `source`: what is known of the base as a whole, if anything."""
        self._base: Mapping[str, FileOutline] = base
        self._over: dict[str, FileOutline | None] = {}
        self._length = len(base)
        self.source = source

    def changed(self, new: Mapping[str, FileOutline | None]) -> Outlines:
        """The state in which these files have other outlines, or none."""
        made = Outlines.__new__(Outlines)
        made._base, made.source = self._base, self.source
        made._over = {**self._over, **new}
        made._length = self._length
        for path, outline in new.items():
            made._length += (outline is not None) - (path in self)
        if len(made._over) > max(MOST_CHANGED, len(self._base) // 8):
            return Outlines(dict(made.items()))
        return made

    @property
    def over(self) -> Mapping[str, FileOutline | None]:
        """The files that may differ from the base."""
        return self._over

    @property
    def base(self) -> Mapping[str, FileOutline]:
        return self._base

    def __getitem__(self, path: str) -> FileOutline:
        if path in self._over:
            found = self._over[path]
            if found is None:
                raise KeyError(path)
            return found
        return self._base[path]

    def get(self, path: str, default: Any = None) -> Any:
        if path in self._over:
            found = self._over[path]
            return default if found is None else found
        return self._base.get(path, default)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.get(path) is not None

    def __iter__(self) -> Iterator[str]:
        if not self._over:
            yield from self._base
            return
        for path in self._base:
            if path not in self._over or self._over[path] is not None:
                yield path
        for path, outline in self._over.items():
            if outline is not None and path not in self._base:
                yield path

    def __len__(self) -> int:
        return self._length


def differing(old: Mapping[str, FileOutline], new: Mapping[str, FileOutline]) -> list[str]:
    """The files whose outlines are not the very same objects, or that one of the two does not have."""
    if isinstance(old, Outlines) and isinstance(new, Outlines) and old.base is new.base:
        paths: Iterable[str] = {**old.over, **new.over}
    else:
        paths = {**dict.fromkeys(old), **dict.fromkeys(new)}
    return [path for path in paths if old.get(path) is not new.get(path)]
