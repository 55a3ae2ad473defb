"""What others have put where clients and worker meet: nobody trusts it, nobody waits for ever for it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from glm_lsp.core.errors import EngineDied, EngineUnavailable
from glm_lsp.engines import connection, rendezvous
from glm_lsp.engines.rendezvous import MAIN, RUNTIME_VARIABLE, Place, place
from tests.engines.living import STALL_S, client, load_of, until, workers

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="modes, owners and mounts of Linux"),
    pytest.mark.usefixtures("llama", "runtime"),
]
OTHER = 12345
root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away"
)


def given_away(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """What `make` makes, as somebody else's."""

    def made(path: Path) -> None:
        make(path)
        os.chown(path, OTHER, OTHER, follow_symlinks=False)

    return made


def file(path: Path) -> None:
    path.write_text("0" * 64, encoding="ascii")
    path.chmod(0o600)


def open_to_all(path: Path) -> None:
    file(path)
    path.chmod(0o666)


def fifo(path: Path) -> None:
    os.mkfifo(path, 0o600)


def link(path: Path) -> None:
    path.symlink_to(path.with_name("kept"))


def link_into_nowhere(path: Path) -> None:
    path.symlink_to("/none/such")


def listening(path: Path) -> None:
    """A socket that nobody serves any more."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
    path.chmod(0o600)


FOREIGN = {
    **{"fifo": fifo, "link": link, "link into nowhere": link_into_nowhere, "open to all": open_to_all},
}
OTHERS = {"file": given_away(file), "fifo": given_away(fifo), "link": given_away(link)}
NAMES = ("token", "socket", "last", "log", "old_log")


@pytest.mark.embedded
class TestFiles:
    """A worker starts all the same, at names that are then its own."""

    async def check(self, name: str, make: Callable[[Path], object]) -> None:
        at = place(MAIN)
        kept = at.directory / "kept"
        kept.write_text("kept")
        path: Path = getattr(at, name)
        make(path)
        assert await connection.ask(at) is None
        async with client() as worker:
            assert (await worker.ask()).pid == worker.pid
            for ours in (at.token, at.socket, at.log):
                status = ours.lstat()
                assert status.st_uid == os.geteuid()
                assert status.st_mode & 0o077 == 0
        assert kept.read_text() == "kept"
        assert await connection.stop(at) == ""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("kind", FOREIGN)
    async def test_of_another_kind(self, name: str, kind: str) -> None:
        await self.check(name, FOREIGN[kind])

    @root
    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("kind", OTHERS)
    async def test_of_another_user(self, name: str, kind: str) -> None:
        await self.check(name, OTHERS[kind])

    @root
    async def test_a_socket_of_another_user(self) -> None:
        await self.check("socket", given_away(listening))


LOCKS: list[tuple[str, Callable[[Path], object], str]] = [
    ("fifo", fifo, "is no file of yours"),
    ("link", link_into_nowhere, "cannot be opened"),
    ("directory", lambda path: path.mkdir(), "cannot be opened"),
]


@pytest.mark.parametrize(("make", "message"), [each[1:] for each in LOCKS], ids=[each[0] for each in LOCKS])
async def test_a_lock_that_is_none_is_a_sentence(make: Callable[[Path], object], message: str) -> None:
    at = place(MAIN)
    make(at.lock)
    for tried in (lambda: connection.stop(at), lambda: connection.reach(at, load_of(), "test", STALL_S)):
        with pytest.raises(EngineUnavailable, match=rf"The lock {at.lock} {message}.*remove it"):
            await tried()
    at.lock.rmdir() if at.lock.is_dir() else at.lock.unlink()


@root
async def test_a_lock_of_another_user_is_a_sentence() -> None:
    at = place(MAIN)
    given_away(file)(at.lock)
    with pytest.raises(EngineUnavailable, match="is no file of yours; remove it"):
        await connection.reach(at, load_of(), "test", STALL_S)
    at.lock.unlink()


def test_a_directory_that_others_can_replace_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = tmp_path / "open"
    above.mkdir()
    monkeypatch.setenv(RUNTIME_VARIABLE, str(above / "run"))
    above.chmod(0o777)
    with pytest.raises(EngineUnavailable, match=r"can be replaced by other users \(.*/open has mode 0777\)"):
        place(MAIN)
    above.chmod(0o1777)
    assert place(MAIN).directory == above / "run"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """A runtime directory on a file system of its own, with room for some pages."""
    mounted = tmp_path / "m"
    mounted.mkdir(mode=0o700)
    command = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here: that takes root, and the right to mount")
    try:
        # A socket's path is short, so the socket lies elsewhere: only its files are on the full one.
        monkeypatch.setenv(RUNTIME_VARIABLE, str(mounted / "run"))
        yield place(MAIN)
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=True)


@pytest.mark.embedded
async def test_a_full_runtime_directory_is_a_sentence_and_heals(small: Place) -> None:
    filler = small.directory / "filler"
    with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as full:
        while True:
            full.write(bytes(4096))
    with pytest.raises((EngineUnavailable, EngineDied), match=r"No space left|is full"):
        await connection.reach(small, load_of(), "test", STALL_S)
    await until(lambda: not workers(small))
    filler.unlink()
    async with client() as worker:
        assert await worker.ready(STALL_S) is None
    assert await connection.stop(small) == ""
    await until(lambda: not workers(small))


class TestElection:
    """Of many who elect at once, in processes of their own, one has the slot; the others leave quietly."""

    def test_many_at_once(self) -> None:
        for _ in range(4):
            at = place(MAIN)
            command = (sys.executable, "-P", "-m", "glm_lsp.engines.worker", MAIN)
            started = [
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                for _ in range(6)
            ]
            heard = [(*process.communicate(), process.returncode) for process in started]
            won = [said.strip() for said, _, code in heard if code == 0]
            assert len(won) == 1
            assert sorted(code for _, _, code in heard) == [0, *[rendezvous.BUSY] * 5]
            assert not any(complained for _, complained, _ in heard)
            assert int(won[0]) in workers(at)
            os.kill(int(won[0]), 9)
            while rendezvous.held(at):
                time.sleep(0.05)
