"""A remote engine that refuses, stalls, breaks off or talks nonsense: a clear sentence, never a result."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import aclosing
from typing import Any

import pytest
from remote_fakes import DONE, HANG, RESET, Fake, Reply, Wait, answer, chunk, event, raw_chunk, refusal
from remote_kit import KINDS, ask, collect, connect, remote_settings, text_of

from glm_lsp.core import profiles
from glm_lsp.core.errors import EngineDied, EngineError, EngineStalled, EngineUnavailable, PromptTooLong
from glm_lsp.core.generation import Finish
from glm_lsp.engines.remote import RemoteEngine, engine, errors
from glm_lsp.engines.remote.dialect import Problem

PAGE = "<!doctype html><title>Sign in</title>"
every_kind = pytest.mark.parametrize("kind", KINDS)


def piece(kind: str, text: str) -> bytes:
    return raw_chunk(text) if kind == "llama-server" else chunk(kind, text)


async def check(
    kind: str, replies: list[Reply], error: type[EngineError], *says: str, **settings: Any
) -> Fake:
    """Ask once; `error` must come, with every phrase of `says` in its sentence."""
    async with Fake(kind, *replies) as fake:
        with pytest.raises(error) as caught:
            await collect(connect(fake, **settings), ask())
        sentence = str(caught.value)
        assert type(caught.value) is error, sentence
        for phrase in (*says, fake.endpoint):
            assert phrase in sentence
        assert sentence.endswith((".", ").")), sentence
        assert "\n" not in sentence
    return fake


@every_kind
@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (refusal(401, {"error": {"message": "bad key"}}), EngineUnavailable, "refuses the key (401)"),
        (refusal(403, ""), EngineUnavailable, "Correct GLM_LSP_REMOTE_KEY"),
        (refusal(402, {}), EngineUnavailable, "Recharge"),
        (refusal(404, {"detail": "Not Found"}), EngineUnavailable, "remote.model"),
        (refusal(400, {"error": {"message": "no such field: x"}}), EngineUnavailable, "no such field: x"),
        (refusal(422, {"detail": []}), EngineUnavailable, "does not accept the request (422)"),
        (refusal(413, ""), PromptTooLong, "context.budget_tokens"),
        (refusal(500, "boom"), EngineDied, "failed (500)"),
        (refusal(502, PAGE), EngineUnavailable, "web page"),
        (refusal(200, PAGE), EngineUnavailable, "answered 200 with a web page"),
        (
            refusal(200, {"choices": [{"message": {"content": "x"}}]}),
            EngineUnavailable,
            "did not answer with a stream",
        ),
        (refusal(200, {"error": "the model crashed"}), EngineDied, "the model crashed"),
        (refusal(418, "tea"), EngineUnavailable, "(418)"),
        (Reply([], 204, {}), EngineUnavailable, "(204)"),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Reply) else None,
)
async def test_refusals_name_the_remedy(kind: str, reply: Reply, error: type[EngineError], says: str) -> None:
    fake = await check(kind, [reply], error, says)
    assert len(fake.asked) == 1, "asked again although nothing promised a better answer"


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("zai", {"code": "1261", "message": "Prompt exceeds max length"}),
        (
            "openai",
            {"code": "context_length_exceeded", "message": "too many", "type": "invalid_request_error"},
        ),
        ("vllm", {"message": "This model's maximum context length is 8 tokens. However", "code": 400}),
        ("sglang", {"message": "The input (9 tokens) is longer than the model's context length (8 tokens)."}),
        (
            "llama-server",
            {"code": 400, "message": "request (9 tokens) exceeds", "type": "exceed_context_size_error"},
        ),
    ],
)
async def test_a_prompt_that_is_too_long_is_told_apart(kind: str, error: Any) -> None:
    for body in ({"error": error}, {"object": "error", **error}):
        await check(kind, [refusal(400, body)], PromptTooLong, "context.budget_tokens")


TOO_LONG = (
    (
        "This model's maximum context length is 16384 tokens. However, you requested 19591 tokens (9591 in "
        "the messages, 10000 in the completion). Please reduce the length of the messages or completion.",
        (9591, 16384),
    ),
    ("The input (61709 tokens) is longer than the model's context length (40960 tokens).", (61709, 40960)),
    ("Input length (160062 tokens) exceeds the maximum allowed length (59862 tokens).", (160062, 59862)),
    (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 202868 "
        "tokens.",
        (202868, 128000),
    ),
    ("This model's maximum context length is unknown.", (0, 0)),
    ("maximum context length is 99999999999999999999 tokens", (0, 0)),
)


@pytest.mark.parametrize(("message", "figures"), TOO_LONG)
def test_how_long_it_was_is_read_where_it_is_said(message: str, figures: tuple[int, int]) -> None:
    found = errors.problem(Problem(message), errors.Place("It", "http://x", "m"), 400)
    assert isinstance(found, PromptTooLong)
    assert (found.counted, found.taken) == figures


def test_llama_server_says_it_in_figures() -> None:
    error = {"code": 400, "message": "request exceeds", "type": "exceed_context_size_error"}
    body = json.dumps({"error": {**error, "n_prompt_tokens": 5213, "n_ctx": 4096}})
    found = errors.refusal(400, {}, body, errors.Place("It", "http://x", "m"))
    assert isinstance(found, PromptTooLong)
    assert (found.counted, found.taken) == (5213, 4096)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1002", "correct GLM_LSP_REMOTE_KEY"),
        ("1113", "https://api.z.ai/api/coding/paas/v4"),
        ("1211", "correct remote.model"),
        ("1301", "content filter"),
        ("1308", "five hours"),
        ("1310", "this week"),
        ("1313", "fair-use"),
    ],
)
async def test_zai_says_in_codes_what_asking_again_will_not_mend(code: str, says: str) -> None:
    reply = refusal(429, {"error": {"code": code, "message": "无可用资源"}})
    fake = await check("zai", [reply], EngineUnavailable, says, code, "无可用资源")
    assert len(fake.asked) == 1


async def test_an_account_without_credit_is_not_asked_again() -> None:
    reply = refusal(429, {"error": {"code": "insufficient_quota", "message": "You exceeded your quota"}})
    assert len((await check("openai", [reply], EngineUnavailable, "Recharge")).asked) == 1


PASSING = [
    refusal(429, {"error": {"code": "1302", "message": "concurrency"}}),
    refusal(429, {"error": {"code": 1305, "message": "overload"}}),
    refusal(429, ""),
    refusal(429, "slow down", retry_after="0"),
    refusal(503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}),
    refusal(503, PAGE, retry_after="0.001"),
    refusal(503, "", retry_after="Wed, 21 Oct 2026 07:28:00 GMT"),
    Reply([event({"error": {"code": "1305", "message": "overload"}})]),
]


@every_kind
@pytest.mark.parametrize("storm", [1, engine.ATTEMPTS - 1])
async def test_a_storm_that_passes_is_waited_out(kind: str, storm: int) -> None:
    for refused in PASSING:
        async with Fake(kind, *[refused] * storm, Reply(answer(kind, "x"))) as fake:
            assert text_of(await collect(connect(fake), ask())) == "x"
        assert len(fake.asked) == storm + 1


@every_kind
@pytest.mark.parametrize("refused", PASSING, ids=lambda r: str(r.status))
async def test_a_storm_that_does_not_pass_ends(kind: str, refused: Reply) -> None:
    fake = await check(kind, [refused], EngineUnavailable)
    assert len(fake.asked) == engine.ATTEMPTS


async def test_who_asks_for_too_much_patience_is_not_waited_for() -> None:
    fake = await check("openai", [refusal(429, "", retry_after="3600")], EngineUnavailable, "too often")
    assert len(fake.asked) == 1


@every_kind
async def test_nothing_is_asked_again_once_text_has_come(kind: str) -> None:
    late = Reply([piece(kind, "x = "), event({"error": {"code": "1302", "message": "concurrency"}})])
    async with Fake(kind, late) as fake:
        chunks = []
        with pytest.raises(EngineUnavailable):
            async for each in connect(fake).generate(ask()):
                chunks.append(each)  # noqa: PERF401 (what came before the error counts)
    assert text_of(chunks) == "x = "
    assert not any(c.finish for c in chunks)
    assert len(fake.asked) == 1


@every_kind
async def test_a_stream_without_its_terminator_is_no_result(kind: str) -> None:
    await check(kind, [Reply([piece(kind, "x = 1")])], EngineDied, "without saying that it is complete")
    await check(kind, [Reply([])], EngineDied, "without saying that it is complete")


@every_kind
async def test_half_a_frame_is_no_result(kind: str) -> None:
    whole = b"".join(s for s in answer(kind, "x = 1") if isinstance(s, bytes))
    for cut in range(1, whole.rindex(b"\n\n", 0, len(whole) - 2), 23):
        if not (b'finish_reason": "stop' in whole[:cut] or b'"stop": true' in whole[:cut]):
            await check(kind, [Reply([whole[:cut]])], EngineDied)


@every_kind
async def test_one_word_for_the_end_is_enough(kind: str) -> None:
    if kind == "llama-server":
        steps = [raw_chunk("x"), raw_chunk("", stop_type="eos")]
        ends = [steps, [raw_chunk("x"), DONE], [*steps, RESET]]
    else:
        last = chunk(kind, finish="stop")
        ends = [[chunk(kind, "x"), last], [chunk(kind, "x"), DONE], [chunk(kind, "x"), last, RESET]]
    for steps in ends:
        async with Fake(kind, Reply(steps)) as fake:
            chunks = await collect(connect(fake), ask())
        assert (text_of(chunks), chunks[-1].finish) == ("x", Finish.STOP)


async def test_figures_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "GRACE_SECONDS", 0.05)
    async with Fake("vllm", Reply([chunk("vllm", "x", finish="stop"), HANG])) as fake:
        assert text_of(await collect(connect(fake), ask())) == "x"


@every_kind
async def test_a_broken_connection_is_told(kind: str) -> None:
    await check(kind, [Reply([piece(kind, "x = 1"), RESET])], EngineDied, "in the middle of its answer")


@every_kind
async def test_silence_ends_at_the_stall_limit(kind: str) -> None:
    stalled = [Reply([piece(kind, "x = 1"), HANG]), Reply([HANG])]
    for reply in stalled:
        await check(
            kind, [reply], EngineStalled, "0.2 seconds", "engine.stall_seconds", engine__stall_seconds=0.2
        )


@every_kind
async def test_a_sign_of_life_keeps_a_slow_answer_alive(kind: str) -> None:
    """Comments alone, for far longer than the stall limit; then the answer."""
    beats: list[bytes | Wait | str] = []
    for _ in range(12):
        beats += [b": keepalive\n\n", Wait(0.1)]
    async with Fake(kind, Reply([*beats, *answer(kind, "x")])) as fake:
        assert text_of(await collect(connect(fake, engine__stall_seconds=0.6), ask())) == "x"


@every_kind
async def test_characters_that_packets_share_are_whole(kind: str) -> None:
    whole = b"".join(s for s in answer(kind, "naïve 🐍 = 'é'") if isinstance(s, bytes))
    async with Fake(kind, Reply([whole[i : i + 1] for i in range(len(whole))])) as fake:
        assert text_of(await collect(connect(fake), ask())) == "naïve 🐍 = 'é'"


@every_kind
@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([b"data: \xff\xfe\n\n"], "not UTF-8"),
        ([b"data: {not json}\n\n"], "not in the format"),
        ([b'data: {"choices": 7}\n\n'], "not in the format"),
        ([b"data: []\n\n"], "not in the format"),
        ([b"<html>\n"], "not a stream of events"),
    ],
)
async def test_nonsense_is_no_result(kind: str, steps: list[bytes], says: str) -> None:
    await check(kind, [Reply(steps)], EngineDied, says, "remote.kind")


@every_kind
@pytest.mark.parametrize(
    ("told", "error", "says"),
    [
        ({"error": {"message": "out of memory", "code": 500}}, EngineDied, "out of memory"),
        ({"error": "worker died"}, EngineDied, "worker died"),
        ({"error": {"message": "maximum context length is 8"}}, PromptTooLong, "context.budget_tokens"),
        ({"object": "error", "message": "no", "code": 401}, EngineUnavailable, "refuses the key"),
    ],
)
async def test_an_error_in_the_middle_is_no_result(
    kind: str, told: Any, error: type[EngineError], says: str
) -> None:
    await check(kind, [Reply([piece(kind, "x = "), event(told), DONE])], error, says)


@every_kind
async def test_a_server_that_does_not_stop_is_left(kind: str) -> None:
    flood = Reply([*[piece(kind, "x" * 50_000)] * 4, HANG])
    await check(kind, [flood], EngineDied, "far longer than what was asked for")


@every_kind
@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate"])
async def test_nothing_is_unpacked(kind: str, encoding: str) -> None:
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    packed = gzip.compress(b"".join(s for s in answer(kind, "x") if isinstance(s, bytes)))
    await check(kind, [Reply([packed], 200, headers)], EngineDied)
    async with Fake(kind, Reply([packed], 500, headers)) as fake:
        with pytest.raises(EngineDied) as caught:
            await collect(connect(fake), ask())
    assert str(caught.value).isprintable()
    assert fake.heads[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize("word", ["content_filter", "sensitive"])
async def test_a_withheld_answer_is_no_result(word: str) -> None:
    await check("zai", [Reply([chunk("zai", "x", finish=word), DONE])], EngineUnavailable, "withheld")


@pytest.mark.parametrize("word", ["network_error", "abort", "tool_calls", "\x1b[31m"])
async def test_an_unknown_end_is_no_result(word: str) -> None:
    await check("zai", [Reply([chunk("zai", "x", finish=word), DONE])], EngineDied, "ended with")


async def test_reasoning_that_leaks_is_no_result() -> None:
    leak = [chunk("openai", "let me see</think>x"), chunk("openai", finish="stop"), DONE]
    await check("openai", [Reply(leak)], EngineUnavailable, "mixes the model's reasoning")


@every_kind
async def test_reasoning_alone_with_thinking_off_is_told(kind: str) -> None:
    only = [chunk(kind, reasoning="hm"), chunk(kind, finish="length"), DONE]
    await check(kind, [Reply(only)], EngineUnavailable, "although thinking is off")


async def test_nobody_there() -> None:
    async with Fake("openai", Reply([])) as fake:
        gone = fake.endpoint
    remote = RemoteEngine(remote_settings("openai", gone), profiles.load("glm-5.2"))
    with pytest.raises(EngineUnavailable, match="cannot be reached") as caught:
        await collect(remote, ask())
    assert gone in str(caught.value)


@every_kind
async def test_leaving_closes_the_connection(kind: str) -> None:
    """Closing the generator stops the engine itself: the server sees us go."""
    async with Fake(kind, Reply([piece(kind, "x"), HANG])) as fake:
        remote = connect(fake)
        async with aclosing(remote.generate(ask())) as chunks:
            assert (await anext(chunks)).text == "x"
        await asyncio.wait_for(fake.left.wait(), 5)
        await remote.close()


@every_kind
async def test_cancelling_closes_the_connection(kind: str) -> None:
    async with Fake(kind, Reply([HANG])) as fake:
        remote = connect(fake)
        task = asyncio.create_task(collect(remote, ask()))
        await asyncio.wait_for(fake.came.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(fake.left.wait(), 5)


@every_kind
async def test_a_stop_string_closes_the_connection(kind: str) -> None:
    async with Fake(kind, Reply([piece(kind, "x END"), HANG])) as fake:
        chunks = await collect(connect(fake), ask(stop=("END",)))
        assert (text_of(chunks), chunks[-1].finish) == ("x ", Finish.STOP)
        await asyncio.wait_for(fake.left.wait(), 5)
