"""A model larger than memory: run from the disk where it is mapped, and what that costs is told before."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import BATCH, NANO, feed_all, load_of, some_tokens
from test_placement import GB, KV_BYTES, LARGE, PLACEMENT

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.frames import Load
from glm_lsp.engines.probe import MachineFacts, ModelFacts, model_facts
from glm_lsp.engines.worker.memory import needs
from glm_lsp.engines.worker.paging import Paging, paging, read_bytes_s, sentence
from glm_lsp.engines.worker.placement import Placement, plan

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
EXPERTS = replace(LARGE, experts=256, experts_used=8)
HOST = needs(EXPERTS, PLACEMENT, KV_BYTES)[0]
FIRM = HOST.kv + HOST.buffers
DENSE = HOST.weights - 225 * GB


class TestCost:
    def check(
        self, room: int, expected: Paging | None, facts: ModelFacts = EXPERTS, **changes: object
    ) -> None:
        """With so much memory left for weights."""
        placement = replace(PLACEMENT, **changes)  # type: ignore[arg-type]
        assert paging(facts, placement, HOST, FIRM + room) == expected

    def test_what_finds_room_costs_nothing(self) -> None:
        self.check(HOST.weights, None)

    def test_experts_are_read_as_they_are_missing(self) -> None:
        """Two thirds of the experts find no room: two thirds of the eight that a token uses are read."""
        self.check(DENSE + 75 * GB, Paging(int(225 * GB / 32 * (2 / 3)), 150 * GB))

    def test_without_room_for_what_each_token_needs_all_of_it_is_read(self) -> None:
        self.check(DENSE - 1, Paging(int(DENSE + 225 * GB / 32), HOST.weights))

    def test_a_model_without_experts_is_read_as_a_whole(self) -> None:
        dense = replace(LARGE, tensors=tuple(replace(t, name="output.weight") for t in LARGE.tensors))
        self.check(GB, Paging(HOST.weights, HOST.weights), dense)

    @pytest.mark.parametrize("change", [{"mmap": False}, {"mlock": True}], ids=["read", "locked"])
    def test_only_mapped_weights_are_read_again(self, change: dict[str, bool]) -> None:
        self.check(DENSE, None, **change)

    def test_the_sentence_has_bytes_and_seconds(self) -> None:
        told = sentence(Paging(4 * GB, 150 * GB), HOST, 90 * GB, 256, 2e9)
        assert "90.0 GB are free" in told
        assert "at the 2.0 GB/s that it gives here" in told
        assert "4.0 GB (2.0 s) for each token that is written" in told
        assert "up to 150.0 GB (75.0 s) for each 256 tokens of a prompt" in told
        assert " s)" not in sentence(Paging(4 * GB, 150 * GB), HOST, 90 * GB, 256, 0.0)

    def test_the_facts_are_the_file_s(self) -> None:
        facts = model_facts(NANO.gguf_path)
        assert facts.experts > facts.experts_used > 0


class TestSpeed:
    def test_a_file_on_a_disk_is_measured(self, tmp_path: Path) -> None:
        path = tmp_path / "weights"
        path.write_bytes(os.urandom(8 << 20))
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECT))
        except (OSError, AttributeError) as error:
            pytest.skip(f"nothing can be read past the cache here: {error}")
        assert read_bytes_s(path) > 0

    @pytest.mark.parametrize("make", [lambda _: None, lambda p: p.mkdir()], ids=["missing", "directory"])
    def test_what_cannot_be_measured_is_not_known(self, make: Callable[[Path], None], tmp_path: Path) -> None:
        make(tmp_path / "x")
        assert read_bytes_s(tmp_path / "x") == 0.0


@pytest.mark.embedded
class TestLoading:
    """With the real model; only how much memory is free is said by the test."""

    def free(self, load: Load, room: int) -> Callable[[], MachineFacts]:
        """So much for weights beside the KV cache and its buffers."""
        facts = model_facts(load.path)
        placement: Placement = plan(load, facts, 1)
        host, _ = needs(facts, placement, facts.kv_bytes_f16)
        return lambda: MachineFacts(64 * GB, host.kv + host.buffers + room, 1)

    def test_one_that_is_mapped_runs_and_tells_what_it_costs(self) -> None:
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

        answers: list[np.ndarray] = []
        for room in (1 << 20, GB):
            loaded = open_model(load_of(), machine=self.free(load_of(), room))
            feed_all(loaded.context.sequence(), some_tokens(BATCH))
            answers.append(loaded.context.logits().copy())
            (*told,) = (note for note in loaded.notes if "again and again" in note)
            loaded.close()
            if room < GB:
                assert len(told) == 1
                assert re.search(r"about [\d.]+ MB .*for each token that is written, up to [\d.]+ M", told[0])
            else:
                assert told == []
        assert np.array_equal(*answers)

    @pytest.mark.parametrize("change", [{"mmap": False}, {"mlock": True}], ids=["read", "locked"])
    def test_one_that_must_be_in_memory_is_refused(self, change: dict[str, bool]) -> None:
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

        remedy = r"run it slowly from the disk \(model\.mmap = true, model\.mlock = false\)"
        with pytest.raises(ConfigError, match=remedy):
            open_model(load_of(**change), machine=self.free(load_of(**change), 1 << 20))

    def test_a_cache_that_finds_no_room_is_refused_all_the_same(self) -> None:
        pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
        from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

        with pytest.raises(ConfigError, match=r"are free\. Lower model\.kv_tokens .*, or end") as caught:
            open_model(load_of(), machine=self.free(load_of(), -1))
        assert "mmap" not in str(caught.value)
