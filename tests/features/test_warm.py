"""Warm-up reads exactly what the next request begins with, and only where that costs nobody anything."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_lsp.core.generation import Role, Work
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.features.complete import suggest
from glm_lsp.features.warm import warm
from tests.features import stage

FILES = {
    "shapes.py": 'class Circle:\n    """Round."""\n\n    def area(self) -> float:\n        return 3.0\n',
    "use.py": "from shapes import Circle\n\n\ndef total(circles: list[Circle]) -> float:\n    return sum(\n",
}
OFFSET = len(FILES["use.py"]) - 1


def warming() -> ScriptedEngine:
    return ScriptedEngine("c.area() for c in circles)", facts=replace(FACTS, warms=True))


@pytest.mark.parametrize("settings", [{}, {"completion.form": "fim"}, {"thinking.completion": "high"}])
async def test_a_completion_after_warm_up_evaluates_its_tail_only(settings: dict[str, object]) -> None:
    cold, engine = warming(), warming()
    snapshot = stage.snapshot(FILES, opened=("use.py",), settings=settings)
    without = await suggest(stage.session(FILES, cold), snapshot, "use.py", OFFSET)
    session = stage.session(FILES, engine)
    usage = await warm(session, snapshot, "use.py", OFFSET)
    warmed = await suggest(session, snapshot, "use.py", OFFSET)
    assert usage is not None
    assert usage.output_tokens == 0
    assert engine.requests[0].max_tokens == 0
    assert engine.requests[0].work is Work.IDLE
    assert warmed.prompt == without.prompt
    assert warmed.usage is not None
    assert without.usage is not None
    shared = warmed.prompt.segments[: warmed.prompt.trunk_segments]
    trunk = "".join(s.text for s in shared if s.role is Role.USER)
    assert "Circle" in trunk
    assert (warmed.usage.cached_tokens or 0) >= len(stage.words(trunk))
    assert without.usage.cached_tokens == 0


async def test_it_tells_how_far_it_is() -> None:
    told: list[tuple[str, int | None]] = []
    snapshot = stage.snapshot(FILES)
    await warm(stage.session(FILES, warming()), snapshot, "use.py", OFFSET, lambda *said: told.append(said))
    assert told
    assert "reading" in told[-1][0]
    assert told[-1][1] == 100


@pytest.mark.parametrize(
    ("facts", "settings", "path"),
    [
        (FACTS, {}, "use.py"),
        (replace(FACTS, warms=True), {"worker.warm_up": False}, "use.py"),
        (replace(FACTS, warms=True), {}, "absent.py"),
    ],
    ids=["an engine that cannot, or bills for it", "turned off", "a file that is not there"],
)
async def test_nothing_is_asked_where_there_is_nothing_to_warm(
    facts: object, settings: dict[str, object], path: str
) -> None:
    engine = ScriptedEngine("x", facts=facts)  # type: ignore[arg-type]
    snapshot = stage.snapshot(FILES, settings=settings)
    assert await warm(stage.session(FILES, engine), snapshot, path, 0) is None
    assert engine.requests == []
