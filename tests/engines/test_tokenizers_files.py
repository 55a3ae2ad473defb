"""A tokenizer comes from a file that somebody names: what is wrong with it is a sentence, never more."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.core import profiles
from glm_lsp.core.errors import UsageError
from glm_lsp.engines.pretypes import alphabet
from glm_lsp.engines.tokenizers import BpeTokenizer, from_file

NANO = Path(profiles.load("nano").gguf_path)
LETTERS = {letter: byte for byte, letter in enumerate(alphabet())}
SPLIT = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\s+"}, "behavior": "Isolated", "invert": False}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
CUTTERS = {"type": "Sequence", "pretokenizers": [SPLIT, BYTES]}


def written(folder: Path, model: Any = None, pre: Any = CUTTERS, **more: Any) -> Path:
    """A tokenizer.json: bytes, and one merge."""
    default = {"type": "BPE", "vocab": {**LETTERS, "ab": 256}, "merges": ["a b"]}
    content = {"model": default if model is None else model, "pre_tokenizer": pre, **more}
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def model(**more: Any) -> dict[str, Any]:
    return {"type": "BPE", "vocab": {**LETTERS, "ab": 256}, "merges": ["a b"]} | more


def test_a_tokenizer_json_counts(tmp_path: Path) -> None:
    tokenizer = from_file(written(tmp_path))
    assert tokenizer.exact
    assert tokenizer.encode("abab c") == [256, 256, LETTERS["Ġ"], LETTERS["c"]]
    assert tokenizer.pieces("é") == [b"\xc3", b"\xa9"]
    assert tokenizer.count("") == 0


@pytest.mark.parametrize("merges", [["a b"], [["a", "b"]], ["a b", "ab zz", "q"]])
def test_merges_are_written_in_two_ways(tmp_path: Path, merges: Any) -> None:
    assert from_file(written(tmp_path, model(merges=merges))).count("ab") == 1


def test_nothing_is_taken_for_a_token_or_changed(tmp_path: Path) -> None:
    added = [
        {"id": 300, "content": "<|user|>", "special": True},
        {"id": 301, "content": "def", "special": False},
    ]
    more = {"added_tokens": added, "normalizer": {"type": "NFC"}, "truncation": {"max_length": 2}}
    tokenizer = from_file(written(tmp_path, **more, post_processor={"type": "anything"}))
    for text in ("<|user|>", "def", "e\u0301", "x" * 100):
        assert tokenizer.count(text) == len(text.encode())


def test_half_a_pair_is_counted_as_what_stands_in_its_place(tmp_path: Path) -> None:
    tokenizer = from_file(written(tmp_path))
    assert tokenizer.count("a\ud800b") == tokenizer.count("a\ufffdb")
    assert tokenizer.pieces("\ud83d\ude00") == tokenizer.pieces("\U0001f600")


CONTENTS = (
    ("", "is empty"),
    ("x", "neither a GGUF file nor a tokenizer.json"),
    ("[]", "neither a GGUF file nor a tokenizer.json"),
    ("{", "is no tokenizer.json of a BPE vocabulary"),
    ("{}", "holds no vocabulary"),
    ("\ufeff{}", "holds no vocabulary"),
    ('{"model": 3}', "is no tokenizer.json of a BPE vocabulary"),
    ('{"model": {"type": "Unigram", "vocab": [["a", 0.5]]}}', "is no tokenizer.json of a BPE vocabulary"),
    ('{"model": {"type": "WordPiece", "vocab": {"a": 0}}}', "another kind (WordPiece)"),
    ('{"model": {"vocab": {"a": 0}}}', "lacks 242 of the 243 bytes"),
    ('{"model": {"vocab": {"a": -1}}}', "is no tokenizer.json of a BPE vocabulary"),
    ('{"model": {"vocab": {"a": 99999999999}}}', "is no tokenizer.json of a BPE vocabulary"),
    ("{" + '"a":{' * 5000, "is no tokenizer.json of a BPE vocabulary"),
    ("GGUF", "damaged"),
    ("GGUF" + "\0" * 100, "The model file"),
)


@pytest.mark.parametrize(("content", "said"), CONTENTS, ids=range(len(CONTENTS)))
def test_a_file_of_another_kind_is_a_sentence(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "given"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        from_file(path)
    assert said in str(caught.value)
    assert str(caught.value).endswith(".")


# The library itself would end the process at the first of these.
ODD = (
    (model(continuing_subword_prefix="["), CUTTERS, "another kind"),
    (model(end_of_word_suffix="</w>"), CUTTERS, "another kind"),
    (model(dropout=0.5), CUTTERS, "another kind"),
    (model(), {"type": "Metaspace"}, "unknown pre-tokenizer: 'Metaspace'"),
    (model(), {**BYTES, "add_prefix_space": True}, "unknown pre-tokenizer: 'ByteLevel'"),
    (model(), {**SPLIT, "behavior": "Removed"}, "unknown pre-tokenizer: 'Split' Removed"),
    (model(), {**SPLIT, "pattern": {"Regex": "("}}, "cannot be used"),
    (model(), SPLIT, "changes the text|cannot be used"),
    (model(), None, "changes the text|cannot be used"),
)


@pytest.mark.parametrize(("given", "pre", "said"), ODD, ids=range(len(ODD)))
def test_a_vocabulary_that_is_not_bytes_is_a_sentence(
    tmp_path: Path, given: dict[str, Any], pre: Any, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        from_file(written(tmp_path, given, pre))


def test_no_file_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "none", "does not exist"), (tmp_path, "is a directory")):
        with pytest.raises(UsageError, match=said):
            from_file(path)
    with pytest.raises(UsageError, match="is not a regular file"):
        from_file(tmp_path / "pipe")


def test_a_vocabulary_alone_is_enough(tmp_path: Path) -> None:
    """A GGUF's head, without the weights behind it."""
    head = tmp_path / "head.gguf"
    head.write_bytes(NANO.read_bytes()[:1_000_000])
    assert isinstance(from_file(head), BpeTokenizer)
    assert from_file(head).encode("def f(x):\n") == from_file(NANO).encode("def f(x):\n")
