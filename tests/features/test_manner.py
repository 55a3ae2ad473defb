"""Thinking leaves room for a prompt or says what takes it, and tokens are drawn as the settings say."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

import pytest

from glm_lsp.core.errors import NOTICES, BudgetError, EngineDied
from glm_lsp.core.generation import GenerateRequest
from glm_lsp.core.settings import Settings, Source
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.features.asking import Place, Question, consult
from glm_lsp.features.complete import suggest
from glm_lsp.features.refactor import propose
from tests.features.stage import session, snapshot

FILES = {"a.py": "def one():\n    return 1\n\n\nx = "}
SMALL = replace(FACTS, context_tokens=4096)
THINKS = {f"thinking.{work}": "high" for work in ("completion", "action", "refactor")}
BOUND = "thinking.reasoning_tokens"


def engine(context_tokens: int = 4096) -> ScriptedEngine:
    return ScriptedEngine("1", reasoning="Let me see.", facts=replace(FACTS, context_tokens=context_tokens))


async def completed(given: ScriptedEngine, settings: Mapping[str, object]) -> GenerateRequest:
    await suggest(session(FILES, given), snapshot(FILES, settings=settings), "a.py", len(FILES["a.py"]))
    return given.requests[-1]


async def test_a_bound_that_nobody_has_set_is_half_of_what_the_reply_leaves(
    caplog: pytest.LogCaptureFixture,
) -> None:
    given = engine()
    working, shown = session(FILES, given), snapshot(FILES, settings=THINKS)
    with caplog.at_level(logging.WARNING, NOTICES):
        for _ in range(2):
            await suggest(working, shown, "a.py", len(FILES["a.py"]))
    assert [r.reasoning_tokens for r in given.requests] == [2000, 2000]
    assert [record.getMessage() for record in caplog.records] == [
        "Thinking may take 2,000 tokens, half of what the reply leaves of the engine's 4,096; "
        "thinking.reasoning_tokens changes that."
    ]


async def test_where_it_fits_the_default_stands_and_nothing_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, NOTICES):
        assert (await completed(engine(131_072), THINKS)).reasoning_tokens == 8192
    assert not caplog.records


async def test_actions_and_refactors_are_bounded_as_well() -> None:
    given, shown = engine(), snapshot(FILES, settings=THINKS)
    await consult(session(FILES, given), shown, Place("a.py", 0), Question("Why?", max_tokens=1000))
    assert given.requests[-1].reasoning_tokens == 1548
    await propose(session(FILES, given), shown, "Double it", ["a.py"])
    assert given.requests[-1].reasoning_tokens == (4096 - 4096 // 3) // 2


@pytest.mark.parametrize("bound", [4000, 8191, 100_000])
async def test_a_bound_that_leaves_no_prompt_is_told_with_the_sum(bound: int) -> None:
    with pytest.raises(BudgetError) as told:
        await completed(engine(), {**THINKS, BOUND: bound})
    sentence = str(told.value)
    assert f"holds 4,096 tokens, of which the reply may take 96 and thinking {bound:,} ({BOUND})" in sentence
    assert f"lower {BOUND} to 2,000, or set thinking.completion to off." in sentence
    assert "model.context_tokens" not in sentence
    assert (await completed(engine(), {**THINKS, BOUND: 2000})).reasoning_tokens == 2000


async def test_what_the_user_has_set_stands_though_it_is_the_default() -> None:
    named = replace(snapshot(FILES), settings=Settings({**THINKS, BOUND: 8192}, {BOUND: Source.USER}))
    with pytest.raises(BudgetError, match=r"thinking 8,192 \(thinking.reasoning_tokens\)"):
        await suggest(session(FILES, engine()), named, "a.py", len(FILES["a.py"]))


async def test_where_nothing_is_left_thinking_goes() -> None:
    with pytest.raises(BudgetError) as told:
        await completed(engine(200), THINKS)
    assert str(told.value).endswith("set thinking.completion to off.") and "lower" not in str(told.value)


async def test_what_an_engine_dies_of_twice_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    given = ScriptedEngine("1", fail=EngineDied("The model gave no usable probabilities."))
    with caplog.at_level(logging.WARNING, NOTICES):
        with pytest.raises(EngineDied, match="no usable probabilities"):
            await completed(given, {})
        with pytest.raises(EngineDied, match="no usable probabilities"):
            await consult(session(FILES, given), snapshot(FILES), Place("a.py", 0), Question("Why?"))
    assert len(given.requests) == 4 and not caplog.records


async def test_the_tokens_of_an_answer_that_was_left_early_are_counted() -> None:
    given = ScriptedEngine("1\ny = 2\nz = 3\n" + "a = a\n" * 50, chunk_chars=4)
    settings = {"completion.multiline": False}
    found = await suggest(
        session(FILES, given), snapshot(FILES, settings=settings), "a.py", len(FILES["a.py"])
    )
    assert found.usage is not None and 0 < (found.usage.output_tokens or 0) < 10


async def test_tokens_are_drawn_as_the_settings_say() -> None:
    def drawn(request: GenerateRequest) -> tuple[float, float, int]:
        return request.temperature, request.top_p, request.seed

    chosen = {"sampling.temperature": 0.7, "sampling.top_p": 0.9, "sampling.seed": 7}
    assert drawn(await completed(engine(), {})) == (0.0, 1.0, 0)
    assert drawn(await completed(engine(), chosen)) == (0.7, 0.9, 7)
    given, shown = engine(), snapshot(FILES, settings=chosen)
    await consult(session(FILES, given), shown, Place("a.py", 0), Question("Why?"))
    await propose(session(FILES, given), shown, "Double it", ["a.py"])
    assert {drawn(request) for request in given.requests} == {(0.7, 0.9, 7)}
