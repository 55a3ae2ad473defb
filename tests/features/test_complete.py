"""Completion at a cursor: what is asked, what is offered, and what a keystroke costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from glm_lsp.core.errors import BudgetError, EngineDied, PolicyError, UsageError
from glm_lsp.core.generation import EngineFacts, Form, GenerateRequest, Role, Thinking, Work
from glm_lsp.core.layout import FENCE, LOG_TITLE
from glm_lsp.core.pack import prompt_tokens
from glm_lsp.core.values import BlockKind
from glm_lsp.engines.scripted import FACTS, ScriptedEngine, words
from glm_lsp.features.complete import Completion, pack_context, suggest
from glm_lsp.features.session import Session
from tests.bench.replay_checker import told_by
from tests.features.stage import PROFILE, Files, Words, session, snapshot

SHOP = {
    "shop/__init__.py": "",
    "shop/model.py": """from dataclasses import dataclass


@dataclass
class Order:
    lines: list
    paid: bool = False

    def settle(self, amount: int) -> bool:
        self.paid = amount >= self.open_amount()
        return self.paid

    def open_amount(self) -> int:
        return sum(self.lines)
""",
    "shop/price.py": """def rounded(amount: float) -> int:
    return int(amount + 0.5)


def discount(amount: int, percent: int) -> int:
    return rounded(amount * (100 - percent) / 100)
""",
    "shop/till.py": """from shop.model import Order
from shop.price import discount


def pay(order: Order, amount: int) -> bool:
    price = discount(▮
    return order.settle(price)
""",
    "other/unused.py": "def nothing_to_do_with_it():\n    return 0\n",
}


def placed(files: Mapping[str, str | None]) -> tuple[dict[str, str | None], str, int]:
    """The files without the mark, the file that had it, and the mark's byte offset."""
    path = next(p for p, text in files.items() if text and "▮" in text)
    before, _, after = (files[path] or "").partition("▮")
    return {**files, path: before + after}, path, len(before.encode())


async def check(
    text: str, answer: str, offer: str | None, *, path: str = "a.py", **settings: object
) -> Completion:
    """At ▮ in `text` the model says `answer`, and `offer` is offered."""
    files, path, offset = placed({path: text})
    named = {name.replace("__", "."): value for name, value in settings.items()}
    engine = ScriptedEngine(answer)
    shown = snapshot(files, settings=named)
    done = await suggest(session(files, engine), shown, path, offset)
    assert (done.suggestion.text if done.suggestion else None) == offer, done.reason
    assert done.suggestion is not None or done.reason.endswith(".")
    assert done.prompt.tokens == prompt_tokens(done.prompt, Words().count) <= done.prompt.budget_tokens
    return done


async def test_a_word_is_continued() -> None:
    done = await check("def f(a):\n    retu▮\n", "rn a", "rn a")
    assert done.prompt.prefill.endswith("\n    retu")
    assert "\ndef f(a):\n" in done.prompt.text(Role.USER)
    assert done.suggestion and len(done.suggestion.span) == 0


async def test_an_empty_file_is_begun() -> None:
    await check("▮", "import os\n", "import os")


async def test_the_end_of_a_file_without_a_newline() -> None:
    await check("import os\nx = os.▮", "getcwd()", "getcwd()")


async def test_in_the_middle_of_a_line() -> None:
    await check("x = f(▮, b)\n", "a, b)\ny = 1", "a")


async def test_line_ends_stay_those_of_the_file() -> None:
    done = await check("def f(a):\r\n    ▮\r\n", "b = a\n    return b\n", "b = a\r\n    return b")
    assert "\r" not in "".join(s.text for s in done.prompt.segments)


async def test_between_carriage_return_and_newline() -> None:
    files = {"a.py": "x = \r\n"}
    done = await suggest(session(files, ScriptedEngine("1")), snapshot(files), "a.py", 5)
    assert done.suggestion and (done.suggestion.span.start, done.suggestion.text) == (4, "1")


async def test_tabs_stay_tabs() -> None:
    await check("def f(a):\n\tif a:\n\t\t▮\n", "b = a\n        return b", "b = a\n\t\treturn b")


async def test_astral_characters() -> None:
    await check("x = '🙂' + ▮\n", "'🙃'", "'🙃'")


async def test_a_language_without_a_grammar() -> None:
    await check("key:\n  a: 1\n  ▮\n", "b: 2\nother: 3\n", "b: 2", path="a.yaml")


async def test_an_unknown_language() -> None:
    await check("some words ▮\n", "and more", "and more", path="notes.abc")


async def test_one_line_only_where_the_setting_says_so() -> None:
    done = await check("x = ▮\n", "1\ny = 2", "1", completion__multiline=False)
    assert done.usage is not None and done.usage.output_tokens == 1


async def test_an_answer_that_is_left_early_has_its_cost_as_far_as_it_is_known() -> None:
    answer = "return 1\n\n\ndef g():\n" + "    pass\n" * 20
    done = await check("def f():\n    ▮\n", answer, "return 1")
    assert done.usage is not None and 0 < (done.usage.output_tokens or 0) < 20
    assert done.usage.prompt_tokens and done.usage.evaluated_tokens == done.usage.prompt_tokens


async def test_nothing_is_offered_with_a_reason() -> None:
    assert (await check("x = 1▮\n", "", None)).reason == "The answer was empty."
    assert "filters" in (await check("f(a▮)\n", ")", None)).reason


async def test_what_is_asked() -> None:
    files, path, offset = placed(SHOP)
    engine = ScriptedEngine("amount, 10)\n")
    done = await suggest(session(files, engine), snapshot(files), path, offset)
    (request,) = engine.requests
    assert (request.work, request.heal, request.temperature) == (Work.TYPING, True, 0.0)
    assert request.stop == (FENCE,) and request.thinking is Thinking.OFF and request.max_tokens == 96
    assert done.suggestion and done.suggestion.text == "amount, 10)"
    assert done.prompt.prefill.endswith("    price = discount(")


async def test_the_engine_is_stopped_as_soon_as_the_answer_is_complete() -> None:
    files, path, offset = placed({"a.py": "def f(a):\n    ▮\n"})
    engine = ScriptedEngine("return a\n\n\ndef g():\n    return 2\n" + "x = 1\n" * 50, chunk_chars=1)
    done = await suggest(session(files, engine), snapshot(files), path, offset)
    assert done.suggestion and done.suggestion.text == "return a"
    assert engine.cancelled == 1


async def test_a_model_that_is_stuck_is_not_listened_to() -> None:
    files, path, offset = placed({"a.py": "x = [▮\n"})
    engine = ScriptedEngine("0.5, " * 500, chunk_chars=1)
    shown = snapshot(files, settings={"completion.max_tokens": 2000})
    done = await suggest(session(files, engine), shown, path, offset)
    assert done.suggestion and done.suggestion.text == "0.5"
    assert engine.cancelled == 1


async def test_a_run_that_the_bound_cuts_is_not_offered() -> None:
    await check("x = [▮\n", "1, " * 9, "1", completion__max_tokens=20)
    await check("x = [▮\n", "1, " * 9, ("1, " * 9).rstrip(), completion__max_tokens=40)


async def test_needed_definitions_are_in_the_prompt_and_the_most_relevant_is_last() -> None:
    files, path, offset = placed(SHOP)
    prompt = await pack_context(session(files, ScriptedEngine("")), snapshot(files), path, offset, 2000)
    kinds = [block.kind for block in prompt.blocks]
    assert kinds == sorted(kinds, key=[BlockKind.SKELETON, BlockKind.BODY, BlockKind.TAIL].index)
    bodies = [block for block in prompt.blocks if block.kind is BlockKind.BODY]
    assert bodies[-1].symbols == ("discount",) and "imported here, used on this line" in bodies[-1].reason
    shown = "".join(segment.text for segment in prompt.segments)
    assert "def settle(self, amount: int) -> bool:" in shown and "nothing_to_do_with_it" not in shown
    assert all(block.tokens == Words().count(block.text) for block in prompt.blocks)


@pytest.mark.parametrize("budget", [190, 200, 300, 500, 1000, 3000])
async def test_no_budget_is_exceeded(budget: int) -> None:
    files, path, offset = placed({**SHOP, "long.py": "def f():\n" + "    x = 1\n" * 400})
    prompt = await pack_context(session(files, ScriptedEngine("")), snapshot(files), path, offset, budget)
    assert prompt.tokens == prompt_tokens(prompt, Words().count) <= budget == prompt.budget_tokens


async def test_a_budget_too_small_is_told_with_numbers() -> None:
    files, path, offset = placed({"a.py": "x = " + "a + " * 200 + "▮\n"})
    with pytest.raises(BudgetError, match=r"Line 1 of a\.py does not fit: .* 300"):
        await pack_context(session(files, ScriptedEngine("")), snapshot(files), path, offset, 300)
    with pytest.raises(BudgetError, match="the system text has"):
        await pack_context(session(files, ScriptedEngine("")), snapshot(files), path, offset, 20)


async def test_a_secret_file_is_refused_even_when_it_is_open() -> None:
    opened = snapshot({".env": "KEY=1"}, opened=(".env",))
    engine = ScriptedEngine("x")
    with pytest.raises(PolicyError, match="secret"):
        await suggest(session({".env": None}, engine), opened, ".env", 0)
    assert engine.requests == []


async def test_a_file_that_may_not_be_read_is_reported_and_its_text_stays_out() -> None:
    files, path, offset = placed(SHOP)
    denied = Files({**files, "shop/price.py": None})
    prompt = await pack_context(
        Session(denied, ScriptedEngine(""), Words(), PROFILE), snapshot(files), path, offset, 2000
    )
    assert "100 - percent" not in "".join(s.text for s in prompt.segments)
    assert ("shop/price.py", "shop/price.py is named like a secret.") in {
        (d.path, d.reason) for d in prompt.dropped
    }


@pytest.mark.parametrize(
    ("offset", "message"), [(7, "outside the file"), (-1, "outside the file"), (5, "inside a character")]
)
async def test_places_that_are_none(offset: int, message: str) -> None:
    files = {"a.py": "x = é"}
    with pytest.raises(UsageError, match=message):
        await suggest(session(files, ScriptedEngine("")), snapshot(files), "a.py", offset)


async def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="does not exist"):
        await suggest(session({}, ScriptedEngine("")), snapshot({}), "a.py", 0)


async def test_a_new_file_that_only_the_editor_has() -> None:
    shown = snapshot({"new.py": "import o"}, opened=("new.py",))
    done = await suggest(session({}, ScriptedEngine("s")), shown, "new.py", 8)
    assert done.suggestion and done.suggestion.text == "s"


async def test_the_editors_text_counts_not_the_disks() -> None:
    shown = snapshot({"a.py": "value = 12"}, opened=("a.py",))
    done = await suggest(session({"a.py": "old"}, ScriptedEngine("3")), shown, "a.py", 10)
    assert done.prompt.prefill.endswith("value = 12")


async def test_an_engine_that_begins_its_own_answer_is_asked_for_the_gap() -> None:
    files, path, offset = placed({"a.py": "def f(a):\n    return▮\n"})
    engine = ScriptedEngine(
        "Sure:\n```python\n    return a + 1\n```\nDone.", facts=replace(FACTS, prefill=False)
    )
    done = await suggest(session(files, engine), snapshot(files), path, offset)
    assert done.suggestion and done.suggestion.text == " a + 1"
    assert done.prompt.prefill == "" and engine.requests[0].stop == () and not engine.requests[0].heal


async def test_with_thinking_the_answer_is_not_begun() -> None:
    files, path, offset = placed({"a.py": "x = ▮\n"})
    engine = ScriptedEngine("```\n1\n```", reasoning="Let me see.")
    shown = snapshot(files, settings={"thinking.completion": "high"})
    done = await suggest(session(files, engine), shown, path, offset)
    assert done.suggestion and done.suggestion.text == "1"
    assert done.prompt.prefill == "" and engine.requests[0].reasoning_tokens == 8192
    assert done.prompt.tokens == prompt_tokens(done.prompt, Words().count, Thinking.HIGH)


async def test_filling_in_the_middle_where_it_is_chosen_and_possible() -> None:
    files, path, offset = placed({"a.py": "x = ▮\ny = 2\n"})
    shown = snapshot(files, settings={"completion.form": "fim"})
    done = await suggest(session(files, ScriptedEngine("1")), shown, path, offset)
    assert (done.prompt.form, done.prompt.prefill, done.prompt.suffix) == (Form.FIM, "x = ", "\ny = 2\n")
    chat = ScriptedEngine("1", facts=replace(FACTS, fim=False))
    assert (await suggest(session(files, chat), shown, path, offset)).prompt.form is Form.CHAT


async def test_sixty_characters_typed_word_by_word_cost_little_but_themselves() -> None:
    typed = "        if order.paid: raise ValueError(order, amount, price)\n"
    files, path, offset = placed(SHOP)
    text = files[path] or ""
    engine = ScriptedEngine("")
    kept = session(files, engine)
    evaluated: list[int] = []
    for word in [typed[:8], *words(typed[8:])]:
        text = text[:offset] + word + text[offset:]
        offset += len(word)
        files[path] = text
        shown = snapshot(files, opened=(path,))
        assert isinstance(kept.sources, Files)
        kept.sources.files = dict(files)
        done = await suggest(kept, shown, path, offset)
        assert done.usage and done.usage.evaluated_tokens is not None
        evaluated.append(done.usage.evaluated_tokens)
    assert evaluated[0] > 200, "the first request evaluates everything"
    assert max(evaluated[1:]) <= 2, "the others what was typed"


async def test_consecutive_prompts_share_everything_but_the_tails_end() -> None:
    files, path, offset = placed(SHOP)
    kept = session(files, ScriptedEngine(""))
    first = (await suggest(kept, snapshot(files), path, offset)).prompt
    files[path] = (files[path] or "")[:offset] + "amo" + (files[path] or "")[offset:]
    second = (await suggest(kept, snapshot(files, opened=(path,)), path, offset + 3)).prompt
    assert second.segments[:-1] == first.segments[:-1]
    assert second.prefill == first.prefill + "amo"


async def test_a_visited_files_edits_are_told_when_the_window_leaves() -> None:
    files, path, offset = placed(SHOP)
    kept = session(files, ScriptedEngine(""))
    await suggest(kept, snapshot(files), path, offset)
    files[path] = (files[path] or "").replace("discount(\n", "discount(amount, 7)\n")
    typing = (await suggest(kept, snapshot(files, opened=(path,)), path, offset)).prompt
    assert LOG_TITLE not in typing.text(Role.USER)
    away = (await suggest(kept, snapshot(files, opened=(path,)), "other/unused.py", 0)).prompt
    told = told_by(away.segments[: away.trunk_segments]).files[path]
    assert told[5] == "    price = discount(amount, 7)"


async def test_definitions_that_come_to_be_needed_are_appended() -> None:
    files: dict[str, str | None] = {**SHOP, "shop/till.py": SHOP["shop/till.py"].replace("▮", ")")}
    files["other/use.py"] = "import os\n\n\n\n\n"
    kept = session(files, ScriptedEngine(""), replace(PROFILE, prompt_tokens=1200))
    first = (await suggest(kept, snapshot(files), "other/use.py", 11)).prompt
    files["helpers.py"] = "def brand_new(a):\n    return a * 17\n"
    files["other/use.py"] = "import os\nfrom helpers import brand_new\nx = brand_new(1)\ny = "
    kept.sources.files.update(files)  # type: ignore[attr-defined]
    size = len(files["other/use.py"] or "")
    second = (await suggest(kept, snapshot(files, opened=("other/use.py",)), "other/use.py", size)).prompt
    trunk = [s for s in first.segments if s.role is not Role.ASSISTANT][:-1]
    assert list(second.segments[: len(trunk)]) == trunk
    assert "== helpers.py:1-2\ndef brand_new(a):\n    return a * 17\n" in second.text(Role.USER)


async def test_overlapping_requests_are_all_answered() -> None:
    files, path, offset = placed(SHOP)
    kept = session(files, ScriptedEngine("amount, 1)", delay_s=0.001))
    places = [(path, offset), ("shop/model.py", 30), ("shop/price.py", 0), (path, offset)]
    done = await asyncio.gather(*(suggest(kept, snapshot(files), p, o) for p, o in places))
    assert [d.prompt.tokens <= d.prompt.budget_tokens for d in done] == [True] * 4


@pytest.mark.parametrize(
    ("facts", "settings", "remedy"),
    [
        (replace(FACTS, context_tokens=200), {}, "; raise model.context_tokens,"),
        (replace(FACTS, context_tokens=200, local=False), {}, "; raise remote.context_tokens,"),
        (FACTS, {"context.budget_tokens": 10}, "; raise context.budget_tokens or --budget."),
    ],
    ids=["context", "remote", "budget"],
)
async def test_what_is_too_small_is_named(
    facts: EngineFacts, settings: dict[str, object], remedy: str
) -> None:
    files, path, offset = placed({"a.py": "x = " + "a + " * 200 + "▮\n"})
    settings = {"completion.max_tokens": 100} | settings
    with pytest.raises(BudgetError) as raised:
        await suggest(
            session(files, ScriptedEngine("", facts=facts)), snapshot(files, settings=settings), path, offset
        )
    assert remedy in str(raised.value)


async def test_an_engine_that_died_is_asked_once_more(caplog: pytest.LogCaptureFixture) -> None:
    files, path, offset = placed(SHOP)

    def answer(_: GenerateRequest) -> str:
        if len(engine.requests) == 1:
            raise EngineDied("The worker ended.")
        return "100)"

    engine = ScriptedEngine(answer)
    completion = await suggest(session(files, engine), snapshot(files), path, offset)
    assert completion.suggestion is not None and len(engine.requests) == 2
    assert "was asked once more" in caplog.text
    with pytest.raises(EngineDied):
        gone = ScriptedEngine("", fail=EngineDied("The worker ended."))
        await suggest(session(files, gone), snapshot(files), path, offset)
