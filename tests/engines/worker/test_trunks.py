"""The pool: the longest prefix is shared, promises are kept, and what gives way is what is missed least.

llama.cpp is replaced by a list of tokens per sequence here; `test_generation` runs the pool on the real one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from rows import BATCH, Row, Rows

from glm_lsp.engines.worker.fetching import Reading
from glm_lsp.engines.worker.trunks import IDLE_TAILS, NEAR_TRUNKS, Lease, Pool

TYPING, ACTION, REFACTOR = range(3)


def tokens(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 30, count).astype(np.int32)


class Desk:
    """A pool over such a context."""

    def __init__(self, kv_tokens: int = 1000, sequences: int = 16, keeping: Any = None) -> None:
        self.context: Any = Rows(kv_tokens, sequences)
        self.pool = Pool(self.context, keeping)

    def begin(self, ids: np.ndarray, trunk: int = 0, reserve: int = 0, urgency: int = ACTION) -> Lease | None:
        return self.pool.begin(ids, trunk=trunk, reserve=reserve, urgency=urgency)

    def read(self, lease: Lease, ids: np.ndarray, most: int = 1 << 30) -> None:
        """Evaluate the rest of a prompt, or so much of it, in batches."""
        end = min(len(ids), lease.sequence.count + most)
        while (at := lease.sequence.count) < end:
            lease.sequence.feed(ids[at : min((at // BATCH + 1) * BATCH, end)])  # type: ignore[call-arg]
            self.pool.keep_trunk(lease)

    def answer(self, trunk: np.ndarray, tail: np.ndarray, **options: Any) -> int:
        """One whole request; how many of its tokens were evaluated."""
        ids = np.concatenate([trunk, tail])
        before = self.context.evaluated
        lease = self.begin(ids, len(trunk), **options)
        assert lease is not None
        self.read(lease, ids)
        self.pool.end(lease)
        return self.context.evaluated - before


def test_a_trunk_is_evaluated_once_whatever_follows_it() -> None:
    desk = Desk()
    trunk = tokens(0, 300)
    assert desk.answer(trunk, tokens(1, 20)) == 320
    for seed in range(2, 12):
        assert desk.answer(trunk, tokens(seed, 20)) == 20
    assert desk.pool.trunks == (300,)
    assert len(desk.context.rows) <= 1 + IDLE_TAILS


def test_a_trunk_that_has_grown_evaluates_its_growth_and_takes_the_old_ones_place() -> None:
    desk = Desk()
    trunk = tokens(0, 300)
    desk.answer(trunk[:200], tokens(1, 20))
    assert desk.answer(trunk, tokens(2, 20)) == 120
    assert desk.pool.trunks == (300,)
    assert desk.answer(trunk[:200], tokens(3, 20)) == 20


def test_typing_on_goes_on_with_its_own_tail() -> None:
    desk = Desk()
    trunk, text = tokens(0, 300), tokens(1, 100)
    desk.answer(trunk, text[:50])
    desk.answer(trunk, tokens(2, 50))
    for end in range(51, 100):
        assert desk.answer(trunk, text[:end]) == 1
    assert len(desk.context.rows) == 3, "the trunk, and one tail for each place"


def test_a_request_that_comes_between_shares_what_was_read_so_far_and_gives_back_the_rest() -> None:
    desk = Desk()
    trunk, slow = tokens(0, 320), tokens(1, 60)
    ids = np.concatenate([trunk, slow])
    paused = desk.begin(ids, 320, urgency=REFACTOR)
    assert paused is not None
    desk.read(paused, ids, 160)
    assert desk.answer(trunk, tokens(2, 10), urgency=TYPING) == 170
    assert desk.pool.catch_up(paused, ids) == 160
    desk.read(paused, ids)
    assert desk.context.evaluated == 160 + 170 + 60
    assert desk.pool.catch_up(paused, ids) == 0


def test_a_cancelled_request_leaves_what_it_has_read() -> None:
    desk = Desk()
    trunk, tail = tokens(0, 320), tokens(1, 20)
    ids = np.concatenate([trunk, tail])
    lease = desk.begin(ids, 320)
    assert lease is not None
    desk.read(lease, ids, 160)
    desk.pool.end(lease)
    assert desk.answer(trunk, tail) == 180


def test_two_repositories_share_the_cache_and_the_third_takes_from_the_one_used_longest_ago() -> None:
    desk = Desk(1000)
    a, b, c = (tokens(seed, 400) for seed in range(3))
    desk.answer(a, tokens(10, 20))
    desk.answer(b, tokens(11, 20))
    assert desk.answer(a, tokens(12, 20)) == desk.answer(b, tokens(13, 20)) == 20
    desk.answer(a, tokens(14, 20))
    desk.answer(c, tokens(15, 20))
    assert desk.answer(a, tokens(16, 20)) == 20
    assert desk.answer(c, tokens(17, 20)) == 20
    assert 20 < desk.answer(b, tokens(18, 20)) <= 420


def test_of_trunks_that_are_nearly_the_same_a_few_are_kept() -> None:
    desk = Desk(8000)
    other, shared = tokens(99, 300), tokens(0, 300)
    desk.answer(other, tokens(98, 10))
    places = [np.concatenate([shared, tokens(n, 100)]) for n in range(1, 9)]
    for trunk in places:
        desk.answer(trunk, tokens(50, 10))
    assert sorted(desk.pool.trunks) == [300, *[400] * NEAR_TRUNKS]
    assert desk.answer(places[-1], tokens(51, 10)) == 10
    assert desk.answer(places[0], tokens(51, 10)) == 110, "what they share is there"
    assert desk.answer(other, tokens(51, 10)) == 10


def test_tails_give_way_before_trunks_and_no_more_than_needed() -> None:
    desk = Desk(600)
    a, b = tokens(0, 200), tokens(1, 200)
    desk.answer(a, tokens(2, 100))
    desk.answer(b, tokens(3, 150))
    assert sorted(desk.pool.trunks) == [200, 200]
    desk.answer(b, tokens(4, 150))
    assert sorted(desk.pool.trunks) == [200, 200]
    assert desk.answer(a, tokens(5, 300)) == 300
    assert desk.pool.trunks == (200, 100), "b has lost as much as was lacking"


@pytest.mark.parametrize(
    ("paused_urgency", "urgency", "begins"),
    [(ACTION, ACTION, False), (TYPING, ACTION, False), (REFACTOR, ACTION, True)],
)
def test_what_does_not_fit_waits_unless_it_is_more_urgent(
    paused_urgency: int, urgency: int, begins: bool
) -> None:
    desk = Desk(500)
    long, other = tokens(0, 250), tokens(1, 300)
    paused = desk.begin(long, 0, 100, paused_urgency)
    assert paused is not None
    desk.read(paused, long)
    lease = desk.begin(other, 0, 0, urgency)
    assert (lease is not None) is begins is paused.lost
    if lease is not None:
        desk.read(lease, other)
        desk.pool.end(lease)
        assert 0 < desk.answer(long, tokens(2, 1)) < 250, "only what was lacking was cut"
    else:
        assert paused.sequence.count == 250
        desk.pool.end(paused)
        assert desk.begin(other, 0, 0, urgency) is not None


def test_of_the_less_urgent_the_least_and_last_gives_up() -> None:
    desk = Desk(400)
    leases = [desk.begin(tokens(n, 100), 0, 0, urgency) for n, urgency in enumerate((1, 2, 2, 1))]
    for n, lease in enumerate(leases):
        assert lease is not None
        desk.read(lease, tokens(n, 100))
    assert desk.begin(tokens(9, 50), 0, 0, TYPING) is not None
    assert [lease.lost for lease in leases if lease is not None] == [False, False, True, False]


def test_an_answer_that_grows_takes_from_the_idle_then_from_the_last_that_began() -> None:
    desk = Desk(1000)
    desk.answer(tokens(9, 150), tokens(8, 10))
    leases: list[Lease] = []
    for n, urgency in enumerate((ACTION, REFACTOR, ACTION)):
        lease = desk.begin(tokens(n, 200), 0, 50, urgency)
        assert lease is not None
        desk.read(lease, tokens(n, 200))
        leases.append(lease)
    first, refactor, last = leases
    assert desk.pool.grow(last, 300)
    assert desk.pool.trunks == (150,)
    assert desk.pool.grow(last, 400, spare=True)
    assert (desk.pool.trunks, last.lost, first.lost, refactor.lost) == ((100,), False, False, False)
    assert not desk.pool.grow(refactor, 400), "those before it keep what they were promised"
    assert not desk.pool.grow(first, 900, spare=True)
    assert desk.pool.grow(first, 500)
    assert (first.lost, last.lost, refactor.lost) == (False, False, True)
    assert not desk.pool.grow(last, 600)
    assert desk.pool.grow(first, 900)
    assert last.lost


def test_when_all_numbers_are_taken_idle_ones_are_given_up_and_then_one_waits() -> None:
    desk = Desk(1000, sequences=3)
    desk.answer(tokens(0, 50), tokens(1, 10))
    leases = [desk.begin(tokens(n, 20)) for n in range(5, 8)]
    assert None not in leases
    assert desk.begin(tokens(9, 20)) is None
    desk.pool.end(leases[0])  # type: ignore[arg-type]
    assert desk.begin(tokens(9, 20)) is not None


class Kept:
    """What the pool asks of saved prompts."""

    def __init__(self, ids: np.ndarray, damaged: bool = False) -> None:
        self.ids, self.damaged = ids, damaged
        self.saved: list[int] = []
        self.asked = 0
        self.entry_tokens = len(ids)

    def better(self, ids: np.ndarray, held: int) -> Kept | None:
        return self if Row.common(self, ids) > held else None  # type: ignore[arg-type]

    @property
    def _tokens(self) -> np.ndarray:
        return self.ids

    @property
    def count(self) -> int:
        return len(self.ids)

    @property
    def fetcher(self) -> Kept:
        return self

    def take(self, _found: object) -> Any:
        """Nothing, the first time: it takes a while."""
        self.asked += 1
        return Reading.READING if self.asked == 1 else None if self.damaged else (b"", self.ids)

    def place(self, context: Rows, _found: object, loaded: Any) -> Row:
        return context.restore(*loaded)

    def save_evicted(self, sequence: Row) -> bool:
        self.saved.append(sequence.count)
        return True

    def save_idle(self, sequence: Row, idle_s: float) -> bool:
        if idle_s > 5 and sequence.count not in self.saved:
            return self.save_evicted(sequence)
        return False

    def save_last(self, sequences: list[Row], _wait_s: float) -> int:
        self.saved += [s.count for s in sequences]
        return len(sequences)


@pytest.mark.parametrize(("kv_tokens", "damaged", "evaluated"), [(1000, False, 70), (1000, True, 350)])
def test_a_longer_prefix_comes_from_the_disk(kv_tokens: int, damaged: bool, evaluated: int) -> None:
    trunk = tokens(0, 300)
    desk = Desk(kv_tokens, keeping=Kept(np.concatenate([trunk[:280], tokens(5, 200)]), damaged))
    ids = np.concatenate([trunk, tokens(1, 50)])
    assert desk.begin(ids, 300) is None, "it is being read"
    lease = desk.begin(ids, 300)
    assert lease is not None
    assert lease.held == lease.restored == (0 if damaged else 280)
    desk.read(lease, ids)
    assert desk.context.evaluated == evaluated
    desk.pool.end(lease)
    assert desk.answer(trunk, tokens(2, 50)) == 50


def test_a_saved_one_that_does_not_fit_whole_is_left_alone() -> None:
    trunk = tokens(0, 300)
    desk = Desk(500, keeping=Kept(np.concatenate([trunk, tokens(5, 250)])))
    assert desk.answer(trunk, tokens(1, 10)) == 310


def test_trunks_are_handed_on_when_evicted_when_idle_and_at_the_end() -> None:
    kept = Kept(np.zeros(0, np.int32))
    desk = Desk(600, keeping=kept)
    desk.answer(tokens(0, 400), tokens(1, 10))
    assert not desk.pool.save_idle(1.0)
    assert desk.pool.save_idle(10.0)
    assert not desk.pool.save_idle(10.0)
    assert kept.saved == [400]
    desk.answer(tokens(2, 300), tokens(3, 10))
    assert kept.saved == [400, 400]
    desk.pool.close(1.0)
    assert kept.saved[2:] == [300, 290]


class Machine(RuleBasedStateMachine):
    """Requests of all urgencies over few trunks, begun, read, paused, ended in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk(400, sequences=6)
        self.open: list[tuple[Lease, np.ndarray, int]] = []

    @rule(
        trunk=st.integers(0, 2),
        trunk_size=st.integers(0, 120),
        tail=st.integers(0, 5),
        tail_size=st.integers(1, 80),
        reserve=st.integers(0, 100),
        urgency=st.integers(0, 2),
    )
    def begin(
        self, trunk: int, trunk_size: int, tail: int, tail_size: int, reserve: int, urgency: int
    ) -> None:
        ids = np.concatenate([tokens(trunk, 120)[:trunk_size], tokens(10 + tail, 80)[:tail_size]])
        longest = max((row.common(ids[:-1]) for row in self.desk.context.rows), default=0)
        firm = [lease for lease, _, _ in self.open if lease.urgency <= urgency]
        lost_before = {id(lease) for lease, _, _ in self.open if lease.lost}
        promised = sum(lease.cells for lease in firm if not lease.lost)
        lease = self.desk.begin(ids, trunk_size, reserve, urgency)
        assert all(not lease.lost or id(lease) in lost_before for lease in firm)
        if lease is None:
            assert promised + len(ids) + reserve > 400 or len(self.open) >= 5
            return
        assert lease.held == longest == lease.sequence.count
        self.open.append((lease, ids, reserve))

    @precondition(lambda self: self.open)
    @rule(data=st.data(), most=st.integers(1, 100))
    def read(self, data: Any, most: int) -> None:
        lease, ids, reserve = data.draw(st.sampled_from(self.open))
        if lease.lost:
            return
        self.desk.pool.catch_up(lease, ids)
        self.desk.read(lease, ids, most)
        if lease.sequence.count == len(ids) and reserve:
            lease.sequence.feed(tokens(99, reserve)[: reserve // 2])  # type: ignore[call-arg]
            # What was written is not read again.
            self.open.remove((lease, ids, reserve))
            self.desk.pool.end(lease)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), more=st.integers(1, 120), spare=st.booleans())
    def grow(self, data: Any, more: int, spare: bool) -> None:
        """Somebody writes on: whoever goes before keeps all, and the first of all always gets it."""
        lease, _, _ = data.draw(st.sampled_from(self.open))
        if lease.lost:
            return
        wanted = min(lease.cells + more, 400)
        live = [other for other, _, _ in self.open if not other.lost]
        grown = self.desk.pool.grow(lease, wanted, spare=spare)
        assert (lease.cells == wanted) is grown or wanted == lease.cells
        assert not lease.lost
        safe = live if spare else [other for other in live if other.rank < lease.rank]
        assert not any(other.lost for other in safe)
        if not spare and lease.rank == min(other.rank for other in live):
            assert grown

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def end(self, data: Any) -> None:
        at = data.draw(st.integers(0, len(self.open) - 1))
        lease = self.open.pop(at)[0]
        if not lease.lost:
            self.desk.pool.end(lease)

    @invariant()
    def promises_can_be_kept(self) -> None:
        owed = sum(lease.owed for lease, _, _ in self.open if not lease.lost)
        assert owed <= self.desk.context.free_cells

    @invariant()
    def leased_sequences_hold_their_prompts(self) -> None:
        for lease, ids, _ in self.open:
            if not lease.lost:
                assert lease.sequence.common(ids) == lease.sequence.count

    @invariant()
    def cells_are_counted_right(self) -> None:
        context = self.desk.context
        taken = set().union(*(row.cells.tolist() for row in context.rows))
        assert len(taken) == context.cells.used
        assert len(context.rows) <= context.sequences

    def teardown(self) -> None:
        for lease, _, _ in self.open:
            if not lease.lost:
                self.desk.pool.end(lease)
        assert self.desk.answer(tokens(50, 390), tokens(51, 10)) == 400, "everything idle gives way"


Machine.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase
