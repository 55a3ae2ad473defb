"""The Engine port over HTTP: one dialect, one address, streaming."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import msgspec

from glm_lsp.core.errors import EngineError, EngineUnavailable, PromptTooLong, UsageError
from glm_lsp.core.generation import Chunk, EngineFacts, GenerateRequest
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines.remote import errors
from glm_lsp.engines.remote.answer import Answer
from glm_lsp.engines.remote.client import Client, check_endpoint
from glm_lsp.engines.remote.counting import RemoteTokenizer
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
TEMPLATE_TOKENS, WORDS_TOKENS = 32, 96
"""What a server's own template, and our words about a begun answer, may add to a prompt: no miss of ours."""
MOST_CALLS = 8
"""To a server that counts for us, after one answer."""
MOST_FAILURES = 3
"""In a row; then it is not asked again."""
SAVE_EVERY = 16
"""Reports between two times that what was learned is kept."""
GRACE_SECONDS = 5.0
"""After the finish only figures can follow: they are not waited for longer than this."""


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


def counts_for_us(settings: Settings) -> bool:
    """Whether such a server says how many tokens a text has."""
    found = DIALECTS.get(settings.text("remote.kind"))
    return found is not None and found.tokenizes


class RemoteEngine:
    """Implements `core.generation.Engine`. Nothing is sent before the first `generate`.

    Raises EngineUnavailable when the settings name no address that may be contacted. `counter` learns how
    many tokens the provider reports, and after an answer, off its way, what a server counts for us.
    """

    def __init__(
        self, settings: Settings, profile: ModelProfile, counter: RemoteTokenizer | None = None
    ) -> None:
        if missing := availability(settings):
            raise EngineUnavailable(missing)
        self._dialect = dialect(settings.text("remote.kind"))
        address = check_endpoint(settings.text("remote.endpoint"), self._dialect)
        self._model = settings.text("remote.model")
        self._template = profile.template
        self._counter = counter
        self._counting: asyncio.Task[None] | None = None
        self._failures = 0
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
                async with aclosing(self._once(request, call, answer)) as chunks:
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
                return

    async def close(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
            with suppress(asyncio.CancelledError):
                await self._counting
            self._counting = None
        if self._counter is not None:
            await asyncio.to_thread(self._counter.save)
        await self._client.close()

    async def _once(
        self, request: GenerateRequest, call: Call, answer: Answer
    ) -> AsyncGenerator[Chunk, None]:
        terminated = told = False
        try:
            async with aclosing(self._client.stream(call.path, call.body)) as events:
                while not answer.ended:
                    data = await _next(events, after_finish=answer.complete)
                    if data is None:
                        break
                    if data.strip() == "[DONE]":
                        terminated = True
                        break
                    if (chunk := answer.take(self._read(data))) is None:
                        continue
                    if chunk.prefill is not None and not told:
                        told = self._learn(request, call, chunk.prefill.total_tokens)
                    yield chunk
            if not (terminated or answer.complete or answer.ended):
                raise errors.no_terminator(self._place)
            last = answer.end()
            # Before the chunk: who has the last one closes us.
            if last.usage is not None and not told:
                self._learn(request, call, last.usage.prompt_tokens)
            yield last
        except PromptTooLong as error:
            self._learn(request, call, error.counted)
            raise
        finally:
            self._count_soon()

    def _read(self, data: str) -> Delta:
        try:
            delta = self._dialect.read(data)
        except msgspec.DecodeError:
            raise errors.not_understood(self._place, "is not in the format of its kind") from None
        if delta.problem is not None:
            raise errors.problem(delta.problem, self._place)
        return delta

    def _learn(self, request: GenerateRequest, call: Call, tokens: int | None) -> bool:
        """The prompt of `request` has so many tokens, by the provider's word."""
        if self._counter is not None and tokens:
            slack = WORDS_TOKENS if call.echo else TEMPLATE_TOKENS
            self._counter.report(request.prompt, tokens, slack)
        return True

    def _count_soon(self) -> None:
        """After an answer, and not on anybody's way, the server is asked about lines that were not known."""
        if self._counter is not None and (self._counting is None or self._counting.done()):
            self._counting = asyncio.create_task(self._count(self._counter))

    async def _count(self, counter: RemoteTokenizer) -> None:
        """Never fails: what cannot be counted keeps its bound."""
        if counter.reports % SAVE_EVERY == 1:
            await asyncio.to_thread(counter.save)
        for _ in range(MOST_CALLS if self._dialect.tokenizes else 0):
            if not (lines := await asyncio.to_thread(counter.wanted)):
                return
            call = self._dialect.tokenize(lines, self._model)
            try:
                data = await self._client.ask(call.path, call.body)
                counter.learn(lines, await asyncio.to_thread(self._dialect.counted, data, lines))
            except (EngineError, errors.TryAgain) as error:
                self._failures += 1
                if self._failures >= MOST_FAILURES:
                    counter.give_up()
                log.info("the server's counting of tokens cannot be had: %s", error)
                return
            except ValueError as error:  # msgspec's are of this kind
                counter.give_up()
                log.info("the server's counting of tokens is not used: %s", self._place.clean(str(error)))
                return
            self._failures = 0


async def _next(events: AsyncGenerator[str, None], *, after_finish: bool) -> str | None:
    """The next event's data, None at the end. Once the answer is complete nothing can spoil it."""
    try:
        async with asyncio.timeout(GRACE_SECONDS if after_finish else None):
            return await anext(events, None)
    except (EngineError, errors.TryAgain, TimeoutError):
        if after_finish:
            return None
        raise
