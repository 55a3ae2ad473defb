"""The worker's speed, side by side: `python -m tests.bench.bench_worker [--record] [--only SECTION]`.

One command for all that the worker is to reach: a real worker, in a runtime directory and a cache of its
own, asked through its socket by real clients. Ratios are of what is measured turn about in this run. The
models and llama-bench are made in the user's cache the first time. `--record` writes each section that was
measured into RESULTS.md; a section that fails says why, and the others go on. A busy machine gives poor
figures: the load is told with them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from glm_lsp.engines import probe
from tests.bench import real, worker_drafts, worker_restore, worker_speed, worker_windows, worker_yield
from tests.bench.rows import RESULTS, Clock, Options, Row, block, circumstances, recorded
from tests.conftest import apart

Measure = Callable[[Options], AsyncIterator[Row]]


@dataclass(frozen=True)
class Section:
    title: str
    measure: Measure
    minutes: float
    """About so long on an idle machine of two cores."""


SECTIONS = {
    "speed": Section("Reading and writing beside llama-bench", worker_speed.beside_llama_bench, 3),
    "added": Section("What a token costs besides llama.cpp", worker_speed.added, 1),
    "restore": Section("Restoring beside reading anew", worker_restore.restored, 6),
    "keystroke": Section("A keystroke in the middle of other work", worker_yield.keystrokes, 2),
    "cancel": Section("From cancel to idle", worker_yield.cancels, 4),
    "windows": Section("Two windows on one repository", worker_windows.windows, 1),
    "drafts": Section("Drafts for copy-heavy edits", worker_drafts.drafts, 2),
}


async def measured(section: Section, options: Options) -> tuple[list[Row], bool]:
    """A section's rows, and whether it came to its end."""
    rows: list[Row] = []
    try:
        async for row in section.measure(options):
            rows.append(row)
            print(*row.cells, sep="\t", flush=True)
    except Exception as error:
        traceback.print_exc()
        rows.append(Row("NOT MEASURED to its end", f"{type(error).__name__}: {error}".replace("\n", " ")))
        return rows, False
    return rows, True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", action="append", choices=tuple(SECTIONS), help="may be given again")
    parser.add_argument("--threads", type=int, default=probe.machine().cores, help="of the random models")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cancels", type=int, default=200)
    parser.add_argument("--keystrokes", type=int, default=30)
    parser.add_argument("--llama-bench", default="", help="the program; default: built in the user's cache")
    parser.add_argument("--model", default="", help="a GGUF file in place of the random one of 1.5 GB")
    parser.add_argument("--long-model", default="", help="one in place of the small one for long prompts")
    parser.add_argument("--long-tokens", type=int, default=32_768)
    args = parser.parse_args()
    names = [name for name in SECTIONS if not args.only or name in args.only]
    clock = Clock({name: SECTIONS[name].minutes for name in names})
    options = Options(
        threads=args.threads,
        rounds=args.rounds,
        llama_bench=args.llama_bench,
        model=args.model,
        long_model=args.long_model,
        long_tokens=args.long_tokens,
        cancels=args.cancels,
        keystrokes=args.keystrokes,
        progress=clock.say,
    )
    raised = real.raise_priority()
    whole = True
    found: dict[str, str] = {}
    for name in names:
        clock.begin(name)
        # What the drafts are played on lies in the user's cache, and there is no worker.
        with contextlib.nullcontext() if name == "drafts" else apart():
            rows, ended = asyncio.run(measured(SECTIONS[name], options))
        clock.end()
        whole = whole and ended
        title = SECTIONS[name].title
        found[title] = block(title, rows, circumstances(raised))
        print("\n" + found[title], flush=True)
        if args.record:
            # At once: what comes later may fail.
            order = [section.title for section in SECTIONS.values()]
            RESULTS.write_text(recorded(RESULTS.read_text(), found, order))
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())
