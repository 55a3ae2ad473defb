"""A key in every place where one strays, in a repository: none of it in what commands say and leave."""

from __future__ import annotations

import json
import os
import random
import string
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workspace.trees import git

KEY = "ghp_" + "".join(random.Random(11).choices(string.ascii_letters + string.digits, k=36))
PASSWORD = "q7#Zt2!vLm9Xw"
FILES = {
    "src/app.py": f'TOKEN = "{KEY}"\n\n\ndef use(a):\n    return call(TOKEN, a)\n',
    "src/cli.py": f'import os\nfrom src.app import use\n\nos.system("curl -u bob:{PASSWORD} http://x")\nuse(1)\n',
    "README.md": f"| service | token |\n|---|---|\n| x | {KEY} |\n\nUse password {PASSWORD} here.\n",
    "half.py": f'import os\n\n\ndef f(v="{KEY[:24]}"):\n    """Saved as {KEY[:24]}"""\n    v = "{KEY[:24]}',
    "broken.py": f'def f(:\n  {KEY}\n K = "{KEY}\n',
    f"{KEY}.py": "def named():\n    return 1\n",
    f"logs/backup-{KEY}.txt": "nothing\n",
    ".env": f"TOKEN={KEY}\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "repo"
    for name, text in FILES.items():
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(text)
    for name, encoding in (("wide.py", "utf-16"), ("big.py", "utf-16-be"), ("nobom.py", "utf-16-le")):
        (made / name).write_bytes(f'K = "{KEY}"\n'.encode(encoding))
    git(made, "init")
    git(made, "add", "-A")
    git(made, "commit", "-m", f"Use {KEY} and password {PASSWORD}")
    return made


def test_no_trace_of_a_key_is_left(root: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    (tmp_path / "none.toml").write_text("")
    names = {f"GLM_LSP_{n}": os.fspath(own / n.lower()) for n in ("STATE", "CACHE", "RUNTIME")}
    environment = {**os.environ, **names, "GLM_LSP_CONFIG": os.fspath(tmp_path / "none.toml")}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "glm_lsp", *arguments]
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, check=False)
        said = done.stdout + done.stderr
        assert not leaked(said), arguments[:2]
        return done.stdout.decode()

    found = json.loads(run("index", ".", "--format", "json", "--debug", "--set", "log.level=debug"))
    reasons = [skipped["reason"] for skipped in found["skipped"]]
    assert reasons.count("is left out: its name holds a secret") == 2
    assert {place["path"] for place in found["held_back"]} == {
        "README.md",
        "broken.py",
        "half.py",
        "src/app.py",
        "src/cli.py",
    }
    run("index", ".")
    run("context", "src/cli.py:5:1", "--format", "json", "--budget", "20000")
    run("context", "--task", f"change use as {KEY} says")
    run("context", "half.py:6:1", "--format", "json", "--budget", "20000")
    run("context", "--task", f"change `f` as {KEY[:24]} says", "--format", "json")
    (tmp_path / "events").write_text("\n".join(map(json.dumps, typing())))
    run("replay", str(tmp_path / "events"), "--root", ".", "--format", "jsonl", "--budget", "20000")
    kept = [path for path in own.rglob("*") if path.is_file()]
    assert kept
    for path in kept:
        assert not leaked(path.read_bytes()), path
        assert not leaked(os.fsencode(path))


def typing() -> list[dict[str, object]]:
    """The key is typed up to its half and saved; then other files are asked about, and it is opened again."""
    path, text = "half.py", FILES["half.py"].removesuffix(KEY[:24])
    events: list[dict[str, object]] = [{"op": "open", "path": path, "text": text}]
    for at, character in enumerate(KEY[:24]):
        place = len(text) + at
        events.append({"op": "edit", "path": path, "start": place, "end": place, "text": character})
        events.append({"op": "request", "path": path, "offset": 0})
    asked = {"op": "request", "path": "src/app.py", "offset": 0}
    again = {"op": "open", "path": path, "text": FILES[path]}
    return [*events, {"op": "save", "path": path}, asked, {"op": "close", "path": path}, asked, again, asked]


def leaked(data: bytes) -> bool:
    """Whether most of a secret stands in some bytes, in any width of characters."""
    parts = (KEY[4:24], KEY[:12], KEY[20:], PASSWORD)
    return any(
        part.encode(width) in data
        for part in parts
        for width in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le")
    )
