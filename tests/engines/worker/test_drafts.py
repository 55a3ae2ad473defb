"""Drafts: what is proposed, what it may cost, and that it changes nothing but the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core import profiles
from glm_lsp.core.draft import Weights, draft_costs, experts_touched, step_cost
from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.drafts import ALLOWANCE, Speculator
from glm_lsp.engines.worker.forms import Marks
from glm_lsp.engines.worker.suffixes import LONGEST, SLICE, Match, SuffixIndex

GLM = CostTable(draft_costs(profiles.draft_weights(profiles.load("glm-5.2")), 256))
CHEAP = CostTable(tuple(1 + 0.02 * k for k in range(128)))
"""As on a machine whose memory is slow and whose arithmetic is free."""
HOPELESS = CostTable(tuple(float(k) for k in range(1, 33)))
NOTHING = CostTable()
TEXTS = ("a", "\n", "<<<<<<< SEARCH", "=======", ">>>>>>> REPLACE", "\n\n", "=======\n", " b")
"""Of the tokens 0 to 7: blocks come about by chance."""
MARKS = Marks(lambda token: TEXTS[token] if token < len(TEXTS) else "c", lambda text: [4, 1, 2, 1])
block_tokens = st.lists(st.integers(0, 7), max_size=120) | st.lists(
    st.sampled_from([(2, 1), (0, 7, 1), (7, 1), (3, 1), (6,), (4, 1), (0, 5)]), max_size=40
).map(lambda parts: [token for part in parts for token in part])
few_tokens = st.lists(st.integers(0, 3), max_size=120)
tables = st.sampled_from([GLM, CHEAP, HOPELESS]) | st.lists(
    st.floats(0, 3, allow_nan=False), min_size=1, max_size=40
).map(lambda steps: CostTable(tuple(float(c) for c in 1 + np.cumsum([0.0, *steps]))))


def ids(tokens: Sequence[int]) -> np.ndarray:
    return np.asarray(tokens, np.int32)


def following(truth: Sequence[int], start: int) -> Callable[[tuple[int, ...]], int]:
    """A model that writes exactly this, and then something new for ever."""
    return lambda before: truth[at] if (at := len(before) - start) < len(truth) else at


def written(
    model: Callable[[tuple[int, ...]], int],
    costs: CostTable,
    prompt: Sequence[int],
    count: int,
    source: Sequence[int] = (),
) -> tuple[list[int], list[float]]:
    """The greedy answer of a model with drafts, and what had been spent after each evaluation, per token."""
    policy = Speculator(costs, ids(prompt), ids(source), MARKS)
    answer = [model(tuple(prompt))]
    policy.append(answer)
    spent, per_token = 0.0, [1.0]
    while len(answer) < count:
        draft = policy.propose(count)
        spent += costs.ratios[len(draft)] if len(draft) else 1.0
        chosen: list[int] = []
        for at in range(len(draft) + 1):
            chosen.append(model((*prompt, *answer, *chosen)))
            if at == len(draft) or chosen[-1] != draft[at]:
                break
        policy.observe(len(draft), len(chosen) - 1)
        policy.append(chosen)
        answer += chosen
        per_token.append(spent / (len(answer) - 1))
    return answer[:count], per_token


class TestOutput:
    @settings(max_examples=40)
    @given(few_tokens, st.integers(0, 2**32), st.integers(1, 6), tables)
    def test_drafts_never_change_what_a_model_writes(
        self, prompt: list[int], key: int, memory: int, costs: CostTable
    ) -> None:
        def model(before: tuple[int, ...]) -> int:
            return hash((key, before[-memory:])) % 4

        with_drafts, _ = written(model, costs, prompt, 80, prompt[::2])
        without, _ = written(model, NOTHING, prompt, 80)
        assert with_drafts == without

    @settings(max_examples=60)
    @given(block_tokens, block_tokens, tables)
    def test_in_blocks_too(self, source: list[int], truth: list[int], costs: CostTable) -> None:
        truth = [*truth, *source, *truth, 0]
        answer, _ = written(following(truth, 3), costs, [8, 9, 8], len(truth), source)
        assert answer == truth


class TestCost:
    @given(few_tokens, few_tokens, tables)
    def test_never_more_than_the_allowance_at_any_moment(
        self, prompt: list[int], truth: list[int], costs: CostTable
    ) -> None:
        truth = [*truth, *prompt, 0, 0]
        _, per_token = written(following(truth, len(prompt)), costs, prompt, len(truth))
        assert max(per_token) <= 1 + ALLOWANCE + 1e-9

    @settings(max_examples=60)
    @given(block_tokens, block_tokens, tables)
    def test_nor_in_blocks_or_with_a_source(
        self, source: list[int], truth: list[int], costs: CostTable
    ) -> None:
        truth = [*truth, *source[::2], *truth, 0, 0]
        _, per_token = written(following(truth, 3), costs, [8, 9, 8], len(truth), source)
        assert max(per_token) <= 1 + ALLOWANCE + 1e-9

    @settings(max_examples=40)
    @given(st.integers(0, 2**32), tables)
    def test_never_more_against_one_who_knows_every_draft(self, seed: int, costs: CostTable) -> None:
        """The adversary copies until a draft is made, and then writes something else."""
        rng = np.random.default_rng(seed)
        prompt = [int(t) for t in rng.integers(0, 50, 300)]
        policy = Speculator(costs, ids(prompt))
        policy.append([prompt[40]])
        spent = 0.0
        for tokens in range(1, 150):
            draft = policy.propose(256)
            spent += costs.ratios[len(draft)] if len(draft) else 1.0
            spoil = len(draft) > 0 and rng.random() < 0.8
            policy.observe(len(draft), 0)
            policy.append([99 if spoil else prompt[(40 + tokens) % 300]])
            assert spent <= (1 + ALLOWANCE) * tokens + 1e-9

    @pytest.mark.parametrize(("costs", "most"), [(GLM, 0.35), (CHEAP, 0.12)])
    def test_a_copy_of_the_prompt_is_cheap(self, costs: CostTable, most: float) -> None:
        prompt = [int(t) for t in np.random.default_rng(0).integers(0, 5000, 3000)]
        truth = prompt[1000:2000]
        _, per_token = written(following(truth, 3000), costs, prompt, 1000)
        assert per_token[-1] < most

    def test_what_is_to_be_rewritten_is_drafted_from_the_first_token(self) -> None:
        """It need not stand in the prompt; without being told, there is nothing to draft from."""
        source = list(range(100, 260))
        _, told = written(following(source, 3), GLM, [8, 9, 8], 160, source)
        _, untold = written(following(source, 3), GLM, [8, 9, 8], 160)
        assert told[-1] < 0.5
        assert untold[-1] == 1.0

    def test_a_block_is_drafted_from_the_mark_between_to_the_next_block(self) -> None:
        code = [token for line in range(20) for token in (100 + line, 7, 1)]
        policy = Speculator(CHEAP, ids([8, 9, 8]), ids(code), MARKS)
        policy.append([2, 1, *code[:30], 3])
        assert list(policy.propose(64)) == [1, *code[:30], 4, 1, 2, 1]

    def test_an_empty_line_after_the_mark_belongs_to_the_block(self) -> None:
        policy = Speculator(CHEAP, ids([8, 9, 8]), ids([0, 7, 0]), MARKS)
        policy.append([2, 5, *range(100, 120), 1, 3])
        assert list(policy.propose(64)) == [5, *range(100, 120), 1, 4, 1, 2, 1]
        policy.append([5, 100])
        assert list(policy.propose(64))[:3] == [101, 102, 103]

    def test_the_next_block_is_looked_for_further_down(self) -> None:
        """Three lines begin alike, and the first two have been searched already."""
        code = [t for line in range(3) for t in (0, 7, *range(100 * line + 100, 100 * line + 120), 1)]
        policy = Speculator(CHEAP, ids([8, 9, 8]), ids(code), MARKS)
        policy.append([2, 1, *code[:46], 3, 1, *code[:46], 4, 1, 2, 1, 0, 7])
        assert list(policy.propose(4)) == [300, 301, 302, 303]

    @pytest.mark.parametrize("costs", [HOPELESS, NOTHING, CostTable((1.0,))])
    def test_where_no_draft_can_pay_nothing_is_proposed_or_indexed(self, costs: CostTable) -> None:
        policy = Speculator(costs, ids([1, 2, 3, 4] * 50))
        policy.append([1, 2, 3, 4, 1, 2, 3])
        assert not policy.useful
        assert len(policy.propose(16)) == 0

    def test_no_more_than_asked_for(self) -> None:
        policy = Speculator(CHEAP, ids([1, 2, 3, 4] * 50))
        policy.append([1, 2, 3, 4] * 20)
        assert len(policy.propose(0)) == 0
        assert list(policy.propose(3)) == [1, 2, 3]


class TestIndex:
    @given(st.lists(st.integers(0, 2), min_size=1, max_size=200))
    def test_it_finds_the_longest_match_among_few(self, tokens: list[int]) -> None:
        """Short runs have no more places than a chain is followed."""
        tokens = tokens[-12:]
        index = SuffixIndex(ids(tokens))
        index.grow()
        found = index.find()
        lengths = [index.measure(place) for place in range(len(tokens) - 1)]
        longest = max(lengths, default=0)
        if longest < 2:
            assert found is None
        else:
            assert found is not None
            assert found.length == longest
            assert index.measure(found.next - 1) == longest

    def test_the_newest_of_equals(self) -> None:
        index = SuffixIndex(ids([1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3]))
        index.grow()
        assert index.find() == Match(7, 3)

    def test_the_nearest_to_a_place(self) -> None:
        index = SuffixIndex(ids([5, 1, 9, 9, 9, 5, 2, 9, 9, 9, 5]))
        assert index.near(2, 2, 2) == Match(1, 1)
        assert index.near(5, 1, 2) == Match(6, 4)
        assert index.near(8, 1, 1) is None

    def test_a_long_prompt_is_indexed_in_slices(self) -> None:
        tokens = np.arange(3 * SLICE, dtype=np.int32)
        index = SuffixIndex(tokens)
        slices = 0
        while not index.complete:
            index.grow()
            slices += 1
        assert slices == 3

    def test_a_cycle_goes_on(self) -> None:
        index = SuffixIndex(ids([1, 2, 3, 1, 2, 3, 1]))
        assert list(index.following(4, 7)) == [2, 3, 1, 2, 3, 1, 2]

    def test_a_match_is_measured_up_to_a_limit(self) -> None:
        index = SuffixIndex(ids([4] * 200))
        index.grow()
        found = index.find()
        assert found is not None
        assert found.length == LONGEST


class TestSparseCosts:
    """c(k) of a mixture of experts, from the profile's facts."""

    @pytest.mark.parametrize(
        ("tokens", "ratio"), [(1, 1.0), (2, 1.55), (4, 2.59), (8, 4.49), (16, 7.6), (64, 16.2), (256, 18.5)]
    )
    def test_of_glm(self, tokens: int, ratio: float) -> None:
        assert GLM.ratios[tokens - 1] == pytest.approx(ratio, rel=0.01)

    @given(st.integers(1, 300), st.integers(1, 64), st.integers(1, 500))
    def test_experts_are_never_more_than_there_are(self, experts: int, used: int, tokens: int) -> None:
        used = min(used, experts)
        touched = experts_touched(experts, used, tokens)
        assert used - 1e-9 <= touched <= experts + 1e-9
        assert touched <= used * tokens + 1e-9

    def test_experts_in_slower_memory_make_drafts_dearer(self) -> None:
        even = Weights(17.65, 2.83, 256, 8)
        slow = Weights(17.65, 2.83 * 10, 256, 8)
        assert step_cost(slow, 2) / step_cost(slow, 1) > step_cost(even, 2) / step_cost(even, 1)

    def test_a_profile_without_the_facts(self) -> None:
        with pytest.raises(ConfigError, match="does not say how many experts"):
            profiles.draft_weights(profiles.load("nano"))
