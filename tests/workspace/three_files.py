"""A repository of three files, a change to each, and how they look before and after."""

from __future__ import annotations

from pathlib import Path

from glm_lsp.core.text import digest
from glm_lsp.core.values import Change, Span, TextEdit
from glm_lsp.workspace.journal import pending


def make(root: Path) -> None:
    (root / "pkg").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (root / "pkg" / f"{name}.py").write_bytes(f"{name} = 1\n".encode())


def change(path: str, base: bytes, old: bytes, new: str) -> Change:
    """Replace the first `old` in a file whose text (without byte order mark) is `base`."""
    at = base.index(old)
    return Change(path, digest(base), (TextEdit(Span(at, at + len(old)), new),))


def three(new: str = "2") -> list[Change]:
    return [change(f"pkg/{n}.py", f"{n} = 1\n".encode(), b"1", new) for n in ("a", "b", "c")]


def contents(root: Path) -> list[str]:
    return [(root / "pkg" / f"{n}.py").read_text() for n in ("a", "b", "c")]


BEFORE, AFTER = ["a = 1\n", "b = 1\n", "c = 1\n"], ["a = 2\n", "b = 2\n", "c = 2\n"]


def nothing_left(root: Path, state: Path) -> None:
    assert sorted(p.name for p in root.rglob("*") if p.is_file() and ".tmp" in p.name) == []
    assert [p.name for p in state.rglob("*") if p.is_file()] in ([], ["lock"])
    assert not pending(root, state=state)
