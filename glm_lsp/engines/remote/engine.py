"""The Engine port over HTTP: one dialect, one address, streaming."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from glm_lsp.core.errors import EngineError, EngineUnavailable, UsageError
from glm_lsp.core.generation import Chunk, EngineFacts, GenerateRequest
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines.remote import errors
from glm_lsp.engines.remote.answer import Answer
from glm_lsp.engines.remote.client import Client, check_endpoint
from glm_lsp.engines.remote.dialect import Call, Delta, Dialect
from glm_lsp.engines.remote.llama_server import LlamaServer
from glm_lsp.engines.remote.openai import OpenAI
from glm_lsp.engines.remote.sglang import Sglang
from glm_lsp.engines.remote.vllm import Vllm
from glm_lsp.engines.remote.zai import Zai

log = logging.getLogger(__name__)

DIALECTS: dict[str, type[Dialect]] = {d.kind: d for d in (Zai, Vllm, Sglang, LlamaServer, OpenAI)}
ATTEMPTS = 4
BACKOFF_SECONDS = 1.0
"""Before the second attempt; doubled for each further one."""
LEARN_FROM_TOKENS = 256
TEMPLATE_TOKENS = 96
"""What a server's template and our words about a begun answer may add to a prompt: nothing to learn from."""
GRACE_SECONDS = 5.0
"""After the finish only figures can follow: they are not waited for longer than this."""

Observe = Callable[[int, int], None]


def dialect(kind: str) -> Dialect:
    """The dialect of that name. Raises EngineUnavailable for an unknown one."""
    if kind not in DIALECTS:
        raise EngineUnavailable(f"There is no remote.kind '{kind}'; choose one of {', '.join(DIALECTS)}.")
    return DIALECTS[kind]()


def availability(settings: Settings) -> str:
    """Empty, or the sentence that says what is missing. Asks nobody: nothing is sent to find out."""
    try:
        chosen = dialect(settings.text("remote.kind"))
        address = check_endpoint(settings.text("remote.endpoint"), chosen)
    except EngineUnavailable as error:
        return str(error)
    key = settings.text("remote.key").strip()
    if chosen.kind == Zai.kind and not address.loopback and not key:
        return "Z.ai wants a key. Set GLM_LSP_REMOTE_KEY."
    if any(not "!" <= c <= "~" for c in key):
        return "The key for the remote engine holds characters that no key has. Correct GLM_LSP_REMOTE_KEY."
    return ""


def is_misset(settings: Settings) -> bool:
    """Whether an address is set that is none, or that must not be used: a mistake in the settings."""
    endpoint = settings.text("remote.endpoint")
    try:
        check_endpoint(endpoint, dialect(settings.text("remote.kind")))
    except EngineUnavailable:
        return bool(endpoint.strip())
    return False


def stays_here(settings: Settings) -> bool:
    """Whether the settings name a server on this machine, by a loopback address or as `localhost`.

    Any other name counts as elsewhere, whatever it may resolve to. What that server does with a request
    (a tunnel may end there) is its user's affair.
    """
    try:
        address = check_endpoint(settings.text("remote.endpoint"), dialect(settings.text("remote.kind")))
    except EngineUnavailable:
        return False
    return address.loopback


class RemoteEngine:
    """Implements `core.generation.Engine`. Nothing is sent before the first `generate`.

    Raises EngineUnavailable when the settings name no address that may be contacted. `observe` is told the
    prompt tokens that we counted and those that the provider reports.
    """

    def __init__(self, settings: Settings, profile: ModelProfile, observe: Observe | None = None) -> None:
        if missing := availability(settings):
            raise EngineUnavailable(missing)
        self._dialect = dialect(settings.text("remote.kind"))
        address = check_endpoint(settings.text("remote.endpoint"), self._dialect)
        self._model = settings.text("remote.model")
        self._template = profile.template
        self._observe = observe
        self._place = errors.Place(
            self._dialect.title, address.origin, self._model, settings.text("remote.key").strip()
        )
        self._client = Client(address, self._place, settings.number("engine.stall_seconds"))
        self._facts = EngineFacts(
            name="remote",
            model=self._model,
            context_tokens=settings.integer("remote.context_tokens"),
            prefill=self._dialect.prefill,
            grammar=self._dialect.grammar,
            fim=self._dialect.fim,
            local=address.loopback,
        )

    def __repr__(self) -> str:
        return f"RemoteEngine({self._dialect.kind}, {self._place.origin}, {self._model})"

    @property
    def facts(self) -> EngineFacts:
        return self._facts

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Stream the answer; see `core.generation.Engine.generate`.

        A refusal that passes is asked again, at most ATTEMPTS times in all and never once text has come.
        """
        try:
            call = self._dialect.call(request, self._model, self._template)
        except UsageError as error:
            raise EngineUnavailable(f"{error} Choose another model.profile.") from error
        for attempt in range(1, ATTEMPTS + 1):
            answer = Answer(request, call, self._place)
            try:
                async with aclosing(self._once(call, answer)) as chunks:
                    async for chunk in chunks:
                        yield chunk
            except errors.TryAgain as refusal:
                if answer.begun or attempt == ATTEMPTS:
                    raise refusal.error from None
                wait = BACKOFF_SECONDS * 2 ** (attempt - 1) if refusal.after_s is None else refusal.after_s
                log.info(
                    "remote engine refused for now, attempt %d of %d, next in %.1f s", attempt, ATTEMPTS, wait
                )
                await asyncio.sleep(wait)
            else:
                self._learn(request, answer)
                return

    async def close(self) -> None:
        await self._client.close()

    async def _once(self, call: Call, answer: Answer) -> AsyncGenerator[Chunk, None]:
        terminated = False
        async with aclosing(self._client.stream(call.path, call.body)) as events:
            while not answer.ended:
                data = await _next(events, after_finish=answer.complete)
                if data is None:
                    break
                if data.strip() == "[DONE]":
                    terminated = True
                    break
                if (chunk := answer.take(self._read(data))) is not None:
                    yield chunk
        if not (terminated or answer.complete or answer.ended):
            raise errors.no_terminator(self._place)
        yield answer.end()

    def _read(self, data: str) -> Delta:
        try:
            delta = self._dialect.read(data)
        except msgspec.DecodeError:
            raise errors.not_understood(self._place, "is not in the format of its kind") from None
        if delta.problem is not None:
            raise errors.problem(delta.problem, self._place)
        return delta

    def _learn(self, request: GenerateRequest, answer: Answer) -> None:
        reported = answer.usage.prompt_tokens if answer.usage else None
        counted = request.prompt.tokens
        if self._observe is not None and reported and counted >= LEARN_FROM_TOKENS:
            self._observe(counted + TEMPLATE_TOKENS, reported)


async def _next(events: AsyncGenerator[str, None], *, after_finish: bool) -> str | None:
    """The next event's data, None at the end. Once the answer is complete nothing can spoil it."""
    try:
        async with asyncio.timeout(GRACE_SECONDS if after_finish else None):
            return await anext(events, None)
    except (EngineError, errors.TryAgain, TimeoutError):
        if after_finish:
            return None
        raise
