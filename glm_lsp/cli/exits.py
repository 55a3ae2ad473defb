"""The exit codes of every verb, and which one wins when several are true."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """What the process returns. 0 means that it is done and true."""

    OK = 0
    """Nothing needed, or everything applied and verified."""
    PENDING = 1
    """Changes pending (`--check`, `--diff`)."""
    USAGE = 2
    """Usage, configuration or internal error."""
    PARTIAL = 3
    """Some units failed; the rest landed verified (`--write`), or is pending (`--check`, `--diff`)."""
    ROLLED_BACK = 4
    """Verification or writing failed; everything is as it was."""
    CONFLICT = 5
    """Dirty tree, changed under us, or locked."""
    SPENT = 6
    """The time or the tokens given are spent; the same command again goes on."""
    ENGINE = 7
    """The engine is unavailable after retries."""
    POLICY = 8
    """Refused on purpose: path, secret, protected file."""
    NOTHING = 9
    """The model proposed nothing; a task names nothing (`context --task`)."""
    INTERRUPTED = 130
    """SIGINT."""
    TERMINATED = 143
    """SIGTERM."""


_ORDER = (
    *(Exit.TERMINATED, Exit.INTERRUPTED),
    *(Exit.POLICY, Exit.USAGE, Exit.CONFLICT, Exit.ROLLED_BACK, Exit.ENGINE, Exit.SPENT),
    *(Exit.PARTIAL, Exit.NOTHING, Exit.PENDING, Exit.OK),
)


def worst(codes: Iterable[Exit]) -> Exit:
    """The one code to return when several are true: signals win, then 8, 2, 5, 4, 7, 6, 3, 9, 1; else 0."""
    return min(codes, key=_ORDER.index, default=Exit.OK)
