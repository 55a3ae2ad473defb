"""The index of a repository, its open documents, and the gate to its files."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from glm_lsp.core.errors import ConflictError, GlmError, UsageError
from glm_lsp.core.settings import DEFAULTS, Settings
from glm_lsp.core.syntax import outline
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, Refusal, RefusalKind
from glm_lsp.workspace import outliner
from glm_lsp.workspace.discovery import Skipped
from glm_lsp.workspace.encoding import Facts
from glm_lsp.workspace.indexer import Indexer
from glm_lsp.workspace.repository import INLINE_BYTES, IndexReport, Repository
from tests.workspace.trees import git, grow

FILES = {
    "a.py": "import b\ndef one():\n    return b.two()\n",
    "pkg/b.py": 'class Two:\n    """Doc."""\n',
    "notes.txt": "one\ntwo",
}


@asynccontextmanager
async def opened(root: Path, settings: Settings = DEFAULTS) -> AsyncIterator[Repository]:
    repository = Repository(root, settings)
    try:
        yield repository
    finally:
        await repository.close()


def document(path: str, text: str, version: int = 1, language: str = "python") -> Document:
    data = text.encode()
    return Document(path, data, digest(data), language, version)


def reasons(report: IndexReport) -> dict[str, str]:
    return {s.path: s.reason for s in report.skipped}


async def test_an_index_has_an_outline_for_each_file(tmp_path: Path) -> None:
    grow(tmp_path, FILES)
    seen: list[tuple[int, int]] = []
    async with opened(tmp_path) as repository:
        report = await repository.index(lambda done, total: seen.append((done, total)))
        snapshot = repository.snapshot()
    assert (report.files, report.symbols, report.skipped) == (3, 2, ())
    assert report.bytes == sum(len(text) for text in FILES.values())
    assert list(snapshot.index.outlines) == sorted(FILES)
    for path, text in FILES.items():
        language = "python" if path.endswith(".py") else "plaintext"
        assert snapshot.index.outlines[path] == outline(path, text.encode(), language)
    assert report.references == sum(len(o.references) for o in snapshot.index.outlines.values())
    assert seen == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize("make", [lambda root: root / "none", lambda root: root / "a.py"])
def test_a_root_must_be_a_directory(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    grow(tmp_path, FILES)
    with pytest.raises(UsageError, match="name the directory"):
        Repository(make(tmp_path), DEFAULTS)


async def test_an_empty_directory_has_an_empty_index(tmp_path: Path) -> None:
    async with opened(tmp_path) as repository:
        report = await repository.index()
    assert (report.files, report.symbols, report.references, report.bytes) == (0, 0, 0, 0)


async def test_what_is_left_out_has_a_reason(tmp_path: Path) -> None:
    grow(
        tmp_path,
        {
            "good.py": "x = 1\n",
            "binary.py": b"\0",
            "latin.py": b"# \xe9\n",
            "utf16.txt": "x".encode("utf-16"),
            "huge.py": b"x = 1\n" * 200_000,
            "min.js": b"x" * 100_000,
            "key.txt": b"-----BEGIN PRIVATE KEY-----\n" + b"MIIEow" * 20,
            "server.pem": b"",
            "crlf.py": b"\xef\xbb\xbfdef f():\r\n    return '\xf0\x9d\x94\x98'\r\n",
        },
    )
    (tmp_path / "pipe").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "pipe")
    async with opened(tmp_path) as repository:
        report = await repository.index()
        found = repository.snapshot().index.outlines
    assert sorted(found) == ["crlf.py", "good.py", "key.txt"]
    assert [(h.path, h.line, h.kind) for h in report.held_back] == [("key.txt", 0, "private key")]
    assert found["crlf.py"].symbols[0].signature == "def f():"
    assert reasons(report) == {
        "binary.py": "is binary",
        "latin.py": "is not valid UTF-8",
        "utf16.txt": "is UTF-16 text; only UTF-8 is read",
        "huge.py": "is larger than 1,000,000 bytes (index.max_file_bytes)",
        "min.js": "is minified: it has a line of more than 50,000 bytes",
        "server.pem": "is left out: it is named like a key or certificate",
        "pipe": "is a pipe",
    }


async def test_a_second_run_takes_outlines_from_the_store(tmp_path: Path, cache: Path) -> None:
    grow(tmp_path, FILES)
    async with opened(tmp_path) as repository:
        first = await repository.index()
        before = repository.snapshot()
        grow(tmp_path, {"a.py": "def three(): ...\n", "new.py": "Y = 1\n"})
        (tmp_path / "pkg" / "b.py").unlink()
        second = await repository.index()
        after = repository.snapshot()
    assert (first.files, second.files) == (3, 3)
    assert sorted(after.index.outlines) == ["a.py", "new.py", "notes.txt"]
    assert after.index.outlines["a.py"].symbols[0].name == "three"
    assert sorted(before.index.outlines) == sorted(FILES)
    assert (cache / "outlines" / "cache.db").stat().st_size > 0


async def test_an_unchanged_file_keeps_its_very_outline(tmp_path: Path) -> None:
    grow(tmp_path, FILES)
    async with opened(tmp_path) as repository:
        first = await repository.index()
        before = repository.snapshot().index.outlines
        grow(tmp_path, {"a.py": "changed = 1\n"})
        second = await repository.index()
        after = repository.snapshot().index.outlines
    assert {path for path in FILES if after[path] is not before[path]} == {"a.py"}
    assert (first.files, second.files) == (3, 3)
    assert second.symbols == sum(len(o.symbols) for o in after.values())


async def test_a_damaged_store_costs_nothing_but_time(tmp_path: Path, cache: Path) -> None:
    grow(tmp_path, FILES)
    async with opened(tmp_path) as repository:
        first = await repository.index()
        (cache / "outlines" / "cache.db").write_bytes(b"no database" * 1000)
        second = await repository.index()
    assert (first.symbols, first.references) == (second.symbols, second.references)


async def test_an_open_document_goes_before_the_file(tmp_path: Path) -> None:
    grow(tmp_path, FILES)
    async with opened(tmp_path) as repository:
        await repository.index()
        before = repository.snapshot()
        repository.update(document("a.py", "def edited(): ...\n"))
        after = repository.snapshot()
        assert [s.name for s in before.index.outlines["a.py"].symbols] == ["one"]
        assert [s.name for s in after.index.outlines["a.py"].symbols] == ["edited"]
        assert list(after.documents) == ["a.py"]
        assert before.documents == {}
        assert after.revision > before.revision
        assert after is repository.snapshot()
        assert (await repository.read("a.py")) == after.documents["a.py"]
        await repository.index()
        assert [s.name for s in repository.snapshot().index.outlines["a.py"].symbols] == ["edited"]
        repository.forget("a.py")
        await repository.settle()
        closed = repository.snapshot()
        assert [s.name for s in closed.index.outlines["a.py"].symbols] == ["one"]
        assert closed.documents == {}


async def test_a_new_document_is_indexed_until_it_is_closed_unsaved(tmp_path: Path) -> None:
    async with opened(tmp_path) as repository:
        repository.update(document("new.py", "def fresh(): ...\n"))
        assert "new.py" in repository.snapshot().index.outlines
        repository.forget("new.py")
        await repository.settle()
        assert "new.py" not in repository.snapshot().index.outlines


async def test_a_large_document_is_outlined_aside_and_the_last_text_wins(tmp_path: Path) -> None:
    body = "x = 1\n" * (INLINE_BYTES // 3)
    async with opened(tmp_path) as repository:
        for version in range(1, 6):
            repository.update(document("big.py", f"def f{version}(): ...\n{body}", version))
            assert repository.snapshot().documents["big.py"].version == version
            await asyncio.sleep(0.005)
        await repository.settle()
        snapshot = repository.snapshot()
    found = snapshot.index.outlines["big.py"]
    assert found.digest == snapshot.documents["big.py"].digest
    assert found.symbols[0].name == "f5"


SECRETS = {
    ".env": "KEY=1\n",
    "src/.env.local": "KEY=1\n",
    "ignored.log": "x\n",
    "out/x.py": "x\n",
    "a\n# Source\nx.py": "def spoof(): ...\n",
    "a\u2028x.py": "def spoof(): ...\n",
}


@pytest.mark.parametrize("path", SECRETS)
async def test_what_must_not_be_read_is_not_even_when_it_is_open(tmp_path: Path, path: str) -> None:
    grow(tmp_path, {".gitignore": "*.log\nout/\n", **SECRETS})
    async with opened(tmp_path) as repository:
        repository.update(document(path, SECRETS[path]))
        snapshot = repository.snapshot()
        assert path not in snapshot.documents
        assert path not in snapshot.index.outlines
        found = await repository.read(path)
        assert isinstance(found, Refusal)
        assert found.kind is RefusalKind.POLICY
        assert found.reason.startswith(path)


async def test_an_ignored_but_tracked_file_is_read(tmp_path: Path) -> None:
    grow(tmp_path, {".gitignore": "*.gen\n", "a.gen": "x", "b.gen": "y"})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "a.gen")
    async with opened(tmp_path) as repository:
        assert isinstance(await repository.read("a.gen"), Document)
        assert isinstance(await repository.read("b.gen"), Refusal)


async def test_a_file_not_yet_on_disk_is_ignored_only_by_a_rule(tmp_path: Path) -> None:
    grow(tmp_path, {".gitignore": "*.gen\n", "a.py": "x = 1\n"})
    git(tmp_path, "init", "-q")
    async with opened(tmp_path) as repository:
        for path in ("new.py", "untitled/Untitled-1", "gone/new.py"):
            found = await repository.read(path)
            assert isinstance(found, Refusal)
            assert (found.kind, "ignored" in found.reason) == (RefusalKind.UNREADABLE, False)
        found = await repository.read("new.gen")
        assert isinstance(found, Refusal)
        assert (found.kind, "ignored" in found.reason) == (RefusalKind.POLICY, True)


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "", "a/../../x", "missing.py"])
async def test_reading_what_is_not_there_is_a_refusal(tmp_path: Path, path: str) -> None:
    async with opened(tmp_path) as repository:
        assert isinstance(await repository.read(path), Refusal)


async def test_names_within_the_repository(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"a.py": "", "d/b.py": "", ".env": "", ".gitignore": "*.log\n"})
    grow(tmp_path / "root-evil", {"x.py": ""})
    (root / "out").symlink_to(tmp_path / "root-evil")
    (root / "in.py").symlink_to("a.py")
    (tmp_path / "alias").symlink_to(root)
    async with opened(root) as repository:
        for named, relative in {
            root / "a.py": "a.py",
            root / "d" / ".." / "a.py": "a.py",
            Path("d/b.py"): "d/b.py",
            root / "new.py": "new.py",
            root: ".",
            root / "in.py": "in.py",
            tmp_path / "alias" / "a.py": "a.py",
        }.items():
            assert repository.relative(named) == relative
        for named in (
            tmp_path / "x.py",
            tmp_path / "root-evil" / "x.py",
            root / "out" / "x.py",
            root / ".." / "x",
            root / ".env",
            root / "x.log",
        ):
            refused = repository.relative(named)
            assert isinstance(refused, Refusal)
            assert refused.kind is RefusalKind.POLICY


class Taken:
    """Keeps what an indexer finds."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.same: list[str] = []
        self.left: dict[str, str] = {}

    def outlined(self, path: str, record: bytes, first: Facts) -> None:
        self.found.append(path)

    def unchanged(self, path: str) -> None:
        self.same.append(path)

    def skipped(self, skipped: Skipped) -> None:
        self.left[skipped.path] = skipped.reason


WORKER = """
import sys, time, os, signal
from glm_lsp.workspace import outliner
real = outliner.load
def load(root, path, max_bytes, **more):
    if path.startswith("hang"):
        time.sleep(1000)
    if path.startswith("spin"):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.05)
        while True:
            pass
    if path.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.startswith("noise"):
        print("printed by accident", flush=True)
    return real(root, path, max_bytes, **more)
outliner.load = load
sys.exit(outliner.main())
"""
HOSTILE = ["crash1.py", "hang1.py", "spin1.py", "crash2.py", "noise.py"]


def job(root: Path, **changes: object) -> outliner.Job:
    values: dict[str, object] = {
        "cache": "",
        "max_file_bytes": 10**6,
        "file_cpu_s": 5.0,
        "memory_bytes": 2 << 30,
    }
    return outliner.Job(**{"root": str(root), **values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_process_that_hangs_or_dies_costs_one_file(tmp_path: Path, workers: int) -> None:
    good = [f"good{n:03}.py" for n in range(60)]
    paths = sorted([*good, *HOSTILE])
    grow(tmp_path, dict.fromkeys(paths, "def f(): ...\n"))
    taken = Taken()
    command = (sys.executable, "-P", "-c", WORKER)
    indexer = Indexer(
        job(tmp_path),
        taken,
        workers=workers,
        command=command,
        stall_s=10.0,
    )
    await indexer.run(paths)
    assert sorted(taken.found) == sorted([*good, "noise.py"])
    assert taken.left == {
        "crash1.py": "crashed the parser",
        "crash2.py": "crashed the parser",
        "hang1.py": "held up the parser, which made no progress for 10 s",
        "spin1.py": "took the parser more than 5 s of processor time",
    }


async def test_a_file_that_takes_the_parser_too_long_is_left_out(tmp_path: Path) -> None:
    """Brackets that never close take the parser quadratic time."""
    grow(tmp_path, {"bad.py": "a=[" * 60_000, "good.py": "x = 1\n"})
    (tmp_path / "bad.py").write_text("\n".join("a=[" * 1000 for _ in range(100)))
    taken = Taken()
    limits = job(tmp_path, file_cpu_s=0.3)
    indexer = Indexer(limits, taken, workers=1)
    await indexer.run(["bad.py", "good.py"])
    assert taken.found == ["good.py"]
    assert list(taken.left) == ["bad.py"]
    assert "processor time" in taken.left["bad.py"]


async def test_a_process_that_never_starts_is_one_error(tmp_path: Path) -> None:
    grow(tmp_path, FILES)
    command = (sys.executable, "-c", "raise SystemExit(3)")
    indexer = Indexer(job(tmp_path), Taken(), workers=2, command=command)
    with pytest.raises(GlmError, match="does not start"):
        await indexer.run(list(FILES))


def children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def test_cancelling_and_closing_leave_no_process_behind(tmp_path: Path) -> None:
    grow(tmp_path, {f"f{n}.py": "x = 1\n" * 2000 for n in range(300)})
    before = children()
    repository = Repository(tmp_path, DEFAULTS)
    begun = asyncio.Event()
    run = asyncio.create_task(repository.index(lambda done, total: begun.set()))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert children() == before
    begun.clear()
    run = asyncio.create_task(repository.index(lambda done, total: begun.set()))
    await begun.wait()
    await repository.close()
    with pytest.raises(ConflictError, match="was closed"):
        await run
    await repository.close()
    assert children() == before
