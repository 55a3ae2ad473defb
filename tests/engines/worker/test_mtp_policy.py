"""Guesses of a layer that foretells tokens: made and verified where that pays; the loss is bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core import profiles
from glm_lsp.core.draft import draft_costs
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.drafts import ALLOWANCE, Speculator
from glm_lsp.engines.worker.mtp_policy import (
    MOST,
    NOTHING,
    Chances,
    Draft,
    Guess,
    MtpCosts,
    MtpRecord,
    could_pay,
    draft,
    learn,
)

GLM = CostTable(draft_costs(profiles.draft_weights(profiles.load("glm-5.2"), 6.5, 2.47), 64))
"""By bytes, on one memory, at two to three bits."""
HERE = CostTable(tuple(1 + 0.9 * k for k in range(64)))
"""As on a processor, where each token costs nearly a step."""
LAYER = MtpCosts(step=0.04, entry=0.002)
"""One layer of 79, and the head."""


class Foreteller:
    """A layer that is right with the chance that it says, or with another one."""

    def __init__(self, seed: int, said: float, true: float | None = None) -> None:
        self._random = random.Random(seed)
        self._said, self._true = said, said if true is None else true
        self.made = 0

    def guesses(self, truth: Iterator[int]) -> Iterator[Guess]:
        for token in truth:
            self.made += 1
            right = self._random.random() < self._true
            yield Guess(token if right else token + 1, self._said)
            if not right:
                truth = iter([])
                while True:
                    self.made += 1
                    yield Guess(-1, self._said)


def play(
    layer: Foreteller,
    record: MtpRecord,
    answer: list[int],
    prompt: list[int],
    behind: int = 0,
) -> tuple[list[float], list[int]]:
    """Write an answer that is known: what it has cost at each moment by steps without drafts; the drafts."""
    speculator = Speculator(record.costs, np.asarray(prompt, np.int32))
    speculator.append(answer[:1])
    record.begin()
    at, cost, shares, sizes = 1, 0.0, [1.0], list[int]()
    while at < len(answer):
        most = len(answer) - at - 1
        proposed = speculator.propose(most)
        rival = speculator.saving if len(proposed) else 0.0
        made = draft(
            record,
            layer.guesses(iter(answer[at:])),
            behind=behind,
            most=most,
            spare=speculator.spare,
            rival=rival,
        )
        speculator.charge(made.spent)
        tokens = made.tokens or speculator.propose(most).tolist()
        right = 0
        while right < len(tokens) and tokens[right] == answer[at + right]:
            right += 1
        chosen = answer[at : at + right + 1]
        speculator.observe(len(tokens), right)
        speculator.append(chosen)
        if made.guesses:
            learn(record, made, chosen)
        cost += record.costs.ratios[len(tokens)] + made.spent
        at += right + 1
        sizes.append(len(made.tokens))
        shares.append(cost / (at - 1))
    return shares, sizes


def some_answer(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, 8000, length).tolist()


tables = st.sampled_from([GLM, HERE]) | st.lists(st.floats(0, 2), min_size=2, max_size=20).map(
    lambda steps: CostTable(tuple(float(c) for c in 1 + np.cumsum([0.0, *steps])))
)
chances = st.floats(0, 1)


class TestBound:
    @settings(max_examples=150, deadline=None)
    @given(
        tables,
        st.floats(0.001, 3),
        st.floats(0, 0.5),
        chances,
        chances,
        st.integers(0, 40),
        st.integers(0, 2**32),
        st.booleans(),
    )
    def test_no_answer_is_ever_dearer_than_the_allowance_whatever_the_layer_says(
        self,
        costs: CostTable,
        step: float,
        entry: float,
        said: float,
        true: float,
        behind: int,
        seed: int,
        repeats: bool,
    ) -> None:
        """With drafts from the prompt beside it, in texts that repeat themselves and in others."""
        record = MtpRecord(costs, MtpCosts(step, entry))
        answer = [n % 7 for n in range(80)] if repeats else some_answer(80, seed)
        for _ in range(3):
            shares, _ = play(Foreteller(seed, said, true), record, answer, answer[:40], behind)
            assert max(shares) <= 1 + ALLOWANCE + 1e-9

    def test_there_is_nothing_to_lose_at_first(self) -> None:
        record = MtpRecord(GLM, LAYER)
        made = draft(record, iter([Guess(1, 0.99)] * MOST), behind=0, most=MOST, spare=0.0)
        assert made == NOTHING


class TestGain:
    @pytest.mark.parametrize(("chance", "share"), [(0.95, 0.66), (0.8, 0.85)])
    def test_a_layer_that_is_mostly_right_pays_by_the_costs_of_a_large_model(
        self, chance: float, share: float
    ) -> None:
        shares, _ = play(Foreteller(1, chance), MtpRecord(GLM, LAYER), some_answer(600), [])
        assert shares[-1] < share

    def test_the_more_it_is_right_the_more_is_verified_at_once(self) -> None:
        record = MtpRecord(GLM, LAYER)
        shares, sizes = play(Foreteller(1, 0.97), record, some_answer(600), [])
        _, fewer = play(Foreteller(1, 0.6), MtpRecord(GLM, LAYER), some_answer(600), [])
        assert np.mean(sizes[-100:]) > np.mean(fewer[-100:]) > 0
        assert shares[-1] < 1

    def test_a_layer_that_boasts_is_found_out(self) -> None:
        record = MtpRecord(GLM, LAYER)
        answer = some_answer(2000)
        _, sizes = play(Foreteller(1, 0.99, 0.1), record, answer, [])
        assert sum(sizes[:300]) > sum(sizes[1000:])
        assert record.chances.of(0.99, 0) < Chances().of(0.99, 0) - 0.2

    def test_one_that_is_wrong_is_asked_no_more_in_the_answer_and_again_in_later_ones(self) -> None:
        record = MtpRecord(GLM, LAYER)
        layer = Foreteller(1, 0.2, 0.0)
        play(layer, record, some_answer(1500), [])
        assert record.worth <= 0
        assert "off for now" in record.told
        made = layer.made
        asked = [made]
        for _ in range(12):
            play(layer, record, some_answer(200), [])
            asked.append(layer.made)
        assert 0 < asked[-1] - made < 1500

    def test_text_from_the_prompt_is_drafted_from_there(self) -> None:
        """Where a long copy goes on, one step verifies more of it than the layer would foretell."""
        record = MtpRecord(GLM, LAYER)
        text = some_answer(900)
        shares, sizes = play(Foreteller(1, 0.9), record, text, text)
        alone, _ = play(Foreteller(1, 0.9), MtpRecord(GLM, LAYER), text, [])
        assert sum(map(bool, sizes)) < 40
        assert shares[-1] < alone[-1] / 1.5


class TestCosts:
    @pytest.mark.parametrize(
        ("costs", "step", "pays"),
        [
            (GLM, 0.04, True),
            (HERE, 0.05, True),
            (HERE, 0.2, False),
            (GLM, 1.5, False),
            (CostTable((1.0, 2.0, 3.0)), 0.01, False),
            (CostTable((1.0,)), 0.01, False),
            (CostTable(), 0.01, False),
        ],
    )
    def test_whether_it_could_pay_at_all(self, costs: CostTable, step: float, pays: bool) -> None:
        assert could_pay(costs, MtpCosts(step, 0.0)) is pays

    def test_where_only_a_layer_without_a_fault_would_pay_it_is_not_tried(self) -> None:
        record = MtpRecord(HERE, MtpCosts(0.05, 0.0))
        layer = Foreteller(1, 1.0)
        shares, _ = play(layer, record, some_answer(300), [])
        assert layer.made == 0
        assert shares[-1] == 1.0
        assert "pays only if nearly all guesses are right" in record.told

    def test_a_sentence_says_how_it_does(self) -> None:
        record = MtpRecord(GLM, LAYER)
        assert record.told.startswith("on, not used yet; a draft of one token costs 1.")
        play(Foreteller(1, 0.9), record, some_answer(300), [])
        assert f"{record.accepted} of {record.drafted} guesses that were verified were right" in record.told


class TestChances:
    def test_they_are_learned_from_guesses_that_were_not_verified_too(self) -> None:
        record = MtpRecord(GLM, LAYER)
        before = record.chances.of(0.55, 0)
        attempt = Draft((Guess(7, 0.55), Guess(8, 0.55)), 0, 0.08)
        for _ in range(60):
            assert learn(record, attempt, [7]) == 0
        assert record.chances.of(0.55, 0) > before + 0.2
        assert record.chances.of(0.55, 1) == Chances().of(0.55, 1)
        assert record.drafted == 0

    def test_what_the_layer_says_wildly_is_no_chance(self) -> None:
        chances = Chances()
        for wild in (float("nan"), -1.0, 0.0):
            assert chances.of(wild, 0) == chances.of(0.01, 0)
        assert chances.of(float("inf"), 0) == chances.of(0.999, 0)

    @given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 7), st.booleans()), max_size=200))
    def test_they_stay_chances(self, seen: list[tuple[float, int, bool]]) -> None:
        chances = Chances()
        for chance, number, hit in seen:
            chances.learn(chance, number, hit)
        for chance, number, _ in seen:
            assert 0 < chances.of(chance, number) < 1
            assert 0 < chances.next(number) < 1
