"""One llama.cpp context: a KV cache that many sequences share, and the logits of what was fed last.

A sequence is a row of tokens from position 0 on. `fork` shares cells (metadata only), `cut` drops them from
the end. Nothing is ever moved to another position: that corrupts glm-dsa, so there is no call for it.

The bits of an evaluation depend on where its chunks end: chunks of other sizes run through other kernels. A
fork or a restored sequence that goes on gives the bits of one that was evaluated with the same ends.

What would end the process in an assertion is checked before llama.cpp is asked. One thread makes every call
but `Context.interrupt` and `Context.resume`, which may come from any.
"""

from __future__ import annotations

import ctypes
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum
from typing import Any, NoReturn

import numpy as np

from glm_lsp.core.errors import ConfigError, EngineDied, ModelFileError
from glm_lsp.engines.worker.batch import Batch
from glm_lsp.engines.worker.cells import Cells
from glm_lsp.engines.worker.llama import NO_MEMORY, Ids, L, Logits, last_errors, listening, pointer
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.placement import KV_TYPES, Placement

SEQUENCES = 16
"""At most so many at a time; llama.cpp asserts below 256, and every one costs a little in each search."""
_ROUND = 256
"""llama.cpp rounds the cells of a context up to a multiple of this."""
_logits_at: Any = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)(
    ctypes.cast(L.llama_get_logits, ctypes.c_void_p).value or 0
)
"""The address as a number: the bindings' pointer costs several times as much, at every token."""
_BUFFER = re.compile(r"(\S+) +KV buffer size = +([\d.]+) MiB")


class Interrupted(Exception):  # noqa: N818 (an event, not a fault)
    """`Context.interrupt` stopped an evaluation; finished micro-batches stay in the KV cache."""


class NoRoom(Exception):  # noqa: N818
    """The cells that are left are fewer than the tokens; what the sequences hold is unharmed."""


class NoSequence(Exception):  # noqa: N818
    """All sequences are taken: close one first."""


class Rows(Enum):
    """After which tokens of a feed the logits are wanted."""

    NONE = 0
    LAST = 1
    ALL = 2


class Context:
    """A KV cache of `kv_tokens` cells; `used_cells` counts a shared one once. n_batch = n_ubatch."""

    def __init__(self, model: Model, placement: Placement) -> None:
        """Raises ConfigError, naming what to lower, where memory is refused."""
        self._vocabulary = model.size
        self.kv_tokens = placement.kv_tokens
        self.batch_tokens = min(placement.batch_tokens, placement.kv_tokens)
        params = _parameters(placement, self.batch_tokens)
        with listening() as lines:
            self._handle: Any = L.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise ConfigError(_refusal(placement, last_errors()))
        self.buffers = context_buffers(lines)
        """Bytes of the KV cache by llama.cpp's name of the memory."""
        self._memory: Any = L.llama_get_memory(self._handle)
        if not self._memory:
            self.close()
            raise ModelFileError(
                "The model keeps nothing of what it has read: it is for embeddings, not for writing text. "
                "Set model.path to another one."
            )
        self.cells = Cells(self.kv_tokens)
        self._free = list(range(SEQUENCES - 1, -1, -1))
        self._rows = 0
        self._view_of: tuple[int, int] = (0, 0)
        self._view: Logits = np.zeros((0, self._vocabulary), np.float32)
        self._batch = Batch(self.batch_tokens)
        self._make_switch()

    def _make_switch(self) -> None:
        """The abort predicate is libc's strlen over one byte: no Python runs between two operations.

        An empty string has length 0 (go on); with its byte set it has length 1 (stop).
        """
        self._switch = ctypes.create_string_buffer(2)
        strlen: Any = (ctypes.CDLL(None) if os.name == "posix" else ctypes.CDLL("msvcrt")).strlen
        address = ctypes.cast(strlen, ctypes.c_void_p).value
        self._predicate: Any = L.ggml_abort_callback(address)
        self.abort_with(self._handle)

    def abort_with(self, handle: Any) -> None:
        """Let `interrupt` stop that llama.cpp context too; it must not outlive this one."""
        L.llama_set_abort_callback(handle, self._predicate, ctypes.addressof(self._switch))

    @property
    def handle(self) -> Any:
        """llama.cpp's own, for what is asked of it beside feeding."""
        return self._handle

    def interrupt(self) -> None:
        """Stop the evaluation that is running, or the next one. From any thread.

        What runs on a GPU is not stopped in the middle: there it takes effect with the next micro-batch.
        """
        self._switch[0] = b"\1"

    def resume(self) -> None:
        """Forget an `interrupt`."""
        self._switch[0] = b"\0"

    @property
    def used_cells(self) -> int:
        """Cells that hold a token; a prefix that sequences share counts once."""
        return self.cells.used

    @property
    def free_cells(self) -> int:
        return self.kv_tokens - self.cells.used

    @property
    def free_sequences(self) -> int:
        return len(self._free)

    def sequence(self) -> CachedSequence:
        """A new, empty one. Raises NoSequence."""
        if not self._free:
            raise NoSequence(f"All {SEQUENCES} sequences are in use.")
        return CachedSequence(self, self._free.pop())

    def restore(self, data: bytes | memoryview, tokens: Ids) -> CachedSequence | None:
        """A sequence from what `CachedSequence.save` gave, which held `tokens`; None if it does not fit them.

        The caller vouches for the bytes (checksum, same model and cache types): llama.cpp takes damaged ones.
        There are no logits. Raises NoSequence, and NoRoom where cells are lacking.
        """
        if len(tokens) == 0 or len(data) == 0:
            return None
        self.require_room(len(tokens))
        sequence = self.sequence()
        if self._fits(sequence.id, data, len(tokens)):
            sequence.adopt(tokens)
            return sequence
        # Whatever it has written there goes again.
        self.remove(sequence.id, 0)
        sequence.close()
        last_errors()
        return None

    def _fits(self, sequence: int, data: bytes | memoryview, count: int) -> bool:
        if self.load(sequence, data) != len(data) or self.held(sequence) != count:
            return False
        return int(L.llama_memory_seq_pos_min(self._memory, sequence)) == 0

    def logits(self, row: int = -1) -> Logits:
        """The logits after one token of the last feed: a view, valid until the next. Rows as asked for."""
        return self.all_logits()[row]

    def all_logits(self) -> Logits:
        """(rows, vocabulary) of the last feed, one row for Rows.LAST: a view, valid until the next."""
        if not self._rows:
            raise EngineDied("There are no logits to choose a token from; report this.")
        address = _logits_at(self._handle)
        if (address, self._rows) != self._view_of:
            memory: Any = (ctypes.c_float * (self._rows * self._vocabulary)).from_address(address)
            self._view = np.frombuffer(memory, np.float32).reshape(self._rows, self._vocabulary)
            self._view_of = (address, self._rows)
        return self._view

    def close(self) -> None:
        """Free the KV cache. Before the model: the other order is a segmentation fault."""
        if self._handle:
            L.llama_free(self._handle)
            self._handle = None
            self._rows = 0

    # What sequences ask of their context.

    def require_room(self, size: int) -> None:
        """Raise NoRoom if fewer than `size` cells are free."""
        if size > self.free_cells:
            raise NoRoom(f"{size} tokens need cells and {self.free_cells} of {self.kv_tokens} are free.")

    def evaluate(self, sequence: int, start: int, ids: Sequence[int] | Ids, rows: Rows) -> int:
        """Append tokens to a sequence that has `start`; return llama.cpp's result. See `feed`."""
        size = len(ids)
        if not self._handle or not 0 < size <= self.batch_tokens:
            raise EngineDied(f"{size} tokens do not fit a batch of {self.batch_tokens}; report this.")
        batch = self._batch
        batch.fill(ids, start, every=rows is Rows.ALL, last=rows is not Rows.NONE)
        batch.sequence[0] = sequence
        if int(batch.tokens[:size].min()) < 0 or int(batch.tokens[:size].max()) >= self._vocabulary:
            raise EngineDied("A token outside the vocabulary was to be evaluated; report this.")
        # Until it has gone well: after a failure the logits buffer shows old rows.
        self._rows = 0
        result = int(L.llama_decode(self._handle, batch.handle))
        if result == 0:
            self._rows = (0, 1, size)[rows.value]
        return result

    def evaluate_one(self, sequence: int, start: int, token: int) -> int:
        """As `evaluate` with one token, whose logits are wanted."""
        if not self._handle or not 0 <= token < self._vocabulary:
            raise EngineDied("A token outside the vocabulary was to be evaluated; report this.")
        batch = self._batch
        batch.hold(token, start)
        batch.sequence[0] = sequence
        self._rows = 0
        result: int = L.llama_decode(self._handle, batch.handle)
        self._rows = int(result == 0)
        return result

    def held(self, sequence: int) -> int:
        """Tokens that llama.cpp has for a sequence."""
        return max(int(L.llama_memory_seq_pos_max(self._memory, sequence)) + 1, 0)

    def remove(self, sequence: int, start: int) -> None:
        """Drop what a sequence holds from `start` on."""
        if self._handle and not L.llama_memory_seq_rm(self._memory, sequence, start, -1):
            raise EngineDied("llama.cpp cannot cut this model's sequences; report this.")

    def copy(self, source: int, target: int, count: int) -> None:
        """Let `target`, which is empty, hold the first `count` tokens of `source` too."""
        L.llama_memory_seq_cp(self._memory, source, target, 0, count)

    def state(self, sequence: int) -> memoryview:
        """The saved form of a sequence."""
        size = int(L.llama_state_seq_get_size(self._handle, sequence))
        data: Any = np.empty(size, np.uint8)
        written = int(L.llama_state_seq_get_data(self._handle, pointer(data, ctypes.c_uint8), size, sequence))
        if written != size:
            raise EngineDied(f"llama.cpp could not save a sequence.{last_errors()}")
        return memoryview(data).toreadonly()

    def load(self, sequence: int, data: bytes | memoryview) -> int:
        """Fill an empty sequence from its saved form; how many bytes were taken, 0 if it was refused."""
        source = np.frombuffer(data, np.uint8)
        at = pointer(source, ctypes.c_uint8)
        return int(L.llama_state_seq_set_data(self._handle, at, len(source), sequence))

    def release(self, sequence: int) -> None:
        """The number may be given away again."""
        self._free.append(sequence)


class CachedSequence:
    """A row of tokens in the KV cache. `close` frees its cells, if nobody else holds them."""

    def __init__(self, context: Context, identity: int) -> None:
        self.id = identity
        self.count = 0
        self._context = context
        self._closed = False
        self._held: Ids = np.zeros(256, np.int32)
        self._cells: Ids = np.zeros(256, np.int32)

    @property
    def tokens(self) -> Ids:
        """A view that cannot be written; valid until the sequence is fed or cut."""
        view = self._held[: self.count]
        view.flags.writeable = False
        return view

    @property
    def cells(self) -> Ids:
        """The numbers of its cells, to see what it shares; valid until it is fed or cut."""
        return self._cells[: self.count]

    @property
    def own_cells(self) -> int:
        """The cells that nobody else holds: so many are free when it is closed."""
        return self._context.cells.alone(self.cells)

    def common(self, ids: Ids) -> int:
        """How many of these tokens, from the first on, it holds."""
        length = min(self.count, len(ids))
        differing = np.flatnonzero(self._held[:length] != ids[:length])
        return int(differing[0]) if len(differing) else length

    def feed(self, ids: Sequence[int] | Ids, rows: Rows = Rows.LAST) -> None:
        """Append at most `batch_tokens` tokens.

        Raises Interrupted (what was finished is kept), NoRoom (nothing was evaluated), or EngineDied if
        llama.cpp refuses. Whatever happens, `count` and `tokens` are what the KV cache holds afterwards.
        """
        self._require_open()
        context, before = self._context, self.count
        context.require_room(len(ids))
        result = context.evaluate(self.id, before, ids, rows)
        if result:
            self._failed(result, before, ids)
        self.adopt(ids)

    def _failed(self, result: int, before: int, ids: Sequence[int] | Ids) -> NoReturn:
        """llama.cpp has not evaluated all of these tokens; it may have some."""
        self.adopt(ids[: max(self._context.held(self.id) - before, 0)])
        if result == 1:
            raise NoRoom(f"llama.cpp finds no cells for {len(ids)} tokens.{last_errors()}")
        if result == 2:
            raise Interrupted
        raise EngineDied(f"llama.cpp could not evaluate {len(ids)} tokens (result {result}).{last_errors()}")

    def feed_one(self, token: int) -> None:
        """As `feed` with one token, whose logits are wanted: of an answer, where microseconds count."""
        context = self._context
        if self._closed or self.count == len(self._held) or context.cells.used >= context.kv_tokens:
            self.feed([token])
            return
        result = context.evaluate_one(self.id, self.count, token)
        if result:
            self._failed(result, self.count, [token])
        self._held[self.count] = token
        self._cells[self.count] = context.cells.take_one()
        self.count += 1

    def cut(self, count: int) -> None:
        """Keep the first `count` tokens. Never a shift of what follows: that corrupts this architecture."""
        self._require_open()
        if not 0 <= count < self.count:
            return
        self._context.remove(self.id, count)
        self._context.cells.drop(self._cells[count : self.count])
        self.count = count

    def fork(self, count: int) -> CachedSequence:
        """Another sequence that begins with the first `count` tokens of this one, sharing their cells.

        Costs no evaluation and no memory. Raises NoSequence.
        """
        self._require_open()
        other = self._context.sequence()
        count = max(min(count, self.count), 0)
        if count:
            self._context.copy(self.id, other.id, count)
            self._context.cells.share(self._cells[:count])
            other.append(self._held[:count], self._cells[:count])
        return other

    def save(self) -> memoryview:
        """The whole sequence as bytes for `Context.restore`, in this process or another. Not its logits."""
        self._require_open()
        return self._context.state(self.id)

    def close(self) -> None:
        """Free the cells that nobody else holds, and the sequence. Again is no harm."""
        if self._closed:
            return
        self.cut(0)
        self._closed = True
        self._context.release(self.id)

    def adopt(self, ids: Sequence[int] | Ids) -> None:
        """llama.cpp has appended these tokens: write down what it holds."""
        if len(ids) == 1 and self.count < len(self._held):
            self._held[self.count], self._cells[self.count] = ids[0], self._context.cells.take_one()
            self.count += 1
        else:
            self.append(ids, self._context.cells.take(len(ids)))

    def append(self, ids: Sequence[int] | Ids, cells: Ids) -> None:
        """Note tokens and their cells."""
        end = self.count + len(cells)
        if end > len(self._held):
            grown = max(end, 2 * len(self._held))
            self._held = np.concatenate([self._held, np.zeros(grown - len(self._held), np.int32)])
            self._cells = np.concatenate([self._cells, np.zeros(grown - len(self._cells), np.int32)])
        self._held[self.count : end] = ids
        self._cells[self.count : end] = cells
        self.count = end

    def _require_open(self) -> None:
        if self._closed:
            raise EngineDied("A sequence of the KV cache was used after it was closed; report this.")


def context_buffers(lines: Iterable[str]) -> dict[str, int]:
    """What llama.cpp's log says of a context's KV cache, in bytes."""
    sizes: Counter[str] = Counter()
    for line in lines:
        if match := _BUFFER.search(line):
            sizes[match[1]] += int(float(match[2]) * (1 << 20))
    return dict(sizes)


def _refusal(placement: Placement, said: str) -> str:
    if NO_MEMORY.search(said) or not said:
        return placement.refused("the KV cache and its buffers", said)
    return f"llama.cpp cannot make a context with a KV cache of type {placement.kv_type}.{said}"


def _parameters(placement: Placement, batch_tokens: int) -> Any:
    params: Any = L.llama_context_default_params()
    params.n_ctx = -(-placement.kv_tokens // _ROUND) * _ROUND
    params.n_batch = params.n_ubatch = batch_tokens
    params.n_seq_max = SEQUENCES
    params.n_threads = placement.threads
    params.n_threads_batch = placement.batch_threads or placement.threads
    # Explicit: 'auto' may differ between machines, and a quantised cache needs it.
    params.flash_attn_type = 1
    params.type_k = params.type_v = KV_TYPES[placement.kv_type]
    # One pool of cells: forks are metadata, and every sequence may use all of it.
    params.kv_unified = True
    params.offload_kqv = params.op_offload = placement.gpu_layers != 0
    params.no_perf = True
    return params
