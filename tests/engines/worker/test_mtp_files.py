"""Model files with a layer that foretells tokens, or the promise of one: what cannot be run is left out, with
its reason, and never keeps a model from being loaded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from foretelling import DECLARED, LAYER, random_layer, room_of, write  # noqa: E402
from models import load_of, rewrite, some_tokens  # noqa: E402
from rooms import CODE, SOURCE, Room, chat  # noqa: E402

from glm_lsp.core.errors import ModelFileError  # noqa: E402
from glm_lsp.disk.store import Store  # noqa: E402
from glm_lsp.engines import probe  # noqa: E402
from glm_lsp.engines.worker import loading, mtp_costs  # noqa: E402
from glm_lsp.engines.worker.context import Rows  # noqa: E402
from glm_lsp.engines.worker.costs import CostTable  # noqa: E402
from glm_lsp.engines.worker.llama import extension  # noqa: E402
from glm_lsp.engines.worker.loading import Loaded, open_model  # noqa: E402
from glm_lsp.engines.worker.measuring import Scratch  # noqa: E402
from glm_lsp.engines.worker.mtp import layer_of  # noqa: E402
from glm_lsp.engines.worker.mtp_policy import MtpCosts  # noqa: E402
from glm_lsp.engines.worker.placement import Placement  # noqa: E402


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("whole") / "whole.gguf", random_layer())


def check_answers(path: Path, **options: object) -> Loaded:
    """It is loaded and evaluates tokens; closed again."""
    loaded = open_model(load_of(path=str(path), **options))
    sequence = loaded.context.sequence()
    sequence.feed(some_tokens(20), Rows.LAST)
    assert np.isfinite(loaded.context.logits()).all()
    loaded.close()
    return loaded


class TestLoaded:
    def test_with_drafts_the_layer_is_ready(self, whole: Path) -> None:
        assert probe.model_facts(whole).draft_layers == 1
        assert layer_of(probe.model_facts(whole)) == LAYER
        loaded = check_answers(whole)
        assert loaded.mtp is not None
        assert (loaded.mtp_unused, loaded.placement.mtp) == ("", True)

    @pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0"])
    def test_with_any_type_of_kv_cache(self, whole: Path, kv_type: str) -> None:
        room = room_of(whole, kv_type=kv_type)
        ids = some_tokens(40)
        states = room.states(ids)
        room.head.clear(None, 1)
        assert room.head.feed(ids[1:], states[:-1])
        guess, state = room.head.guess()
        assert 0 < guess.chance < 1
        assert np.isfinite(state).all()
        room.close()

    def test_without_drafts_it_takes_no_memory(self, whole: Path) -> None:
        loaded = check_answers(whole, drafts=False, mmap=False)
        with_it = check_answers(whole, mmap=False)
        assert loaded.mtp is None
        assert (loaded.mtp_unused, loaded.placement.mtp) == ("", False)
        assert sum(loaded.model.buffers.values()) < sum(with_it.model.buffers.values()) - (1 << 20)

    def test_where_it_is_known_not_to_pay_it_is_left_out(self, whole: Path) -> None:
        def unused(facts: probe.ModelFacts, placement: Placement) -> str:
            assert (facts.draft_layers, placement.mtp) == (1, True)
            return "it would not pay"

        loaded = open_model(load_of(path=str(whole)), mtp_unused=unused)
        assert loaded.mtp is None
        assert (loaded.mtp_unused, loaded.placement.mtp) == ("it would not pay", False)
        loaded.close()

    def test_a_model_without_one_says_nothing(self) -> None:
        loaded = open_model(load_of())
        assert (loaded.mtp, loaded.mtp_unused, loaded.notes) == (None, "", ())
        loaded.close()

    def test_memory_that_does_for_the_model_alone(self, whole: Path) -> None:
        facts = probe.model_facts(whole)
        layer = sum(t.end - t.start for t in facts.tensors if t.name.startswith(f"blk.{LAYER}."))
        for short, unused in ((0, "memory does not do"), (2 * layer, "")):
            free = _needed(whole) - layer // 2 + short
            loaded = open_model(
                load_of(path=str(whole), mmap=False),
                machine=lambda free=free: probe.MachineFacts(free, free, 1),
            )
            assert loaded.mtp_unused.startswith(unused)
            assert (loaded.mtp is None) is bool(unused)
            loaded.close()

    def test_bindings_that_lack_the_calls(self, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert extension() is not None
        monkeypatch.setattr("glm_lsp.engines.worker.mtp.extension", lambda: None)
        loaded = check_answers(whole)
        assert loaded.mtp is None
        assert "llama-cpp-python lacks the calls" in loaded.mtp_unused
        assert not loaded.placement.mtp


def _needed(path: Path) -> int:
    """Memory that is asked for with the layer."""
    facts = probe.model_facts(path)
    placement = Placement(1024, 2048, 64, 1, kv_type="f32", mtp=True)
    return loading.needs(facts, placement, facts.kv_bytes_f16)[0].total


class TestOthers:
    def test_one_that_is_declared_and_lacking(self, tmp_path: Path) -> None:
        """The model's file where the layer has one of its own."""
        rewrite(tmp_path / "trunk.gguf", metadata=DECLARED)
        assert probe.model_facts(tmp_path / "trunk.gguf").draft_layers == 0
        loaded = check_answers(tmp_path / "trunk.gguf")
        assert (loaded.mtp, loaded.mtp_unused) == (None, "")

    def test_one_of_another_kind(self, whole: Path) -> None:
        """What llama.cpp would run into an assertion with, or with another graph."""
        facts = probe.model_facts(whole)
        dense = tuple(t for t in facts.tensors if t.name != f"blk.{LAYER}.ffn_gate_inp.weight")
        for other in (
            replace(facts, architecture="deepseek2"),
            replace(facts, layers=LAYER + 2),
            replace(facts, tensors=dense),
            replace(facts, tensors=()),
        ):
            assert layer_of(other) == -1

    @pytest.mark.parametrize("drafts", [True, False])
    @pytest.mark.parametrize("part", ["ffn_norm.weight", "attn_k_b.weight", "nextn.enorm.weight"])
    def test_a_file_with_one_that_is_broken_is_refused_whether_it_is_wanted_or_not(
        self, tmp_path: Path, part: str, drafts: bool
    ) -> None:
        layer = random_layer()
        if part in layer:
            layer[part] = np.ones(128)
        path = write(tmp_path / "part.gguf", layer, without=(part,))
        with pytest.raises(ModelFileError, match=rf"blk\.{LAYER}\.{part}"):
            open_model(load_of(path=str(path), drafts=drafts))

    def test_memory_that_llama_cpp_is_refused_for_it(
        self, whole: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The model is loaded without it."""
        model, tried = loading.Model, list[bool]()

        def poor(path: Path, placement: Placement, *rest: object) -> object:
            tried.append(placement.mtp)
            if placement.mtp:
                raise ModelFileError("There is not enough memory for the model's weights.")
            return model(path, placement, *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(loading, "Model", poor)
        loaded = check_answers(whole)
        assert tried == [True, False]
        assert loaded.mtp is None
        assert "not enough memory for the model's weights" in loaded.mtp_unused

    def test_the_layer_alone_is_no_model(self, tmp_path: Path) -> None:
        def only(writer: object, tensor: object) -> None:
            name: str = tensor.name  # type: ignore[attr-defined]
            if not name.startswith("blk."):
                writer.add_tensor(name, tensor.data, raw_dtype=tensor.tensor_type)  # type: ignore[attr-defined]
            if name == "output_norm.weight":
                for part, value in random_layer().items():
                    writer.add_tensor(f"blk.{LAYER}.{part}", value.astype(np.float32))  # type: ignore[attr-defined]

        rewrite(tmp_path / "mtp.gguf", metadata=DECLARED, tensor=only)
        with pytest.raises(ModelFileError, match="holds only the layer that foretells tokens"):
            open_model(load_of(path=str(tmp_path / "mtp.gguf")))


class TestCosts:
    def test_they_are_measured_once_and_kept(self, whole: Path, tmp_path: Path) -> None:
        room = room_of(whole)
        store = Store(tmp_path / "store")
        kept = mtp_costs.Kept(store, "here")
        ids = room.machine.vocabulary.encode([(SOURCE, False)]).ids
        context = room.machine.context
        costs = CostTable((1.0, 1.1, 1.2))
        assert kept.read() is None
        found = mtp_costs.table(room.head, context, ids, costs, kept, processors=True)
        assert found is not None
        # A layer of seven, and the head; reading one more is cheaper than a guess.
        assert 0.02 < found.step < 1
        assert 0 <= found.entry < found.step
        assert kept.read() == mtp_costs.Known(found, pays=True)
        assert mtp_costs.table(room.head, context, ids, costs, kept, processors=True) == found
        assert mtp_costs.Kept(store, "elsewhere").read() is None
        assert context.used_cells == 0
        room.close()
        store.close()

    def test_a_damaged_one_is_none(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "store")
        kept = mtp_costs.Kept(store, "here")
        for costs in (MtpCosts(-1.0, 0.0), MtpCosts(float("nan"), 0.0), MtpCosts(0.1, float("inf"))):
            kept.write(mtp_costs.Known(costs, pays=True))
            assert kept.read() is None
        kept.write(mtp_costs.Known(MtpCosts(0.1, 0.0), pays=False))
        assert kept.read() == mtp_costs.Known(MtpCosts(0.1, 0.0), pays=False)
        store.close()

    def test_no_room_to_measure_in(self, whole: Path, tmp_path: Path) -> None:
        room = room_of(whole)
        store = Store(tmp_path / "store")
        kept = mtp_costs.Kept(store, "here")
        nothing = np.zeros(0, np.int32)
        table = CostTable((1.0, 1.1))
        assert mtp_costs.table(room.head, room.machine.context, nothing, table, kept, processors=True) is None
        assert kept.read() is None
        room.close()
        store.close()


def test_without_the_layer_answers_are_those_of_the_model_alone(whole: Path) -> None:
    """To the last bit: the file carries more, and nothing else is different."""
    answers: list[list[int]] = []
    for path in (None, whole):
        room = Room.open(**({"path": str(path), "drafts": False} if path else {}))
        generation = room.begin(chat(SOURCE, CODE, max_tokens=40))
        generation.finish()
        answers.append(generation.ids)
        room.close()
    assert answers[0] == answers[1]


def test_measuring_needs_no_more_than_a_scratch(whole: Path) -> None:
    room = room_of(whole)
    ids = room.machine.vocabulary.encode([(SOURCE, False)]).ids
    scratch = Scratch(room.machine.context, ids, processors=True)
    found = mtp_costs.measure(room.head, lambda: scratch.seconds(1), processors=True)
    assert found is not None
    assert room.head.owner is None
    assert room.head.end == 0
    scratch.close()
    room.close()
