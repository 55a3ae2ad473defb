"""The shipped extension, packed as a .vsix and installed into a real VS Code."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from .code_server import drive
from .conftest import HERE, Home

pytestmark = [pytest.mark.editors, pytest.mark.embedded, pytest.mark.slow]

ROOT = HERE.parents[1]


def test_vscode_completes_and_documents(vscode: Path, extension: Path, home: Home) -> None:
    light_and_dark = {"window.autoDetectColorScheme": True}
    drive(vscode, extension, home, "vscode_drive.mjs", settings=light_and_dark)


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


def test_vscode_installs_the_server_where_it_is_trusted_and_asked(
    vscode: Path, extension: Path, home: Home
) -> None:
    """Without a network: what the server needs is lent by our own environment."""
    drive(
        vscode,
        extension,
        home,
        "vscode_trust.mjs",
        settings={
            "security.workspace.trust.enabled": True,
            "security.workspace.trust.startupPrompt": "never",
            "security.workspace.trust.untrustedFiles": "open",
        },
        machine={"glm-lsp.python": sys.executable},
        environment={
            "ENVIRONMENT": str(home.root / "ud/User/globalStorage/glm-lsp.glm-lsp/server"),
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "PYTHONPATH": sysconfig.get_path("purelib"),
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
        },
        flags="",
    )
