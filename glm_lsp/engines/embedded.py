"""The embedded engine: a client of this machine's worker, which alone loads llama.cpp.

The worker is found, or started, by the first request, and again after its death. It serves other windows
and commands too, and stays a while when we leave. Nothing here blocks the event loop: the model is loaded,
and its files are checked, over there.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import logging
import time
from collections.abc import AsyncGenerator
from pathlib import Path

from glm_lsp.core.errors import (
    NOTICES,
    ConfigError,
    EngineDied,
    EngineStalled,
    EngineUnavailable,
    GlmError,
)
from glm_lsp.core.generation import (
    Chunk,
    Engine,
    EngineFacts,
    Form,
    GenerateRequest,
    Prefill,
    Thinking,
    Usage,
    Work,
)
from glm_lsp.core.layout import LAYOUT_VERSION
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.core.template import Piece, render, trunk_pieces
from glm_lsp.engines import connection, gguf, rendezvous
from glm_lsp.engines.connection import Connection
from glm_lsp.engines.failures import error_of
from glm_lsp.engines.frames import (
    Cancelled,
    Done,
    Failed,
    Generate,
    Load,
    Progress,
    Status,
    Text,
)
from glm_lsp.engines.worker import INSTALL

_log = logging.getLogger(__name__)
_notices = logging.getLogger(NOTICES)

_MOST_DEATHS = 5
"""After so many deaths without one answer between them the engine rests for `_REST_S`."""
_REST_S = 60.0
_BACK_OFF_S = 0.25
_REFUSED_S = 15.0
"""A file that was refused is tried again after so long, or when it (its first part) has changed."""
_KV_CONTEXTS = 2
"""So many contexts fit the KV cache where the settings leave its size open."""
_GB = 10**9
_URGENCY = {work: at for at, work in enumerate(Work)}


class EmbeddedEngine(Engine):
    """Answers with a GGUF model on this machine. Raises what the port says, each as one sentence.

    Belongs to one event loop. `figures` is the usage of the last answer. `slot` is which of the machine's
    workers it speaks to; `client` is what a person would call us.
    """

    def __init__(
        self,
        settings: Settings,
        profile: ModelProfile,
        *,
        slot: str = rendezvous.MAIN,
        client: str = "glm-lsp",
    ) -> None:
        self._settings = settings
        self._profile = profile
        self._slot = slot
        self._client = client
        self._told: set[str] = set()
        section = SECTIONS[slot]
        self._path = settings.text(f"{section}.path") or profile.gguf_path
        context = settings.integer(f"{section}.context_tokens") or profile.context_tokens
        self._facts = EngineFacts(
            name="embedded",
            model=profile.name,
            context_tokens=context,
            prefill=True,
            grammar=True,
            fim=True,
            local=True,
            warms=True,
        )
        self._worker: Connection | None = None
        self._starting = asyncio.Lock()
        self._ids = itertools.count(1)
        self._deaths = 0
        self._died_at = 0.0
        self._tried: tuple[int, ...] = ()
        """The model file as it was when a worker was last told to load it."""
        self._closed = False
        self.figures: Usage | None = None

    @property
    def facts(self) -> EngineFacts:
        return self._facts

    @property
    def loading(self) -> float | None:
        """How much of the model is loaded, 0 to 1; None while none is being loaded."""
        return self._worker.loading if self._worker is not None else None

    @property
    def worker_pid(self) -> int | None:
        """The worker's process id, for diagnosis; None while we have none."""
        return self._worker.pid if self._worker is not None and self._worker.alive else None

    def availability(self) -> str:
        """Return an empty string if a request could be served, else a sentence with the remedy."""
        if importlib.util.find_spec("llama_cpp") is None or importlib.util.find_spec("numpy") is None:
            return f"The embedded engine needs llama-cpp-python; install it: {INSTALL}"
        setting = f"{SECTIONS[self._slot]}.path"
        if not self._path:
            return (
                f"The profile '{self._profile.name}' comes without a model file; "
                f"set {setting} to a GGUF file of that model."
            )
        if why := gguf.unusable(Path(self._path)):
            return f"The model file {self._path} {why}; set {setting} to a GGUF file."
        return ""

    async def start(self) -> None:
        """Load the model now instead of with the first request; returns when it is loaded."""
        worker = await self._running()
        try:
            refusal = await worker.ready(self._stall_s)
        except GlmError as error:
            raise self._failed(worker, error) from None
        if refusal is not None:
            raise error_of(refusal)

    async def status(self) -> Status | None:
        """The worker's live figures; None while we have none. Raises an EngineError."""
        if self._worker is None or not self._worker.alive:
            return None
        return await self._worker.ask()

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        template = self._profile.template
        pieces = render(request.prompt, request.thinking, template)
        trunk = trunk_pieces(request.prompt, request.thinking, template)
        worker = await self._running()
        identity = next(self._ids)
        drafts = self._settings.flag("worker.drafts")
        replies = worker.submit(_frame(identity, request, pieces, trunk, drafts=drafts))
        finished = False
        cached: int | None = None
        read = False
        try:
            while True:
                reply = await worker.next(replies, self._stall_s)
                match reply:
                    case Progress():
                        usage = None
                        if reply.total:  # else it waits for its turn
                            cached = reply.done if cached is None else cached
                        if cached is not None and not read and reply.done == reply.total:
                            read = True
                            usage = self.figures = _evaluated(reply, cached)
                        left = reply.seconds_left if reply.seconds_left >= 0 else None
                        yield Chunk(prefill=Prefill(reply.done, reply.total, left), usage=usage)
                    case Text():
                        yield Chunk(text=reply.text, reasoning=reply.reasoning)
                    case Done():
                        finished = True
                        self._deaths = 0
                        self.figures = _usage(reply)
                        yield Chunk(finish=reply.finish, usage=self.figures)
                        return
                    case Failed():
                        raise error_of(reply)
                    case Cancelled():
                        raise EngineUnavailable("The embedded engine was closed in the middle of an answer.")
        except GlmError as error:
            finished = True
            raise self._failed(worker, error) from None
        finally:
            if not finished:
                worker.cancel(identity)
            worker.forget(identity)

    async def close(self) -> None:
        """Leave the worker. Answers that are under way end with an error; others' go on."""
        self._closed = True
        async with self._starting:
            if self._worker is not None:
                await self._worker.close()

    @property
    def _stall_s(self) -> float:
        return self._settings.number("engine.stall_seconds")

    async def _running(self) -> Connection:
        """Return a living worker, started if need be."""
        async with self._starting:
            if self._closed:
                raise EngineUnavailable("The embedded engine is closed.")
            if self._worker is not None and self._worker.alive:
                return self._worker
            if missing := self.availability():
                raise EngineUnavailable(missing)
            load = self._load()
            tried = _stamp(self._path)
            if tried != self._tried:
                self._deaths = 0
            elif self._worker is not None and (refusal := self._worker.refusal(_REFUSED_S)) is not None:
                raise refusal
            await self._hold_back()
            self._tried = tried
            if self._worker is not None:
                await self._worker.close()
            try:
                place = rendezvous.place(self._slot)
                self._worker = await connection.reach(place, load, self._client, self._stall_s)
            except (EngineDied, EngineStalled) as error:
                self._count(error)
                raise
            return self._worker

    async def _hold_back(self) -> None:
        """After deaths in a row, wait a little longer each time, and then refuse for a while."""
        if self._deaths >= _MOST_DEATHS:
            left = self._died_at + _REST_S - time.monotonic()
            if left > 0:
                raise EngineUnavailable(
                    f"The embedded engine's worker died {self._deaths} times without an answer; "
                    f"it is tried again in {left:.0f} s. Run glm-lsp doctor to see what is wrong."
                )
        elif self._deaths > 1:
            await asyncio.sleep(_BACK_OFF_S * 2**self._deaths)

    def _tell(self, sentence: str) -> None:
        """Once: a worker may be started often."""
        if sentence not in self._told:
            self._told.add(sentence)
            _notices.warning("%s", sentence)

    def _load(self) -> Load:
        settings, profile = self._settings, self._profile
        context = self._facts.context_tokens
        if context > profile.trained_context_tokens:
            raise ConfigError(
                f"{SECTIONS[self._slot]}.context_tokens is {context:,}, but {profile.name} was trained for "
                f"{profile.trained_context_tokens:,}; set it to that or less."
            )
        # The size of the cache is the large model's; the small one beside it gets what its context asks for.
        kv = settings.integer("model.kv_tokens") if self._slot != rendezvous.TYPING else 0
        if 0 < kv < context:
            self._tell(
                f"model.kv_tokens is {kv:,}, less than the context: the KV cache holds {context:,} tokens."
            )
        return Load(
            path=str(Path(self._path).resolve()),
            architecture=profile.architecture,
            context_tokens=context,
            kv_tokens=max(kv or _KV_CONTEXTS * context, context),
            batch_tokens=settings.integer("model.batch_tokens"),
            kv_type=settings.text("model.kv_type"),
            kv_bytes_per_token_f16=profile.kv_bytes_per_token_f16,
            threads=settings.integer("model.threads"),
            batch_threads=settings.integer("model.batch_threads"),
            gpu_layers=settings.integer("model.gpu_layers"),
            cpu_expert_layers=settings.integer("model.cpu_expert_layers"),
            tensor_overrides=settings.texts("model.tensor_overrides"),
            mmap=settings.flag("model.mmap"),
            mlock=settings.flag("model.mlock"),
            template=f"{profile.template}/{LAYOUT_VERSION}",
            stall_s=self._stall_s,
            linger_s=60 * settings.number("worker.linger_minutes"),
            saved_kv_bytes=int(_GB * settings.number("worker.saved_kv_gb")),
            drafts=settings.flag("worker.drafts"),
        )

    def _failed(self, worker: Connection, error: GlmError) -> GlmError:
        """Count a worker's death once, however many requests it took along."""
        if isinstance(error, EngineDied | EngineStalled) and worker is self._worker and not worker.counted:
            worker.counted = True
            self._count(error)
        return error

    def _count(self, error: GlmError) -> None:
        self._deaths += 1
        self._died_at = time.monotonic()
        _log.warning("%s", error)


SECTIONS = {rendezvous.MAIN: "model", rendezvous.TYPING: "typing_model", rendezvous.BUNDLED: "model"}
"""The section of the settings that names a slot's model."""


def _frame(
    identity: int, request: GenerateRequest, pieces: tuple[Piece, ...], trunk: int, *, drafts: bool
) -> Generate:
    return Generate(
        id=identity,
        pieces=tuple((piece.text, piece.special) for piece in pieces),
        max_tokens=request.max_tokens,
        trunk=trunk,
        heal=_healed(request, pieces),
        thinking=request.thinking is not Thinking.OFF,
        reasoning_tokens=request.reasoning_tokens,
        stop=request.stop,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        grammar=request.grammar,
        schema=request.schema,
        drafts=drafts,
        source=request.source if drafts else "",
        urgency=_URGENCY[request.work],
    )


def _stamp(path: str) -> tuple[int, ...]:
    """Differs when the file is another one."""
    try:
        status = Path(path).stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _healed(request: GenerateRequest, pieces: tuple[Piece, ...]) -> int:
    """The index of the piece that ends at the cursor (in FIM the one before the suffix), or -1."""
    if not request.heal or not request.prompt.prefill:
        return -1
    at = len(pieces) - (4 if request.prompt.form is Form.FIM else 1)
    return at if at >= 0 and not pieces[at].special else -1


def _evaluated(progress: Progress, cached: int) -> Usage:
    """What is known when the prompt has been read: the first report is of what was there already."""
    return Usage(prompt_tokens=progress.total, cached_tokens=cached)


def _usage(done: Done) -> Usage:
    return Usage(
        prompt_tokens=done.prompt_tokens,
        cached_tokens=done.cached_tokens,
        output_tokens=done.output_tokens,
        reasoning_tokens=done.reasoning_tokens,
        prefill_seconds=done.prefill_seconds,
        decode_seconds=done.decode_seconds,
    )
