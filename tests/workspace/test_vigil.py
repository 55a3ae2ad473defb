"""A process that indexes files may be slow, starved or stopped for a while: only a standstill ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glm_lsp.core.errors import GlmError
from glm_lsp.workspace import indexer
from glm_lsp.workspace.indexer import Indexer
from glm_lsp.workspace.outliner import Job
from tests.workspace.trees import Taken, grow

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what a process has done so far is read from /proc"
)
FILES = {"a.py": "def one(): ...\n", "slow.py": "def two(): ...\n", "z.py": "def three(): ...\n"}

SLOWLY = """
import time
def slowly(seconds):
    "Takes long, and gets on all the time."
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        busy = time.process_time() + 0.03
        while time.process_time() < busy:
            pass
        time.sleep(0.3)
"""
SERVE = """
import sys
from glm_lsp.workspace import outliner
sys.exit(outliner.main())
"""
SLOW_FILE = """
from glm_lsp.workspace import outliner
real = outliner.load
def load(root, path, *rest, **more):
    if path == "slow.py":
        slowly(3)
    return real(root, path, *rest, **more)
outliner.load = load
"""


async def indexed(root: Path, *code: str, stall_s: float = 60.0) -> Taken:
    """What a process finds that runs this code."""
    taken = Taken()
    job = Job(str(grow(root, FILES)), "", 10**6, 5.0, 2 << 30)
    command = (sys.executable, "-P", "-c", "".join(code))
    await Indexer(job, taken, workers=1, command=command, stall_s=stall_s).run(list(FILES))
    return taken


async def test_a_start_that_takes_long_but_gets_on_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer, "START_S", 2.5)
    taken = await indexed(tmp_path, SLOWLY, "slowly(5)", SERVE)
    assert taken.found == list(FILES)


async def test_a_file_that_takes_long_but_gets_on_is_waited_for(tmp_path: Path) -> None:
    taken = await indexed(tmp_path, SLOWLY, SLOW_FILE, SERVE, stall_s=1.5)
    assert (taken.found, taken.left) == (list(FILES), {})


INDEXES = """
import asyncio, sys
from pathlib import Path
from glm_lsp.workspace import indexer
from tests.workspace.test_vigil import indexed
indexer.START_S = 3.0
WAITS = '''
import time
from pathlib import Path
Path("{0}/begun").touch()
while not Path("{0}/go").exists():
    time.sleep(0.001)
'''
SERVE = "import sys\\nfrom glm_lsp.workspace import outliner\\nsys.exit(outliner.main())\\n"
print(*asyncio.run(indexed(Path(sys.argv[1]), WAITS.format(sys.argv[1]), SERVE)).found)
"""


def test_a_machine_that_stands_still_for_a_while_costs_nothing(tmp_path: Path) -> None:
    """As one does that is saved and woken: nobody had any time, and the clock has gone on."""
    at = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", INDEXES, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=at
    )
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    all_of_them = [process.pid, *map(int, children)]
    assert len(all_of_them) == 2
    for pid in all_of_them:
        os.kill(pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    time.sleep(5)
    for pid in all_of_them:
        os.kill(pid, signal.SIGCONT)
    out, err = process.communicate()
    assert (out.split(), err) == ([name.encode() for name in FILES], b"")


async def test_one_that_was_killed_at_its_start_is_started_again(tmp_path: Path) -> None:
    """As the system does where memory is short."""
    first = tmp_path / "first"
    dies = f"""
import os, signal
from pathlib import Path
if not Path({str(first)!r}).exists():
    Path({str(first)!r}).touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    taken = await indexed(tmp_path / "root", dies, SERVE)
    assert taken.found == list(FILES)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import time; time.sleep(1000)", "made no progress for 1 s"),
        ("while True: pass", "took more than 1 s of processor time"),
        ("raise SystemExit(3)", "ended with status 3"),
        ("import os; os.close(1); raise SystemExit(4)", "ended with status 4"),
        ("import os; os.abort()", "was ended by SIGABRT"),
        ("print('no frame at all'); import time; time.sleep(1000)", "was ended by SIGKILL"),
    ],
)
async def test_the_error_says_how_the_process_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, why: str
) -> None:
    monkeypatch.setattr(indexer, "START_S", 1.0)
    with pytest.raises(GlmError) as raised:
        await indexed(tmp_path, code)
    assert str(raised.value).startswith(
        f"The process that indexes files does not start: it {why}, 3 times; run `{sys.executable} "
    )


async def test_a_process_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    job = Job(str(grow(tmp_path, FILES)), "", 10**6, 5.0, 2 << 30)
    missing = Indexer(job, Taken(), workers=2, command=(str(tmp_path / "missing"),))
    with pytest.raises(GlmError, match=r"it cannot be made \(No such file or directory\)"):
        await missing.run(list(FILES))
