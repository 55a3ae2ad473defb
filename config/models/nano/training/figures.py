"""Measure the model file in llama.cpp, beside the 5-gram.

`python figures.py RUN_DIRECTORY nano.gguf [figure ...]`; without names, all of them.

Writes `figures.json` beside the model; `card.py` puts it into the card. Everything is measured on files that
were held out; places are drawn with a fixed seed; text is written greedily, and nothing is selected.
"""

from __future__ import annotations

import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from corpus import SPECIAL_IDS, Source, load, load_tokenizer
from measure import Question, Writer, beside, coded_ids, exact, mean_nats, share
from ngram import Ints, KneserNey
from prompts import Library, completion_of, documentation_of, load_library
from tokenizers import Tokenizer

from glm_lsp.core.edits import apply_edits
from glm_lsp.features import docstring

END = SPECIAL_IDS["<|endoftext|>"]
WINDOW = 2048
EVERY = {"library": 1, "tests": 6}
"""One window of so many is read."""
LINES = {"library": 1000, "tests": 500}
LINE_CONTEXT = 1024
MOST_CHARACTERS = 8000
COMPLETIONS = 300
DOCSTRINGS = 200
SEEN_DOCSTRINGS = 80
"""The first of the draw: the grammar was made with an eye on these, so they are left out."""
SHOWN_EXAMPLES = 12
NAMES = {"library": False, "tests": True}
T = TypeVar("T")


def tokens_of(tokenizer: Tokenizer, sources: list[Source]) -> Ints:
    """Files one after the other, each closed by the end token."""
    encoded = tokenizer.encode_batch([s.text for s in sources], add_special_tokens=False)
    return np.concatenate([np.array([*e.ids, END], np.int64) for e in encoded])


@dataclass(frozen=True)
class Bench:
    """What is measured on, and the yardstick beside it, whose figures are kept in the run's directory."""

    run: Path
    tokenizer: Tokenizer
    training: list[Source]
    kept: list[Source]

    @cached_property
    def five_gram(self) -> KneserNey:
        return KneserNey(tokens_of(self.tokenizer, self.training))

    @cached_property
    def library(self) -> Library:
        return load_library([*self.training, *self.kept], self.tokenizer)

    def ids(self, text: str) -> list[int]:
        """The tokens of the end of a text, more than any context here holds."""
        return self.tokenizer.encode(text[-MOST_CHARACTERS:], add_special_tokens=False).ids

    def lines(self, places: list[Question]) -> Callable[[KneserNey], list[bool]]:
        return lambda yardstick: exact(lambda ids: yardstick.line(ids, self.tokenizer), places)

    def held(self, name: str) -> list[Source]:
        return [s for s in self.kept if s.test is NAMES[name]]

    def beside(self, name: str, measure: Callable[[KneserNey], T]) -> T:
        """A figure of the 5-gram, measured once."""
        file = self.run / "five_gram.json"
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if name not in known:
            known[name] = measure(self.five_gram)
            file.write_text(json.dumps(known), encoding="utf-8")
        return known[name]


def loss_figures(bench: Bench, writer: Writer) -> dict[str, Any]:
    """Nats per token over windows of 2,048 tokens, the same tokens for both."""
    found: dict[str, Any] = {}
    for name in NAMES:
        sources = bench.held(name)
        ids = tokens_of(bench.tokenizer, sources)
        starts = list(range(0, len(ids) - WINDOW, WINDOW * EVERY[name]))
        parts = [ids[s : s + WINDOW].tolist() for s in starts]
        ours = float(np.mean([mean_nats(writer.logits(part), part) for part in parts]))

        def measure(yardstick: KneserNey, ids: Ints = ids, starts: list[int] = starts) -> float:
            theirs = yardstick.surprisal(ids)  # from the fifth token on
            return float(np.mean([theirs[max(0, s - 3) : s + WINDOW - 4].mean() for s in starts]))

        bytes_per_token = sum(len(s.text.encode()) for s in sources) / len(ids)
        found[name] = {
            "tokens": len(starts) * (WINDOW - 1),
            "nano_nats_per_token": round(ours, 3),
            "five_gram_nats_per_token": round(bench.beside(f"loss, {name}", measure), 3),
            "nano_bits_per_byte": round(ours / float(np.log(2)) / bytes_per_token, 3),
        }
    return found


def line_figures(bench: Bench, writer: Writer) -> dict[str, Any]:
    """Whole next lines, written after the code before them, that are right to the last character."""
    rng, found = random.Random(11), dict[str, Any]()
    for name in NAMES:
        places: list[Question] = []
        while len(places) < LINES[name]:
            source, line, start = _draw(bench.held(name), rng)
            places.append((bench.ids(source.text[:start])[-LINE_CONTEXT:], line))
        ours, theirs = exact(writer.line, places), bench.beside(f"next line, {name}", bench.lines(places))
        found[name] = {
            "places": len(places),
            "nano_exact": share(ours),
            "five_gram_exact": share(theirs),
            **beside(ours, theirs),
        }
    return found


def completion_figures(bench: Bench, writer: Writer) -> dict[str, Any]:
    """The rest of a line, from its middle: asked by the product's prompt, or from the code before alone."""
    rng = random.Random(12)
    asked: list[Question] = []
    before: list[Question] = []
    sources = [s for s in bench.held("library") if s.path in bench.library.texts]
    while len(asked) < COMPLETIONS:
        source, line, start = _draw(sources, rng)
        if len(line.strip()) < 4:
            continue
        offsets = bench.tokenizer.encode(line, add_special_tokens=False).offsets
        at, end = start + rng.choice([begin for begin, _ in offsets]), start + len(line)
        sample = completion_of(bench.library, source, at, end, 2000, random.Random(at), joined=False)
        asked.append((coded_ids(bench.tokenizer, sample[:-2]), source.text[at:end]))
        before.append((bench.ids(source.text[:at])[-LINE_CONTEXT:], source.text[at:end]))
    ours, theirs = exact(writer.line, before), bench.beside("rest of line", bench.lines(before))
    return {
        "places": len(asked),
        "nano_exact_product_prompt": share(exact(writer.line, asked)),
        "nano_exact_code_before_only": share(ours),
        "five_gram_exact": share(theirs),
        **beside(ours, theirs),
    }


def docstring_figures(bench: Bench, writer: Writer) -> dict[str, Any]:
    """Sentences under the product's grammar: whether they parse in their place, and the words they share."""
    rng = random.Random(7)
    library = bench.library
    sources = [s for s in bench.held("library") if s.path in library.docstrings]
    places = [(s, d) for s in sources for d in library.docstrings[s.path]]
    rng.shuffle(places)
    ours: list[float] = []
    names: list[float] = []
    fits: list[bool] = []
    examples: list[dict[str, str]] = []
    for source, chosen in places[SEEN_DOCSTRINGS : SEEN_DOCSTRINGS + DOCSTRINGS]:
        asked = documentation_of(library, source, chosen, 600, random.Random(0))
        if asked is None:
            continue
        sample, gap, data = asked
        answer = writer.answer(
            coded_ids(bench.tokenizer, sample[:-3]),
            docstring.GRAMMAR,
            docstring.ANSWER_TOKENS,
            ['"""', "\n"],
        )
        text = docstring.sentence(answer)
        edits = [gap.edit(text)] if text else []
        after = apply_edits(data, edits)
        fits.append(bool(edits) and docstring.same_but_docstrings(data, after, edits, "python"))
        words = re.sub(r"[_.]|(?<=[a-z])(?=[A-Z])", " ", gap.name)
        ours.append(shared_words(text, chosen.sentence))
        names.append(shared_words(words, chosen.sentence))
        examples.append({"name": gap.name, "nano": text, "library": chosen.sentence})
    return {
        "places": len(ours),
        "fit_and_parse": round(float(np.mean(fits)), 3),
        "nano_word_f1": round(float(np.mean(ours)), 3),
        "name_word_f1": round(float(np.mean(names)), 3),
        "first_examples": examples[:SHOWN_EXAMPLES],
    }


def shared_words(left: str, right: str) -> float:
    """F1 of two bags of lower-case words."""
    a, b = (Counter(re.findall(r"\w+", text.lower())) for text in (left, right))
    both = sum((a & b).values())
    return 2 * both / (a.total() + b.total()) if both else 0.0


def _draw(sources: list[Source], rng: random.Random) -> tuple[Source, str, int]:
    """A line that is not blank, and the character where it starts; long files come more often."""
    while True:
        source = rng.choices(sources, [len(s.text) for s in sources])[0]
        lines = source.text.split("\n")
        line = rng.randrange(len(lines))
        if line >= 5 and lines[line].strip():
            return source, lines[line], sum(len(text) + 1 for text in lines[:line])


def main() -> None:
    run, path = Path(sys.argv[1]), Path(sys.argv[2])
    tokenizer = load_tokenizer(run)
    bench = Bench(run, tokenizer, *load())
    writer = Writer(path, tokenizer)
    target = path.with_name("figures.json")
    measures = {
        "loss": loss_figures,
        "next_line": line_figures,
        "rest_of_line": completion_figures,
        "docstrings": docstring_figures,
    }
    for name in sys.argv[3:] or measures:
        began = time.monotonic()
        found = measures[name](bench, writer)
        old = json.loads(target.read_text(encoding="utf-8")) if target.exists() else {}
        target.write_text(json.dumps({**old, name: found}, indent=2) + "\n", encoding="utf-8")
        print(name, found, f"{time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
