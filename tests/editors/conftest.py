"""Real editors against the real server and the bundled model.

The editors are installed once per machine by `install.sh` into `GLM_LSP_EDITORS` (default: a folder of the
user's cache); what cannot be installed here skips its tests and says why. Our own extension has to build.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import platformdirs
import pytest

from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE

HERE = Path(__file__).parent
SETUPS = HERE.parents[1] / "editors"
DRIVEN: dict[str, str] = {}
"""What each editor that was driven says of its version."""
EXAMPLE = '''"""A small inventory."""

import os


def join_names(directory, names):
    """Return the paths of names in directory."""
    return [os.path.join(directory, name) for name in names]


def count_lines(path):
    total = 0
    with open(path) as stream:
        for line in stream:
            total += 1
    return total


def report(directory):
    result = {}
    for path in join_names(directory, os.listdir(directory)):
        result[path] = count_lines(path)
    return result
'''


def install(what: str, needs: tuple[str, ...]) -> Path:
    """Install one group of editors, or skip with the reason."""
    if missing := [program for program in needs if shutil.which(program) is None]:
        pytest.skip(f"no {what} editor here: install {', '.join(missing)} first")
    target = Path(os.environ.get("GLM_LSP_EDITORS") or platformdirs.user_cache_path("glm-lsp-editors"))
    done = run_install(target, what)
    if done.returncode:
        pytest.skip(f"the {what} editors could not be installed: {reason(done.stdout + done.stderr)}")
    return target


def run_install(target: Path, *what: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(HERE / "install.sh"), str(target), *what]
    environment = {**os.environ, "PYTHON": sys.executable}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def reason(output: str) -> str:
    """The line that tells what went wrong: the first that apt or npm calls an error, else the last one."""
    lines = output.strip().splitlines() or ["it said nothing"]
    return next((line for line in lines if re.match(r"E: |npm (ERR!|error)", line)), lines[-1]).strip()


@pytest.fixture(scope="session")
def terminal_editors() -> Path:
    return install("terminal", ("apt-get", "dpkg", "patchelf", "flock"))


def driven(program: Path) -> Path:
    """A program of `terminal_editors`, or a skip; its version is told when all tests have run."""
    if not program.exists():
        pytest.skip(f"{program.name} could not be installed here; {HERE / 'install.sh'} says why")
    if program.name not in DRIVEN:
        said = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
        DRIVEN[program.name] = said.stdout.splitlines()[0]
    return program


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which editors were driven, and loudly which were not."""
    if DRIVEN:
        terminalreporter.write_line(f"Editors driven: {', '.join(DRIVEN.values())}")
    here = HERE.name
    for report in terminalreporter.stats.get("skipped", []):
        if f"/{here}/" in report.nodeid:
            told = str(cast("tuple[Any, ...]", report.longrepr)[2])
            terminalreporter.write_line(f"NOT TESTED: {report.nodeid}: {told}", red=True, bold=True)


@pytest.fixture(scope="session")
def vscode() -> Path:
    return install("vscode", ("npm", "node", "chromium", "unzip", "ip", "unshare", "flock")) / "vscode"


@pytest.fixture(scope="session")
def extension(vscode: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our extension as a .vsix, in the folder where it was tested and built.

    Where its tools are there, a tree that does not build fails the test.
    """
    where = tmp_path_factory.mktemp("extension")
    done = run_install(vscode.parent, "extension", str(where))
    assert done.returncode == 0, done.stdout + done.stderr
    return where / "glm-lsp.vsix"


@dataclass(frozen=True)
class Home:
    """A user who has nothing but glm-lsp and one repository."""

    root: Path
    repository: Path
    environment: dict[str, str]

    def scripted(self, **script: object) -> Home:
        """The same, whose glm-lsp has an engine that says and does what `scripted_server` can be told."""
        programs = self.root / "scripted"
        programs.mkdir()
        python, server = shlex.quote(sys.executable), shlex.quote(str(HERE / "scripted.py"))
        program = programs / "glm-lsp"
        program.write_text(
            f'#!/bin/sh\n[ "$1" = serve ] || exec {python} -m glm_lsp "$@"\nexec {python} {server}\n'
        )
        program.chmod(0o755)
        path = f"{programs}:{self.environment['PATH']}"
        told = {"PATH": path, "GLM_TEST_SCRIPT": json.dumps(script)}
        return Home(self.root, self.repository, {**self.environment, **told})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    pytest.importorskip(
        "llama_cpp", reason="the editors talk to the embedded engine: install glm-lsp[embedded]"
    )
    repository = tmp_path / "inventory"
    repository.mkdir()
    (repository / "inventory.py").write_text(EXAMPLE)
    (repository / "use.py").write_text("from inventory import report\n\nprint(report('.'))\n")
    keep = {k: v for k, v in os.environ.items() if k in ("LANG", "LC_ALL", "SSL_CERT_FILE", "TMPDIR")}
    environment = {
        **keep,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "GLM_LSP_MODEL_THREADS": "1",
        # This tree's, wherever what is installed comes from.
        "PYTHONPATH": str(HERE.parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        # Their workers are the tests', and end with them.
        RUNTIME_VARIABLE: os.environ[RUNTIME_VARIABLE],
    }
    git = {**environment, "GIT_CONFIG_GLOBAL": os.devnull}
    subprocess.run(["git", "init", "-q", str(repository)], check=True, env=git)
    return Home(tmp_path, repository, environment)
