"""A disk that fails at any call, a process that is killed at any moment: no wrong entry, no exception."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from saving import files, got, put, saving, state, tokens

from glm_lsp.engines.worker import kvfile

HERE = Path(__file__).parent
CALLS = ("open", "ftruncate", "posix_fallocate", "write", "fsync", "replace", "unlink")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE, errno.EDQUOT)


def failing(call: Callable[..., Any], at: int, error: int, fired: list[int]) -> Callable[..., Any]:
    """The call, which fails the `at`th time that the writer thread makes it."""
    count = 0

    def made(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        if threading.current_thread().name == "saved-kv":
            count += 1
            if count == at:
                fired.append(at)
                raise OSError(error, os.strerror(error))
        return call(*arguments, **named)

    return made


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_fails_leaves_the_old_entries_and_no_rest(
    name: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kvfile, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(kvfile, "SYNC_BYTES", 2000)
    call = getattr(os, name)
    for at in range(1, 100):
        directory = tmp_path / str(at)
        fired: list[int] = []
        with saving(directory) as (saved, _):
            put(saved, tokens(300), state(100))
            put(saved, tokens(400, 1)[:300], state(100, 1))
        with saving(directory) as (saved, said):
            # What lies there is known: it is the save whose calls fail.
            assert saved.best(tokens(300)) is not None
            monkeypatch.setattr(os, name, failing(call, at, error, fired))
            put(saved, tokens(400, 1), state(5500, 2))
            monkeypatch.setattr(os, name, call)
            longer = got(saved, tokens(400, 1))
            assert longer in (
                (400, bytes(state(5500, 2)), tokens(400, 1).tolist()),
                (300, bytes(state(100, 1)), tokens(400, 1)[:300].tolist()),
            )
            assert got(saved, tokens(300)) == (300, bytes(state(100)), tokens(300).tolist())
            assert len(said) <= 1
            assert (longer is not None and longer[0] == 400) or len(said) == 1
            assert all(str(directory) in sentence and sentence.endswith(".") for sentence in said)
        with saving(directory) as (saved, said):
            put(saved, tokens(2, 9), state(1))
            assert [rest for rest in files(directory) if rest.endswith(".part")] == []
            assert said == []
        if not fired:
            assert at > 1, f"os.{name} is never called"
            return
    raise AssertionError("it never came to an end")


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["open", "pread", "preadv"])
def test_a_disk_that_cannot_be_read_gives_nothing(
    name: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with saving(tmp_path) as (saved, said):
        put(saved, tokens(300), state(100))
        found = saved.best(tokens(300))
        assert found is not None

        def fail(*_arguments: Any, **_named: Any) -> Any:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patched:
            patched.setattr(os, name, fail)
            assert saved.load(found) is None
        assert len(said) == 1
        transient = error == errno.EMFILE  # it may be over soon
        assert (saved.best(tokens(300)) is not None) == transient


def run(code: str, *arguments: str | Path, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Python code in a process of its own, which finds the tests' helpers."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    return subprocess.run(
        [*before, sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


KILLED_AT_EACH_CALL = """
import os, signal, sys, threading
from pathlib import Path
from glm_lsp.engines.worker import kvfile
from saving import files, got, put, saving, state, tokens

kvfile.BLOCK_BYTES, kvfile.SYNC_BYTES = 1000, 2000
calls = [n for n in ("open", "ftruncate", "posix_fallocate", "write", "fsync", "replace", "unlink", "close")
         if hasattr(os, n)]
whole, short = tokens(400, 1), tokens(400, 1)[:300]
deaths = 0

def armed(call, budget):
    def made(*arguments, **named):
        if threading.current_thread().name == "saved-kv":
            budget[0] -= 1
            if budget[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **named)
    return made

for at in range(1, 200):
    directory = Path(sys.argv[1]) / str(at)
    with saving(directory) as (saved, _):
        put(saved, short, state(100, 1))
    if not (child := os.fork()):
        budget = [at]
        for name in calls:
            setattr(os, name, armed(getattr(os, name), budget))
        with saving(directory) as (saved, _):
            put(saved, whole, state(5500, 2))
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    deaths += os.WIFSIGNALED(status)
    with saving(directory) as (saved, said):
        found = got(saved, whole)
        old, new = (300, state(100, 1), short), (400, state(5500, 2), whole)
        assert found in [(count, bytes(data), ids.tolist()) for count, data, ids in (old, new)]
        put(saved, tokens(3, 5), state(1))
        assert not [name for name in files(directory) if name.endswith(".part")], files(directory)
        assert not said, said
    if not os.WIFSIGNALED(status):
        assert found[0] == 400
        break
print(deaths)
"""


@pytest.mark.slow
def test_a_kill_at_any_call_leaves_the_old_entry_or_the_new_one(tmp_path: Path) -> None:
    done = run(KILLED_AT_EACH_CALL, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20


KILLED_AT_ANY_TIME = """
import os, random, signal, sys, time
from pathlib import Path
from saving import files, got, put, saving, state, tokens

directory, clock, deaths, seen = Path(sys.argv[1]), random.Random(1), 0, set()
for turn in range(int(sys.argv[2])):
    if not (child := os.fork()):
        with saving(directory, cap_bytes=40_000_000) as (saved, _):
            for seed in range(1000):
                put(saved, tokens(500, 10 * turn + seed), state(5_000_000, seed))
        os._exit(0)
    time.sleep(clock.uniform(0.0, 0.25))
    os.kill(child, signal.SIGKILL)
    deaths += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with saving(directory, cap_bytes=40_000_000) as (saved, said):
        for seed in range(10 * turn, 10 * turn + 4):
            if (found := got(saved, tokens(500, seed))) is not None:
                seen.add(seed)
                assert found[1] in {bytes(state(5_000_000, seed - 10 * t)) for t in (turn, turn - 1)}
        assert not said, said
with saving(directory, cap_bytes=40_000_000) as (saved, said):
    put(saved, tokens(3, 10**6), state(1))
    assert not [name for name in files(directory) if name.endswith(".part")]
    assert saved.bytes_on_disk <= 40_000_000
print(deaths, len(seen))
"""


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_no_wrong_entry(tmp_path: Path) -> None:
    turns = 40
    done = run(KILLED_AT_ANY_TIME, tmp_path, str(turns))
    assert done.returncode == 0, done.stderr
    deaths, seen = map(int, done.stdout.split())
    assert deaths == turns
    assert seen > 0


LIMITED = """
import resource, sys
from pathlib import Path
from saving import files, got, put, saving, state, tokens

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
with saving(Path(sys.argv[1])) as (saved, said):
    assert put(saved, tokens(10), state(1000))
    put(saved, tokens(10, 1), state(200_000))
    assert got(saved, tokens(10)) is not None
    assert len(files(saved.directory)) == 1
    print(*said)
"""


def test_a_limit_on_the_size_of_files_is_a_full_disk(tmp_path: Path) -> None:
    done = run(LIMITED, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "is full" in done.stdout
    assert "worker.saved_kv_gb" in done.stdout


FULL = """
import os, sys
from pathlib import Path
from glm_lsp.engines.worker import shelf
from saving import files, got, put, saving, state, tokens

if sys.argv[2] == "while writing":
    shelf.make_room = lambda *_: []
    del os.posix_fallocate
with saving(Path(sys.argv[1]) / "kv", cap_bytes=10**9) as (saved, said):
    assert put(saved, tokens(10), state(1000))
    put(saved, tokens(10, 1), state(6_000_000))
    assert got(saved, tokens(10)) is not None
    assert len(files(saved.directory)) == 1, files(saved.directory)
    print(*said)
"""


@pytest.mark.parametrize(("when", "words"), [("beforehand", "nearly full"), ("while writing", "is full")])
def test_a_full_disk_is_a_sentence(when: str, words: str, tmp_path: Path) -> None:
    mount = 'mount -t tmpfs -o size=4m none "$1" && shift && exec "$@"'
    space = ("unshare", "-rm", "sh", "-c", mount, "sh", str(tmp_path))
    if not shutil.which("unshare") or subprocess.run([*space, "true"], capture_output=True).returncode:
        pytest.skip("a small file system of its own cannot be mounted here")
    done = run(FULL, tmp_path, when, before=space)
    assert done.returncode == 0, done.stderr
    assert words in done.stdout


MEMORY = """
import sys
from pathlib import Path
from saving import put, saving, state, tokens

def peak():
    return next(int(l.split()[1]) << 10 for l in open("/proc/self/status") if l.startswith("VmHWM"))

size = int(sys.argv[2])
with saving(Path(sys.argv[1])) as (saved, said):
    if sys.argv[3] == "save":
        data = state(size)
        before = peak()
        assert put(saved, tokens(1000), data)
    else:
        before = peak()
        found = saved.best(tokens(1000))
        loaded = saved.load(found)
        assert len(loaded[0]) == size
    print(peak() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks at its memory through /proc")
def test_a_prompt_takes_its_size_in_memory_once(tmp_path: Path) -> None:
    size = 160_000_000
    spare = 24_000_000
    for what, most in (("save", spare), ("load", size + spare)):
        done = run(MEMORY, tmp_path, str(size), what)
        assert done.returncode == 0, done.stderr
        assert int(done.stdout) < most, what
