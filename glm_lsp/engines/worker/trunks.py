"""The sequences of one KV cache, and who holds them: what was evaluated once is shared, kept, handed on.

A request leases a sequence that begins with the longest prefix that any sequence, or the disk, has of its
prompt. When its evaluation has passed the trunk's end, the trunk becomes a sequence of its own, from which
all others fork. What nobody leases is idle: tails of finished requests, and trunks. They give way from their
ends, least recently used first and tails before trunks, when somebody needs their cells.

Every lease has cells promised: its prompt and a part of its answer, and more as it writes (`grow`). So two
long answers are both under way where both are likely to fit. When they do not, the more urgent one, and of
equals the one that began first, takes what it lacks from the other's end, and the other waits for it; since
one lease always comes first of all, somebody always gets on. Forks share cells, so nothing here moves data;
prefixes are exact, and nothing is ever shifted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from glm_lsp.engines.worker.fetching import Reading
from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import NEAR_SHARE

if TYPE_CHECKING:
    from glm_lsp.engines.worker.context import CachedSequence, Context
    from glm_lsp.engines.worker.keeping import Keeping

IDLE_TAILS = 4
"""More are not kept: each one costs a little in every evaluation."""
NEAR_TRUNKS = 4
"""Of trunks that are nearly the same more are not kept: they share most cells, but numbers are few."""
LEAST_KEPT = 32
"""A shorter rest of an idle sequence is not worth its number."""

_AFTER_ALL = (1 << 30, 0)
"""The rank of whoever takes nothing from any lease."""


@dataclass(eq=False, slots=True)
class Lease:
    """A sequence in use. While it is, nobody else cuts it, unless `lost` says that it was given up."""

    sequence: CachedSequence
    urgency: int
    cells: int
    """So many tokens it may come to before it has to `grow`."""
    trunk: int
    held: int
    """Tokens that it began with."""
    restored: int = 0
    """Of them, those that came from the disk."""
    lost: bool = False
    """Its cells went to something more urgent: begin anew."""
    trunk_kept: bool = False
    number: int = 0

    @property
    def rank(self) -> tuple[int, int]:
        """Who has less goes first where there is not enough for all."""
        return self.urgency, self.number

    @property
    def owed(self) -> int:
        """Cells that are promised and not taken yet."""
        return max(self.cells - self.sequence.count, 0)


@dataclass(eq=False, slots=True)
class _Idle:
    sequence: CachedSequence
    trunk: bool
    used: int
    ahead: bool = False
    """It was read from the disk before anybody asked for it."""


class Pool:
    """All sequences of a context. Only the thread that runs the model calls it, but for `trunks`."""

    def __init__(self, context: Context, keeping: Keeping | None = None) -> None:
        self.trunks: tuple[int, ...] = ()
        """Tokens of each shared trunk, most recently used first."""
        self._context = context
        self._keeping = keeping
        self._idle: list[_Idle] = []
        self._leases: list[Lease] = []
        self._time = 0
        self._begun = 0

    def begin(
        self, ids: Ids, *, trunk: int = 0, reserve: int = 0, urgency: int = 0, evaluate: int = 1
    ) -> Lease | None:
        """Lease a sequence for a prompt of which the first `trunk` tokens are shared, and `reserve` more.

        It never begins with the last `evaluate` tokens: their logits are wanted. None where it is still being
        read from the disk: try again when something has arrived (`arrivals`). None, too, where it does not
        fit beside leases that are as urgent or more: try again when one of them has ended. Less urgent ones
        give up theirs if there is no other way. `len(ids) + reserve` must be at most `kv_tokens`.
        """
        self._begun += 1
        # An equally urgent one that has begun is not put out.
        rank = urgency + 1, 0
        wanted = ids[: len(ids) - evaluate]
        total = len(ids) + reserve
        source, common = self._source(wanted)
        sequence = self._from_disk(wanted, common, total, rank)
        if isinstance(sequence, Reading):
            return None
        restored = sequence.count if sequence is not None else 0
        if sequence is None:
            # The attempt may have driven out what was found at first.
            source, common = self._source(wanted)
            restored = self._read_ahead(source, common)
            sequence = self._fork(source, common)
            if sequence is None:
                return None
            owed = total - sequence.count
            if not self._fits(owed, rank, sequence):
                sequence.close()
                return None
            self._make_room(owed, rank)
        lease = Lease(sequence, urgency, total, trunk, sequence.count, restored, number=self._begun)
        self._leases.append(lease)
        self._succeed(source, lease)
        self.keep_trunk(lease)
        return lease

    def grow(self, lease: Lease, cells: int, *, spare: bool = False) -> bool:
        """Promise a lease cells for so many tokens in all; false where those before it need them.

        It keeps what it has, and is to try again when one of them has ended. With `spare` only what is idle
        gives way. `cells` must be at most the context's `kv_tokens`.
        """
        cells = max(cells, lease.cells)
        rank = _AFTER_ALL if spare else lease.rank
        if not self._fits(max(cells - lease.sequence.count, 0), rank, lease.sequence, but=lease):
            return False
        lease.cells = cells
        self._make_room(0, rank, but=lease)
        return True

    def relieve(self, lease: Lease) -> bool:
        """llama.cpp finds no cells where we count some: have one more give way, if there is one."""
        if idle := self._first():
            self._close(idle)
            return True
        later = [other for other in self._leases if other is not lease]
        if later:
            self._give_up(max(later, key=lambda other: other.rank))
        return bool(later)

    def keep_trunk(self, lease: Lease) -> None:
        """To be called after each evaluation: once the trunk is complete, it is kept for others."""
        if lease.trunk_kept or not 0 < lease.trunk <= lease.sequence.count:
            return
        lease.trunk_kept = True
        ids = lease.sequence.tokens[: lease.trunk]
        for idle in self._idle:
            if idle.trunk and idle.sequence.common(ids) == len(ids):
                self._touch(idle)
                return
        if self._free_number(None):
            self._add(lease.sequence.fork(lease.trunk), trunk=True)

    def catch_up(self, lease: Lease, ids: Ids, *, evaluate: int = 1) -> int:
        """Take over what others have evaluated of a prompt meanwhile; return how many tokens that spares."""
        source, common = self._source(ids[: len(ids) - evaluate], other_than=lease.sequence)
        gain = common - lease.sequence.count
        if gain <= 0 or (sequence := self._fork(source, common)) is None:
            return 0
        lease.sequence.close()
        lease.sequence = sequence
        self.keep_trunk(lease)
        return gain

    def end(self, lease: Lease) -> None:
        """What the lease holds is idle from now on: the next request may begin with it."""
        if lease in self._leases:
            self._leases.remove(lease)
            # A trunk that is not finished is as dear as one that is.
            self._add(lease.sequence, trunk=lease.trunk > 0 and not lease.trunk_kept)

    def read_ahead(self, on_arrival: Callable[[], None]) -> None:
        """Have what was used last read from the disk. `on_arrival` is called from another thread."""
        if self._keeping is not None:
            self._keeping.fetcher.on_arrival = on_arrival
            self._keeping.read_ahead()

    @property
    def arrivals(self) -> int:
        """How often something has been read from the disk. From any thread."""
        return self._keeping.fetcher.arrivals if self._keeping is not None else 0

    @property
    def reading(self) -> bool:
        """Something is being read from the disk."""
        return self._keeping is not None and self._keeping.fetcher.busy

    def take_in(self) -> None:
        """While nobody waits: make a trunk of what has arrived, if there is room that nothing else takes."""
        arrived = self._keeping.fetcher.arrived() if self._keeping is not None else None
        if self._keeping is None or arrived is None:
            return
        found, loaded = arrived
        ids = loaded[1]
        if not self._context.free_sequences or len(ids) > self._context.free_cells:
            return
        if self._source(ids)[1] == len(ids):
            return
        if (sequence := self._keeping.place(self._context, found, loaded)) is not None:
            self._add(sequence, trunk=True)
            for idle in self._idle:
                idle.ahead |= idle.sequence is sequence

    def save_idle(self, idle_s: float) -> bool:
        """After so long without work: save one trunk, if any is worth it; true if it was."""
        keeping = self._keeping
        if keeping is None:
            return False
        return any(keeping.save_idle(idle.sequence, idle_s) for idle in self._recent() if idle.trunk)

    @property
    def idle(self) -> tuple[CachedSequence, ...]:
        """What nobody leases, to fork from at once: the next call may close it."""
        return tuple(idle.sequence for idle in self._recent())

    def close(self, wait_s: float) -> int:
        """At the end: save the trunks that are worth it, for at most so long; return how many were saved."""
        trunks = [idle.sequence for idle in self._recent() if idle.trunk]
        return self._keeping.save_last(trunks, wait_s) if self._keeping is not None else 0

    # What is there.

    def _source(
        self, ids: Ids, other_than: CachedSequence | None = None
    ) -> tuple[CachedSequence | None, int]:
        """The sequence with the longest common prefix, and its length; of equal ones trunks, then leases."""
        trunks = [idle.sequence for idle in self._recent() if idle.trunk]
        leased = [lease.sequence for lease in self._leases if lease.sequence is not other_than]
        tails = [idle.sequence for idle in self._recent() if not idle.trunk]
        best, longest = None, 0
        for sequence in (*trunks, *leased, *tails):
            if (common := sequence.common(ids)) > longest:
                best, longest = sequence, common
        return best, longest

    def _recent(self) -> list[_Idle]:
        return sorted(self._idle, key=lambda idle: -idle.used)

    def _touch(self, idle: _Idle) -> None:
        self._time += 1
        idle.used = self._time
        self._tell()

    # Taking.

    def _fork(self, source: CachedSequence | None, common: int) -> CachedSequence | None:
        """A sequence that begins with the first `common` tokens of `source`; None if there is no number."""
        if not self._free_number(source):
            return None
        return self._context.sequence() if source is None else source.fork(common)

    def _from_disk(
        self, wanted: Ids, held: int, total: int, rank: tuple[int, int]
    ) -> CachedSequence | Reading | None:
        """What a saved prompt begins with, if there is one that beats what is held and that fits."""
        keeping = self._keeping
        if keeping is None or (found := keeping.better(wanted, held)) is None:
            return None
        # It comes whole, and is cut only then.
        owed = max(total, found.entry_tokens)
        if not self._free_number(None) or not self._fits(owed, rank):
            return None
        loaded = keeping.fetcher.take(found)
        if loaded is None or isinstance(loaded, Reading):
            return loaded
        self._make_room(owed, rank)
        sequence = keeping.place(self._context, found, loaded)
        if sequence is not None:
            sequence.cut(sequence.common(wanted))
        return sequence

    def _read_ahead(self, source: CachedSequence | None, common: int) -> int:
        """So many of these tokens have come from the disk, and nobody has been told yet."""
        for idle in self._idle:
            if idle.sequence is source and idle.ahead:
                idle.ahead = False
                return common
        return 0

    def _succeed(self, source: CachedSequence | None, lease: Lease) -> None:
        """A tail whose successor has begun goes, unless what it would lose is worth more than what is shared.

        While somebody types, each prompt is the last one's successor; another file's prompt is not.
        """
        common = lease.sequence.tokens
        shared = max((idle.sequence.common(common) for idle in self._idle if idle.trunk), default=0)
        for idle in self._idle:
            if idle.sequence is not source:
                continue
            lost = idle.sequence.count - lease.sequence.count
            if not idle.trunk and lost <= max(lease.sequence.count - shared, self._context.batch_tokens):
                self._close(idle)
            else:
                self._touch(idle)
            return

    def _add(self, sequence: CachedSequence, *, trunk: bool) -> None:
        """A sequence becomes idle; those that say less than it, or it itself, go."""
        mine = sequence.tokens
        for idle in list(self._idle):
            if (trunk or not idle.trunk) and idle.sequence.common(mine) == idle.sequence.count:
                self._close(idle)
        for idle in self._idle:
            if (idle.trunk or not trunk) and idle.sequence.common(mine) == len(mine):
                sequence.close()
                self._touch(idle)
                return
        if not len(mine):
            sequence.close()
            return
        added = _Idle(sequence, trunk, 0)
        self._idle.append(added)
        self._touch(added)
        for old in [idle for idle in self._recent() if not idle.trunk][IDLE_TAILS:]:
            self._close(old)
        near = [idle for idle in self._recent() if idle.trunk and _near(idle.sequence, sequence)]
        for old in near[NEAR_TRUNKS:] if trunk else ():
            self._close(old)

    # Giving way.

    def _fits(
        self, owed: int, rank: tuple[int, int], *more: CachedSequence, but: Lease | None = None
    ) -> bool:
        """Whether so many cells can be free beside leases that rank before `rank`, and beside `more`."""
        firm = [lease for lease in self._leases if lease.rank < rank and lease is not but]
        taken = np.zeros(self._context.kv_tokens, np.bool_)
        for sequence in (*more, *(lease.sequence for lease in firm)):
            taken[sequence.cells] = True
        promised = owed + sum(lease.owed for lease in firm)
        return int(np.count_nonzero(taken)) + promised <= self._context.kv_tokens

    def _make_room(self, owed: int, rank: tuple[int, int], but: Lease | None = None) -> None:
        """Have others give way until so much is free besides what is promised. It must fit."""
        while (lacking := owed + sum(o.owed for o in self._leases) - self._context.free_cells) > 0:
            if idle := self._first(lambda i: i.sequence.own_cells > 0):
                self._shorten(idle, lacking)
            elif later := [lease for lease in self._leases if lease.rank > rank and lease is not but]:
                # The least urgent, and of those the last to begin.
                self._give_up(max(later, key=lambda lease: lease.rank))
            elif idle := self._first():
                # It shares all that it has with another idle one.
                self._close(idle)
            else:
                return

    def _first(self, suits: Callable[[_Idle], bool] = lambda _: True) -> _Idle | None:
        """The idle sequence that is to give way first."""
        return min(filter(suits, self._idle), key=lambda idle: (idle.trunk, idle.used), default=None)

    def _give_up(self, lease: Lease) -> None:
        lease.lost = True
        self.end(lease)

    def _shorten(self, idle: _Idle, cells: int) -> None:
        """Free so many cells from its end, or all that nobody else holds."""
        if idle.trunk and self._keeping is not None:
            self._keeping.save_evicted(idle.sequence)
        left = idle.sequence.count - min(cells, idle.sequence.own_cells)
        if left < LEAST_KEPT:
            self._close(idle)
        else:
            idle.sequence.cut(left)
            self._tell()

    def _free_number(self, keep: CachedSequence | None) -> bool:
        """See to it that a sequence can be had; false if everything is leased."""
        while not self._context.free_sequences:
            idle = self._first(lambda i: i.sequence is not keep)
            if idle is None:
                return False
            self._close(idle)
        return True

    def _close(self, idle: _Idle) -> None:
        self._idle.remove(idle)
        idle.sequence.close()
        self._tell()

    def _tell(self) -> None:
        self.trunks = tuple(i.sequence.count for i in self._recent() if i.trunk)


def _near(one: CachedSequence, other: CachedSequence) -> bool:
    """Whether they have most of the longer one in common."""
    return one.common(other.tokens) >= NEAR_SHARE * max(one.count, other.count)
