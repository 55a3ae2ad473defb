"""How vocabularies cut text into words before they merge, by the name that a model file gives its way.

Each pattern cuts what the one before left: matches and what stands between them are words of their own. The
patterns are llama.cpp's, less what only its own regular expressions need. By each of them a line that begins
with blanks and an ASCII graphic character begins a word, whatever stands above it: so the tokens of a
prompt's segments add up. A way to cut that breaks this rule (GPT-2's) does not belong here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CONTRACTIONS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_SPACE = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_REST = rf" ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACE}"
_THREE_DIGITS = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}|{_REST}"
_ONE_DIGIT = rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}|{_REST}"
_WITH_MARKS = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACE}"
)
_DEEPSEEK_V3 = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    rf"| ?[\p{{P}}\p{{S}}]+[\r\n]*|{_SPACE}"
)
_CJK = "[一-龥ࠀ-一가-퟿]+"


@dataclass(frozen=True, slots=True)
class PreType:
    """How text is split into words, and whether a word that is a token needs no merges."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False


PRE_TYPES: Mapping[str, PreType] = {
    "glm4": PreType((_THREE_DIGITS,), ignore_merges=True),
    "glm5": PreType((_THREE_DIGITS,), ignore_merges=True),
    "chatglm-bpe": PreType((_THREE_DIGITS,)),
    "llama-bpe": PreType((_THREE_DIGITS,), ignore_merges=True),
    "qwen2": PreType((_ONE_DIGIT,)),
    "deepseek-r1-qwen": PreType((_ONE_DIGIT,)),
    "qwen35": PreType((_WITH_MARKS,)),
    "deepseek-v3": PreType((r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", _DEEPSEEK_V3)),
    "deepseek-coder": PreType(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _CJK, r"\p{N}")),
}
"""By the file's `tokenizer.ggml.pre`."""
LINES = re.compile(r"(?<=\n)(?=[ \t]*[!-~])")
"""Where a line begins a word, whatever stands above it."""


def alphabet() -> list[str]:
    """The letter that stands for each byte in byte-level vocabularies: itself where it can be seen."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in set(seen)]
    letters = {byte: chr(byte) for byte in seen}
    return [letters.get(byte) or chr(256 + unseen.index(byte)) for byte in range(256)]
