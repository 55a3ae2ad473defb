"""A task without paths: what it touches changes in all files, in units that share one trunk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from glm_lsp.core.edits import LineEdit, changed, format_edits
from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import EngineFacts, GenerateRequest, Role
from glm_lsp.core.values import EditPlan, RefusalKind
from glm_lsp.engines.scripted import FACTS, ScriptedEngine, words
from glm_lsp.features.ration import Ration
from glm_lsp.features.refactor import propose
from glm_lsp.features.retrieval import Gathered, left_out
from glm_lsp.features.tasks import task_context
from tests.features.stage import PROFILE, document, session, snapshot, tail

TASK = "rename Config.load to read"
FILES: dict[str, str | None] = {
    "pkg/config.py": "class Config:\n    def load(self):\n        return 1\n\n\ndef other():\n    return 2\n",
    "pkg/use.py": "from pkg.config import Config\n\n\ndef use(config: Config):\n    return config.load()\n",
    "pkg/apart.py": "import json\n\n\ndef apart(f):\n    return json.load(f)\n",
    "tests/test_config.py": (
        "from pkg.config import Config\n\n\ndef test_it():\n    assert Config().load() == 1\n"
    ),
    "README.md": "# It\n\nCall `Config.load` and be glad.\n",
}


def renamer(facts: EngineFacts = FACTS) -> ScriptedEngine:
    """An engine that renames `load` in every line that it is shown, as the unit's anchored lines say."""

    def answer(request: GenerateRequest) -> str:
        path = re.search(r"# Edit (\S+)", tail(request))
        assert path is not None
        text = FILES.get(path[1]) or LARGE.get(path[1]) or ""
        shown = {int(n) for n in re.findall(r"^(\d+)#\w+\|.*\bload\b", tail(request), re.MULTILINE)}
        lines = text.split("\n")
        edits = [
            LineEdit(n - 1, n, (re.sub(r"(?<!json\.)\bload\b", "read", lines[n - 1]),)) for n in sorted(shown)
        ]
        return format_edits(path[1], text.encode(), edits)

    return ScriptedEngine(answer, facts=facts)


def results(plan: EditPlan, files: Mapping[str, str | None]) -> dict[str, str]:
    return {c.path: changed(document(files[c.path] or "", c.path), c).data.decode() for c in plan.changes}


async def test_what_a_task_touches_changes_in_all_files_and_nothing_else_is_asked_about() -> None:
    engine, heard = renamer(), list[Gathered]()
    plan = await propose(session(FILES, engine), snapshot(FILES), TASK, (), on_closure=heard.append)
    after = {p: (t or "").replace("load", "read") for p, t in FILES.items() if p != "pkg/apart.py"}
    assert results(plan, FILES) == after
    assert not plan.refusals
    asked = [re.findall(r"# Edit (\S+)", tail(r))[0] for r in engine.requests]
    assert asked == ["pkg/config.py", "pkg/use.py", "tests/test_config.py", "README.md"]
    assert len(heard) == 1 and heard[0].closure.files() == tuple(asked)


async def test_units_share_all_that_stands_before_them_and_hear_what_was_decided() -> None:
    engine = renamer()
    await propose(session(FILES, engine), snapshot(FILES), TASK, ())
    texts = [[s.text for s in r.prompt.segments if s.role is not Role.ASSISTANT] for r in engine.requests]
    for before, after in pairwise(texts):
        assert after[: len(before) - 1] == before[:-1], "a prompt goes on from the one before it"
    assert "Decided for this task" not in "".join(texts[0])
    assert "def read(self):" in texts[1][-2] and texts[1][-2] == texts[-1][-2]
    assert "def load(self):" in "".join(texts[1][:-2]), "the trunk shows the definition itself"


LARGE: dict[str, str | None] = {
    "pkg/config.py": "class Config:\n    def load(self):\n        return 1\n",
    **{
        f"pkg/use{n}.py": "from pkg.config import Config\n\n\n"
        + "\n\n".join(
            f"def use_{n}_{i}(config: Config, x):\n    y = x + {i}\n    return config.load() * y\n"
            for i in range(40)
        )
        for n in range(3)
    },
}


async def test_a_closure_that_is_larger_than_the_budget_is_worked_through_in_units() -> None:
    facts = replace(FACTS, context_tokens=4096)
    engine = renamer(facts)
    plan = await propose(
        session(LARGE, engine, replace(PROFILE, prompt_tokens=3000)), snapshot(LARGE), TASK, ()
    )
    assert not plan.refusals
    assert results(plan, LARGE) == {p: (t or "").replace("load", "read") for p, t in LARGE.items()}
    assert len(engine.requests) > len(LARGE)
    assert all(r.prompt.tokens <= 3000 for r in engine.requests)


async def test_a_task_that_is_cut_short_changes_nothing() -> None:
    """Half of a rename is worse than none; the answers so far are the ration's memory to keep."""
    ration = Ration(renamer(), lambda text: len(text.split()), tokens=12)
    stage = session(FILES, renamer())
    stage.engine = ration
    plan = await propose(stage, snapshot(FILES), TASK, (), ration=ration)
    assert not plan.changes
    assert {r.kind for r in plan.refusals} == {RefusalKind.SPENT}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("make everything better", "names nothing that is defined here; give the PATHs"),
        ("rename `gone` to `here`", "Nothing here is called gone; give the PATHs"),
        ("rename Shop.gone to here", "Nothing here is called Shop.gone; give the PATHs"),
        ("make `run` async", "9 definitions are called run (run (m0.py)"),
    ],
)
async def test_a_task_that_names_nothing_asks_for_paths(task: str, words: str) -> None:
    files: dict[str, str | None] = {f"m{i}.py": "def run():\n    pass\n" for i in range(9)}
    with pytest.raises(UsageError, match=re.escape(words)):
        await propose(session(files, renamer()), snapshot(files), task, ())


SECRET = "ghp_" + "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q7r8"
HELD: dict[str, str | None] = {
    "a.py": f'def load(token="{SECRET}"):\n    return token\n',
    "b.py": "from a import load\n\nload()\n",
    ".github/check.py": "from a import load\n\nload()\n",
    "locked.py": None,
}


async def test_secrets_and_protected_files_stay_as_they_are_in_a_closure_too() -> None:
    def answer(request: GenerateRequest) -> str:
        assert SECRET not in "".join(s.text for s in request.prompt.segments)
        if "# Edit a.py" not in tail(request):
            return format_edits("b.py", (HELD["b.py"] or "").encode(), [LineEdit(2, 3, ("read()",))])
        line = re.findall(r"^(1#\w+)\|", tail(request), re.MULTILINE)[0]
        return f"=== file a.py\n@@ replace {line}\ndef read(token=None):\n=== end"

    files = HELD
    plan = await propose(session(files, ScriptedEngine(answer)), snapshot(files), "rename load() to read", ())
    assert [c.path for c in plan.changes] == ["b.py"]
    assert {(r.path, r.kind) for r in plan.refusals} == {
        ("a.py", RefusalKind.POLICY),
        (".github/check.py", RefusalKind.POLICY),
    }


async def test_a_context_says_what_the_prompts_are_made_of_and_what_is_left_out() -> None:
    files = {
        **FILES,
        "pkg/doubt.py": "def doubt(x, y):\n    return x.load(y)\n\n\nclass P:\n    def load(self): ...\n",
    }
    shown = await task_context(session(files, renamer()), snapshot(files), TASK, (), 2000)
    assert [b.symbols for b in shown.shared] == [("Config", "Config.load")]
    assert [unit.unit.document.path for unit in shown.units] == list(shown.closure.files())
    assert all(block.reason.startswith("unit ") for unit in shown.units for block in unit.blocks)
    assert shown.all_tokens >= sum(b.tokens for b in shown.blocks)
    (dropped,) = shown.dropped
    assert (dropped.path, dropped.symbols) == ("pkg/doubt.py", ("doubt",))
    assert dropped.tokens > 0 and "line 2" in dropped.reason
    gathered = list[Gathered]()
    await propose(session(files, renamer()), snapshot(files), TASK, (), on_closure=gathered.append)
    assert left_out(gathered[0], lambda text: len(text.split()))[0].path == "pkg/doubt.py"


async def test_a_context_shows_the_very_prompts_that_are_sent() -> None:
    """The same units, each with as many tokens, and none with more than the budget."""
    facts, profile = replace(FACTS, context_tokens=4096), replace(PROFILE, prompt_tokens=2000)
    engine = renamer(facts)
    await propose(session(LARGE, engine, profile), snapshot(LARGE), TASK, ())
    shown = await task_context(session(LARGE, engine, profile), snapshot(LARGE), TASK, (), 2000)
    sent = [r.prompt.tokens for r in engine.requests]
    told = [sum(map(count, re.findall(r"(?s)# Decided for this task.*", texts))) for texts in _asked(engine)]
    assert len(shown.units) == len(sent) > len(LARGE)
    assert [u.tokens for u in shown.units] == [n - more for n, more in zip(sent, told, strict=True)]
    assert max(sent) <= shown.budget_tokens == 2000


def count(text: str) -> int:
    return len(words(text))


def _asked(engine: ScriptedEngine) -> list[str]:
    """What each prompt says between what all share and its own question."""
    said = [[s.text for s in r.prompt.segments if s.role is Role.USER] for r in engine.requests]
    return [texts[-2] if "# Decided" in texts[-2] else "" for texts in said]


async def test_a_task_whose_only_definition_is_gone_meanwhile_is_a_sentence() -> None:
    files: dict[str, str | None] = {"a.py": "def load():\n    return 1\n", "b.py": "x.load()\n"}
    stage = session({"b.py": files["b.py"]}, renamer())
    with pytest.raises(UsageError, match=r"cannot be read: a\.py does not exist"):
        await propose(stage, snapshot(files), "rename `load` to `read`", ())


async def test_what_fits_no_unit_is_listed_with_its_size() -> None:
    stage = session(LARGE, renamer())
    least = (await task_context(stage, snapshot(LARGE), TASK, (), 4000)).units[-1]
    budget = least.tokens - least.own_tokens + 150
    shown = await task_context(session(LARGE, renamer()), snapshot(LARGE), TASK, (), budget)
    assert all(unit.tokens <= budget for unit in shown.units)
    assert {d.path for d in shown.dropped} >= {f"pkg/use{n}.py" for n in range(3)}
    assert all(d.tokens > 0 for d in shown.dropped)


async def test_a_place_whose_file_begins_too_long_is_shown_without_that() -> None:
    names = ", ".join(f"name_{n}" for n in range(400))
    files: dict[str, str | None] = {
        "a.py": f"from b import (\n    {names}\n)\n\n\ndef load():\n    return 1\n" + "\n\nx = 1\n" * 40
    }
    shown = await task_context(session(files, renamer()), snapshot(files), "rename `load` to `read`", (), 700)
    assert [(b.path, b.start_line) for unit in shown.units for b in unit.blocks] == [("a.py", 5)]
    assert not shown.dropped
