"""When a prompt is saved and when one is restored: by what it costs here, and never at a typist's expense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from saving import WAIT_S, files, got, saving, state, tokens

from glm_lsp.engines.worker import keeping as policy
from glm_lsp.engines.worker.keeping import Keeping
from glm_lsp.engines.worker.prefixes import Ids
from glm_lsp.engines.worker.saved import SavedKv

LONG_IDLE_S = 1e6
BYTES_PER_TOKEN = 50


class Sequence:
    """So many tokens in a KV cache that is not there; counts how often its state is copied."""

    id = 1

    def __init__(self, ids: Ids) -> None:
        self.tokens = ids
        self.copies = 0

    @property
    def count(self) -> int:
        return len(self.tokens)

    def common(self, ids: Ids) -> int:
        size = min(len(ids), self.count)
        return int(np.argmin(np.append(self.tokens[:size] == ids[:size], False)))

    def cut(self, count: int) -> None:
        self.tokens = self.tokens[:count]

    def save(self) -> memoryview:
        self.copies += 1
        return state(BYTES_PER_TOKEN * self.count)


class Context:
    """Restores whatever it is given."""

    def restore(self, data: bytes | memoryview, ids: Ids) -> Sequence | None:
        return Sequence(ids) if len(data) else None


def keeping(
    saved: SavedKv, *, tokens_s: float = 100.0, bytes_per_token: float = BYTES_PER_TOKEN, free: int = 1 << 40
) -> Keeping:
    """A machine that evaluates so many tokens per second and has so much memory left."""
    return Keeping(saved, bytes_per_token, lambda start, end: (end - start) / tokens_s, lambda: free)


def test_a_prompt_is_saved_once_nobody_has_asked_for_long_enough(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, _):
        keep, trunk = keeping(saved, bytes_per_token=100_000.0), Sequence(tokens(4000))
        assert keep.stall_s(trunk.count) == 0.4
        assert not keep.save_idle(trunk, 1.0)
        assert not keep.save_idle(trunk, 7.9), "a copy of 0.4 s waits 8 s"
        assert trunk.copies == 0
        assert keep.save_idle(trunk, 8.1)
        assert saved.drain(WAIT_S)
        assert not keep.save_idle(trunk, LONG_IDLE_S), "it is there"
        assert trunk.copies == 1
        assert keep.stall_s(4000) < 0.4, "the true size of a state is known now"


def test_what_is_short_or_quickly_read_again_is_not_saved(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, _):
        assert not keeping(saved).save_idle(Sequence(tokens(policy.LEAST_TOKENS - 1)), LONG_IDLE_S)
        assert not keeping(saved, tokens_s=1e5).save_idle(Sequence(tokens(4000)), LONG_IDLE_S)
        heavy = keeping(saved, bytes_per_token=100_000.0, tokens_s=2000.0)
        assert not heavy.save_idle(Sequence(tokens(4000)), LONG_IDLE_S), "reading 400 MB takes as long"
        assert keeping(saved).save_idle(Sequence(tokens(4000)), LONG_IDLE_S)


def test_a_prompt_that_grows_is_written_again_only_with_enough_more(tmp_path: Path) -> None:
    ids = tokens(8000)
    with saving(tmp_path) as (saved, _):
        keep = keeping(saved)
        written = []
        for count in range(4000, 8001, 100):
            if keep.save_idle(Sequence(ids[:count]), LONG_IDLE_S):
                assert saved.drain(WAIT_S)
                written.append(count)
        assert written == [4000, 5000, 6000, 7000, 8000], "ten seconds of reading, and an eighth"
        assert len(files(tmp_path)) == 1


def test_what_is_quickly_read_again_is_not_written_again_however_much_it_is(tmp_path: Path) -> None:
    ids = tokens(8000)
    with saving(tmp_path) as (saved, _):
        assert keeping(saved, tokens_s=1000.0).save_idle(Sequence(ids[:6000]), LONG_IDLE_S)
        assert saved.drain(WAIT_S)
        assert not keeping(saved, tokens_s=1000.0).save_idle(Sequence(ids), LONG_IDLE_S), "2 s"
        assert keeping(saved, tokens_s=100.0).save_idle(Sequence(ids), LONG_IDLE_S), "20 s"


def test_places_of_one_repository_leave_one_copy_of_nearly_the_same_prompt(tmp_path: Path) -> None:
    """As command lines make them: each place has most of its prompt in common with the others."""
    shared = tokens(6000)
    with saving(tmp_path) as (saved, _):
        keep = keeping(saved)
        for place in range(1, 8):
            ids = np.concatenate([shared, tokens(1500, place)])
            assert keep.save_idle(Sequence(ids), LONG_IDLE_S)
            assert saved.drain(WAIT_S)
            assert len(files(tmp_path)) == 1
            assert got(saved, ids) is not None
        other = tokens(4000, 99)
        assert keep.save_idle(Sequence(other), LONG_IDLE_S)
        assert saved.drain(WAIT_S)
        assert len(files(tmp_path)) == 2, "another repository has its own"
        small = np.concatenate([shared, tokens(400, 100)])
        assert not keep.save_idle(Sequence(small), LONG_IDLE_S), "four seconds of reading"


def test_what_has_only_its_beginning_in_common_has_a_copy_of_its_own(tmp_path: Path) -> None:
    shared = tokens(2000)
    with saving(tmp_path) as (saved, _):
        keep = keeping(saved)
        for place in (1, 2):
            assert keep.save_idle(Sequence(np.concatenate([shared, tokens(2500, place)])), LONG_IDLE_S)
            assert saved.drain(WAIT_S)
        assert len(files(tmp_path)) == 2


def test_one_that_gives_way_to_somebody_who_waits_is_saved_only_if_that_is_quick(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, _):
        heavy = keeping(saved, bytes_per_token=100_000.0)
        assert heavy.save_evicted(Sequence(tokens(4000))), "0.4 s against 40"
        trunk = Sequence(tokens(4000, 1))
        assert not keeping(saved, bytes_per_token=1e6, tokens_s=30.0).save_evicted(trunk), "4 s against 133"
        assert trunk.copies == 0


def test_the_dearest_are_saved_first_at_the_end(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, said):
        trunks = [Sequence(tokens(count, count)) for count in (300, 5000, 900, 20, 2000)]
        assert keeping(saved).save_last(trunks, WAIT_S) == 4
        assert not saved.save(tokens(999), state(10)), "it is closed"
        assert said == []
    with saving(tmp_path) as (saved, _):
        assert [got(saved, trunk.tokens) is not None for trunk in trunks] == [True, True, True, False, True]


def test_where_memory_is_short_nothing_is_copied(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, said):
        keep, trunk = keeping(saved, free=1 << 20), Sequence(tokens(4000))
        assert not keep.save_idle(trunk, LONG_IDLE_S)
        assert not keep.save_idle(trunk, LONG_IDLE_S)
        assert trunk.copies == 0
        assert ["free memory" in sentence for sentence in said] == [True]


def test_a_saved_prompt_is_restored_where_it_is_sooner_read_than_evaluated(tmp_path: Path) -> None:
    ids = tokens(4000)
    with saving(tmp_path) as (saved, _):
        keep = keeping(saved)
        keep.save_idle(Sequence(ids), LONG_IDLE_S)
        assert saved.drain(WAIT_S)
        asked = np.concatenate([ids[:3000], tokens(50, 1)])
        found = keep.better(asked, 0)
        assert found is not None
        assert (found.tokens, found.entry_tokens) == (3000, 4000)
        assert keep.better(asked, 2900) is None, "what memory holds is as good"
        assert keep.better(tokens(500, 2), 0) is None
        assert keeping(saved, tokens_s=1e9).better(asked, 0) is None
        restored = keep.restore(Context(), found, asked)
        assert restored is not None
        assert restored.tokens.tolist() == ids[:3000].tolist()


def test_a_cap_that_is_too_small_costs_no_copy(tmp_path: Path) -> None:
    with saving(tmp_path, cap_bytes=1000) as (saved, said):
        trunk = Sequence(tokens(4000))
        assert not keeping(saved).save_idle(trunk, LONG_IDLE_S)
        assert trunk.copies == 0
        assert len(said) == 1
    with saving(tmp_path, cap_bytes=0) as (saved, said):
        assert not keeping(saved).save_idle(Sequence(tokens(4000)), LONG_IDLE_S)
        assert keeping(saved).save_last([trunk], WAIT_S) == 0
        assert said == []
