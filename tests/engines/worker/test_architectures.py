"""Models of other architectures: what writes text with attention alone works, all else is refused."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from models import BATCH, feed_all, load_of, rewrite, some_tokens
from other_models import WRITERS, write

from glm_lsp.core.errors import ConfigError

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")
pytest.importorskip("gguf", reason="gguf is not installed: pip install 'glm-lsp[dev]'")

from glm_lsp.engines.tokenizers import GgufTokenizer  # noqa: E402
from glm_lsp.engines.worker.context import Rows  # noqa: E402
from glm_lsp.engines.worker.loading import open_model  # noqa: E402

IDS = some_tokens(2 * BATCH)


@pytest.mark.parametrize("architecture", WRITERS)
def test_one_that_writes_is_cut_and_shared_like_ours(architecture: str, tmp_path: Path) -> None:
    """A sliding window too: what has left it is there again when the sequence is cut."""
    path = write(tmp_path / "other.gguf", architecture)
    loaded = open_model(load_of(path=str(path), architecture=architecture, kv_bytes_per_token_f16=0))
    sequence = loaded.context.sequence()
    feed_all(sequence, IDS)
    expected = loaded.context.logits().copy()
    sequence.cut(BATCH)
    sequence.feed(IDS[BATCH:], Rows.LAST)
    assert np.array_equal(loaded.context.logits(), expected)
    fork = sequence.fork(BATCH)
    fork.feed(IDS[BATCH:], Rows.LAST)
    assert np.array_equal(loaded.context.logits(), expected)
    loaded.close()


def check_refused(path: Path, architecture: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_model(load_of(path=str(path), architecture=architecture, kv_bytes_per_token_f16=0))
    assert str(caught.value).endswith(".")


def test_one_that_only_embeds_is_refused(tmp_path: Path) -> None:
    check_refused(write(tmp_path / "other.gguf", "bert"), "bert", "is for embeddings, not for writing text")


def test_one_for_another_profile_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    path = write(tmp_path / "other.gguf", "llama")
    check_refused(
        path, "glm-dsa", "is of architecture 'llama', but .* for 'glm-dsa'; set model.profile to one"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tokenizer.ggml.model", "llama", r"tokenizer of kind 'llama' .* known are byte-level BPE"),
        ("tokenizer.ggml.pre", "falcon", r"pre-tokenizer 'falcon'; known are .* glm4"),
    ],
)
def test_another_tokenizer_is_refused(key: str, value: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.gguf"
    rewrite(path, metadata={key: value})
    with pytest.raises(ConfigError, match=message):
        GgufTokenizer(path)
