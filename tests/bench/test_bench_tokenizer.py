"""The bench of the tokenizer runs, small; no time is looked at."""

from pathlib import Path

import pytest

from glm_lsp.core import profiles
from tests.bench import bench_tokenizer

HERE = Path(__file__).parent


@pytest.mark.bench
@pytest.mark.embedded
def test_it_measures_what_it_says() -> None:
    llama = pytest.importorskip("llama_cpp.llama_cpp", reason="llama-cpp-python is not installed")
    files = sorted(HERE.glob("*.py"))[:12]
    found = bench_tokenizer.measure(llama, Path(profiles.load("nano").gguf_path), files, 1, 2000)
    rows = {row.what: row for row in found}
    assert rows["Files cut as llama.cpp cuts them"].met
    assert any(what.startswith("A pack of 2,") for what in rows)
    assert all(row.figure for row in found)
