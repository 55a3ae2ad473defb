"""Read and write with a model file in llama.cpp, as the figures need it: greedily, token by token."""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from numpy.typing import NDArray
from spans import Sample, encode
from tokenizers import Tokenizer

Question = tuple[list[int], str]
"""The tokens before a place, and what stands there."""
LONGEST_LINE = 48
"""Tokens after which a line is given up."""


class Writer:
    """One loaded model file. `kinds` are ggml types of the cache; none: llama.cpp's own choice, f16."""

    def __init__(self, path: Path, tokenizer: Tokenizer, cache_type: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.model = llama_cpp.Llama(
            str(path),
            n_ctx=4096,
            n_threads=2,
            logits_all=True,
            verbose=False,
            type_k=cache_type,
            type_v=cache_type,
        )

    def logits(self, ids: list[int]) -> NDArray[np.float32]:
        """Of the token after each one."""
        self.model.reset()
        self.model.eval(ids)
        return self.model.scores[: len(ids)].copy()

    def answer(self, prompt: list[int], grammar: str, most_tokens: int, stop: list[str]) -> str:
        """What it writes greedily under a grammar."""
        found: Any = self.model.create_completion(
            prompt,
            max_tokens=most_tokens,
            temperature=0.0,
            repeat_penalty=1.0,
            stop=stop,
            grammar=llama_cpp.LlamaGrammar.from_string(grammar, verbose=False),
        )
        return str(found["choices"][0]["text"])

    def line(self, context: list[int]) -> str:
        """What the model writes greedily up to the end of the line."""
        self.model.reset()
        self.model.eval(context)
        ids: list[int] = []
        while len(ids) < LONGEST_LINE:
            best = int(self.model.scores[self.model.n_tokens - 1].argmax())
            if best >= self.tokenizer.get_vocab_size():
                break
            ids.append(best)
            text = self.tokenizer.decode(ids)
            if "\n" in text:
                return text.split("\n")[0]
            self.model.eval([best])
        return self.tokenizer.decode(ids)


def mean_nats(logits: NDArray[np.float32], ids: list[int]) -> float:
    """Mean over all tokens but the first."""
    rows = logits[:-1].astype(np.float64)
    top = rows.max(1, keepdims=True)
    total = np.log(np.exp(rows - top).sum(1)) + top[:, 0]
    return float((total - rows[np.arange(len(ids) - 1), ids[1:]]).mean())


def coded_ids(tokenizer: Tokenizer, sample: Sample) -> list[int]:
    return encode(tokenizer, [sample])[0].ids.tolist()


def exact(write: Callable[[list[int]], str], places: list[Question]) -> list[bool]:
    """Where what is written is what stood there, trailing blanks aside."""
    return [write(ids).rstrip() == text.rstrip() for ids, text in places]


def share(right: list[bool]) -> float:
    return round(sum(right) / len(right), 4)


def beside(ours: list[bool], theirs: list[bool]) -> dict[str, float]:
    """The places where one alone is right, and how likely so uneven a split is by chance (two-sided sign
    test, which for paired answers is McNemar's exact test)."""
    only = [sum(a and not b for a, b in zip(*pair, strict=True)) for pair in ((ours, theirs), (theirs, ours))]
    total = sum(only)
    tail = sum(comb(total, n) for n in range(max(only), total + 1)) / 2**total
    return {"nano_alone": only[0], "five_gram_alone": only[1], "chance": float(f"{min(1.0, 2 * tail):.2g}")}
