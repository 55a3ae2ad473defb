"""`glm-lsp worker`: what runs is shown, what nobody needs is stopped, what others need only by force."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from glm_lsp.__main__ import main
from glm_lsp.cli.worker import rows
from glm_lsp.engines import connection, holders
from glm_lsp.engines.frames import JobStatus, Speed, Status
from glm_lsp.engines.rendezvous import MAIN, named, place
from tests.cli.conftest import Cli, check_refused
from tests.engines.living import STALL_S, client, exists, until, workers

CODE = "def total(values):\n    result = 0\n    for value in values:\n        \n    return result\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "total.py"
    path.write_text(CODE, encoding="utf-8")
    return path


def test_no_worker_is_no_failure(cli: Cli, runtime: Path) -> None:
    for action in ("status", "stop"):
        ran = cli("worker", action)
        assert (ran.code, ran.out, ran.err) == (0, "No worker runs.\n", "")
        assert cli("worker", action, "--format", "json").json == {"workers": []}


@pytest.mark.embedded
def test_the_second_command_finds_the_model_warm(cli: Cli, runtime: Path, file: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    place = f"{file.name}:4:9"
    first = cli("complete", place, "--format", "json", cwd=file.parent)
    assert first.code == 0, first
    (worker,) = cli("worker", "status", "--format", "json").json["workers"]
    again = cli("complete", place, "--format", "json", cwd=file.parent)
    assert again.json["text"] == first.json["text"]
    (same,) = cli("worker", "status", "--format", "json").json["workers"]
    assert same["pid"] == worker["pid"]
    assert same["clients"] == []
    assert 0 < same["ends_in"] <= 900
    assert same["reused_tokens"] >= worker["prompt_tokens"] - 1
    shown = cli("worker", "status", "--slot", "bundled")
    assert "nano.gguf" in shown.out.replace("\n", "").replace(" ", "")
    assert "none; it ends in 15 min" in shown.out
    assert cli("worker", "status", "--slot", "main").out == "No worker runs.\n"
    assert cli("worker", "stop").out == "The worker of slot 'bundled' has ended.\n"
    assert cli("worker", "status").out == "No worker runs.\n"


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform == "win32", reason="prompts are not saved on Windows")
def test_what_could_not_be_saved_is_told_at_the_end_and_afterwards(
    cli: Cli, runtime: Path, file: Path, tmp_path: Path
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/kv").write_text("in the way", encoding="utf-8")
    environ = {"GLM_LSP_CACHE": str(tmp_path / "cache")}
    assert cli("complete", f"{file.name}:4:9", cwd=file.parent, environ=environ).code == 0
    stopped, after = cli("worker", "stop", environ=environ), cli("worker", "status", environ=environ)
    why = f"What is read cannot be saved: {tmp_path}/cache/kv is unused, it is not a directory of yours."
    told = [" ".join(ran.out.split()).replace(" ", "") for ran in (stopped, after)]
    assert (stopped.code, after.code) == (0, 0)
    assert told[0].startswith(f"The worker of slot 'bundled' has ended. {why}".replace(" ", ""))
    assert told[1].startswith(f"No worker of slot 'bundled' runs. Of the last one: {why}".replace(" ", ""))
    assert "Whatisreadcannotbesaved" in (runtime / "bundled.log").read_text().replace(" ", "")


BUSY = """
import asyncio
from glm_lsp.core import profiles
from glm_lsp.core.settings import Settings
from glm_lsp.engines.embedded import EmbeddedEngine
from tests.engines.asking import endless

async def main():
    settings = Settings({"model.threads": 1, "worker.drafts": False})
    engine = EmbeddedEngine(settings, profiles.load("nano"), client="editor")
    try:
        async for chunk in engine.generate(endless()):
            if chunk.text:
                print("busy", flush=True)
    except Exception as error:
        print(error, flush=True)

asyncio.run(main())
"""


@contextmanager
def busy() -> Iterator[subprocess.Popen[str]]:
    """A client that has the worker write without end."""
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    with process:
        assert process.stdout.readline() == "busy\n"
        yield process


@pytest.mark.embedded
def test_stopping_what_others_need_takes_force(cli: Cli, runtime: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    with busy() as client:
        ran = cli("worker", "stop", "--format", "json")
        assert ran.code == 5
        assert "work to do for editor; add --force" in ran.json["workers"][0]["message"]
        (shape,) = cli("worker", "status", "--format", "json").json["workers"]
        assert [(job["client"], job["state"]) for job in shape["jobs"]] == [("editor", "writing")]
        assert f"editor (process {client.pid})" in shape["clients"]
        assert cli("worker", "stop", "--force").code == 0
        assert client.stdout is not None
        assert "The worker was stopped by glm-lsp worker stop." in client.stdout.read()
    assert os.listdir(runtime)  # noqa: PTH208


def test_a_directory_of_others_is_a_sentence(cli: Cli, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    ran = cli("worker", "status", environ={"GLM_LSP_RUNTIME": str(tmp_path)})
    check_refused(ran, 7, "is open to other users (mode 0755)", "chmod 700", "GLM_LSP_RUNTIME")


@pytest.mark.parametrize("name", ["bundled.token", "bundled.sock"])
def test_a_directory_where_a_file_should_be_is_a_sentence(
    name: str, cli: Cli, runtime: Path, file: Path
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    (runtime / name).mkdir(parents=True)
    runtime.chmod(0o700)
    ran = cli("complete", f"{file.name}:4:9", cwd=file.parent)
    check_refused(ran, 7, f"At {runtime / name} is a directory", "remove it")
    (runtime / name).rmdir()


async def frozen() -> tuple[int, ...]:
    """Start a worker and stop it as SIGSTOP does: its keeper's and its own process id."""
    async with client() as worker:
        assert await worker.ready(STALL_S) is None
        keeper, pid = named(place(MAIN))
        assert pid == worker.pid
        os.kill(pid, signal.SIGSTOP)
        return keeper, pid


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
@pytest.mark.parametrize("keeper_too", [False, True], ids=["worker", "worker and keeper"])
def test_a_worker_that_hangs_is_named_and_ended_by_force(
    keeper_too: bool, runtime: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
    keeper, pid = asyncio.run(frozen())
    if keeper_too:
        os.kill(keeper, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(connection, "_ASK_S", 0.5)
        patch.setattr(connection, "_END_S", 0.5)
        patch.setattr(holders, "MOMENT_S", 0.1)
        assert main(["worker", "stop"]) == 7
        heard = capsys.readouterr()
        assert heard.err.count("Waiting for the worker of slot 'main' (processes") == 1
        said = " ".join(heard.out.split())
        assert f"of slot 'main' (processes {keeper} and {pid}) does not answer" in said
        assert "glm-lsp worker stop --slot main --force" in said
        assert exists(pid)
        assert main(["worker", "stop", "--force"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    killed = f"{pid} and {keeper}" if keeper_too else f"{pid}"
    assert said == f"The worker of slot 'main' did not answer; SIGKILL has ended it (process {killed})."
    asyncio.run(until(lambda: not workers(place(MAIN))))
    assert asyncio.run(connection.stop(place(MAIN))) is None


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")
def test_force_ends_a_worker_of_ours_that_refuses_whoever_comes(
    runtime: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

    async def started() -> int:
        async with client() as worker:
            assert await worker.ready(STALL_S) is None
            return worker.pid

    pid = asyncio.run(started())
    place(MAIN).token.write_text("another")
    assert main(["worker", "stop"]) == 7
    assert "a token that is not its own" in " ".join(capsys.readouterr().out.split())
    assert exists(pid)
    assert main(["worker", "stop", "--force"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said == f"The worker of slot 'main' did not end when asked; SIGKILL has ended it (process {pid})."
    assert not exists(pid)


STATUS = Status(
    pid=1,
    version="1",
    model="/models/\x1b[31mred.gguf",
    state="working",
    uptime=7300,
    idle_for=0,
    ends_in=-1,
    clients=("editor (process 2)",),
    jobs=(JobStatus("editor", 0, "reading", 512, 2048, 12.4), JobStatus("x\ny", 9, "paused", 1, 2, -1)),
    kv_tokens=8192,
    kv_tokens_used=1000,
    kv_bytes=2_000_000,
    trunks=(700, 200),
    prompt_tokens=1000,
    reused_tokens=900,
    restored_tokens=100,
    output_tokens=50,
    drafted_tokens=10,
    accepted_tokens=8,
    speeds=(Speed(0, 300.0, 9.0), Speed(4096, 100.0, 0.0)),
    draft_costs=(1.0, 1.5),
    draft_noise=0.9,
    draft_noises=((0, 256, 0.9), (2048, 64, 3.6)),
    eta_error=0.125,
    saved_bytes=3_000_000,
    placement="In main memory.",
    notes=("The disk is full.",),
)


def test_every_figure_has_its_row() -> None:
    shown = dict(rows(STATUS))
    assert shown["state"] == "working, for 2.0 h by now"
    assert shown["jobs"].splitlines() == [
        "typing for editor: reading, 512 of 2,048 tokens, 12 s left",
        "other for x\\ny: paused, 1 of 2 tokens",
    ]
    assert shown["KV cache"] == "1,000 of 8,192 tokens (2.0 MB)"
    assert shown["trunks"] == "700 tokens, 200 tokens"
    assert shown["read"] == "1,000 tokens of prompts, 90% of them reused, 100 from the disk"
    assert shown["written"] == "50 tokens, 8 of 10 guessed ones were right"
    assert shown["speed by depth"].splitlines() == [
        "from 0: reads 300.0 tokens/s, writes 9.0 tokens/s",
        "from 4,096: reads 100.0 tokens/s, writes (not measured)",
    ]
    assert shown["cost of k tokens at once"] == "1: 1.00  2: 1.50"
    assert shown["noise of drafts by depth"].splitlines() == [
        "from 0: 0.9 (256 tokens compared)",
        "from 2,048: 3.6 (64 tokens compared)",
    ]
    assert shown["error of times foretold"] == "12%"
    assert shown["saved prompts"] == "3.0 MB on the disk"
