"""Whatever is forked, cut, restored and closed, in whatever order: cells and tokens are right."""

import os
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from models import load_of

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from glm_lsp.engines.worker import context as lib  # noqa: E402
from glm_lsp.engines.worker.context import CachedSequence, Context, Rows  # noqa: E402
from glm_lsp.engines.worker.llama import last_errors  # noqa: E402
from glm_lsp.engines.worker.loading import Loaded, open_model  # noqa: E402

CELLS = 256
"""The least that llama.cpp gives, so that it is full soon."""
_loaded: list[Loaded] = []


@pytest.fixture(scope="module", autouse=True)
def model() -> Any:
    _loaded.append(open_model(load_of(context_tokens=CELLS, kv_tokens=CELLS)))
    yield
    _loaded.pop().close()


class Plain:
    """What a sequence should be: its tokens, each in a cell that other sequences may hold too."""

    def __init__(self, real: CachedSequence, cells: list[tuple[int, object]]) -> None:
        self.real = real
        self.cells = cells


class Sequences(RuleBasedStateMachine):
    """Random use of a context against lists of tokens."""

    open = Bundle("open")

    def __init__(self) -> None:
        super().__init__()
        self.context: Context
        self.plain: list[Plain] = []

    @initialize()
    def begin(self) -> None:
        loaded = _loaded[0]
        self.context = Context(loaded.model, loaded.placement)

    def teardown(self) -> None:
        if hasattr(self, "context"):
            self.context.close()

    def used(self) -> int:
        return len({id(cell) for plain in self.plain for _, cell in plain.cells})

    def keep(self, plain: Plain) -> Plain:
        self.plain.append(plain)
        return plain

    @rule(target=open)
    def new(self) -> Any:
        if len(self.plain) == lib.SEQUENCES:
            with pytest.raises(lib.NoSequence):
                self.context.sequence()
            return self.plain[0]
        return self.keep(Plain(self.context.sequence(), []))

    @rule(plain=open, token=st.integers(0, 7999))
    def feed_one(self, plain: Plain, token: int) -> None:
        if plain not in self.plain:
            return
        if self.used() == CELLS:
            with pytest.raises(lib.NoRoom):
                plain.real.feed_one(token)
            return
        plain.real.feed_one(token)
        assert self.context.all_logits().shape[0] == 1
        plain.cells.append((token, object()))

    @rule(plain=open, size=st.integers(1, 64), seed=st.integers(0, 99), rows=st.sampled_from(Rows))
    def feed(self, plain: Plain, size: int, seed: int, rows: Rows) -> None:
        if plain not in self.plain:
            return
        ids = np.random.default_rng(seed).integers(0, 8000, size).astype(np.int32)
        if size > CELLS - self.used():
            with pytest.raises(lib.NoRoom):
                plain.real.feed(ids, rows)
            # Our count is not too careful either: llama.cpp itself has no cells for them.
            assert self.context.evaluate(plain.real.id, plain.real.count, ids, rows) == 1
            last_errors()
            return
        plain.real.feed(ids, rows)
        plain.cells += [(int(token), object()) for token in ids]

    @rule(plain=open, size=st.integers(1, 64))
    def interrupted(self, plain: Plain, size: int) -> None:
        if plain not in self.plain or size > CELLS - self.used():
            return
        self.context.interrupt()
        with pytest.raises(lib.Interrupted):
            plain.real.feed([7] * size)
        self.context.resume()

    @rule(plain=open, count=st.integers(0, 300))
    def cut(self, plain: Plain, count: int) -> None:
        if plain in self.plain:
            plain.real.cut(count)
            del plain.cells[count:]

    @rule(target=open, plain=open, count=st.integers(0, 300))
    def fork(self, plain: Plain, count: int) -> Any:
        if plain not in self.plain or len(self.plain) == lib.SEQUENCES:
            return plain
        return self.keep(Plain(plain.real.fork(count), plain.cells[:count]))

    @rule(target=open, plain=open)
    def saved_and_restored(self, plain: Plain) -> Any:
        """What comes back is a copy: it shares no cell with anybody."""
        if plain not in self.plain or len(self.plain) == lib.SEQUENCES or not plain.cells:
            return plain
        data, tokens = plain.real.save(), plain.real.tokens.copy()
        if len(tokens) > CELLS - self.used():
            with pytest.raises(lib.NoRoom):
                self.context.restore(data, tokens)
            return plain
        restored = self.context.restore(data, tokens)
        assert restored is not None
        return self.keep(Plain(restored, [(token, object()) for token, _ in plain.cells]))

    @rule(plain=consumes(open))
    def close(self, plain: Plain) -> None:
        if plain in self.plain:
            self.plain.remove(plain)
        plain.real.close()

    @invariant()
    def nothing_is_lost_or_counted_twice(self) -> None:
        if not hasattr(self, "context"):
            return
        assert self.context.used_cells == self.used()
        assert self.context.free_sequences == lib.SEQUENCES - len(self.plain)
        for plain in self.plain:
            assert plain.real.tokens.tolist() == [token for token, _ in plain.cells]
            assert self.context.held(plain.real.id) == len(plain.cells)


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
