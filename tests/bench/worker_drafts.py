"""The copy-heavy edits of `bench_drafts` in short: what drafts cost and spare, by each table of c(k)."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import AsyncIterator

from tests.bench import bench_drafts
from tests.bench.bench_drafts import MOSTLY_NEW, Played
from tests.bench.edits import edits
from tests.bench.rows import Options, Row

_MEAN, _WORST = 0.6, 1.05


async def drafts(options: Options) -> AsyncIterator[Row]:
    """Goal: 0.6 of undrafted on average by GLM-5.2's computed c(k); by any c(k) no edit above 1.05."""
    found = await asyncio.to_thread(lambda: list(edits()))
    tables = await asyncio.to_thread(bench_drafts.tables, True)
    for tokens, coder in bench_drafts.CODERS.items():
        samples = [s for s in bench_drafts.samples(found, coder()) if not s.form.endswith(MOSTLY_NEW)]
        for name, costs in tables.items():
            options.progress(f"{name}, tokens: {tokens}")
            played = await asyncio.to_thread(
                lambda costs=costs, samples=samples: [bench_drafts.play(costs, s) for s in samples]
            )
            yield _row(name, tokens, played)


def _row(name: str, tokens: str, played: list[Played]) -> Row:
    each = [p.cost / p.tokens for p in played]
    mean, worst = statistics.mean(each), max(each)
    whole = sum(p.cost for p in played) / sum(p.tokens for p in played)
    computed = name.startswith("GLM")
    wanted = f"mean at most {_MEAN}, " if computed else ""
    return Row(
        f"{name}; {len(played)} edits, tokens: {tokens}",
        f"mean of edits {mean:.3f}, of all tokens {whole:.3f}, dearest edit {worst:.3f}",
        "1 (undrafted)",
        f"{wanted}none above {_WORST}",
        worst <= _WORST and (mean <= _MEAN or not computed),
    )
