"""The session's trunk from request to request: what is told of files that change or go away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_lsp.core.generation import Role
from glm_lsp.core.values import Budget
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import suggest
from glm_lsp.features.session import Session, Trunk
from tests.features.stage import PROFILE, Files, Words, snapshot

FILES: dict[str, str | None] = {
    "use.py": "from tool import cut, Saw\n\n\ndef work(x):\n    return cut(x)\n",
    "tool.py": """def cut(x):
    y = x
    return y - 1


class Saw:
    def turn(self):
        return cut(self)
""",
    "note.py": "x = 1\n",
}
BUDGET = Budget(32_768, 100)


class Desk:
    """A session and its files; `ask` gathers the trunk for the end of a file."""

    def __init__(self, prompt_tokens: int = 2000) -> None:
        self.files = dict(FILES)
        self.session = Session(
            Files(self.files), ScriptedEngine(""), Words(), replace(PROFILE, prompt_tokens=prompt_tokens)
        )

    async def ask(self, path: str = "use.py", budget: Budget = BUDGET) -> Trunk:
        offset = len((self.files[path] or "").encode())
        return await self.session.gather(snapshot(self.files), path, offset, budget)


def text(trunk: Trunk) -> str:
    return "".join(segment.text for segment in trunk.segments)


async def test_the_same_question_gets_the_same_trunk() -> None:
    desk = Desk()
    first = await desk.ask()
    assert "== tool.py:1-3\ndef cut(x):\n" in text(first)
    assert (await desk.ask()).segments == first.segments


async def test_a_shown_file_that_changes_on_disk_is_told() -> None:
    desk = Desk()
    first = await desk.ask()
    desk.files["tool.py"] = (FILES["tool.py"] or "").replace("y - 1", "y - 2")
    second = await desk.ask()
    assert second.epoch == first.epoch
    assert text(second) == text(first) + "# Edits since then\n== tool.py line 3 -1 +1\n    return y - 2\n"


async def test_a_shown_file_that_is_gone_is_told() -> None:
    desk = Desk()
    first = await desk.ask()
    del desk.files["tool.py"]
    second = await desk.ask()
    assert second.epoch == first.epoch and "== tool.py line 1 -8 +0\n" in text(second)


async def test_what_may_no_longer_be_sent_is_not_sent_again() -> None:
    desk = Desk()
    first = await desk.ask()
    desk.files["tool.py"] = None
    second = await desk.ask()
    assert second.epoch != first.epoch and "y - 1" not in text(second)
    assert [d.path for d in second.dropped if "secret" in d.reason] in ([], ["tool.py"])


async def test_a_log_that_outgrows_its_share_begins_an_epoch_that_is_up_to_date() -> None:
    desk = Desk(600)
    first = await desk.ask()
    for number in range(40):
        desk.files["tool.py"] = (FILES["tool.py"] or "").replace("y - 1", f"y - {number}")
        last = await desk.ask()
        assert last.tokens <= 600
    assert last.epoch > first.epoch and "y - 39" in text(last)


async def test_a_smaller_budget_is_kept_without_harm_to_the_larger() -> None:
    desk = Desk()
    first = await desk.ask()
    small = await desk.ask(budget=Budget(400, 100))
    assert small.tokens <= 300 == small.budget_tokens
    assert (await desk.ask()).segments == first.segments


async def test_the_setting_bounds_the_prompt() -> None:
    desk = Desk()
    shown = snapshot(desk.files, settings={"context.budget_tokens": 500})
    trunk = await desk.session.gather(shown, "use.py", 0, BUDGET)
    assert trunk.budget_tokens == 500 >= trunk.tokens and trunk.room == 500 - trunk.tokens


async def test_a_changed_signature_of_an_outlined_file_is_told() -> None:
    desk = Desk()
    desk.files["big.py"] = "from tool import Saw\n" + "".join(f"def f{n}(): ...\n" for n in range(3))
    desk.files["use.py"] = "from big import f1\n\nf1\n"
    first = await desk.ask("note.py")
    first = await desk.ask("use.py")
    assert "def f1():" in text(first)
    desk.files["big.py"] = (desk.files["big.py"] or "").replace("f1()", "f1(new)")
    assert "def f1(new):" in text(await desk.ask("use.py"))


async def test_what_a_task_names_is_shown() -> None:
    desk = Desk()
    trunk = await desk.session.gather(
        snapshot(desk.files), "note.py", 0, BUDGET, task="call cut instead of Saw.turn"
    )
    assert "== tool.py:1-3\ndef cut(x):\n" in text(trunk) or "def cut(x):" in text(trunk)
    assert any("named in the task" in block.reason for block in trunk.blocks)


def module(names: list[str]) -> str:
    return "".join(f"def {name}(amount, rate):\n    return amount * rate\n\n\n" for name in names)


def user(module_name: str, names: list[str]) -> str:
    uses = "".join(f"    x = {name}(x, 2)\n" for name in names)
    return f"from {module_name} import {', '.join(names)}\n\n\ndef total(x):\n{uses}"


@pytest.mark.parametrize(("prompt_tokens", "appended"), [(12_000, True), (2_000, False)])
async def test_another_file_gets_what_it_uses(prompt_tokens: int, appended: bool) -> None:
    """Appended to the log where that has room; where it has not, a new epoch begins there."""
    many, parts = [f"fill_{n}" for n in range(400)], [f"part_{n}" for n in range(20)]
    files = {"fill.py": module(many), "first.py": user("fill", many)}
    files |= {"parts.py": module(parts), "other.py": user("parts", parts)}
    session = Session(
        Files(files), ScriptedEngine("x"), Words(), replace(PROFILE, prompt_tokens=prompt_tokens)
    )
    first = (await suggest(session, snapshot(files), "first.py", len(files["first.py"]))).prompt
    second = (await suggest(session, snapshot(files), "other.py", len(files["other.py"]))).prompt
    assert all(f"def {name}(amount, rate):" in second.text(Role.USER) for name in parts)
    trunk = first.segments[:-2]
    assert (second.segments[: len(trunk)] == trunk) is appended
    assert second.tokens <= second.budget_tokens


async def test_what_is_prepared_while_nobody_types_is_what_would_be_found_later() -> None:
    plain, ready = Desk(), Desk()
    shown = snapshot(ready.files)
    await ready.session.prepare(shown, "use.py")
    offset = len((FILES["use.py"] or "").encode())
    trunk = await ready.session.gather(shown, "use.py", offset, BUDGET)
    assert trunk.segments == (await plain.ask()).segments


async def test_a_protected_file_is_not_prepared_into_a_prompt() -> None:
    desk = Desk()
    shown = snapshot(desk.files)
    desk.files["tool.py"] = None
    await desk.session.prepare(shown, "use.py")
    trunk = await desk.session.gather(shown, "use.py", 0, BUDGET)
    assert "y = x" not in text(trunk)
    assert [d.path for d in trunk.dropped] == ["tool.py"]


FRESH = "def fresh_thing(gamma):\n    return gamma\n"


@pytest.mark.parametrize("budget", [1500, 12_000])
@pytest.mark.parametrize(
    ("before", "after", "early"),
    [
        ("import tool\nx = tool.cut(", "from fresh import fresh_thing\nx = fresh_thing(", False),
        ("import tool\nx = tool.cut(", "from fresh import fresh_thing\nx = fresh_thing(", True),
        (
            "from fresh import fresh_thing\nx = fresh_thing(",
            "from fresh import fresh_thing\nx = fresh_thing(1",
            False,
        ),
    ],
    ids=["the import is written anew", "of a file that was there", "the file comes"],
)
async def test_a_line_that_comes_to_mean_something_else_gets_its_signatures_at_once(
    before: str, after: str, budget: int, *, early: bool
) -> None:
    files = {**FILES, "main.py": f"{before}\n"}
    files |= {f"m{n}.py": module([f"alpha_{n}_{k}" for k in range(9)]) for n in range(30 if early else 1)}
    files |= {"fresh.py": FRESH} if early else {}
    kept = Session(Files(files), ScriptedEngine(""), Words(), replace(PROFILE, prompt_tokens=budget))
    for text in (before, after):
        files["main.py"] = f"{text}\n"
        done = await suggest(kept, snapshot(files, opened=("main.py",)), "main.py", len(text))
        files["fresh.py"] = FRESH
    assert "def fresh_thing(gamma):" in "".join(segment.text for segment in done.prompt.segments)
