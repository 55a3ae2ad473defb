"""What the runtime makes, and where."""

from __future__ import annotations

import threading
from pathlib import Path

from glm_lsp.app import Runtime
from glm_lsp.core import profiles
from glm_lsp.core.generation import Tokenizer, Work
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.engines.tokenizers import ApproximateTokenizer


class SlowRouter:
    """Notes which threads make things."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self._engine, self._tokenizer = ScriptedEngine("x"), ApproximateTokenizer()
        self._made: set[str] = set()

    def _make(self, what: str) -> None:
        if what not in self._made:
            self._made.add(what)
            self.threads.append(threading.get_ident())

    def profile(self, work: Work) -> profiles.ModelProfile:
        return profiles.load("glm-5.2")

    def engine(self, work: Work) -> ScriptedEngine:
        self._make("engine")
        return self._engine

    def tokenizer(self, work: Work) -> Tokenizer:
        self._make("tokenizer")
        return self._tokenizer

    async def close(self) -> None:
        await self._engine.close()


async def test_engine_and_tokenizer_are_made_off_the_event_loop(tmp_path: Path) -> None:
    runtime, router = Runtime(DEFAULTS), SlowRouter()
    runtime._router = router  # type: ignore[assignment]
    session = await runtime.session_soon(runtime.repository(tmp_path), Work.TYPING)
    assert len(router.threads) == 2
    assert threading.get_ident() not in router.threads
    assert await runtime.session_soon(runtime.repository(tmp_path), Work.TYPING) is session
    await runtime.close()
