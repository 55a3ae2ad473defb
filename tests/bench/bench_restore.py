"""Restore and first token against cold prefill of the same prompt: `python -m tests.bench.bench_restore`.

Through the worker's own parts: find, read, check, load into the KV cache, evaluate the last token; the model
is resident in both. Seconds by the clock, and of the processor, which a busy machine does not change. The
file is read from the page cache, or from the disk (`--cold`: its pages are dropped before each round).
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from glm_lsp.core import profiles
from glm_lsp.engines import probe
from glm_lsp.engines.frames import Load
from glm_lsp.engines.worker.context import Context, Rows
from glm_lsp.engines.worker.identity import engine_version, identity
from glm_lsp.engines.worker.keeping import Keeping
from glm_lsp.engines.worker.loading import open_model
from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import SavedKv

BATCH = 256
Times = tuple[float, float]
"""By the clock and of the processor, in seconds."""


def read(context: Context, sequence: Any, ids: Ids) -> int:
    """Evaluate the rest of a prompt as the worker does; return the best next token."""
    while sequence.count < len(ids):
        end = min((sequence.count // BATCH + 1) * BATCH, len(ids))
        sequence.feed(ids[sequence.count : end], Rows.LAST if end == len(ids) else Rows.NONE)
    return int(context.logits().argmax())


def timed(work: Callable[[], Any]) -> tuple[Any, Times]:
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, (time.perf_counter() - clock, time.process_time() - processor)


def row(what: str, times: list[Times]) -> Times:
    clock, processor = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{what:34}{clock:10.3f} s {processor:10.3f} s of processor time")
    return clock, processor


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--prefills", type=int, default=1, help="cold ones; they take long")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--model", default="", help="a GGUF file; default: the bundled one")
    parser.add_argument("--cold", action="store_true", help="read from the disk, not from the page cache")
    args = parser.parse_args()
    path = args.model or profiles.load("nano").gguf_path
    facts = probe.model_facts(path)
    load = Load(
        path=path,
        architecture=facts.architecture,
        context_tokens=args.tokens,
        kv_tokens=args.tokens + BATCH,
        batch_tokens=BATCH,
        kv_type="f16",
        kv_bytes_per_token_f16=profiles.load("nano").kv_bytes_per_token_f16,
        threads=args.threads,
    )
    loaded, loading = timed(lambda: open_model(load))
    context = loaded.context
    ids = np.random.default_rng(0).integers(0, min(loaded.model.size, 8000), args.tokens).astype(np.int32)
    told = identity(
        facts,
        kv_type="f16",
        flash_attention=True,
        template="",
        layout_version=1,
        engine_version=engine_version(),
        batch_tokens=BATCH,
    )
    with tempfile.TemporaryDirectory() as directory:
        saved = SavedKv(Path(directory) / "kv", told, 1 << 40, print)
        keep = Keeping(saved, 1.0, lambda start, end: float(end - start))
        colds: list[Times] = []
        for _ in range(args.prefills):
            sequence = context.sequence()
            expected, seconds = timed(lambda sequence=sequence: read(context, sequence, ids))
            colds.append(seconds)
            if len(colds) < args.prefills:
                sequence.close()
        data, copying = timed(sequence.save)
        _, writing = timed(lambda: saved.save(sequence.tokens, data) and saved.drain(600.0))
        sequence.close()
        (entry,) = (Path(directory) / "kv").glob("*.kv")

        def restored() -> Any:
            found = keep.better(ids[:-1], 0)
            assert found is not None
            return keep.restore(context, found, ids[:-1])

        restores: list[Times] = []
        firsts: list[Times] = []
        for _ in range(args.rounds):
            if args.cold:
                with entry.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            sequence, restore = timed(restored)
            token, first = timed(lambda sequence=sequence: read(context, sequence, ids))
            assert token == expected, "a restored prompt goes on with another token"
            restores.append(restore)
            firsts.append((restore[0] + first[0], restore[1] + first[1]))
            sequence.close()
        saved.close(10.0)
    loaded.close()
    print(f"{args.tokens} tokens, {args.threads} thread(s), a state of {len(data) / 1e6:.1f} MB")
    row("loading the model, beside it", [loading])
    cold = row("cold prefill and first token", colds)
    row("restore: find, read, check, load", restores)
    warm = row("restore and first token", firsts)
    row("saving: the copy of the state", [copying])
    row("saving: checked and on the disk", [writing])
    print(f"{cold[0] / warm[0]:.0f} times sooner, {cold[1] / warm[1]:.0f} times less processor time")
    return 0


if __name__ == "__main__":
    sys.exit(main())
