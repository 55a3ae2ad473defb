"""What a file did to the parser is remembered by its content, so that the next run does not try again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from glm_lsp.workspace.encoding import Facts
from glm_lsp.workspace.files import Reader, Unreadable, read_bytes
from glm_lsp.workspace.indexer import COMMAND, Indexer
from glm_lsp.workspace.outliner import REMEMBERED, Job
from tests.workspace.trees import Taken, grow

DYING = """
import os, signal, sys
from glm_lsp.workspace import outliner
real = outliner.parse
def parse(data, language):
    for name in ("SEGV", "KILL", "ABRT", "VTALRM"):
        if name.encode() in data:
            os.kill(os.getpid(), getattr(signal, "SIG" + name))
    return real(data, language)
outliner.parse = parse
sys.exit(outliner.main())
"""


async def check(root: Path, command: tuple[str, ...], left: dict[str, str], **limits: float) -> None:
    """An index run with this command leaves these files out, and finds the others."""
    taken = Taken()
    values = {"file_cpu_s": 5.0, **limits}
    job = Job(str(root), str(root.parent / "cache"), 10**6, values["file_cpu_s"], 2 << 30)
    names = sorted(os.listdir(root))  # noqa: PTH208
    await Indexer(job, taken, workers=2, command=command).run(names)
    assert taken.left == left
    assert sorted(taken.found) == [name for name in names if name not in left]


async def test_a_parser_that_died_of_a_file_is_not_tried_again(tmp_path: Path) -> None:
    texts = {f"{name}.py": f"x = '{name}'\n" for name in ("SEGV", "KILL", "ABRT", "VTALRM", "good")}
    root = grow(tmp_path / "root", texts)
    dying, crashed = (sys.executable, "-P", "-c", DYING), "crashed the parser"
    slow = "took the parser more than 5 s of processor time"
    first = {"SEGV.py": crashed, "KILL.py": crashed, "ABRT.py": crashed, "VTALRM.py": slow}
    await check(root, dying, first)
    known = {name: f"{why} {REMEMBERED}" for name, why in first.items() if name != "KILL.py"}
    await check(root, tuple(COMMAND), known)  # who kills may have been short of memory: that is forgotten
    (root / "SEGV.py").rename(root / "other.py")
    (root / "ABRT.py").write_text("x = 1\n")
    await check(root, tuple(COMMAND), {"other.py": known["SEGV.py"], "VTALRM.py": known["VTALRM.py"]})
    await check(root, tuple(COMMAND), {}, file_cpu_s=6.0)  # with more time it may be another matter
    await check(root, tuple(COMMAND), {})  # and what came of that is kept


async def test_what_is_found_last_is_kept_too(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {f"f{n}.py": f"SEGV = {n}\n" for n in range(9)})
    await check(root, tuple(COMMAND), {})
    await check(root, (sys.executable, "-P", "-c", DYING), {})  # which dies of what it parses


async def test_a_file_that_takes_too_long_is_not_tried_again(tmp_path: Path) -> None:
    bomb = ("const a=()=>{" * 3000 + "\n") * 3
    root = grow(tmp_path / "root", {"bad.c": bomb, "large.c": bomb * 4, "good.c": "int a;\n"})
    reason = "took the parser more than 0.3 s of processor time"
    left = {"bad.c": reason, "large.c": reason}
    await check(root, tuple(COMMAND), left, file_cpu_s=0.3)
    known = {name: f"{why} {REMEMBERED}" for name, why in left.items()}
    await check(root, tuple(COMMAND), known, file_cpu_s=0.3)


async def test_files_that_come_go_and_change_meanwhile_are_no_error(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {f"f{n}.py": f"x = {n}\n" for n in range(200)})
    names = sorted(p.name for p in root.iterdir())

    class Meddling(Taken):
        def outlined(self, path: str, record: bytes, first: Facts) -> None:
            super().outlined(path, record, first)
            for name in names[len(self.found) :: 3]:
                (root / name).unlink(missing_ok=True)
            (root / names[-1]).write_text("y = 2\n" * len(self.found))

    taken = Meddling()
    await Indexer(Job(str(root), "", 10**6, 5.0, 2 << 30), taken, workers=1).run(names)
    assert sorted([*taken.found, *taken.left]) == names
    assert set(taken.left.values()) <= {"cannot be read: no such file or directory"}


@pytest.mark.parametrize(
    "path", ["a/b/c.py", "a/d.py", "e.py", "in.py", "out.py", "gone.py", "a/b", "dir/c.py", "../x"]
)
def test_a_reader_reads_what_is_read_without_it(tmp_path: Path, path: str) -> None:
    grow(
        tmp_path, {"root/a/b/c.py": "1", "root/a/d.py": "2", "root/e.py": "3", "outside/c.py": "4", "x": "5"}
    )
    root = tmp_path / "root"
    (root / "in.py").symlink_to("e.py")
    (root / "out.py").symlink_to("../x")
    (root / "dir").symlink_to("../outside")

    def read(of: object) -> object:
        try:
            return of(path, 100) if callable(of) else None
        except Unreadable as unreadable:
            return unreadable.reason

    reader = Reader(root)
    for _ in range(2):
        assert read(reader.read) == read(lambda path, most: read_bytes(root, path, most))
        reader.read("a/b/c.py", 100)
    reader.done()


def test_a_reader_is_not_led_out_by_a_swapped_directory(tmp_path: Path) -> None:
    grow(tmp_path, {"root/a/one.py": "1", "root/a/two.py": "2", "outside/two.py": "secret"})
    root, reader = tmp_path / "root", Reader(tmp_path / "root")
    assert reader.read("a/one.py", 100).data == b"1"
    (root / "a").rename(root / "b")
    (root / "a").symlink_to("../outside")
    assert reader.read("a/two.py", 100).data == b"2"
    reader.done()
    with pytest.raises(Unreadable, match="link"):
        reader.read("a/two.py", 100)
