"""A worker's idle time, and what it says of itself: true figures of a real run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from glm_lsp.cli import worker as cli
from glm_lsp.core import profiles
from glm_lsp.core.generation import GenerateRequest, Prefill, Prompt, Role, Segment, Usage, Work
from glm_lsp.core.profiles import ModelProfile
from glm_lsp.core.settings import Settings
from glm_lsp.engines import connection
from glm_lsp.engines.embedded import EmbeddedEngine
from glm_lsp.engines.frames import Status
from glm_lsp.engines.rendezvous import MAIN, place

ROOT = Path(__file__).parents[2]
ENDLESS = r"root ::= [ -~\n] root"

pytestmark = [pytest.mark.embedded, pytest.mark.slow, pytest.mark.usefixtures("llama", "runtime")]


def prompt(lines: int, tail: str = "# Complete a.py\n", start: int = 0) -> Prompt:
    """A trunk of so many lines of this project's own code, and a tail."""
    code = (ROOT / "glm_lsp/core/trim.py").read_text(encoding="utf-8").splitlines(keepends=True)
    shared = (Segment(Role.SYSTEM, "# You write code.\n"), Segment(Role.USER, "".join(code[start:][:lines])))
    tails = (Segment(Role.USER, tail),) if tail else ()
    return Prompt((*shared, *tails), 0, trunk_segments=2)


async def run(engine: EmbeddedEngine, request: GenerateRequest) -> tuple[list[Prefill], Usage]:
    """How the prompt was read, and what it cost."""
    chunks = [chunk async for chunk in engine.generate(request)]
    usage = chunks[-1].usage
    assert usage is not None
    return [chunk.prefill for chunk in chunks if chunk.prefill is not None], usage


async def status() -> Status:
    found = await connection.ask(place(MAIN))
    assert found is not None
    return found


async def settled(engine: EmbeddedEngine) -> Status:
    """When there is nothing to measure any more."""
    while (found := await status()).measuring:  # noqa: ASYNC110 (it has no event)
        await asyncio.sleep(0.2)
    return found


async def test_warming_up_makes_way_and_goes_on_and_says_how_far_it_is(engine: EmbeddedEngine) -> None:
    begun = asyncio.Event()
    heard: list[Prefill] = []
    ends: list[str] = []

    async def warm() -> Usage | None:
        usage: Usage | None = None
        trunk = GenerateRequest(prompt(220, ""), 0, work=Work.IDLE)
        async for chunk in engine.generate(trunk):
            if chunk.prefill is not None:
                heard.append(chunk.prefill)
                if 0 < chunk.prefill.done_tokens < chunk.prefill.total_tokens:
                    begun.set()
            usage = chunk.usage or usage
        ends.append("warm-up")
        return usage

    warming = asyncio.create_task(warm())
    await begun.wait()
    typed = GenerateRequest(prompt(20, start=250), 3, work=Work.TYPING, grammar=ENDLESS)
    await run(engine, typed)
    ends.append("typing")
    warmed = await warming
    assert ends == ["typing", "warm-up"]
    assert warmed is not None
    assert warmed.output_tokens == 0
    read = [prefill.done_tokens for prefill in heard if prefill.total_tokens]
    assert read == sorted(read)
    assert read[-1] == heard[-1].total_tokens == warmed.prompt_tokens
    assert any((prefill.seconds_left or 0) > 0 for prefill in heard)
    _, usage = await run(engine, GenerateRequest(prompt(220), 1))
    closing = 3
    assert (usage.cached_tokens or 0) >= (warmed.prompt_tokens or 0) - closing, "nothing is read again"


async def test_what_drafts_cost_is_measured_after_the_first_answers_not_before_them(
    nano: ModelProfile, embedded_settings: Settings
) -> None:
    settings = Settings({**embedded_settings.values, "worker.drafts": True})
    engine = EmbeddedEngine(settings, nano)
    await engine.start()
    before = await status()
    assert (before.state, before.measuring, before.draft_costs) == ("measuring", True, ())
    assert "measured when there is nothing else" in dict(cli.rows(before))["cost of k tokens at once"]
    await run(engine, GenerateRequest(prompt(20), 3, grammar=ENDLESS))
    assert not (during := await status()).draft_costs or during.measuring is False
    after = await settled(engine)
    assert after.state == "ready"
    assert after.draft_costs[0] == 1.0
    assert len(after.draft_costs) > 1
    assert list(after.draft_costs) == sorted(after.draft_costs)
    assert "1: 1.00  2: " in dict(cli.rows(after))["cost of k tokens at once"]
    await engine.close()
    assert await connection.stop(place(MAIN), force=True) == ""
    engine = EmbeddedEngine(settings, nano)
    await engine.start()
    again = await status()
    await engine.close()
    assert (again.measuring, again.draft_costs) == (False, after.draft_costs), "once for all times"


async def test_the_figures_of_a_run_are_true(
    engine: EmbeddedEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    usages = [
        (await run(engine, GenerateRequest(asked, 12, grammar=ENDLESS)))[1]
        for asked in (prompt(100), prompt(100, "# Complete b.py\n"), prompt(150, start=100), prompt(100))
    ]
    waits = asyncio.create_task(run(engine, GenerateRequest(prompt(200, start=30), 100, grammar=ENDLESS)))
    while not (busy := await status()).jobs or not busy.jobs[0].total:  # noqa: ASYNC110 (the same)
        await asyncio.sleep(0.01)
    usages.append((await waits)[1])
    found = await status()

    def total(name: str) -> int:
        return sum(getattr(usage, name) or 0 for usage in usages)

    assert found.prompt_tokens == total("prompt_tokens")
    assert found.reused_tokens == total("cached_tokens") > 0
    assert found.output_tokens == total("output_tokens") == 4 * 12 + 100
    assert found.jobs == ()
    assert busy.state == "working"
    (job,) = busy.jobs
    assert job.state in {"reading", "writing"}
    assert 0 <= job.done <= job.total == usages[-1].prompt_tokens
    seconds = sum(usage.prefill_seconds or 0.0 for usage in usages)
    evaluated = total("prompt_tokens") - total("cached_tokens")
    # The same measurements, summed up in two ways: only ends of prompts are no part of the speeds.
    reading = [speed.prefill for speed in found.speeds if speed.prefill]
    assert min(reading) / 4 < evaluated / seconds < 4 * max(reading)
    steps = sum(usage.decode_seconds or 0.0 for usage in usages)
    writing = [speed.decode for speed in found.speeds if speed.decode]
    assert min(writing) / 4 < total("output_tokens") / steps < 4 * max(writing)
    assert [speed.depth for speed in found.speeds] == [0, 1024, 2048][: len(found.speeds)]
    assert found.eta_error >= 0, "the third and the fifth were foretold from the first"
    assert max(found.trunks) <= found.kv_tokens_used <= found.kv_tokens
    # f32 is twice f16; the cells are rounded up to 256.
    cells = -(-found.kv_tokens // 256) * 256
    assert found.kv_bytes == pytest.approx(2 * cells * profiles.load("nano").kv_bytes_per_token_f16, rel=0.02)
    names = dict(cli.rows(found))
    share = found.reused_tokens / found.prompt_tokens
    assert f"{share:.0%} of them reused" in names["read"]
    assert {"speed by depth", "error of times foretold", "KV cache", "trunks"} <= names.keys()
    capsys.readouterr()
    shape = {name: getattr(found, name) for name in ("prompt_tokens", "kv_bytes", "eta_error")}
    (told,) = await cli._status((MAIN,))
    assert {name: told[name] for name in shape} == shape
    assert json.dumps({k: v for k, v in told.items() if k != "table"})
