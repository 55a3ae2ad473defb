"""Saved prompts: what is saved is found by its longest prefix, loaded as it was, and kept under the cap."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from saving import WAIT_S, files, got, put, saving, state, tokens

from glm_lsp.engines import probe
from glm_lsp.engines.worker import kvfile, prefixes, shelf
from glm_lsp.engines.worker.saved import SavedKv


def test_what_is_saved_is_loaded_by_another_worker(tmp_path: Path) -> None:
    ids, data = tokens(1000), state(3 * kvfile.BLOCK_BYTES + 17)
    with saving(tmp_path / "kv") as (saved, said):
        assert saved.best(ids) is None
        assert put(saved, ids, data)
    with saving(tmp_path / "kv") as (saved, said):
        assert got(saved, ids) == (1000, bytes(data), ids.tolist())
        assert got(saved, np.concatenate([ids[:700], tokens(9, 1)])) == (700, bytes(data), ids.tolist())
        assert saved.best(tokens(1000, 1)) is None
        assert saved.best(ids[:0]) is None
        assert said == []


def test_the_directory_and_its_files_are_the_users_alone(tmp_path: Path) -> None:
    (tmp_path / "kv").mkdir(mode=0o755)
    with saving(tmp_path / "kv") as (saved, _):
        put(saved, tokens(10), state(10))
    assert stat.S_IMODE((tmp_path / "kv").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "kv").iterdir()} == {0o600}


def test_a_state_of_another_identity_is_never_looked_at(tmp_path: Path) -> None:
    ids = tokens(300)
    with saving(tmp_path, "model a") as (saved, _):
        put(saved, ids, state(100))
    with saving(tmp_path, "model b") as (saved, said):
        assert saved.best(ids) is None
        put(saved, ids, state(100, 1))
        assert got(saved, ids) == (300, bytes(state(100, 1)), ids.tolist())
        assert len(files(tmp_path)) == 2
        assert said == []


def test_a_longer_prompt_takes_the_place_of_those_that_it_begins_with(tmp_path: Path) -> None:
    ids = tokens(2000)
    with saving(tmp_path) as (saved, _):
        for count in (256, 700, 1024, 2000):
            assert put(saved, ids[:count], state(50, count))
        put(saved, tokens(500, 7), state(50, 7))
        assert len(files(tmp_path)) == 2
        assert got(saved, ids[:256]) == (256, bytes(state(50, 2000)), ids.tolist())


def test_what_is_there_already_is_not_written_again_but_counts_as_used(tmp_path: Path) -> None:
    ids = tokens(600)
    with saving(tmp_path) as (saved, _):
        put(saved, ids, state(50))
        entry = tmp_path / files(tmp_path)[0]
        os.utime(entry, (1000, 1000))
        assert not put(saved, ids[:300], state(50))
        assert not saved.wanted(ids)
        assert entry.stat().st_mtime > 1000
        assert files(tmp_path) == [entry.name]


def test_the_least_recently_used_ones_make_room_whoever_saved_them(tmp_path: Path) -> None:
    size = kvfile.size_bytes("model a", 300, 1000)
    with saving(tmp_path, "model a", 3 * size) as (saved, _):
        for seed in range(3):
            put(saved, tokens(300, seed), state(1000))
            os.utime(tmp_path / shelf.name_of("model a", prefixes.to_bytes(tokens(300, seed))), (seed, seed))
        assert got(saved, tokens(300, 0)) is not None, "loading is using"
        put(saved, tokens(300, 3), state(1000))
        assert [saved.best(tokens(300, seed)) is not None for seed in range(4)] == [True, False, True, True]
    with saving(tmp_path, "model b", 3 * size) as (saved, _):
        put(saved, tokens(300, 4), state(1000))
        assert saved.bytes_on_disk == 3 * size
    with saving(tmp_path, "model b", size) as (saved, _):
        assert saved.drain(WAIT_S)
        while len(files(tmp_path)) > 1:
            time.sleep(0.01)  # a smaller cap holds from the start on
        assert got(saved, tokens(300, 4)) is not None


def test_what_is_larger_than_the_cap_is_not_saved_and_removes_nothing(tmp_path: Path) -> None:
    with saving(tmp_path, "a", 2000) as (saved, said):
        put(saved, tokens(10), state(100))
        assert not put(saved, tokens(10, 1), state(3000))
        assert not put(saved, tokens(10, 2), state(1950)), "head and tokens count too"
        assert not saved.wanted(tokens(10, 1), 3000)
        assert len(said) == 1
        assert "worker.saved_kv_gb" in said[0]
        assert got(saved, tokens(10)) is not None


def test_no_cap_means_that_nothing_is_read_or_written(tmp_path: Path) -> None:
    with saving(tmp_path / "kv", cap_bytes=0) as (saved, said):
        assert not put(saved, tokens(10), state(10))
        assert saved.best(tokens(10)) is None
    assert not (tmp_path / "kv").exists()
    assert said == []


def test_some_of_the_disk_stays_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with saving(tmp_path) as (saved, said):
        put(saved, tokens(10), state(10))
        disk = os.statvfs(tmp_path)
        monkeypatch.setattr(shelf, "FREE_KEPT_BYTES", disk.f_bavail * disk.f_frsize + (1 << 34))
        monkeypatch.setattr(shelf, "FREE_KEPT_SHARE", 2.0)
        put(saved, tokens(10, 1), state(10))
        assert len(files(tmp_path)) == 1
        (sentence,) = said
        assert "nearly full. Free some space, or lower worker.saved_kv_gb." in sentence
        assert not saved.wanted(tokens(10, 2)), "it is not tried again and again"
        assert saved.unsaved == sentence, "and told once more at the end"


def test_two_workers_share_a_directory(tmp_path: Path) -> None:
    with saving(tmp_path) as (one, _), saving(tmp_path) as (other, said):
        put(one, tokens(400), state(100))
        assert got(other, tokens(400)) is not None
        put(other, np.concatenate([tokens(400), tokens(9, 1)]), state(100, 1))
        assert got(one, tokens(400)) == (
            400,
            bytes(state(100, 1)),
            [*tokens(400).tolist(), *tokens(9, 1).tolist()],
        )
        shelf.clear(tmp_path)
        assert one.best(tokens(400)) is None
        assert put(one, tokens(400), state(100))
        assert said == []


def test_two_workers_that_save_at_once_stay_under_the_cap(tmp_path: Path) -> None:
    cap = 10 * kvfile.size_bytes("a model", 40, 20_000)
    with saving(tmp_path, cap_bytes=cap) as (one, _), saving(tmp_path, cap_bytes=cap) as (other, _):

        def work(saved: SavedKv, first: int) -> None:
            for seed in range(first, first + 30):
                put(saved, tokens(40, seed), state(20_000, seed))

        threads = [threading.Thread(target=work, args=pair) for pair in ((one, 0), (other, 100))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0 < one.bytes_on_disk <= cap
        there = [seed for seed in (*range(30), *range(100, 130)) if one.best(tokens(40, seed))]
        assert len(there) == len(files(tmp_path)) == 10
        for seed in there:
            assert got(one, tokens(40, seed)) == (40, bytes(state(20_000, seed)), tokens(40, seed).tolist())


def test_an_entry_that_is_removed_between_finding_and_loading_is_nothing_to_speak_of(tmp_path: Path) -> None:
    with saving(tmp_path) as (saved, said):
        put(saved, tokens(300), state(10))
        found = saved.best(tokens(300))
        shelf.clear(tmp_path)
        assert found is not None
        assert saved.load(found) is None
        assert said == []


def test_where_memory_is_short_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with saving(tmp_path) as (saved, said):
        put(saved, tokens(300), state(5000))
        monkeypatch.setattr(probe, "machine", lambda: probe.MachineFacts(1 << 30, 4000, 1))
        assert got(saved, tokens(300)) is None
        assert ["free memory" in sentence for sentence in said] == [True]
        assert len(files(tmp_path)) == 1


def test_an_end_does_not_wait_for_a_disk_that_is_too_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = threading.Event()
    write = kvfile._digest

    def digest(data: bytes | memoryview) -> bytes:
        slow.wait(0.05)
        return write(data)

    monkeypatch.setattr(kvfile, "BLOCK_BYTES", 64)
    monkeypatch.setattr(kvfile, "_digest", digest)
    with saving(tmp_path) as (saved, said):
        saved.save(tokens(300), state(64_000))
        saved.close(0.2)
        slow.set()
        assert saved.drain(WAIT_S)
    assert files(tmp_path) == []
    assert said == []


@pytest.mark.slow
def test_hundreds_of_long_prompts_are_searched_in_little_memory(tmp_path: Path) -> None:
    base = tokens(100_000)
    with saving(tmp_path) as (saved, _):
        for seed in range(300):
            ids = np.concatenate([base[: 330 * seed], tokens(1000, seed + 1)])
            put(saved, ids, state(8, seed))
        found = saved.best(np.concatenate([base[: 330 * 211 + 5], tokens(3, 999)]))
        assert found is not None
        assert found.tokens == 330 * 211 + 5
        known = sum(entry.chunks.nbytes for entry in saved._known.values())
        assert known < 300 * 8 * 400


@given(
    st.lists(st.lists(st.integers(0, 1), max_size=40), min_size=1, max_size=8),
    st.lists(st.integers(0, 1), min_size=1, max_size=40),
)
def test_the_longest_prefix_is_found_whatever_the_runs(runs: list[list[int]], wanted: list[int]) -> None:
    whole = [np.repeat(np.asarray(run, np.int32), 100) for run in runs]
    asked = np.repeat(np.asarray(wanted, np.int32), 100)
    known = [(str(at), len(run), prefixes.chunks(prefixes.to_bytes(run))) for at, run in enumerate(whole)]

    def read(name: str, start: int, count: int) -> bytes:
        return prefixes.to_bytes(whole[int(name)][start : start + count])

    name, length = prefixes.best(prefixes.to_bytes(asked), known, read)
    common = [prefixes.common_bytes(prefixes.to_bytes(asked), prefixes.to_bytes(run)) for run in whole]
    assert length == max(common)
    if length:
        longest = [len(run) for run, size in zip(whole, common, strict=True) if size == length]
        assert common[int(name)] == length
        assert len(whole[int(name)]) == min(longest)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing can be made in /proc")
def test_a_directory_that_cannot_be_made_is_a_sentence() -> None:
    with saving(Path("/proc/nope/kv")) as (saved, said):
        put(saved, tokens(10), state(10))
    (sentence,) = said
    assert "the directory /proc/nope/kv cannot be written to (No such file or directory)." in sentence
    assert "Set GLM_LSP_CACHE to a directory of yours, or worker.saved_kv_gb to 0" in sentence


def test_a_directory_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    with saving(tmp_path / "kv") as (saved, said):
        put(saved, tokens(10), state(10))
        shutil.rmtree(tmp_path / "kv")
        assert put(saved, tokens(10, 1), state(10))
        assert len(files(tmp_path / "kv")) == 1
    assert said == []
