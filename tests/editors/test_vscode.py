"""The shipped extension, packed as a .vsix and installed into a real VS Code."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from .code_server import drive
from .conftest import HERE, Home

pytestmark = [pytest.mark.editors, pytest.mark.embedded, pytest.mark.slow]

ROOT = HERE.parents[1]


def test_vscode_completes_and_documents(vscode: Path, extension: Path, home: Home) -> None:
    drive(vscode, extension, home, "vscode_drive.mjs")


def test_vscode_from_within(vscode: Path, extension: Path, home: Home) -> None:
    """Partial accept, late answers, switches, previews, a server that dies: with an engine that says what it
    is told."""
    (home.repository / "util.py").write_text("")
    drive(
        vscode,
        extension,
        home,
        "vscode_host.mjs",
        machine={"glm-lsp.command": [sys.executable, str(HERE / "scripted.py")]},
        environment={
            "EXTENSION": str(extension.parent),
            "TESTS": str(HERE / "vscode_tests.cjs"),
            "REPORT": str(home.root / "report"),
            "PYTHONPATH": str(ROOT),
            "ONLY": os.environ.get("GLM_LSP_ONLY", ""),
            "GLM_LSP_COMPLETION_DEBOUNCE_MS": "0",
        },
        flags="--disable-workspace-trust --vscode-option enable-smoke-test-driver",
    )
