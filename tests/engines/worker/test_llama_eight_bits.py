"""Model files whose attention has eight bits, as published ones have, evaluate as the bundled one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import ENVIRONMENT, NANO, rewrite

pytestmark = pytest.mark.embedded
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")
pytest.importorskip("gguf", reason="gguf is not installed: pip install 'glm-lsp[dev]'")

# An assertion in llama.cpp ends its process, so each evaluation has one of its own.
EVALUATE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from models import feed_all, load_of
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import context
from glm_lsp.engines.worker.loading import open_model
path = sys.argv[2]
loaded = open_model(load_of(path=path, batch_tokens=512))
text = Path(context.__file__).read_text(encoding="utf-8")[:1500]
feed_all(loaded.context.sequence(), GgufTokenizer(path).encode(text)[:400], 512)
np.save(sys.argv[3], loaded.context.logits())
"""
EXACT = ("ffn_gate_inp", "indexer", "attn_k_b", "attn_v_b")


def in_eight_bits(writer: Any, tensor: Any) -> None:
    """All matrices but the router's, the indexer's and the stacked ones in Q8_0."""
    import gguf  # noqa: PLC0415

    q8 = gguf.GGMLQuantizationType.Q8_0
    data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    if data.ndim > 1 and not any(part in tensor.name for part in EXACT):
        writer.add_tensor(tensor.name, gguf.quants.quantize(data, q8), raw_dtype=q8)
    else:
        writer.add_tensor(tensor.name, np.ascontiguousarray(data, np.float32))


def logits(path: Path, where: Path) -> np.ndarray:
    command = [sys.executable, "-c", EVALUATE, str(Path(__file__).parent), str(path), str(where)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(where)


def test_a_file_of_eight_bits_gives_the_same_answer(tmp_path: Path) -> None:
    eight = tmp_path / "eight.gguf"
    rewrite(eight, tensor=in_eight_bits)
    ours, theirs = logits(Path(NANO.gguf_path), tmp_path / "a.npy"), logits(eight, tmp_path / "b.npy")
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95
