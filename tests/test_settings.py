"""A setting has one source: everything else that lists them is generated from it, and says the same."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from glm_lsp.cli import generate
from glm_lsp.core.settings import SETTINGS, TRUSTED
from glm_lsp.workspace import config

ROOT = Path(__file__).parents[1]


def test_nothing_generated_is_stale() -> None:
    assert generate.stale(ROOT) == [], "run `python -m glm_lsp.cli.generate`"


def test_the_template_uncommented_is_every_default(tmp_path: Path) -> None:
    lines = generate.template().splitlines(keepends=True)
    keys = {s.name.split(".")[1] for s in SETTINGS}
    active = "".join(
        line[2:] if line.startswith("# ") and line[2:].split(" = ")[0] in keys else line for line in lines
    )
    assert sum(map(len, tomllib.loads(active).values())) == len(SETTINGS)
    file = tmp_path / "settings.toml"
    file.write_text(active, encoding="utf-8")
    found = config.load(environ={}, user_file=file)
    assert found.problems == ()
    assert {name: found[name] for name in found.values} == {s.name: s.default for s in SETTINGS}


def test_the_template_as_it_stands_sets_nothing() -> None:
    assert all(section == {} for section in tomllib.loads(generate.template()).values())


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.sources == TRUSTED], ids=lambda s: s.name)
def test_what_a_workspace_may_not_set_is_of_machine_scope_in_vs_code(setting) -> None:
    declared = generate.vscode().get(f"glm-lsp.{setting.name}")
    assert declared is None if setting.secret else declared["scope"] == "machine"


def test_the_extension_declares_its_own_and_ours() -> None:
    package = json.loads((ROOT / "editors/vscode/package.json").read_text(encoding="utf-8"))
    declared = package["contributes"]["configuration"]["properties"]
    assert {k: v for k, v in declared.items() if k.count(".") == 2} == generate.vscode()


def test_a_workspace_that_is_not_trusted_sets_nothing_in_vs_code() -> None:
    package = json.loads((ROOT / "editors/vscode/package.json").read_text(encoding="utf-8"))
    limited = package["capabilities"]["untrustedWorkspaces"]
    assert limited["supported"] == "limited"
    declared = package["contributes"]["configuration"]["properties"]
    assert limited["restrictedConfigurations"] == list(declared)
    programs = [declared[f"glm-lsp.{name}"]["scope"] for name in ("command", "python", "package")]
    assert programs == ["machine"] * 3


def test_names_are_sections_and_keys_and_variables_are_unique() -> None:
    assert all(s.name.count(".") == 1 for s in SETTINGS)
    assert len({s.variable for s in SETTINGS}) == len({s.name for s in SETTINGS}) == len(SETTINGS)
