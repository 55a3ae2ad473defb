"""A run that is killed at any boundary is put right by the next: no mixture, nothing lost, and it is told."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from glm_lsp.core.errors import ConflictError
from glm_lsp.workspace.apply import apply
from glm_lsp.workspace.journal import pending, recover
from tests.workspace.three_files import AFTER, BEFORE, contents, nothing_left, three

ROOT = str(Path(__file__).parents[2])
STEPS = [
    *("kept 0", "kept 1", "kept 2", "prepared", "written 0", "written 1", "written 2", "replacing"),
    *("replaced 0", "replaced 1", "replaced 2", "done"),
]
KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from tests.workspace.three_files import three
from glm_lsp.workspace.apply import apply

def die(step):
    if step == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

apply(Path(sys.argv[1]), three(), state=Path(sys.argv[2]), step=die)
"""


def test_the_steps_are_all_there_are(root: Path, state: Path) -> None:
    seen: list[str] = []
    apply(root, three(), state=state, step=seen.append)
    assert seen == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_boundary_leaves_no_mixture(root: Path, state: Path, step: str) -> None:
    arguments = [str(root), str(state), step, ROOT]
    died = subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert died.returncode == -signal.SIGKILL
    recover(root, state=state)
    after = AFTER if step in ("replaced 2", "done") else BEFORE
    assert contents(root) == after
    assert recover(root, state=state) == ()
    apply(root, [] if after is AFTER else three(), state=state)
    assert contents(root) == AFTER
    nothing_left(root, state)


def test_a_file_edited_after_the_kill_is_kept_and_told(root: Path, state: Path) -> None:
    """Neither the edit nor the text from before the run is lost, and nobody is told that all is well."""
    died = subprocess.run(
        [sys.executable, "-c", KILLED, str(root), str(state), "replaced 1", ROOT],
        check=False,
    )
    assert died.returncode == -signal.SIGKILL
    (edited,) = [p for p in root.rglob("*.py") if p.read_text() == AFTER[0]]
    edited.write_text("a = 2\n# mine\n")
    with pytest.raises(ConflictError, match="changed since") as told:
        recover(root, state=state)
    assert edited.name in str(told.value)
    assert edited.read_text() == "a = 2\n# mine\n"
    assert contents(root)[1:] == BEFORE[1:]
    assert [p.read_text() for p in state.rglob("*-kept/*")] == [BEFORE[0]]
    assert recover(root, state=state) == ()


RECOVERY_KILLED = """
import os, signal, sys
from pathlib import Path
from glm_lsp.workspace import journal, places

real = places.Place.take

def take(self, name):
    if sys.argv[3] == "after":
        real(self, name)
    os.kill(os.getpid(), signal.SIGKILL)

places.Place.take = take
journal.recover(Path(sys.argv[1]), state=Path(sys.argv[2]))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_recovery_that_is_killed_is_finished_by_the_next(root: Path, state: Path, when: str) -> None:
    arguments = [str(root), str(state), "replaced 1", ROOT]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    again = subprocess.run([sys.executable, "-c", RECOVERY_KILLED, str(root), str(state), when], check=False)
    assert again.returncode == -signal.SIGKILL
    recover(root, state=state)
    assert contents(root) == BEFORE
    nothing_left(root, state)


def test_the_next_run_recovers_by_itself_and_says_so(root: Path, state: Path) -> None:
    arguments = [str(root), str(state), "replaced 1", ROOT]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    assert pending(root, state=state)
    report = apply(root, three("3"), state=state)
    assert report.recovered == ("pkg/a.py", "pkg/b.py")
    assert contents(root) == ["a = 3\n", "b = 3\n", "c = 3\n"]


def test_an_interrupt_between_two_files_puts_everything_back(root: Path, state: Path) -> None:
    def interrupt(step: str) -> None:
        if step == "replaced 1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(root, three(), state=state, step=interrupt)
    assert contents(root) == BEFORE
    nothing_left(root, state)


def test_a_damaged_journal_is_not_believed(root: Path, state: Path) -> None:
    arguments = [str(root), str(state), "replaced 1", ROOT]
    subprocess.run([sys.executable, "-c", KILLED, *arguments], check=False)
    journal = next(state.rglob("journal.json"))
    for damaged in (b"{", b"[]", b"1", b'{"state": "replacing", "files": [{"path": "pkg/a.py"}]}', b"\xff"):
        journal.write_bytes(damaged)
        with pytest.raises(ConflictError, match="cannot be read"):
            apply(root, three(), state=state)
