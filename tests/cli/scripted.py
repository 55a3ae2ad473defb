"""`glm-lsp refactor` with an engine that answers by what stands in the question, on a tree of two files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.__main__ import main
from glm_lsp.core.edits import LineEdit, format_edits
from glm_lsp.core.errors import EngineError
from glm_lsp.core.generation import GenerateRequest, Role
from glm_lsp.engines.router import Router
from glm_lsp.engines.scripted import ScriptedEngine


@dataclass(frozen=True, slots=True)
class Ran:
    """What a finished command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


ONE = "def one():\n    return 1\n"
TWO = "def two():\n    return 2\n"
SAID = "Return a small number."
DOCUMENTED = 'def {}():\n    """Return a small number."""\n    return {}\n'


def git(root: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false")
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *who, *arguments], cwd=root, env=env, check=True, capture_output=True)


def commit(root: Path) -> None:
    git(root, "add", "-A")
    git(root, "commit", "-qm", "x")


ENGINE = """
import asyncio, json, os, sys
from contextlib import aclosing
from glm_lsp.engines import router, scripted
said = json.loads(os.environ["SAID"])
delay = float(os.environ.get("DELAY", "0"))
class Engine(scripted.ScriptedEngine):
    async def generate(self, request):
        async with aclosing(super().generate(request)) as stream:
            async for chunk in stream:
                while len(self.requests) > 1 and os.path.exists(os.environ.get("HELD", "")):
                    await asyncio.sleep(0.01)
                yield chunk
def answer(request):
    tail = request.prompt.segments[-2 if request.prompt.prefill else -1].text
    return next((text for key, text in said.items() if key in tail), "")
engine = Engine(answer, delay_s=delay)
router.Router.engine = lambda self, work: engine
from glm_lsp.__main__ import main
sys.exit(main())
"""


class Scripted:
    """The command line in this process, with an engine that answers by what stands in the question.

    Tests of signals, stdin and kills run real child processes instead.
    """

    def __init__(
        self, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.root, self.monkeypatch, self.capsys = root, monkeypatch, capsys

    def __call__(
        self,
        *arguments: str | Path,
        said: dict[str, str] | None = None,
        fail: EngineError | None = None,
        environ: dict[str, str] | None = None,
        stdin: str = "",
    ) -> Ran:
        answers = {"": SAID} if said is None else said

        def answer(request: GenerateRequest) -> str:
            tail = [t.text for t in request.prompt.segments if t.role is Role.USER][-1]
            return next((text for key, text in answers.items() if key in tail), "")

        engine = ScriptedEngine(answer, fail=fail)
        with self.monkeypatch.context() as patch:
            for name in [n for n in os.environ if n.startswith(("GLM_LSP_", "GITHUB_"))]:
                patch.delenv(name)
            patch.setenv("GLM_LSP_STATE", str(self.root.parent / "state"))
            patch.setenv("GLM_LSP_CACHE", str(self.root.parent / "cache"))
            for name in ("HOME", "XDG_CONFIG_HOME"):  # a user's ignore rules are not everybody's
                patch.setenv(name, str(self.root.parent))
            (self.root.parent / "settings.toml").write_text("")
            patch.setenv("GLM_LSP_CONFIG", str(self.root.parent / "settings.toml"))
            for name, value in (environ or {}).items():
                patch.setenv(name, value)
            patch.setattr(Router, "engine", lambda router, work: engine)
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
            patch.chdir(self.root)
            self.capsys.readouterr()
            try:
                code = int(main(["refactor", *map(str, arguments)]))
            except SystemExit as stopped:
                code = int(stopped.code or 0)
        out, err = self.capsys.readouterr()
        return Ran(code, out, err)


def texts(root: Path) -> tuple[str, str]:
    return (root / "pkg/one.py").read_text(), (root / "pkg/two.py").read_text()


def events(ran: Ran) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ran.out.splitlines()]


def edit(path: str, text: str, number: int, new: str) -> str:
    return format_edits(path, text.encode(), [LineEdit(number - 1, number, (new,))])


def nobodys(folder: Path) -> dict[str, str]:
    """An environment with nothing of its user's: home, settings, cache and state are in `folder`."""
    settings = folder / "settings.toml"
    settings.write_text("")
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("GLM_LSP_", "GITHUB_"))},
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
        "GLM_LSP_CONFIG": str(settings),
        "GLM_LSP_CACHE": str(folder / "cache"),
        "GLM_LSP_STATE": str(folder / "state"),
    }


def hold(tree: Path) -> Path:
    """As long as this file is there, a child gets its first answer and no other."""
    (tree.parent / "held").touch()
    return tree.parent / "held"


def started(tree: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    env = {
        **nobodys(tree.parent),
        "SAID": json.dumps({"": SAID}),
        "HELD": str(tree.parent / "held"),
        **environ,
    }
    return subprocess.Popen(
        [sys.executable, "-c", ENGINE, "refactor", *arguments, "--format", "jsonl"],
        cwd=tree, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finished(child: subprocess.Popen[str]) -> int:
    child.communicate()
    return child.returncode


def wait_for_first(child: subprocess.Popen[str]) -> None:
    """Until the first unit is done: then the second is being asked for."""
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"] == "unit"
