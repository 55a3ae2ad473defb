"""From prompt pieces to token ids, and the sets of tokens that decoding asks for."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from glm_lsp.core.errors import ConfigError
from glm_lsp.core.template import END_TOKENS, SPECIAL_TOKENS
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker.forms import Marks

Ids = npt.NDArray[np.int32]

THINK, THINK_END = "<think>", "</think>"
_STRUCTURE = (
    *(*END_TOKENS, "[gMASK]", "<sop>", "<|system|>", "<|assistant|>"),
    *("<|code_prefix|>", "<|code_middle|>", "<|code_suffix|>"),
)
"""An answer that writes one of these has gone on to the next part of the conversation: it has ended."""
_KEPT_PIECES = 1024
_LONGEST_HEALED = 64
"""A longer last word (a run of spaces, a blob) is left as it is."""


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """`removed` is the text that was backed over for the model to write again."""

    ids: Ids
    removed: str = ""


class Vocabulary:
    """The tokens of one model. `piece` gives a token's bytes, `ends` tells the model's own end tokens."""

    def __init__(
        self, tokenizer: GgufTokenizer, piece: Callable[[int], bytes], ends: Callable[[int], bool]
    ) -> None:
        self._tokenizer = tokenizer
        self._piece = piece
        special = tokenizer.special
        self.think = special.get(THINK, -1)
        self.think_end = special.get(THINK_END, -1)
        self.special = frozenset(special.values())
        self.ends = frozenset(i for i in range(tokenizer.size) if ends(i))
        self.last = self.ends | {special[text] for text in _STRUCTURE if text in special}
        """An answer ends with any of these."""
        self._special_text = re.compile(
            "|".join(re.escape(t) for t in sorted(special, key=len, reverse=True)) or "$^"
        )
        self._encoded: OrderedDict[str, Ids] = OrderedDict()
        self._pieces: dict[int, bytes] = {}
        """Of the tokens that answers have had so far: no more than the vocabulary has."""

    @cached_property
    def marks(self) -> Marks:
        """What drafts go by in an answer's form."""
        return Marks(lambda token: self.piece(token).decode("utf-8", "replace"), self._tokenizer.encode)

    def encode(self, pieces: Sequence[tuple[str, bool]], heal: int = -1) -> EncodedPrompt:
        """Encode each piece by itself; piece `heal` without its last word, which becomes `removed`.

        Raises ConfigError if the model lacks a token that the template needs.
        """
        parts: list[Ids] = []
        removed = ""
        for at, (text, special) in enumerate(pieces):
            if special:
                parts.append(self._structure(text))
            elif at == heal:
                ids, removed = self._without_last_word(text)
                parts.append(ids)
            else:
                parts.append(self._text(text))
        return EncodedPrompt(np.concatenate(parts) if parts else np.zeros(0, np.int32), removed)

    def _text(self, text: str) -> Ids:
        """Segments come again and again: remember what they encode to."""
        if text in self._encoded:
            self._encoded.move_to_end(text)
            return self._encoded[text]
        ids = np.asarray(self._tokenizer.encode(text), np.int32)
        self._encoded[text] = ids
        if len(self._encoded) > _KEPT_PIECES:
            self._encoded.popitem(last=False)
        return ids

    def _without_last_word(self, text: str) -> tuple[Ids, str]:
        ids, word = self._tokenizer.split_word(text)
        if len(word.encode()) > _LONGEST_HEALED:
            return self._text(text), ""
        return np.asarray(ids, np.int32), word

    def _structure(self, text: str) -> Ids:
        """Encode the template's own text: special tokens by their text, the rest (newlines) as text."""
        ids: list[int] = []
        at = 0
        for match in self._special_text.finditer(text):
            ids += self._plain(text[at : match.start()])
            ids.append(self._tokenizer.special[match.group()])
            at = match.end()
        ids += self._plain(text[at:])
        return np.asarray(ids, np.int32)

    def _plain(self, text: str) -> list[int]:
        for token in SPECIAL_TOKENS:
            if token in text:
                raise ConfigError(
                    f"The model file has no token '{token}', which its template needs; "
                    "choose another model.profile."
                )
        return self._tokenizer.encode(text) if text else []

    def piece(self, token: int) -> bytes:
        """The bytes that a token adds to the text; special tokens add none, whatever the file calls them."""
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = b"" if token in self.special else self._piece(token)
        return found

    def continuing(self, start: bytes) -> Ids:
        """Return the tokens whose text begins with `start`, or with which `start` begins. Never empty."""
        texts, ids = self._sorted
        low = bisect_left(texts, start)
        high = bisect_left(texts, _after(start)) if _after(start) else len(texts)
        found = ids[low:high]
        shorter = [ids[at] for n in range(1, len(start)) if (at := self._at(start[:n])) >= 0]
        return np.asarray([*found, *shorter], np.int32)

    def _at(self, text: bytes) -> int:
        texts, _ = self._sorted
        at = bisect_left(texts, text)
        return at if at < len(texts) and texts[at] == text else -1

    @cached_property
    def _sorted(self) -> tuple[list[bytes], list[int]]:
        """All texts of ordinary tokens in order, with their ids. Built when the first word is healed."""
        pairs = sorted((self.piece(i), i) for i in range(self._tokenizer.size))
        pairs = [(text, i) for text, i in pairs if text]
        return [text for text, _ in pairs], [i for _, i in pairs]

    @cached_property
    def outside_grammars(self) -> Ids:
        """Special tokens that do not end the answer: a grammar over text would take them for their names."""
        return np.asarray(sorted(self.special - self.ends), np.int32)


def _after(start: bytes) -> bytes:
    """The least byte string above all that begin with `start`; empty if there is none."""
    stripped = start.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else b""
