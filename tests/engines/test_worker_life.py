"""One worker for the machine: elected, shared, given up, ended; and never more than one."""

# ruff: noqa: ASYNC220, ASYNC240 (a test may block its own loop)

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from glm_lsp.core.errors import EngineDied, EngineUnavailable
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.frames import Ask, Hello, Refused, Status, Welcome, encode
from glm_lsp.engines.rendezvous import MAIN, place
from tests.engines.living import (
    STALL_S,
    client,
    exists,
    gone,
    load_of,
    parent_of,
    raw,
    token_of,
    until,
    workers,
)

pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.usefixtures("llama", "runtime"),
]


class TestElection:
    async def test_of_several_who_elect_at_once_one_worker_is_left(self) -> None:
        for _ in range(5):
            at = place(MAIN)
            reached = await asyncio.gather(
                *(connection.reach(at, load_of(), f"window {n}", STALL_S) for n in range(4))
            )
            assert len({c.pid for c in reached}) == 1
            assert sorted(workers(at)) == sorted((reached[0].pid, parent_of(reached[0].pid)))
            await asyncio.gather(*(c.close() for c in reached))
            assert await connection.stop(at) == ""
            await until(lambda: not workers(place(MAIN)))

    async def test_processes_that_elect_at_once_share_one_worker(self) -> None:
        program = (
            "import asyncio\n"
            "from tests.engines.living import client\n"
            "async def main():\n"
            "    async with client() as worker:\n"
            "        assert await worker.ready(60) is None\n"
            "        print(worker.pid)\n"
            "asyncio.run(main())\n"
        )
        started = [
            subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path.cwd())
            for _ in range(3)
        ]
        said = {int((await asyncio.to_thread(process.communicate))[0]) for process in started}
        assert len(said) == 1
        assert said < set(workers(place(MAIN)))

    async def test_the_loser_leaves_quietly(self) -> None:
        at = place(MAIN)
        async with client():
            assert await rendezvous.start(at) == 0

    async def test_the_worker_has_left_whoever_started_it(self) -> None:
        async with client() as worker:
            keeper = parent_of(worker.pid)
            assert os.getsid(worker.pid) == os.getsid(keeper) == keeper
            assert os.getpid() not in (keeper, parent_of(keeper))
            assert Path(f"/proc/{worker.pid}/cwd").resolve() == place(MAIN).directory

    async def test_nothing_of_the_working_directory_is_imported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("numpy", "msgspec", "llama_cpp", "signal", "platformdirs", "glm_lsp"):
            (tmp_path / f"{name}.py").write_text("open('taken', 'w').close()\nraise SystemExit(9)\n")
        monkeypatch.chdir(tmp_path)
        async with client() as worker:
            assert await worker.ready(STALL_S) is None
        assert not list(tmp_path.glob("taken"))

    async def test_the_worker_is_told_no_keys(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GLM_LSP_REMOTE_KEY", "secret-of-the-remote-engine")
        async with client() as worker:
            for pid in (worker.pid, parent_of(worker.pid)):
                assert b"secret-of-the" not in Path(f"/proc/{pid}/environ").read_bytes()


class TestGreeting:
    async def check(self, *frames: object) -> list[object]:
        """Somebody strange comes by; the worker says what it returns and stays for others."""
        async with client() as worker:
            replies = await raw(place(MAIN), *frames)  # type: ignore[arg-type]
            assert (await worker.ask()).pid == worker.pid
            return list(replies)

    async def test_a_wrong_token_is_refused(self) -> None:
        (reply,) = await self.check(Hello("0" * 64, "thief", 1, load_of()))
        assert isinstance(reply, Refused)
        assert "token" in reply.message
        assert not reply.ending

    async def test_a_token_that_is_no_ascii_is_refused(self) -> None:
        (reply,) = await self.check(Hello("é" * 64, "thief", 1))
        assert isinstance(reply, Refused)

    @pytest.mark.parametrize(
        "sent",
        [
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\xff\xff\xff\xff",
            b"\x00\x00\x00\x01\xc1",
            encode(Ask()),
            (5).to_bytes(4, "big") + b"12345",
        ],
        ids=["http", "huge", "no msgpack", "no greeting", "number"],
    )
    async def test_something_else_than_a_greeting_is_hung_up_on(self, sent: bytes) -> None:
        assert await self.check(sent) == []

    async def test_a_visitor_asks_and_counts_for_nothing(self) -> None:
        async with client("window") as worker:
            replies = await raw(place(MAIN), Hello(token_of(place(MAIN)), "visitor", 1), Ask())
            assert [type(r) for r in replies[:2]] == [Welcome, Status]
            assert isinstance(replies[1], Status)
            assert replies[1].clients == (f"window (process {os.getpid()})",)
            assert replies[1].pid == worker.pid

    def other_version(self) -> bytes:
        table = {"type": "hello", "protocol": 1, "token": token_of(place(MAIN)), "pid": 1, "unheard": [1]}
        body = msgspec.msgpack.encode(table)
        return len(body).to_bytes(4, "big") + body

    async def test_another_version_is_told_for_whom_the_worker_stays(self) -> None:
        async with client("window"):
            (reply,) = await raw(place(MAIN), self.other_version())
        assert isinstance(reply, Refused)
        assert "another version" in reply.message
        assert f"for window (process {os.getpid()}); end it with glm-lsp worker stop" in reply.message
        assert not reply.ending

    async def test_where_nobody_is_served_another_version_takes_over(self) -> None:
        async with client() as worker:
            pid = worker.pid
        await until(lambda: exists(pid))
        (reply,) = await raw(place(MAIN), self.other_version())
        assert isinstance(reply, Refused)
        assert reply.ending
        await gone(pid)


class TestConflict:
    CHANGES = (
        {"context_tokens": 2048},
        {"kv_tokens": 16_384},
        {"kv_type": "f32"},
        {"batch_tokens": 64},
        {"template": "glm-5.2/0"},
    )

    @pytest.mark.parametrize("change", CHANGES, ids=[next(iter(c)) for c in CHANGES])
    async def test_who_is_served_goes_before_who_comes(self, change: dict[str, object]) -> None:
        async with client("window") as worker:
            with pytest.raises(
                EngineUnavailable, match=r"there and .* here\. It has .*nano.gguf loaded for wi"
            ):
                async with client("other", **change):
                    pass
            assert (await worker.ask()).pid == worker.pid

    async def test_where_nobody_is_served_the_newcomer_gets_its_own(self) -> None:
        async with client() as worker:
            first = worker.pid
        async with client(kv_type="f32") as worker:
            assert worker.pid != first
            assert await worker.ready(STALL_S) is None
            assert "as f32" in worker.placement
        assert not exists(first)

    async def test_another_placement_is_no_reason_to_end_what_others_use(self) -> None:
        async with client() as first, client(threads=2) as second:
            assert first.pid == second.pid
        async with client(threads=2) as third:
            assert third.pid != first.pid

    async def test_a_model_file_that_has_changed_is_another_model(
        self, model_path: str, tmp_path: Path
    ) -> None:
        path = tmp_path / "model.gguf"
        path.write_bytes(Path(model_path).read_bytes())
        async with client(path=str(path)) as worker:
            assert await worker.ready(STALL_S) is None
            (tmp_path / "new").write_bytes(path.read_bytes())
            (tmp_path / "new").replace(path)
            with pytest.raises(EngineUnavailable, match="has been changed since it was loaded"):
                async with client("other", path=str(path)):
                    pass
        async with client("other", path=str(path)) as other:
            assert other.pid != worker.pid


class TestEnd:
    async def test_it_lingers_and_then_ends(self) -> None:
        async with client(linger_s=1.0) as worker:
            assert await worker.ready(STALL_S) is None
            assert (await worker.ask()).ends_in == -1
        async with client(linger_s=1.0) as again:
            assert again.pid == worker.pid
        await gone(worker.pid)
        at = place(MAIN)
        await until(lambda: not rendezvous.held(at))
        assert rendezvous.obituary(at, pid=worker.pid).kind == ""  # type: ignore[union-attr]
        assert not at.socket.exists()
        assert not at.token.exists()

    async def test_without_lingering_it_ends_with_its_last_client(self) -> None:
        async with client("first", linger_s=0) as first, client("second", linger_s=0) as second:
            assert first.pid == second.pid
            await first.close()
            await asyncio.sleep(0.3)
            assert (await second.ask()).clients == (f"second (process {os.getpid()})",)
        await gone(first.pid)

    async def test_stopping_nobody_is_nothing(self) -> None:
        assert await connection.stop(place(MAIN)) is None
        assert await connection.ask(place(MAIN)) is None

    async def test_stop_while_it_loads(self) -> None:
        async with client() as worker:
            assert await connection.stop(place(MAIN)) == ""
            refusal = await worker.ready(STALL_S)
            assert refusal is not None
            assert "stopped by glm-lsp worker stop" in refusal.message
        await until(lambda: not workers(place(MAIN)))

    async def test_a_worker_whose_socket_was_cleaned_away_is_found_again(self) -> None:
        at = place(MAIN)
        async with client(stall_s=4.0) as worker:
            at.socket.unlink()
            async with client("other", stall_s=4.0) as other:
                assert other.pid == worker.pid
            at.token.write_text("0" * 64)
            at.token.unlink()
            async with client("third", stall_s=4.0) as third:
                assert third.pid == worker.pid

    async def test_the_worker_ends_with_its_keeper(self) -> None:
        async with client() as worker:
            os.kill(parent_of(worker.pid), signal.SIGKILL)
            await gone(worker.pid)
            while worker.alive:  # noqa: ASYNC110 (nothing else says when)
                await asyncio.sleep(0.001)
            # Its last word may still be on its way.
            with pytest.raises(EngineDied, match=r"process that kept .* was killed.* starts it again"):
                await worker.ask()
        async with client() as again:
            assert await again.ready(STALL_S) is None

    @pytest.mark.parametrize("which", ["worker", "keeper"])
    async def test_sigterm_is_a_good_end(self, which: str) -> None:
        async with client() as worker:
            assert await worker.ready(STALL_S) is None
            os.kill(worker.pid if which == "worker" else parent_of(worker.pid), signal.SIGTERM)
            await gone(worker.pid)
            refusal = await worker.ready(STALL_S)
            assert refusal is not None
            assert "SIGTERM" in refusal.message

    async def test_signals_of_a_terminal_are_not_for_it(self) -> None:
        async with client() as worker:
            for number in (signal.SIGINT, signal.SIGHUP):
                os.kill(worker.pid, number)
            assert await worker.ready(STALL_S) is None


class TestStart:
    async def test_a_worker_that_cannot_start_is_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/none/python")
        with pytest.raises(EngineUnavailable, match="cannot be started"):
            async with client():
                pass

    async def test_a_directory_in_the_sockets_place_is_a_sentence(self) -> None:
        at = place(MAIN)
        at.socket.mkdir()
        with pytest.raises(EngineUnavailable, match=r"main.sock is a directory.*; remove it"):
            async with client():
                pass
        at.socket.rmdir()
