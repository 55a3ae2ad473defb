"""What a task touches, read through the one gate: its closure, and the pieces in which it is worked on.

`touched` finds it, `work` cuts it into units.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from glm_lsp.core import closure as closures
from glm_lsp.core import pack
from glm_lsp.core.closure import Closure
from glm_lsp.core.paths import objection
from glm_lsp.core.site import Part, Site
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.values import Document, Dropped, Refusal, RefusalKind
from glm_lsp.features.session import Session
from glm_lsp.features.units import Unit, around

MOST_FILES = 5_000
"""So many files are looked through for one task; what is more is listed as left out."""


@runtime_checkable
class Searchable(Protocol):
    """Sources that can say which of their files hold one of some words, without showing anything of them."""

    async def holding(self, paths: Sequence[str], words: Sequence[str]) -> frozenset[str]: ...


@dataclass(frozen=True, slots=True)
class Gathered:
    """A closure, the texts that it was found in, and what could not be looked into."""

    closure: Closure
    documents: Mapping[str, Document]
    unread: tuple[Refusal, ...] = ()


async def touched(session: Session, snapshot: Snapshot, task: str, paths: Sequence[str] = ()) -> Gathered:
    """The closure of `task` over the whole repository. `paths` only decide between several of one name.

    Empty (`closure.definitions`) where the task names nothing that the repository defines.
    """
    graph = await session.graph(snapshot)
    named = await asyncio.to_thread(closures.roots, graph, task, paths)
    if not named.named:
        return Gathered(Closure(task, ambiguous=named.ambiguous, unknown=named.unknown), {})
    wanted = set(await asyncio.to_thread(closures.candidates, graph, named))
    words = sorted({n.target.name.rpartition(".")[2] for n in named.named})
    if isinstance(session.sources, Searchable):
        wanted |= await session.sources.holding(sorted(graph.index.outlines.keys() - wanted), words)
    wanted |= {path for path in snapshot.documents if path in graph.index.outlines}
    documents: dict[str, Document] = {}
    unread: list[Refusal] = []
    ordered = sorted(wanted)
    for path in ordered[:MOST_FILES]:
        found = await session.read(snapshot, path)
        if isinstance(found, Document):
            documents[path] = found
        else:
            unread.append(found)
    for path in ordered[MOST_FILES:]:
        reason = f"More than {MOST_FILES:,} files have the name; this one was not looked into."
        unread.append(Refusal(path, RefusalKind.BUDGET, reason))
    closure = await asyncio.to_thread(closures.close, graph, task, named, documents)
    return Gathered(closure, documents, tuple(unread))


def work(
    gathered: Gathered, size: Callable[[Unit], int], room: int
) -> tuple[tuple[Unit, ...], tuple[Refusal, ...]]:
    """The units of a closure, in order: definitions, other code, tests, words; and what fits no unit.

    `size` and `room` are tokens: of a unit as it is shown, and what one may take.
    """
    by_path: dict[str, list[Site]] = {}
    for site in gathered.closure.sites:
        if site.certain or site.likely:
            by_path.setdefault(site.path, []).append(site)
    units: list[Unit] = []
    refusals: list[Refusal] = []
    for path in gathered.closure.files():
        if reason := objection(path):
            if any(s.part is not Part.MENTION for s in by_path[path]):
                refusals.append(Refusal(path, RefusalKind.POLICY, reason))
            continue
        document = gathered.documents[path]
        made, refused = around(document, by_path[path], size, room)
        units += made
        refusals += refused
    return tuple(units), tuple(refusals)


def left_out(gathered: Gathered, count: Callable[[str], int]) -> tuple[Dropped, ...]:
    """What the units do not hold although it bears the name: places in doubt by file, protected files, files
    that could not be read. Tokens are those of the lines in question.
    """
    found: list[Dropped] = []
    by_path: dict[str, list[Site]] = {}
    for site in gathered.closure.doubtful:
        by_path.setdefault(site.path, []).append(site)
    for path, sites in by_path.items():
        lines = pack.lines_of(gathered.documents[path].data)
        text = "".join(f"{lines[n]}\n" for n in sorted({s.line for s in sites}))
        where = ", ".join(str(n + 1) for n in sorted({s.line for s in sites})[:8])
        names = tuple(dict.fromkeys(s.scope for s in sites if s.scope))
        found.append(Dropped(path, names, count(text), f"in doubt, line {where}: {sites[0].reason}"))
    found += [
        Dropped(path, (), count(gathered.documents[path].data.decode()), reason)
        for path in gathered.closure.files()
        if (reason := objection(path))
    ]
    found += [Dropped(refusal.path, (), 0, refusal.reason) for refusal in gathered.unread]
    return tuple(found)
