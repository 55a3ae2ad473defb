"""Why `glm-lsp --help` is quick: it imports none of what is slow. `bench_server` has the times."""

from __future__ import annotations

import subprocess
import sys

SLOW = {"pygls", "lsprotocol", "httpx", "tree_sitter", "numpy", "llama_cpp", "rich", "asyncio", "tokenizers"}


def test_help_imports_nothing_slow() -> None:
    program = (
        "import atexit, sys; from glm_lsp.__main__ import main;"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr)); sys.exit(main(['--help']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported = set(done.stderr.split())
    assert "usage" in done.stdout
    assert "glm_lsp.__main__" in imported
    assert not SLOW & imported
