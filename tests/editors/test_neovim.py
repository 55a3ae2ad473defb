"""`editors/neovim` in a real Neovim: 0.12 with ghost text, 0.11 with the menu."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from .conftest import HERE, SETUPS, Home, driven

pytestmark = [pytest.mark.editors, pytest.mark.slow]

VERSIONS = ("nvim", "nvim-0.11")
BODY = "\n    width, height = box\n    return width * height"


def check(program: Path, script: str, home: Home, edited: str = "inventory.py") -> None:
    """Run a script of claims about a file; all of them must hold."""
    done = subprocess.run(
        [str(driven(program)), "--headless", "--clean", "-n", "-S", str(HERE / script)],
        env={
            **home.environment,
            "GLM_SETUP": str(SETUPS / "neovim"),
            "GLM_FILE": str(home.repository / edited),
        },
        cwd=home.repository,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


@pytest.mark.embedded
@pytest.mark.parametrize("version", VERSIONS)
def test_neovim_and_the_bundled_model(terminal_editors: Path, home: Home, version: str) -> None:
    check(terminal_editors / version, "neovim_check.lua", home)


@pytest.mark.parametrize("version", VERSIONS)
def test_neovim_shows_accepts_previews_and_goes_on_after_deaths(
    terminal_editors: Path, home: Home, version: str
) -> None:
    check(terminal_editors / version, "neovim_scripted.lua", home.scripted(typing=BODY))


@pytest.mark.parametrize("version", VERSIONS)
def test_in_code_of_others_neovim_and_the_server_have_one_text(
    terminal_editors: Path, home: Home, version: str
) -> None:
    """Packages of the standard library: whatever is typed, accepted and undone in them."""
    library = Path(sysconfig.get_path("stdlib"))
    for package in ("json", "email", "http", "logging", "urllib", "wsgiref"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(library / package, home.repository / package, ignore=ignored)
    check(terminal_editors / version, "neovim_others.lua", home.scripted(), ".")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_help_has_its_tags(terminal_editors: Path, tmp_path: Path, version: str) -> None:
    """Copied as README and help say, `:help` finds it."""
    package = tmp_path / "data/nvim/site/pack/glm/start/glm_lsp"
    package.parent.mkdir(parents=True)
    subprocess.run(["cp", "-r", str(SETUPS / "neovim"), str(package)], check=True)
    claim = "help :GlmRefactor | echo expand('%:t') | quitall"
    done = subprocess.run(
        [str(driven(terminal_editors / version)), "--headless", "-n", "-c", "helptags ALL", "-c", claim],
        env={"XDG_DATA_HOME": str(tmp_path / "data"), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "glm_lsp.txt" in done.stdout + done.stderr
