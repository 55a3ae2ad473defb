"""What copy-heavy edits cost with drafts: `python -m tests.bench.bench_drafts [--record] [--measure]`

The answers are real edits between released versions of six packages (`edits.py`), written as whole
functions, as whole files and as search and replace; the model is taken to write exactly those. Copy-heavy
are those of whose lines half or more stand in the prompt; the others are shown too. The policy that the
worker uses plays each of them, seeing only the prompt (the old file) and what it has written, and what it
spends is counted in single steps by a table of c(k): GLM-5.2's computed for one memory, with every weight of
one size and with those of UD-IQ2_M, and with `--measure` this machine's own with the bundled model. Nothing
is timed, so nothing but the packages and the policy moves the figures. `--tuned` plays the packages that the
policy's priors come from.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from glm_lsp.core import profiles
from glm_lsp.core.draft import draft_costs
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.drafts import Speculator
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
class Played:
    """One answer: evaluations in single steps, and tokens after the first."""

    cost: float
    tokens: int
    drafted: int
    accepted: int


def play(costs: CostTable, prompt: np.ndarray, answer: np.ndarray, most: int = MOST) -> Played:
    """Let the policy draft an answer that is known."""
    policy = Speculator(costs, prompt)
    policy.append(answer[:1])
    at, cost, drafted, accepted = 1, 0.0, 0, 0
    while at < len(answer):
        draft = policy.propose(most - 1)
        right = 0
        while right < min(len(draft), len(answer) - at - 1) and draft[right] == answer[at + right]:
            right += 1
        policy.observe(len(draft), right)
        policy.append(answer[at : at + right + 1])
        cost += costs.ratios[len(draft)] if len(draft) else 1.0
        at, drafted, accepted = at + right + 1, drafted + len(draft), accepted + right
    return Played(cost, len(answer) - 1, drafted, accepted)


def words() -> Encode:
    """Each word, run of signs or indentation one token: what a vocabulary far larger than nano's comes to."""
    known: dict[str, int] = {}
    return lambda text: [known.setdefault(word, len(known) + 1) for word in _WORDS.findall(text)]


def copied(edit: Edit) -> float:
    """The share of the answer's lines that stand in the prompt."""
    known = set(edit.before.splitlines())
    lines = [line for line in edit.answer.splitlines() if line.strip()]
    return sum(line in known for line in lines) / max(len(lines), 1)


def tokens(found: Iterable[Edit], encode: Encode) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """(form, prompt, answer and its end) of each edit."""
    prompts: dict[str, np.ndarray] = {}
    result: list[tuple[str, np.ndarray, np.ndarray]] = []
    for edit in found:
        key = f"{edit.package} {edit.path}"
        if key not in prompts:
            prompts[key] = np.asarray(encode(edit.before), np.int32)
        answer = np.asarray([*encode(edit.answer), 0], np.int32)
        if len(answer) > 2 and (edit.form != "whole file" or len(answer) <= LONGEST_FILE):
            kind = "" if copied(edit) >= COPIED else MOSTLY_NEW
            result.append((edit.form + kind, prompts[key], answer))
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
    encoders: dict[str, Encode] = {
        "nano's": GgufTokenizer(profiles.load("nano").gguf_path).encode,
        "words": words(),
    }
    rows: list[tuple[str, str, str, str]] = []
    costs = tables(args.measure)
    for tokens_of, encode in encoders.items():
        samples = tokens(found, encode)
        for name, known in costs.items():
            for form in FORMS:
                played = [play(known, prompt, answer) for f, prompt, answer in samples if f == form]
                spent, undrafted = sum(p.cost for p in played), sum(p.tokens for p in played)
                each = [p.cost / p.tokens for p in played]
                row = (
                    f"{name}; {form}, tokens: {tokens_of}",
                    f"{spent / undrafted:.3f}, mean of edits {statistics.mean(each):.3f}",
                    f"{max(each):.3f}",
                    f"{len(played)} edits, {undrafted:,} tokens, {share(played)}",
                )
                rows.append(row)
                print(*row, sep="\t", flush=True)
    head = ("c(k), form and tokens", "cost, undrafted = 1", "dearest edit, at most 1.05", "of")
    text = f"## Copy-heavy edits\n\n`{COMMAND}`\n\n{table(rows, head)}\n\n{said(costs)}\n"
    print("\n" + text)
    if args.record:
        record(text)


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
