"""How much of what a function needs from other files is in the pack: `python -m tests.bench.bench_recall`.

Function bodies of released packages are held out; what they need is known from jedi and the TypeScript
compiler, not from our index (`recall_truth`). Beside our packs, with the same tokenizer and the same budgets:
aider's own repository map (its package, its defaults), BM25 chunks, the import closure, open files. Then each
signal of the ranking is switched off (`core/signals`). Packages are fetched when this runs; those that the
weights were fitted on are not reported. Intervals: 95 %, packages drawn anew 1,000 times.
`--record` writes the section of RESULTS.md; `--packages` names some; `--places` says how many of each.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from glm_lsp.core import pack, signals
from glm_lsp.core.rank import rank
from glm_lsp.engines.tokenizers import GgufTokenizer
from tests.bench import corpora, recall_peers, recall_releases, recall_truth
from tests.bench.bench_server import table
from tests.bench.edits import cache
from tests.bench.llama_bench import Missing
from tests.bench.recall_corpora import NATIVE, REPORTED, TUNED_ON, Aider, Loaded, Package, aider_python, load
from tests.bench.recall_peers import Chunks, Count, Shown
from tests.bench.recall_places import BARE, BEGUN, COLD, WARM, Case, case, recall, shown_by
from tests.bench.recall_releases import Change
from tests.bench.rows import circumstances

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = "## Recall"
COMMAND = "python -m tests.bench.bench_recall --record"
BUDGETS = (500, 1000, 2000, 4000, 8000)
OURS, AIDER, BM25, CLOSURE, OPEN = (
    "ours",
    "aider's repository map",
    "BM25 chunks",
    "import closure",
    "open files",
)
METHODS = (OURS, AIDER, BM25, CLOSURE, OPEN)
GOALS = (
    (WARM, False, 1000, 85.0),
    (WARM, True, 1000, 70.0),
    (COLD, False, 2000, 50.0),
    (COLD, True, 2000, 50.0),
)
AIDER_PLACES = 2
"""Of a large repository: its map takes up to a minute each time."""
ABLATED = ((WARM, 1000), (COLD, 2000))
APART = ((signals.PAIR, WARM, 1000), (signals.PAIR, COLD, 2000), (signals.EQUAL, BEGUN, 1000))
"""Signals that are measured where they can tell something: at places of files that a test goes with, and in
bodies that are half written before their imports."""
UNSEEN = (signals.NAMED, signals.OWN, *recall_releases.WEIGHED)
Maps = Mapping[str, float]
Key = tuple[str, str, int]
"""Method, form, budget."""


@dataclass
class Found:
    """One package's figures: recall of each place by method, form and budget; and by signal switched off."""

    package: Package
    large: bool
    skeleton_tokens: int
    recalls: dict[Key, list[float]] = field(default_factory=dict[Key, list[float]])
    tokens: dict[Key, list[int]] = field(default_factory=dict[Key, list[int]])
    without: dict[tuple[str, str], list[float]] = field(default_factory=dict[tuple[str, str], list[float]])
    apart: dict[tuple[str, str], tuple[list[float], list[float]]] = field(
        default_factory=dict[tuple[str, str], tuple[list[float], list[float]]]
    )
    """By signal and form of `APART`: recall with it and without it at the same places."""


def ours(
    found: Loaded, at: Case, count: Count, budgets: Sequence[int], weights: Maps
) -> list[tuple[Shown, int]]:
    """What our pack shows at each budget, and its tokens."""
    graph = at.graph(found.graph)
    ranked = rank(graph, at.place, weights)
    packs = [pack.outline(graph, ranked, count, budget) for budget in budgets]
    return [(shown_by(p.blocks, graph, found.files), p.tokens) for p in packs]


def measure(found: Loaded, count: Count, aider: Aider | None, budgets: Sequence[int] = BUDGETS) -> Found:
    """Every method at every place, warm, cold and bare."""
    result = Found(found.package, found.large, found.skeleton_tokens)
    chunks = Chunks(found.files)
    for number, held in enumerate(found.held):
        for form in (WARM, COLD, BARE):
            at = case(held, found.files[held.path], form)
            graph, place = at.graph(found.graph), at.place
            packs = {OURS: ours(found, at, count, budgets, signals.WEIGHTS)}
            if form != BARE:
                opened = _opened(found, held.path, random.Random(number))
                for method, make in {
                    BM25: lambda b, place=place: chunks.pack(place.near, place.path, count, b),
                    CLOSURE: lambda b, graph=graph, place=place: recall_peers.import_closure(
                        graph, place.path, count, b
                    ),
                    OPEN: lambda b, opened=opened: recall_peers.open_files(opened, found.files, count, b),
                }.items():
                    packs[method] = [(make(b), b) for b in budgets]
                if aider is not None and number < (AIDER_PLACES if found.large else len(found.held)):
                    idents = sorted(set(recall_peers.WORD.findall(place.near)))
                    key = f"{form} {held.path}:{held.start}-{held.end}"
                    maps = aider.maps(key, held.path, at.data, idents, list(BUDGETS))
                    packs[AIDER] = [
                        (recall_peers.lines_of_map(text, found.files), count(text))
                        for text, b in zip(maps, BUDGETS, strict=True)
                        if b in budgets
                    ]
            for method, rows in packs.items():
                for budget, (shown, tokens) in zip(budgets, rows, strict=True):
                    key = (method, form, budget)
                    result.recalls.setdefault(key, []).append(recall(held.needs, shown, found.same))
                    result.tokens.setdefault(key, []).append(tokens)
    return result


def ablate(found: Loaded, result: Found, count: Count, most: int) -> None:
    """The same places with each signal off."""
    for name in ("", *(s for s in signals.WEIGHTS if s not in UNSEEN)):
        weights = {s: 0.0 if s == name else w for s, w in signals.WEIGHTS.items()}
        for form, budget in ABLATED:
            for held in found.held[:most]:
                at = case(held, found.files[held.path], form)
                ((shown, _),) = ours(found, at, count, [budget], weights)
                result.without.setdefault((name, form), []).append(recall(held.needs, shown, found.same))
    if most:
        _apart(found, result, count, most)


def _apart(found: Loaded, result: Found, count: Count, most: int) -> None:
    for name, form, budget in APART:
        paired = [h for h in found.held if name != signals.PAIR or found.graph.paired(h.path)]
        whole, without = result.apart.setdefault((name, form), ([], []))
        for held in paired[:most]:
            at = case(held, found.files[held.path], form)
            for row, off in ((whole, ""), (without, name)):
                weights = {s: 0.0 if s == off else w for s, w in signals.WEIGHTS.items()}
                ((shown, _),) = ours(found, at, count, [budget], weights)
                row.append(recall(held.needs, shown, found.same))


def _opened(found: Loaded, path: str, chance: random.Random) -> list[str]:
    """Six files that somebody may have open: drawn from those that the file imports or that import it."""
    linked = sorted(found.graph.imported(path) | found.graph.importers(path) - {path})
    others = sorted(p for p in found.files if p != path and p not in linked)
    chance.shuffle(linked)
    chance.shuffle(others)
    return [*linked, *others][:6]


def mean(results: Iterable[Found], key: Key) -> float:
    """Percent; every package counts the same."""
    return 100 * statistics.fmean(statistics.fmean(r.recalls[key]) for r in results)


def interval(results: Sequence[Found], figure: Callable[[Sequence[Found]], float]) -> tuple[float, float]:
    """Of a figure over packages, when packages are drawn anew."""
    chance = random.Random(1)
    drawn = sorted(figure(chance.choices(results, k=len(results))) for _ in range(1000))
    return drawn[25], drawn[974]


def report(results: Sequence[Found], released: Sequence[Change] = ()) -> str:
    """The tables, as Markdown."""
    parts: list[str] = []
    native = [r for r in results if r.package in NATIVE]
    results = [r for r in results if r.package not in NATIVE]
    for large in (False, True):
        some = [r for r in results if r.large is large]
        if not some:
            continue
        names = ", ".join(f"{r.package.name} ({r.skeleton_tokens / 1000:.0f}k)" for r in some)
        kind = "Large repositories" if large else "Small repositories"
        rows: list[tuple[str, ...]] = []
        for form in (WARM, COLD, BARE):
            rows += [
                (form, method, *(_cell(some, (method, form, b)) for b in BUDGETS))
                for method in METHODS
                if all((method, form, BUDGETS[0]) in r.recalls for r in some)
            ]
        head = ("form", "method", *(f"{b / 1000:g}k" for b in BUDGETS))
        parts.append(f"### {kind}, by tokens of all signatures: {names}\n\n{table(rows, head)}\n")
    if native:
        parts.append(_native(native))
    rows = [_goal(results, *goal) for goal in GOALS if any(r.large is goal[1] for r in results)]
    if rows:
        parts.append(f"### Goals\n\n{table(rows, ('what', 'ours (95 % of draws)', 'best other', 'goal'))}\n")
    if any(r.without for r in results):
        parts.append(_ablation([r for r in results if r.without], released))
    return "\n".join(parts)


def _native(results: Sequence[Found]) -> str:
    """The languages whose truth is another, package by package."""
    forms = ((WARM, 1000), (WARM, 2000), (BARE, 2000))
    rows: list[tuple[str, ...]] = []
    for result in results:
        lexical = result.package.language in ("rust", "java")
        row = [result.package.language, result.package.key, "lexical" if lexical else "libclang"]
        row.append(str(len(result.recalls[OURS, WARM, 1000])))
        row += [_cell([result], (OURS, form, budget)) for form, budget in forms]
        others = {m: mean([result], (m, WARM, 1000)) for m in (BM25, CLOSURE, OPEN)}
        best = max(others, key=lambda m: others[m])
        rows.append((*row, f"{others[best]:.1f} ({best})"))
    head = (
        "language",
        "package",
        "truth",
        "places",
        *(f"{f} at {b:,}" for f, b in forms),
        "best other at 1,000",
    )
    said = "In no mean: see `recall_native` for how the truth is found, and what a lexical one leaves out."
    return f"### Languages without goals\n\n{table(rows, head)}\n\n{said}\n"


def _cell(some: Sequence[Found], key: Key) -> str:
    used = statistics.fmean(t for r in some for t in r.tokens[key])
    over = statistics.fmean(t > key[2] for r in some for t in r.tokens[key])
    said = f" ({100 * over:.0f} % over budget, {used:.0f} tokens)" if over else ""
    return f"{mean(some, key):.1f}{said}"


def _goal(results: Sequence[Found], form: str, large: bool, budget: int, goal: float) -> tuple[str, ...]:
    some = [r for r in results if r.large is large]
    figure = mean(some, (OURS, form, budget))
    low, high = interval(some, lambda drawn: mean(drawn, (OURS, form, budget)))
    keys = [(m, form, budget) for m in METHODS[1:] if all((m, form, budget) in r.recalls for r in some)]
    best = max(keys, key=lambda key: mean(some, key), default=None)
    other = f"{mean(some, best):.1f} ({best[0]})" if best else ""
    what = f"{form}, {'large' if large else 'small'}, {budget:,} tokens, {len(some)} packages"
    met = "met" if figure >= goal else "MISSED"
    return what, f"{figure:.1f} ({low:.1f} to {high:.1f})", other, f"at least {goal:.0f} ({met})"


def _ablation(results: Sequence[Found], released: Sequence[Change]) -> str:
    def figure(some: Sequence[Found], name: str, form: str) -> float:
        return 100 * statistics.fmean(statistics.fmean(r.without[name, form]) for r in some)

    rows: list[tuple[str, ...]] = []
    for name in signals.WEIGHTS:
        if name in UNSEEN:
            continue
        row = [name, f"{signals.WEIGHTS[name]:g}"]
        for form, _ in ABLATED:
            change = figure(results, name, form) - figure(results, "", form)
            low, high = interval(
                results, lambda some, n=name, f=form: figure(some, n, f) - figure(some, "", f)
            )
            row.append(f"{change:+.1f} ({low:+.1f} to {high:+.1f})")
        rows.append(tuple(row))
    rows += _apart_rows(results)
    rows += recall_releases.rows(released) if released else []
    whole = ", ".join(f"{form} at {b:,}: {figure(results, '', form):.1f}" for form, b in ABLATED)
    head = ("signal", "weight", *(f"{form} at {budget:,} without it" for form, budget in ABLATED))
    said = (
        f"Recall with all, in points: {whole}. Not measured: `named` (there is no task here), `own` (the "
        "whole file counts as shown). `pair`: places in files that a test goes with, and in those tests. "
        "`equal`, begun: half of the body is written and no import. Recency, common commits: bodies that a "
        "release changed, see `recall_releases`."
    )
    return f"### What each signal contributes\n\n{table(rows, head)}\n\n{said}\n"


def _apart_rows(results: Sequence[Found]) -> list[tuple[str, ...]]:
    """What the signals of `APART` contribute at their own places; packages count the same."""
    cells: dict[str, list[str]] = {}
    for name, form, budget in APART:
        some = [pair for r in results if (pair := r.apart.get((name, form))) and pair[0]]
        if some:
            lost = statistics.fmean(statistics.fmean(b) - statistics.fmean(a) for a, b in some)
            whole = statistics.fmean(statistics.fmean(a) for a, _ in some)
            places = sum(len(a) for a, _ in some)
            said = f"{100 * lost:+.1f} of {100 * whole:.1f} at {budget:,} ({places} places)"
            cells.setdefault(f"{name} ({'begun' if form == BEGUN else 'where there is one'})", []).append(
                said
            )
    return [
        (name, f"{signals.WEIGHTS[name.partition(' ')[0]]:g}", *[*texts, ""][:2])
        for name, texts in cells.items()
    ]


def recorded(text: str, section: str, heading: str = HEADING, command: str = COMMAND) -> str:
    """`text` of RESULTS.md with this section in place of an earlier one."""
    before, found, after = text.partition(f"{heading}\n")
    _, mark, rest = after.partition("\n## ")
    rest = f"\n## {rest}" if found and mark else ""
    return f"{before.rstrip()}\n\n{heading}\n\n`{command}`\n\n{section.rstrip()}\n{rest}"


def one(package: Package, args: argparse.Namespace, saved: Path) -> Found | None:
    """One package's figures, in a process of its own; None where it cannot be had."""
    start = time.monotonic()
    count = GgufTokenizer(corpora.vocabulary()).count
    try:
        found = load(package, args.places, count)
    except Missing as missing:
        sys.stderr.write(f"{package.key} is left out: {missing}\n")
        return None
    native = package in NATIVE
    aider = None if args.without_aider or native else Aider(found, saved)
    result = measure(found, count, aider)
    if not native:
        ablate(found, result, count, args.ablated)
    if aider is not None:
        aider.close()
    sys.stderr.write(f"{package.key}: {len(found.held)} places, {time.monotonic() - start:.0f} s\n")
    return result


def _releases() -> list[Change]:
    return recall_releases.changes(GgufTokenizer(corpora.vocabulary()).count)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_recall", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--packages", nargs="*", default=[], help="only these, of either list")
    parser.add_argument("--places", type=int, default=24, help="held-out bodies of each package (24)")
    parser.add_argument("--ablated", type=int, default=8, help="of them, those with each signal off (8)")
    parser.add_argument("--without-aider", action="store_true")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="packages at once (one a processor)")
    args = parser.parse_args(arguments)
    tokenizer = GgufTokenizer(corpora.vocabulary())
    saved = cache() / "vocabulary.json"
    tokenizer._bpe.save(str(saved))  # for aider's own process
    known = (*REPORTED, *NATIVE, *TUNED_ON)
    chosen = [p for p in known if p.name in args.packages] or [*REPORTED, *NATIVE]
    recall_truth.ensure_jedi()
    recall_truth.typescript()
    if not args.without_aider:
        aider_python()
    with ProcessPoolExecutor(args.jobs) as pool:
        history = pool.submit(_releases) if args.ablated else None
        # The large ones first, so that no process waits long for another at the end.
        jobs = [(p, pool.submit(one, p, args, saved)) for p in reversed(chosen)]
        found = {package: job.result() for package, job in jobs}
        released = history.result() if history else []
    results = [result for package in chosen if (result := found[package]) is not None]
    section = f"{report(results, released)}\n{circumstances(False)}\n"
    print(section)
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), section))
    return 0


if __name__ == "__main__":
    sys.exit(main())
