"""Count tokens in the caller's process, without weights and without llama.cpp.

`GgufTokenizer` is built from a model file's own vocabulary and equals llama.cpp's, except that the text of a
special token is never taken for the token itself, not even for those that a file declares as ordinary
additions: text of a repository cannot forge structure. `ApproximateTokenizer` is a bound for engines that do
not say.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from glm_lsp.core.errors import ModelFileError
from glm_lsp.core.generation import Tokenizer
from glm_lsp.engines.gguf import GgufHead, read_head

_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_THREE_DIGITS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_ONE_DIGIT = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"


@dataclass(frozen=True, slots=True)
class PreType:
    """How text is split into words, and whether a word that is a token needs no merges."""

    pattern: str
    ignore_merges: bool


PRE_TYPES = {
    "glm4": PreType(_THREE_DIGITS, ignore_merges=True),
    "glm5": PreType(_THREE_DIGITS, ignore_merges=True),
    "chatglm-bpe": PreType(_THREE_DIGITS, ignore_merges=False),
    "llama-bpe": PreType(_THREE_DIGITS, ignore_merges=True),
    "qwen2": PreType(_ONE_DIGIT, ignore_merges=False),
}
"""By the file's `tokenizer.ggml.pre`."""

NORMAL = 1
"""Token type of what the merges make; all others are special tokens or the file's own additions."""
_KEPT = 65_536


class GgufTokenizer(Tokenizer):
    """The tokenizer of a model file, safe for several threads. Raises ModelFileError if it cannot be built.

    Building it takes about a second of processor time for a vocabulary of 155,000: do it in a thread.
    """

    def __init__(self, path: str | Path) -> None:
        head = read_head(Path(path))
        self._bpe = _build(head)
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._lock = threading.Lock()
        texts = head.texts("tokenizer.ggml.tokens")
        types = head.integers("tokenizer.ggml.token_type")
        self.size = len(texts)
        self.special = {t: i for i, t in enumerate(texts) if i < len(types) and types[i] != NORMAL}
        """Ids of the tokens that text never becomes, by their text."""

    @property
    def exact(self) -> bool:
        return True

    def count(self, text: str) -> int:
        with self._lock:
            if text in self._counts:
                self._counts.move_to_end(text)
                return self._counts[text]
        count = len(self.encode(text))
        with self._lock:
            self._counts[text] = count
            if len(self._counts) > _KEPT:
                self._counts.popitem(last=False)
        return count

    def encode(self, text: str) -> list[int]:
        """Return the token ids of `text`, special tokens not recognised."""
        return cast("list[int]", self._encoding(text).ids)

    def split_word(self, text: str) -> tuple[list[int], str]:
        """Return the ids of `text` without its last word, and that word. Merges never cross words."""
        encoding = self._encoding(text)
        ids, words = cast("list[int]", encoding.ids), cast("list[int | None]", encoding.word_ids)
        if not ids:
            return [], ""
        before = words.index(words[-1])
        return ids[:before], text[int(encoding.offsets[before][0]) :]

    def _encoding(self, text: str) -> Any:
        return self._bpe.encode(text, add_special_tokens=False)


class ApproximateTokenizer(Tokenizer):
    """A bound from the look of the text, for engines whose tokenizer is not at hand.

    The weights are fitted on the standard library's source against the bundled model's vocabulary of 8,192
    tokens; larger ones need fewer. On average a quarter too much is counted; of 1,700 files two (tables
    of signs) are counted low, by 2 and 9 %. `observe` raises the bound where an engine reports more.
    """

    def __init__(self) -> None:
        self._scale = 1.0

    @property
    def exact(self) -> bool:
        return False

    def count(self, text: str) -> int:
        if not text:
            return 0
        tokens = 2.0
        for match in _RUN.finditer(text):
            size = match.end() - match.start()
            match match.lastgroup:
                case "part":
                    tokens += 1.1 + 0.2 * max(size - 4, 0)
                case "digits":
                    tokens += 1.5 * size
                case "symbols":
                    tokens += 0.5 + 0.72 * (size - 1)
                case "other":
                    tokens += len(match.group().encode("utf-8", "replace"))
                case _:
                    tokens += 3.1
        return int(tokens * self._scale) + 1

    def observe(self, text_tokens: int, reported: int) -> None:
        """An engine reported `reported` tokens for text counted as `text_tokens`: learn upward only."""
        if text_tokens > 0 and reported > text_tokens:
            self._scale = min(self._scale * reported / text_tokens, _MOST_SCALE)


_MOST_SCALE = 4.0
"""More than this no vocabulary needs; a server that reports more is wrong."""
_RUN = re.compile(
    r"(?P<part>[A-Z]?[a-z]+|[A-Z]+)|(?P<digits>[0-9]+)|(?P<other>[^\x00-\x7f]+)"
    r"|(?P<symbols>[!-/:-@\[-`{-~\x00-\x08\x0e-\x1f\x7f]+)|(?P<space>[\n\r\v\f]\s*|[ \t]{2,})"
)


def _build(head: GgufHead) -> Any:
    model, pre = head.text("tokenizer.ggml.model"), head.text("tokenizer.ggml.pre")
    if model != "gpt2" or pre not in PRE_TYPES:
        raise ModelFileError(
            f"The model file {head.path} has a tokenizer of kind '{model}' with pre-tokenizer '{pre}'; "
            f"known are byte-level BPE ('gpt2') with {', '.join(PRE_TYPES)}."
        )
    texts = head.texts("tokenizer.ggml.tokens")
    types = head.integers("tokenizer.ggml.token_type")
    if not texts or len(types) != len(texts):
        raise ModelFileError(f"The model file {head.path} has no usable vocabulary; fetch it again.")
    vocabulary = {t: i for i, t in enumerate(texts) if types[i] == NORMAL}
    merges = [_halves(m) for m in head.texts("tokenizer.ggml.merges")]
    known = [m for m in merges if m[0] in vocabulary and m[1] in vocabulary and m[0] + m[1] in vocabulary]
    # By name: this module has the library's own, and its classes carry no types.
    library: Any = importlib.import_module("tokenizers")
    levels: Any = library.pre_tokenizers.ByteLevel
    if missing := sum(c not in vocabulary for c in levels.alphabet()):
        raise ModelFileError(f"The vocabulary of {head.path} lacks {missing} of the 256 byte tokens.")
    kind = PRE_TYPES[pre]
    model = library.models.BPE(vocab=vocabulary, merges=known, ignore_merges=kind.ignore_merges)
    bpe = library.Tokenizer(model)
    words = library.pre_tokenizers.Split(library.Regex(kind.pattern), behavior="isolated")
    as_bytes = levels(add_prefix_space=False, use_regex=False)
    bpe.pre_tokenizer = library.pre_tokenizers.Sequence([words, as_bytes])
    return bpe


def _halves(merge: str) -> tuple[str, str]:
    """A merge is written `left right`; a space can only be the separator, for no token text holds one."""
    left, _, right = merge.partition(" ")
    return left, right
