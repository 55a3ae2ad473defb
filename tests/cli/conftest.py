"""The real command line, as a child process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from glm_lsp.disk.store import CACHE_VARIABLE
from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE
from tests.cli.scripted import ONE, TWO, Ran, Scripted, commit, git

Cli = Callable[..., Ran]


@pytest.fixture
def cli(tmp_path_factory: pytest.TempPathFactory) -> Cli:
    """Run `glm-lsp ARGUMENTS` in `cwd` with none of this machine's settings."""
    home = tmp_path_factory.mktemp("home")

    def run(
        *arguments: str | Path,
        cwd: Path | None = None,
        environ: Mapping[str, str] | None = None,
        code: str = "import sys; from glm_lsp.__main__ import main; sys.exit(main())",
        stdin: str = "",
    ) -> Ran:
        apart = (RUNTIME_VARIABLE, CACHE_VARIABLE)
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("GLM_LSP_", "GITHUB_")) or k in apart
        }
        env = {
            **kept,
            "HOME": str(home),
            "XDG_CONFIG_HOME": str(home),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "110",
        }
        done = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", code, *map(str, arguments)],
            cwd=cwd or home,
            env={**env, "GLM_LSP_MODEL_THREADS": "1", **(environ or {})},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with two committed files."""
    root = tmp_path / "repo"
    (root / "pkg").mkdir(parents=True)
    (root / "pkg/one.py").write_text(ONE)
    (root / "pkg/two.py").write_text(TWO)
    git(root, "init", "-q")
    commit(root)
    return root


@pytest.fixture
def refactor(tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Scripted:
    return Scripted(tree, monkeypatch, capsys)


def check_refused(ran: Ran, code: int, *words: str) -> None:
    """The command failed with `code` and one sentence that holds `words`; never a traceback."""
    assert ran.code == code, ran
    assert "Traceback" not in ran.err + ran.out, ran.err
    assert ran.err.count("\n") == 1, f"one sentence, not {ran.err!r}"
    for word in words:
        assert word in ran.err
