"""Answers of the bundled model with drafts: the same as without, but for choices within the noise."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from models import NANO, rewrite  # noqa: E402
from rooms import CODE, SOURCE, Room, chat  # noqa: E402

from glm_lsp.core.errors import UsageError  # noqa: E402
from glm_lsp.disk.store import Store  # noqa: E402
from glm_lsp.engines import probe  # noqa: E402
from glm_lsp.engines.frames import Done  # noqa: E402
from glm_lsp.engines.worker import measuring  # noqa: E402
from glm_lsp.engines.worker.costs import CostTable  # noqa: E402

EAGER = tuple(1 + 0.05 * k for k in range(64))
"""Where drafts cost next to nothing, many are made."""
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "sizes": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
        },
        "required": ["name", "sizes"],
    }
)
COPYING = SOURCE + "Write the code above once more.\n"


@pytest.fixture(scope="module")
def room() -> Iterator[Room]:
    room = Room.open()
    yield room
    room.close()


@pytest.fixture(scope="module")
def noise(room: Room, tmp_path_factory: pytest.TempPathFactory) -> float:
    text = room.machine.vocabulary.encode([(SOURCE, False)]).ids
    store = Store(tmp_path_factory.mktemp("costs") / "store")
    found = measuring.table(room.machine.context, text, store, "nano", processors=True).noise
    store.close()
    return found


def run(room: Room, ratios: tuple[float, ...], noise: float, **options: Any) -> tuple[list[int], Done]:
    room.fresh(costs=CostTable(ratios, noise))
    generation = room.begin(chat(COPYING, "def step_0(value, other):\n", **options))
    done = generation.finish()
    return generation.ids, done


class TestSame:
    def check(self, room: Room, noise: float, **options: Any) -> Done:
        """With and without drafts the same tokens, at least up to the first choice that is in doubt."""
        plain, _ = run(room, (), noise, **options)
        drafted, done = run(room, EAGER, noise, **options)
        assert done.drafted_tokens >= done.accepted_tokens
        if plain != drafted:
            assert done.near_ties > 0
            room.check_same(chat(COPYING, "def step_0(value, other):\n", **options), plain, drafted)
        return done

    def test_greedy(self, room: Room, noise: float) -> None:
        done = self.check(room, noise, max_tokens=120)
        assert done.accepted_tokens > 20

    @pytest.mark.parametrize("source", [CODE, SOURCE, "something that is never written\n"])
    def test_with_a_text_that_is_rewritten(self, room: Room, noise: float, source: str) -> None:
        self.check(room, noise, max_tokens=60, source=source)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_under_sampling(self, room: Room, noise: float, seed: int) -> None:
        """The same seed draws the same tokens: a draft is accepted where it is what would have been drawn."""
        plain, _ = run(room, (), noise, max_tokens=60, temperature=0.7, top_p=0.9, seed=seed)
        drafted, _ = run(room, EAGER, noise, max_tokens=60, temperature=0.7, top_p=0.9, seed=seed)
        same = next((n for n, (a, b) in enumerate(zip(plain, drafted, strict=False)) if a != b), len(plain))
        # A draw within the noise of a boundary is rare, but may happen.
        assert same > 10

    def test_under_a_grammar(self, room: Room, noise: float) -> None:
        self.check(room, noise, max_tokens=80, grammar=r'root ::= ([a-z_0-9 ()+*,:]+ "\n"){3} "\n"')

    def test_thinking(self, room: Room, noise: float) -> None:
        done = self.check(
            room, noise, max_tokens=30, think="<think>", thinking=True, reasoning_tokens=20, temperature=0.0
        )
        assert done.reasoning_tokens <= 20

    @pytest.mark.parametrize("stop", [("return",), ("ue * 1 + o", "other"), ("\n\n\n",)])
    def test_stop_strings(self, room: Room, noise: float, stop: tuple[str, ...]) -> None:
        self.check(room, noise, max_tokens=60, stop=stop)


class TestSchema:
    @pytest.mark.parametrize("ratios", [(), EAGER])
    @pytest.mark.parametrize("temperature", [0.0, 1.5])
    def test_what_comes_out_fits_it(
        self, room: Room, noise: float, ratios: tuple[float, ...], temperature: float
    ) -> None:
        room.fresh(costs=CostTable(ratios, noise))
        request = chat(COPYING, CODE, schema=SCHEMA, max_tokens=200, temperature=temperature, seed=5)
        text, done = room.answer(request)
        assert done.finish == "stop"
        value = json.loads(text)
        assert isinstance(value["name"], str)
        assert len(value["name"]) <= 12
        assert all(isinstance(n, int) for n in value["sizes"])

    @pytest.mark.parametrize(
        "options",
        [
            {"schema": SCHEMA, "grammar": 'root ::= "a"'},
            {"schema": '{"$ref": "#"}'},
            {"grammar": "root ::= root"},
            {"grammar": 'root ::= "a"{5,3}'},
        ],
    )
    def test_a_bad_one_is_refused_before_anything_is_evaluated(
        self, room: Room, options: dict[str, str]
    ) -> None:
        room.fresh()
        with pytest.raises(UsageError):
            room.begin(chat(SOURCE, CODE, **options))
        assert room.machine.context.used_cells == 0

    def test_a_grammar_that_comes_to_an_end_without_one(self, room: Room) -> None:
        """What it needs next is no token's text."""
        room.fresh()
        generation = room.begin(chat(SOURCE, CODE, grammar='root ::= "a" [\\U0010FFF0]{3}', max_tokens=20))
        try:
            generation.finish()
        except UsageError as error:
            assert "no text can follow" in str(error)


def test_the_noise_is_small_beside_what_the_model_prefers(room: Room, noise: float) -> None:
    ids = room.ids(chat(COPYING, CODE))
    logits = np.sort(room.logits_after(ids))
    assert 0 < noise < float(logits[-1] - np.median(logits)) / 20


def test_a_layer_that_foretells_tokens_is_told_of(tmp_path: Path) -> None:
    """Before anything is loaded; whether it is run, a worker says."""

    def with_a_layer(writer: Any, tensor: Any) -> None:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        if tensor.name == "output_norm.weight":
            writer.add_tensor("blk.6.nextn.eh_proj.weight", np.zeros((256, 512), np.float32))

    rewrite(tmp_path / "more.gguf", tensor=with_a_layer)
    assert probe.model_facts(tmp_path / "more.gguf").draft_layers == 1
    assert probe.model_facts(Path(NANO.gguf_path)).draft_layers == 0
