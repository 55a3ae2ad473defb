"""What the events of a session have made of its files: an account of its own, beside the player's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from glm_lsp.cli.player import Player
from glm_lsp.core.snapshot import Snapshot
from tests.bench import sessions
from tests.bench.sessions import Event


class Texts:
    """What the events have made of the files: an account of its own, beside the player's."""

    def __init__(self, root: Path) -> None:
        self._texts = {path: data for path, data in sessions.tree(root).items()}
        self._disk = dict(self._texts)
        self._lines: dict[str, tuple[bytes, tuple[str, ...]]] = {}
        self.player: Player | None = None

    def apply(self, event: Event) -> None:
        path = str(event["path"])
        match event["op"]:
            case "open":
                if "text" in event:
                    self._texts[path] = str(event["text"]).encode()
            case "edit":
                data = self._texts[path]
                new = str(event["text"]).encode()
                self._texts[path] = data[: event["start"]] + new + data[event["end"] :]
            case "save":
                self._disk[path] = self._texts[path]
            case "close":
                self._texts[path] = self._disk.get(path, b"")
            case _:
                pass

    def text(self, path: str) -> str:
        return self._texts.get(path, b"").decode()

    def files(self) -> Mapping[str, bytes]:
        """All that are not empty: one that was moved away has no text."""
        return {path: data for path, data in self._texts.items() if data}

    def lines(self, path: str) -> Sequence[str]:
        """The same value as long as the text is the same."""
        data = self._texts.get(path, b"")
        known = self._lines.get(path)
        if known is None or known[0] is not data:
            known = self._lines[path] = data, tuple(data.decode().split("\n"))
        return known[1]

    def snapshot(self) -> Snapshot:
        assert self.player is not None
        return self.player.repository.snapshot()
