"""What drafts of a layer that foretells tokens (MTP) add: `python -m tests.bench.bench_mtp FILE [--record]`

FILE is a model of the bundled one's vocabulary with such a layer; `config/models/nano/training/foretell.py`
trains one for it. It goes on with files of the standard library that it was not trained on, at temperature 0
and 0.7, and what that costs is counted in single steps by a table: with drafts from the text alone, and with
the layer's beside them, for several numbers of tokens that the layer reads before the answer. The tables are
GLM-5.2's computed for one memory, and this machine's own, measured with FILE.
"""

from __future__ import annotations

import argparse
import os
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from glm_lsp.core import profiles
from glm_lsp.core.draft import draft_costs
from glm_lsp.disk.store import Store
from glm_lsp.engines.frames import Done, Generate, Load
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker import measuring, mtp_costs, mtp_drafts
from glm_lsp.engines.worker.context import Context
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.generation import Generation, Machine
from glm_lsp.engines.worker.loading import Loaded, open_model
from glm_lsp.engines.worker.mtp import MtpHead
from glm_lsp.engines.worker.mtp_drafts import Mtp
from glm_lsp.engines.worker.mtp_policy import MtpCosts, MtpRecord
from glm_lsp.engines.worker.trunks import Pool
from glm_lsp.engines.worker.vocabulary import Vocabulary
from tests.bench.bench_drafts import IQ2_DENSE_BITS, IQ2_EXPERT_BITS, record
from tests.bench.bench_server import table

COMMAND = "python -m tests.bench.bench_mtp FILE --record"
NANO = profiles.load("nano")
GLM = profiles.draft_weights(profiles.load("glm-5.2"), IQ2_DENSE_BITS, IQ2_EXPERT_BITS)
GLM_MTP = MtpCosts(step=0.052, entry=0.004)
"""Of 21.1 GB that a step reads: the layer's attention, its mixing matrix and the head, 1.23 B parameters near
6.5 bits, and eight experts, 0.3 B at 2.47 bits. A further token reads other experts at most."""
TOKENS = 100
BEFORE = 2500
"""Characters of the file before the place where the model goes on."""
PLACES = (3000, 9000)
WINDOWS = (1, 16, 64)
TEMPERATURES = (0.0, 0.7)


@dataclass(frozen=True)
class Played:
    """All answers together."""

    cost: float
    """In steps, per token."""
    text: tuple[int, int]
    """Drafted from the text, and right."""
    mtp: tuple[int, int]

    def row(self, name: str, beside: str) -> tuple[str, str, str, str]:
        told = [f"{right} of {made} {what}" for what, (made, right) in self._sources if made]
        return (name, f"{self.cost:.3f}", beside, ", ".join(told) + " were right" if told else "no drafts")

    @property
    def _sources(self) -> tuple[tuple[str, tuple[int, int]], ...]:
        return ("from the text", self.text), ("of the layer", self.mtp)


def requests(temperature: float) -> Iterator[Generate]:
    """A file's beginning, to be gone on with."""
    library = Path(sysconfig.get_paths()["stdlib"])
    names = (Path(NANO.gguf_path).parent / "heldout.txt").read_text(encoding="utf-8").split()
    kept = (library / name for name in names if name.endswith(".py") and not name.startswith("test"))
    for number, path in enumerate(sorted(path for path in kept if path.exists())):
        text = path.read_text(encoding="utf-8", errors="replace")
        for place in (place for place in PLACES if place + 200 < len(text)):
            end = text.rfind("\n", 0, place) + 1
            pieces = (
                ("[gMASK]<sop><|user|>", True),
                ("Go on.\n", False),
                ("<|assistant|><think></think>", True),
                (text[max(0, end - BEFORE) : end], False),
            )
            yield Generate(number, pieces, TOKENS, trunk=2, temperature=temperature, seed=number)


class Stage:
    """The model, with empty caches for each play."""

    def __init__(self, path: Path, answers: int) -> None:
        self.answers = answers
        load = Load(
            path=str(path),
            architecture=NANO.architecture,
            context_tokens=2048,
            kv_tokens=2048,
            batch_tokens=256,
            kv_type="f16",
            kv_bytes_per_token_f16=NANO.kv_bytes_per_token_f16,
            threads=1,
        )
        self.loaded: Loaded = open_model(load)
        if self.loaded.mtp is None:
            raise SystemExit(f"{path} has no layer to measure: {self.loaded.mtp_unused or 'it lacks one'}.")
        model = self.loaded.model
        self.vocabulary = Vocabulary(GgufTokenizer(str(path)), model.piece, model.ends)

    def costs(self) -> tuple[CostTable, MtpCosts]:
        """This machine's."""
        ids = self.vocabulary.encode([(Path(__file__).read_text(encoding="utf-8")[:2000], False)]).ids
        with tempfile.TemporaryDirectory() as directory:
            store = Store(Path(directory))
            found = measuring.table(self.loaded.context, ids, store, "here", processors=True)
            assert self.loaded.mtp is not None
            measure = partial(mtp_costs.table, self.loaded.mtp, self.loaded.context, ids, found)
            layer = measure(mtp_costs.Kept(store, "here"), processors=True)
            store.close()
        if layer is None:
            raise SystemExit("The layer's costs could not be measured.")
        return found, layer

    def play(self, costs: CostTable, layer: MtpCosts | None, window: int, temperature: float) -> Played:
        """Write all answers, counting steps."""
        old = self.loaded
        assert old.mtp is not None
        old.mtp.close()
        old.context.close()
        context = Context(old.model, old.placement)
        head = MtpHead(old.model, old.placement, context)
        self.loaded = replace(old, context=context, mtp=head)
        mtp = Mtp(head, MtpRecord(costs, layer)) if layer is not None else None
        figures, pool = Figures(context.batch_tokens), Pool(context)
        machine = Machine(old.model, context, self.vocabulary, pool, figures, 2048, costs, mtp)
        mtp_drafts.WINDOW = window
        cost = steps = 0.0
        done: list[Done] = []
        for request in islice(requests(temperature), self.answers):
            generation = Generation(machine, request, lambda _: None)
            while (outcome := generation.step()) is None:
                pass
            assert isinstance(outcome, Done)
            speculator = generation._speculator
            assert speculator is not None
            steps += speculator._steps
            cost += speculator._steps - speculator.lead
            done.append(outcome)
            generation.close()
        drafted, accepted = sum(d.drafted_tokens for d in done), sum(d.accepted_tokens for d in done)
        guessed, right = sum(d.mtp_drafted_tokens for d in done), sum(d.mtp_accepted_tokens for d in done)
        return Played(cost / steps, (drafted - guessed, accepted - right), (guessed, right))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--answers", type=int, default=24, help="of each play, at most")
    parser.add_argument("--record", action="store_true", help="into RESULTS.md")
    options = parser.parse_args(arguments)
    stage = Stage(options.file, options.answers)
    costs, layer = stage.costs()
    glm = CostTable(draft_costs(GLM, 64), costs.noise)
    rows: list[tuple[str, str, str, str]] = []
    for where, ratios, own in (("GLM-5.2 UD-IQ2_M", glm, GLM_MTP), ("this machine, nano", costs, layer)):
        for temperature in TEMPERATURES:
            name = f"{where}, temperature {temperature:g}"
            alone = stage.play(ratios, None, 1, temperature)
            rows.append(alone.row(name, "the text alone"))
            print(*rows[-1], sep=" | ", flush=True)
            for window in WINDOWS:
                both = stage.play(ratios, own, window, temperature)
                rows.append(both.row(name, f"and the layer, which reads {window} before"))
                print(*rows[-1], sep=" | ", flush=True)
    told = "; ".join(
        f"{name}: c(2) {t.ratios[1]:.2f}, c(4) {t.ratios[3]:.2f}, a guess {o.step:.3f}, "
        f"a token read {o.entry:.4f}"
        for name, t, o in (("GLM-5.2", glm, GLM_MTP), ("this machine", costs, layer))
    )
    shown = table(rows, ("c(k)", "cost, undrafted = 1", "drafts from", "guesses"))
    told = f"{options.answers} answers each; {told}."
    section = f"## Drafts of a layer that foretells tokens\n\n`{COMMAND}`\n\n{shown}\n\n{told}\n"
    print(section)
    if options.record:
        record(section)


if __name__ == "__main__":
    main()
