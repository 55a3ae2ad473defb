"""The cache on disk keeps bytes, and believes nothing that it did not write."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.disk.store import Store, default_directory

SMALL, LARGE = b"small", b"large" * 20_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def store(directory: Path) -> Iterator[Store]:
    opened = Store(directory)
    yield opened
    opened.close()


def plant(directory: Path, statement: str, *values: object) -> None:
    """Change the database behind the store's back."""
    connection = sqlite3.connect(directory / "cache.db")
    with connection:
        connection.execute(statement, values)
    connection.close()


def test_what_is_kept_is_had_again(store: Store, directory: Path) -> None:
    assert store.get("a") is None
    store.set_many({"a": SMALL, "b": LARGE, "": b""})
    again = Store(directory)
    for opened in (store, again):
        assert [opened.get(key) for key in ("a", "b", "", "c")] == [SMALL, LARGE, b"", None]
    again.close()
    store.set("a", LARGE)
    assert store.get("a") == LARGE


def test_the_directory_is_ours_alone(store: Store, directory: Path) -> None:
    store.set("a", LARGE)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    for path in directory.rglob("*.val"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()
    directory.chmod(0o777)
    Store(directory).close()
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


PLANTS: dict[str, tuple[str, Callable[[Path, bytes], tuple[object, ...]]]] = {
    "a pickle in the row": (
        "UPDATE Cache SET mode = 4, value = ? WHERE key = 'a'",
        lambda outside, bomb: (bomb,),
    ),
    "a pickle in a file": (
        "UPDATE Cache SET mode = 4, value = NULL, filename = ? WHERE key = 'a'",
        lambda outside, bomb: (str(outside),),
    ),
    "a text file": (
        "UPDATE Cache SET mode = 3, value = NULL, filename = ? WHERE key = 'a'",
        lambda outside, bomb: (str(outside),),
    ),
    "a file outside": (
        "UPDATE Cache SET mode = 2, value = NULL, filename = ? WHERE key = 'a'",
        lambda outside, bomb: ("../outside",),
    ),
    "an absolute file": (
        "UPDATE Cache SET mode = 2, value = NULL, filename = ? WHERE key = 'a'",
        lambda outside, bomb: (str(outside),),
    ),
    "another entry's value": (
        "UPDATE Cache SET value = (SELECT value FROM Cache WHERE key = 'b') WHERE key = 'a'",
        lambda outside, bomb: (),
    ),
    "a number": ("UPDATE Cache SET value = 7 WHERE key = 'a'", lambda outside, bomb: ()),
    "a text": ("UPDATE Cache SET value = 'x' WHERE key = 'a'", lambda outside, bomb: ()),
    "a mode that there is not": ("UPDATE Cache SET mode = 'x' WHERE key = 'a'", lambda outside, bomb: ()),
    "bytes that are no envelope": (
        "UPDATE Cache SET value = x'93010203' WHERE key = 'a'",
        lambda outside, bomb: (),
    ),
}


@pytest.mark.parametrize(("statement", "values"), PLANTS.values(), ids=PLANTS.keys())
def test_a_planted_entry_is_not_there(
    store: Store, directory: Path, statement: str, values: Callable[[Path, bytes], tuple[object, ...]]
) -> None:
    mark, outside = directory.parent / "ran", directory.parent / "outside"
    bomb = pickle.dumps(Bomb(mark))
    outside.write_bytes(bomb)
    store.set_many({"a": SMALL, "b": b"other"})
    plant(directory, statement, *values(outside, bomb))
    assert store.get("a") is None
    assert store.get("b") == b"other"
    assert not mark.exists()
    store.set("a", b"new")
    assert store.get("a") == b"new"
    assert outside.read_bytes() == bomb


def test_a_planted_key_runs_nothing(store: Store, directory: Path) -> None:
    mark = directory.parent / "ran"
    store.set("a", SMALL)
    plant(directory, "UPDATE Cache SET raw = 0, key = ? WHERE key = 'a'", pickle.dumps(Bomb(mark)))
    store.close()
    again = Store(directory)
    assert again.get("a") is None
    again.set("a", SMALL)
    assert again.get("a") == SMALL
    again.close()
    assert not mark.exists()


def test_eviction_deletes_no_file_outside(store: Store, directory: Path) -> None:
    outside = directory.parent / "outside"
    outside.write_bytes(b"dear")
    store.set("a", SMALL)
    for name in ("../outside", str(outside)):
        plant(directory, "UPDATE Cache SET filename = ?, expire_time = 1 WHERE key = 'a'", name)
        store.set("a", SMALL)
        store.set("b", LARGE)
        assert outside.read_bytes() == b"dear"


PLANTED_SETTINGS = [
    ("disk_min_file_size", 0),
    ("eviction_policy", "none"),
    ("_disk", "x"),
    ("sqlite_journal_mode = delete; drop table Cache; --", 1),
    ("size_limit", 1),
]


@pytest.mark.parametrize(("key", "value"), PLANTED_SETTINGS)
def test_planted_settings_begin_a_new_database(
    store: Store, directory: Path, key: str, value: object
) -> None:
    store.set("a", SMALL)
    plant(directory, "INSERT OR REPLACE INTO Settings VALUES (?, ?)", key, value)
    store.close()
    again = Store(directory)
    assert again.problem == ""
    assert again.get("a") is None
    again.set("a", SMALL)
    assert again.get("a") == SMALL
    again.close()
    assert (directory.parent / "cache.damaged").is_dir()


def test_a_truncated_or_changed_value_is_not_there(store: Store, directory: Path) -> None:
    for damage in (lambda data: data[:-1], lambda data: data[:500] + b"!" + data[501:], lambda data: b""):
        store.set("a", LARGE)
        (value,) = directory.rglob("*.val")
        value.write_bytes(damage(value.read_bytes()))
        assert store.get("a") is None


def test_a_value_that_is_a_link_is_not_there(store: Store, directory: Path) -> None:
    store.set("a", LARGE)
    (value,) = directory.rglob("*.val")
    copy = directory.parent / "copy"
    value.rename(copy)
    value.symlink_to(copy)
    assert store.get("a") is None


@pytest.mark.parametrize("damage", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_database_is_renamed_away(store: Store, directory: Path, damage: bytes) -> None:
    store.set("a", SMALL)
    store.close()
    for path in directory.glob("cache.db*"):
        path.write_bytes(damage)
    again = Store(directory)
    assert again.problem == ""
    assert again.get("a") is None
    again.set("a", b"new")
    assert again.get("a") == b"new"
    again.close()


def test_damage_while_it_is_open_is_survived(store: Store, directory: Path) -> None:
    store.set_many({f"{n}": SMALL for n in range(500)})
    with (directory / "cache.db").open("r+b") as file:
        file.write(b"\xff" * 100)
    (directory / "cache.db-wal").write_bytes(b"")
    store.get("1")
    store.set("2", b"x")
    store.set("2", b"new")
    assert store.get("2") == b"new"


def test_a_directory_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    for name in ("link", "file"):
        (tmp_path / "file").write_bytes(b"")
        store = Store(tmp_path / name)
        assert "is not used" in store.problem
        store.set("a", SMALL)
        assert store.get("a") is None
        store.close()
    assert list(real.iterdir()) == []


@given(st.dictionaries(st.text(max_size=20), st.binary(max_size=200), max_size=5))
@settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
def test_any_keys_and_bytes(store: Store, values: dict[str, bytes]) -> None:
    values = {k: v for k, v in values.items() if k.isprintable()}
    store.set_many(values)
    assert {key: store.get(key) for key in values} == values


WRITER = """
import sys
from pathlib import Path
from glm_lsp.disk.store import Store
store = Store(Path(sys.argv[1]))
for n in range(100):
    store.set(f"{n}", f"{n}".encode() * n)
store.close()
"""


def test_two_processes_share_it(directory: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(directory)]
    writers = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(2)]
    for writer in writers:
        _, errors = writer.communicate()
        assert (writer.returncode, errors) == (0, b"")
    store = Store(directory)
    assert all(store.get(f"{n}") == f"{n}".encode() * n for n in range(100))
    store.close()


def test_where_caches_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path))
    assert default_directory() == tmp_path
    monkeypatch.delenv("GLM_LSP_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_directory().name == "glm-lsp"


def test_all_that_is_kept_is_for_us_alone(tmp_path: Path) -> None:
    """Also what an earlier version has left open to others."""
    before = os.umask(0o022)
    try:
        for _ in range(2):
            store = Store(tmp_path / "kept")
            store.set("small", b"x")
            store.set("large", b"x" * 100_000)
            found = [tmp_path / "kept", *(tmp_path / "kept").rglob("*")]
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in found}
            wanted = {path.name: 0o700 if path.is_dir() else 0o600 for path in found}
            assert modes == wanted and len(found) >= 5
            assert store.get("large") == b"x" * 100_000
            store.close()
            (tmp_path / "kept/cache.db").chmod(0o644)
    finally:
        os.umask(before)


def test_why_it_is_not_used_is_said_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    store = Store(tmp_path / "file/below")
    assert store.problem == f"The cache in {tmp_path}/file/below is not used: File exists."


def test_batches_make_room_for_themselves_and_entries_are_counted(directory: Path) -> None:
    most = 4 << 20
    store = Store(directory, most)
    assert store.count == 0
    for n in range(60):
        store.set_many({f"{n}/{k}": os.urandom(8_000) for k in range(32)})
    assert 100 < store.count < most / 8_000
    assert sum(p.stat().st_size for p in directory.rglob("*.val")) + store.count * 8_000 < most
    assert store.get("59/31") is not None
    assert store.get("0/0") is None
    store.close()
    assert store.count == 0
