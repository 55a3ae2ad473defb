"""What recency and common commits contribute, where history is real: the releases of a package as commits.

Consecutive patch releases change few files, so each counts as one commit. Held out are bodies that the last
release changed; the history holds the releases before it, and the files looked at lately are others that the
same release changed. Recall with the signal, without it, and how many packages and places it was measured on.
"""

from __future__ import annotations

import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from glm_lsp.core import pack, signals
from glm_lsp.core.history import History
from glm_lsp.core.rank import rank
from tests.bench.corpora import NPM, PYPI, fetch
from tests.bench.recall_corpora import Loaded, Package, load, sources
from tests.bench.recall_peers import Count
from tests.bench.recall_places import COLD, WARM, case, recall, shown_by

RELEASES: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("python", PYPI, "werkzeug", ("3.0.0", "3.0.1", "3.0.2", "3.0.3", "3.0.4", "3.0.5", "3.0.6")),
    ("python", PYPI, "jinja2", ("3.1.0", "3.1.1", "3.1.2", "3.1.3", "3.1.4", "3.1.5", "3.1.6")),
    ("javascript", NPM, "fastify", ("4.26.1", "4.26.2", "4.27.0", "4.28.0", "4.28.1")),
)
MOST_RECENT = 3
WEIGHED = (signals.RECENT, signals.CHANGED)


@dataclass(frozen=True)
class Change:
    """What a signal did at one package: recall with all signals and without it, at the same places."""

    signal: str
    form: str
    package: str
    whole: list[float]
    without: list[float]


def changes(count: Count, most: int = 24) -> list[Change]:
    """Every package's, both signals. Raises Missing where a release cannot be had."""
    found: list[Change] = []
    for language, registry, name, versions in RELEASES:
        trees = [dict(sources(fetch(registry, name, version))) for version in versions]
        commits = [_changed(*pair) for pair in itertools.pairwise(trees)]
        last, history = commits[-1], History(reversed(commits[:-1]))
        loaded = load(Package(language, registry, name, versions[-1]), most, count, last)
        before = trees[-2]
        held = [h for h in loaded.held if h.path in last and not _stood(loaded, h, before)]
        loaded = replace(loaded, held=held)
        if held:
            found += _measured(loaded, sorted(last), history, count)
    return found


def _changed(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> frozenset[str]:
    return frozenset(p for p in old.keys() | new.keys() if old.get(p) != new.get(p))


def _stood(loaded: Loaded, held: object, before: Mapping[str, bytes]) -> bool:
    path, start, end = (getattr(held, name) for name in ("path", "start", "end"))
    return loaded.files[path][start:end] in before.get(path, b"")


def _measured(loaded: Loaded, last: Sequence[str], history: History, count: Count) -> list[Change]:
    found: list[Change] = []
    for form, budget in ((WARM, 1000), (COLD, 2000)):
        rows: dict[str, list[float]] = {name: [] for name in ("", *WEIGHED)}
        for number, held in enumerate(loaded.held):
            at = case(held, loaded.files[held.path], form)
            graph = at.graph(loaded.graph)
            others = [p for p in last if p != held.path and p in loaded.files]
            random.Random(number).shuffle(others)
            recent, changed = tuple(others[:MOST_RECENT]), history.partners(held.path)
            place = replace(at.place, recent=recent, changed=changed)
            for name, row in rows.items():
                weights = {s: 0.0 if s == name else w for s, w in signals.WEIGHTS.items()}
                packed = pack.outline(graph, rank(graph, place, weights), count, budget)
                shown = shown_by(packed.blocks, graph, loaded.files)
                row.append(recall(held.needs, shown, loaded.same))
        name = loaded.package.name
        found += [Change(signal, form, name, rows[""], rows[signal]) for signal in WEIGHED]
    return found


def rows(found: Sequence[Change]) -> list[tuple[str, ...]]:
    """For the ablation's table: signal, weight, and what is lost without it, warm and cold."""
    table: list[tuple[str, ...]] = []
    for signal in WEIGHED:
        cells = [f"{signal} (releases)", f"{signals.WEIGHTS[signal]:g}"]
        for form in (WARM, COLD):
            some = [c for c in found if c.signal == signal and c.form == form]
            lost = statistics.fmean(statistics.fmean(c.without) - statistics.fmean(c.whole) for c in some)
            whole = statistics.fmean(statistics.fmean(c.whole) for c in some)
            places = sum(len(c.whole) for c in some)
            cells.append(f"{100 * lost:+.1f} of {100 * whole:.1f} ({places} places, {len(some)} packages)")
        table.append(tuple(cells))
    return table
