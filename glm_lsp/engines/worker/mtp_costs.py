"""What the layer that foretells tokens costs here: measured when it is first loaded, and kept on the disk.

Where it cannot pay, however often it is right, the next load leaves it out.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import NamedTuple

import msgspec
import numpy as np

from glm_lsp.disk.store import Store
from glm_lsp.engines.worker.context import Context, NoRoom, NoSequence
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.llama import Ids
from glm_lsp.engines.worker.measuring import Scratch
from glm_lsp.engines.worker.mtp import BATCH, MtpHead
from glm_lsp.engines.worker.mtp_policy import MtpCosts, could_pay

ROUNDS = 9
MANY = 32
"""Entries that are read at once."""
BUDGET_S = 10.0
_VERSION = 1


class Known(NamedTuple):
    costs: MtpCosts
    pays: bool
    """Drafts could pay, by the costs of evaluating them that were known then."""


def too_dear(costs: MtpCosts) -> str:
    """Why the layer is not run, for people."""
    return (
        f"however often it were right, it would not pay: a guess costs {costs.step:.2f} steps of the model, "
        "and verifying it the rest of what it saves"
    )


class Kept:
    """The costs on the disk; `identity` names whatever they depend on."""

    def __init__(self, store: Store, identity: str) -> None:
        self._store = store
        digest = hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()
        self._key = f"mtp-{_VERSION}-{digest}"

    def read(self) -> Known | None:
        """What was kept. What lies on the disk is checked."""
        data = self._store.get(self._key) or b""
        try:
            step, entry, pays = msgspec.msgpack.decode(data, type=tuple[float, float, bool])
        except msgspec.MsgspecError:
            return None
        return Known(MtpCosts(step, entry), pays) if 0 < step < np.inf and 0 <= entry < np.inf else None

    def write(self, known: Known) -> None:
        """For the next load."""
        costs = known.costs
        self._store.set(self._key, msgspec.msgpack.encode((costs.step, costs.entry, known.pays)))


def table(
    head: MtpHead,
    context: Context,
    text: Ids,
    costs: CostTable,
    kept: Kept,
    *,
    processors: bool,
) -> MtpCosts | None:
    """The layer's costs: from the disk, else measured and kept. None: they could not be measured.

    The other values are those of `measuring.table`. Raises Interrupted: try again.
    """
    if (known := kept.read()) is not None:
        return known.costs
    scratch: Scratch | None = None
    try:
        scratch = Scratch(context, text, processors)
        found = measure(head, partial(scratch.seconds, 1), processors=processors)
    except (NoRoom, NoSequence):
        return None
    finally:
        if scratch is not None:
            scratch.close()
    if found is not None:
        kept.write(Known(found, could_pay(costs, found)))
    return found


def measure(head: MtpHead, single: Callable[[], float], *, processors: bool) -> MtpCosts | None:
    """Time guesses and readings between single steps of the model, which `single` does and times.

    By processors' time or the wall's, as `single` does. None: llama.cpp refuses. Raises Interrupted.
    """
    clock = time.process_time if processors else time.perf_counter
    random = np.random.default_rng(0)
    ids = np.arange(1, MANY + 1, dtype=np.int32)
    states = random.standard_normal((MANY, head.width), np.float32)
    ends = time.perf_counter() + BUDGET_S

    def seconds(count: int) -> float | None:
        head.clear(None, BATCH)
        started = clock()
        if not head.feed(ids[:count], states[:count]):
            return None
        head.guess()
        return clock() - started

    ones: list[float] = []
    manies: list[float] = []
    seconds(1)
    while len(ones) < ROUNDS and (not ones or time.perf_counter() < ends):
        before = single()
        one, many = seconds(1), seconds(MANY)
        if one is None or many is None:
            return None
        step = max((before + single()) / 2, 1e-9)
        ones.append(one / step)
        manies.append(many / step)
    head.clear(None, 0)
    one, many = median(ones), median(manies)
    return MtpCosts(max(one, 1e-6), max(many - one, 0.0) / (MANY - 1))
