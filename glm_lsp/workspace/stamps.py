"""What tells that a file is the one that was read: its times and number, and a clock that nobody has set."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

MARGIN_NS = 2_100_000_000
"""Times on a disk may be as coarse as two seconds."""
JUMP_NS = 2_000_000_000


class Stat(NamedTuple):
    """A file as `lstat` saw it, just before it was read at `checked_ns`."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    checked_ns: int

    def vouches(self, now: Stat) -> bool:
        """Whether the file is certainly the one that was read.

        A change within the same tick of the clock would leave the same times: a file that was younger than
        `MARGIN_NS` when it was read must be read again.
        """
        return self[:4] == now[:4] and max(self.mtime_ns, self.ctime_ns) + MARGIN_NS < self.checked_ns


def stat_of(path: str | Path, now_ns: int) -> Stat | None:
    """What `lstat` says of a regular file; None for anything else."""
    try:
        found = os.lstat(path)
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Stat(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino, now_ns)


class Clock(msgspec.Struct, array_like=True, frozen=True):
    """The time of day, and how it relates to a clock that nobody sets."""

    wall_ns: int
    ahead_ns: int
    boot: str

    @classmethod
    def now(cls) -> Clock:
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        except (OSError, ValueError):
            boot = ""
        steady = time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
        wall = time.time_ns()
        return cls(wall, wall - steady, boot)

    def jumped(self, now: Clock) -> bool:
        """Whether times of then and of now cannot be compared."""
        if now.wall_ns < self.wall_ns:
            return True
        return bool(self.boot) and self.boot == now.boot and abs(now.ahead_ns - self.ahead_ns) > JUMP_NS
