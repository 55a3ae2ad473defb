"""The examples of `editors/ci`, run as they stand there, with an engine that answers what it is told to."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.scripted import ENGINE, SAID, Scripted, nobodys

HERE = Path(__file__).parents[2]


def test_the_pre_commit_example_runs_as_its_entry_says(refactor: Scripted, tree: Path) -> None:
    text = (HERE / "editors/ci/pre-commit-config.yaml").read_text()
    entry = re.search(r"entry: glm-lsp (.*)", text)
    assert entry is not None
    verb, *arguments = entry[1].split()
    assert verb == "refactor"
    ran = refactor(*arguments, "pkg/one.py", "pkg/two.py")
    assert (ran.code, ran.out) == (1, "would change pkg/one.py\nwould change pkg/two.py\n")
    assert refactor("--recipe", "docstrings", "--write").code == 0
    assert refactor(*arguments, "pkg/one.py", "pkg/two.py").code == 0


def shell_of(name: str) -> str:
    """The script of a CI example, from the line that sets `code=0`, up to its `case`."""
    text = (HERE / "editors/ci" / name).read_text()
    lines = text.split("\n")
    first = next(i for i, line in enumerate(lines) if "mapfile" in line or line.strip() == "code=0")
    last = next(i for i, line in enumerate(lines) if line.strip().startswith("case "))
    return "\n".join(line.strip() for line in lines[first : last + 1])


@pytest.mark.parametrize(
    ("name", "variables", "result"),
    [
        ("github-actions.yml", {"TASK": "add missing docstrings", "PATHS": "pkg\n"}, "proposal.patch"),
        ("gitlab-ci.yml", {"GLM_TASK": "add missing docstrings", "GLM_PATHS": "pkg"}, "proposal.jsonl"),
    ],
)
def test_the_ci_examples_run_for_real(
    tree: Path, tmp_path: Path, name: str, variables: dict[str, str], result: str
) -> None:
    """Their own shell, with `glm-lsp` on the path; a hostile input stays an argument."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "engine.py").write_text(ENGINE)
    (programs / "glm-lsp").write_text(f'#!/bin/sh\nexec "{sys.executable}" "{programs}/engine.py" "$@"\n')
    (programs / "glm-lsp").chmod(0o755)
    env = {
        **nobodys(tmp_path),
        "PATH": f"{programs}:{os.environ['PATH']}",
        "SAID": json.dumps({"Document": SAID}),
        "RUNNER_TEMP": str(tmp_path),
        **variables,
    }
    done = subprocess.run(
        ["bash", "-eu", "-c", shell_of(name)], cwd=tree, env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "pkg/one.py" in (tree / result).read_text()
    (tree / result).unlink()
    task = "TASK" if "TASK" in variables else "GLM_TASK"
    hostile = {**env, task: '$(touch pwned); "; touch pwned #'}
    done = subprocess.run(
        ["bash", "-eu", "-c", shell_of(name)], cwd=tree, env=hostile, capture_output=True, check=False
    )
    assert done.returncode == 9, done.stderr
    assert not (tree / "pwned").exists()


def test_the_examples_ask_for_reading_only() -> None:
    text = (HERE / "editors/ci/github-actions.yml").read_text()
    assert "permissions:\n  contents: read\n" in text and "write" not in text.split("permissions:")[1]
    script = text.split("run: |")[1].split("- uses")[0]
    assert "${{" not in script
