"""On vocabularies of real models, and on source that others wrote, we cut as llama.cpp cuts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.engines.pretypes import PRE_TYPES
from glm_lsp.engines.tokenizers import GgufTokenizer, from_file
from tests.bench import vocabularies
from tests.bench.vocabularies import Encode, Missing

pytestmark = [pytest.mark.embedded, pytest.mark.slow]

CASES = (
    *(("qwen2", "qwen2"), ("qwen2", "glm4"), ("qwen2", "glm5"), ("qwen2", "chatglm-bpe")),
    *(("qwen2", "deepseek-r1-qwen"), ("qwen2", "deepseek-v3"), ("llama-bpe", "llama-bpe")),
    *(("qwen35", "qwen35"), ("deepseek-coder", "deepseek-coder")),
)
"""Vocabulary, and the way to cut that is put upon it."""

# What no table of Unicode has given a meaning to yet is cut as each library's age has it.
characters = st.characters(exclude_categories=["Cs", "Cn"])
odd = st.sampled_from(
    [
        *(
            "def ",
            "x",
            "1234567",
            "\n",
            "    ",
            "\t",
            "'s",
            " ",
            "é",
            "数",
            "数据结构",
            "🎉",
            "👩\u200d👧",
            "_",
        ),
        *("):", "\r\n", "\r", "I'LL", "’", "\u00a0", "\u3000", "\x85", "\x00", "\x1b[0m", "\x7f", "\u200b"),
        *("½", "٣", "e\u0301", "हिन्दी", "한국어", "/", "//", " \n", "\n\n", '"""', "$", "+", "ﬁ", "\ufeff"),
        *("\ufffd", " " * 300, "\t" * 70, "\n" * 40, "<|user|>", "<think>", "<|endoftext|>", "<|im_start|>"),
        *("[gMASK]", "<｜begin▁of▁sentence｜>"),
    ]
)
texts = st.one_of(
    st.text(characters, max_size=80),
    st.lists(odd, max_size=30).map("".join),
    st.binary(max_size=80).map(lambda data: data.decode("utf-8", "replace")),
    st.lists(odd | st.text(characters, max_size=6), max_size=12).map("".join),
)
segments = st.tuples(st.sampled_from("#/x1\"'({<-$_"), texts).map(lambda parts: f"{parts[0]}{parts[1]}\n")


@dataclass(frozen=True)
class Pair:
    """The same vocabulary, twice."""

    ours: GgufTokenizer
    theirs: Encode
    additions: re.Pattern[str]
    """Ordinary additions, which llama.cpp finds in text and we never do."""

    def check(self, text: str) -> None:
        if self.additions.search(text):
            return
        ids = self.theirs(text)
        assert self.ours.encode(text) == ids
        assert self.ours.count(text) == len(ids)
        assert b"".join(self.ours.pieces(text)) == text.encode()


@pytest.fixture(scope="module", params=CASES, ids="-as-".join)
def pair(
    request: pytest.FixtureRequest, llama: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    name, pre = request.param
    try:
        path = vocabularies.vocabulary(f"ggml-vocab-{name}.gguf")
        path = vocabularies.relabelled(path, pre, tmp_path_factory.mktemp("vocab") / f"{pre}.gguf")
        encode, free = vocabularies.encoder(llama, path)
    except Missing as missing:
        pytest.skip(str(missing))
    ours = from_file(path)
    assert isinstance(ours, GgufTokenizer)
    plain = [text for text in ours.special if text and ours.encode(text) != encode(text)]
    yield Pair(ours, encode, re.compile("|".join(map(re.escape, plain)) or "$^"))
    free()


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(texts)
def test_any_text(pair: Pair, text: str) -> None:
    pair.check(text)


def test_source_in_many_languages(pair: Pair) -> None:
    files = vocabularies.sources(each=2)
    assert len({path.suffix for path in files}) >= 15
    for path in files:
        pair.check(path.read_bytes().decode("utf-8", "replace"))


def test_what_begins_like_a_special_token_is_only_text(pair: Pair) -> None:
    for token in list(pair.ours.special)[:40]:
        for text in (token[:-1], f"{token[:-1]} {token[-1:]}", f"a{token[1:]}", token * 2):
            pair.check(text)
        assert not set(pair.ours.encode(token)) & set(pair.ours.special.values())


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(segments, min_size=2, max_size=4))
def test_segments_add_up(pair: Pair, parts: list[str]) -> None:
    whole = "".join(parts)
    if not pair.additions.search(whole):
        assert sum(map(pair.ours.count, parts)) == len(pair.theirs(whole))


def test_long_runs(pair: Pair) -> None:
    for text in (" " * 5000, "\n" * 5000, "a" * 5000, "=" * 5000, "数" * 2000, "\u00a0 " * 2000, "0" * 5000):
        pair.check(text)


def test_every_way_to_cut_is_checked() -> None:
    assert {pre for _, pre in CASES} == set(PRE_TYPES)


def test_a_tokenizer_json_cuts_as_its_gguf(tmp_path: Path) -> None:
    try:
        gguf = from_file(vocabularies.vocabulary())
    except Missing as missing:
        pytest.skip(str(missing))
    path = tmp_path / "tokenizer.json"
    path.write_text(gguf._bpe.to_str(), encoding="utf-8")
    found = from_file(path)
    for file in vocabularies.sources(each=1):
        text = file.read_bytes().decode("utf-8", "replace")
        assert found.encode(text) == gguf.encode(text)
        assert found.count(text) == gguf.count(text)
