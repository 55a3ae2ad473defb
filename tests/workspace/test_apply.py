"""Changes arrive whole or not at all, whatever stops them."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
from pathlib import Path

import pytest

from glm_lsp.core.errors import ConfigError, ConflictError, PolicyError
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from glm_lsp.workspace.apply import ApplyReport, apply, unified_diff
from glm_lsp.workspace.journal import pending, recover
from glm_lsp.workspace.places import Place
from tests.workspace.three_files import AFTER, BEFORE, change, contents, nothing_left, three


def test_all_changes_arrive(root: Path, state: Path) -> None:
    report = apply(root, three(), state=state)
    assert report == ApplyReport(("pkg/a.py", "pkg/b.py", "pkg/c.py"))
    assert contents(root) == AFTER
    nothing_left(root, state)


def test_without_a_place_for_the_journal_nothing_is_touched(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"no file was touched; set GLM_LSP_STATE"):
        apply(root, three(), state=tmp_path / "file" / "state")
    assert contents(root) == BEFORE


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o755, 0o664])
def test_the_mode_stays(root: Path, state: Path, mode: int) -> None:
    (root / "pkg/a.py").chmod(mode)
    apply(root, three()[:1], state=state)
    assert stat.S_IMODE((root / "pkg/a.py").stat().st_mode) == mode


@pytest.mark.parametrize(
    "raw",
    [b"\xef\xbb\xbfa = 1\n", b"a = 1\r\nb\r\n", b"a = 1", b"a = 1\r\nmixed\n", "é = 1 🎈".encode()],
    ids=["byte order mark", "CRLF", "no final newline", "mixed", "astral"],
)
def test_every_other_byte_stays(root: Path, state: Path, raw: bytes) -> None:
    (root / "pkg/a.py").write_bytes(raw)
    apply(root, [change("pkg/a.py", raw.removeprefix(b"\xef\xbb\xbf"), b"1", "2")], state=state)
    assert (root / "pkg/a.py").read_bytes() == raw.replace(b"1", b"2", 1)


def test_a_link_inside_the_root_is_written_through(root: Path, state: Path) -> None:
    (root / "link.py").symlink_to("pkg/a.py")
    (root / "dir").symlink_to("pkg")
    apply(root, [change("link.py", b"a = 1\n", b"1", "2")], state=state)
    apply(root, [change("dir/b.py", b"b = 1\n", b"1", "2")], state=state)
    assert (root / "link.py").is_symlink() and (root / "dir").is_symlink()
    assert contents(root) == ["a = 2\n", "b = 2\n", "c = 1\n"]


def test_two_names_of_one_file_are_a_conflict(root: Path, state: Path) -> None:
    (root / "link.py").symlink_to("pkg/a.py")
    with pytest.raises(ConflictError, match="same file"):
        apply(root, [*three(), change("link.py", b"a = 1\n", b"1", "3")], state=state)
    assert contents(root) == BEFORE


def test_a_link_out_of_the_root_is_refused(root: Path, state: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.py").write_bytes(b"a = 1\n")
    (root / "file.py").symlink_to("../outside.py")
    (root / "dir").symlink_to("..")
    (root / "absolute.py").symlink_to(tmp_path / "outside.py")
    (root / "loop.py").symlink_to("loop.py")
    for path in ("file.py", "dir/outside.py", "absolute.py", "loop.py"):
        with pytest.raises(PolicyError, match="link"):
            apply(root, [*three(), change(path, b"a = 1\n", b"1", "2")], state=state)
    assert (tmp_path / "outside.py").read_bytes() == b"a = 1\n"
    assert contents(root) == BEFORE


def test_a_link_to_a_protected_place_is_refused(root: Path, state: Path) -> None:
    (root / ".git/hooks").mkdir(parents=True)
    (root / ".git/hooks/pre-commit").write_bytes(b"a = 1\n")
    (root / "innocent.py").symlink_to(".git/hooks/pre-commit")
    with pytest.raises(PolicyError, match="is not edited"):
        apply(root, [change("innocent.py", b"a = 1\n", b"1", "2")], state=state)


@pytest.mark.parametrize(
    "path", ["../x.py", "/etc/hosts", ".git/config", ".github/w.yml", "a\x00.py", ".env"]
)
def test_paths_that_policy_forbids_are_refused(root: Path, state: Path, path: str) -> None:
    with pytest.raises(PolicyError):
        apply(root, [*three(), change(path, b"a = 1\n", b"1", "2")], state=state)
    assert contents(root) == BEFORE


def test_a_directory_swapped_for_a_link_is_not_entered(root: Path, state: Path, tmp_path: Path) -> None:
    """Between check and use, `pkg` becomes a link to a place outside: what was opened is what is written."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.py").write_bytes(b"a = 1\n")

    def swap(step: str) -> None:
        if step == "prepared":
            (root / "pkg").rename(root / "moved")
            (root / "pkg").symlink_to(outside)

    apply(root, three()[:1], state=state, step=swap)
    assert (outside / "a.py").read_bytes() == b"a = 1\n"
    assert (root / "moved/a.py").read_bytes() == b"a = 2\n"


def test_the_other_name_of_a_hard_link_keeps_its_content_and_is_reported(root: Path, state: Path) -> None:
    os.link(root / "pkg/a.py", root / "other.py")
    report = apply(root, three(), state=state)
    assert "other hard links" in report.notes[0]
    assert (root / "other.py").read_text() == "a = 1\n"


@pytest.mark.parametrize("step", ["kept 0", "prepared", "written 2"])
@pytest.mark.parametrize("how", ["rewritten", "gone", "pipe"])
def test_a_file_that_changed_under_us_is_a_conflict(root: Path, state: Path, step: str, how: str) -> None:
    victim = root / "pkg/b.py"

    def meddle(now: str) -> None:
        if now != step:
            return
        if how == "rewritten":
            victim.write_text("b = 9\n")
            return
        victim.unlink()
        if how == "pipe":
            os.mkfifo(victim)

    with pytest.raises(ConflictError, match="changed"):
        apply(root, three(), state=state, step=meddle)
    assert contents_of(root, "a", "c") == ["a = 1\n", "c = 1\n"]
    nothing_left(root, state)


def contents_of(root: Path, *names: str) -> list[str]:
    return [(root / "pkg" / f"{n}.py").read_text() for n in names]


def test_what_somebody_wrote_after_us_is_kept_while_the_rest_goes_back(root: Path, state: Path) -> None:
    def meddle(step: str) -> None:
        if step == "replaced 1":
            (root / "pkg/a.py").write_text("mine\n")

    with pytest.raises(ConflictError):
        apply(root, three(), state=state, step=meddle)
    assert contents(root) == ["mine\n", "b = 1\n", "c = 1\n"]
    nothing_left(root, state)


def test_content_other_than_the_changes_is_a_conflict(root: Path, state: Path) -> None:
    (root / "pkg/c.py").write_text("c = 5\n")
    with pytest.raises(ConflictError, match=r"c\.py changed since it was read"):
        apply(root, three(), state=state)
    (root / "pkg/c.py").unlink()
    with pytest.raises(ConflictError):
        apply(root, three(), state=state)
    assert contents_of(root, "a", "b") == ["a = 1\n", "b = 1\n"]


def test_a_second_writer_is_told_to_wait(root: Path, state: Path) -> None:
    def second(step: str) -> None:
        if step == "prepared":
            with pytest.raises(ConflictError, match="Another glm-lsp"):
                apply(root, three("3"), state=state)

    apply(root, three(), state=state, step=second)
    assert contents(root) == AFTER


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
@pytest.mark.parametrize("call", ["write_beside", "take"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_disk_that_refuses_changes_nothing(
    root: Path, state: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str, at: int
) -> None:
    real = getattr(Place, call)
    calls = 0

    def failing(self: Place, *args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise OSError(number, os.strerror(number))
        real(self, *args)

    monkeypatch.setattr(Place, call, failing)
    report = apply(root, three(), state=state)
    assert report.rolled_back and not report.written
    assert "every file is as it was" in report.reason
    assert contents(root) == BEFORE
    nothing_left(root, state)


def test_a_disk_that_stays_broken_keeps_the_old_contents_for_later(
    root: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = Place.take, 0

    def failing(self: Place, name: str) -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError(errno.EROFS, "Read-only file system")
        real(self, name)

    monkeypatch.setattr(Place, "take", failing)
    with pytest.raises(ConflictError, match="could not be put back"):
        apply(root, three(), state=state)
    assert pending(root, state=state)
    monkeypatch.undo()
    assert recover(root, state=state) == ("pkg/a.py",)
    assert contents(root) == BEFORE
    nothing_left(root, state)


def test_a_full_disk_changes_nothing(tmp_path: Path, state: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    try:
        small, large = b"small = 1\n", b"x = 1\n" * 4000
        (mount / "a.py").write_bytes(small)
        (mount / "b.py").write_bytes(large)
        wanted = [change("a.py", small, b"1", "2"), change("b.py", large, b"1", "y" * 30_000)]
        report = apply(mount, wanted, state=state)
        assert report.rolled_back and "No space left" in report.reason
        assert [(mount / n).read_bytes() for n in ("a.py", "b.py")] == [small, large]
        assert sorted(p.name for p in mount.iterdir()) == ["a.py", "b.py"]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


NO_NEWLINE = "\\ No newline at end of file\n"
DIFFS = [
    (b"a\nb\n", b"b", "c", "@@ -1,2 +1,2 @@\n a\n-b\n+c\n"),
    (
        b"a\nb",
        b"b",
        "c",
        "@@ -1,2 +1,2 @@\n a\n-b\n\\ No newline at end of file\n+c\n\\ No newline at end of file\n",
    ),
    (b"a\r\nb\r\n", b"b", "c", "@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\r\n"),
    (b"a\n", b"a\n", "", "@@ -1 +0,0 @@\n-a\n"),
]


@pytest.mark.parametrize(("base", "old", "new", "shown"), DIFFS)
def test_the_diff_is_one_that_git_applies(root: Path, base: bytes, old: bytes, new: str, shown: str) -> None:
    (root / "my file.py").write_bytes(base)
    wanted = [change("my file.py", base, old, new)]
    diff = unified_diff(root, wanted)
    assert diff == f"--- a/my file.py\t\n+++ b/my file.py\t\n{shown}"
    document = Document("my file.py", base, digest(base), "python")
    assert unified_diff({"my file.py": document}, wanted) == diff
    subprocess.run(["git", "apply", "-"], cwd=root, input=diff.encode(), check=True)
    assert (root / "my file.py").read_bytes() == base.replace(old, new.encode(), 1)
