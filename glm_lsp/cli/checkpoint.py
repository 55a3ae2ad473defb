"""What an unfinished refactor leaves in the user's cache, so that the same command goes on from there.

Answers lie under hashes of what they depend on; prompts, tasks and keys are not written down. A run that
comes to its end forgets its checkpoint: the next one asks anew.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from glm_lsp.core.generation import EngineFacts, Finish
from glm_lsp.core.layout import LAYOUT_VERSION
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.core.values import Refusal, RefusalKind
from glm_lsp.disk.store import Store, default_directory
from glm_lsp.features.ration import Kept

VERSION = 1
LONGEST_ANSWER = 1 << 18
"""Characters; a longer answer is not kept."""
MOST_LANDED = 20_000
_DEPENDS = (
    *("edits.format", "edits.max_tokens", "thinking.refactor", "thinking.reasoning_tokens"),
    *("sampling.temperature", "sampling.top_p", "sampling.seed"),
)
_END_BYTES = 1 << 20


def run_key(
    root: Path,
    what: Sequence[str],
    paths: Sequence[str],
    *,
    settings: Settings,
    facts: EngineFacts,
    profile: ModelProfile,
) -> str:
    """One name for the same command: repository, `what` is asked, paths, model and parameters."""
    if facts.name == "embedded":
        model = _file_identity(settings.text("model.path") or profile.gguf_path)
    else:
        model = f"{settings.text('remote.endpoint')} {settings.text('remote.model')}"
    parts = [
        *(VERSION, LAYOUT_VERSION, str(root), list(what), sorted(paths), facts.name, facts.model, model),
        *(profile.name, profile.template, *(str(settings[name]) for name in _DEPENDS)),
    ]
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=20).hexdigest()


def _file_identity(path: str) -> str:
    """A model file by its size and ends, so that a copy on another machine is the same model."""
    try:
        with Path(path).open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            found = hashlib.blake2b(file.read(_END_BYTES), digest_size=20)
            file.seek(max(0, size - _END_BYTES))
            found.update(file.read(_END_BYTES))
    except OSError:
        return ""
    return f"{size} {found.hexdigest()}"


class Checkpoint:
    """The memory of one command. `skipped`: the files that it landed before, with what it refused in them."""

    def __init__(self, key: str, directory: Path | None = None) -> None:
        self._store = Store(directory or default_directory() / "checkpoints")
        self._key = key
        self._token, self._landed = self._read()
        self._used: dict[str, None] = {}
        self._lost = False
        self.skipped: dict[str, tuple[Refusal, ...]] = {}

    @property
    def problem(self) -> str:
        """A sentence where nothing, or not everything, can be kept."""
        if self._store.problem:
            return self._store.problem
        return f"The cache in {self._store.directory} did not take every answer." if self._lost else ""

    @property
    def said(self) -> str:
        """How much of the run is kept, in words; empty where it has no answers yet."""
        if self.problem:
            return f"not all answers are kept ({self.problem.rstrip('.')})"
        number = len(self._used)
        return "" if not number else "1 answer is kept" if number == 1 else f"{number:,} answers are kept"

    def recall(self, key: str) -> Kept | None:
        name = self._name(key)
        found = self._store.get(name)
        if found is None:
            return None
        try:
            text, finish = json.loads(found)
            answer = Kept(str(text), Finish(finish))
        except (ValueError, TypeError):
            return None
        self._used[name] = None
        return answer

    def keep(self, key: str, answer: Kept) -> None:
        name, value = self._name(key), json.dumps([answer.text, answer.finish.value]).encode()
        if len(answer.text) > LONGEST_ANSWER:
            self._lost = True
            return
        self._store.set(name, value)
        self._used[name] = None
        self._lost = self._lost or self._store.get(name) != value

    def landed(self, path: str, digest: str) -> bool:
        known = self._landed.get(path)
        if known is None or known[0] != digest:
            return False
        self.skipped[path] = known[1]
        return True

    def land(self, written: Iterable[tuple[str, str]], refusals: Sequence[Refusal]) -> None:
        """Remember files as this run leaves them (path, digest), and what it could not do in them."""
        for path, digest in written:
            if len(self._landed) < MOST_LANDED:
                self._landed[path] = (digest, tuple(r for r in refusals if r.path == path))
        landed = {
            path: [digest, [[r.kind.value, r.reason] for r in refused]]
            for path, (digest, refused) in self._landed.items()
        }
        self._store.set(self._key, json.dumps({"token": self._token, "landed": landed}).encode())

    def clear(self) -> None:
        """The run is over: the next one begins anew."""
        self._store.drop((self._key, *self._used))

    def close(self) -> None:
        self._store.close()

    def _name(self, key: str) -> str:
        return f"{self._key}/{self._token}/{key}"

    def _read(self) -> tuple[str, dict[str, tuple[str, tuple[Refusal, ...]]]]:
        found = self._store.get(self._key)
        try:
            told: dict[str, Any] = json.loads(found or b"{}")
            token = str(told["token"])
            landed = {
                str(path): (str(digest), tuple(Refusal(path, RefusalKind(k), str(r)) for k, r in refused))
                for path, (digest, refused) in told["landed"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            token = secrets.token_hex(8)
            self._store.set(self._key, json.dumps({"token": token, "landed": {}}).encode())
            return token, {}
        return token, landed
