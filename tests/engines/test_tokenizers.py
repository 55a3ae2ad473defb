"""The tokenizer that needs no weights counts what llama.cpp counts."""

import ctypes
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.errors import ConfigError
from glm_lsp.core.template import SPECIAL_TOKENS
from glm_lsp.engines.tokenizers import PRE_TYPES, ApproximateTokenizer, GgufTokenizer

pytestmark = pytest.mark.embedded
Encode = Callable[[str], list[int]]

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
FILES = sorted(p for name in ("json", "email", "asyncio", "encodings") for p in (LIBRARY / name).glob("*.py"))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
codelike = st.lists(
    st.sampled_from(
        ["def ", "x", "1234567", "\n", "    ", "\t", "'s", " ", "é", "数", "🎉", "_", "):", "\r\n", "I'LL"]
    )
).map("".join)


@pytest.fixture(scope="session")
def tokenizer(model_path: str) -> GgufTokenizer:
    return GgufTokenizer(model_path)


@pytest.fixture(scope="session")
def llama_encode(model_path: str, llama: Any) -> Iterator[Encode]:
    """llama.cpp's own tokenizer on the same file, without its weights."""
    params = llama.llama_model_default_params()
    params.vocab_only = True
    model = llama.llama_model_load_from_file(model_path.encode(), params)
    vocabulary = llama.llama_model_get_vocab(model)

    def encode(text: str) -> list[int]:
        data = text.encode()
        buffer = (ctypes.c_int32 * (len(data) + 8))()
        count = llama.llama_tokenize(vocabulary, data, len(data), buffer, len(buffer), False, False)
        return list(buffer[:count])

    yield encode
    llama.llama_model_free(model)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_equals_llama_cpp_on_source_files(path: Path, tokenizer: GgufTokenizer, llama_encode: Encode) -> None:
    text = path.read_text(encoding="utf-8")
    assert tokenizer.encode(text) == llama_encode(text)


@given(texts | codelike)
def test_equals_llama_cpp_on_any_text(tokenizer: GgufTokenizer, llama_encode: Encode, text: str) -> None:
    assert tokenizer.encode(text) == llama_encode(text)
    assert tokenizer.count(text) == tokenizer.count(text) == len(tokenizer.encode(text))


@given(texts | codelike)
def test_the_last_word_splits_off(tokenizer: GgufTokenizer, text: str) -> None:
    ids, word = tokenizer.split_word(text)
    assert text.endswith(word)
    assert tokenizer.encode(text)[: len(ids)] == ids
    assert tokenizer.encode(text)[len(ids) :] == tokenizer.encode(word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("    retu", " retu"),
        ("x = ", " "),
        ("", ""),
        ("self.na", ".na"),
        ("f(x):\n", "):\n"),
        ("a\n        ", "        "),
        ("12345", "45"),
    ],
)
def test_a_word_is_what_merges_never_cross(tokenizer: GgufTokenizer, text: str, word: str) -> None:
    assert tokenizer.split_word(text)[1] == word


def test_the_names_of_special_tokens_are_only_text(tokenizer: GgufTokenizer) -> None:
    for text in SPECIAL_TOKENS:
        assert text in tokenizer.special
        assert not set(tokenizer.encode(f"a {text}\n{text}")) & set(tokenizer.special.values())


def test_an_unknown_pre_tokenizer_is_a_sentence(model_path: str, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.gguf"
    foreign.write_bytes(Path(model_path).read_bytes().replace(b"glm4", b"abcd", 1))
    with pytest.raises(ConfigError, match="pre-tokenizer 'abcd'; known are") as caught:
        GgufTokenizer(foreign)
    assert all(name in str(caught.value) for name in PRE_TYPES)


def test_approximate_counts_are_never_too_low_on_source(tokenizer: GgufTokenizer) -> None:
    approximate = ApproximateTokenizer()
    assert not approximate.exact
    exact_sum = bound_sum = 0
    for path in FILES[::4]:
        text = path.read_text(encoding="utf-8")
        exact, bound = tokenizer.count(text), approximate.count(text)
        assert exact <= bound, path.name
        exact_sum, bound_sum = exact_sum + exact, bound_sum + bound
    assert bound_sum < 1.5 * exact_sum
