"""What lies in the directory is not trusted: whatever differs from what was written is never loaded."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from saving import files, got, put, saving, state, tokens

from glm_lsp.engines.worker import kvfile, shelf

IDS, DATA = tokens(40), state(300)
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound entry of several blocks, of which the tests make copies."""
    monkeypatch.setattr(kvfile, "BLOCK_BYTES", 64)
    with saving(tmp_path / "sound") as (saved, _):
        put(saved, IDS, DATA)
    return tmp_path / "sound" / files(tmp_path / "sound")[0]


def check_refused(entry: Path, damage: Callable[[Path], None]) -> None:
    """A directory with an entry that is damaged so: nothing is loaded, it is said once, and it is gone."""
    directory = entry.parent.parent / "damaged"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    copy = directory / entry.name
    shutil.copyfile(entry, copy)
    damage(copy)
    with saving(directory) as (saved, said):
        assert got(saved, IDS) is None
        assert got(saved, IDS) is None
        assert [str(copy) in sentence for sentence in said] == [True]
        assert not os.path.lexists(copy)
        assert put(saved, IDS, DATA)
        assert got(saved, IDS) == (40, bytes(DATA), IDS.tolist())


def check_refused_when_found(entry: Path, damage: Callable[[Path], None]) -> None:
    """The same where the damage happens after the worker has looked at it."""
    with saving(entry.parent) as (saved, said):
        found = saved.best(IDS)
        assert found is not None
        damage(entry)
        assert saved.load(found) is None
        assert len(said) == 1
        assert not os.path.lexists(entry)


def test_no_third_byte_can_be_changed(entry: Path) -> None:
    sound = entry.read_bytes()
    for at in range(0, len(sound), 3):
        changed = bytearray(sound)
        changed[at] ^= 1 << (at % 8)
        check_refused(entry, lambda path, data=changed: path.write_bytes(data) and None)


@unhurried
@given(at=st.integers(0, 10_000), bits=st.integers(1, 255))
def test_no_bit_can_be_flipped(entry: Path, at: int, bits: int) -> None:
    changed = bytearray(entry.read_bytes())
    changed[at % len(changed)] ^= bits
    check_refused(entry, lambda path: path.write_bytes(changed) and None)


@unhurried
@given(st.integers(0, 10_000))
def test_it_cannot_be_cut(entry: Path, size: int) -> None:
    check_refused(entry, lambda path: os.truncate(path, size % path.stat().st_size))


@unhurried
@given(st.binary(min_size=1, max_size=2000))
def test_nothing_can_be_appended(entry: Path, more: bytes) -> None:
    check_refused(entry, lambda path: path.write_bytes(path.read_bytes() + more) and None)


@unhurried
@given(st.binary(max_size=2000))
def test_nothing_else_can_stand_in_its_place(entry: Path, content: bytes) -> None:
    check_refused(entry, lambda path: path.write_bytes(content) and None)


@unhurried
@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_lengths_that_are_claimed_take_no_memory(
    entry: Path, ids: int, data_bytes: int, identity: int
) -> None:
    def claim(path: Path) -> None:
        sound = path.read_bytes()
        path.write_bytes(sound[:12] + struct.pack("<IQQ", identity, ids, data_bytes) + sound[32:])

    check_refused(entry, claim)


def a_link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_to_a_device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def a_file_of_another_identity(path: Path) -> None:
    other = path.parent.parent / "other"
    with saving(other, "another model") as (saved, _):
        put(saved, IDS, DATA)
    shutil.move(other / files(other)[0], path)


def a_file_of_other_tokens(path: Path) -> None:
    other = path.parent.parent / "other"
    with saving(other) as (saved, _):
        put(saved, np.append(IDS, 1), DATA)
    shutil.move(other / files(other)[0], path)


THINGS = (a_link, a_pipe, a_link_to_a_device, a_file_of_another_identity, a_file_of_other_tokens)


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: thing.__name__)
def test_things_in_its_place_are_removed_and_nothing_else_is(
    thing: Callable[[Path], None], entry: Path
) -> None:
    check_refused(entry, thing)
    if thing is a_link:
        assert (entry.parent.parent / "elsewhere").is_file(), "what a link points to is not ours to remove"
        (entry.parent.parent / "elsewhere").unlink()


def test_damage_after_the_first_look_is_seen_too(entry: Path) -> None:
    def flip_the_last_byte_of_data(path: Path) -> None:
        changed = bytearray(path.read_bytes())
        changed[-32 * 6 - 1] ^= 1
        path.write_bytes(changed)

    sound = entry.read_bytes()
    for damage in (
        flip_the_last_byte_of_data,
        lambda path: os.truncate(path, 500),
        a_pipe,
        a_link_to_a_device,
    ):
        entry.write_bytes(sound)
        entry.chmod(0o600)
        check_refused_when_found(entry, damage)


def test_a_directory_in_place_of_an_entry_is_left_alone_and_told(entry: Path) -> None:
    entry.unlink()
    (entry / "mine").mkdir(parents=True)
    with saving(entry.parent) as (saved, said):
        assert got(saved, IDS) is None
        put(saved, tokens(50), state(10))
        assert got(saved, IDS) is not None
        assert len(said) == 1
        assert "remove it" in said[0]
    assert (entry / "mine").is_dir()


@pytest.mark.parametrize("mode", [0o777, 0o700])
def test_a_directory_that_is_a_link_is_not_used(mode: int, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=mode)
    (tmp_path / "kv").symlink_to(tmp_path / "elsewhere")
    with saving(tmp_path / "kv") as (saved, said):
        put(saved, tokens(10), state(10))
        assert saved.best(tokens(10)) is None
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(said) == 1
    with pytest.raises(OSError, match=r"kv|ymbolic|directory"):
        shelf.entries(tmp_path / "kv")


def test_a_file_in_place_of_the_directory_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "kv").write_text("mine", encoding="utf-8")
    with saving(tmp_path / "kv") as (saved, said):
        put(saved, tokens(10), state(10))
    assert len(said) == 1
    assert (tmp_path / "kv").read_text(encoding="utf-8") == "mine"


def test_other_files_in_the_directory_are_not_touched(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    with saving(tmp_path, cap_bytes=1000) as (saved, said):
        put(saved, tokens(10), state(500))
        put(saved, tokens(10, 1), state(500))
        assert said == []
    shelf.clear(tmp_path)
    assert files(tmp_path) == ["notes.txt"]
