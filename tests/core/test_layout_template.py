"""The shapes of prompts, byte for byte: models are trained on them and saved prefixes depend on them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core import layout
from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Form, Prompt, Role, Segment, Thinking
from glm_lsp.core.template import SPECIAL_TOKENS, TemplateName, render, trunk_pieces

SEGMENTS = (
    Segment(Role.SYSTEM, "Be brief.\n"),
    Segment(Role.USER, "# Source\n"),
    Segment(Role.USER, "Ask.\n"),
)


def check_rendered(expected: str, thinking: Thinking, template: str, prefill: str = "") -> None:
    segments = (*SEGMENTS, Segment(Role.ASSISTANT, prefill)) if prefill else SEGMENTS
    assert "".join(p.text for p in render(Prompt(segments, 0), thinking, template)) == expected


TURNS = "Be brief.\n<|user|># Source\nAsk.\n<|assistant|>"
TURNS_4_6 = "<|system|>\nBe brief.\n<|user|>\n# Source\nAsk.\n"
EFFORT = "<|system|>Reasoning Effort: "


@pytest.mark.parametrize(
    ("template", "thinking", "expected"),
    [
        ("glm-5.2", Thinking.OFF, f"<|system|>{TURNS}<think></think>"),
        ("glm-5.2", Thinking.HIGH, f"{EFFORT}High<|system|>{TURNS}<think>"),
        ("glm-5.2", Thinking.MAX, f"{EFFORT}Max<|system|>{TURNS}<think>"),
        ("glm-4.7", Thinking.OFF, f"<|system|>{TURNS}</think>"),
        ("glm-4.7", Thinking.MAX, f"<|system|>{TURNS}<think>"),
        ("glm-4.6", Thinking.OFF, f"{TURNS_4_6}/nothink<|assistant|>\n<think></think>\n"),
        ("glm-4.6", Thinking.MAX, f"{TURNS_4_6}<|assistant|>"),
    ],
)
def test_each_template(template: str, thinking: Thinking, expected: str) -> None:
    check_rendered(f"[gMASK]<sop>{expected}", thinking, template)


def test_an_answer_is_begun_after_the_thoughts() -> None:
    end = "<|user|># Source\nAsk.\n<|assistant|><think></think>```python\nx = "
    check_rendered("[gMASK]<sop><|system|>Be brief.\n" + end, Thinking.OFF, "glm-5.2", "```python\nx = ")


def test_an_answer_cannot_be_begun_while_thinking() -> None:
    with pytest.raises(UsageError, match="only with thinking off"):
        check_rendered("", Thinking.HIGH, "glm-5.2", "x")


def test_an_unknown_template_is_told() -> None:
    with pytest.raises(UsageError, match=r"glm-5\.2, glm-4\.7, glm-4\.6"):
        check_rendered("", Thinking.OFF, "other")


def test_the_gap_is_filled_between_prefix_and_suffix() -> None:
    prompt = Prompt(
        (Segment(Role.USER, "above\n"), Segment(Role.ASSISTANT, "x = ")), 0, form=Form.FIM, suffix="\n"
    )
    text = "".join(p.text for p in render(prompt))
    assert text == "<|code_prefix|>above\nx = <|code_suffix|>\n<|code_middle|>"


@given(st.text(max_size=40), st.sampled_from(list(TemplateName)))
def test_text_is_never_read_as_special(text: str, template: TemplateName) -> None:
    hostile = "".join(f"{token}{text}" for token in SPECIAL_TOKENS)
    pieces = render(Prompt((Segment(Role.USER, hostile),), 0), Thinking.OFF, template)
    assert [p.special for p in pieces if hostile in p.text] == [False]


def test_blocks() -> None:
    assert (
        layout.outline_block("a.py", ["class A:", "    def f(self):"])
        == "== a.py\nclass A:\n    def f(self):\n"
    )
    assert layout.source_block("a.py", 0, 1, "x = 1\ny = 2") == "== a.py:1-2\nx = 1\ny = 2\n"
    assert layout.log_entry("a.py", 4, 2, "x = 1") == "== a.py line 5 -2 +1\nx = 1\n"
    assert layout.log_entry("a.py", 4, 2, "") == "== a.py line 5 -2 +0\n"


def test_the_completions_tail() -> None:
    tail = layout.completion_tail("a.py", "python", "def f():\n    retu", "\n\nx = 1")
    assert tail.instruction == (
        "# Complete a.py\nThe code after the gap:\n```\n\n\nx = 1\n```\n"
        "Write the code before it, up to and through the gap.\n"
    )
    assert tail.prefill == "```python\ndef f():\n    retu" and tail.stop == "```"


def test_a_places_title_says_what_the_answer_stands_in_place_of() -> None:
    title = layout.place_of("a.py", 2, 1, "f")
    tail = layout.completion_tail(title, "python", "    retu", "\nx = 1", placed=True)
    assert tail.instruction == "# Complete a.py line 3 -1 in f, before:\n```\n\nx = 1\n```\n"
    assert tail.prefill == "```python\n    retu"
    assert layout.place_of("", 2, 0) == "line 3 -0" and layout.place_of("a.py", 2) == "a.py line 3"
    fenced = layout.completion_tail("a.md line 1 -1", "markdown", "x", "```\n", placed=True)
    assert fenced.stop == "````"
    assert layout.typed_parts(layout.typed_block(tail)) == (tail.prefill, "\n```")
    assert layout.typed_parts(layout.typed_block(fenced)) == (fenced.prefill, "\n````")


def test_earlier_answers_stand_between_the_turns() -> None:
    turns = [(Role.USER, "a"), (Role.ASSISTANT, "b"), (Role.ASSISTANT, "c"), (Role.USER, "d")]
    segments = tuple(Segment(role, text) for role, text in [(Role.SYSTEM, "s"), *turns])
    prompt = Prompt((*segments, Segment(Role.ASSISTANT, "e")), 0, trunk_segments=4)
    assert prompt.prefill == "e" and Prompt(segments, 0).prefill == ""
    for template, mark in (
        ("glm-5.2", "<|assistant|><think></think>"),
        ("glm-4.7", "<|assistant|></think>"),
    ):
        pieces = render(prompt, Thinking.OFF, template)
        said = f"[gMASK]<sop><|system|>s<|user|>a{mark}bc<|user|>d{mark}e"
        assert "".join(piece.text for piece in pieces) == said
        shared = pieces[: trunk_pieces(prompt, Thinking.OFF, template)]
        assert "".join(piece.text for piece in shared) == f"[gMASK]<sop><|system|>s<|user|>a{mark}bc<|user|>"
    thought = "".join(p.text for p in render(Prompt(segments, 0), Thinking.MAX, "glm-4.7"))
    assert thought == "[gMASK]<sop><|system|>s<|user|>a<|assistant|></think>bc<|user|>d<|assistant|><think>"


def test_the_docstrings_tail() -> None:
    tail = layout.docstring_tail("a.py", "f", "def f():\n    return 1")
    assert tail.instruction == (
        "# Document f in a.py\n```\ndef f():\n    return 1\n```\n"
        "Write its docstring: one sentence that ends with a period.\n"
    )
    assert tail.prefill == '"""'


TEXTS = st.text(st.sampled_from(" \n\t`#=aé"), max_size=30)


@given(st.lists(TEXTS, max_size=3), st.lists(TEXTS, max_size=3), TEXTS, TEXTS)
def test_segments_meet_at_a_newline_and_a_graphic_sign(
    signatures: list[str], texts: list[str], window: str, suffix: str
) -> None:
    outline = [layout.outline_block("a.py", [s]) for s in signatures]
    source = [layout.source_block("a.py", 0, 0, t) for t in texts]
    log = [layout.log_entry("a.py", 0, 0, t) for t in texts]
    tail = layout.completion_tail("a.py", "python", window, suffix)
    whole = (*layout.context_texts(outline, source, log), tail.instruction)
    for left, right in pairwise(whole):
        assert left.endswith("\n") and right[0].isascii() and right[0].isprintable() and right[0] != " "
    assert tail.prefill.startswith("```") and tail.stop not in window and tail.stop not in suffix


@pytest.mark.parametrize("template", list(TemplateName))
@pytest.mark.parametrize("thinking", list(Thinking))
@pytest.mark.parametrize("form", list(Form))
@given(
    shared=st.lists(st.sampled_from([Role.SYSTEM, Role.USER]), max_size=4),
    tails=st.tuples(st.text(min_size=1), st.text(min_size=1)).filter(lambda pair: pair[0] != pair[1]),
)
def test_the_trunk_is_what_two_prompts_of_a_repository_have_in_common(
    template: str, thinking: Thinking, form: Form, shared: list[Role], tails: tuple[str, str]
) -> None:
    trunk = tuple(Segment(role, f"{at}\n") for at, role in enumerate(sorted(shared, reverse=False)))
    prompts = [
        Prompt((*trunk, Segment(Role.USER, tail)), 0, form=form, trunk_segments=len(trunk)) for tail in tails
    ]
    pieces = [render(prompt, thinking, template) for prompt in prompts]
    counts = {trunk_pieces(prompt, thinking, template) for prompt in prompts}
    common = next(at for at, (a, b) in enumerate(zip(*pieces, strict=True)) if a != b)
    assert counts == {common if trunk else 0}
