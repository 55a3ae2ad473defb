"""`glm-lsp refactor`: what it prints, what it writes, and the code that it ends with."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import EngineDied, EngineUnavailable
from tests.cli.conftest import Cli, check_refused
from tests.cli.scripted import (
    DOCUMENTED,
    ENGINE,
    ONE,
    SAID,
    TWO,
    Scripted,
    edit,
    events,
    finished,
    hold,
    nobodys,
    started,
    texts,
    wait_for_first,
)


def test_a_diff_is_the_default_and_pending_changes_are_code_1(refactor: Scripted, tree: Path) -> None:
    ran = refactor("add missing docstrings")
    assert ran.code == 1
    assert ran.out.startswith(
        '--- a/pkg/one.py\n+++ b/pkg/one.py\n@@ -1,2 +1,3 @@\n def one():\n+    """Return'
    )
    assert ran.err == "glm-lsp: 2 files would change.\n"
    assert texts(tree) == (ONE, TWO)
    subprocess.run(["git", "apply", "-"], cwd=tree, input=ran.out.encode(), check=True)
    assert texts(tree) == (DOCUMENTED.format("one", 1), DOCUMENTED.format("two", 2))


def test_check_names_the_files_and_writes_nothing(refactor: Scripted, tree: Path) -> None:
    ran = refactor("--recipe", "docstrings", "--check", "pkg/one.py")
    assert (ran.code, ran.out) == (1, "would change pkg/one.py\n")
    assert texts(tree) == (ONE, TWO)


def test_write_applies_and_a_second_run_has_nothing_to_do(refactor: Scripted, tree: Path) -> None:
    ran = refactor("--recipe", "docstrings", "--write")
    assert (ran.code, ran.out) == (0, "changed pkg/one.py\nchanged pkg/two.py\n")
    assert texts(tree) == (DOCUMENTED.format("one", 1), DOCUMENTED.format("two", 2))
    again = refactor("--recipe", "docstrings", "--write")
    assert (again.code, again.out) == (0, "")
    assert refactor("--recipe", "docstrings", "--check").code == 0


def test_a_worker_that_dies_in_the_middle_is_told_once(refactor: Scripted, tree: Path) -> None:
    ran = refactor("--recipe", "docstrings", "pkg/one.py", fail=EngineDied("The worker\x1b[31m was ended."))
    assert ran.code == 7
    assert "\x1b" not in ran.err
    assert ran.err.count("was ended.") == 1 and "asked once more" not in ran.err


def test_tasks_come_from_arguments_files_and_stdin(refactor: Scripted, tree: Path) -> None:
    answer = {"Task: make it three": edit("pkg/one.py", ONE, 2, "    return 3")}
    (tree.parent / "task.txt").write_text("make it three\n")
    for arguments, stdin in (
        (("make it three", "pkg/one.py"), ""),
        (("--task-file", tree.parent / "task.txt", "pkg/one.py"), ""),
        (("-", "pkg/one.py"), "make it three"),
    ):
        ran = refactor(*arguments, said=answer, stdin=stdin)
        assert ran.code == 1, ran
        assert "+    return 3\n" in ran.out


def test_stdin_is_left_alone_without_a_dash(tree: Path, refactor: Scripted) -> None:
    """A child that would read stdin would hang here: nobody ever writes to it or closes it."""
    env = {**nobodys(tree.parent), "SAID": json.dumps({"": SAID})}
    reader, writer = os.pipe()
    try:
        done = subprocess.run(
            [sys.executable, "-c", ENGINE, "refactor", "--recipe", "docstrings", "--check"],
            cwd=tree, env=env, stdin=reader, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(reader)
        os.close(writer)
    assert done.returncode == 1


def test_jsonl_tells_every_event_on_stdout(refactor: Scripted) -> None:
    ran = refactor(
        "--recipe", "docstrings", "--format", "jsonl", said={"Document one": SAID, "Document two": "?"}
    )
    assert ran.code == 3 and ran.err == ""
    found = events(ran)
    assert [(e["event"], e.get("state", "")) for e in found] == [
        ("unit", "changed"),
        ("unit", "refused"),
        ("refusal", ""),
        ("change", ""),
        ("summary", ""),
    ]
    assert found[3]["path"] == "pkg/one.py" and found[3]["diff"].startswith("--- a/pkg/one.py")
    assert found[4] | {"seconds": 0} == {
        "event": "summary",
        "task": "docstrings",
        "mode": "diff",
        "changed": ["pkg/one.py"],
        "written": [],
        "refused": 1,
        "units": 2,
        "units_from_checkpoint": 0,
        "files_landed_before": [],
        "checkpoint": "",
        "rolled_back": False,
        "seconds": 0,
        "exit": 3,
    }


def test_an_error_is_an_event_too(refactor: Scripted) -> None:
    ran = refactor("  ", "--format", "jsonl")
    assert ran.code == 2
    assert events(ran) == [
        {"event": "error", "message": "The task is empty; say in a sentence what should change.", "exit": 2}
    ]


def test_failed_units_are_code_3_and_the_rest_lands(refactor: Scripted, tree: Path) -> None:
    ran = refactor("--recipe", "docstrings", "--write", said={"Document one": SAID, "Document two": "?"})
    assert ran.code == 3
    assert "pkg/two.py: two: What the model wrote is not one sentence" in ran.err
    assert texts(tree) == (DOCUMENTED.format("one", 1), TWO)


def test_answers_that_cannot_be_taken_are_code_9(refactor: Scripted, tree: Path) -> None:
    ran = refactor("make it three", "pkg", "--write", said={"": "I would rather talk."})
    assert ran.code == 9
    assert ran.err.count("does not end with") == 2
    assert texts(tree) == (ONE, TWO)
    assert refactor("make it three", "pkg", "--write", said={"": "=== end"}).code == 9


@pytest.mark.parametrize("mode", ["--check", "--diff", "--write"])
def test_an_engine_that_is_away_is_code_7(refactor: Scripted, tree: Path, mode: str) -> None:
    ran = refactor("--recipe", "docstrings", mode, fail=EngineUnavailable("The engine is away; start it."))
    assert ran.code == 7 and ran.out == ""
    assert "The engine is away; start it." in ran.err
    assert texts(tree) == (ONE, TWO)


def test_without_anything_to_do_no_engine_is_needed(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/one.py").write_text(DOCUMENTED.format("one", 1))
    ran = refactor(
        "--recipe",
        "docstrings",
        "--check",
        "pkg/one.py",
        fail=EngineUnavailable("The engine is away; start it."),
    )
    assert ran.code == 0


@pytest.mark.parametrize(
    "path", ["../outside.py", "/etc/passwd", ".git/config", ".github/x.yml", ".env", "ignored.py"]
)
def test_paths_that_policy_forbids_are_code_8_and_the_rest_goes_on(
    refactor: Scripted, tree: Path, path: str
) -> None:
    (tree / ".gitignore").write_text("ignored.py\n")
    (tree / "ignored.py").write_text(ONE)
    (tree / ".env").write_text("KEY=1\n")
    ran = refactor("--recipe", "docstrings", "--check", "pkg/one.py", path)
    assert ran.code == 8
    assert ran.out == "would change pkg/one.py\n"


def test_an_answer_that_reaches_out_is_code_8_and_the_rest_lands(refactor: Scripted, tree: Path) -> None:
    said = {
        "Edit pkg/one.py": "=== file ../x.py\n=== end",
        "Edit pkg/two.py": edit("pkg/two.py", TWO, 2, "    return 4"),
    }
    ran = refactor("double it", "pkg", "--write", said=said)
    assert ran.code == 8
    assert texts(tree) == (ONE, TWO.replace("2", "4"))


def test_new_ways_out_wait_for_review(refactor: Scripted, tree: Path) -> None:
    said = {"": edit("pkg/one.py", ONE, 1, "import socket\n\n\ndef one():")}
    shown = refactor("open a socket", "pkg/one.py", said=said)
    assert shown.code == 1 and "imports socket" in shown.err
    refused = refactor("open a socket", "pkg/one.py", "--write", said=said)
    assert refused.code == 8 and "--reviewed" in refused.err
    assert texts(tree) == (ONE, TWO)
    assert refactor("open a socket", "pkg/one.py", "--write", "--reviewed", said=said).code == 0
    assert texts(tree)[0].startswith("import socket\n")


def test_uncommitted_files_are_code_5_unless_allowed(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/two.py").write_text(TWO + "\n# work in progress\n")
    ran = refactor("--recipe", "docstrings", "--write")
    assert ran.code == 5 and "uncommitted" in ran.err
    assert texts(tree) == (DOCUMENTED.format("one", 1), TWO + "\n# work in progress\n")
    assert refactor("--recipe", "docstrings", "--write", "--allow-dirty").code == 0
    assert '"""Return a small number."""' in texts(tree)[1]


def test_a_file_that_changes_while_the_model_thinks_is_code_5(refactor: Scripted, tree: Path) -> None:
    holding = hold(tree)
    with started(tree, "--recipe", "docstrings", "--write", "--allow-dirty") as child:
        wait_for_first(child)
        (tree / "pkg/one.py").write_text("# mine\n" + ONE)
        holding.unlink()
        assert finished(child) == 5
    assert texts(tree) == ("# mine\n" + ONE, TWO)


def test_of_two_runs_that_write_the_slower_says_who_was_faster(refactor: Scripted, tree: Path) -> None:
    holding = hold(tree)
    with started(tree, "--recipe", "docstrings", "--write") as slower:
        wait_for_first(slower)
        assert refactor("--recipe", "docstrings", "--write").code == 0
        landed = texts(tree)
        holding.unlink()
        out, _ = slower.communicate()
    told = [json.loads(line) for line in out.splitlines()]
    (reason,) = [e["reason"] for e in told if e["event"] == "refusal"]
    assert slower.returncode == 5 and texts(tree) == landed
    assert "pkg/one.py changed since it was read, by another run or by hand" in reason


def test_an_interrupted_write_is_put_right_by_the_next_run(cli: Cli, refactor: Scripted, tree: Path) -> None:
    dies = (
        "import os\nfrom glm_lsp.workspace import places\nreal = places.Place.take\n"
        "def take(self, name):\n    real(self, name)\n    os.kill(os.getpid(), 9)\nplaces.Place.take = take\n"
    )
    env = {
        "SAID": json.dumps({"": SAID}),
        "GLM_LSP_STATE": str(tree.parent / "state"),
        "GLM_LSP_CACHE": str(tree.parent / "cache"),
    }
    assert (
        cli("refactor", "--recipe", "docstrings", "--write", cwd=tree, environ=env, code=dies + ENGINE).code
        == -9
    )
    assert texts(tree) == (DOCUMENTED.format("one", 1), TWO)
    assert [path.name for path in (tree / "pkg").iterdir() if path.suffix == ".tmp"]
    told = refactor("--recipe", "docstrings", "--check", "pkg/two.py")
    assert told.code == 1 and "pkg/one.py: put back; an earlier run was interrupted" in told.err
    assert texts(tree) == (ONE, TWO)
    assert sorted(path.name for path in (tree / "pkg").iterdir()) == ["one.py", "two.py"]
    ran = refactor("--recipe", "docstrings", "--write")
    assert (ran.code, ran.err) == (0, "glm-lsp: 2 files changed; 2 units from the checkpoint.\n")
    assert texts(tree) == (DOCUMENTED.format("one", 1), DOCUMENTED.format("two", 2))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Say what to do"),
        (("  ",), "task is empty"),
        (("--task-file", "gone.txt"), "cannot be read"),
        (("--recipe", "unknown"), "no recipe 'unknown'"),
        (("--check", "--write", "x"), "not allowed with"),
        (("--format", "xml", "x"), "invalid choice"),
    ],
)
def test_wrong_usage_is_code_2(refactor: Scripted, arguments: tuple[str, ...], words: str) -> None:
    check_refused(refactor(*arguments), 2, words)


def test_files_that_cannot_be_used_are_code_2(refactor: Scripted, tree: Path) -> None:
    (tree / "binary.py").write_bytes(b"\x00\x01")
    (tree / "latin.py").write_bytes(b"x = '\xe9'\n")
    (tree / "huge.py").write_bytes(b"# x\n" * 400_000)
    for path in ("gone.py", "binary.py", "latin.py", "huge.py"):
        ran = refactor("--recipe", "docstrings", "--check", path)
        assert ran.code == 2, (path, ran)
        assert path in ran.err and "Traceback" not in ran.err


def test_empty_files_and_odd_ones_are_fine(refactor: Scripted, tree: Path) -> None:
    (tree / "empty.py").write_text("")
    (tree / "crlf.py").write_bytes("def f():\r\n    return '🎈'\r\n".encode())
    (tree / "notes.txt").write_text("nothing\n")
    assert refactor("--recipe", "docstrings", "--check", "empty.py").code == 0
    assert refactor("--recipe", "docstrings", "--write", "--allow-dirty", "crlf.py").code == 0
    assert (tree / "crlf.py").read_bytes().count(b"\r\n") == 3


def test_files_that_cannot_be_worked_on_are_not_called_done(refactor: Scripted, tree: Path) -> None:
    (tree / "notes.txt").write_text("nothing\n")
    (tree / "broken.py").write_text("def f(:\n    return 1\n")
    for name, words in (("notes.txt", "Python files only"), ("broken.py", "syntax errors")):
        ran = refactor("--recipe", "docstrings", "--check", name)
        assert ran.code == 2
        assert name in ran.err and words in ran.err


def test_another_repository_is_not_reached_from_this_one(refactor: Scripted, tree: Path) -> None:
    other = tree.parent / "other"
    (other / ".git").mkdir(parents=True)
    (other / "one.py").write_text(ONE)
    ran = refactor("--recipe", "docstrings", "--check", "../other/one.py")
    assert ran.code == 8 and "outside" in ran.err


def test_a_task_file_of_a_dash_is_stdin(refactor: Scripted, tree: Path) -> None:
    ran = refactor("--task-file", "-", "--check", "pkg/one.py", stdin="add missing docstrings")
    assert ran.code == 1


def test_a_task_that_is_given_twice_is_told_as_what_it_is(refactor: Scripted, tree: Path) -> None:
    (tree.parent / "task.txt").write_text("add missing docstrings")
    for source, option in (("--task-file", "-"), ("--task-file", "../task.txt"), ("--recipe", "docstrings")):
        ran = refactor("rename one", source, option, stdin="add missing docstrings")
        assert ran.code == 2
        words = f"no such file or directory: the task is {source}'s, and all other words are paths."
        assert f"rename one: There is {words}" in ran.err


def test_outside_of_version_control_it_works_too(refactor: Scripted, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/one.py").write_text(ONE)
    refactor.root = tmp_path / "plain"
    ran = refactor("--recipe", "docstrings", "--write", "one.py")
    assert (ran.code, ran.out) == (0, "changed one.py\n")


def test_what_files_say_is_shown_and_never_obeyed(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/one.py").write_text("def one():\n    # \x1b[31m\x1b]0;title\x07 \u202e\n    return 1\n")
    ran = refactor("--recipe", "docstrings", "pkg/one.py", environ={"GITHUB_ACTIONS": "true"})
    assert ran.code == 1
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", ran.out + ran.err)
    (tree / "pkg/two.py").write_text("def two():\n    x = '''\n::error::obey\n'''\n    return x\n")
    ran = refactor("--recipe", "docstrings", "pkg/two.py", environ={"GITHUB_ACTIONS": "true"})
    assert not re.search("^.?::", ran.out, re.MULTILINE)


def test_help_lists_the_exit_codes(cli: Cli) -> None:
    ran = cli("refactor", "--help")
    assert ran.code == 0
    for code in Exit:
        assert re.search(rf"(?m)^  (130, )?{int(code)}(, 143)?  ", ran.out), code
