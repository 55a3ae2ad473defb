"""No request may write more than is left of a ration."""

from __future__ import annotations

import pytest

from glm_lsp.core.errors import SpentError
from glm_lsp.core.generation import Finish, GenerateRequest, Thinking
from glm_lsp.engines.scripted import ScriptedEngine, prompt_of, words
from glm_lsp.features.ration import Kept, Ration


class Remembered:
    """A memory that only listens."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []

    def recall(self, key: str) -> Kept | None:
        return None

    def keep(self, key: str, answer: Kept) -> None:
        self.kept.append(answer)

    def landed(self, path: str, digest: str) -> bool:
        return False


def count(text: str) -> int:
    return len(words(text))


@pytest.mark.parametrize(
    ("most", "thoughts", "limit", "asked"),
    [
        (100, 0, 100, (100, 0)),
        (100, 0, 99, (99, 0)),
        (100, 0, 1, (1, 0)),
        (100, 300, 400, (100, 300)),
        (100, 300, 40, (10, 30)),
        (100, 300, 1, (1, 0)),
        (1, 300, 5, (1, 4)),
    ],
)
async def test_answer_and_reasoning_share_what_is_left(
    most: int, thoughts: int, limit: int, asked: tuple[int, int]
) -> None:
    engine = ScriptedEngine("yes")
    ration = Ration(engine, count, tokens=limit)
    thinking = Thinking.HIGH if thoughts else Thinking.OFF
    request = GenerateRequest(prompt_of("?"), most, thinking=thinking, reasoning_tokens=thoughts)
    async for _ in ration.generate(request):
        pass
    assert (engine.requests[0].max_tokens, engine.requests[0].reasoning_tokens) == asked
    assert sum(asked) <= limit


async def test_an_answer_that_the_limit_cuts_is_spent_and_not_kept() -> None:
    memory = Remembered()
    ration = Ration(ScriptedEngine("a b c d e f"), count, tokens=5, memory=memory)
    with pytest.raises(SpentError, match=r"5 of 5 tokens"):
        async for _ in ration.generate(GenerateRequest(prompt_of("?"), 100)):
            pass
    assert (memory.kept, ration.used_tokens, ration.answered) == ([], 5, 0)


async def test_an_answer_that_its_own_bound_cuts_is_an_answer() -> None:
    memory = Remembered()
    ration = Ration(ScriptedEngine("a b c d e f"), count, tokens=5, memory=memory)
    async for _ in ration.generate(GenerateRequest(prompt_of("?"), 3)):
        pass
    assert memory.kept == [Kept("a b", Finish.LENGTH)]
    assert ration.answered == 1
