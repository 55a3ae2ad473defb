"""The wheel: it holds what runs, and nothing else, and it runs outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from glm_lsp.engines.rendezvous import RUNTIME_VARIABLE

ROOT = Path(__file__).parents[1]
WANTED = (
    "glm_lsp/py.typed",
    "glm_lsp/features/prompts/system.md",
    "glm_lsp/config/settings.toml",
    "glm_lsp/config/settings.schema.json",
    "glm_lsp/config/models/glm-5.2.toml",
    "glm_lsp/config/models/nano/nano.toml",
    "glm_lsp/config/models/nano/nano.gguf",
)
MOST_BYTES = 30_000_000


def pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *map(str, arguments), "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", where, ROOT)
    (built,) = where.glob("*.whl")
    return built


def test_the_wheel_holds_model_prompts_settings_and_schema_and_no_tests(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert [name for name in WANTED if name not in names] == []
    sources = {
        p.relative_to(ROOT).as_posix()
        for p in (ROOT / "glm_lsp").rglob("*")
        if p.suffix in (".py", ".md", ".scm")
    }
    assert sorted(sources - names) == []
    others = {name.split("/")[0] for name in names} - {"glm_lsp"}
    assert all(name.endswith(".dist-info") for name in others)
    assert not [name for name in names if "/tests/" in name or name.endswith((".pt", ".tmp", ".pyc"))]
    licences = {name.partition("/licenses/")[2] for name in names if ".dist-info/licenses/" in name}
    assert {
        "LICENSE",
        "config/secrets/licences/NOTICE.txt",
        "config/secrets/licences/Apache-2.0.txt",
    } == licences
    assert wheel.stat().st_size < MOST_BYTES


@pytest.mark.embedded
@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="the demo needs the embedded engine: install glm-lsp[embedded]")
    site, elsewhere, home = tmp_path / "site", tmp_path / "elsewhere", tmp_path / "home"
    elsewhere.mkdir()
    home.mkdir()
    pip("install", "--no-deps", "--target", site, wheel)
    env = {k: v for k, v in os.environ.items() if not k.startswith("GLM_LSP_") or k == RUNTIME_VARIABLE}
    env |= {"PYTHONPATH": str(site), "HOME": str(home), "OMP_NUM_THREADS": "1", "GLM_LSP_MODEL_THREADS": "1"}
    probe = [sys.executable, "-c", "import glm_lsp; print(glm_lsp.__file__)"]
    where = subprocess.run(probe, cwd=elsewhere, env=env, capture_output=True, text=True, check=True).stdout
    assert Path(where.strip()).is_relative_to(site), "the installed package, not the checkout"
    command = [sys.executable, "-m", "glm_lsp", "demo", "--format", "json"]
    done = subprocess.run(command, cwd=elsewhere, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert set(shown) == {"index", "completions", "refactor", "model"}
    assert shown["index"]["files"] > 100, "the standard library: there is no repository here"
    assert Path(shown["model"]["path"]).is_relative_to(site)
    assert list(elsewhere.iterdir()) == [], "nothing is written"
