"""Budgets that tell files: whatever is edited, undone, closed, renamed or switched, each prompt alone tells
the current text of what it shows, an epoch's trunk only grows, and no budget is exceeded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core import ledger as ledgers
from glm_lsp.core.generation import Prompt, Role, Segment
from glm_lsp.core.pack import prompt_tokens
from glm_lsp.core.values import BlockKind, Budget
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import pack_context
from tests.bench.replay_checker import Checker, told_by
from tests.features.stage import PROFILE, Files, Words, snapshot
from tests.features.test_complete_ledger import (
    REPOSITORY,
    Recorded,
    check_grown,
)

LONG = "".join(f"def part_{n}(x):\n    y = two(x) + {n}\n    return y\n\n\n" for n in range(12))
FILES = {**REPOSITORY, "long.py": f"from b import two\n\n\n{LONG}", "e/empty.py": ""}
PATHS = sorted(FILES)
ADDED = (
    "x = two(1)\n",
    "    pass\n",
    "\n",
    "def new(x):\n    return one(x)\n",
    "é🙂\r\n",
    "one",
    "```\n",
    "",
)
STEPS = st.tuples(
    st.sampled_from(("type", "type", "edit", "ask", "act", "undo", "close", "rename", "switch")),
    st.sampled_from(PATHS),
    st.integers(0, 64),
    st.integers(0, 4),
    st.sampled_from(ADDED),
)


@pytest.fixture(autouse=True, scope="module")
def small_budgets_are_lean() -> Iterator[None]:
    before, ledgers.LEAN_TOKENS = ledgers.LEAN_TOKENS, 300
    yield
    ledgers.LEAN_TOKENS = before


def lines_of(text: str) -> list[str]:
    return text.replace("\r\n", "\n").split("\n")


def check_rebuilds(prompt: Prompt, files: dict[str, str], path: str) -> None:
    """Trunk and tail tell every file that they show as it is, to a reader who knows the prompt alone."""
    assert f"# Complete {path} line " in prompt.text(Role.USER)
    assert Checker(lambda name: lines_of(files.get(name, ""))).check(prompt).wrong == []


def check_trunk(segments: tuple[Segment, ...], files: dict[str, str]) -> None:
    for path, told in told_by(segments).files.items():
        lines = lines_of(files.get(path, ""))
        assert all(line is None or line == lines[n] for n, line in enumerate(told)), path


@dataclass
class Desk:
    """An editor: its files, what is open, and the session."""

    budget: int
    files: dict[str, str] = field(default_factory=lambda: dict(FILES))
    opened: set[str] = field(default_factory=set[str])
    past: list[dict[str, str]] = field(default_factory=list[dict[str, str]])

    def __post_init__(self) -> None:
        self.disk = Files(dict(self.files))
        profile = replace(PROFILE, prompt_tokens=self.budget)
        self.session = Recorded(self.disk, ScriptedEngine("x = 1"), Words(), profile)
        self.session.trunks = []

    def put(self, **changed: str | None) -> None:
        self.past.append(dict(self.files))
        files = {**self.files, **changed}
        self.files = {path: text for path, text in files.items() if text is not None}

    async def ask(self, path: str, start: int, kind: str) -> None:
        self.disk.files = dict(self.files)
        shown = snapshot(self.files, opened=tuple(self.opened & self.files.keys()))
        offset = len(self.files[path][:start].encode())
        before = self.session.trunks[-1] if self.session.trunks else None
        if kind == "act":
            trunk = await self.session.gather(shown, path, offset, Budget(32_768, 100))
            check_trunk(trunk.segments, self.files)
            assert trunk.tokens <= self.budget
        else:
            prompt = await pack_context(self.session, shown, path, offset)
            assert prompt.tokens == prompt_tokens(prompt, Words().count) <= self.budget
            check_rebuilds(prompt, self.files, path)
            # User, assistant, and an empty thought, for each earlier answer.
            answers = sum(block.kind is BlockKind.TYPED for block in prompt.blocks)
            text = sum(segment.tokens for segment in prompt.segments)
            assert prompt.tokens == text + self.session.overhead() + 4 * answers
        check_grown(before, self.session.trunks[-1])


@settings(deadline=None, max_examples=25)
@given(st.lists(STEPS, min_size=1, max_size=16), st.sampled_from((400, 700, 2000)))
async def test_every_prompt_rebuilds_what_it_shows(
    steps: list[tuple[str, str, int, int, str]], budget: int
) -> None:
    desk = Desk(budget)
    for kind, path, line, count, text in steps:
        if path not in desk.files:
            desk.put(**{path: text})
        file = desk.files[path]
        starts = [0, *(m.end() for m in re.finditer("\n", file))]
        start = starts[min(line, len(starts) - 1)]
        if kind in ("type", "edit"):
            end = starts[min(line + count, len(starts) - 1)] if kind == "edit" else start
            desk.put(**{path: file[:start] + text + file[max(start, end) :]})
            desk.opened.add(path)
            start += len(text)
        elif kind == "undo" and desk.past:
            desk.files = desk.past.pop()
            if path not in desk.files:
                continue
            start = min(start, len(desk.files[path]))
        elif kind == "close":
            desk.opened.discard(path)
        elif kind == "rename":
            desk.put(**{path: None, f"moved/{path}": file})
            path = f"moved/{path}"
        elif kind == "switch":
            desk.put(**{p: t.replace("x", "xx") + text for p, t in desk.files.items() if p != path})
        if kind != "edit":
            await desk.ask(path, start, kind)
