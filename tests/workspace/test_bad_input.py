"""Repositories that nobody made for us, through the front door: a sentence each, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from glm_lsp.__main__ import main
from glm_lsp.cli import door
from glm_lsp.workspace.discovery import discover
from glm_lsp.workspace.ignore import Ignore
from tests.workspace.trees import git, grow

MODULE = "def {name}():\n    return 1\n"


def index(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "glm_lsp", "index", os.fspath(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def check(root: Path) -> dict[str, dict[str, str]]:
    """The index of `root` is made without a traceback; what is left out, and why."""
    done = index(root, "--format", "json")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpectedly" not in done.stderr
    found = json.loads(done.stdout)
    return {"left": {s["path"]: s["reason"] for s in found["skipped"]}, "files": found["files"]}


def test_one_tree_with_everything(tmp_path: Path) -> None:
    root = grow(tmp_path / "repo", {"good.py": MODULE.format(name="good"), "d/e/x.py": "import good\n"})
    with (root / "long.py").open("wb") as file:
        file.truncate(100_000_000)
    (root / "line.py").write_bytes(b"x = '" + b"a" * 900_000 + b"'\n")
    for link, target in (("loop", "."), ("a", "b"), ("b", "a"), ("d/e/up", "../.."), ("out", "/")):
        (root / link).symlink_to(target)
    os.mkfifo(root / "pipe.py")
    (root / "bomb.py").write_text("(" * 40_000)
    (root / "deep.py").write_text("".join(" " * n + "if x:\n" for n in range(500)))
    (root / "utf16.py").write_bytes("x = 1\n".encode("utf-16"))
    (Path(os.fsdecode(os.fsencode(root) + b"/caf\xe9.py"))).write_text("x = 1\n")
    below = root
    for _ in range(120):
        below = below / "deeper"
    below.mkdir(parents=True)
    (below / "bottom.py").write_text(MODULE.format(name="bottom"))
    found = check(root)
    assert found["files"] == 5
    assert found["left"] == {
        "a": "is a link",
        "b": "is a link",
        "caf\\xe9.py": "has a name that is not UTF-8",
        "d/e/up": "is a link",
        "line.py": "is minified: it has a line of more than 50,000 bytes",
        "long.py": "is larger than 1,000,000 bytes (index.max_file_bytes)",
        "loop": "is a link",
        "out": "is a link",
        "pipe.py": "is a pipe",
        "utf16.py": "is UTF-16 text; only UTF-8 is read",
    }


def test_a_directory_whose_name_is_not_utf_8_is_a_sentence(tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9p"))
    grow(root, {"a.py": MODULE.format(name="a")})
    done = index(root)
    assert done.returncode == 2
    assert "has a name that is not UTF-8; rename the directory." in done.stderr
    assert "unexpectedly" not in done.stderr


@pytest.mark.parametrize("cache", ["/dev/null", "/proc/nowhere"])
def test_without_a_place_for_the_cache_everything_is_found(
    tmp_path: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLM_LSP_CACHE", cache)
    root = grow(tmp_path / "repo", {"a.py": MODULE.format(name="a")})
    done = index(root)
    assert done.returncode == 0
    assert "is not kept in" in done.stderr
    assert "Errno" not in done.stderr


def test_files_that_are_written_all_the_time_are_found_as_they_end(tmp_path: Path) -> None:
    root = grow(tmp_path / "repo", {f"m{n}.py": MODULE.format(name=f"f{n}") for n in range(60)})
    stop = threading.Event()

    def write() -> None:
        at = 0
        while not stop.is_set():
            path = root / f"m{at % 60}.py"
            path.write_text(MODULE.format(name=f"g{at}") * (1 + at % 7))
            (root / f"new{at % 60}.py").write_text("x = 1\n")
            (root / f"new{(at + 30) % 60}.py").unlink(missing_ok=True)
            at += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(3):
            check(root)
    finally:
        stop.set()
        writer.join()
    for path in root.glob("new*.py"):
        path.unlink()
    found = json.loads(index(root, "--format", "json").stdout)
    sizes = sum(path.stat().st_size for path in root.glob("*.py"))
    assert (found["files"], found["bytes"]) == (60, sizes)
    assert found["symbols"] == sum(path.read_text().count("def ") for path in root.glob("*.py"))


def test_an_interrupted_listing_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C in a large tree waited until all of it was listed."""
    root = grow(tmp_path, {f"d{n}/a.py": "x = 1\n" for n in range(20)})
    asked: list[int] = []

    def stopped() -> bool:
        asked.append(1)
        return len(asked) > 3

    assert len(discover(root, Ignore(root, (), ()), stopped=stopped).paths) == 3


def test_an_interruption_while_it_starts_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(name: str) -> object:
        raise KeyboardInterrupt

    monkeypatch.setattr(door, "import_module", interrupted)
    assert main(["index", "."]) == 130
    assert capsys.readouterr().err == "glm-lsp index: interrupted before it was done.\n"


def test_interrupting_leaves_what_was_done_and_no_process(tmp_path: Path) -> None:
    files = {f"p{n // 50}/m{n}.py": MODULE.format(name=f"f{n}") * 40 for n in range(3000)}
    root = grow(tmp_path / "repo", files)
    command = [sys.executable, "-m", "glm_lsp", "index", os.fspath(root)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    time.sleep(1.5)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode in (130, 0)
    assert child.returncode == 0 or told == "glm-lsp index: interrupted before it was done.\n"
    assert not outliners(root)
    found = json.loads(index(root, "--format", "json").stdout)
    assert (found["files"], found["symbols"], found["skipped"]) == (3000, 120_000, [])


def outliners(root: Path) -> Sequence[str]:
    """Indexing processes whose parent is gone."""
    found: list[str] = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text, command = status.read_text(), (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if b"workspace.outliner" in command and "\nPPid:\t1\n" in text:
            found.append(command.decode())
    return found


def test_attributes_that_change_bring_files_back(tmp_path: Path) -> None:
    """A file that was left out for what it says of itself, and one for the attributes."""
    root = grow(
        tmp_path / "repo",
        {
            "a.py": "# Code generated by a tool. DO NOT EDIT.\ndef made(): pass\n",
            "b.py": "def kept(): pass\n",
            ".gitattributes": "b.py linguist-generated\n",
        },
    )
    git(root, "init")
    git(root, "add", ".")
    assert set(check(root)["left"]) == {"a.py", "b.py"}
    assert set(check(root)["left"]) == {"a.py", "b.py"}
    (root / ".gitattributes").write_text("a.py -linguist-generated\n")
    assert set(check(root)["left"]) == set()
    git(root, "rm", "-fq", ".gitattributes")
    assert set(check(root)["left"]) == {"a.py"}


@pytest.mark.skipif(sys.platform != "linux", reason="small file systems are mounted on Linux only")
def test_a_full_disk_costs_only_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", os.fspath(small)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("a file system can be mounted by the superuser only")
    try:
        monkeypatch.setenv("GLM_LSP_CACHE", os.fspath(small / "cache"))
        names = range(400)
        root = grow(tmp_path / "repo", {f"m{n}.py": MODULE.format(name=f"f{n}") * 9 for n in names})
        for _ in range(2):
            done = index(root, "--format", "json")
            assert done.returncode == 0
            assert "no space left on device" in done.stderr
            assert json.loads(done.stdout)["symbols"] == 3600
    finally:
        subprocess.run(["umount", os.fspath(small)], check=True)
