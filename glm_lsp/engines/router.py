"""Which engine does which work, from the settings alone.

Nothing is contacted to find out, and nothing is ever sent to a remote engine whose address the user has not
set.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glm_lsp.core import profiles
from glm_lsp.core.errors import ConfigError, EngineUnavailable, UsageError
from glm_lsp.core.generation import Engine, Tokenizer, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import rendezvous
from glm_lsp.engines.bounds import Learned, Memory, memory
from glm_lsp.engines.gguf import read_head
from glm_lsp.engines.rendezvous import MAIN, TYPING

if TYPE_CHECKING:
    from glm_lsp.engines.embedded import EmbeddedEngine

EMBEDDED, REMOTE = "embedded", "remote"
SMALL = "embedded for typing"
"""The second embedded engine, with a small model of its own; to the user it is `embedded` too."""
BUNDLED = "nano"
FLAGSHIP = "glm-5.2"
CHOICES: Mapping[Work, str] = {
    Work.TYPING: "engine.typing",
    Work.ACTION: "engine.refactor",
    Work.REFACTOR: "engine.refactor",
    Work.IDLE: "",
}


@dataclass(frozen=True, slots=True)
class Route:
    """Who would do `work`. `reason` and `remedy` are sentences; no remedy where it is available."""

    work: Work
    engine: str
    model: str
    local: bool
    available: bool
    reason: str
    remedy: str
    counting: str = ""
    """How tokens are counted for it, and how often that was too few."""


class Router:
    """Engines, profiles and tokenizers by work class; each is made once, when it is first asked for.

    Any thread may ask: making them takes long enough to stop an event loop.
    """

    def __init__(self, settings: Settings, client: str = "glm-lsp") -> None:
        """`client` is what a person would call us: the machine's worker names us by it to others."""
        self._settings = settings
        self._client = client
        self._engines: dict[str, Engine] = {}
        self._profiles: dict[str, ModelProfile] = {}
        self._tokenizers: dict[str, Tokenizer] = {}
        self._making = threading.RLock()

    def engine(self, work: Work) -> Engine:
        """Raises EngineUnavailable with the remedy, ConfigError for an unusable profile or address."""
        name = self._name(work)
        with self._making:
            if name not in self._engines:
                if missing := self._missing(name):
                    raise ConfigError(missing) if self._is_misset(name) else EngineUnavailable(missing)
                self._engines[name] = self._remote() if name == REMOTE else self._embedded(name)
            return self._engines[name]

    def profile(self, work: Work) -> ModelProfile:
        """Raises ConfigError with the remedy."""
        return self._profile(self._name(work))

    def tokenizer(self, work: Work) -> Tokenizer:
        """The model's own count where its file is at hand, otherwise a calibrated bound."""
        return self._tokenizer(self._name(work))

    def explain(self) -> tuple[Route, ...]:
        """One route for each work class, whether it can be served or not."""
        return tuple(self._route(work) for work in Work)

    async def close(self) -> None:
        engines, self._engines = list(self._engines.values()), {}
        for engine in engines:
            await engine.close()

    def _name(self, work: Work) -> str:
        setting = CHOICES[work]
        chosen = self._settings.text(setting) if setting else ""
        name = chosen or self._settings.text("engine.default")
        small = name == EMBEDDED and work is Work.TYPING and self._settings.text("typing_model.path")
        return SMALL if small else name

    def _route(self, work: Work) -> Route:
        name = self._name(work)
        setting = CHOICES[work]
        own = bool(setting and self._settings.text(setting))
        engine = EMBEDDED if name == SMALL else name
        reason = (
            f"{setting} chooses the {engine} engine for {work} work."
            if own
            else f"engine.default is '{engine}', and nothing else is set for {work} work."
        )
        if name == SMALL:
            reason = f"typing_model.path names a model of its own for {work} work."
        try:
            remedy, model = self._missing(name), self._model(name)
        except ConfigError as error:
            remedy, model = str(error), ""
        return Route(
            work, engine, model, self._stays_here(name), not remedy, reason, remedy, self.counting(work)
        )

    def _is_misset(self, name: str) -> bool:
        if name != REMOTE:
            return False
        from glm_lsp.engines.remote import is_misset  # noqa: PLC0415 (httpx is slow to import)

        return is_misset(self._settings)

    def _stays_here(self, name: str) -> bool:
        if name != REMOTE:
            return True
        from glm_lsp.engines.remote import stays_here  # noqa: PLC0415 (httpx is slow to import)

        return stays_here(self._settings)

    def _model(self, name: str) -> str:
        return self._settings.text("remote.model") if name == REMOTE else self._profile(name).name

    def _missing(self, name: str) -> str:
        """Empty, or the sentence with the remedy."""
        if name == REMOTE:
            from glm_lsp.engines.remote import availability  # noqa: PLC0415 (httpx is slow to import)

            return availability(self._settings)
        return self._embedded(name).availability()

    def _embedded(self, name: str) -> EmbeddedEngine:
        # It starts what not everybody needs.
        from glm_lsp.engines.embedded import EmbeddedEngine  # noqa: PLC0415

        slot = TYPING if name == SMALL else MAIN if self._settings.text("model.path") else rendezvous.BUNDLED
        return EmbeddedEngine(self._settings, self._profile(name), slot=slot, client=self._client)

    def _remote(self) -> Engine:
        from glm_lsp.engines.remote import RemoteEngine, RemoteTokenizer  # noqa: PLC0415

        tokenizer = self._tokenizer(REMOTE)
        counter = tokenizer if isinstance(tokenizer, RemoteTokenizer) else None
        return RemoteEngine(self._settings, self._profile(REMOTE), counter)

    def _tokenizer(self, name: str) -> Tokenizer:
        with self._making:
            if name not in self._tokenizers:
                from glm_lsp.engines.tokenizers import ApproximateTokenizer, GgufTokenizer  # noqa: PLC0415

                if name == REMOTE:
                    self._tokenizers[name] = self._remote_tokenizer()
                else:
                    path = self._gguf(name)
                    self._tokenizers[name] = GgufTokenizer(path) if path else ApproximateTokenizer()
            return self._tokenizers[name]

    def _remote_tokenizer(self) -> Tokenizer:
        from glm_lsp.engines.remote import RemoteTokenizer, counts_for_us  # noqa: PLC0415
        from glm_lsp.engines.tokenizers import ApproximateTokenizer, from_file  # noqa: PLC0415

        settings = self._settings
        if file := settings.text("remote.tokenizer"):
            try:
                return RemoteTokenizer(from_file(Path(file).expanduser()))
            except UsageError as error:
                raise ConfigError(f"remote.tokenizer: {error}") from error
        return RemoteTokenizer(ApproximateTokenizer(self._memory()), asks=counts_for_us(settings))

    def _memory(self) -> Memory:
        """What is known of the remote model's tokens, by server and model."""
        settings = self._settings
        server = f"{settings.text('remote.kind')} {settings.text('remote.endpoint').strip().rstrip('/')}"
        return memory(server, settings.text("remote.model"))

    def counting(self, work: Work) -> str:
        """How the tokens of a prompt for this work are counted, as a sentence or two. Nothing is built."""
        name = self._name(work)
        if name != REMOTE:
            try:
                path = self._gguf(name)
            except ConfigError as error:
                return str(error)
            return f"Exact, by the vocabulary in {path}." if path else f"{_UNTAUGHT} {_NO_FILE}"
        made = self._tokenizers.get(name)
        if file := self._settings.text("remote.tokenizer"):
            reports, misses = getattr(made, "reports", 0), getattr(made, "misses", 0)
            more = (
                f" Of {reports:,} prompts {misses:,} had more tokens by the engine's word." if misses else ""
            )
            return f"Exact, by the vocabulary in {file}.{more}"
        from glm_lsp.engines.remote import counts_for_us  # noqa: PLC0415

        learned = getattr(made, "learned", None) or self._memory().recall()
        asks = f"{_ASKED} " if counts_for_us(self._settings) else ""
        said = f"{asks}{_taught(learned)} {_EXACT}"
        return said[0].upper() + said[1:]

    def _gguf(self, name: str) -> str:
        setting = "typing_model.path" if name == SMALL else "model.path"
        path = self._settings.text(setting) or self._profile(name).gguf_path
        return path if path and Path(path).is_file() else ""

    def _profile(self, name: str) -> ModelProfile:
        if name not in self._profiles:
            self._profiles[name] = profiles.load(self._profile_name(name))
        return self._profiles[name]

    def _profile_name(self, name: str) -> str:
        """`model.profile` speaks of the default engine; the other one's model is known by its own name."""
        settings = self._settings
        if name == SMALL:
            path = settings.text("typing_model.path")
            return settings.text("typing_model.profile") or _profile_of(path)
        if (chosen := settings.text("model.profile")) and name == settings.text("engine.default"):
            return chosen
        if name == REMOTE:
            # The bundled model's name is a word in other models' names.
            others = tuple(n for n in profiles.names() if n != BUNDLED or n == settings.text("remote.model"))
            return match_profile(settings.text("remote.model"), others) or FLAGSHIP
        path = settings.text("model.path")
        return _profile_of(path) if path else BUNDLED


_UNTAUGHT = "A bound from the look of the text."
_NO_FILE = "The model's file, which would count exactly, is not there."
_EXACT = "Set remote.tokenizer to the model's tokenizer.json or GGUF file to count exactly."
_ASKED = "The server counts lines that it has seen; for others:"


def _taught(learned: Learned) -> str:
    if not learned.reports:
        return "a bound from the look of the text, which has learned nothing yet."
    high = "none of them was higher than the bound" if not learned.misses else (
        f"{learned.misses:,} of them {'was' if learned.misses == 1 else 'were'} higher than the bound"
    )  # fmt: skip
    return (
        f"a bound from the look of the text, times {learned.share:.2f} after {learned.reports:,} "
        f"report{'s' if learned.reports > 1 else ''} of the engine; {high}."
    )


def _profile_of(path: str) -> str:
    names = profiles.names()
    return match_profile(Path(path).name, names) or match_profile(_claimed(path), names) or FLAGSHIP


def _claimed(path: str) -> str:
    """The name that a model file gives itself; empty where it cannot be read."""
    try:
        return read_head(Path(path)).text("general.name")
    except ConfigError:
        return ""


def match_profile(model: str, names: tuple[str, ...]) -> str:
    """The profile that a model's name holds (`zai-org/GLM-4.7-FP8` holds `glm-4.7`), or an empty string."""
    plain = _plain(model)
    found = [name for name in names if re.search(rf"(?<![a-z0-9]){re.escape(_plain(name))}(?![0-9])", plain)]
    return max(found, key=len, default="")


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", "-", name.lower())
