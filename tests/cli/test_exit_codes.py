"""Every exit code of `glm-lsp refactor`, by real runs: what was true, and what it says of it."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from glm_lsp.cli.exits import Exit
from glm_lsp.core.errors import EngineError, EngineStalled, EngineUnavailable
from glm_lsp.engines.scripted import words
from tests.cli.conftest import Cli
from tests.cli.scripted import (
    DOCUMENTED,
    ENGINE,
    ONE,
    SAID,
    TWO,
    Scripted,
    commit,
    edit,
    events,
    finished,
    hold,
    started,
    texts,
    wait_for_first,
)

NANO = Path(__file__).parents[2] / "config/models/nano/nano.gguf"
ONE_DONE, TWO_DONE = DOCUMENTED.format("one", 1), DOCUMENTED.format("two", 2)
NOTHING = (ONE, TWO)
FITS = len(words(SAID))
HALF = {"Document one": SAID, "Document two": "?"}


def untouched(tree: Path) -> None:
    """The tree stays as it is."""


def dirty(tree: Path) -> None:
    (tree / "pkg/one.py").write_text(ONE + "# mine\n")


def secret(tree: Path) -> None:
    (tree / ".env").write_text("KEY=1\n")


def documented(tree: Path) -> None:
    for name, number in (("one", 1), ("two", 2)):
        (tree / f"pkg/{name}.py").write_text(DOCUMENTED.format(name, number))
    commit(tree)


def held(tree: Path) -> None:
    """Somebody else writes: the lock is never given back, the process's end does that."""
    key = hashlib.blake2b(os.fsencode(tree.resolve()), digest_size=12).hexdigest()
    home = tree.parent / "state/transactions" / key
    home.mkdir(parents=True)
    fcntl.flock(os.open(home / "lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX)


def dirty_and_held(tree: Path) -> None:
    dirty(tree)
    held(tree)


@dataclass(frozen=True)
class Case:
    """A run, its code, what stderr holds, and whether the files are as they were."""

    code: int
    arguments: str
    words: str = ""
    said: dict[str, str] | None = None
    fail: EngineError | None = None
    before: Callable[[Path], None] = untouched
    environ: dict[str, str] = field(default_factory=dict[str, str])
    as_it_was: bool = True


AWAY = EngineUnavailable("The engine is away; start it.")
D, W = "--recipe docstrings --diff", "--recipe docstrings --write"
CASES = [
    Case(0, W, "2 files changed.", as_it_was=False),
    Case(0, W, "0 files changed.", before=documented),
    Case(0, f"{D} pkg/one.py", "0 files would change.", before=documented, fail=AWAY),
    Case(1, D, "2 files would change."),
    Case(1, "--recipe docstrings --check", "2 files would change."),
    Case(2, "--recipe gone", "no recipe 'gone'"),
    Case(2, f"{D} gone.py", "There is no such file"),
    Case(2, f"{D} --time-limit x", "is not a time"),
    Case(3, W, "1 file changed, 1 refused; the rest landed verified.", HALF, as_it_was=False),
    Case(
        3, D, "1 file would change, 1 refused; the rest is verified and pending; nothing was written.", HALF
    ),
    Case(3, f"{D} pkg/one.py gone.py", "1 refused; the rest is verified and pending; nothing was written."),
    Case(3, "x pkg --check", "0 files would change, 1 refused", {"Edit pkg/one.py": "", "": "=== end"}),
    Case(5, W, "uncommitted changes", before=dirty, as_it_was=False),
    Case(5, W, "Another glm-lsp is writing", before=held),
    Case(5, W, "Another glm-lsp is writing", before=dirty_and_held),
    Case(6, f"{D} --token-limit {FITS}", "Run the same command again to go on."),
    Case(6, f"{W} --token-limit {FITS}", "1 file left; 1 answer is kept.", as_it_was=False),
    Case(6, f"{W} --token-limit 1", "2 files left; there is no answer to keep yet. No whole answer fitted"),
    Case(6, f"{W} --token-limit 1", "1 file left; 1 answer is kept.", HALF | {"Document one": "?"}),
    Case(7, D, "The engine is away", fail=AWAY),
    Case(7, W, "nothing came", fail=EngineStalled("For long nothing came.")),
    Case(7, f"{D} --token-limit 1", "The engine is away", fail=AWAY),
    Case(8, f"{D} .env", "left out", before=secret),
    Case(8, f"{D} .git/config", "is inside .git, which is version control's own"),
    Case(8, f"{D} ../outside.py gone.py", "is outside of"),
    Case(8, f"{W} --token-limit {FITS} pkg .env", "left out", before=secret, as_it_was=False),
    Case(9, D, "0 files would change, 2 refused; nothing was written.", {"": "?"}),
    Case(9, "x pkg --write", "0 files changed.", {"": "=== end"}),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{c.code} {c.arguments} {c.words}" for c in CASES])
def test_the_code_is_true(refactor: Scripted, tree: Path, case: Case) -> None:
    case.before(tree)
    before = texts(tree)
    ran = refactor(*case.arguments.split(), said=case.said, fail=case.fail, environ=case.environ)
    assert (ran.code, "Traceback" in ran.err) == (case.code, False), ran
    assert case.words in ran.err
    assert (texts(tree) == before) is case.as_it_was


@pytest.mark.parametrize("mode", ["--check", "--write"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (lambda whole: whole[:600_000], "cut off"),
        (lambda whole: whole[:300], "damaged"),
        (lambda whole: b"<html>404</html>", "not a GGUF"),
    ],
    ids=["missing", "cut off", "damaged", "no model"],
)
def test_a_model_file_that_cannot_serve_is_code_7(
    cli: Cli, tree: Path, mode: str, content: Callable[[bytes], bytes] | None, words: str
) -> None:
    pytest.importorskip("llama_cpp", reason="only the embedded engine reads model files")
    model = tree.parent / "nano.gguf"
    if content:
        model.write_bytes(content(NANO.read_bytes()))
    environ = {"GLM_LSP_MODEL_PATH": str(model), "GLM_LSP_STATE": str(tree.parent / "state")}
    ran = cli("refactor", "--recipe", "docstrings", mode, cwd=tree, environ=environ)
    assert ran.code == 7 and words in ran.err and "Traceback" not in ran.err, ran
    assert texts(tree) == NOTHING
    wrong = cli("refactor", "x", mode, "--set", "model.profile=gone", cwd=tree, environ=environ)
    assert wrong.code == 2 and "gone" in wrong.err, wrong


def test_a_disk_that_refuses_is_code_4(cli: Cli, tree: Path) -> None:
    broken = (
        "import errno\nfrom glm_lsp.workspace import places\n"
        "def full(*a): raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "places.Place.write_beside = full\n"
    )
    environ = {"SAID": json.dumps(HALF), "GLM_LSP_STATE": str(tree.parent / "state")}
    ran = cli("refactor", *W.split(), "--token-limit", "20", cwd=tree, environ=environ, code=broken + ENGINE)
    assert (ran.code, ran.out) == (4, ""), ran
    assert "No space left on device" in ran.err and "nothing was changed" in ran.err
    assert texts(tree) == NOTHING


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_win(tree: Path, number: int, code: int) -> None:
    secret(tree)
    hold(tree)
    with started(tree, *W.split(), "pkg", ".env", "--token-limit", "9") as child:
        wait_for_first(child)
        child.send_signal(number)
        assert finished(child) == code
    assert texts(tree) == NOTHING
    assert not list(tree.rglob("*.tmp"))


def test_each_code_of_the_table_has_a_run() -> None:
    assert {*(c.code for c in CASES), 4, 130, 143} == set(Exit)


def test_a_unit_with_a_refusal_in_it_is_partial(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/one.py").write_text(ONE + "\n\ndef other():\n    return 5\n")
    said = {"Document other": "?", "Document two": "?", "": SAID}
    ran = refactor(*D.split(), "--format", "jsonl", said=said)
    states = [(e["path"], e["state"]) for e in events(ran) if e["event"] == "unit"]
    assert (ran.code, states) == (3, [("pkg/one.py", "partial"), ("pkg/two.py", "refused")])
    words = {"": edit("pkg/one.py", texts(tree)[0], 2, "    return 3") + "\n=== file gone.py\n=== end"}
    ran = refactor("x", "pkg/one.py", "--format", "jsonl", said=words)
    assert [e["state"] for e in events(ran) if e["event"] == "unit"] in (["partial"], ["refused"])


@pytest.mark.parametrize("path", ["../outside.py", ".env", "gone.py", ".git/config", "binary.py"])
def test_a_refusal_names_its_path_once(refactor: Scripted, tree: Path, path: str) -> None:
    secret(tree)
    (tree / "binary.py").write_bytes(b"\x00\x01")
    ran = refactor(*D.split(), path)
    (line,) = [line for line in ran.err.splitlines() if Path(path).name in line]
    assert line.count(Path(path).name) == 1


def test_doctor_puts_an_interrupted_write_right(cli: Cli, tree: Path) -> None:
    dies = (
        "import os\nfrom glm_lsp.workspace import places\nreal = places.Place.take\n"
        "def take(self, name):\n    real(self, name)\n    os.kill(os.getpid(), 9)\n"
        "places.Place.take = take\n"
    )
    environ = {"SAID": json.dumps({"": SAID}), "GLM_LSP_STATE": str(tree.parent / "state")}
    assert cli("refactor", *W.split(), cwd=tree, environ=environ, code=dies + ENGINE).code == -9
    ours, theirs = list((tree / "pkg").glob(".*.tmp")), tree / "pkg/.one.py.0123456789abcdef.tmp"
    theirs.write_text("not in the journal\n")
    assert ours
    told = cli("doctor", "--format", "json", cwd=tree, environ=environ)
    assert "put right: pkg/one.py" in told.json["interrupted_write"]
    assert texts(tree) == NOTHING
    assert sorted((tree / "pkg").iterdir()) == [theirs, tree / "pkg/one.py", tree / "pkg/two.py"]
    assert cli("doctor", "--format", "json", cwd=tree, environ=environ).json["interrupted_write"] == ""


def test_a_full_stdout_is_said_and_is_code_2(cli: Cli, tree: Path) -> None:
    full = "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 1)\n"
    environ = {"SAID": json.dumps({"": SAID}), "GLM_LSP_STATE": str(tree.parent / "state")}
    for arguments in (["refactor", *D.split()], ["refactor", *D.split(), "--format", "jsonl"], ["--help"]):
        ran = cli(*arguments, cwd=tree, environ=environ, code=full + ENGINE)
        assert ran.code == 2 and "could not be written to stdout: No space left on device" in ran.err, ran
        assert "Traceback" not in ran.err


def test_a_full_stderr_changes_no_exit_code(cli: Cli, tree: Path) -> None:
    full = "import os, sys\nos.dup2(os.open('/dev/full', os.O_WRONLY), 2)\n"
    environ = {"SAID": json.dumps({"": SAID}), "GLM_LSP_STATE": str(tree.parent / "state")}
    assert cli("index", "nowhere", cwd=tree, environ=environ, code=full + ENGINE).code == 2


@pytest.mark.parametrize(("endpoint", "code"), [("notaurl", 2), ("", 7)])
def test_a_wrong_address_is_code_2_and_none_at_all_is_code_7(
    cli: Cli, tree: Path, endpoint: str, code: int
) -> None:
    remote = ("--set", "engine.default=remote", "--set", f"remote.endpoint={endpoint}")
    ran = cli("refactor", *remote, *D.split(), cwd=tree)
    assert (ran.code, texts(tree)) == (code, NOTHING)
    assert "remote.endpoint" in ran.err
