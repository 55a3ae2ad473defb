"""Names and links of an index, looked up in the tables of a base and in what differs from it.

Never changes; `changed` gives the next state, which shares the base.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from glm_lsp.core.lazy import keys_of
from glm_lsp.core.tables import Tables, key_of, linked, numbers, postings, stems
from glm_lsp.core.values import FileOutline


class _Links(NamedTuple):
    """What a file defines and names, as keys, and the files that it imports."""

    defined: frozenset[int] = frozenset()
    named: frozenset[int] = frozenset()
    imported: frozenset[str] = frozenset()


def _differing(one: _Links, other: _Links) -> _Links:
    """What only one of the two has."""
    return _Links(one.defined ^ other.defined, one.named ^ other.named, one.imported ^ other.imported)


class _File(NamedTuple):
    """A file that differs from the base; `moved` is what only one of the two has."""

    now: _Links | None
    mentioned: frozenset[int]
    base: _Links
    moved: _Links


class _Base:
    """What has been read of the tables so far; all states of one base share it, for it never changes."""

    def __init__(self) -> None:
        self.keys: dict[str, int] = {}
        self.defining: dict[str, tuple[str, ...]] = {}
        self.counts: dict[str, int] = {}
        self.importers: dict[str, frozenset[str]] = {}


class Lookup:
    """Who defines a name, how many have it, who imports whom."""

    def __init__(self, files: tuple[str, ...], tables: Tables) -> None:
        self._files, self._tables, self._base = files, tables, _Base()
        self._over: Mapping[str, _File] = {}

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {path: number for number, path in enumerate(self._files)}

    def changed(
        self,
        new: Mapping[str, FileOutline | None],
        leads: Callable[[FileOutline], Iterable[str]],
        base: Mapping[str, FileOutline],
    ) -> Lookup:
        """The state with other outlines, or none. `leads` says which files an outline's imports mean; `base`
        has the outlines that these replace."""
        made = Lookup(self._files, self._tables)
        made._base = self._base
        made.__dict__["_number"] = self._number
        over = dict(self._over)
        for path, outline in new.items():
            old = over[path].base if path in over else self._of_base(path, base.get(path))
            mentioned, now = frozenset[int](), None
            if outline is not None:
                defined, named, mentioned = (frozenset(numbers(keys)) for keys in keys_of(outline))
                now = _Links(defined, named, frozenset(leads(outline)) - {path})
            over[path] = _File(now, mentioned, old, _differing(now or _Links(), old))
        made._over = over
        return made

    def _of_base(self, path: str, outline: FileOutline | None) -> _Links:
        number = self._number.get(path)
        if number is None or outline is None:
            return _Links()
        defined, named, _ = (frozenset(numbers(keys)) for keys in keys_of(outline))
        return _Links(defined, named, frozenset(self._files[n] for n in self._tables.imported.of(number)))

    @cached_property
    def _moved(self) -> _Links:
        """What cannot be read from the tables alone."""
        files = [file.moved for file in self._over.values()]
        return _Links(
            frozenset().union(*(file.defined for file in files)),
            frozenset().union(*(file.named for file in files)),
            frozenset().union(*(file.imported for file in files)),
        )

    @property
    def differing(self) -> int:
        """The number of files that differ from the base."""
        return len(self._over)

    def _key(self, name: str) -> int:
        key = self._base.keys.get(name)
        if key is None:
            key = self._base.keys[name] = key_of(name)
        return key

    def defining(self, name: str) -> tuple[str, ...]:
        """The files that define `name` at any level, sorted."""
        key = self._key(name)
        found = self._base.defining.get(name)
        if found is None:
            paths = sorted(self._files[n] for n in self._tables.defined.of(key))
            found = self._base.defining[name] = tuple(paths)
        if key in self._moved.defined:
            more = [p for p, file in self._over.items() if file.now and key in file.now.defined]
            return tuple(sorted([*(p for p in found if p not in self._over), *more]))
        return found

    def count(self, name: str) -> int:
        """How many files define or use `name`."""
        found = self._base.counts.get(name)
        if found is None:
            found = self._base.counts[name] = self._tables.named.count(self._key(name))
        key = self._key(name)
        if key in self._moved.named:
            for file in self._over.values():
                if key in file.moved.named:
                    found += -1 if key in file.base.named else 1
        return found

    def mentioning(self, path: str) -> frozenset[str]:
        """Files with an import that may mean `path`."""
        keys = {key_of(word) for word in stems(path)}
        found = {self._files[n] for key in keys for n in self._tables.mentioned.of(key)} - self._over.keys()
        found.update(p for p, file in self._over.items() if keys & file.mentioned)
        return frozenset(found)

    def imported(self, path: str) -> frozenset[str]:
        """The files that `path` imports."""
        file = self._over.get(path)
        if file is not None:
            found: Iterable[str] = file.now.imported if file.now else ()
        else:
            number = self._number.get(path)
            found = [self._files[n] for n in self._tables.imported.of(number)] if number is not None else ()
        return frozenset(p for p in found if p not in self._over or self._over[p].now)

    def importers(self, path: str) -> frozenset[str]:
        """The files that import something of `path`."""
        found = self._base.importers.get(path)
        if found is None:
            number = self._number.get(path)
            users = self._tables.importers.of(number) if number is not None else ()
            found = self._base.importers[path] = frozenset(self._files[n] for n in users)
        if path in self._moved.imported:
            more = (p for p, file in self._over.items() if file.now and path in file.now.imported)
            return (found - self._over.keys()) | frozenset(more)
        return found

    def users(self) -> dict[str, int]:
        """The files that others import, with how many do."""
        starts = self._tables.importers.starts
        found = {
            path: starts[number + 1] - starts[number]
            for number, path in enumerate(self._files)
            if starts[number + 1] > starts[number]
        }
        for file in self._over.values():
            for target in file.moved.imported:
                found[target] = found.get(target, 0) + (-1 if target in file.base.imported else 1)
        return {p: n for p, n in found.items() if n and (p not in self._over or self._over[p].now)}


def tables_of(outlines: Mapping[str, FileOutline], leads: Callable[[FileOutline], Iterable[str]]) -> Tables:
    """The tables of an index. `leads` says which files an outline's imports mean."""
    number = {path: n for n, path in enumerate(outlines)}
    keys = [keys_of(outline) for outline in outlines.values()]
    edges = [
        [number[p] for p in set(leads(outline)) if p in number and p != path]
        for path, outline in outlines.items()
    ]
    return Tables(
        postings(k.defined for k in keys),
        postings(k.named for k in keys),
        postings(k.mentioned for k in keys),
        *linked(edges),
    )
