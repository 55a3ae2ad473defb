"""Questions to git, asked so that the repository's own configuration runs nothing.

No hooks, no file system monitor, no filters, no locks, no pager, no environment of a calling hook, nothing
fetched for a partial clone (its remote's helper would be a command), no signatures verified. Where git
is missing, refuses (`safe.directory`) or takes too long, the answer is None.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Generator, Sequence
from pathlib import Path

TIMEOUT_S = 60.0
MOST_COMMITS = 1000
MOST_LOG_BYTES = 4 << 20
LOG_S = 10.0
_SAFE = (
    *("-c", "core.fsmonitor=false", "-c", f"core.hooksPath={os.devnull}", "-c", "core.untrackedCache=false"),
    *("-c", "core.pager=cat", "-c", "core.quotePath=false", "-c", "log.showSignature=false", "--no-pager"),
)


def run(root: Path, *arguments: str, data: bytes | None = None) -> bytes | None:
    """What `git -C root …` prints; None where it cannot be had or the command fails. Blocks."""
    program = shutil.which("git")
    if program is None:
        return None
    try:
        with _started([program, *_SAFE, "-C", str(root), *arguments], subprocess.PIPE) as process:
            said, _ = process.communicate(data if data is not None else b"", TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said if process.returncode == 0 else None


@contextlib.contextmanager
def _started(command: Sequence[str], stdin: int) -> Generator[subprocess.Popen[bytes]]:
    """A process that has ended when the block is left, however it is left.

    `subprocess.run` does not wait for one that a person has interrupted.
    """
    process = subprocess.Popen(
        command, env=_environment(), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what it was told and did not read
                    stream.close()
        process.wait()


def _environment() -> dict[str, str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    quiet = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    return environment | quiet | {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}


def commits(root: Path, most: int = MOST_COMMITS) -> tuple[frozenset[str], ...]:
    """The files of each of the latest commits that are no merges, relative to `root`, the latest first.

    Reads at most `MOST_LOG_BYTES` of what git says, for at most `LOG_S` seconds, and is content with that.
    None where git says nothing. Blocks.
    """
    program = shutil.which("git")
    if program is None:
        return ()
    limits = (f"-n{most}", "--no-merges", "--no-renames", "--no-ext-diff", "--no-textconv")
    shape = ("--name-only", "--relative", "-z", "--format=%x01", f"-O{os.devnull}", "--ignore-submodules=all")
    try:
        command = [program, *_SAFE, "-C", str(root), "log", *limits, *shape, "--", "."]
        with _started(command, subprocess.DEVNULL) as process:
            timer = threading.Timer(LOG_S, process.kill)
            timer.start()
            try:
                said = process.stdout.read(MOST_LOG_BYTES) if process.stdout else b""
            finally:
                timer.cancel()
    except (OSError, RuntimeError):  # no more processes, or threads
        return ()
    parts = said.split(b"\x01")[1:]
    whole = parts if len(said) < MOST_LOG_BYTES else parts[:-1]
    return tuple(frozenset(os.fsdecode(name) for name in _names(part)) for part in whole)


def _names(part: bytes) -> list[bytes]:
    return [name.lstrip(b"\n") for name in part.split(b"\0") if name.strip(b"\n")]


def files(root: Path, below: Sequence[str] = ()) -> list[bytes] | None:
    """Tracked files and untracked ones that are not ignored, relative to `root`; None outside a work tree.

    With `below` only these files, and the files of these directories. A root that its work tree ignores
    counts as outside: there git has nothing to say.
    """
    only = ("--", *(f":(literal){path}" for path in below)) if below else ()
    listed = run(root, "ls-files", "-co", "--exclude-standard", "-z", *only)
    if listed is None or (not listed and run(root, "check-ignore", "-q", ".") is not None):
        return None
    return sorted({path for path in listed.split(b"\0") if path})


def files_at(root: Path, path: str) -> list[bytes] | None:
    """`files` for one path: empty where git ignores it, None outside a work tree.

    A file that is not on disk yet (an editor's new one) counts as listed unless a rule ignores its name.
    """
    listed = run(root, "ls-files", "-co", "--exclude-standard", "-z", "--", f":(literal){path}")
    if listed is None or (not listed and run(root, "check-ignore", "-q", ".") is not None):
        return None
    if not listed and not os.path.lexists(root / path):
        return [] if run(root, "check-ignore", "-q", "--", f"./{path}") is not None else [os.fsencode(path)]
    return [name for name in listed.split(b"\0") if name]


def is_dirty(root: Path, paths: Sequence[str] = ()) -> tuple[str, ...]:
    """The files among `paths` (if there are none, all below `root`) that differ from the last commit.

    Untracked ones count, too. Paths are relative to `root`, in and out. Empty also where there is no work
    tree: then there is nothing to compare with.
    """
    prefix = run(root, "rev-parse", "--show-prefix")
    status = ("status", "--porcelain=v1", "-z", "-uall", "--ignore-submodules=all", "--")
    found = run(root, *_without_filters(root), *status, *(f":(literal){path}" for path in paths or (".",)))
    if found is None or prefix is None:
        return ()
    base = prefix.rstrip(b"\n")
    names: set[str] = set()
    entries = iter(found.split(b"\0"))
    for entry in entries:
        if len(entry) > 3:
            names.add(os.fsdecode(entry[3:].removeprefix(base)))
            if entry[:1] in b"RC":
                next(entries, None)
    return tuple(sorted(names))


def _without_filters(root: Path) -> tuple[str, ...]:
    """Options that switch off the content filters which the repository's own configuration defines.

    `git status` runs them on files whose times changed: they are commands.
    """
    found = (
        run(root, "config", "--local", "--includes", "--name-only", "-z", "--get-regexp", r"^filter\.") or b""
    )
    keys = {os.fsdecode(key) for key in found.split(b"\0") if key}
    return tuple(part for key in sorted(keys) if "=" not in key for part in ("-c", f"{key}="))
