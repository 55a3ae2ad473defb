"""The progress of `glm-lsp index`, and what it imports."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path


def test_on_a_terminal_it_tells_how_far_it_is_and_leaves_the_line_clean(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"f{n}.py").write_text(f"def f{n}(): ...\n" * 40)
    ours, theirs = pty.openpty()
    cache = tmp_path.with_name("cache-of-progress")
    process = subprocess.Popen(
        [sys.executable, "-m", "glm_lsp", "index", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "GLM_LSP_CACHE": str(cache), "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    told = re.findall(r"listing files|[\d,]+ of 300 files(?:, \d+ s left)?|300 files, saving", said.decode())
    assert told[0] == "listing files"
    assert told[-1] == "300 files, saving"
    assert said.endswith(b"\x1b[2K")


HEAVY = (
    *("diskcache", "sqlite3", "pathspec", "httpx", "glm_lsp.engines", "glm_lsp.features"),
    *("glm_lsp.core.syntax.reader", "glm_lsp.core.secrets.scan", "glm_lsp.lsp"),
)


def test_a_warm_start_imports_no_parser_and_no_store(tmp_path: Path) -> None:
    """Half of its time went into modules that it did not use."""
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text("def f(): ...\n")
    code = (
        "import sys; from glm_lsp.__main__ import main; main(['index', sys.argv[1]]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(root)]
    environ = {**os.environ, "GLM_LSP_CACHE": str(tmp_path / "cache")}
    subprocess.run(command, env=environ, capture_output=True, check=True)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "glm_lsp.workspace.repository" in loaded
    assert loaded.isdisjoint(HEAVY)
