"""Why nothing in a KV cache is ever moved to another position."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from models import BATCH, NOISE, alone, distance, load_of, rewrite, some_tokens

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from glm_lsp.engines.worker import context as lib  # noqa: E402
from glm_lsp.engines.worker.context import CachedSequence, Context, Rows  # noqa: E402
from glm_lsp.engines.worker.llama import L  # noqa: E402
from glm_lsp.engines.worker.loading import Loaded, open_model  # noqa: E402


@pytest.fixture(scope="module")
def choosy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """The model with an indexer that chooses 64 cells of all, as that of a large one chooses 2,048."""
    path = tmp_path_factory.mktemp("choosy") / "choosy.gguf"
    rewrite(path, metadata={"glm-dsa.attention.indexer.top_k": 64})
    loaded = open_model(load_of(path=str(path)))
    yield loaded
    loaded.close()


class TestShifts:
    """llama.cpp turns the indexer's keys wrongly.

    It says that it can, and nothing fails. As long as the indexer chooses everything it cannot even be seen.
    """

    TEXT = some_tokens(400, seed=1)
    OFFSET = 100

    def at(self, context: Context, sequence: CachedSequence, start: int, ids: np.ndarray) -> np.ndarray:
        """Evaluate below our own counting, at positions of the test's choice."""
        for at in range(0, len(ids), BATCH):
            assert context.evaluate(sequence.id, start + at, ids[at : at + BATCH], Rows.LAST) == 0
        return context.logits().copy()

    def fresh(self, context: Context, start: int) -> np.ndarray:
        """The last token's logits with everything evaluated where it stands."""
        sequence = context.sequence()
        self.at(context, sequence, start, self.TEXT[:-1])
        logits = self.at(context, sequence, start + len(self.TEXT) - 1, self.TEXT[-1:])
        context.remove(sequence.id, 0)
        return logits

    def shifted(self, context: Context, start: int) -> np.ndarray:
        """The same, with what stands before the last token moved there by llama.cpp."""
        sequence = context.sequence()
        self.at(context, sequence, start, self.TEXT[:-1])
        assert L.llama_memory_can_shift(context._memory)
        L.llama_memory_seq_add(context._memory, sequence.id, 0, -1, -start)
        assert context.held(sequence.id) == len(self.TEXT) - 1
        return self.at(context, sequence, len(self.TEXT) - 1, self.TEXT[-1:])

    def test_only_relative_positions_matter(self, choosy: Loaded) -> None:
        """So the model is not to blame for what follows."""
        context = choosy.context
        assert distance(self.fresh(context, self.OFFSET), self.fresh(context, 0)) < NOISE

    def test_a_shifted_cache_answers_something_else(self, choosy: Loaded) -> None:
        context = choosy.context
        assert distance(self.shifted(context, self.OFFSET), self.fresh(context, 0)) > 5 * NOISE

    def test_nor_can_the_gap_of_a_removed_middle_be_closed(self, choosy: Loaded) -> None:
        context = Context(choosy.model, choosy.placement)
        head, middle, rest = self.TEXT[:64], some_tokens(self.OFFSET, seed=8), self.TEXT[64:]
        expected = alone(context, head, rest)
        sequence = context.sequence()
        self.at(context, sequence, 0, np.concatenate([head, middle, rest[:-1]]))
        end = len(head) + self.OFFSET
        L.llama_memory_seq_rm(context._memory, sequence.id, len(head), end)
        L.llama_memory_seq_add(context._memory, sequence.id, end, -1, -self.OFFSET)
        logits = self.at(context, sequence, len(self.TEXT) - 1, rest[-1:])
        context.close()
        assert distance(logits, expected) > 5 * NOISE

    def test_the_bundled_model_would_not_show_it(self) -> None:
        loaded = open_model(load_of())
        expected = self.fresh(loaded.context, 0)
        assert distance(self.shifted(loaded.context, self.OFFSET), expected) < NOISE
        loaded.close()

    def test_there_is_no_call_for_it(self) -> None:
        sources = Path(lib.__file__).parent.glob("*.py")
        found = [p.name for p in sources if re.search(r"seq_(add|div)\b", p.read_text(encoding="utf-8"))]
        assert not found
