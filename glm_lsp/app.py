"""Wiring: settings become repositories, engines and the sessions that join the two.

Every import of a room is made when it is first used: a server must answer `initialize`, and a command its
`--help`, before anybody needs an engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.core.errors import ConfigError, EngineUnavailable, GlmError
from glm_lsp.core.generation import Chunk, Engine, EngineFacts, GenerateRequest, Tokenizer, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings

if TYPE_CHECKING:
    from glm_lsp.disk.ledgers import SharedLedgers
    from glm_lsp.engines.router import Router
    from glm_lsp.features.session import Ledgers, Session
    from glm_lsp.workspace.repository import Repository


class Runtime:
    """What lives as long as the process: one router, one repository per root, one session per pair."""

    def __init__(self, settings: Settings, client: str = "glm-lsp", *, reads_only: bool = False) -> None:
        """`client` is what a person would call this process: `editor`, `refactor` …

        With `reads_only` nothing of what this process packs is offered to others: no engine will read it.
        """
        self.settings = settings
        self.client = client
        self._reads_only = reads_only
        self._ledgers: SharedLedgers | None = None
        self._router: Router | None = None
        self._repositories: dict[Path, Repository] = {}
        self._sessions: dict[tuple[Path, int], Session] = {}
        self._made: set[Work] = set()

    @property
    def router(self) -> Router:
        if self._router is None:
            from glm_lsp.engines.router import Router  # noqa: PLC0415

            self._router = Router(self.settings, self.client)
        return self._router

    def repository(self, root: Path) -> Repository:
        """The repository at `root`, which must be a directory; the same value for the same directory."""
        root = root.resolve()
        if root not in self._repositories:
            from glm_lsp.workspace.repository import Repository  # noqa: PLC0415

            self._repositories[root] = Repository(root, self.settings)
        return self._repositories[root]

    def session(
        self,
        repository: Repository,
        work: Work,
        *,
        generates: bool = True,
        tokenizer: Tokenizer | None = None,
    ) -> Session:
        """The repository's session with the engine for `work`; with a `tokenizer`, one that counts by it.

        Raises EngineUnavailable with the remedy; not where nothing will be generated (`generates=False`),
        which needs the model's tokenizer and profile only.
        """
        from glm_lsp.features.session import Session  # noqa: PLC0415

        profile = self.router.profile(work)
        try:
            engine: Engine = self.router.engine(work)
            counter = tokenizer or self.router.tokenizer(work)
        except (EngineUnavailable, ConfigError) as error:
            if generates:
                raise
            engine = _AbsentEngine(profile.name, profile.context_tokens, error)
            shared = self._shared(repository, profile, work)
            counter = tokenizer or self._counter(work)
            return Session(repository, engine, counter, profile, shared, allowed=repository.allowed)
        if tokenizer is not None:
            return Session(repository, engine, tokenizer, profile, allowed=repository.allowed)
        key = (repository.root, id(engine))
        if key not in self._sessions:
            shared = self._shared(repository, profile, work)
            self._sessions[key] = Session(
                repository, engine, counter, profile, shared, allowed=repository.allowed
            )
        return self._sessions[key]

    def _shared(self, repository: Repository, profile: ModelProfile, work: Work) -> Ledgers:
        from glm_lsp.disk.ledgers import Offered, SharedLedgers  # noqa: PLC0415
        from glm_lsp.disk.store import default_directory  # noqa: PLC0415
        from glm_lsp.features.shared import rules  # noqa: PLC0415
        from glm_lsp.workspace.secrets import rules_version  # noqa: PLC0415

        if self._ledgers is None:
            self._ledgers = SharedLedgers(default_directory() / "ledgers", publishes=not self._reads_only)
        small = work is Work.TYPING and bool(self.settings.text("typing_model.path"))
        facts = {
            **rules(self.settings, profile),
            "secrets": rules_version(repository.allowed),
            "small": small,
        }
        return Offered(self._ledgers, {"root": str(repository.root), **facts})

    async def session_soon(self, repository: Repository, work: Work) -> Session:
        """As `session`; what takes long to make the first time is made off the event loop.

        A vocabulary of 150,000 tokens takes a second, an HTTP client's import a tenth of one.
        """
        if work not in self._made:
            await asyncio.to_thread(self._make, work)
            self._made.add(work)
        return self.session(repository, work)

    def _make(self, work: Work) -> None:
        with contextlib.suppress(GlmError):  # `session` says what is wrong
            self.router.engine(work)
            self.router.tokenizer(work)

    def _counter(self, work: Work) -> Tokenizer:
        """The model's tokenizer, or a bound where its file is missing or damaged."""
        from glm_lsp.engines.tokenizers import ApproximateTokenizer  # noqa: PLC0415

        try:
            return self.router.tokenizer(work)
        except EngineUnavailable:
            return ApproximateTokenizer()

    async def configure(self, settings: Settings) -> bool:
        """Take settings that have changed; whether the repositories are new ones, to be indexed again.

        The engines stay: what chooses them does not change while a process runs.
        """
        before, self.settings = self.settings, settings
        names = ("index.max_file_bytes", "index.exclude", "index.include", "index.workers")
        if all(before[name] == settings[name] for name in names):
            return False
        repositories = list(self._repositories.values())
        self._sessions.clear()
        self._repositories.clear()
        await asyncio.gather(*(repository.close() for repository in repositories))
        return True

    async def close(self) -> None:
        """Stop engines and indexing; every part is closed even where another one fails."""
        parts = [r.close() for r in self._repositories.values()]
        if self._ledgers is not None:
            parts.append(self._ledgers.close())
        if self._router is not None:
            parts.append(self._router.close())
        self._sessions.clear()
        self._repositories.clear()
        self._router = self._ledgers = None
        self._made.clear()
        failed = [
            r for r in await asyncio.gather(*parts, return_exceptions=True) if isinstance(r, BaseException)
        ]
        if failed:
            raise failed[0]


class _AbsentEngine:
    """Stands where no engine can be had: it says why when asked to write."""

    def __init__(self, model: str, context_tokens: int, reason: GlmError) -> None:
        self._reason = reason
        self._facts = EngineFacts(
            "none", model, context_tokens, prefill=True, grammar=False, fim=False, local=True
        )

    @property
    def facts(self) -> EngineFacts:
        return self._facts

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        raise self._reason
        yield Chunk()

    async def close(self) -> None:
        """Nothing was opened."""
