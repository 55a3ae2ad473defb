"""Requests that share one KV cache on the real model: what comes between costs nothing, what is shared is
read once, and every answer is what it would have been alone."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from models import BATCH

from glm_lsp.engines.frames import Done, Generate

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from rooms import CODE, ENDLESS, NOISE, OTHER, SOURCE, Recorded, Room, chat  # noqa: E402
from rows import Rows  # noqa: E402

from glm_lsp.engines.worker.costs import CostTable  # noqa: E402
from glm_lsp.engines.worker.generation import Blocked  # noqa: E402
from glm_lsp.engines.worker.pieces import Pieces  # noqa: E402
from glm_lsp.engines.worker.trunks import Pool  # noqa: E402

TYPING, ACTION, REFACTOR, IDLE = range(4)
CHEAP = CostTable((1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.35))
"""Drafts always pay: more are made than this machine would want."""
COPIED = "Write this again:\n" + SOURCE[:400] + "\n"


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    room = Room.open()
    yield room
    room.close()


@pytest.fixture(autouse=True)
def empty(room: Room) -> None:
    room.fresh()


def background(**options: Any) -> Generate:
    return chat(prefill="def step_14(value, other):\n", urgency=REFACTOR, grammar=ENDLESS, **options)


def typing(seed: int) -> Generate:
    """A keystroke: mostly in the same repository, its tail one of some."""
    user = OTHER if seed % 4 == 3 else SOURCE
    return chat(user, CODE + "return file."[: seed % 12], max_tokens=3, urgency=TYPING, identity=100 + seed)


def evaluated(generation: Recorded, reads: list[int]) -> int:
    return reads[-1] - reads[0]


class TestPauses:
    @pytest.mark.parametrize("seed", range(6))
    def test_whatever_comes_between_the_answer_is_the_same_and_nothing_is_read_twice(
        self, room: Room, seed: int
    ) -> None:
        expected, alone = room.answer(background(max_tokens=30))
        room.fresh()
        chance = random.Random(seed)
        generation = room.begin(background(max_tokens=30))

        def between() -> None:
            if chance.random() < 0.4:
                generation.pause()
                for _ in range(chance.randint(1, 3)):
                    room.answer(typing(chance.randint(0, 20)))
                generation.resume()

        done = generation.finish(between)
        assert generation.text == expected
        assert done.evaluated_again == 0
        assert done.interrupted > 0
        assert done.prompt_tokens == alone.prompt_tokens

    def test_interruptions_inside_batches_change_no_word_and_cost_no_token(self, room: Room) -> None:
        request = background(max_tokens=10)
        expected = room.begin(request)
        expected.finish()
        room.fresh()
        generation = room.begin(request)
        interrupted = 0

        def between() -> None:
            nonlocal interrupted
            if interrupted < 8:
                interrupted += 1
                room.machine.context.interrupt()

        done = generation.finish(between)
        room.check_same(request, expected.ids, generation.ids)
        assert done.evaluated_again == 0
        reads = sorted(set(generation.reads))
        assert {*range(0, done.prompt_tokens, BATCH), done.prompt_tokens} < set(reads)

    def test_pieces_of_64_tokens_and_more_give_the_bits_of_a_whole_batch(self) -> None:
        room = Room.open(batch_tokens=256)
        ids = room.ids(chat(SOURCE + OTHER))[:700]
        found: list[np.ndarray] = []
        for most in (256, 128, 64, 1):
            sequence = room.fresh().context.sequence()
            while sequence.count < len(ids):
                # As after an interruption, when nothing longer is expected to fit.
                inside = 256 <= sequence.count < 512
                pieces = Pieces(256, lambda size, fits=most if inside else 256: float(size > fits))
                pieces.interrupted(512, 0.0)
                sequence.feed(ids[sequence.count : pieces.end(sequence.count, len(ids))])
            found.append(room.machine.context.logits().copy())
        room.close()
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])
        assert np.abs(found[0] - found[3]).max() < 2 * NOISE

    def test_what_others_read_of_a_paused_prompt_is_not_read_again(self, room: Room) -> None:
        warm = background(max_tokens=0)
        generation = room.begin(warm)
        assert generation.step() is None
        generation.pause()
        _, between = room.answer(chat(urgency=TYPING, max_tokens=1))
        assert between.cached_tokens == BATCH
        generation.resume()
        done = generation.finish()
        assert done.cached_tokens >= room.trunk(warm) - BATCH
        assert done.evaluated_again == 0

    def test_cancelling_keeps_what_was_read(self, room: Room) -> None:
        generation = room.begin(background())
        for _ in range(2):
            assert generation.step() is None
        assert generation.cancel().output_tokens == 0
        generation.close()
        _, done = room.answer(background())
        assert done.cached_tokens == 2 * BATCH


class TestRuns:
    """Nobody else wants anything: one step writes several tokens."""

    @pytest.fixture(autouse=True)
    def no_clock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("glm_lsp.engines.worker.generation.RUN_S", 3600.0)
        # What a busy machine makes slow is no slow token either.
        monkeypatch.setattr("glm_lsp.engines.worker.generation.SLOW_S", 3600.0)

    def begun(self, room: Room) -> Recorded:
        generation = room.begin(background(max_tokens=30))
        while not generation.writing:
            assert generation.step() is None
        return generation

    @pytest.mark.parametrize("tokens", [1, 2, 7])
    def test_a_run_ends_with_the_token_at_which_somebody_comes(self, room: Room, tokens: int) -> None:
        expected, _ = room.answer(background(max_tokens=30))
        room.fresh()
        generation = self.begun(room)
        looks = iter(range(1, 99))
        before = len(generation.ids)
        assert generation.step(lambda: next(looks) >= tokens) is None
        assert len(generation.ids) == before + tokens
        assert generation.finish().output_tokens == 30
        assert generation.text == expected

    def test_an_interrupted_run_keeps_what_it_has_written(self, room: Room) -> None:
        expected, _ = room.answer(background(max_tokens=30))
        room.fresh()
        generation = self.begun(room)
        before = len(generation.ids)

        def stirred() -> bool:
            if len(generation.ids) == before + 3:
                room.machine.context.interrupt()
            return False

        assert generation.step(stirred) is None
        assert len(generation.ids) == before + 3
        done = generation.finish()
        assert (generation.text, done.evaluated_again, done.output_tokens) == (expected, 0, 30)

    @pytest.mark.parametrize("written", [0, 3])
    def test_an_interruption_of_a_run_is_counted_once(self, room: Room, written: int) -> None:
        generation = self.begun(room)
        before = len(generation.ids)

        def stirred() -> bool:
            if len(generation.ids) == before + written:
                room.machine.context.interrupt()
            return False

        if not written:
            room.machine.context.interrupt()
        assert generation.step(stirred) is None
        assert (len(generation.ids) - before, generation._steps._lost) == (written, 1)
        generation.close()

    def test_a_run_ends_with_the_answer_and_with_the_time(
        self, room: Room, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generation = self.begun(room)
        monkeypatch.setattr("glm_lsp.engines.worker.generation.RUN_S", -1.0)
        before = len(generation.ids)
        assert generation.step(lambda: False) is None
        assert len(generation.ids) == before + 1
        monkeypatch.setattr("glm_lsp.engines.worker.generation.RUN_S", 3600.0)
        done = generation.step(lambda: False)
        generation.close()
        assert isinstance(done, Done)
        assert done.output_tokens == 30


class TestSharing:
    def test_two_windows_on_one_repository_read_it_once(self, room: Room) -> None:
        first, second = chat(), chat(prefill="class Window:\n", identity=2)
        room.answer(first)
        _, done = room.answer(second)
        assert room.trunk(first) <= done.cached_tokens < room.trunk(first) + 8
        assert room.machine.pool.trunks == (room.trunk(first),)

    def test_two_repositories_stay_and_the_one_used_longest_ago_makes_room_for_a_third(
        self, room: Room
    ) -> None:
        room.fresh(kv_tokens=768)
        requests = [chat(user, max_tokens=4) for user in (SOURCE, OTHER, SOURCE[::-1][:400])]
        trunks = [room.trunk(request) for request in requests]
        room.answer(requests[0])
        room.answer(requests[1])
        for request, trunk in zip(requests[:2], trunks[:2], strict=True):
            assert room.answer(request)[1].cached_tokens >= trunk
        room.answer(requests[2])
        assert room.answer(requests[2])[1].cached_tokens >= trunks[2]
        assert room.answer(requests[1])[1].cached_tokens >= trunks[1]
        assert room.answer(requests[0])[1].cached_tokens < trunks[0]

    def test_another_thinking_mode_is_another_trunk(self, room: Room) -> None:
        def asked(effort: bool) -> Generate:
            start = (("<|system|>", True), ("Reasoning Effort: High", False)) if effort else ()
            pieces = (("[gMASK]<sop>", True), *start, ("<|user|>", True), (SOURCE, False))
            closing = ("<|assistant|><think>" if effort else "<|assistant|><think></think>", True)
            return Generate(1, (*pieces, closing), 2, trunk=len(pieces), thinking=effort)

        room.answer(asked(False))
        _, done = room.answer(asked(True))
        assert done.cached_tokens == 2, "the template's first two tokens, and no more"
        assert len(room.machine.pool.trunks) == 2
        for effort in (True, False):
            assert room.answer(asked(effort))[1].cached_tokens >= room.trunk(asked(effort))

    def test_warming_up_writes_nothing_and_spares_the_first_request_the_trunk(self, room: Room) -> None:
        pieces = chat().pieces[:2]
        warm = Generate(1, pieces, 0, trunk=2, urgency=IDLE)
        text, done = room.answer(warm)
        assert (text, done.output_tokens, done.cached_tokens) == ("", 0, 0)
        _, again = room.answer(warm)
        assert again.cached_tokens == again.prompt_tokens
        assert room.answer(chat())[1].cached_tokens == room.trunk(chat())


class TestRoom:
    def test_what_does_not_fit_beside_a_paused_one_waits_for_it(self, room: Room) -> None:
        room.fresh(kv_tokens=512)
        paused = room.begin(background(max_tokens=150))
        for _ in range(8):
            assert paused.step() is None
        paused.pause()
        waiting = room.begin(chat(OTHER, max_tokens=30, urgency=REFACTOR, grammar=ENDLESS))
        assert waiting.step() is Blocked.BLOCKED
        done = paused.finish()
        assert done.evaluated_again == 0
        assert waiting.finish().output_tokens == 30

    def test_the_more_urgent_takes_only_what_it_lacks_and_the_answer_stays_the_same(self, room: Room) -> None:
        room.fresh(kv_tokens=512)
        expected, _ = room.answer(background(max_tokens=100))
        room.fresh(kv_tokens=512)
        paused = room.begin(background(max_tokens=100))
        for _ in range(40):
            assert paused.step() is None
        urgent = chat(OTHER, max_tokens=20, urgency=TYPING, identity=2)
        needed = len(room.ids(urgent)) + 20
        room.answer(urgent)
        done = paused.finish()
        assert paused.text == expected
        assert 0 < done.evaluated_again < needed


class TestDrafts:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"grammar": ENDLESS},
            {"temperature": 0.3, "seed": 5},
            {"temperature": 0.5, "top_p": 0.9, "seed": 1, "grammar": ENDLESS},
            {"heal": True, "grammar": ENDLESS},
            {"stop": ("a",)},
            {"thinking": True, "reasoning_tokens": 40, "think": "<think>"},
        ],
        ids=lambda options: "-".join(options) or "greedy",
    )
    def test_the_answer_is_the_same_with_and_without(self, room: Room, options: dict[str, Any]) -> None:
        """In exact arithmetic; what a real model's last bits make of it is the next test."""
        prefill = "" if options.get("thinking") else "def step_0(value, other):\n    return val"
        request = chat(COPIED, prefill, max_tokens=200, **options)
        runs: list[Recorded] = []
        for costs in (CostTable(), CHEAP):
            context: Any = Rows(1024, vocabulary=room.machine.model.size)
            machine = replace(room.machine, context=context, pool=Pool(context), costs=costs)
            runs.append(Recorded(machine, request))
            done = runs[-1].finish()
        plain, drafted = runs
        assert drafted.ids == plain.ids
        assert (drafted.text, drafted.reasoning) == (plain.text, plain.reasoning)
        if len(drafted.ids) > 100:
            assert 0 < done.accepted_tokens <= done.drafted_tokens

    @pytest.mark.parametrize("options", [{}, {"grammar": ENDLESS}, {"heal": True, "grammar": ENDLESS}])
    def test_greedy_answers_differ_only_where_the_two_best_are_equal_but_for_noise(
        self, room: Room, options: dict[str, Any]
    ) -> None:
        for start in ("return val", "value", "pass\n"):
            request = chat(COPIED, f"def step_0(value, other):\n    {start}", max_tokens=60, **options)
            room.fresh()
            plain = room.begin(request)
            plain.finish()
            room.fresh(costs=CHEAP)
            drafted = room.begin(request)
            drafted.finish()
            room.check_same(request, plain.ids, drafted.ids)

    def test_copying_is_drafted_and_a_request_may_decline(self, room: Room) -> None:
        room.fresh(costs=CHEAP)
        options: dict[str, Any] = {"max_tokens": 80, "grammar": ENDLESS}
        generation = room.begin(chat(COPIED, "def step_0(value, other):\n", **options))
        steps = 0

        def count() -> None:
            nonlocal steps
            steps += 1

        done = generation.finish(count)
        assert done.accepted_tokens > 0
        assert steps + 1 < 80 + len(range(0, done.prompt_tokens, BATCH))
        _, declined = room.answer(chat(COPIED, "def step_0(value, other):\n", drafts=False, **options))
        assert declined.drafted_tokens == 0

    def test_a_pause_between_drafts_changes_nothing(self, room: Room) -> None:
        room.fresh(costs=CHEAP)
        request = chat(COPIED, "def step_0(value, other):\n", max_tokens=60, grammar=ENDLESS)
        expected, _ = room.answer(request)
        room.fresh(costs=CHEAP)
        chance = random.Random(3)
        generation = room.begin(request)

        def between() -> None:
            if chance.random() < 0.3:
                room.answer(typing(chance.randint(0, 20)))

        done = generation.finish(between)
        assert generation.text == expected
        assert done.evaluated_again == 0

    def test_what_was_written_is_held_for_the_next_request(self, room: Room) -> None:
        """Whatever drafts were refused: the sequence holds the answer and nothing else."""
        room.fresh(costs=CHEAP)
        prefill = "def step_0(value, other):\n"
        request = chat(COPIED, prefill, max_tokens=40, grammar=ENDLESS)
        generation = room.begin(request)
        generation.finish()
        prompt = room.ids(request)
        source, common = room.machine.pool._source(generation._ids[: len(prompt) + 40])
        assert source is not None
        assert source.count == common == len(prompt) + 39
