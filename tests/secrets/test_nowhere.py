"""No planted secret is in any prompt, saved state, cache, log or message, whatever is asked."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from glm_lsp.__main__ import main
from glm_lsp.core.errors import GlmError
from glm_lsp.core.generation import GenerateRequest
from glm_lsp.core.secrets import masked
from glm_lsp.core.settings import Settings
from glm_lsp.core.syntax import language_of
from glm_lsp.core.text import digest
from glm_lsp.core.values import Diagnostic, Document, Span
from glm_lsp.engines.router import Router
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features import refactor
from glm_lsp.features.actions import perform
from glm_lsp.features.catalogue import Offer, OfferKind, offers
from glm_lsp.features.complete import pack_context, suggest
from glm_lsp.features.gate import Gate
from glm_lsp.features.session import Session
from glm_lsp.workspace.repository import Repository
from tests.cli.scripted import commit, git
from tests.features.stage import PROFILE, Files, Words
from tests.lsp.editor import Editor
from tests.secrets.planted import Planted, block, planted

EMPTY = {"start": {"line": 0, "character": 0}, "end": {"line": 0, "character": 1}}
RECORDING = str(Path(__file__).with_name("recording_server.py"))


@pytest.fixture(scope="module")
def secrets() -> Planted:
    return planted()


@pytest.fixture
def tree(tmp_path: Path, secrets: Planted) -> Path:
    (tmp_path / "repo").mkdir()
    root = secrets.write(tmp_path / "repo")
    git(root, "init", "-q")
    commit(root)
    return root


def said(engine: ScriptedEngine) -> str:
    """Everything that the engine was told."""
    return "\n".join(everything(request) for request in engine.requests)


def everything(request: GenerateRequest) -> str:
    prompt = request.prompt
    blocks = [block.text for block in prompt.blocks]
    return "\n".join([*(segment.text for segment in prompt.segments), prompt.suffix, *blocks])


def files_in(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        if path.is_file():
            yield path.read_bytes() + path.name.encode()


def document(path: str, text: str, version: int) -> Document:
    data = text.encode()
    return Document(path, data, digest(data), language_of(path), version)


def test_every_secret_is_found_where_it_is_planted(secrets: Planted) -> None:
    """What the other tests rest on; files named like secrets are not read at all."""
    assert len(secrets.secrets) > 400
    shown = [
        masked(document(path, text, 1)).data
        for path, text in secrets.files.items()
        if path.startswith(("pkg/", "main", "docs", "web", "deploy", "conf/app"))
    ]
    assert secrets.leaked(*shown) == []


async def test_no_prompt_holds_a_secret(
    tree: Path, tmp_path: Path, secrets: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On disk and in open documents that are not saved: completions, actions, refactors, warm-up."""
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path / "cache"))
    repository = Repository(tree, Settings({"context.budget_tokens": 30_000}))
    engine = ScriptedEngine("Return a small number.")
    session = Session(repository, engine, Words(), PROFILE)
    plans: list[object] = []
    try:
        report = await repository.index()
        assert {h.path for h in report.held_back} >= {"main.py", "pkg/module_0.py"}
        some = secrets.texts[::10]
        for number, path in enumerate(p for p in secrets.files if p.endswith(".py")):
            text = secrets.files[path]
            if number % 2:
                text += f"\n\nADDED = 1\n{text}"
                repository.update(document(path, text, 2))
                await repository.settle()
            size = len(text.encode())
            for part in range(1, 6):
                offset = text.encode().rfind(b"\n", 0, size * part // 5) + 1
                await suggest(session, repository.snapshot(), path, offset)
            problem = Diagnostic(Span(0, 1), f"undefined '{some[number % len(some)]}'")
            for offer in offers(repository.snapshot(), path, Span(0, size), [problem]):
                plans.append(offer)
                if offer.kind in (OfferKind.EXPLAIN, OfferKind.FIX):
                    plans.append(await attempted(session, repository, offer))
            task = Offer(OfferKind.REFACTOR, "", path, Span(0, size), f"use '{some[-1 - number]}'")
            plans.append(await attempted(session, repository, task))
        task = f"rotate {' and '.join(some[:5])}"
        plans.append(await refactor.propose(session, repository.snapshot(), task, ["main.py", "web"]))
        plans.append(await refactor.propose(session, repository.snapshot(), "", [], recipe="docstrings"))
        prompt = await pack_context(session, repository.snapshot(), "main.py", 0, 60_000)
        outlines = repr(repository.snapshot().index.outlines)
    finally:
        await repository.close()
    assert len(engine.requests) > 50
    assert secrets.leaked(said(engine)) == []
    assert secrets.leaked(outlines, "\n".join(s.text for s in prompt.segments)) == []
    assert secrets.leaked(*(repr(plan) for plan in plans)) == []
    assert secrets.leaked(*files_in(tmp_path / "cache")) == []


async def attempted(session: Session, repository: Repository, offer: Offer) -> object:
    try:
        return await perform(session, repository.snapshot(), offer)
    except GlmError as error:
        return str(error)


def test_no_command_writes_a_secret_anywhere(
    tree: Path,
    tmp_path: Path,
    secrets: Planted,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    engine = ScriptedEngine("Return a small number.")
    for name in [n for n in os.environ if n.startswith(("GLM_LSP_", "GITHUB_"))]:
        monkeypatch.delenv(name)
    (tmp_path / "settings.toml").write_text("")
    for name in ("STATE", "CACHE", "RUNTIME"):
        monkeypatch.setenv(f"GLM_LSP_{name}", str(tmp_path / "own" / name.lower()))
    monkeypatch.setenv("GLM_LSP_CONFIG", str(tmp_path / "settings.toml"))
    monkeypatch.setattr(Router, "engine", lambda router, work: engine)
    monkeypatch.chdir(tree)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
        capsys.readouterr()
        with contextlib.suppress(SystemExit):
            main(list(arguments))
        out, err = capsys.readouterr()
        assert secrets.leaked(out, err) == []
        return out

    told = json.loads(run("index", str(tree), "--format", "json"))
    held = {(h["path"], h["line"], h["kind"]): h["fingerprint"] for h in told["held_back"]}
    assert len(held["main.py", planted_line(secrets), "private key"]) == 16
    assert any(s["path"] == ".env" for s in told["skipped"])
    assert "held back" in run("index", str(tree))
    place = f"{tree / 'main.py'}:1:1"
    shown = json.loads(run("context", place, "--format", "json", "--budget", "20000"))
    assert shown["held_back"]
    run("context", place)
    run("complete", place, "--format", "json")
    for path in (".env", "server.pem"):
        run("context", f"{tree / path}:1:1")
        run("refactor", "tidy up", path)
    run(
        "refactor",
        f"replace '{secrets.texts[3]}'",
        "main.py",
        "--format",
        "jsonl",
        "--set",
        "log.level=debug",
    )
    run("refactor", "--recipe", "docstrings", "--diff", "--debug")
    run("refactor", "--recipe", "docstrings", "--write", "--format", "jsonl", "--time-limit", "10m")
    assert secrets.leaked(said(engine), *files_in(tmp_path / "own")) == []
    for path, text in secrets.files.items():
        kept = (tree / path).read_text()
        assert all(kept.count(s) == text.count(s) for s in secrets.secrets)


def planted_line(secrets: Planted) -> int:
    text = secrets.files["main.py"]
    return text[: text.index("-----BEGIN")].count("\n") + 1


def test_an_editor_sees_no_secret_come_back_and_no_model_sees_one(
    tree: Path, tmp_path: Path, secrets: Planted
) -> None:
    env = {"GLM_LSP_LOG_LEVEL": "debug", "GLM_LSP_CACHE": str(tmp_path / "cache")}
    texts = {p: t for p, t in secrets.files.items() if p.endswith(".py") and t}
    with Editor("vscode", tree, command=(RECORDING,), env=env, script={"index": True}) as editor:
        for path, text in list(texts.items())[:6]:
            uri = editor.open(path)
            editor.result(editor.complete(uri, 0))
            editor.type(uri, len(text), f"\nnew = 1\n{text}")
            editor.result(editor.complete(uri, len(text) + 9))
            for action in editor.actions(uri, 0, len(text)):
                editor.reply(editor.run(action))
        quoted = {"range": EMPTY, "message": f"unused: {block('source')[1][0]}", "severity": 1}
        uri = editor.open("main.py")
        size = len(texts["main.py"])
        for action in editor.actions(uri, 0, size, diagnostics=[quoted]):
            editor.reply(editor.run(action))
        uri = editor.open("scratch.py", "")
        typed = f"token = '{sorted(secrets.secrets)[7]}'\n"
        for at, character in enumerate(typed):
            editor.type(uri, at, character)
            editor.result(editor.complete(uri, at + 1))
        editor.settle()
        seen = json.dumps(editor.seen).replace(
            quoted["message"], "its own message, given back with the action"
        )
        told = editor.ask("test/prompts")
    assert len(told) > 10
    assert secrets.leaked(json.dumps(told)) == []
    assert secrets.leaked(seen, editor.wire.stderr, *files_in(tmp_path / "cache")) == []
    assert any("held back" in message for message in editor.shown)


def test_an_engine_is_reached_through_the_gate_alone() -> None:
    """Whoever sets a session's engine, and whoever asks the runtime for one."""
    session = Session(Files({}), ScriptedEngine("x"), Words(), PROFILE)
    assert isinstance(session.engine, Gate)
    session.engine = ScriptedEngine("y")
    assert isinstance(session.engine, Gate)
    room = Path(refactor.__file__).parents[1]
    outside = {
        path.relative_to(room).as_posix()
        for path in room.rglob("*.py")
        if ".generate(" in path.read_text(encoding="utf-8") and "engines" not in path.parts
    }
    asking = {"asking", "complete", "gate", "ration", "warm"}
    assert outside == {f"features/{name}.py" for name in asking}
