"""Completions from the repository itself: what is looked through, and when nothing is said."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from glm_lsp.core.secrets import MARKER, masked
from glm_lsp.core.snapshot import Snapshot
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, FileOutline, Refusal, RefusalKind, RepoIndex
from glm_lsp.features import echoes
from glm_lsp.features.echoes import Echoes

LINE = "    client.send(message, timeout=limit)\n"
OWN = "def run(client, message, limit):\n    client.send(message"


def document(path: str, text: str, held: tuple[()] | None = ()) -> Document:
    data = text.encode()
    return Document(path, data, digest(data), "python", 1, held=held)


@dataclass
class Files:
    """Implements `Sources`."""

    files: dict[str, str]
    secret: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list[str])

    async def read(self, path: str) -> Document | Refusal:
        self.asked.append(path)
        if path in self.secret:
            return Refusal(path, RefusalKind.POLICY, "is left out")
        return document(path, self.files[path])


def outline(path: str, text: str) -> FileOutline:
    return FileOutline(path, digest(text.encode()), "python", size_bytes=len(text), lines=text.count("\n"))


def made(files: Files, own: str = OWN) -> tuple[Echoes, Snapshot]:
    """Ready for a request in `own.py`."""
    index = RepoIndex({path: outline(path, text) for path, text in files.files.items()}, 1)
    snapshot = Snapshot("/repository", 1, {"own.py": document("own.py", own)}, index)
    ready = Echoes(files)
    asyncio.run(ready.prepare(snapshot, "own.py", 0.0))
    return ready, snapshot


def said(ready: Echoes, text: str = OWN, after: str = "\n") -> str | None:
    found = ready.suggestion(document("own.py", text + after), len(text.encode()))
    return found.text if found is not None else None


def test_a_file_nearby_says_the_rest_of_the_line() -> None:
    ready, _ = made(Files({"a.py": LINE * 6}))
    assert said(ready) == ", timeout=limit)"


def test_what_must_not_be_read_says_nothing() -> None:
    files = Files({"a.py": LINE * 6}, secret=frozenset({"a.py"}))
    assert said(made(files)[0]) is None
    assert files.asked == ["a.py"]


def test_before_code_and_where_nothing_is_alike_nothing_is_said() -> None:
    ready, _ = made(Files({"a.py": LINE * 6}))
    assert said(ready, after=" + more\n") is None
    assert said(ready, OWN.replace("message", "other")) is None
    assert said(ready, after=")\n") == ", timeout=limit"


def test_where_a_secret_is_typed_and_of_what_was_held_back_nothing_is_said() -> None:
    """A line of another file may look just like it, with the marker of its own secret in the middle."""
    ready, _ = made(Files({"a.py": 'api.connect(password="example", port=1)\n' * 6}))
    assert said(ready, "api.connect(") == 'password="example", port=1)'
    assert said(ready, 'api.connect(password="ghp_') is None
    assert said(ready, 'api.connect(password="exa') is None
    token = masked(document("b.py", 'send("ghp_' + "a1B2c3D4e5F6" * 3 + '")\n', held=None))
    assert MARKER.search(token.data.decode())
    ready, _ = made(Files({"b.py": token.data.decode() * 6}))
    assert said(ready, "send = 1\nsend(") is None


def test_a_large_file_is_not_looked_through_while_somebody_types() -> None:
    ready, _ = made(Files({"a.py": LINE * 6}))
    assert said(ready, "x = 1\n" * echoes.MOST_FILE_BYTES + OWN) is None


def test_what_is_known_is_not_read_again() -> None:
    files = Files({"a.py": LINE * 6})
    ready, snapshot = made(files)
    assert not ready.wants(snapshot, "own.py", echoes.AGAIN_S)
    asyncio.run(ready.prepare(snapshot, "own.py", echoes.AGAIN_S))
    assert files.asked == ["a.py"]


def test_who_is_often_wrong_is_silent_for_a_while() -> None:
    """Each time something else is typed than what was said."""
    ready, _ = made(Files({"a.py": LINE * 6}))
    for _ in range(echoes.JUDGED):
        assert said(ready) is not None
        said(ready, OWN + "\n    other")
    answers = [said(ready) for _ in range(echoes.SILENCE + 1)]
    assert answers[0] is None
    assert answers[-1] == ", timeout=limit)"


def test_who_is_right_goes_on() -> None:
    ready, _ = made(Files({"a.py": LINE * 6}))
    for _ in range(3 * echoes.JUDGED):
        assert said(ready) == ", timeout=limit)"
        said(ready, OWN + ", timeout=limit)\n    ")
