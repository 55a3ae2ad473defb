"""Which files of a directory the index looks at."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.workspace import git as ask
from glm_lsp.workspace.discovery import Listing, Skipped, discover, walk
from glm_lsp.workspace.ignore import Ignore
from tests.workspace.trees import git, grow

FILES = {
    ".gitignore": "*.log\n/build/\nsecret-*.txt\n!keep.log\n# a comment\n",
    "a.py": "",
    "a.log": "",
    "keep.log": "",
    "build/out.py": "",
    "sub/build/in.py": "",
    "sub/.gitignore": "!a.log\nlocal/\n",
    "sub/a.log": "",
    "sub/b.log": "",
    "sub/local/x.py": "",
    "node_modules/m.js": "",
    "logo.png": b"\x89PNG",
    ".env": "KEY=1",
    "deep/secret-1.txt": "",
}
PATHS = (".gitignore", "a.py", "keep.log", "sub/.gitignore", "sub/a.log", "sub/build/in.py")


def listing(root: Path, *excludes: str) -> Listing:
    return discover(root, Ignore(root, excludes))


@pytest.mark.parametrize("versioned", [False, True], ids=["directory", "work tree"])
def test_ignore_rules(tmp_path: Path, versioned: bool) -> None:
    grow(tmp_path, FILES)
    if versioned:
        git(tmp_path, "init", "-q")
        grow(tmp_path, {".git/info/exclude": "node_modules\n"})
    found = listing(tmp_path)
    assert found.by_git is versioned
    assert found.paths == PATHS
    assert {s.path for s in found.skipped} == {".env", "logo.png"}


def test_a_tracked_file_is_never_ignored(tmp_path: Path) -> None:
    grow(tmp_path, {".gitignore": "*.gen.py\n", "x.gen.py": "", "y.gen.py": ""})
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-f", "x.gen.py")
    assert listing(tmp_path).paths == (".gitignore", "x.gen.py")


def test_a_directory_that_its_work_tree_ignores_is_walked(tmp_path: Path) -> None:
    grow(tmp_path, {".gitignore": "/lib/\n", "lib/a.py": ""})
    git(tmp_path, "init", "-q")
    found = listing(tmp_path / "lib")
    assert found.paths == ("a.py",)
    assert not found.by_git


def test_excludes_of_the_user(tmp_path: Path) -> None:
    grow(tmp_path, {"a.py": "", "gen/b.py": "", "c.txt": ""})
    found = listing(tmp_path, "gen/", "*.txt")
    assert found.paths == ("a.py",)


def test_links_pipes_and_strange_names_are_left_out_with_a_reason(tmp_path: Path) -> None:
    grow(tmp_path, {"a.py": "", "d/b.py": ""})
    (tmp_path / "link.py").symlink_to("a.py")
    (tmp_path / "loop").symlink_to(".")
    (tmp_path / "out").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_bytes(b"")
    (tmp_path / "new\nline.py").write_bytes(b"")
    found = listing(tmp_path)
    assert found.paths == ("a.py", "d/b.py")
    assert {s.path: s.reason for s in found.skipped} == {
        "link.py": "is a link",
        "loop": "is a link",
        "out": "is a link",
        "pipe": "is a pipe",
        "caf\\xe9.py": "has a name that is not UTF-8",
        "new\nline.py": "is left out: its name holds a control character",
    }


@pytest.mark.usefixtures("permissions")
def test_an_unreadable_directory_is_left_out(tmp_path: Path) -> None:
    grow(tmp_path, {"a.py": "", "closed/b.py": ""})
    (tmp_path / "closed").chmod(0)
    try:
        found = listing(tmp_path)
    finally:
        (tmp_path / "closed").chmod(0o700)
    assert found.paths == ("a.py",)
    assert [s.path for s in found.skipped] == ["closed"]


def test_an_empty_directory(tmp_path: Path) -> None:
    assert listing(tmp_path) == Listing((), (), by_git=False)


def test_the_repositorys_own_configuration_runs_nothing(tmp_path: Path) -> None:
    """A file system monitor, hooks and filters are commands that a repository's configuration can name."""
    mark = tmp_path / "ran"
    script = tmp_path / "evil"
    script.write_text(f"#!/bin/sh\ntouch {mark}\ncat\n")
    script.chmod(0o700)
    root = grow(tmp_path / "root", {"a.txt": "one\n", ".gitattributes": "*.txt filter=evil\n"})
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    for key in ("core.fsmonitor", "filter.evil.clean", "filter.evil.process", "core.pager", "diff.external"):
        git(root, "config", key, str(script))
    hook = root / ".git" / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
    hook.chmod(0o700)
    os.utime(root / "a.txt", (1, 1))
    assert listing(root).paths == (".gitattributes", "a.txt")
    assert ask.is_dirty(root) == ()
    assert not mark.exists()


def test_what_differs_from_the_last_commit(tmp_path: Path) -> None:
    root = grow(tmp_path, {"a.py": "1\n", "sub/b.py": "2\n", "sub/c.py": "3\n", "é.py": "4\n"})
    assert ask.is_dirty(root) == ()
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-qm", "x")
    assert ask.is_dirty(root) == ()
    grow(root, {"a.py": "changed\n", "sub/new.py": "", "é.py": "changed\n"})
    git(root, "mv", "sub/b.py", "sub/moved.py")
    assert ask.is_dirty(root) == ("a.py", "sub/moved.py", "sub/new.py", "é.py")
    assert ask.is_dirty(root, ["a.py"]) == ("a.py",)
    assert ask.is_dirty(root, ["*.py"]) == ()
    assert ask.is_dirty(root / "sub") == ("moved.py", "new.py")
    assert ask.is_dirty(root / "sub", ["new.py"]) == ("new.py",)


PATTERNS = ["*" + "a*" * 40 + "b", "a" * 10_000, "[" * 50, "**/" * 60 + "x", "\\", "!", "/", "[z-a]", "a[!"]


@pytest.mark.parametrize("pattern", PATTERNS, ids=range(len(PATTERNS)))
def test_a_hostile_pattern_ends(tmp_path: Path, pattern: str) -> None:
    grow(tmp_path, {".gitignore": f"{pattern}\n*.log\n", "a" * 200 + ".py": "", "x.log": ""})
    assert "x.log" not in listing(tmp_path).paths


@given(st.lists(st.text(st.sampled_from("ab*?/!.[]#\\ "), max_size=8), max_size=5))
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
def test_any_patterns_leave_a_verdict(tmp_path: Path, patterns: list[str]) -> None:
    grow(tmp_path, {".gitignore": "\n".join(patterns)})
    ignore = Ignore(tmp_path)
    for path in ("a", "a/b", "a.b/ab", "b"):
        assert isinstance(ignore.ignored(path), bool)


def test_what_was_let_through_before_is_not_asked_about_until_attributes_are_new(tmp_path: Path) -> None:
    """A file of attributes speaks of those that come before it in the order of names, too."""
    files = {f"{at}{name}.py": "" for at in ("", "d/", "d/e/") for name in ("!a", "z")}
    grow(tmp_path, files)
    known = listing(tmp_path).paths
    asked: list[str] = []

    class Asked(Ignore):
        def excluded(self, path: str) -> bool:
            asked.append(path)
            return super().excluded(path)

    assert discover(tmp_path, Asked(tmp_path), lambda: known).paths == known
    assert not [path for path in asked if path.endswith(".py")]
    grow(tmp_path, {"d/.gitattributes": "*.py linguist-generated\n", "new.py": ""})
    found = discover(tmp_path, Asked(tmp_path), lambda: known)
    assert found.paths == ("!a.py", "d/.gitattributes", "new.py", "z.py")
    assert {s.path for s in found.skipped} == {p for p in files if p.startswith("d/")}


def test_a_walk_tells_what_stat_said_of_each_file(tmp_path: Path) -> None:
    grow(tmp_path, {"a.py": "x = 1\n", "d/b.py": ""})
    found = listing(tmp_path)
    for path in found.paths:
        seen = (tmp_path / path).stat()
        assert found.stats[path][:4] == (seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns, seen.st_ino)
        assert found.stats[path].checked_ns >= seen.st_mtime_ns - 10**9


def opened() -> int:
    """Descriptors that are open, where the system tells."""
    return len(list(Path("/proc/self/fd").glob("*")))


def test_a_walk_goes_deeper_than_directories_stay_open_and_leaves_none_open(tmp_path: Path) -> None:
    deep = "/".join(f"d{n}" for n in range(150))
    files = {f"{deep}/x.py": "", f"{deep}/e/y.py": "", "d0/z.py": "", f"{deep[:200]}/../w.py": ""}
    grow(tmp_path, files)
    before = opened()
    found = listing(tmp_path).paths
    assert set(found) == {os.path.normpath(path) for path in files}
    assert opened() == before


def test_a_directory_that_is_swapped_for_a_link_is_not_entered(tmp_path: Path) -> None:
    root = grow(tmp_path / "root", {"a/b/in.py": "", "c.py": ""})
    outside = grow(tmp_path / "outside", {"b/secret.py": ""})
    skipped: list[Skipped] = []
    names = walk(root, Ignore(root), skipped)
    first = next(names)
    (root / "a").rename(tmp_path / "gone")
    (root / "a").symlink_to(outside)
    assert [first, *names] == [b"c.py"]
    assert [s.path for s in skipped] == ["a"]
