"""Where weights and KV cache go: planned, checked before anything is taken, applied, and told."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from models import ENVIRONMENT, NANO, feed_all, load_of, some_tokens

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines import probe
from glm_lsp.engines.gguf import Tensor
from glm_lsp.engines.probe import MachineFacts, ModelFacts, model_facts
from glm_lsp.engines.worker.memory import check_gpu, check_host, first_gpu_layer, needs
from glm_lsp.engines.worker.placement import Placement, expert_layers, overrides, plan

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
GB = 10**9


def large() -> ModelFacts:
    """A model like GLM-5.2 in its proportions: 3 dense layers, 75 with experts, and the output."""

    def tensor(name: str, size: int) -> Tensor:
        return Tensor(name, (size,), "Q8_0", 0, size)

    tensors = [tensor("token_embd.weight", GB), tensor("output.weight", GB), tensor("output_norm.weight", 9)]
    for layer in range(78):
        tensors.append(tensor(f"blk.{layer}.attn_q_b.weight", GB // 10))
        if layer < 3:
            tensors.append(tensor(f"blk.{layer}.ffn_up.weight", GB // 10))
        else:
            tensors += [tensor(f"blk.{layer}.ffn_{part}_exps.weight", GB) for part in ("gate", "up", "down")]
    return ModelFacts(
        Path("x"), 1, 240 * GB, "", "glm-dsa", "Q8_0", 1_048_576, 78, 154_880, "glm4", tuple(tensors)
    )


LARGE = large()
KV_BYTES = 95_232
PLACEMENT = Placement(context_tokens=32_768, kv_tokens=65_536, batch_tokens=256, threads=8)


class TestPlan:
    def check(self, message: str, facts: ModelFacts = LARGE, **options: Any) -> None:
        load = load_of(context_tokens=32_768, kv_tokens=65_536, **options)
        with pytest.raises(ConfigError, match=message) as caught:
            plan(load, facts, cores=8)
        assert str(caught.value).endswith(".")

    def test_what_is_asked_for(self) -> None:
        load = load_of(context_tokens=32_768, kv_tokens=65_536, threads=0, gpu_layers=-1, mlock=True)
        placement = plan(load, LARGE, cores=8)
        assert (placement.threads, placement.batch_threads) == (8, 0)
        assert (placement.gpu_layers, placement.mlock, placement.mmap) == (-1, True, True)
        assert (placement.context_tokens, placement.kv_tokens) == (32_768, 65_536)

    def test_another_architecture(self) -> None:
        self.check("architecture 'glm-dsa', but the model profile is for 'llama'", architecture="llama")

    def test_more_context_than_was_trained(self) -> None:
        short = replace(LARGE, trained_context_tokens=8192)
        self.check(r"32,768, but the model was trained for 8,192", short)

    def test_an_unknown_type_of_cache(self) -> None:
        self.check("'q5_1' is unknown; choose one of f32, f16, q8_0, q4_0", kv_type="q5_1")

    def test_experts_where_there_are_none(self) -> None:
        dense = replace(LARGE, tensors=LARGE.tensors[:5])
        self.check("the model has no experts; set it to 0", dense, cpu_expert_layers=4)

    def test_an_expression_that_is_none(self) -> None:
        self.check(r"'attn_\(', which is no regular expression: ", tensor_overrides=("attn_(",))

    def test_an_expression_that_fits_nothing(self) -> None:
        patterns = ("attn_q", "atnn_q")
        self.check("'atnn_q', which fits none of the model's 309 tensors", tensor_overrides=patterns)

    def test_the_cache_holds_at_least_one_context(self) -> None:
        assert plan(load_of(context_tokens=4096, kv_tokens=0), LARGE, 1).kv_tokens == 4096


class TestOverrides:
    def test_the_last_layers_with_experts(self) -> None:
        assert expert_layers(LARGE.tensor_names) == tuple(range(3, 78))
        assert overrides(LARGE.tensor_names, 2, ("attn",)) == (
            r"blk\.(76|77)\.ffn_(up|down|gate|gate_up)_(ch|)exps",
            "attn",
        )

    @pytest.mark.parametrize(("count", "host"), [(0, 0), (1, 3), (10, 30), (75, 225), (500, 225), (-1, 225)])
    def test_weights_move_to_main_memory(self, count: int, host: int) -> None:
        kept = overrides(LARGE.tensor_names, count, ())
        main, gpu = needs(LARGE, replace(PLACEMENT, gpu_layers=-1, overrides=kept), KV_BYTES)
        assert main.weights == GB + host * GB  # token_embd is always there
        assert main.weights + gpu.weights == sum(t.end or 0 for t in LARGE.tensors)
        assert main.kv == 0 < gpu.kv


class TestMemory:
    @pytest.mark.parametrize(("layers", "first"), [(-1, 0), (0, 79), (1, 78), (2, 77), (79, 0), (999, 0)])
    def test_the_output_goes_first_then_the_last_layers(self, layers: int, first: int) -> None:
        assert first_gpu_layer(78, layers) == first

    def test_everything_in_main_memory(self) -> None:
        main, gpu = needs(LARGE, PLACEMENT, KV_BYTES)
        assert gpu.total == 0
        assert main.kv == KV_BYTES * 65_536
        with pytest.raises(ConfigError, match=r"needs 241\.\d GB of memory .*only 64\.0 GB are free"):
            check_host(main, 64 * GB)
        check_host(main, None)
        check_host(main, main.total)

    @pytest.mark.parametrize(
        ("kv_type", "share"), [("f32", 2), ("f16", 1), ("q8_0", 34 / 64), ("q4_0", 18 / 64)]
    )
    def test_the_cache_by_its_type(self, kv_type: str, share: float) -> None:
        main, _ = needs(LARGE, replace(PLACEMENT, kv_type=kv_type), KV_BYTES)
        assert main.kv == int(KV_BYTES * 65_536 * share)

    def test_a_gpu_that_has_less_left_than_planned(self) -> None:
        """The remedy that is named does fit."""
        whole = replace(PLACEMENT, gpu_layers=-1)
        check_gpu(LARGE, whole, KV_BYTES, 300 * GB)
        check_gpu(LARGE, whole, KV_BYTES, None)
        with pytest.raises(ConfigError, match=r"only 80\.0 GB are free now\. With model\.") as caught:
            check_gpu(LARGE, whole, KV_BYTES, 80 * GB)
        count = int(str(caught.value).partition("cpu_expert_layers = ")[2].split()[0])
        for layers, fits in ((count, True), (count - 1, False)):
            kept = overrides(LARGE.tensor_names, layers, ())
            need = needs(LARGE, replace(whole, overrides=kept), KV_BYTES)[1]
            assert (need.total <= 80 * GB) is fits

    def test_a_gpu_that_is_too_small_for_anything(self) -> None:
        with pytest.raises(ConfigError, match=r"are free now\. Lower model\.gpu_layers"):
            check_gpu(LARGE, replace(PLACEMENT, gpu_layers=-1), KV_BYTES, GB)


llama_cpp = pytest.importorskip(
    "llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'"
)

from glm_lsp.engines.worker import model as model_module  # noqa: E402
from glm_lsp.engines.worker.devices import Device, cpu_buffers, devices  # noqa: E402
from glm_lsp.engines.worker.llama import L  # noqa: E402
from glm_lsp.engines.worker.loading import open_model  # noqa: E402


@pytest.mark.embedded
class TestApplied:
    """The bundled model, placed in every way that a machine without a GPU can show."""

    def placed(self, **options: Any) -> Any:
        loaded = open_model(load_of(**options))
        loaded.close()
        return loaded

    def test_the_sentence(self) -> None:
        assert self.placed(kv_type="f16").sentence == (
            "Weights: 13.5 MB in main memory, mapped from the file. "
            "KV cache: 3.4 MB in main memory (2,048 tokens as f16). 1 thread."
        )

    def test_without_mapping(self) -> None:
        assert "13.5 MB in main memory. KV" in self.placed(mmap=False).sentence

    def test_threads_for_reading_and_writing(self) -> None:
        loaded = open_model(load_of(threads=1, batch_threads=2))
        assert "1 thread for writing and 2 for reading." in loaded.sentence
        handle = loaded.context._handle
        assert (L.llama_n_threads(handle), L.llama_n_threads_batch(handle)) == (1, 2)
        loaded.close()

    def test_experts_of_the_last_layers(self) -> None:
        loaded = self.placed(cpu_expert_layers=2)
        expected = {f"blk.{n}.ffn_{part}_exps.weight" for n in (4, 5) for part in ("gate", "up", "down")}
        assert set(loaded.model.overridden) == expected
        assert set(loaded.model.overridden.values()) == {"CPU"}

    def test_experts_of_all_layers_and_more_tensors(self) -> None:
        loaded = self.placed(cpu_expert_layers=-1, tensor_overrides=(r"blk\.0\.attn_output", "^output_norm"))
        layers = {name.split(".")[1] for name in loaded.model.overridden if "_exps" in name}
        assert layers == {"1", "2", "3", "4", "5"}
        assert {"blk.0.attn_output.weight", "output_norm.weight"} <= set(loaded.model.overridden)

    def test_where_the_two_kinds_of_expressions_differ(self) -> None:
        """What we take for one and llama.cpp does not is a sentence with the expression."""
        with pytest.raises(ConfigError, match=r"model\.tensor_overrides \('\(\?<!x\)blk'\)"):
            open_model(load_of(tensor_overrides=("(?<!x)blk",)))

    @pytest.mark.parametrize("kv_type", ["f16", "q8_0", "q4_0", "f32"])
    def test_every_type_of_cache_answers(self, kv_type: str) -> None:
        loaded = open_model(load_of(kv_type=kv_type))
        sequence = loaded.context.sequence()
        feed_all(sequence, some_tokens(70))
        assert loaded.context.logits().std() > 0
        assert any("q8_0 or f16" in note for note in loaded.notes) is (kv_type == "q4_0")
        assert f"as {kv_type})" in loaded.sentence
        # What was foretold is what was taken, but for the log's rounding.
        foretold = needs(loaded.facts, loaded.placement, loaded.facts.kv_bytes_f16)[0].kv
        assert sum(loaded.context.buffers.values()) == pytest.approx(foretold, rel=0.02)
        loaded.close()

    def test_no_gpu_here(self) -> None:
        with pytest.raises(ConfigError, match="sees no GPU"):
            open_model(load_of(gpu_layers=-1), gpus=tuple)

    def test_a_gpu_whose_memory_shrank_since_the_plan(self) -> None:
        """It is looked at once more directly before the load, and nothing is loaded."""
        asked: list[int] = []

        def shrunken() -> tuple[Device, ...]:
            asked.append(1)
            return (Device("GPU0", 5_000_000, 80 * GB),)

        with pytest.raises(ConfigError, match=r"only 5\.0 MB are free now"):
            open_model(load_of(gpu_layers=-1), gpus=shrunken)
        assert asked == [1]

    def test_memory_that_goes_while_the_weights_are_loaded(self) -> None:
        free = iter([64 * GB, 64 * GB, 1000])
        with pytest.raises(ConfigError, match=r"KV cache .* are free"):
            open_model(load_of(), machine=lambda: MachineFacts(64 * GB, next(free), 1))

    def test_a_cache_larger_than_what_is_free(self) -> None:
        with pytest.raises(ConfigError, match=r"needs .* of memory .*, but only 1\.0 MB are free"):
            open_model(load_of(), machine=lambda: MachineFacts(GB, 10**6, 1))

    def test_a_cache_larger_than_memory(self) -> None:
        free = probe.machine().free_bytes
        if free is None:
            pytest.skip("this system does not tell how much memory is free")
        with pytest.raises(ConfigError, match=r"KV cache .* Lower model\.kv_tokens"):
            open_model(load_of(kv_tokens=free // NANO.kv_bytes_per_token_f16, kv_bytes_per_token_f16=0))

    def test_parameters_for_a_gpu(self) -> None:
        kept = overrides(model_facts(NANO.gguf_path).tensor_names, 1, ())
        placement = replace(PLACEMENT, gpu_layers=-1, overrides=kept)
        params = model_module._parameters(placement)
        assert (params.n_gpu_layers, params.load_mode) == (-1, L.LLAMA_LOAD_MODE_AUTO)
        assert params.use_extra_bufts is False
        entries = model_module._overrides(kept)
        assert [(e.pattern, e.buffers) for e in entries] == [(kept[0].encode(), cpu_buffers()), (None, None)]

    @pytest.mark.parametrize(
        ("mmap", "mlock", "mode"),
        [(True, False, "MMAP"), (False, False, "NONE"), (True, True, "MMAP_MLOCK"), (False, True, "MLOCK")],
    )
    def test_ways_to_load(self, mmap: bool, mlock: bool, mode: str) -> None:
        params = model_module._parameters(replace(PLACEMENT, mmap=mmap, mlock=mlock))
        assert params.load_mode == getattr(L, f"LLAMA_LOAD_MODE_{mode}")

    @pytest.mark.parametrize(
        "said",
        [
            "load_tensors: unable to allocate CUDA0 buffer",
            "ggml_backend_cuda_buffer_type_alloc_buffer: cudaMalloc failed: out of memory",
            "alloc_tensor_range: failed to allocate Metal buffer of size 123",
        ],
    )
    def test_weights_that_the_gpu_has_no_memory_for(self, said: str) -> None:
        placement = replace(PLACEMENT, gpu_layers=-1)
        sentence = model_module._refusal(Path("alloc/x.gguf"), placement, f" llama.cpp says: {said}.")
        assert sentence.startswith("There is not enough memory for the model's weights")
        assert "Lower model.gpu_layers (or raise model.cpu_expert_layers)" in sentence
        assert said in sentence

    def test_any_other_refusal(self) -> None:
        sentence = model_module._refusal(Path("alloc/x.gguf"), PLACEMENT, " llama.cpp says: no such thing.")
        assert sentence == (
            "llama.cpp cannot load the model file alloc/x.gguf. llama.cpp says: no such thing."
        )

    def test_devices_can_be_asked_for(self) -> None:
        for device in devices():
            assert device.name
            assert 0 <= device.free_bytes <= device.total_bytes


UNLOCKABLE = """
import ctypes, os, resource, sys
CAP_IPC_LOCK, PR_CAPBSET_DROP = 14, 24
ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], sys.argv[2]])
"""
LOCK = """
import sys
sys.path.insert(0, sys.argv[1])
from models import load_of
from glm_lsp.engines.worker.loading import open_model
for mmap in (True, False):
    loaded = open_model(load_of(mlock=True, mmap=mmap))
    print(*loaded.notes)
    loaded.close()
"""


REFUSED = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from models import load_of
from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.worker.loading import open_model
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + (200 << 20),) * 2)
try:
    open_model(load_of(kv_tokens=131_072))
except ConfigError as error:
    print(error)
"""


def in_a_process(*arguments: str) -> list[str]:
    """Run Python with a right taken away; return the lines that it prints."""
    command = [sys.executable, "-c", *arguments, str(Path(__file__).parent)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.embedded
@pytest.mark.skipif(sys.platform != "linux", reason="takes away a right as Linux has it")
class TestRefused:
    def test_a_lock_that_the_system_refuses_is_a_note(self) -> None:
        notes = in_a_process(UNLOCKABLE, LOCK)
        assert len(notes) == 2
        for note in notes:
            assert "refuses to lock the weights in memory" in note
            assert "failed to mlock" in note
            assert "ulimit -l" in note

    def test_memory_that_the_system_refuses_is_a_sentence(self) -> None:
        """Though it was free when it was looked at."""
        (line,) = in_a_process(REFUSED)
        assert line.startswith("There is not enough memory for the KV cache and its buffers (131,072 tokens")
        assert "Lower model.kv_tokens" in line
