"""A real worker for the benches: started as ever, asked through its socket.

Times are of the monotonic clock, which all processes share, in seconds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from glm_lsp.core import profiles
from glm_lsp.engines import connection, probe, rendezvous
from glm_lsp.engines.connection import Answer, Connection
from glm_lsp.engines.frames import Cancelled, Done, Failed, Generate, Load, Progress, Text
from glm_lsp.engines.tokenizers import GgufTokenizer

STALL_S = 1200.0
TYPING, REFACTOR = 0, 2
"""Urgencies."""
BATCH = 256
_ids = itertools.count(1)
_WORDS = "value total items name path index result count first last text size line part node left right"


def load_of(model: Path, *, context: int, threads: int, kv_tokens: int = 0, saved_bytes: int = 0) -> Load:
    """What a bench asks a worker for: no drafts, which are measured elsewhere."""
    facts = probe.model_facts(str(model))
    return Load(
        path=str(model),
        architecture=facts.architecture,
        context_tokens=context,
        kv_tokens=kv_tokens or context,
        batch_tokens=BATCH,
        kv_type="f16",
        kv_bytes_per_token_f16=facts.kv_bytes_f16 or profiles.load("nano").kv_bytes_per_token_f16,
        threads=threads,
        template="bench/1",
        stall_s=STALL_S,
        linger_s=600.0,
        saved_kv_bytes=saved_bytes,
        drafts=False,
    )


async def reach(load: Load, name: str = "bench") -> Connection:
    """A connection to the worker, when the model is loaded."""
    made = await connection.reach(rendezvous.place(rendezvous.MAIN), load, name, STALL_S)
    if (refusal := await made.ready(STALL_S)) is not None:
        raise connection.error_of(refusal)
    return made


async def stop() -> None:
    """End the worker, which saves what it has read."""
    await connection.stop(rendezvous.place(rendezvous.MAIN), force=True)


@asynccontextmanager
async def worker(load: Load) -> AsyncIterator[Connection]:
    """A worker that ends with the block."""
    made = await reach(load)
    raise_priority(made.pid)
    try:
        yield made
    finally:
        await made.close()
        await stop()


@dataclass
class Answered:
    """When what was heard of a request."""

    sent: float
    begun: float = 0.0
    """Its first step starts."""
    read: float = 0.0
    """The prompt is evaluated."""
    end: float = 0.0
    done: Done | None = None
    text: str = ""
    batches: list[float] = field(default_factory=list)
    """Time and again a batch of the prompt was evaluated."""

    @property
    def result(self) -> Done:
        assert self.done is not None, "the request was cancelled"
        return self.done

    @property
    def token_s(self) -> float:
        """Wall time of a token after the first."""
        return (self.end - self.read) / max(self.result.output_tokens - 1, 1)

    @property
    def batch_s(self) -> float:
        """Wall time of a whole batch of the prompt: the median."""
        gaps = sorted(b - a for a, b in itertools.pairwise(self.batches))
        return gaps[len(gaps) // 2] if gaps else 0.0


async def answer(
    to: Connection, request: Generate, heard: Callable[[Answered, Answer], None] = lambda _a, _b: None
) -> Answered:
    """Ask and wait for the end; `heard` sees every reply."""
    found = Answered(time.perf_counter())
    replies = to.submit(request)
    try:
        while True:
            reply = await to.next(replies, STALL_S)
            now = time.perf_counter()
            match reply:
                case Progress() if reply.total:
                    found.begun = found.begun or now
                    found.batches.append(now)
                    if reply.done == reply.total and not found.read:
                        found.read = now
                case Text():
                    found.text += reply.text
                case Done() | Cancelled():
                    found.end, found.done = now, reply if isinstance(reply, Done) else None
                    return found
                case Failed():
                    raise connection.error_of(reply)
                case _:
                    pass
            heard(found, reply)
    finally:
        to.forget(request.id)


def request(*texts: str, most: int, urgency: int = REFACTOR, trunk: int = 0, warm: float = 0.0) -> Generate:
    """A prompt of these texts. `warm` is a temperature."""
    number = next(_ids)
    pieces = tuple((text, False) for text in texts)
    return Generate(
        number, pieces, most, trunk=trunk, temperature=warm, seed=number, drafts=False, urgency=urgency
    )


@cache
def tokenizer(model: Path) -> GgufTokenizer:
    return GgufTokenizer(str(model))


def text_of(model: Path, tokens: int, seed: int) -> str:
    """A text of exactly so many tokens: random words."""
    words, encode = random.Random(seed), tokenizer(model).encode
    known = _WORDS.split()

    def more(count: int) -> str:
        return "".join(f" {words.choice(known)}{words.randrange(1000)}" for _ in range(count))

    text = more(tokens // 2)
    while (count := len(encode(text))) != tokens:
        # Past the end: drop the last characters and go on with single ones.
        text = text[: -max((count - tokens) // 2, 1)] if count > tokens else text + more(1)
        if count > tokens and len(encode(text)) < tokens:
            text += "\n" * (tokens - len(encode(text)))
            text = text if len(encode(text)) == tokens else text.rstrip("\n") + more(1)
    return text


def opening(seed: int) -> str:
    """Text that goes on and on."""
    return f"# {seed}\nvalues = [\n" + "".join(f"    {seed + line},\n" for line in range(30))


async def endless(to: Connection, tokens: int) -> tuple[str, Answered]:
    """A prompt that this model goes on with for so many tokens, taking the likeliest; and that answer."""
    for seed in range(50):
        found = await answer(to, request(opening(seed), most=tokens))
        if found.result.output_tokens == tokens:
            return opening(seed), found
    raise RuntimeError(f"The model ends every answer before {tokens} tokens.")


# The machine.


def processor_s(pid: int) -> float:
    """Processor time of all threads of a process; nan where the system does not say it exactly."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    except OSError:
        return float("nan")
    return total / 1e9


def raise_priority(pid: int = 0) -> bool:
    """Put a process before others, where we may; whether that worked."""
    try:
        os.setpriority(os.PRIO_PROCESS, pid, -20)
    except (OSError, AttributeError):
        return False
    with contextlib.suppress(OSError):
        # Sessions share the processors by this, whatever their processes' own priorities are.
        Path(f"/proc/{pid or 'self'}/autogroup").write_text("-20")
    for task in Path(f"/proc/{pid}/task").glob("*") if pid else ():
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, int(task.name), -20)
    return True
