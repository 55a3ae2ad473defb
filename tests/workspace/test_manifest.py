"""What is known of a repository from run to run: believed where it is certain, never where it is damaged."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.core.graph import Graph
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.core.values import FileOutline, RepoIndex
from glm_lsp.workspace import known as known_module
from glm_lsp.workspace import run, saved, stamps
from glm_lsp.workspace.repository import IndexReport, Repository
from glm_lsp.workspace.stamps import Clock, Stat
from tests.workspace.trees import grow

FILES = {
    "a.py": "from pkg.b import Two\n\n\ndef one():\n    return Two().use()\n",
    "pkg/__init__.py": "",
    "pkg/b.py": 'class Two:\n    """Doc."""\n\n    def use(self):\n        return 2\n',
    "web/x.ts": "export function load(): void {}\n",
    "notes.txt": "one\ntwo",
    "bad.py": b"\0",
}
OLD_NS = 1_500_000_000_000_000_000


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were written just now count as old ones."""
    monkeypatch.setattr(stamps, "MARGIN_NS", -(10**15))


@pytest.fixture
def outlined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were given to the parser."""
    paths: list[str] = []
    bring = run.Indexer.run

    async def spy(self: run.Indexer, todo: list[str], *more: dict[str, Any]) -> None:
        paths.extend(todo)
        await bring(self, todo, *more)

    monkeypatch.setattr(run.Indexer, "run", spy)
    return paths


async def indexed(root: Path) -> tuple[IndexReport, dict[str, FileOutline]]:
    """The report and every outline, as a process would find them that starts now."""
    repository = Repository(root, DEFAULTS)
    try:
        report = await repository.index()
        found = dict(repository.snapshot().index.outlines)
        for outline in found.values():
            assert outline.symbols is not None
            assert outline.references is not None
        return report, found
    finally:
        await repository.close()


def content(report: IndexReport) -> tuple[object, ...]:
    return report.files, report.symbols, report.references, report.bytes, report.skipped, report.held_back


async def test_a_second_start_finds_the_same_and_parses_nothing(
    tmp_path: Path, certain: None, outlined: list[str]
) -> None:
    grow(tmp_path, FILES)
    first, before = await indexed(tmp_path)
    assert sorted(outlined) == sorted(FILES)
    outlined.clear()
    second, after = await indexed(tmp_path)
    assert outlined == []
    assert content(first) == content(second)
    assert before == after
    assert list(after) == sorted(after)


CHANGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "another text": (lambda r: (r / "a.py").write_text("def uno(): ...\n"), ["a.py"]),
    "another text of the same size": (
        lambda r: (r / "a.py").write_text(str(FILES["a.py"]).replace("one", "eno")),
        ["a.py"],
    ),
    "the same text, written again": (lambda r: (r / "a.py").write_text(str(FILES["a.py"])), []),
    "other times": (lambda r: os.utime(r / "a.py", ns=(OLD_NS, OLD_NS)), []),
    "a new file": (lambda r: (r / "new.py").write_text("x = 1\n"), ["new.py"]),
    "a file less": (lambda r: (r / "a.py").unlink(), []),
    "a file replaced by another": (lambda r: (r / "pkg/b.py").replace(r / "a.py"), ["a.py"]),
}


@pytest.mark.parametrize(("change", "parsed"), CHANGES.values(), ids=CHANGES.keys())
async def test_a_start_after_a_change_equals_one_from_nothing(
    tmp_path: Path,
    certain: None,
    outlined: list[str],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], object],
    parsed: list[str],
) -> None:
    root = grow(tmp_path / "root", FILES)
    await indexed(root)
    change(root)
    outlined.clear()
    found = [await indexed(root) for _ in range(2)]  # the second takes what the first has added
    assert outlined == parsed
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path / "other"))
    fresh = await indexed(root)
    for report, outlines in found:
        assert content(report) == content(fresh[0])
        assert outlines == fresh[1]


async def test_a_change_that_leaves_size_and_times_is_seen(tmp_path: Path, outlined: list[str]) -> None:
    """As when it comes within the same tick of the clock: what is that young is read again."""
    grow(tmp_path, {"a.py": "def one(): ...\n"})
    await indexed(tmp_path)
    status = (tmp_path / "a.py").stat()
    with (tmp_path / "a.py").open("r+b") as file:
        file.write(b"def two(): ...\n")
    os.utime(tmp_path / "a.py", ns=(status.st_atime_ns, status.st_mtime_ns))
    _, found = await indexed(tmp_path)
    assert found["a.py"].symbols[0].name == "two"


STAT = Stat(10, 100 * 10**9, 100 * 10**9, 7, 200 * 10**9)


@pytest.mark.parametrize(
    ("now", "vouches"),
    {
        "the same": (STAT, True),
        "looked at later": (STAT._replace(checked_ns=900 * 10**9), True),
        "size": (STAT._replace(size=11), False),
        "time of the text": (STAT._replace(mtime_ns=1), False),
        "time of the change": (STAT._replace(ctime_ns=1), False),
        "another file": (STAT._replace(inode=8), False),
    }.values(),
)
def test_what_vouches_for_a_file(now: Stat, vouches: bool) -> None:
    assert STAT.vouches(now) is vouches


@pytest.mark.parametrize("age_s", [-1000, -1, 0, 1, 2])
def test_a_file_that_was_young_or_of_the_future_is_read_again(age_s: int) -> None:
    young = STAT._replace(ctime_ns=STAT.checked_ns - age_s * 10**9)
    assert not young.vouches(young)
    late = STAT._replace(mtime_ns=STAT.checked_ns - age_s * 10**9)
    assert not late.vouches(late)


CLOCK = Clock(1000 * 10**9, 500 * 10**9, "boot")


@pytest.mark.parametrize(
    ("now", "jumped"),
    [
        (Clock(1100 * 10**9, 500 * 10**9, "boot"), False),
        (Clock(1100 * 10**9, 501 * 10**9, "boot"), False),
        (Clock(4600 * 10**9, 4100 * 10**9, "boot"), True),
        (Clock(999 * 10**9, 500 * 10**9, "boot"), True),
        (Clock(999 * 10**9, 100 * 10**9, "another"), True),
        (Clock(2000 * 10**9, 100 * 10**9, "another"), False),
    ],
)
def test_a_clock_that_was_set_is_noticed(now: Clock, jumped: bool) -> None:
    assert CLOCK.jumped(now) is jumped


@pytest.mark.parametrize("ahead_ns", [-3600 * 10**9, 3600 * 10**9])
async def test_when_the_clock_was_set_every_file_is_read(
    tmp_path: Path, certain: None, monkeypatch: pytest.MonkeyPatch, ahead_ns: int
) -> None:
    grow(tmp_path, FILES)
    await indexed(tmp_path)
    real, read = Clock.now(), list[str]()
    monkeypatch.setattr(
        Clock, "now", lambda: Clock(real.wall_ns + ahead_ns, real.ahead_ns + ahead_ns, real.boot)
    )
    load = known_module.load

    def spy(root: Path, path: str, most: int, **more: bool) -> object:
        read.append(path)
        return load(root, path, most, **more)

    monkeypatch.setattr(known_module, "load", spy)
    await indexed(tmp_path)
    assert set(read) >= set(FILES) - {"bad.py"}


def damage(path: Path, at: float, bits: int) -> None:
    data = bytearray(path.read_bytes())
    data[int(at * (len(data) - 1))] ^= bits
    path.write_bytes(data)


@given(at=st.floats(0, 1), bits=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_damaged_file_is_never_believed(at: float, bits: int, cut: bool) -> None:
    """Whatever byte is another one, and wherever it is cut off: it is made again, and the user told."""
    with _home() as (root, cache):
        _, before = asyncio.run(indexed(root))
        base = next((cache / "index").glob("*.base"))
        if cut:
            os.truncate(base, int(at * (base.stat().st_size - 1)))
        else:
            damage(base, at, bits)
        with _told() as told:
            _, after = asyncio.run(indexed(root))
        assert before == after
        assert len(told) == 1
        assert "renamed" in told[0]
        assert len(list((cache / "index").glob("*.damaged"))) == 1


@contextlib.contextmanager
def _home() -> Iterator[tuple[Path, Path]]:
    import tempfile  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLM_LSP_CACHE", f"{directory}/cache")
        patch.setattr(stamps, "MARGIN_NS", -(10**15))
        yield grow(Path(directory) / "root", FILES), Path(directory) / "cache"


@contextlib.contextmanager
def _told() -> Iterator[list[str]]:
    """What the user is told meanwhile."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("glm_lsp.notices").addHandler(handler)
    try:
        yield told
    finally:
        logging.getLogger("glm_lsp.notices").removeHandler(handler)


SPOILT: dict[str, Callable[[Path], object]] = {
    "a newer version": lambda p: p.write_bytes(b"glm-lsp index 2\n" + p.read_bytes()[16:]),
    "a directory": lambda p: (p.unlink(), p.mkdir()),
    "a link": lambda p: (p.rename(p.with_suffix(".real")), p.symlink_to(p.with_suffix(".real"))),
    "a pipe": lambda p: (p.unlink(), os.mkfifo(p)),
    "empty": lambda p: p.write_bytes(b""),
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
async def test_what_is_no_index_of_ours_is_renamed_away(
    tmp_path: Path, cache: Path, certain: None, spoil: Callable[[Path], object]
) -> None:
    grow(tmp_path, FILES)
    _, before = await indexed(tmp_path)
    spoil(next((cache / "index").glob("*.base")))
    with _told() as told:
        _, after = await indexed(tmp_path)
    assert before == after
    assert len(told) == 1


async def test_a_record_that_is_damaged_while_it_is_used_is_outlined_again(
    tmp_path: Path, cache: Path, certain: None
) -> None:
    root = grow(tmp_path / "root", FILES)
    await indexed(root)
    repository = Repository(root, DEFAULTS)
    await repository.index()
    base = next((cache / "index").glob("*.base"))
    with base.open("r+b") as file:
        file.write(b"\0" * (base.stat().st_size - 100))
    with _told() as told:
        assert repository.snapshot().index.outlines["a.py"].symbols == ()
        repository.snapshot()
        await repository.settle()
    assert [s.name for s in repository.snapshot().index.outlines["a.py"].symbols] == ["one"]
    assert len(told) == 1
    await repository.close()


async def test_a_full_disk_costs_only_time(tmp_path: Path, certain: None) -> None:
    root = grow(tmp_path / "root", {f"f{n}.py": f"def f{n}():\n    return {n}\n" * 50 for n in range(30)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with _told() as told:
            report, found = await indexed(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert report.files == 30
    assert found["f7.py"].symbols[0].name == "f7"
    assert any("cannot be kept" in sentence or "no room" in sentence for sentence in told)
    assert not any("Traceback" in sentence for sentence in told)
    assert len(told) == 1 or "no room" not in " ".join(told), "one event, one sentence"
    assert len(told) == len(set(told)), "each is told once"
    assert (await indexed(root))[1] == found


WINDOW = """
import asyncio, sys, time
from pathlib import Path
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.workspace import run, stamps
from glm_lsp.workspace.repository import Repository
stamps.MARGIN_NS = -(10**15)
parsed = []
bring = run.Indexer.run
async def spy(self, todo, *more):
    parsed.extend(todo)
    await bring(self, todo, *more)
run.Indexer.run = spy
async def main():
    repository = Repository(Path(sys.argv[1]), DEFAULTS)
    report = await repository.index()
    names = sorted(s.name for o in repository.snapshot().index.outlines.values() for s in o.symbols)
    print(report.files, report.symbols, len(parsed), names[-1])
    await repository.close()
asyncio.run(main())
"""


def window(root: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-c", WINDOW, str(root)], env=environment, stdout=subprocess.PIPE, text=True
    )


def test_two_windows_do_the_work_once(tmp_path: Path) -> None:
    root = grow(tmp_path, {f"f{n:03}.py": f"def f{n:03}(): ...\n" * 20 for n in range(200)})
    windows = [window(root) for _ in range(2)]
    said = [process.communicate(timeout=120)[0].split() for process in windows]
    assert [process.returncode for process in windows] == [0, 0]
    assert [(files, symbols, last) for files, symbols, _, last in said] == [("200", "4000", "f199")] * 2
    assert sorted(int(parsed) for _, _, parsed, _ in said) == [0, 200]


def test_when_one_window_is_killed_the_other_takes_over(tmp_path: Path, cache: Path) -> None:
    root = grow(tmp_path, {f"f{n:03}.py": f"def f{n:03}(): ...\n" * 20 for n in range(300)})
    first = window(root)
    lock = cache / "index"
    until = time.monotonic() + 60
    while not list(lock.glob("*.lock")) and time.monotonic() < until:
        time.sleep(0.01)
    second = window(root)
    first.kill()
    first.communicate()
    assert second.communicate(timeout=120)[0].split()[:2] == ["300", "6000"]
    assert second.returncode == 0


async def test_the_saved_tables_answer_as_new_ones(tmp_path: Path, certain: None) -> None:
    root = grow(tmp_path / "root", FILES)
    repository = Repository(root, DEFAULTS)
    await repository.index()
    Graph(repository.snapshot().index)
    await repository.close()
    repository = Repository(root, DEFAULTS)
    await repository.index()
    grow(root, {"a.py": "import pkg.c\n", "pkg/c.py": "def use(): ...\n"})
    await repository.refresh(["a.py", "pkg/c.py"])
    index = repository.snapshot().index
    saved, new = Graph(index), Graph(RepoIndex(dict(index.outlines)))
    for path in index.outlines:
        assert saved.imported(path) == new.imported(path)
        assert saved.importers(path) == new.importers(path)
    for name in ("use", "Two", "one", "load", "missing", "__init__"):
        assert saved.defining(name) == new.defining(name)
        assert saved.files_with(name) == new.files_with(name)
    assert saved.central() == new.central()
    assert saved.imported("a.py") == {"pkg/c.py"}
    await repository.close()


async def test_what_a_damaged_file_was_read_with_is_closed_once(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closed a second time it may be somebody else's by then: git's pipe, which left git running."""
    root = grow(tmp_path / "repo", FILES)
    await indexed(root)
    base = next((cache / "index").glob("*.base"))
    damage(base, len(saved.MAGIC) / base.stat().st_size + 0.01, 1)
    twice: list[int] = []
    close = os.close

    def closes(handle: int) -> None:
        try:
            close(handle)
        except OSError:
            twice.append(handle)
            raise

    monkeypatch.setattr(os, "close", closes)
    with _told() as told:
        Repository(root, DEFAULTS)._known.load()  # pyright: ignore[reportPrivateUsage]
    gc.collect()
    assert len(told) == 1
    assert twice == []
