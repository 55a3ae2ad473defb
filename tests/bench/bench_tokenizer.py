"""How fast prompts are counted, beside llama.cpp's own tokenizer; and how far the bound lies above the truth.

The texts are llama.cpp's sources, in many languages, and the vocabularies those of its source distribution.
Processor time, median of rounds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from glm_lsp.engines.bounds import ENOUGH_REPORTS, ApproximateTokenizer
from glm_lsp.engines.tokenizers import BpeTokenizer, from_file
from tests.bench import vocabularies
from tests.bench.bench_recall import recorded
from tests.bench.rows import RESULTS, Row, block, circumstances
from tests.bench.vocabularies import Missing

HEADING = "## Counting tokens"
COMMAND = "python -m tests.bench.bench_tokenizer --record"
PACK_TOKENS = 32_768
TITLE = "Speed and exactness"


def spent(work: Callable[[], object]) -> float:
    """Processor time of one call, in seconds."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def median(work: Callable[[], object], rounds: int) -> float:
    return statistics.median(spent(work) for _ in range(rounds))


def fresh(path: Path, texts: Sequence[str]) -> float:
    """Processor time of counting texts with a tokenizer that has seen none."""
    counter = from_file(path)
    return spent(lambda: sum(map(counter.count, texts)))


def pack(texts: Sequence[str], tokenizer: BpeTokenizer, tokens: int) -> list[str]:
    """Segments of about 400 tokens, as many as a pack of that size has; each begins where a line does."""
    segments: list[str] = []
    left = tokens
    for text in texts:
        lines = [line for line in text.splitlines(keepends=True) if line[:1].isascii()]
        for start in range(0, len(lines), 40):
            segment = "# " + "".join(lines[start : start + 40])
            left -= tokenizer.count(segment)
            segments.append(segment)
            if left <= 0:
                return segments
    return segments


def rows(llama: Any, path: Path, texts: Sequence[str], rounds: int, tokens: int) -> list[Row]:
    """Everything that is measured, on one vocabulary."""
    encode, free = vocabularies.encoder(llama, path)
    build = median(lambda: from_file(path), max(1, rounds // 3))
    whole = from_file(path)
    ours, theirs = [whole.encode(text) for text in texts], [encode(text) for text in texts]
    total = sum(map(len, theirs))
    cold = statistics.median(fresh(path, texts) for _ in range(max(1, rounds // 3)))
    plain = median(lambda: [whole.encode(text) for text in texts], rounds)
    peer = median(lambda: [encode(text) for text in texts], rounds)
    segments = pack(texts, whole, tokens)
    first = statistics.median(fresh(path, segments) for _ in range(max(1, rounds // 3)))
    counter = from_file(path)
    sum(map(counter.count, segments))
    again = median(lambda: sum(map(counter.count, segments)), rounds * 3)
    at = len(segments) // 2
    edits = iter(range(10**6))

    def edited() -> int:
        typed = segments[at].replace("\n", f"\n    typed_{next(edits)} = 1\n", 1)
        return sum(map(counter.count, [*segments[:at], typed, *segments[at + 1 :]]))

    after = median(edited, rounds * 3)
    packed = sum(map(counter.count, segments))
    beside = median(lambda: [encode(segment) for segment in segments], rounds)
    free()
    equal = sum(map(lambda a, b: a == b, ours, theirs))
    return [
        Row("Files cut as llama.cpp cuts them", f"{equal} of {len(texts)}", "", "all", equal == len(texts)),
        Row("Building it from the file, once", f"{1000 * build:.0f} ms"),
        Row("Tokens a second, every text new", f"{total / cold:,.0f}", f"llama.cpp {total / peer:,.0f}"),
        Row("Tokens a second, words known", f"{total / plain:,.0f}", f"×{peer / plain:.2f} of llama.cpp's"),
        Row(
            f"A pack of {packed:,} tokens, new", f"{1000 * first:.1f} ms", f"llama.cpp {1000 * beside:.1f} ms"
        ),
        Row(
            "The same pack again",
            f"{1000 * again:.2f} ms",
            f"×{again / beside:.3f} of llama.cpp's",
            "a few ms",
            again <= 0.005,
        ),
        Row("The same after a line was typed", f"{1000 * after:.2f} ms", "", "a few ms", after <= 0.005),
    ]


def bounds(tokenizer: BpeTokenizer, texts: Sequence[str]) -> list[Row]:
    """How far a bound lies above the truth: untaught, and after it has learned from half of the texts."""
    untaught, taught = ApproximateTokenizer(), ApproximateTokenizer()
    learning, asked = texts[::2], texts[1::2]
    for text in learning:
        if (weight := taught.weight(text)) > 0:
            tokens = tokenizer.count(text)
            taught.observe(weight, tokens, missed=tokens > taught.count(text))
    found: list[Row] = []
    for name, bound in (("untaught", untaught), (f"after {len(learning)} reports", taught)):
        shares = [bound.count(text) / max(tokenizer.count(text), 1) for text in asked if text]
        low = sum(share < 1 for share in shares)
        figure = f"median {statistics.median(shares):.2f}, least {min(shares):.2f} of the true count"
        found.append(Row(f"The bound, {name}", figure, f"{low} of {len(shares)} too low"))
    assert len(learning) >= ENOUGH_REPORTS
    return found


def measure(llama: Any, path: Path, files: Sequence[Path], rounds: int, tokens: int) -> list[Row]:
    texts = [file.read_bytes().decode("utf-8", "replace") for file in files]
    return [*rows(llama, path, texts, rounds, tokens), *bounds(from_file(path), texts)]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench_tokenizer", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--each", type=int, default=8, help="files of each kind (8)")
    given = parser.parse_args(arguments)
    try:
        import llama_cpp.llama_cpp as llama  # noqa: PLC0415

        path = vocabularies.vocabulary()
        files = vocabularies.sources(each=given.each)
    except (ImportError, Missing) as missing:
        sys.stderr.write(f"Nothing was measured: {missing}\n")
        return 1
    found = measure(llama, path, files, given.rounds, PACK_TOKENS)
    kinds = len({file.suffix for file in files})
    said = (
        f"{vocabularies.STAND_IN}; {len(files)} files of {kinds} kinds. Processor time, median of "
        f"{given.rounds} rounds. {circumstances(raised=False)}"
    )
    section = block(TITLE, found, said)
    sys.stdout.write(section)
    if given.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), section, HEADING, COMMAND))
    return 0


if __name__ == "__main__":
    sys.exit(main())
