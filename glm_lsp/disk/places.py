"""Where caches lie, and that they are ours alone."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

CACHE_VARIABLE = "GLM_LSP_CACHE"


class Refused(Exception):  # noqa: N818 (reads as the state that it is)
    """What we did not write, or must not use."""


def default_directory() -> Path:
    """Where caches go: the environment's `GLM_LSP_CACHE`, else the user's cache directory."""
    given = os.environ.get(CACHE_VARIABLE, "")
    if given:
        return Path(given).absolute()
    import platformdirs  # noqa: PLC0415 (costs every start otherwise)

    return Path(platformdirs.user_cache_dir("glm-lsp", appauthor=False))


def private_directory(directory: Path) -> None:
    """Make the directory, ours alone. Raises Refused where it is a link or somebody else's."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        directory.mkdir(mode=0o700)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise Refused("it is not a directory of yours")
    if stat.S_IMODE(status.st_mode) != 0o700:
        directory.chmod(0o700)
