"""A directory made of a mapping, and what is found in it, for the tests of this room."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from glm_lsp.workspace.discovery import Skipped
from glm_lsp.workspace.encoding import Facts


def grow(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below `root`; return it."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def git(root: Path, *arguments: str) -> str:
    """Run git as a person would, with a fixed identity and no configuration of this machine."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=root, env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


class Taken:
    """What a run of the indexer has found, and left out with a reason."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.left: dict[str, str] = {}

    def outlined(self, path: str, record: bytes, first: Facts) -> None:
        self.found.append(path)

    def unchanged(self, path: str) -> None:
        raise AssertionError(path)

    def skipped(self, skipped: Skipped) -> None:
        assert skipped.path not in self.left
        self.left[skipped.path] = skipped.reason
