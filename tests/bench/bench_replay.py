"""What typing costs an engine that keeps what it has read: `python -m tests.bench.bench_replay [--record]`.

Sessions are typed out of two released versions of packages in several languages (`sessions`), one request per
word, and replayed through the very code that serves an editor, at 32k-token packs counted by a vocabulary of
GLM's size. Three columns: the first prompt; the requests that begin an epoch, spread over all requests; the
rest. At every request a checker rebuilds each file that the prompt shows from its text alone. Beside it: what
other layouts would evaluate, and how many of the definitions needed at a cursor each prompt shows.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from glm_lsp.cli.player import Answer, Player, playing
from glm_lsp.core.generation import Prompt
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.core.values import BlockKind
from glm_lsp.engines.tokenizers import BpeTokenizer, from_file
from glm_lsp.features import replay as events
from glm_lsp.features.complete import pack_context
from glm_lsp.features.session import Session as Packer
from tests.bench import corpora, replay_recall, replay_truth, sessions
from tests.bench.bench_server import table
from tests.bench.probe import percentile
from tests.bench.replay_checker import Checker, lines_told
from tests.bench.replay_peers import Continue, Layout, LlamaVim, Meter, PackAndFile
from tests.bench.replay_picture import picture
from tests.bench.replay_recall import Need
from tests.bench.replay_texts import Texts
from tests.bench.replay_truth import Truth
from tests.bench.rows import RESULTS, Row, circumstances
from tests.bench.sessions import Event, Session
from tests.conftest import apart

BUDGET = 32_768
EVERY = 25
"""Recall is measured at each so many-th request: a fresh pack takes long."""
COMING = 15
"""Edits that a cursor's need is looked up in."""
PICTURE = Path(__file__).with_name("replay.svg")
HEADING = "## Replay"
COMMAND = "python -m tests.bench.bench_replay --record"
OURS = "the ledger"


@dataclass
class Cost:
    """A layout's tokens at each request, and what was shown of what was needed."""

    evaluated: list[int] = field(default_factory=list[int])
    prompts: list[int] = field(default_factory=list[int])
    shown: int = 0
    needed: int = 0

    def add(self, tokens: int, evaluated: int) -> None:
        self.prompts.append(tokens)
        self.evaluated.append(evaluated)

    def shows(self, wanted: Sequence[Need], texts: Sequence[str], prompt: Prompt | None = None) -> None:
        """Count what is needed, and what of it these texts show, or the files that `prompt` gives."""
        files = lines_told(prompt) if prompt else {}
        shown, needed = replay_recall.recall(wanted, "".join(texts), files)
        self.shown += shown
        self.needed += needed

    @property
    def recall(self) -> float:
        return 100 * self.shown / self.needed if self.needed else float("nan")

    @property
    def rest(self) -> list[int]:
        """Without the first prompt."""
        return self.evaluated[1:]


@dataclass
class Replayed:
    """A session's figures. `turns` and `rest` are tokens evaluated where an epoch began, and elsewhere."""

    name: str
    language: str
    cold: int = 0
    turns: list[int] = field(default_factory=list[int])
    rest: list[int] = field(default_factory=list[int])
    refused: int = 0
    wrong: list[str] = field(default_factory=list[str])
    wrong_requests: int = 0
    signatures: int = 0
    stale: int = 0
    epochs: int = 0
    costs: dict[str, Cost] = field(default_factory=dict[str, Cost])
    fresh: Cost = field(default_factory=Cost)
    named: Cost = field(default_factory=Cost)
    """Ours, of the names near the cursor that the index holds once; and a fresh pack's."""
    named_fresh: Cost = field(default_factory=Cost)
    seconds: float = 0.0

    @property
    def requests(self) -> int:
        """But the first."""
        return len(self.turns) + len(self.rest)


async def replayed(
    session: Session,
    tokenizer: BpeTokenizer,
    budget: int,
    *,
    peers: bool = True,
    copied: Path | None = None,
    compiler: Path | None = None,
) -> Replayed:
    """Play a session, and count. With an empty folder independent tools say what is needed (`Truth`)."""
    began = time.process_time()
    found = Replayed(session.name, session.language)
    texts = Texts(session.root)
    checker = Checker(texts.lines)
    meter = [Meter(tokenizer) for _ in range(4)]
    layouts: list[Layout] = [LlamaVim(texts, meter[0]), Continue(texts, meter[1])] if peers else []
    at = 0

    def told() -> Iterator[events.Event]:
        nonlocal at
        for number, event in enumerate(session.events):
            at = number
            texts.apply(event)
            for layout in layouts:
                if event["op"] != "request":
                    layout.happened(event)
            yield events.read_event(sessions.line(event), number + 1)

    ours = found.costs[OURS] = Cost()
    async with AsyncExitStack() as stack:
        player = await stack.enter_async_context(playing(session.root, DEFAULTS, budget, tokenizer))
        truth = stack.enter_context(Truth(copied, compiler)) if copied else None
        texts.player = player
        async for answer in player.play(told()):
            if answer.prompt is None:
                found.refused += 1
                continue
            if not ours.evaluated and peers:
                packed = _pack(answer.prompt)
                layouts.append(PackAndFile(texts, meter[2], pack=packed))
                name = "a pack and the live file, suffix first"
                layouts.append(PackAndFile(texts, meter[3], name, pack=packed, suffix_first=True))
            _count(found, answer)
            _check(found, checker, answer)
            event = session.events[at]
            written = {OURS: [s.text for s in answer.prompt.segments]}
            for layout in layouts:
                written[layout.name] = layout.texts(event["path"], event["offset"], float(event.get("t", 0)))
                cost = found.costs.setdefault(layout.name, Cost())
                cost.add(*layout.meter.cost(written[layout.name], layout.reuse))
            if len(ours.evaluated) % EVERY == 1:
                await _recall(found, player, texts, session.events, at, written, answer.prompt, truth)
    found.seconds = time.process_time() - began
    return found


def _pack(prompt: Prompt) -> list[str]:
    """What of a prompt is not of the file at the cursor: system text, outlines, source."""
    path = prompt.blocks[-1].path
    own = {b.text for b in prompt.blocks if b.path == path and b.kind is not BlockKind.SKELETON}
    return [s.text for s in prompt.segments[: prompt.trunk_segments] if s.text not in own]


def _count(found: Replayed, answer: Answer) -> None:
    evaluated = answer.reading.evaluated
    found.costs[OURS].add(answer.reading.tokens, evaluated)
    found.epochs = answer.epoch
    if answer.turned == "start":
        found.cold = evaluated
    else:
        (found.turns if answer.turned else found.rest).append(evaluated)


def _check(found: Replayed, checker: Checker, answer: Answer) -> None:
    assert answer.prompt is not None
    verdict = checker.check(answer.prompt)
    found.signatures += verdict.signatures
    found.stale += verdict.stale
    found.wrong_requests += bool(verdict.wrong)
    found.wrong += [f"event {answer.event.number}: {what}" for what in verdict.wrong]


async def _recall(
    found: Replayed,
    player: Player,
    texts: Texts,
    told: Sequence[Event],
    at: int,
    written: dict[str, list[str]],
    prompt: Prompt,
    truth: Truth | None,
) -> None:
    """What each prompt shows of what is needed here, and what a pack for this place alone would show."""
    event, snapshot = told[at], player.repository.snapshot()
    path, offset = str(event["path"]), int(event["offset"])
    text = texts.text(path)
    after = [e for e in told[at + 1 : at + 6 * COMING] if e["op"] == "edit" and e["path"] == path]
    coming = "".join(str(e["text"]) for e in after[:COMING] if len(str(e["text"])) < 400)
    line = text.encode().count(b"\n", 0, offset)
    named = replay_recall.needs(snapshot.index.outlines, path, text, line, coming)
    session = player.session
    packer = Packer(session.sources, session.engine, session.tokenizer, session.profile)
    packed = await pack_context(packer, snapshot, path, offset)
    fresh = [s.text for s in packed.segments]
    edits = [e for e in after[:COMING] if len(str(e["text"])) < 400]
    wanted = named
    if truth is not None and truth.resolves(path):
        wanted = truth.needs(texts.files(), path, *replay_truth.later(text.encode(), offset, edits))
        found.named.shows(named, written[OURS], prompt)
        found.named_fresh.shows(named, fresh, packed)
    for name, pieces in written.items():
        found.costs[name].shows(wanted, pieces, prompt if name == OURS else None)
    found.fresh.shows(wanted, fresh, packed)


def row_of(found: Replayed) -> tuple[str, ...]:
    """A session's line of the table: the three columns, and what keeps them honest."""
    requests = max(1, found.requests)
    every = [*found.turns, *found.rest]
    ours = found.costs[OURS]
    rebuilt = 100 * (1 - found.wrong_requests / (requests + 1))
    return (
        f"{found.name} ({found.language})",
        f"{requests + 1:,}",
        f"{statistics.mean(ours.prompts):,.0f}",
        f"{found.cold:,}",
        f"{sum(found.turns) / requests:.1f} ({len(found.turns)})",
        _spread(found.rest),
        f"{statistics.mean(every):.1f}",
        f"{(sum(every) + found.cold) / (requests + 1):.1f}",
        f"{rebuilt:.1f} %",
        f"{ours.recall:.1f} / {found.fresh.recall:.1f} %" if ours.needed else "nothing is needed",
    )


def _spread(tokens: Sequence[int]) -> str:
    """Mean, median and 95th percentile."""
    mean, middle, high = statistics.mean(tokens), statistics.median(tokens), percentile(tokens, 0.95)
    return f"{mean:,.1f} / {middle:,.0f} / {high:,.0f}"


HEAD = (
    *("session", "requests", "mean prompt", "first prompt", "turns, per request (epochs)"),
    *("the rest: mean / median / p95", "rest and turns", "everything", "rebuilt", "recall / fresh pack's"),
)


def peers_table(all_found: Sequence[Replayed]) -> str:
    """Each layout over all sessions: tokens evaluated at a request, the first prompts left out."""
    rows: list[tuple[str, ...]] = []
    names = list(dict.fromkeys(name for found in all_found for name in found.costs))
    base = statistics.mean([n for found in all_found for n in found.costs[OURS].rest])
    for name in names:
        costs = [found.costs[name] for found in all_found if name in found.costs]
        rest = [n for cost in costs for n in cost.rest]
        shown, needed = sum(c.shown for c in costs), sum(c.needed for c in costs)
        rows.append(
            (
                name,
                f"{statistics.mean([n for c in costs for n in c.prompts]):,.0f}",
                _spread(rest),
                f"{statistics.mean(rest) / base:.1f}",
                f"{100 * shown / needed:.1f} %" if needed else "",
            )
        )
    shown, needed = sum(f.fresh.shown for f in all_found), sum(f.fresh.needed for f in all_found)
    if needed:
        rows.append(("(a fresh pack at each request)", "", "all of it", "", f"{100 * shown / needed:.1f} %"))
    head = ("layout", "mean prompt", "evaluated: mean / median / p95", "times ours", "recall")
    return table(rows, head)


def goals(all_found: Sequence[Replayed]) -> list[Row]:
    """The figures to reach, over all sessions."""
    rest = [n for found in all_found for n in found.rest]
    turns = [n for found in all_found for n in found.turns]
    every = len(rest) + len(turns)
    cold = sum(found.cold for found in all_found)
    wrong = sum(found.wrong_requests for found in all_found)
    ours = [found.costs[OURS] for found in all_found]
    shown, needed = sum(c.shown for c in ours), sum(c.needed for c in ours)
    fresh = sum(found.fresh.shown for found in all_found)
    behind = 100 * (fresh - shown) / needed if needed else float("nan")
    stale, told = sum(f.stale for f in all_found), sum(f.signatures for f in all_found)
    mean, p95 = statistics.mean(rest), percentile(rest, 0.95)
    with_turns = (sum(rest) + sum(turns)) / every
    everything = (sum(rest) + sum(turns) + cold) / (every + len(all_found))
    return [
        Row("the rest, mean", f"{mean:.1f} tokens", "", "at most 12", mean <= 12),
        Row("the rest, p95", f"{p95:.0f} tokens", "", "at most 100", p95 <= 100),
        Row("with turns, mean", f"{with_turns:.1f} tokens", "", "at most 25", with_turns <= 25),
        Row("with everything, mean", f"{everything:.1f} tokens", "", "beyond: 10", everything <= 10),
        Row(
            "requests whose prompt alone gives the files as they are",
            f"{every + len(all_found) - wrong:,} of {every + len(all_found):,}",
            f"{100 * stale / told:.2f} % of the signatures in outlines no longer stand" if told else "",
            "all",
            wrong == 0,
        ),
        Row(
            "recall behind a fresh pack's",
            f"{behind:.1f} points",
            f"{needed} definitions needed at {len(rest) // EVERY} places: {100 * shown / needed:.1f} % shown"
            if needed
            else "nothing is needed",
            "at most 5",
            behind <= 5,
        ),
        _named_row(all_found),
    ]


def _named_row(all_found: Sequence[Replayed]) -> Row:
    """What reading names alone says, which takes every word for the definition that is called so."""
    needed = sum(f.named.needed for f in all_found)
    shown, fresh = sum(f.named.shown for f in all_found), sum(f.named_fresh.shown for f in all_found)
    behind = 100 * (fresh - shown) / needed if needed else float("nan")
    beside = f"{needed} needed: {100 * shown / needed:.1f} % shown" if needed else "nothing is needed"
    return Row("the same by names alone, unresolved", f"{behind:.1f} points", beside, "", None)


def report(all_found: Sequence[Replayed]) -> str:
    """The section of RESULTS.md."""
    goal_rows = table([row.cells for row in goals(all_found)], ("what", "figure", "beside", "goal"))
    seconds = sum(found.seconds for found in all_found)
    said = (
        "Tokens of `ggml-vocab-qwen2.gguf`, packs of at most 32,768. Rebuilt: at so many requests the prompt "
        "alone gives each file it shows as it is now. Recall: of the definitions in other files that the "
        "code around the cursor and the next words use, so many stand in the prompt, or in a file as it "
        "gives it; jedi and the TypeScript compiler say which these are, elsewhere names that the index "
        "holds once. The layouts of others are written anew from what their sources do; llama.vim's with its "
        "server's cache reuse. "
        f"{seconds:.0f} s of processor time. {circumstances(False)}"
    )
    return (
        f"{HEADING}\n\n`{COMMAND}`\n\n{goal_rows}\n\n{table([row_of(f) for f in all_found], HEAD)}\n\n"
        f"{peers_table(all_found)}\n\n![Tokens evaluated per request]({PICTURE.name})\n\n{said}\n"
    )


def recorded(text: str, section: str) -> str:
    """`text` of RESULTS.md with this section in place of an earlier one."""
    before, found, after = text.partition(f"{HEADING}\n")
    _, mark, rest = after.partition("\n## ") if found else ("", "", "")
    return before.rstrip("\n") + "\n\n" + section + (f"\n## {rest}" if mark else "")


def chosen(names: Iterable[str], *, tuned: bool) -> list[corpora.Pair]:
    group = corpora.TUNED_ON if tuned else corpora.REPORTED
    return [pair for pair in group if not names or pair.package in names]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--tuned", action="store_true", help="the packages that choices are made by")
    parser.add_argument("--only", action="append", default=[], metavar="PACKAGE", help="may be given again")
    parser.add_argument("--requests", type=int, default=2000, help="per session")
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--bare", action="store_true", help="without the other layouts")
    parser.add_argument(
        "--wrong", type=int, default=0, metavar="N", help="show so many of the checker's finds"
    )
    args = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = from_file(corpora.vocabulary())
    compiler = replay_truth.tools()
    all_found: list[Replayed] = []
    whole = True
    for pair in chosen(args.only, tuned=args.tuned):
        try:
            with apart(), TemporaryDirectory() as copied:
                session = sessions.session(pair, args.requests)
                folder = Path(copied).resolve()
                playing_it = replayed(
                    session, tokenizer, args.budget, peers=not args.bare, copied=folder, compiler=compiler
                )
                found = asyncio.run(playing_it)
        except Exception:
            traceback.print_exc()
            whole = False
            continue
        all_found.append(found)
        print(*row_of(found), f"{found.seconds:.0f} s", sep="\t", flush=True)
        for what in found.wrong[: args.wrong]:
            print("  ", what, file=sys.stderr)
    if not all_found:
        return 1
    section = report(all_found)
    print("\n" + section)
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), section))
        PICTURE.write_text(picture({name: _all(all_found, name) for name in all_found[0].costs}))
    return 0 if whole else 1


def _all(all_found: Sequence[Replayed], name: str) -> list[int]:
    return [n for found in all_found if name in found.costs for n in found.costs[name].rest]


if __name__ == "__main__":
    sys.exit(main())
