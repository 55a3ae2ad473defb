"""The random models that the benches measure with: as large as asked for, the same every time."""

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gguf", reason="gguf is not installed: pip install 'glm-lsp[dev]'")

from glm_lsp.engines.frames import Load
from glm_lsp.engines.probe import model_facts
from tests.bench.random_model import Shape, shape_of, tensors, write

TINY = Shape(
    **{"width": 256, "layers": 3, "dense_hidden": 512, "heads": 4, "query_rank": 128, "latent": 128},
    **{"rope": 32, "nope": 32, "value": 32, "experts": 8, "expert_hidden": 128, "indexer_width": 64},
    indexer_top_k=64,
)


@pytest.mark.parametrize("gb", [0.2, 1.0, 1.5, 2.0])
def test_the_size_that_is_asked_for(gb: float) -> None:
    shape = shape_of(gb)
    assert sum(tensor.bytes for tensor in tensors(shape)) == pytest.approx(gb * 1e9, rel=0.06)
    assert shape.layers >= 8
    assert shape.experts >= shape.experts_used


def test_the_same_bytes_every_time(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write(tmp_path / name, TINY, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c"]


@pytest.mark.embedded
def test_it_runs(tmp_path: Path) -> None:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'"
    )
    from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

    path = tmp_path / "random.gguf"
    write(path, TINY)
    facts = model_facts(path)
    assert facts.kv_bytes_f16 == TINY.kv_bytes_f16
    assert (facts.layers, facts.trained_context_tokens) == (3, 131_072)
    load = Load(
        path=str(path),
        architecture="glm-dsa",
        context_tokens=512,
        kv_tokens=1024,
        batch_tokens=64,
        kv_type="f16",
        kv_bytes_per_token_f16=TINY.kv_bytes_f16,
        threads=1,
    )
    loaded = open_model(load)
    assert sum(loaded.context.buffers.values()) == pytest.approx(TINY.kv_bytes_f16 * 1024, rel=0.05)
    sequence = loaded.context.sequence()
    for at in range(0, 192, 64):
        sequence.feed(np.arange(at, at + 64, dtype=np.int32))
    assert 0.3 < float(loaded.context.logits().std()) < 3
    loaded.close()
