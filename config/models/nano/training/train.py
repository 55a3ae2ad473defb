"""Train the model, or go on where a run stopped: `python train.py RUN_DIRECTORY --tokens 16000000`.

The run's directory holds `tokenizer.json` (from corpus.py), `checkpoint.pt` and `log.txt`. The schedule is
counted in tokens: warm up, stay, and fall over the last 40 %. The end may be moved when resuming, also
that of a complete run. `--minutes` moves it by the speed of late, so that the run ends in time whatever else
the machine does. The same seed and position give the same batches.

Each worker process has one thread and its share of every batch's rows; they meet once a step to add up
gradients. On a machine that does other work too, this loses far less than threads that meet after every
operation.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from corpus import Source, load, load_tokenizer
from model import Nano, Shape, parameters
from optimiser import Optimiser
from spans import Coded, Span, encode, special
from stream import Batch, Stream, flat_rows
from tokenizers import Tokenizer

STEP_TOKENS = 4096
WARM_UP_STEPS = 40
FALL_SHARE = 0.4
LAST_FACTOR = 0.01
LENGTHS = ((2_500_000, 256), (14_000_000, 512), (10**12, 1024))
"""Up to so many tokens, rows of such a length."""
SECOND_STAGE = 0.45
"""Share of the tokens after which the product's prompts join."""


@dataclass
class Position:
    """Where a run stands."""

    tokens: int = 0
    slice: int = 0
    batch: int = 0
    stage: int = 1
    length: int = 256
    end: int = 0
    second_from: int = 0
    fall_from: int = 0


def length_of(tokens: int) -> int:
    """Rows of code: short ones teach words cheaply. The product's prompts have longer ones (`stream.py`)."""
    return next(length for upto, length in LENGTHS if tokens < upto)


def factor(position: Position, steps: int) -> float:
    """The learning rates' share of their maximum."""
    if not position.fall_from:
        return min(1.0, (steps + 1) / WARM_UP_STEPS)
    left = (position.end - position.tokens) / max(1, position.end - position.fall_from)
    return max(LAST_FACTOR, min(1.0, left))


class Clock:
    """Tokens per second of late, and where that leads."""

    def __init__(self, minutes: float | None) -> None:
        self.began = time.monotonic()
        self.minutes = minutes
        self.marks: deque[tuple[float, int]] = deque(maxlen=8)

    def speed(self, tokens: int) -> float:
        self.marks.append((time.monotonic(), tokens))
        (then, before), (now, after) = self.marks[0], self.marks[-1]
        return (after - before) / (now - then) if after > before else 0.0

    def plan(self, position: Position, speed: float) -> None:
        """Move the end, the same for all workers, and begin the fall when 40 % of the tokens are left."""
        if self.minutes and len(self.marks) > 3:
            left = max(0.0, 60 * self.minutes - (time.monotonic() - self.began))
            reach = torch.tensor([position.tokens + speed * left], dtype=torch.float64)
            dist.broadcast(reach, 0)
            position.end = int(reach)
        if not position.fall_from and position.tokens >= (1 - FALL_SHARE) * position.end:
            position.fall_from = position.tokens


def read(stream: Stream, position: Position) -> Iterator[Batch]:
    """Batches from `position` on, which moves along."""
    while True:
        if position.batch == 0:
            position.stage = 1 if position.tokens < position.second_from else 2
            position.length = length_of(position.tokens)
        workers = (dist.get_rank(), dist.get_world_size())
        found = stream.build(position.slice, position.stage, position.length, STEP_TOKENS, workers, everyone)
        for batch in found[position.batch :]:
            position.batch += 1
            yield batch
        position.slice, position.batch = position.slice + 1, 0


@torch.no_grad()
def evaluate(model: Nano, rows: list[Coded]) -> float:
    """Mean nats per token."""
    model.eval()
    total = 0.0
    for start in range(0, len(rows), 8):
        ids = torch.from_numpy(np.stack([r.ids for r in rows[start : start + 8]]).astype(np.int64))
        weights = torch.ones(ids.shape[0], ids.shape[1] - 1)
        total += model.loss(ids[:, :-1], ids[:, 1:], weights).item() * len(ids)
    model.train()
    return total / len(rows)


def save(run: Path, optimiser: Optimiser, model: Nano, position: Position) -> None:
    """Write the checkpoint beside its place and move it there: a killed run never leaves half a file."""
    biases = {n: b for n, b in model.state_dict().items() if n.endswith("mix.bias")}
    state: dict[str, Any] = {
        "shape": asdict(model.shape),
        "optimiser": optimiser.state(),
        "biases": biases,
        "position": asdict(position),
        "random": torch.get_rng_state(),
    }
    torch.save(state, run / "checkpoint.part")
    (run / "checkpoint.part").replace(run / "checkpoint.pt")


def resume(run: Path, model: Nano, optimiser: Optimiser) -> Position:
    """Load the checkpoint into both, if there is one."""
    file = run / "checkpoint.pt"
    if not file.exists():
        return Position()
    state = torch.load(file, weights_only=True)
    optimiser.restore(state["optimiser"])
    model.load_state_dict(state["biases"], strict=False)
    torch.set_rng_state(state["random"])
    return Position(**state["position"])


def everyone(mine: list[Coded]) -> list[list[Coded]]:
    """What each worker brought."""
    parts: list[list[Coded] | None] = [None] * dist.get_world_size()
    dist.all_gather_object(parts, mine)
    return [part or [] for part in parts]


def share(batch: Batch, rank: int, workers: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This worker's rows and their weights."""
    ids, weights = torch.from_numpy(batch.ids), torch.from_numpy(batch.weights)
    return ids[rank::workers], weights[rank::workers]


def add_up(model: Nano, mine: float, loss: float) -> float:
    """Replace gradients and expert counts by those of the whole batch; `mine` is our share of it."""
    parts = [p.grad for p in model.parameters() if p.grad is not None]
    loads = [m.load for m in model.mixers()]
    flat = torch.cat([*(g.flatten().float() * mine for g in parts), *loads, torch.tensor([loss * mine])])
    dist.all_reduce(flat)
    start = 0
    for part in [*parts, *loads]:
        part.copy_(flat[start : start + part.numel()].view_as(part))
        start += part.numel()
    return float(flat[-1])


def work(rank: int, options: argparse.Namespace) -> None:
    """One worker of `options.workers`. The first also writes the log and the checkpoints."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    meeting = f"file://{options.run.resolve()}/meeting-{os.getppid()}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.workers)
    training, kept = load()
    tokenizer = load_tokenizer(options.run)
    model = Nano(Shape()).to_bfloat16()
    optimiser = Optimiser(model)
    position = resume(options.run, model, optimiser)
    if position.tokens >= position.end > 0:  # a run that was complete begins to learn fast again
        position.fall_from = 0
    position.end = options.tokens
    position.second_from = options.second_from or int(SECOND_STAGE * options.tokens)
    log = (options.run / "log.txt").open("a", encoding="utf-8", buffering=1) if rank == 0 else None
    if log:
        print(f"parameters {parameters(model.shape)}, {position}", file=log)
    held = held_rows(tokenizer, kept)
    clock, saved, smooth, speed = Clock(options.minutes), time.monotonic(), 0.0, 0.0
    for batch in read(Stream(training, tokenizer, options.seed, options.run), position):
        ids, weights = share(batch, rank, options.workers)
        loss = model.loss(ids[:, :-1], ids[:, 1:], weights[:, 1:])
        loss.backward()
        mine = float(weights[:, 1:].sum() / max(1e-6, batch.weights[:, 1:].sum()))
        mean = add_up(model, mine, loss.item())
        norm = optimiser.step(factor(position, optimiser.steps))
        for mixer in model.mixers():
            mixer.balance(0.0005 if position.fall_from else 0.003)
        position.tokens += batch.tokens
        smooth = mean if not smooth else 0.98 * smooth + 0.02 * mean
        if optimiser.steps % 25 == 0:
            speed = clock.speed(position.tokens)
            clock.plan(position, speed)
        if log and optimiser.steps % 25 == 0:
            print(
                f"{time.strftime('%H:%M:%S')} step {optimiser.steps} "
                f"tokens {position.tokens} of {position.end} "
                f"stage {position.stage} length {ids.shape[1] - 1} loss {smooth:.3f} norm {norm:.2f} "
                f"factor {factor(position, optimiser.steps):.3f} speed {speed:.0f}/s",
                file=log,
            )
        done = position.tokens >= position.end
        if log and (done or time.monotonic() - saved > options.save_every):
            save(options.run, optimiser, model, position)
            print(f"   held out { {n: round(evaluate(model, r), 4) for n, r in held.items()} }", file=log)
            saved = time.monotonic()
        if done:
            break
    dist.destroy_process_group()


def held_rows(tokenizer: Tokenizer, kept: list[Source]) -> dict[str, list[Coded]]:
    """A few windows of the held-out files, for the log; figures.py measures on all of them."""
    result: dict[str, list[Coded]] = {}
    for name, test in (("library", False), ("tests", True)):
        samples = [(Span(s.text), special("<|endoftext|>")) for s in kept if s.test is test]
        rows = flat_rows(encode(tokenizer, samples), 512)
        result[name] = rows[:: max(1, len(rows) // 20)]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--tokens", type=int, default=16_000_000, help="where the run ends")
    parser.add_argument("--second-from", type=int, help="where the second stage begins (default: at 45 %%)")
    parser.add_argument("--minutes", type=float, help="from now on: ends early enough, the fall included")
    parser.add_argument("--seed", type=int, default=52)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--save-every", type=float, default=150.0, help="seconds between checkpoints")
    options = parser.parse_args()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONHASHSEED"] = "0"
    mp.spawn(work, (options,), nprocs=options.workers)


if __name__ == "__main__":
    main()
