"""Tests and what they test: files named alike but for `test`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Mapping

from glm_lsp.core.imports import shared


def stems(paths: Iterable[str]) -> dict[str, list[str]]:
    """Files by their names without ends and without what marks a test."""
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(_stem(path), []).append(path)
    return found


def paired(path: str, known: Mapping[str, list[str]]) -> str:
    """The nearest file of `stems` that tests `path`, or that `path` tests; else empty."""
    mine = "test" in path
    found = [p for p in known.get(_stem(path), ()) if p != path and ("test" in p) is not mine]
    return max(found, key=lambda p: (shared(p, path), p), default="")


def _stem(path: str) -> str:
    name = posixpath.basename(path).partition(".")[0]
    return re.sub(r"^tests?_|_tests?$|Tests?$", "", name)
