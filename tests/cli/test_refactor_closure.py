"""`glm-lsp refactor TASK` without paths: what the task touches, in the forms that CI uses."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.cli.conftest import check_refused
from tests.cli.scripted import Scripted, commit, edit, events

CONFIG = "class Config:\n    def load(self):\n        return 1\n"
USE = "from pkg.config import Config\n\n\ndef use(config: Config):\n    return config.load()\n"
APART = "import json\n\n\ndef apart(f):\n    return json.load(f)\n"
DOUBT = "def doubt(x):\n    return x.load()\n\n\nclass Other:\n    def load(self): ...\n"
README = "Call `Config.load`.\n"
TASK = "rename Config.load to read"
SAID = {
    "Edit pkg/config.py": edit("pkg/config.py", CONFIG, 2, "    def read(self):"),
    "Edit pkg/use.py": edit("pkg/use.py", USE, 5, "    return config.read()"),
    "Edit README.md": edit("README.md", README, 1, "Call `Config.read`."),
}
AFTER = {
    "pkg/config.py": CONFIG.replace("load", "read"),
    "pkg/use.py": USE.replace("load", "read"),
    "README.md": README.replace("load", "read"),
    "pkg/apart.py": APART,
    "pkg/doubt.py": DOUBT,
}


def laid(tree: Path) -> Path:
    for path, text in (
        ("pkg/config.py", CONFIG),
        ("pkg/use.py", USE),
        ("pkg/apart.py", APART),
        ("pkg/doubt.py", DOUBT),
        ("README.md", README),
    ):
        (tree / path).write_text(text)
    commit(tree)
    return tree


def texts(tree: Path) -> dict[str, str]:
    return {path: (tree / path).read_text() for path in AFTER}


def test_a_rename_is_pending_in_all_files_and_git_applies_it(refactor: Scripted, tree: Path) -> None:
    laid(tree)
    checked = refactor(TASK, "--check", said=SAID)
    assert checked.code == 1
    assert checked.out == "would change README.md\nwould change pkg/config.py\nwould change pkg/use.py\n" or (
        sorted(checked.out.splitlines())
        == ["would change README.md", "would change pkg/config.py", "would change pkg/use.py"]
    )
    shown = refactor(TASK, said=SAID)
    assert shown.code == 1
    subprocess.run(["git", "apply", "-"], cwd=tree, input=shown.out.encode(), check=True)
    assert texts(tree) == AFTER


def test_a_rename_is_written_and_what_is_in_doubt_is_told(refactor: Scripted, tree: Path) -> None:
    laid(tree)
    ran = refactor(TASK, "--write", said=SAID)
    assert ran.code == 0, ran
    assert texts(tree) == AFTER
    assert "places in 3 files speak of Config.load (pkg/config.py)." in ran.err
    assert "left out: pkg/doubt.py: in doubt, line 2:" in ran.err
    assert "json" not in ran.err


def test_events_tell_the_closure_first(refactor: Scripted, tree: Path) -> None:
    laid(tree)
    ran = refactor(TASK, "--check", "--format", "jsonl", said=SAID)
    first = events(ran)[0]
    assert (first["event"], ran.err) == ("closure", "")
    assert {(p["path"], p["line"]) for p in first["places"]} == {
        ("pkg/config.py", 2),
        ("pkg/use.py", 5),
        ("README.md", 1),
    }
    assert all(p["reason"] and p["certain"] for p in first["places"])
    assert [d["path"] for d in first["left_out"]] == ["pkg/doubt.py"]


def test_a_task_that_names_nothing_asks_for_paths(refactor: Scripted, tree: Path) -> None:
    check_refused(refactor("make it better", "--check"), 2, "give the PATHs", "Class.method")


def test_a_rename_that_the_limit_cuts_is_not_written_in_part(refactor: Scripted, tree: Path) -> None:
    laid(tree)
    cut = refactor(TASK, "--write", "--token-limit", "30", said=SAID)
    assert cut.code == 6, cut
    assert texts(tree) == {**AFTER, "pkg/config.py": CONFIG, "pkg/use.py": USE, "README.md": README}
    again = refactor(TASK, "--write", said=SAID)
    assert again.code == 0, again
    assert texts(tree) == AFTER


def test_a_mention_in_a_string_is_found_in_files_that_do_not_use_the_name(
    refactor: Scripted, tree: Path
) -> None:
    laid(tree)
    patched = 'def test_it(mocker):\n    mocker.patch("pkg.config.Config.load")\n'
    (tree / "pkg/test_use.py").write_text(patched)
    commit(tree)
    said = {**SAID, "Edit pkg/test_use.py": edit("pkg/test_use.py", patched, 2, '    mocker.patch("x")')}
    ran = refactor(TASK, "--check", said=said)
    assert "would change pkg/test_use.py\n" in ran.out, ran
