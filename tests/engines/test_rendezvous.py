"""Where clients and workers meet: whom the directory lets in, and who gets the slot."""

# ruff: noqa: ASYNC240 (a test may block its own loop)

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from glm_lsp.core.errors import EngineStalled, EngineUnavailable
from glm_lsp.engines import connection, holders, rendezvous
from glm_lsp.engines.connection import reach
from glm_lsp.engines.frames import Alive, encode
from glm_lsp.engines.rendezvous import MAIN, RUNTIME_VARIABLE, Lock, Obituary, held, knock, place
from tests.engines.living import load_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes, owners and links of POSIX")


def test_the_directory_is_made_for_us_alone(runtime: Path) -> None:
    at = place(MAIN)
    assert at.directory == runtime
    assert stat.S_IMODE(runtime.stat().st_mode) == 0o700
    assert {p.name for p in (at.socket, at.lock, at.token, at.log, at.last)} == {
        *("main.sock", "main.lock", "main.token", "main.log", "main.last")
    }


@pytest.mark.parametrize("parent", [None, "missing", "relative"])
def test_without_a_directory_of_the_session_it_is_a_temporary_one_without_a_warning(
    parent: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    if parent is not None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", parent if parent == "relative" else str(tmp_path / parent))
    monkeypatch.setattr(rendezvous.tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(rendezvous.os, "geteuid", lambda: 4_000_000)  # who has no /run/user
    assert rendezvous._runtime_directory() == tmp_path / "glm-lsp-4000000"


def test_the_directory_of_the_session_is_used_where_it_is_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(RUNTIME_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert rendezvous._runtime_directory() == tmp_path / "glm-lsp"


def linked(runtime: Path) -> None:
    (runtime.parent / "elsewhere").mkdir(mode=0o700)
    runtime.symlink_to(runtime.parent / "elsewhere")


DIRECTORIES: list[tuple[str, Callable[[Path], object], str]] = [
    ("link", linked, "is a link or a file, not a directory"),
    ("file", lambda path: path.write_text(""), "is a link or a file, not a directory"),
    ("0777", lambda path: (path.mkdir(), path.chmod(0o777)), r"is open to other users \(mode 0777\)"),
    ("0750", lambda path: (path.mkdir(), path.chmod(0o750)), r"is open to other users \(mode 0750\)"),
]


@pytest.mark.parametrize(("make", "message"), [d[1:] for d in DIRECTORIES], ids=[d[0] for d in DIRECTORIES])
def test_a_directory_that_is_not_ours_alone_is_refused(
    make: Callable[[Path], object], message: str, runtime: Path
) -> None:
    make(runtime)
    with pytest.raises(EngineUnavailable, match=rf"{message}.*chmod 700.*{RUNTIME_VARIABLE}"):
        place(MAIN)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_directory_is_refused(runtime: Path) -> None:
    runtime.mkdir(mode=0o700)
    os.chown(runtime, 12345, 12345)
    with pytest.raises(EngineUnavailable, match="belongs to another user"):
        place(MAIN)
    os.chown(runtime, os.geteuid(), os.getegid())


def test_a_directory_that_cannot_be_made_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, "/proc/none/of/ours")
    with pytest.raises(EngineUnavailable, match=r"cannot be made .* set GLM_LSP_RUNTIME"):
        place(MAIN)


def test_a_long_path_gets_a_short_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNTIME_VARIABLE, str(tmp_path / ("long" * 30)))
    at = place(MAIN)
    assert len(os.fsencode(at.socket)) <= 100
    assert stat.S_IMODE(at.socket.parent.stat().st_mode) == 0o700
    with rendezvous.listen(at):
        assert stat.S_IMODE(at.socket.lstat().st_mode) == 0o600
    other = tmp_path / ("longer" * 20)
    monkeypatch.setenv(RUNTIME_VARIABLE, str(other))
    assert place(MAIN).socket != at.socket
    at.socket.unlink()


def test_one_holds_the_lock(runtime: Path) -> None:
    first, second = Lock(place(MAIN)), Lock(place(MAIN))
    assert first.acquire()
    assert held(place(MAIN))
    assert not second.acquire()
    first.release()
    assert not held(place(MAIN))
    assert second.acquire()
    second.release()


def test_a_lock_that_is_a_link_is_refused(runtime: Path) -> None:
    at = place(MAIN)
    victim = runtime / "victim"
    at.lock.symlink_to(victim)
    with pytest.raises(EngineUnavailable, match=r"cannot be opened .*; remove it"):
        held(at)
    assert not victim.exists()
    at.lock.unlink()


LEFT: list[tuple[str, Callable[[Path], object]]] = [
    ("file", lambda path: path.write_text("kept")),
    ("link", lambda path: path.symlink_to("/etc/passwd")),
    ("stale", lambda path: bound(path).close()),
    ("open to all", lambda path: (bound(path).close(), path.chmod(0o777))),
    ("fifo", os.mkfifo),
]


def bound(path: Path) -> socket.socket:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    return server


@pytest.mark.parametrize("make", [m for _, m in LEFT], ids=[name for name, _ in LEFT])
async def test_what_lies_in_the_sockets_place_is_nobody_and_makes_way(
    make: Callable[[Path], object], runtime: Path
) -> None:
    at = place(MAIN)
    rendezvous.new_token(at)
    make(at.socket)
    assert await knock(at) is None
    with rendezvous.listen(at):
        door = await knock(at)
        assert door is not None
        door.writer.close()
        await door.writer.wait_closed()
    assert Path("/etc/passwd").is_file()


async def test_a_socket_that_others_may_enter_is_not_entered(runtime: Path) -> None:
    at = place(MAIN)
    rendezvous.new_token(at)
    with rendezvous.listen(at):
        at.socket.chmod(0o666)
        assert await knock(at) is None


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.chmod(0o644), lambda p: p.write_text("")]
)
async def test_without_a_token_of_ours_nobody_is_asked(
    damage: Callable[[Path], object], runtime: Path
) -> None:
    at = place(MAIN)
    rendezvous.new_token(at)
    with rendezvous.listen(at):
        damage(at.token)
        assert await knock(at) is None


def test_each_start_has_a_token_of_its_own(runtime: Path) -> None:
    at = place(MAIN)
    tokens = {rendezvous.new_token(at) for _ in range(3)}
    assert len(tokens) == 3
    assert all(len(token) == 64 for token in tokens)
    assert stat.S_IMODE(at.token.stat().st_mode) == 0o600


def test_an_obituary_is_for_whom_it_is(runtime: Path) -> None:
    at = place(MAIN)
    assert rendezvous.obituary(at, pid=7) is None
    told = Obituary(7, 6, "EngineDied", "It fell.")
    rendezvous.publish(at, told)
    assert rendezvous.obituary(at, pid=7) == rendezvous.obituary(at, keeper=6) == told
    assert rendezvous.obituary(at, pid=6) is None
    at.last.write_text('{"pid": "x"}', encoding="utf-8")
    assert rendezvous.obituary(at, pid=7) is None


def test_the_meeting_place_imports_nothing_heavy() -> None:
    program = "import sys; from glm_lsp.engines import connection, embedded; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    imported = done.stdout.split()
    assert "glm_lsp.engines.embedded" in imported
    assert not {"numpy", "llama_cpp", "tokenizers"} & set(imported)


@pytest.mark.parametrize("name", ["token", "socket", "last", "log", "old_log"])
async def test_a_directory_in_a_files_place_is_a_sentence(name: str, runtime: Path) -> None:
    at = place(MAIN)
    path: Path = getattr(at, name)
    path.mkdir()
    for tried in (lambda: knock(at), lambda: connection.ask(at), lambda: reach(at, load_of(), "test", 60.0)):
        with pytest.raises(EngineUnavailable, match=rf"At {path} is a directory.*; remove it"):
            await tried()
    path.rmdir()


@contextmanager
def somebody(at: rendezvous.Place, says: bytes | None) -> Iterator[None]:
    """Somebody who listens there, with a token but without the lock: mute (None), or saying something."""
    rendezvous.new_token(at)
    with rendezvous.listen(at) as server, ThreadPoolExecutor(1) as threads:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    with server.accept()[0] as met:
                        met.sendall(says or b"")

        if says is not None:
            threads.submit(serve)
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)


SAYS: list[tuple[str, bytes | None]] = [
    *(("mute", None), ("hangs up", b""), ("http", b"HTTP/1.1 200 OK\r\n\r\n")),
    ("no welcome", encode(Alive(0.0))),
]


@pytest.mark.parametrize("says", [s for _, s in SAYS], ids=[n for n, _ in SAYS])
async def test_whoever_listens_without_the_lock_is_no_worker(
    says: bytes | None, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "SILENCE_S", 0.05)
    at = place(MAIN)
    with somebody(at, says):
        assert await connection.ask(at) is None
        made = await reach(at, load_of(), "test", 600.0)
        assert rendezvous.named(at)[1] == made.pid
        await made.close()
        assert await connection.stop(at) == ""


async def test_whoever_has_the_lock_and_is_silent_is_waited_for(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holders, "SILENCE_S", 0.05)
    at = place(MAIN)
    lock = Lock(at)
    assert lock.acquire()
    lock.name(os.getpid(), 1)
    with somebody(at, None), pytest.raises(EngineStalled, match=r"A worker has the lock .* 1 s .*--force"):
        await reach(at, load_of(), "test", 1.0)
    assert await holders.end(at) == ()  # named, but we are no worker, and 1 has no such lock
    lock.release()
