"""Answers of the bundled model with drafts of a layer that foretells tokens: the same as without, whatever
comes between; made where it pays, and nowhere else."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from foretelling import MtpRoom, fitted_file, room_of  # noqa: E402
from models import BATCH  # noqa: E402
from rooms import CODE, ENDLESS, OTHER, SOURCE, Recorded, Room, chat  # noqa: E402

from glm_lsp.engines.frames import Done, Generate  # noqa: E402
from glm_lsp.engines.worker.costs import CostTable  # noqa: E402
from glm_lsp.engines.worker.mtp_policy import MtpCosts, could_pay  # noqa: E402

EAGER = CostTable(tuple(1 + 0.05 * k for k in range(64)), noise=0.05)
"""Where drafts cost next to nothing, many are made."""
CHEAP = MtpCosts(step=0.02, entry=0.0)
TASKS = ("Write a class for a queue of jobs.\n", "Read a file of settings and check them.\n", OTHER[:600])
REFACTOR, TYPING = 2, 0


def task(number: int, **options: object) -> Generate:
    """A request whose answer never ends by itself."""
    return chat(TASKS[number], CODE, **{"max_tokens": 80, "grammar": ENDLESS, **options})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layer has learned by heart what the model writes when it is asked for these tasks."""
    room = Room.open()
    texts: list[str] = []
    for number in range(len(TASKS)):
        room.fresh()
        request = task(number, max_tokens=120)
        texts.append("".join(piece for piece, _ in request.pieces) + room.answer(request)[0])
    room.close()
    return fitted_file(tmp_path_factory.mktemp("fitted"), "".join(texts))


@pytest.fixture(scope="module")
def room(path: Path) -> Iterator[MtpRoom]:
    room = room_of(path)
    yield room
    room.close()


def run(
    room: MtpRoom, request: Generate, costs: CostTable | None = EAGER, mtp: MtpCosts | None = CHEAP
) -> tuple[Recorded, Done]:
    room.fresh(costs=costs, mtp=mtp)
    generation = room.begin(request)
    return generation, generation.finish()


def check_same(room: MtpRoom, request: Generate, plain: Recorded, drafted: Recorded, done: Done) -> None:
    """The same tokens, at least up to the first choice that is in doubt."""
    if plain.ids != drafted.ids:
        assert done.near_ties > 0
        room.check_same(request, plain.ids, drafted.ids)


class TestSame:
    @pytest.mark.parametrize("number", range(len(TASKS)))
    def test_greedy_answers(self, room: MtpRoom, number: int) -> None:
        plain, none = run(room, task(number), None, None)
        drafted, done = run(room, task(number))
        check_same(room, task(number), plain, drafted, done)
        assert none.mtp_drafted_tokens == none.drafted_tokens == 0
        assert done.mtp_accepted_tokens > 10
        assert done.drafted_tokens >= done.mtp_drafted_tokens >= done.mtp_accepted_tokens

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_under_sampling(self, room: MtpRoom, seed: int) -> None:
        """The same seed draws the same tokens: a guess is accepted where it is what would have been drawn."""
        request = task(0, temperature=0.7, top_p=0.9, seed=seed)
        plain, _ = run(room, request, None, None)
        drafted, done = run(room, request)
        pairs = enumerate(zip(plain.ids, drafted.ids, strict=False))
        # A draw within the noise of a boundary is rare, but may happen.
        assert next((n for n, (a, b) in pairs if a != b), 80) > 10
        assert done.mtp_drafted_tokens > 0

    @pytest.mark.parametrize(
        "options",
        [
            {"grammar": r'root ::= ([a-z_0-9 ()+*,:]+ "\n"){3} "\n"'},
            {"think": "<think>", "thinking": True, "reasoning_tokens": 30},
            {"stop": ("\n\n\n", "class ")},
            {"max_tokens": 1},
            {"max_tokens": 2},
        ],
    )
    def test_whatever_bounds_the_answer(self, room: MtpRoom, options: dict[str, object]) -> None:
        request = task(0, **options)
        plain, _ = run(room, request, None, None)
        drafted, done = run(room, request)
        check_same(room, request, plain, drafted, done)

    def test_up_to_the_end_of_the_context(self, room: MtpRoom) -> None:
        request = task(0, max_tokens=5000)
        room.fresh(costs=EAGER, mtp=CHEAP)
        generation = room.begin(request)
        done = generation.finish()
        assert done.finish == "length"
        assert generation.total + len(generation.ids) == room.machine.context_tokens + 1
        assert done.mtp_drafted_tokens > 0


class TestWhatComesBetween:
    @pytest.mark.parametrize("seed", range(3))
    def test_others_that_use_the_layer_too(self, room: MtpRoom, seed: int) -> None:
        """The job goes on, nothing is evaluated twice, and its drafts are right as before."""
        request = task(0, max_tokens=60, urgency=REFACTOR)
        plain, _ = run(room, request, None, None)
        room.fresh(costs=EAGER, mtp=CHEAP)
        chance = random.Random(seed)
        generation = room.begin(request)
        others: list[Done] = []

        def between() -> None:
            if chance.random() < 0.4:
                generation.pause()
                typing = task(chance.randrange(3), max_tokens=12, urgency=TYPING)
                others.append(room.answer(typing)[1])
                generation.resume()

        done = generation.finish(between)
        check_same(room, request, plain, generation, done)
        assert done.evaluated_again == 0
        assert done.interrupted == len(others) > 0
        assert done.mtp_accepted_tokens > 5
        assert sum(other.mtp_drafted_tokens for other in others) > 0

    @pytest.mark.parametrize("seed", range(3))
    def test_interruptions_in_the_middle_of_a_guess(
        self, room: MtpRoom, seed: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = task(1, max_tokens=60)
        plain, _ = run(room, request, None, None)
        room.fresh(costs=EAGER, mtp=CHEAP)
        head, chance = room.head, random.Random(seed)
        feed, interrupted = head.feed, list[int]()

        def interrupting(ids: np.ndarray, states: np.ndarray) -> bool:
            if chance.random() < 0.15:
                interrupted.append(len(ids))
                room.machine.context.interrupt()
            return feed(ids, states)

        monkeypatch.setattr(head, "feed", interrupting)
        generation = room.begin(request)
        done = generation.finish()
        check_same(room, request, plain, generation, done)
        assert done.evaluated_again == 0
        assert len(interrupted) > 2

    def test_cancelled_in_the_middle_the_next_one_is_right(self, room: MtpRoom) -> None:
        plain, _ = run(room, task(0), None, None)
        room.fresh(costs=EAGER, mtp=CHEAP)
        for steps in (3, 9, 14):
            left = room.begin(task(2))
            for _ in range(steps):
                left.step()
            left.close()
        generation = room.begin(task(0))
        done = generation.finish()
        check_same(room, task(0), plain, generation, done)
        assert done.mtp_accepted_tokens > 10

    def test_a_prompt_that_is_in_the_cache_already(self, room: MtpRoom) -> None:
        """Its states are not to be had: the layer sees the last token and the answer."""
        first, _ = run(room, task(0))
        generation = room.begin(task(0))
        done = generation.finish()
        assert done.cached_tokens == done.prompt_tokens - 1
        room.check_same(task(0), first.ids, generation.ids)
        assert done.mtp_accepted_tokens > 5

    def test_a_job_that_had_to_give_up_its_cells_and_is_read_anew(self, room: MtpRoom) -> None:
        request = task(1, max_tokens=60, urgency=REFACTOR)
        plain, _ = run(room, request, None, None)
        room.fresh(costs=EAGER, mtp=CHEAP, kv_tokens=1024)
        generation = room.begin(request)
        for _ in range(generation.total // BATCH + 12):
            generation.step()
        assert generation.writing
        generation.pause()
        _, typed = room.answer(chat(SOURCE + OTHER, CODE, max_tokens=200, urgency=TYPING, grammar=ENDLESS))
        assert typed.output_tokens == 200
        generation.resume()
        done = generation.finish()
        check_same(room, request, plain, generation, done)
        assert done.mtp_accepted_tokens > 5


class TestPolicy:
    def test_off_for_a_request_without_drafts(self, room: MtpRoom) -> None:
        _, done = run(room, task(0, drafts=False))
        assert done.drafted_tokens == 0
        assert room.head.owner is None

    def test_off_while_a_prompt_is_only_warmed_up(self, room: MtpRoom) -> None:
        room.fresh(costs=EAGER, mtp=CHEAP)
        _, done = room.answer(task(0, max_tokens=0))
        assert done.output_tokens == 0
        assert room.head.owner is None

    @pytest.mark.parametrize(
        ("costs", "mtp"),
        [
            (CostTable((1.0, 2.0, 3.0, 4.0), 0.05), CHEAP),
            (EAGER, MtpCosts(step=1.2, entry=0.0)),
            (CostTable((1.0,), 0.05), CHEAP),
        ],
    )
    def test_no_step_of_it_where_costs_say_that_it_cannot_pay(
        self, room: MtpRoom, costs: CostTable, mtp: MtpCosts
    ) -> None:
        assert not could_pay(costs, mtp)
        _, done = run(room, task(0), costs, mtp)
        assert done.mtp_drafted_tokens == 0
        assert room.head.owner is None

    def test_copies_are_drafted_from_the_prompt(self, room: MtpRoom) -> None:
        request = chat(
            SOURCE + "Write the code above once more.\n", "def step_0(value, other):\n", max_tokens=120
        )
        _, done = run(room, request)
        assert done.accepted_tokens > 60
        assert done.mtp_drafted_tokens < done.drafted_tokens / 2

    def test_what_is_read_of_the_prompt_is_worth_a_step(self, room: MtpRoom) -> None:
        """Where reading is dear, less of it is read."""
        for entry, window in ((0.0, 256), (0.01, 100), (0.05, 20), (0.5, 16)):
            machine = room.fresh(costs=EAGER, mtp=MtpCosts(0.02, entry))
            assert machine.mtp is not None
            assert machine.mtp.window == window

    def test_the_record_tells_what_was_right(self, room: MtpRoom) -> None:
        _, done = run(room, task(0))
        mtp = room.machine.mtp
        assert mtp is not None
        assert (mtp.record.drafted, mtp.record.accepted) == (
            done.mtp_drafted_tokens,
            done.mtp_accepted_tokens,
        )
        assert mtp.record.told.startswith("on; ")
