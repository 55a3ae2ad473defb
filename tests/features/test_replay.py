"""What a prompt costs after another one: kept and appended tokens give it back, whatever the prompts are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core import profiles
from glm_lsp.core.errors import UsageError
from glm_lsp.core.generation import Prompt, Role, Segment, Thinking, Tokenizer
from glm_lsp.core.pack import prompt_tokens
from glm_lsp.engines.tokenizers import ApproximateTokenizer, GgufTokenizer
from glm_lsp.features.replay import Op, Reading, Tape, read_event

NANO = GgufTokenizer(profiles.load("nano").gguf_path)
LINES = st.lists(st.sampled_from(("== a.py\n", "x = 1\n", "<|user|> is text\n", "é🎉\n", "#\n")), max_size=5)
PROMPTS = st.lists(st.tuples(LINES, st.text("ab (\n", max_size=8)), min_size=1, max_size=6)


def prompt(lines: list[str], typed: str) -> Prompt:
    user = [Segment(Role.USER, line) for line in lines]
    return Prompt((Segment(Role.SYSTEM, "You.\n"), *user, Segment(Role.ASSISTANT, f"```\n{typed}")), 0)


def readings(tokenizer: Tokenizer, prompts: list[Prompt]) -> list[Reading]:
    tape = Tape(tokenizer, "glm-5.2")
    return [tape.read(p, Thinking.OFF) for p in prompts]


@given(PROMPTS)
def test_what_is_kept_and_appended_is_the_prompt(given_prompts: list[tuple[list[str], str]]) -> None:
    prompts = [prompt(*parts) for parts in given_prompts]
    rebuilt: list[list[bytes]] = [[]]
    for wanted, reading in zip(prompts, readings(NANO, prompts), strict=True):
        assert reading.appended is not None
        rebuilt.append([*rebuilt[-1][: reading.kept], *reading.appended])
        assert len(rebuilt[-1]) == reading.tokens == prompt_tokens(wanted, NANO.count)
        assert b"".join(rebuilt[-1]).decode().endswith(wanted.prefill)
    for (before, after), reading in zip(pairwise(rebuilt), readings(NANO, prompts), strict=True):
        more = before[reading.kept : reading.kept + 1]
        assert not more or more != after[reading.kept : reading.kept + 1]


@given(PROMPTS)
def test_a_bound_never_says_less_than_there_is(given_prompts: list[tuple[list[str], str]]) -> None:
    prompts = [prompt(*parts) for parts in given_prompts]
    bound = ApproximateTokenizer()
    for wanted, reading in zip(prompts, readings(bound, prompts), strict=True):
        assert reading.appended is None
        assert 0 <= reading.evaluated <= reading.tokens
        assert reading.tokens >= prompt_tokens(wanted, bound.count) - 1


def test_the_same_prompt_again_costs_nothing() -> None:
    again = [prompt(["== a.py\n"], "x")] * 2
    for tokenizer in (NANO, ApproximateTokenizer()):
        assert readings(tokenizer, again)[1].evaluated == 0


@given(st.binary(max_size=60))
def test_whatever_stands_in_a_line_it_is_an_event_or_a_sentence(line: bytes) -> None:
    with pytest.raises(UsageError, match=r"Line 7\b"):
        read_event(line, 7)


def test_an_event_has_what_its_line_says() -> None:
    event = read_event(
        b'{"op": "edit", "path": "a.py", "start": 1, "end": 2, "text": "x", "t": 3, "who": 1}', 2
    )
    assert (event.op, event.start, event.end, event.text, event.t) == (Op.EDIT, 1, 2, "x", 3.0)
