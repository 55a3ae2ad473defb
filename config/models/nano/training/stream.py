"""The training stream: what each step reads, a function of a seed and a position, so that a run can resume.

An epoch cuts every file into pieces and shuffles them; a slice is every sixteenth piece, written partly as
plain code, partly as fill-in-the-middle, and in the second stage joined by the product's own prompts
(`prompts.py`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from corpus import SPECIAL_IDS, Source
from numpy.typing import NDArray
from spans import Coded, Sample, Span, encode, special
from tokenizers import Tokenizer

SLICES = 16
END = SPECIAL_IDS["<|endoftext|>"]
REQUESTS = 230
"""Of the product's own, in each slice of the second stage."""
ASKED_LENGTHS = (1152, 2304)
"""Rows of requests; most fit the shorter ones, which cost half as much per token."""
_FIM_SHARE = 0.5
_TEST_SHARE = 0.5
"""Chance of a test file to take part in an epoch: the tests are two thirds of the text."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of `length + 1` tokens."""

    ids: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def tokens(self) -> int:
        return self.ids.shape[0] * (self.ids.shape[1] - 1)


def pieces(sources: list[Source], seed: int) -> list[tuple[int, int, int]]:
    """One epoch in order: (file, first character, end). Different cuts and test files in each."""
    rng = random.Random(seed)
    found: list[tuple[int, int, int]] = []
    for number, source in enumerate(sources):
        if source.test and rng.random() >= _TEST_SHARE:
            continue
        start = 0
        while start < len(source.text):
            end = start + rng.randint(2000, 12_000)
            found.append((number, start, end))
            start = end
    rng.shuffle(found)
    return found


def code_samples(
    sources: list[Source], chosen: list[tuple[int, int, int]], rng: random.Random
) -> list[Sample]:
    """Each piece once: as it stands, or as one or more gaps to fill with a little more text around."""
    samples: list[Sample] = []
    for number, start, end in chosen:
        text = sources[number].text
        piece = text[start:end]
        if rng.random() >= _FIM_SHARE:
            samples.append((Span(piece), special("<|endoftext|>")))
            continue
        around = text[max(0, start - 1000) : end + 1000]
        gaps = (cut_gap(around, rng) for _ in range(max(1, len(piece) // 2900)))
        samples.extend(gap for gap in gaps if gap)
    rng.shuffle(samples)
    return samples


def cut_gap(text: str, rng: random.Random) -> Sample | None:
    """Prefix, suffix, middle of a window of `text`: the middle is lines, a line's rest, or a few words."""
    size = rng.randint(800, 5000)
    first = rng.randrange(max(1, len(text) - size))
    window = text[first : first + size]
    lines = [i + 1 for i, character in enumerate(window) if character == "\n"]
    if len(lines) < 8:
        return None
    line, kind = rng.randrange(1, len(lines) - 2), rng.random()
    if kind < 0.3:
        start, end = lines[line], lines[min(len(lines) - 1, line + rng.randint(1, 5))]
    elif kind < 0.85:
        start = rng.randint(lines[line], lines[line + 1] - 1)
        end = lines[min(len(lines) - 1, line + rng.choice((1, 1, 1, 1, 2, 3)))] - 1
    else:
        start = rng.randrange(len(window) - 1)
        end = min(len(window), start + rng.randint(1, 200))
    if end <= start:
        return None
    return (
        special("<|code_prefix|>", 0.0),
        Span(window[:start]),
        special("<|code_suffix|>", 0.0),
        Span(window[end:]),
        special("<|code_middle|>", 0.0),
        Span(window[start:end]),
        special("<|endoftext|>"),
    )


def flat_rows(coded: list[Coded], length: int) -> list[Coded]:
    """Everything in one line, cut into rows; the remainder is left out."""
    if not coded:
        return []
    ids, weights = np.concatenate([c.ids for c in coded]), np.concatenate([c.weights for c in coded])
    starts = range(0, len(ids) - length, length)
    return [Coded(ids[s : s + length + 1], weights[s : s + length + 1]) for s in starts]


def packed_rows(coded: list[Coded], lengths: tuple[int, int]) -> dict[int, list[Coded]]:
    """Whole samples, by length of row: what is too long for the short rows opens a long one, all others fill
    up what is open, then short ones. Padding does not count; samples too long for any row are left out."""
    short, long = lengths
    rows: list[tuple[int, list[Coded]]] = [(long, [c]) for c in coded if short + 1 < len(c.ids) <= long + 1]
    room = [size + 1 - len(row[0].ids) for size, row in rows]
    for sample in (c for c in coded if len(c.ids) <= short + 1):
        size = len(sample.ids)
        place = next((i for i, left in enumerate(room) if left >= size), len(rows))
        if place == len(rows):
            rows.append((short, []))
            room.append(short + 1)
        rows[place][1].append(sample)
        room[place] -= size
    found: dict[int, list[Coded]] = {short: [], long: []}
    for (size, row), left in zip(rows, room, strict=True):
        ids = np.concatenate([*(c.ids for c in row), np.full(left, END, np.uint16)])
        weights = np.concatenate([*(c.weights for c in row), np.zeros(left, np.float16)])
        found[size].append(Coded(ids, weights))
    return found


def batches(rows: list[Coded], length: int, tokens: int, rng: random.Random) -> Iterator[Batch]:
    """Shuffle rows of one length into batches of about `tokens` tokens; an even number, for two workers."""
    rng.shuffle(rows)
    count = 2 * max(1, round(tokens / length / 2))
    for start in range(0, len(rows) - count + 1, count):
        part = rows[start : start + count]
        ids = np.stack([r.ids for r in part]).astype(np.int64)
        yield Batch(ids, np.stack([r.weights for r in part]).astype(np.float32))


Exchange = Callable[[list[Coded]], list[list[Coded]]]
"""Gives what every worker made of its part, in the order of the workers."""


class Stream:
    """Slices in order. `build` gives the same on every run, whatever the number of workers."""

    def __init__(self, sources: list[Source], tokenizer: Tokenizer, seed: int, run: Path) -> None:
        self.sources, self.tokenizer, self.seed, self.run = sources, tokenizer, seed, run
        self._epoch = -1
        self._pieces: list[tuple[int, int, int]] = []
        self._asker: Callable[[str], Sample | None] | None = None

    def build(
        self, number: int, stage: int, length: int, tokens: int, workers: tuple[int, int], exchange: Exchange
    ) -> list[Batch]:
        """The batches of slice `number` of all epochs, plain code in rows of `length` tokens.

        `workers` is this one's number, and how many there are.
        """
        epoch, part = divmod(number, SLICES)
        if epoch != self._epoch:
            self._epoch, self._pieces = epoch, pieces(self.sources, self.seed * 1000 + epoch)
        rng = random.Random(f"{self.seed}/{number}/{stage}")
        code = code_samples(self.sources, self._pieces[part::SLICES], rng)
        found = list(batches(flat_rows(encode(self.tokenizer, code), length), length, tokens, rng))
        if stage == 2:
            rank, count = workers
            made = [self._ask(f"{self.seed}/{number}/{i}") for i in range(REQUESTS) if i % count == rank]
            parts = exchange(encode(self.tokenizer, [sample for sample in made if sample]))
            asked = sorted((coded for part in parts for coded in part), key=lambda c: c.ids.tobytes())
            rng.shuffle(asked)
            for size, rows in packed_rows(asked, ASKED_LENGTHS).items():
                found += batches(rows, size, tokens, rng)
            rng.shuffle(found)
        return found

    def _ask(self, seed: str) -> Sample | None:
        if self._asker is None:  # the first stage runs without the product's prompts
            from prompts import load_library, request  # noqa: PLC0415

            library = load_library(self.sources, self.tokenizer, self.run / "outlines.pickle")
            self._asker = lambda s: request(library, s)
        return self._asker(seed)
