"""What copy-heavy edits cost with drafts: `python -m tests.bench.bench_drafts [--record] [--measure]`

The answers are real edits between released versions of six packages (`edits.py`), written as whole
functions, as whole files and as search and replace; the model is taken to write exactly those. Copy-heavy
are those of whose lines half or more stand in the prompt; the others are shown too. The policy that the
worker uses plays each of them, seeing only the prompt (the old file), what it has written, and what a request
says it rewrites: the old function, or the file. What it spends is counted in single steps by a table of c(k):
GLM-5.2's computed for one memory, with every weight of one size and with those of UD-IQ2_M, and with
`--measure` this machine's own with the bundled model. Beside it stands what the best of all policies would
spend that knows the answer, but may draft only what stands somewhere before; once with the same bound on its
loss at every moment, once without. No policy reaches it: it knows where each copy will end. Nothing but the
time per token is timed, so only the packages and the policy move the other figures. `--tuned` plays the
packages that the policy's priors come from.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import decoders

from glm_lsp.core import profiles
from glm_lsp.core.draft import draft_costs
from glm_lsp.engines.gguf import read_head
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.drafts import ALLOWANCE, Speculator
from glm_lsp.engines.worker.forms import Marks
from tests.bench.bench_server import table
from tests.bench.edits import RELEASES, TUNED_ON, Edit, edits

RESULTS = Path(__file__).with_name("RESULTS.md")
COMMAND = "python -m tests.bench.bench_drafts --measure --record"
MOST = 256
"""Tokens of one evaluation."""
IQ2_DENSE_BITS, IQ2_EXPERT_BITS = 6.5, 2.47
"""UD-IQ2_M: 238.6 GB, of which 18.6 B parameters outside the experts near 6.5 bits."""
LONGEST_FILE = 6000
COPIED = 0.5
"""An edit is copy-heavy if so much of its answer's lines stand in the prompt already."""
MOSTLY_NEW = ", mostly new"
FORMS = ("whole symbol", "whole file", "search/replace", f"whole symbol{MOSTLY_NEW}")
_WORDS = re.compile(r" ?[^\W\d_]+|\d{1,3}| ?[^\w\s]+\n*|_+|\s*\n+|\s+")
Encode = Callable[[str], Sequence[int]]


@dataclass(frozen=True)
class Sample:
    """An edit in tokens; `marks` know their text."""

    form: str
    prompt: np.ndarray
    answer: np.ndarray
    """With its end."""
    source: np.ndarray
    marks: Marks


@dataclass(frozen=True)
class Played:
    """One answer: evaluations in single steps, and tokens after the first."""

    cost: float
    tokens: int
    drafted: int
    accepted: int
    seconds: float = 0.0
    """Of processor time, that the policy took."""


def play(costs: CostTable, sample: Sample, most: int = MOST) -> Played:
    """Let the policy draft an answer that is known."""
    answer = sample.answer
    started = time.process_time()
    policy = Speculator(costs, sample.prompt, sample.source, sample.marks)
    policy.append(answer[:1])
    at, cost, drafted, accepted = 1, 0.0, 0, 0
    while at < len(answer):
        draft = policy.propose(most - 1)
        size = min(len(draft), len(answer) - at - 1)
        wrong = np.flatnonzero(draft[:size] != answer[at : at + size])
        right = int(wrong[0]) if len(wrong) else size
        policy.observe(len(draft), right)
        policy.append(answer[at : at + right + 1])
        cost += costs.ratios[len(draft)] if len(draft) else 1.0
        at, drafted, accepted = at + right + 1, drafted + len(draft), accepted + right
    return Played(cost, len(answer) - 1, drafted, accepted, time.process_time() - started)


def repeated(sample: Sample) -> np.ndarray:
    """For each token of the answer: so many tokens from there on stand somewhere before."""
    known = np.concatenate([sample.marks.closing, sample.source, sample.prompt])
    before, count = len(known), len(sample.answer)
    text = "".join(map(chr, np.concatenate([known, sample.answer]).tolist()))
    found, length = np.zeros(count, np.int64), 0
    for at in range(count):
        length = max(length - 1, 0)
        start = before + at
        while at + length < count and text.find(text[start : start + length + 1], 0, start + length) >= 0:
            length += 1
        found[at] = length
    return found


def best(costs: CostTable, longest: np.ndarray, allowance: float) -> float:
    """The least that an answer can cost with drafts of what stands before, all of them right.

    `longest` says how long they can be, `allowance` what a draft may lose at any moment (`ALLOWANCE`).
    """
    ratios, count = np.asarray(costs.ratios), len(longest)
    least = np.full(count + 1, np.inf)
    least[1] = 0.0
    for at in range(1, count):
        # Whoever has spent least so far may lose most.
        spare = at * (1 + allowance) - least[at]
        size = min(longest[at], int(np.searchsorted(ratios[1:], spare, side="right")), count - 1 - at)
        reached = least[at + 1 : at + size + 2]
        np.minimum(reached, least[at] + ratios[: size + 1], out=reached)
    return float(least[count])


@dataclass(frozen=True)
class Coder:
    """Text to tokens, and a token to its text."""

    encode: Encode
    text: Callable[[int], str]


def nano() -> Coder:
    """The bundled model's own."""
    path = profiles.load("nano").gguf_path
    texts, decoder = read_head(Path(path)).texts("tokenizer.ggml.tokens"), decoders.ByteLevel()
    return Coder(GgufTokenizer(path).encode, lambda token: decoder.decode([texts[token]]))


def words() -> Coder:
    """Each word, run of signs or indentation one token: what a vocabulary far larger than nano's comes to."""
    known: dict[str, int] = {"": 0}
    texts = [""]

    def token(word: str) -> int:
        if word not in known:
            known[word] = len(texts)
            texts.append(word)
        return known[word]

    return Coder(lambda text: [token(word) for word in _WORDS.findall(text)], lambda token: texts[token])


CODERS: dict[str, Callable[[], Coder]] = {"nano's": nano, "words": words}


def copied(edit: Edit) -> float:
    """The share of the answer's lines that stand in the prompt."""
    known = set(edit.before.splitlines())
    lines = [line for line in edit.answer.splitlines() if line.strip()]
    return sum(line in known for line in lines) / max(len(lines), 1)


def samples(found: Iterable[Edit], coder: Coder) -> list[Sample]:
    """The edits in tokens, without the longest files."""
    kept: dict[str, np.ndarray] = {}

    def encoded(text: str) -> np.ndarray:
        if text not in kept:
            kept[text] = np.asarray(coder.encode(text), np.int32)
        return kept[text]

    marks = Marks(coder.text, coder.encode)
    result: list[Sample] = []
    for edit in found:
        answer = np.asarray([*coder.encode(edit.answer), 0], np.int32)
        if len(answer) > 2 and (edit.form != "whole file" or len(answer) <= LONGEST_FILE):
            kind = "" if copied(edit) >= COPIED else MOSTLY_NEW
            form = edit.form + kind
            result.append(Sample(form, encoded(edit.before), answer, encoded(edit.source), marks))
    return result


def tables(measure: bool) -> dict[str, CostTable]:
    glm = profiles.load("glm-5.2")
    found = {
        "GLM-5.2, weights of one size": CostTable(draft_costs(profiles.draft_weights(glm), MOST)),
        "GLM-5.2 UD-IQ2_M": CostTable(
            draft_costs(profiles.draft_weights(glm, IQ2_DENSE_BITS, IQ2_EXPERT_BITS), MOST)
        ),
    }
    return found | ({"this machine, nano": measured()} if measure else {})


def measured() -> CostTable:
    """c(k) of the bundled model here and now."""
    from glm_lsp.disk.store import Store  # noqa: PLC0415
    from glm_lsp.engines.frames import Load  # noqa: PLC0415
    from glm_lsp.engines.worker import measuring  # noqa: PLC0415
    from glm_lsp.engines.worker.loading import open_model  # noqa: PLC0415

    nano = profiles.load("nano")
    load = Load(nano.gguf_path, nano.architecture, 1024, 2048, 256, "f16", nano.kv_bytes_per_token_f16, 1)
    opened = open_model(load, lambda _: None)
    text = np.asarray(GgufTokenizer(nano.gguf_path).encode(Path(__file__).read_text()), np.int32)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch) / "costs")
        found = measuring.table(opened.context, text, store, "bench", processors=True)
        store.close()
    opened.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--tuned", action="store_true")
    parser.add_argument("--measure", action="store_true")
    args = parser.parse_args()
    found = list(edits(TUNED_ON if args.tuned else RELEASES))
    rows: list[tuple[str, ...]] = []
    costs = tables(args.measure)
    seconds = 0.0
    for tokens_of, coder in CODERS.items():
        known = samples(found, coder())
        for form in FORMS:
            chosen = [s for s in known if s.form == form]
            longest = [repeated(s) for s in chosen]
            for name, by in costs.items():
                played = [play(by, s) for s in chosen]
                seconds += sum(p.seconds for p in played)
                rows.append((f"{name}; {form}, tokens: {tokens_of}", *figures(by, played, longest)))
                print(*rows[-1], sep="\t", flush=True)
    head = (
        "c(k), form and tokens",
        "cost, undrafted = 1",
        "mean of edits",
        "dearest edit, at most 1.05",
        "who knows the answer, within the bound",
        "and without it",
        "of",
    )
    tokens = sum(len(s.answer) - 1 for s in known) * len(costs) * len(CODERS)
    text = f"## Copy-heavy edits\n\n`{COMMAND}`\n\n{table(rows, head)}\n\n{said(costs)}\n"
    print(f"\n{text}\nThe policy took {seconds / tokens * 1e6:.0f} µs of processor time per token.")
    if args.record:
        record(text)


def figures(
    costs: CostTable, played: Sequence[Played], longest: Sequence[np.ndarray]
) -> tuple[str, str, str, str, str, str]:
    """The columns of a row."""
    tokens = sum(p.tokens for p in played)
    each = [p.cost / p.tokens for p in played]
    return (
        f"{sum(p.cost for p in played) / tokens:.3f}",
        f"{statistics.mean(each):.3f}",
        f"{max(each):.3f}",
        *(knowing(costs, longest, allowance) for allowance in (ALLOWANCE, np.inf)),
        f"{len(played)} edits, {tokens:,} tokens, {share(played)}",
    )


def knowing(costs: CostTable, longest: Sequence[np.ndarray], allowance: float) -> str:
    """What is spent by one who knows the answers: of all tokens, and the mean of edits."""
    least = [(best(costs, each, allowance), len(each) - 1) for each in longest]
    whole = sum(cost for cost, _ in least) / sum(count for _, count in least)
    return f"{whole:.3f}, mean {statistics.mean(cost / count for cost, count in least):.3f}"


def share(played: Sequence[Played]) -> str:
    drafted = sum(p.drafted for p in played)
    return f"{sum(p.accepted for p in played) / drafted:.0%} of drafts accepted" if drafted else "no drafts"


def said(costs: dict[str, CostTable]) -> str:
    """Which packages, and the tables in short."""
    shown = [
        f"{name}: "
        + ", ".join(f"c({k}) {t.ratios[k - 1]:.2f}" for k in (2, 4, 8, 16, 64) if k <= len(t.ratios))
        for name, t in costs.items()
    ]
    packages = ", ".join(f"{name} {old} to {new}" for name, old, new in RELEASES)
    return f"{'. '.join(shown)}. {packages}."


def record(section: str) -> None:
    """Put the section in place of the one of an earlier run."""
    mark = section.partition("\n")[0] + "\n"
    before, found, after = RESULTS.read_text().partition(mark)
    rest = after[after.find("\n## ") + 1 :] if found and "\n## " in after else ""
    RESULTS.write_text(before.rstrip("\n") + "\n\n" + section + ("\n" + rest if rest else ""))


if __name__ == "__main__":
    main()
