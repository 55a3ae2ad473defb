"""A task over files becomes a plan that was checked; whatever fails is a refusal in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from glm_lsp.core.edits import LineEdit, changed, format_edits
from glm_lsp.core.errors import NOTICES, EngineDied, EngineUnavailable, UsageError
from glm_lsp.core.generation import GenerateRequest
from glm_lsp.core.values import EditPlan, RefusalKind
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.features.refactor import UnitEvent, UnitState, propose, recipe_for, select
from tests.features.stage import PROFILE, document, session, snapshot, tail

A = "def one():\n    return 1\n"
B = "def two():\n    return 2\n"
FILES: dict[str, str | None] = {"pkg/a.py": A, "pkg/b.py": B}


def line(path: str, text: str, number: int, new: str) -> str:
    """The answer that replaces one line (1-based)."""
    return format_edits(path, text.encode(), [LineEdit(number - 1, number, (new,))])


def by_path(**answers: str | list[str]) -> ScriptedEngine:
    """An engine that answers by the file a prompt is about (`a` for pkg/a.py); a list is used up in order."""

    def answer(request: GenerateRequest) -> str:
        for name, said in answers.items():
            if f"# Edit pkg/{name}.py" in tail(request):
                return said if isinstance(said, str) else said.pop(0)
        raise AssertionError("asked about something else")

    return ScriptedEngine(answer)


async def run(
    engine: ScriptedEngine, task: str = "Double it", *paths: str, files: dict[str, str | None] = FILES
) -> EditPlan:
    return await propose(session(files, engine), snapshot(files), task, paths or ["."])


def results(plan: EditPlan, files: dict[str, str | None] = FILES) -> dict[str, str]:
    return {c.path: changed(document(files[c.path] or "", c.path), c).data.decode() for c in plan.changes}


async def test_every_file_is_a_unit_and_the_plan_holds_their_edits() -> None:
    engine = by_path(a=line("pkg/a.py", A, 2, "    return 2"), b=line("pkg/b.py", B, 2, "    return 4"))
    plan = await run(engine)
    assert results(plan) == {"pkg/a.py": A.replace("1", "2"), "pkg/b.py": B.replace("2", "4")}
    assert not plan.refusals
    assert "2#" in tail(engine.requests[0])
    assert "Task: Double it" in tail(engine.requests[0])


async def test_an_engine_is_told_which_text_is_rewritten() -> None:
    engine = by_path(a=line("pkg/a.py", A, 2, "    return 2"))
    await run(engine, "Double it", "pkg/a.py")
    assert [request.source for request in engine.requests] == [A]


async def test_a_refused_answer_is_asked_for_once_more_with_the_reason() -> None:
    engine = by_path(
        a=["=== file pkg/a.py\n@@ replace 2#000\nx\n=== end", line("pkg/a.py", A, 2, "    return 2")]
    )
    plan = await run(engine, "Double it", "pkg/a.py")
    assert results(plan) == {"pkg/a.py": A.replace("1", "2")}
    again = tail(engine.requests[1])
    assert "The anchor 2#000 is wrong" in again and "<<<<<<< SEARCH" in again


async def test_search_and_replace_is_the_fallback() -> None:
    block = "=== file pkg/a.py\n<<<<<<< SEARCH\n    return 1\n=======\n    return 2\n>>>>>>> REPLACE\n=== end"
    plan = await run(by_path(a=["not an edit", block]), "Double it", "pkg/a.py")
    assert results(plan) == {"pkg/a.py": A.replace("1", "2")}


@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        ("I think it is fine.", RefusalKind.FORMAT, "does not end with"),
        (line("pkg/a.py", A, 2, "    return (1"), RefusalKind.VERIFY, "syntax error"),
        (line("pkg/a.py", A, 1, "def other():"), RefusalKind.VERIFY, "loses one"),
        (line("pkg/a.py", A, 2, "    # ... rest of the code"), RefusalKind.VERIFY, "in place of code"),
        ("=== file ../x.py\n=== end", RefusalKind.POLICY, "steps out"),
        ("=== file .git/config\n=== end", RefusalKind.POLICY, "is not edited"),
        ("=== file pkg/b.py\n=== end", RefusalKind.FORMAT, "was not shown"),
    ],
)
async def test_a_bad_unit_is_a_refusal_and_the_others_go_on(
    answer: str, kind: RefusalKind, reason: str
) -> None:
    plan = await run(by_path(a=answer, b=line("pkg/b.py", B, 2, "    return 4")))
    assert [c.path for c in plan.changes] == ["pkg/b.py"]
    assert [r.kind for r in plan.refusals] == [kind]
    assert reason in plan.refusals[0].reason


async def test_the_format_is_a_setting() -> None:
    block = "=== file pkg/a.py\n<<<<<<< SEARCH\n    return 1\n=======\n    return 2\n>>>>>>> REPLACE\n=== end"
    engine = by_path(a=block)
    chosen = snapshot(FILES, settings={"edits.format": "search_replace"})
    plan = await propose(session(FILES, engine), chosen, "Double it", ["pkg/a.py"])
    assert results(plan) == {"pkg/a.py": A.replace("1", "2")}
    assert "2#" not in tail(engine.requests[0])


async def test_nothing_to_do_is_neither_a_change_nor_a_refusal() -> None:
    plan = await run(by_path(a="=== end", b="=== end"))
    assert plan == EditPlan("Double it")


async def test_what_reaches_out_is_noted() -> None:
    plan = await run(by_path(a=line("pkg/a.py", A, 1, "import socket\ndef one():")), "x", "pkg/a.py")
    assert "imports socket" in plan.notes[0].text


async def test_an_engine_that_is_gone_ends_the_run_and_nothing_is_left_out_silently() -> None:
    events: list[UnitEvent] = []
    engine = ScriptedEngine("", fail=EngineUnavailable("The engine is not there; start it."))
    plan = await propose(session(FILES, engine), snapshot(FILES), "Double it", ["."], events.append)
    assert [(r.path, r.kind) for r in plan.refusals] == [
        ("pkg/a.py", RefusalKind.ENGINE),
        ("pkg/b.py", RefusalKind.ENGINE),
    ]
    assert len(engine.requests) == 1
    assert events[-1].state is UnitState.REFUSED


async def test_an_engine_that_dies_is_asked_once_more_and_that_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = ScriptedEngine("", fail=EngineDied("The worker ended."))
    plan = await run(engine, "Double it", "pkg/a.py")
    assert len(engine.requests) == 2
    assert plan.refusals[0].kind is RefusalKind.ENGINE
    assert plan.refusals[0].reason == "The worker ended."
    assert not [record for record in caplog.records if record.name == NOTICES]


async def test_files_that_cannot_be_sent_are_refused_and_the_rest_goes_on() -> None:
    files = {**FILES, ".env": None}
    engine = by_path(a="=== end")
    plan = await run(engine, "x", ".env", "gone.py", ".github/x.yml", "pkg/a.py", files=files)
    assert [(r.path, r.kind) for r in plan.refusals] == [
        (".github/x.yml", RefusalKind.POLICY),
        (".env", RefusalKind.POLICY),
        ("gone.py", RefusalKind.UNREADABLE),
    ]


def test_paths_stand_for_files_and_directories() -> None:
    files = {"pkg/a.py": A, "pkg/sub/b.py": B, "top.py": A, ".github/x.py": A}
    assert select(snapshot(files), ())[0] == ["pkg/a.py", "pkg/sub/b.py", "top.py"]
    assert select(snapshot(files), ("pkg",))[0] == ["pkg/a.py", "pkg/sub/b.py"]
    assert select(snapshot(files), ("top.py", "pkg/", "top.py"))[0] == ["top.py", "pkg/a.py", "pkg/sub/b.py"]
    assert select(snapshot(files), ("../x",))[1][0].kind is RefusalKind.POLICY


LONG = "import os\n\n\n" + "\n\n".join(
    f"def f{i}(x):\n    y = x + {i}\n    return y * {i}\n" for i in range(60)
)


def small(tokens: int) -> ScriptedEngine:
    engine = ScriptedEngine("=== end", facts=replace(FACTS, context_tokens=tokens))
    return engine


async def test_a_file_that_does_not_fit_is_cut_at_its_definitions() -> None:
    engine = small(4096)
    files = {"pkg/a.py": LONG}
    profile = replace(PROFILE, prompt_tokens=2048)
    plan = await propose(session(files, engine, profile), snapshot(files), "x", ["."])
    assert not plan.refusals
    assert len(engine.requests) > 2
    shown = "".join(tail(r) for r in engine.requests)
    assert all(f"def f{i}(x):" in shown for i in range(60))
    assert all("import os" in tail(r) for r in engine.requests)
    assert all(r.prompt.tokens <= 2048 for r in engine.requests)


async def test_an_edit_outside_the_lines_shown_is_refused() -> None:
    files = {"pkg/a.py": LONG}
    last = LONG.count("\n")
    engine = ScriptedEngine(
        line("pkg/a.py", LONG, last, "    return 0"), facts=replace(FACTS, context_tokens=4096)
    )
    profile = replace(PROFILE, prompt_tokens=2048)
    events: list[UnitEvent] = []
    plan = await propose(session(files, engine, profile), snapshot(files), "x", ["."], events.append)
    refused = [r for r in plan.refusals if "were not shown" in r.reason]
    assert len(refused) == events[-1].total - 1 > 0
    assert len(plan.changes) == 1


async def test_the_same_edit_of_two_units_is_made_once() -> None:
    """Every unit adds the same import to the header that all of them see."""
    files = {"pkg/a.py": LONG}
    answer = format_edits("pkg/a.py", LONG.encode(), [LineEdit(1, 1, ("import sys",))])
    engine = ScriptedEngine(answer, facts=replace(FACTS, context_tokens=4096))
    profile = replace(PROFILE, prompt_tokens=2048)
    plan = await propose(session(files, engine, profile), snapshot(files), "x", ["."])
    assert not plan.refusals
    assert results(plan, files) == {"pkg/a.py": LONG.replace("import os\n", "import os\nimport sys\n", 1)}


async def test_a_file_without_definitions_that_does_not_fit_is_refused() -> None:
    files: dict[str, str | None] = {"pkg/a.txt": "word " * 4000}
    profile = replace(PROFILE, prompt_tokens=2048)
    plan = await propose(session(files, small(4096), profile), snapshot(files), "x", ["pkg/a.txt"])
    assert [r.kind for r in plan.refusals] == [RefusalKind.BUDGET]


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        ("add missing docstrings", "docstrings"),
        ("Add docstrings.", "docstrings"),
        ("please write the missing docstrings", "docstrings"),
        ("Add docstrings where they are missing", "docstrings"),
        ("add docstrings to all functions and classes", "docstrings"),
        ("remove docstrings", ""),
        ("Add docstrings and type hints", ""),
        ("Rewrite the docstrings", ""),
        ("", ""),
    ],
)
def test_only_tasks_that_are_a_recipe_become_one(task: str, recipe: str) -> None:
    assert recipe_for(task) == recipe


async def test_the_docstring_recipe_fills_public_gaps_in_all_files() -> None:
    files: dict[str, str | None] = {**FILES, "c.py": "def _private():\n    return 1\n"}
    engine = ScriptedEngine("Return a small number.")
    plan = await run(engine, "Add missing docstrings", files=files)
    assert results(plan, files) == {
        "pkg/a.py": 'def one():\n    """Return a small number."""\n    return 1\n',
        "pkg/b.py": 'def two():\n    """Return a small number."""\n    return 2\n',
    }
    assert len(engine.requests) == 2


async def test_sentences_that_are_refused_are_told_and_the_others_land() -> None:
    plan = await run(ScriptedEngine(["???", "Return a small number."]), recipe_task := "add docstrings")
    assert plan.title == recipe_task
    assert [c.path for c in plan.changes] == ["pkg/b.py"]
    assert [r.path for r in plan.refusals] == ["pkg/a.py"]


async def test_an_empty_task_and_an_unknown_recipe_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="task is empty"):
        await run(ScriptedEngine(""), "  ")
    with pytest.raises(UsageError, match="no recipe 'x'"):
        await propose(session(FILES, ScriptedEngine("")), snapshot(FILES), "t", (), recipe="x")


async def test_requests_share_the_start_of_their_prompts() -> None:
    engine = by_path(a="=== end", b="=== end")
    await run(engine)
    first, second = (r.prompt.segments for r in engine.requests)
    assert first[:-2] == second[: len(first) - 2]


async def test_an_answer_in_no_format_is_not_read_to_its_end() -> None:
    engine = ScriptedEngine("Of course! Let me explain at length. " * 400)
    plan = await run(engine, "Double it", "pkg/a.py")
    assert engine.cancelled == 2
    assert [r.kind for r in plan.refusals] == [RefusalKind.FORMAT]


async def test_an_answer_that_is_cut_off_is_not_asked_for_again() -> None:
    engine = ScriptedEngine("=== file pkg/a.py\n" + "x = 1\n" * 9000)
    plan = await run(engine, "Double it", "pkg/a.py")
    assert len(engine.requests) == 1
    assert [r.kind for r in plan.refusals] == [RefusalKind.BUDGET]


@pytest.mark.parametrize("begun", ["", "==="])
async def test_an_answer_that_goes_on_where_we_began_is_put_together(begun: str) -> None:
    whole = line("pkg/a.py", A, 2, "    return 2")
    plan = await run(by_path(a=whole.removeprefix(begun)), "Double it", "pkg/a.py")
    assert results(plan) == {"pkg/a.py": A.replace("1", "2")}


async def test_thinking_is_not_cut_short_by_a_begun_answer() -> None:
    engine = by_path(a=line("pkg/a.py", A, 2, "    return 2"))
    settings = {"thinking.refactor": "high"}
    plan = await propose(session(FILES, engine), snapshot(FILES, settings=settings), "x", ["pkg/a.py"])
    assert len(plan.changes) == 1
    assert engine.requests[0].prompt.prefill == "" and engine.requests[0].reasoning_tokens > 0
