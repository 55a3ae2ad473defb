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


class _File(NamedTuple):
    """A file that differs from the base."""

    defined: frozenset[int]
    named: frozenset[int]
    mentioned: frozenset[int]
    imported: frozenset[str]


class Lookup:
    """Who defines a name, how many have it, who imports whom."""

    def __init__(self, files: tuple[str, ...], tables: Tables) -> None:
        self._files, self._tables = files, tables
        self._over: Mapping[str, _File | None] = {}
        self._defining: dict[str, tuple[str, ...]] = {}
        self._counts: dict[str, int] = {}
        self._importers: dict[str, frozenset[str]] = {}

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {path: number for number, path in enumerate(self._files)}

    def changed(
        self, new: Mapping[str, FileOutline | None], leads: Callable[[FileOutline], Iterable[str]]
    ) -> Lookup:
        """The state with other outlines, or none. `leads` says which files an outline's imports mean."""
        made = Lookup(self._files, self._tables)
        made.__dict__["_number"] = self._number
        over = dict(self._over)
        for path, outline in new.items():
            if outline is None:
                over[path] = None
            else:
                defined, named, mentioned = (frozenset(numbers(keys)) for keys in keys_of(outline))
                over[path] = _File(defined, named, mentioned, frozenset(leads(outline)) - {path})
        made._over = over
        return made

    @property
    def differing(self) -> int:
        """The number of files that differ from the base."""
        return len(self._over)

    def defining(self, name: str) -> tuple[str, ...]:
        """The files that define `name` at any level, sorted."""
        found = self._defining.get(name)
        if found is None:
            key, over = key_of(name), self._over
            paths = [p for n in self._tables.defined.of(key) if (p := self._files[n]) not in over]
            paths += [p for p, file in over.items() if file is not None and key in file.defined]
            found = self._defining[name] = tuple(sorted(paths))
        return found

    def count(self, name: str) -> int:
        """How many files define or use `name`."""
        found = self._counts.get(name)
        if found is None:
            key, over = key_of(name), self._over
            numbers = self._tables.named.of(key)
            found = sum(file is not None and key in file.named for file in over.values())
            found += sum(self._files[n] not in over for n in numbers) if over else len(numbers)
            self._counts[name] = found
        return found

    def mentioning(self, path: str) -> frozenset[str]:
        """Files with an import that may mean `path`."""
        keys = {key_of(word) for word in stems(path)}
        found = {self._files[n] for key in keys for n in self._tables.mentioned.of(key)} - self._over.keys()
        found.update(p for p, file in self._over.items() if file is not None and keys & file.mentioned)
        return frozenset(found)

    def imported(self, path: str) -> frozenset[str]:
        """The files that `path` imports."""
        if path in self._over:
            file = self._over[path]
            found = file.imported if file is not None else ()
        else:
            number = self._number.get(path)
            found = [self._files[n] for n in self._tables.imported.of(number)] if number is not None else ()
        return frozenset(p for p in found if self._over.get(p, p) is not None)

    def importers(self, path: str) -> frozenset[str]:
        """The files that import something of `path`."""
        found = self._importers.get(path)
        if found is None:
            number, over = self._number.get(path), self._over
            users = self._tables.importers.of(number) if number is not None else ()
            paths = {p for n in users if (p := self._files[n]) not in over}
            paths.update(p for p, file in over.items() if file is not None and path in file.imported)
            found = self._importers[path] = frozenset(paths)
        return found

    def users(self) -> dict[str, int]:
        """The files that others import, with how many do."""
        starts = self._tables.importers.starts
        found = {
            path: starts[number + 1] - starts[number]
            for number, path in enumerate(self._files)
            if starts[number + 1] > starts[number]
        }
        for path, file in self._over.items():
            number = self._number.get(path)
            before = self._tables.imported.of(number) if number is not None else ()
            for target in before:
                found[self._files[target]] -= 1
            for target in file.imported if file is not None else ():
                found[target] = found.get(target, 0) + 1
        return {p: n for p, n in found.items() if n and self._over.get(p, p) is not None}


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
