"""A prompt that is too long for the engine is made smaller, exactly once; then it is a sentence."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace

import pytest

from glm_lsp.core.errors import BudgetError, GlmError, PromptTooLong
from glm_lsp.core.generation import Chunk, Finish, GenerateRequest
from glm_lsp.core.values import Budget
from glm_lsp.engines.bounds import ApproximateTokenizer
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.asking import Place, Question, consult
from glm_lsp.features.complete import suggest
from glm_lsp.features.session import LEAST_TOKENS, Session
from tests.features.stage import PROFILE, Files, session, snapshot

FILES: dict[str, str | None] = {
    "a.py": "from b import other_0\n\n\n"
    + "".join(f"def part_{n}(value):\n    return other_0(value) + {n}\n\n\n" for n in range(200)),
    "b.py": "".join(f"def other_{n}(value):\n    return value * {n}\n\n\n" for n in range(200)),
}
BUDGET = Budget(32_768, 96)
OFFSET = (FILES["a.py"] or "").index("other_0(value) + 150")


class Short(ScriptedEngine):
    """An engine that takes so many tokens, whatever it has promised; it tells its figures or not."""

    def __init__(self, takes: int, *, tells: bool = False) -> None:
        super().__init__("")
        self.takes, self.tells = takes, tells
        self.asked: list[int] = []

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        tokens = request.prompt.tokens
        self.asked.append(tokens)
        if tokens > self.takes:
            told = (tokens, self.takes) if self.tells else ()
            raise PromptTooLong(
                "The engine takes fewer tokens than this prompt has. Lower the budget.", *told
            )
        yield Chunk(text="1\n")
        yield Chunk(finish=Finish.STOP)


async def complete(made: Session) -> object:
    return await suggest(made, snapshot(FILES), "a.py", OFFSET)


async def question(made: Session) -> object:
    asked = Question("# What is it?\n", max_tokens=96)
    return await consult(made, snapshot(FILES), Place("a.py", OFFSET), asked)


KINDS = pytest.mark.parametrize("ask", [complete, question])
Ask = Callable[[Session], Awaitable[object]]


def desk(engine: Short, tokens: int = 4000) -> Session:
    return session(FILES, engine, replace(PROFILE, prompt_tokens=tokens))


@KINDS
@pytest.mark.parametrize("tells", [False, True])
async def test_it_is_made_smaller_once_and_stays_smaller(ask: Ask, tells: bool) -> None:
    engine = Short(10**6, tells=tells)
    made = desk(engine)
    await ask(made)
    (whole,) = engine.asked
    engine.takes = int(whole * 0.75)
    await ask(made)
    await ask(made)
    assert [tokens > engine.takes for tokens in engine.asked] == [True, True, False, False]
    assert engine.asked[2] > LEAST_TOKENS


@KINDS
async def test_by_the_engines_own_figures_no_more_is_lost_than_must_be(ask: Ask) -> None:
    engine = Short(10**6, tells=True)
    made = desk(engine)
    await ask(made)
    engine.takes = int(engine.asked[0] * 0.85)
    await ask(made)
    most = made.budget_tokens(snapshot(FILES), BUDGET)
    assert 0.7 * engine.takes < most <= engine.takes


@KINDS
async def test_an_engine_that_takes_almost_nothing_is_a_sentence(ask: Ask) -> None:
    engine = Short(40)
    with pytest.raises((PromptTooLong, BudgetError)) as caught:
        await ask(desk(engine))
    assert len(engine.asked) <= 2
    assert str(caught.value).endswith(".")


@KINDS
async def test_an_engine_that_never_takes_anything_shrinks_nothing_below_the_least(ask: Ask) -> None:
    engine = Short(0, tells=True)
    made = desk(engine)
    for _ in range(6):
        with pytest.raises(GlmError):
            await ask(made)
    assert made.budget_tokens(snapshot(FILES), BUDGET) >= LEAST_TOKENS


@pytest.mark.parametrize("figures", [(1, 10**9), (10**9, 1), (-5, -5), (0, 0), (10**9, 0)])
async def test_no_figure_bends_the_budget_far(figures: tuple[int, int]) -> None:
    made = desk(Short(10**6))
    found = await suggest(made, snapshot(FILES), "a.py", OFFSET)
    made.shrink(found.prompt, PromptTooLong("x.", *figures), 96)
    most = made.budget_tokens(snapshot(FILES), BUDGET)
    assert 0.19 * found.prompt.tokens <= most <= 0.9 * found.prompt.tokens


async def test_a_bound_that_has_been_raised_packs_anew() -> None:
    """What was counted too low before does not stay in the prompt."""
    tokenizer = ApproximateTokenizer()
    profile = replace(PROFILE, prompt_tokens=3000)
    made = Session(Files(FILES), Short(10**6), tokenizer, profile)
    first = await suggest(made, snapshot(FILES), "a.py", OFFSET)
    assert (await suggest(made, snapshot(FILES), "a.py", OFFSET)).prompt.segments == first.prompt.segments
    tokenizer.observe(100.0, 200, missed=True)
    second = await suggest(made, snapshot(FILES), "a.py", OFFSET)
    assert sum(map(tokenizer.count, (s.text for s in first.prompt.segments))) > 3000
    assert sum(map(tokenizer.count, (s.text for s in second.prompt.segments))) <= 3000
    assert second.prompt.tokens <= 3000
