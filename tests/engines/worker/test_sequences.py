"""Many sequences over one KV cache give the same bits as one alone, and the cells are counted right."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from models import BATCH, ENVIRONMENT, NOISE, alone, distance, feed_all, load_of, some_tokens

from glm_lsp.core.errors import EngineDied

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from glm_lsp.engines.worker import context as lib  # noqa: E402
from glm_lsp.engines.worker.context import Context, Rows  # noqa: E402
from glm_lsp.engines.worker.loading import Loaded, open_model  # noqa: E402

PROMPT = some_tokens(150)
TRUNK, TAIL = PROMPT[:100], PROMPT[100:]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    loaded = open_model(load_of())
    yield loaded
    loaded.close()


@pytest.fixture
def context(loaded: Loaded) -> Iterator[Context]:
    """Empty before, and told to be empty after: no test leaks cells."""
    context = Context(loaded.model, loaded.placement)
    yield context
    context.close()


class TestForks:
    def test_a_fork_that_goes_on_is_the_sequence_that_was_never_forked(self, context: Context) -> None:
        expected = alone(context, TRUNK, TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        for _ in range(5):
            tail = trunk.fork(len(TRUNK))
            feed_all(tail, TAIL)
            assert np.array_equal(context.logits(), expected)
            assert tail.tokens.tolist() == PROMPT.tolist()
            tail.close()
        assert trunk.tokens.tolist() == TRUNK.tolist()

    def test_a_fork_of_a_part_is_that_part(self, context: Context) -> None:
        expected = alone(context, TRUNK[:70], TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        part = trunk.fork(70)
        feed_all(part, TAIL)
        assert distance(context.logits(), expected) < NOISE

    def test_a_fork_costs_no_cells_and_outlives_its_trunk(self, context: Context) -> None:
        expected = alone(context, TRUNK, TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        tail = trunk.fork(len(TRUNK))
        assert context.used_cells == len(TRUNK)
        trunk.close()
        assert context.used_cells == len(TRUNK)
        feed_all(tail, TAIL)
        assert np.array_equal(context.logits(), expected)

    def test_a_cut_tail_goes_on_as_if_it_had_not_been_longer(self, context: Context) -> None:
        expected = alone(context, TRUNK, TAIL)
        sequence = context.sequence()
        feed_all(sequence, TRUNK)
        feed_all(sequence, some_tokens(80, seed=5))
        sequence.cut(len(TRUNK))
        assert (sequence.count, context.used_cells) == (len(TRUNK), len(TRUNK))
        feed_all(sequence, TAIL)
        assert np.array_equal(context.logits(), expected)

    def test_the_common_prefix(self, context: Context) -> None:
        sequence = context.sequence()
        feed_all(sequence, TRUNK)
        other = TRUNK.copy()
        other[42] += 1
        assert sequence.common(other) == 42
        assert sequence.common(PROMPT) == len(TRUNK)
        assert sequence.common(TRUNK[:7]) == 7
        assert sequence.common(np.zeros(0, np.int32)) == 0

    def test_tokens_cannot_be_written(self, context: Context) -> None:
        sequence = context.sequence()
        sequence.feed([1, 2, 3])
        with pytest.raises(ValueError, match="read-only"):
            sequence.tokens[0] = 9
        sequence.feed([4])
        assert sequence.tokens.tolist() == [1, 2, 3, 4]


class TestRows:
    def test_every_row_is_what_one_token_at_a_time_gives(self, context: Context) -> None:
        sequence = context.sequence()
        sequence.feed(TRUNK[:40])
        draft = TAIL[:9]
        sequence.feed(draft, Rows.ALL)
        rows = context.all_logits().copy()
        sequence.cut(40)
        assert rows.shape[0] == len(draft)
        for at, token in enumerate(draft):
            sequence.feed([int(token)])
            assert distance(context.logits(), rows[at]) < NOISE

    def test_rows_that_were_not_asked_for_cannot_be_read(self, context: Context) -> None:
        sequence = context.sequence()
        sequence.feed(TRUNK[:10], Rows.NONE)
        with pytest.raises(EngineDied, match="no logits"):
            context.logits()
        sequence.feed(TRUNK[10:20])
        assert context.all_logits().shape[0] == 1

    def test_logits_stay_readable_while_sequences_are_forked_and_cut(self, context: Context) -> None:
        sequence = context.sequence()
        sequence.feed(TRUNK[:30], Rows.ALL)
        before = context.all_logits().copy()
        sequence.fork(20).close()
        sequence.cut(3)
        assert np.array_equal(context.all_logits(), before)


class TestInterruption:
    def test_an_interrupted_evaluation_goes_on_bit_for_bit(self, context: Context) -> None:
        expected = alone(context, PROMPT)
        sequence = context.sequence()
        for chunk in (PROMPT[:64], PROMPT[64:128], PROMPT[128:]):
            context.interrupt()
            before = sequence.count
            with pytest.raises(lib.Interrupted):
                sequence.feed(chunk)
            assert sequence.count == before == context.used_cells
            with pytest.raises(EngineDied, match="no logits"):
                context.logits()
            context.resume()
            sequence.feed(chunk)
        assert np.array_equal(context.logits(), expected)

    def test_another_thread_stops_it_in_the_middle(self, context: Context) -> None:
        """Wherever it is stopped, what is counted is what llama.cpp has, and the end is the same."""
        expected = alone(context, PROMPT)
        for delay in (0.0, 0.001, 0.004, 0.01, 0.02):
            sequence = context.sequence()
            timer = threading.Timer(delay, context.interrupt)
            timer.start()
            try:
                feed_all(sequence, PROMPT)
            except lib.Interrupted:
                timer.join()
                context.resume()
                assert sequence.count == context.held(sequence.id) == context.used_cells
                feed_all(sequence, PROMPT[sequence.count :])
            timer.join()
            context.resume()
            assert np.array_equal(context.logits(), expected)
            sequence.close()

    def test_a_sequence_beside_it_is_unharmed(self, context: Context) -> None:
        expected = alone(context, TRUNK, TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        other = trunk.fork(80)
        context.interrupt()
        with pytest.raises(lib.Interrupted):
            other.feed(some_tokens(40, seed=9))
        context.resume()
        other.close()
        feed_all(trunk, TAIL)
        assert np.array_equal(context.logits(), expected)


RESTORE = """
import sys
from pathlib import Path
import numpy as np
sys.path.insert(0, sys.argv[1])
from models import feed_all, load_of
from glm_lsp.engines.worker.loading import open_model
loaded = open_model(load_of())
saved, tokens, tail, out = sys.argv[2:]
sequence = loaded.context.restore(Path(saved).read_bytes(), np.load(tokens))
feed_all(sequence, np.load(tail))
np.save(out, loaded.context.logits())
"""


class TestSaving:
    def test_another_process_goes_on_bit_for_bit(self, context: Context, tmp_path: Path) -> None:
        expected = alone(context, TRUNK, TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        (tmp_path / "state").write_bytes(trunk.save())
        np.save(tmp_path / "tokens.npy", trunk.tokens)
        np.save(tmp_path / "tail.npy", TAIL)
        names = [str(tmp_path / name) for name in ("state", "tokens.npy", "tail.npy", "out.npy")]
        command = [sys.executable, "-c", RESTORE, str(Path(__file__).parent), *names]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert np.array_equal(np.load(tmp_path / "out.npy"), expected)

    def test_a_part_is_forked_first(self, context: Context) -> None:
        expected = alone(context, TRUNK[:64], TAIL)
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        part = trunk.fork(64)
        data, tokens = part.save(), part.tokens.copy()
        part.close()
        trunk.close()
        restored = context.restore(data, tokens)
        assert restored is not None
        assert context.used_cells == restored.count == 64
        feed_all(restored, TAIL)
        assert np.array_equal(context.logits(), expected)

    def check_refused(self, context: Context, data: bytes, tokens: np.ndarray) -> None:
        used, sequences = context.used_cells, context.free_sequences
        assert context.restore(data, tokens) is None
        assert (context.used_cells, context.free_sequences) == (used, sequences)

    @settings(max_examples=40, deadline=None)
    @given(fraction=st.floats(0, 1, exclude_max=True))
    def test_a_cut_off_state_is_refused(self, loaded: Loaded, fraction: float) -> None:
        trunk = loaded.context.sequence()
        feed_all(trunk, TRUNK)
        data, tokens = bytes(trunk.save()), trunk.tokens.copy()
        self.check_refused(loaded.context, data[: int(len(data) * fraction)], tokens)
        trunk.close()

    def test_a_state_of_other_tokens_is_refused(self, context: Context) -> None:
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        data = bytes(trunk.save())
        self.check_refused(context, data, TRUNK[:-1])
        self.check_refused(context, data, PROMPT)
        self.check_refused(context, data, TRUNK[:0])
        self.check_refused(context, data + b"\0", TRUNK)
        self.check_refused(context, b"", TRUNK)

    def test_a_state_of_another_type_of_cache_is_refused(self, context: Context) -> None:
        other = open_model(load_of(kv_type="f16"))
        sequence = other.context.sequence()
        feed_all(sequence, TRUNK)
        data = bytes(sequence.save())
        other.close()
        self.check_refused(context, data, TRUNK)

    def test_a_state_that_finds_no_room(self, context: Context) -> None:
        trunk = context.sequence()
        feed_all(trunk, TRUNK)
        data = trunk.save()
        feed_all(trunk, some_tokens(context.free_cells - 50))
        with pytest.raises(lib.NoRoom):
            context.restore(data, TRUNK)
        assert context.free_cells == 50


class TestLimits:
    def test_sixteen_sequences_and_no_more(self, context: Context) -> None:
        taken = [context.sequence() for _ in range(lib.SEQUENCES)]
        assert len({sequence.id for sequence in taken}) == lib.SEQUENCES
        with pytest.raises(lib.NoSequence):
            context.sequence()
        with pytest.raises(lib.NoSequence):
            taken[3].fork(0)
        taken[7].close()
        assert context.sequence().id == taken[7].id

    def test_a_full_cache_keeps_what_it_holds(self, context: Context) -> None:
        expected = alone(context, TRUNK, TAIL)
        trunk, filler = context.sequence(), context.sequence()
        feed_all(trunk, TRUNK)
        feed_all(filler, some_tokens(context.free_cells - 10, seed=3))
        with pytest.raises(lib.NoRoom):
            trunk.feed(TAIL[:11])
        assert (context.free_cells, trunk.count) == (10, len(TRUNK))
        filler.close()
        feed_all(trunk, TAIL)
        assert np.array_equal(context.logits(), expected)

    @pytest.mark.parametrize("ids", [[], [-1], [8192], [1] * (BATCH + 1)])
    def test_what_llama_cpp_would_die_of_is_refused(self, context: Context, ids: list[int]) -> None:
        sequence = context.sequence()
        with pytest.raises(EngineDied, match="report this"):
            sequence.feed(ids)
        assert sequence.count == 0

    def test_a_closed_sequence_is_of_no_use(self, context: Context) -> None:
        sequence = context.sequence()
        sequence.feed([1, 2])
        sequence.close()
        sequence.close()
        for use in (lambda: sequence.feed([1]), lambda: sequence.fork(1), sequence.save):
            with pytest.raises(EngineDied, match="after it was closed"):
                use()
        assert context.free_sequences == lib.SEQUENCES
