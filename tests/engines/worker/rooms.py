"""The bundled model with a pool and figures, driven step by step: what the main thread does, bare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from models import feed_all, load_of

from glm_lsp.engines.frames import Done, Generate, Progress, Reply, Text
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker.context import Context
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.figures import Figures
from glm_lsp.engines.worker.generation import Generation, Machine
from glm_lsp.engines.worker.loading import Loaded, open_model
from glm_lsp.engines.worker.trunks import Pool
from glm_lsp.engines.worker.vocabulary import Vocabulary

SOURCE = "".join(f"def step_{n}(value, other):\n    return value * {n} + other\n\n\n" for n in range(14))
OTHER = "".join(f"class Thing{n}:\n    size = {n}\n\n    def area(self): ...\n\n\n" for n in range(20))
ENDLESS = r"root ::= [ -~\n] root"
"""No model ends an answer under this grammar."""
NOISE = 0.05
"""Between logits of one token evaluated alone and with others; the logits' standard deviation is 1.7."""
CODE = "import os\n\n\ndef read(path):\n    with open(path) as file:\n        "


def chat(
    user: str = SOURCE,
    prefill: str = CODE,
    *,
    think: str = "<think></think>",
    max_tokens: int = 24,
    identity: int = 1,
    **options: Any,
) -> Generate:
    """A request whose first two pieces are its trunk."""
    pieces = (
        ("[gMASK]<sop><|user|>", True),
        (user, False),
        (f"<|assistant|>{think}", True),
        (prefill, False),
    )
    heal = 3 if options.pop("heal", False) else -1
    return Generate(identity, pieces, max_tokens, heal=heal, **{"trunk": 2, **options})


class Recorded(Generation):
    """Remembers what was sent and chosen."""

    def __init__(self, machine: Machine, request: Generate) -> None:
        self.sent: list[Reply] = []
        super().__init__(machine, request, self.sent.append)

    @property
    def ids(self) -> list[int]:
        """The answer's tokens, its end included."""
        return self._ids[self.total : self._end].tolist()

    @property
    def text(self) -> str:
        return "".join(r.text for r in self.sent if isinstance(r, Text))

    @property
    def reasoning(self) -> str:
        return "".join(r.reasoning for r in self.sent if isinstance(r, Text))

    @property
    def reads(self) -> list[int]:
        return [r.done for r in self.sent if isinstance(r, Progress)]

    def finish(self, between: Callable[[], None] = lambda: None) -> Done:
        """Step to the end, doing something between the steps."""
        try:
            while (outcome := self.step()) is None:
                between()
        finally:
            self.close()
        assert isinstance(outcome, Done)
        return outcome


@dataclass
class Room:
    """A model with a machine that can be made anew."""

    loaded: Loaded
    machine: Machine

    @staticmethod
    def open(**options: Any) -> Room:
        loaded = open_model(load_of(**options))
        vocabulary = Vocabulary(GgufTokenizer(str(loaded.facts.path)), loaded.model.piece, loaded.model.ends)
        context = loaded.context
        machine = Machine(
            loaded.model,
            context,
            vocabulary,
            Pool(context),
            Figures(context.batch_tokens),
            loaded.placement.context_tokens,
        )
        return Room(loaded, machine)

    def fresh(self, kv_tokens: int = 0, costs: CostTable | None = None, keeping: Any = None) -> Machine:
        """The model with an empty KV cache."""
        self.machine.context.close()
        placement = self.loaded.placement
        if kv_tokens:
            placement = replace(placement, kv_tokens=kv_tokens)
        context = Context(self.loaded.model, placement)
        self.machine = replace(
            self.machine,
            context=context,
            pool=Pool(context, keeping),
            figures=Figures(context.batch_tokens),
            context_tokens=min(placement.context_tokens, placement.kv_tokens),
            costs=costs or CostTable(),
        )
        return self.machine

    def begin(self, request: Generate) -> Recorded:
        return Recorded(self.machine, request)

    def answer(self, request: Generate) -> tuple[str, Done]:
        """Run a request to its end."""
        generation = self.begin(request)
        done = generation.finish()
        return generation.text, done

    def ids(self, request: Generate) -> np.ndarray:
        return self.machine.vocabulary.encode(request.pieces, request.heal).ids

    def logits_after(self, ids: np.ndarray) -> np.ndarray:
        """Evaluated from nothing, the last token alone."""
        sequence = self.fresh().context.sequence()
        feed_all(sequence, ids[:-1])
        sequence.feed(ids[-1:])
        return self.machine.context.logits().copy()

    def check_same(self, request: Generate, answer: list[int], other: list[int]) -> None:
        """The same tokens, up to a place where two are equally good but for the last bits.

        Chunks of other sizes are computed by other kernels, so these depend on what was reused and drafted.
        """
        pairs = enumerate(zip(answer, other, strict=False))
        at = next((n for n, (a, b) in pairs if a != b), None)
        if at is None:
            assert len(answer) == len(other)
            return
        ids = np.concatenate([self.ids(request), np.asarray(answer[:at], np.int32)])
        logits = self.logits_after(ids)[[answer[at], other[at]]]
        assert abs(float(logits[0] - logits[1])) < NOISE

    def trunk(self, request: Generate) -> int:
        return len(self.machine.vocabulary.encode(request.pieces[: request.trunk]).ids)

    def close(self) -> None:
        self.machine.context.close()
        self.loaded.model.close()
