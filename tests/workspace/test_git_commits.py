"""The commits of a repository, told by git without running anything that the repository names."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.workspace import git

HOSTILE = {
    "log.showSignature": "true",
    "gpg.program": "{touch}",
    "core.sshCommand": "{touch}",
    "core.pager": "{touch}",
    "diff.external": "{touch}",
    "diff.orderFile": "/dev/zero",
    "diff.evil.command": "{touch}",
    "diff.evil.textconv": "{touch}",
    "remote.origin.url": "ext::{touch}",
    "remote.origin.uploadpack": "{touch}",
    "remote.origin.promisor": "true",
    "extensions.partialClone": "origin",
    "protocol.ext.allow": "always",
    "core.repositoryFormatVersion": "1",
}


def run(root: Path, *arguments: str) -> None:
    who = {f"GIT_{role}_{part}": "x@y" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    command = ["git", "-c", "commit.gpgSign=false", "-C", str(root), *arguments]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **who})


def commit(root: Path, *paths: str) -> None:
    for path in paths:
        at = root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        at.write_text((at.read_text() if at.exists() else "") + "x\n")
    run(root, "add", "-A")
    run(root, "commit", "-qm", "\x01 change\nof = files")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    run(tmp_path, "init", "-q")
    commit(tmp_path, "a.py", "sub/b.py")
    commit(tmp_path, "a.py", "sub/ö \n.py")
    commit(tmp_path, "sub/b.py")
    return tmp_path


def test_the_latest_commit_is_first(root: Path) -> None:
    found = [{"sub/b.py"}, {"a.py", "sub/ö \n.py"}, {"a.py", "sub/b.py"}]
    assert [set(c) for c in git.commits(root)] == found
    assert [set(c) for c in git.commits(root, 1)] == found[:1]


def test_paths_are_relative_to_the_root_that_is_asked_for(root: Path) -> None:
    assert [set(c) for c in git.commits(root / "sub")] == [{"b.py"}, {"ö \n.py"}, {"b.py"}]


def test_where_git_knows_nothing_there_are_none(tmp_path: Path) -> None:
    assert git.commits(tmp_path) == ()
    run(tmp_path, "init", "-q")
    assert git.commits(tmp_path) == ()


def test_a_long_history_is_cut(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "MOST_LOG_BYTES", 20)
    assert [set(c) for c in git.commits(root)] == [{"sub/b.py"}]


def test_nothing_that_the_repository_names_is_run(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mark = tmp_path_factory.mktemp("mark") / "touched"
    script = mark.with_name("touch.sh")
    script.write_text(f"#!/bin/sh\ntouch {mark}\n")
    script.chmod(0o755)
    (root / ".gitattributes").write_text("* diff=evil\n")
    for key, value in HOSTILE.items():
        run(root, "config", key, value.format(touch=script))
    git.commits(root)
    for at in sorted((root / ".git/objects").glob("??/*"))[:6]:
        at.unlink()  # as in a partial clone: git would fetch them
    git.commits(root)
    assert not mark.exists()


@pytest.mark.parametrize("failing", [KeyboardInterrupt, RuntimeError])
def test_whatever_happens_meanwhile_git_is_not_left_running(
    root: Path, monkeypatch: pytest.MonkeyPatch, failing: type[BaseException]
) -> None:
    """Who was interrupted, or could not have a thread, left a process behind that nobody waited for."""
    begun: list[Any] = []
    real: Any = subprocess.Popen

    def started(*arguments: Any, **more: Any) -> Any:
        begun.append(real(*arguments, **more))
        return begun[-1]

    def fails(*_: object) -> None:
        raise failing("now")

    monkeypatch.setattr(subprocess, "Popen", started)
    monkeypatch.setattr(git.threading.Timer, "start", fails)
    with contextlib.suppress(KeyboardInterrupt):
        assert git.commits(root) == ()
    assert [one.returncode is None for one in begun] == [False]


def test_one_that_takes_too_long_is_ended(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git, "TIMEOUT_S", 0.0)
    assert git.run(root, "cat-file", "--batch") is None
