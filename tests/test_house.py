"""The laws of the house, made mechanical: layers, types, style, generated files, the README's commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from glm_lsp.engines.worker import INSTALL

ROOT = Path(__file__).parents[1]
SCRIPTS = Path(sys.executable).parent


def check(*command: str) -> None:
    """The command, run at the root of the checkout, has nothing to object to."""
    env = {**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"


def test_rooms_import_downwards_and_keep_to_themselves() -> None:
    check("lint-imports", "--no-cache")


def test_ruff_has_nothing_to_say() -> None:
    check("ruff", "check", "--no-cache")


def test_the_code_is_formatted() -> None:
    check("ruff", "format", "--no-cache", "--check")


@pytest.mark.slow
def test_types_hold_strictly() -> None:
    check("pyright", "--pythonpath", sys.executable)


def test_files_stay_short() -> None:
    sources = (path for room in ("glm_lsp", "tests", "config") for path in (ROOT / room).rglob("*.py"))
    lengths = {p: p.read_text(encoding="utf-8").count("\n") for p in sources}
    assert {str(p): n for p, n in lengths.items() if n > 440} == {}


def test_every_package_says_that_it_is_typed_and_whose_licence_it_has() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (ROOT / "glm_lsp/py.typed").is_file()
    assert (
        project["license"] == "MIT AND Apache-2.0"
    )  # the latter for shapes of secrets: see `config/secrets`
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_readme_has_two_commands_of_one_line_that_make_their_own_environments() -> None:
    first, second = readme_commands()
    for command in (first, second):
        assert command.count("\n") == 1
        assert command.startswith("python3 -m venv .venv")
    assert "[embedded]" in first
    assert first.rstrip().endswith("glm-lsp demo")
    assert second.rstrip().endswith("-m pytest")


def test_ci_runs_the_readmes_second_command_word_for_word() -> None:
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    line = next(line for line in script.splitlines() if line.startswith("command="))
    done = subprocess.run(
        ["bash", "-c", f'{line}; printf %s "$command"'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == readme_commands()[1].rstrip()
    assert os.access(ROOT / ".ci/run", os.X_OK)


def test_what_the_readme_links_to_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_line_that_mends_a_missing_engine_installs_what_the_extra_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert shlex.split(INSTALL) == ["pip", "install", *project["optional-dependencies"]["embedded"]]
