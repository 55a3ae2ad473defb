"""The layer that foretells tokens (MTP, "nextn") in a llama.cpp context of its own.

Its entry at position p is made of token p and the model's state after token p - 1, and gives logits of token
p + 1, and a state to go on with. So guesses follow one another: the first from a state of the model, the
others from the layer's own. Its KV cache is small and holds a window of one answer: the states of tokens that
others have evaluated, or that came from the disk, are not to be had, so all it ever sees is the end of the
prompt and the answer. Positions are absolute.

Whatever goes wrong with it costs time alone: what it guesses is verified by the model.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import numpy as np

from glm_lsp.core.errors import ConfigError
from glm_lsp.engines.probe import ModelFacts
from glm_lsp.engines.worker.batch import Batch, States
from glm_lsp.engines.worker.context import Context, Interrupted, context_buffers
from glm_lsp.engines.worker.llama import Ids, L, Logits, extension, last_errors, listening
from glm_lsp.engines.worker.model import Model
from glm_lsp.engines.worker.mtp_policy import MOST, Guess
from glm_lsp.engines.worker.placement import KV_TYPES, Placement

WINDOW = 256
"""So many tokens before the answer are read at most."""
CELLS = 2048
"""When they are full the last WINDOW tokens are read anew."""
BATCH = 64
ARCHITECTURE = "glm-dsa"
_TENSOR = re.compile(r"blk\.(\d+)\.nextn\.eh_proj\.weight")


class Shown(Enum):
    """After which tokens of a feed the model's states are wanted; the values are llama.cpp's flags."""

    NONE = (False, False)
    CHOSEN = (True, True)
    """Where logits are."""
    ALL = (True, False)


def layer_of(facts: ModelFacts) -> int:
    """The number of the layer; -1: the file carries none that llama.cpp could run.

    A file that lacks tensors is refused by llama.cpp, but a layer without experts ends it in an assertion.
    """
    found = [match for name in facts.tensor_names if (match := _TENSOR.fullmatch(name))]
    if facts.architecture != ARCHITECTURE or len(found) != 1:
        return -1
    layer = int(found[0][1])
    routed = f"blk.{layer}.ffn_gate_inp.weight" in facts.tensor_names
    return layer if routed and layer == facts.layers - 1 else -1


class MtpHead:
    """The layer, ready to run. One answer at a time owns what it holds; another one begins anew."""

    def __init__(self, model: Model, placement: Placement, target: Context) -> None:
        """Raises ConfigError, a sentence that says why not, where llama.cpp cannot make it."""
        self._calls: Any = extension()
        if self._calls is None:
            raise ConfigError("the installed llama-cpp-python lacks the calls that run it")
        if int(L.llama_model_n_layer_nextn(model.handle)) != 1:
            raise ConfigError("llama.cpp runs files with one such layer only")
        self._target = target
        self._shown = Shown.NONE
        self._vocabulary = model.size
        self.width = int(L.llama_model_n_embd_out(model.handle))
        with listening() as lines:
            self._handle: Any = L.llama_init_from_model(model.handle, _parameters(placement))
        if not self._handle:
            raise ConfigError(f"llama.cpp makes no context for it.{last_errors()}")
        self.buffers = context_buffers(lines)
        """Bytes of its KV cache by llama.cpp's name of the memory."""
        self._memory: Any = L.llama_get_memory(self._handle)
        # Every entry gives its state: with states where logits are alone, llama.cpp gives the first ones.
        self._calls.llama_set_embeddings_nextn(self._handle, *Shown.ALL.value)
        target.abort_with(self._handle)
        self.owner: object = None
        self.start = self.end = 0
        """The positions that it holds."""
        self._last = 0
        """The place of the last entry in its batch."""
        self._batch = Batch(BATCH, self.width)

    # The model's states.

    def show(self, which: Shown) -> None:
        """Say what the model's next feeds are to keep of its states; `NONE` costs nothing at all."""
        if which is not self._shown:
            self._calls.llama_set_embeddings_nextn(self._target.handle, *which.value)
            self._shown = which

    def shown(self, count: int) -> States:
        """A copy of the `count` states of the feed that has just gone well, as they were asked for."""
        return _rows(self._calls.llama_get_embeddings_nextn(self._target.handle), (count, self.width))

    # The layer's own entries.

    def clear(self, owner: object, start: int) -> None:
        """Forget everything; the next entry is of position `start`."""
        L.llama_memory_seq_rm(self._memory, 0, -1, -1)
        self.owner, self.start, self.end = owner, start, start

    def cut(self, end: int) -> None:
        """Forget the entries from position `end` on."""
        if end < self.end:
            L.llama_memory_seq_rm(self._memory, 0, end, -1)
            self.end = max(end, self.start)

    def feed(self, ids: Ids, states: States) -> bool:
        """Append entries: each a token, and the state before it. False: llama.cpp refuses.

        Raises Interrupted; `end` says what it holds then. Tokens are those of the model's vocabulary.
        """
        for at in range(0, len(ids), BATCH):
            part = ids[at : at + BATCH]
            size = len(part)
            self._batch.fill(part, self.end, last=at + size == len(ids))
            self._batch.states[:size] = states[at : at + size]
            result = int(L.llama_decode(self._handle, self._batch.handle))
            if result == 2:
                self.cut(self.end)
                raise Interrupted
            if result:
                self.clear(None, 0)
                last_errors()
                return False
            self.end += size
        self._last = (len(ids) - 1) % BATCH
        return True

    def guess(self) -> tuple[Guess, States]:
        """What follows the last entry, and the state (1, width) to go on with."""
        logits = self.logits()
        token = int(logits.argmax())
        chance = 1.0 / float(np.exp(logits - logits[token]).sum())
        states = self._calls.llama_get_embeddings_nextn(self._handle)
        return Guess(token, chance), _rows(states, (1, self.width), self._last * self.width)

    def logits(self) -> Logits:
        """Of what follows the last entry: a view, valid until the next."""
        address = ctypes.addressof(L.llama_get_logits(self._handle).contents)
        memory: Any = (ctypes.c_float * self._vocabulary).from_address(address)
        return np.frombuffer(memory, np.float32)

    def close(self) -> None:
        """Free it, before the model."""
        if self._handle:
            self.show(Shown.NONE)
            L.llama_free(self._handle)
            self._handle = None


class MtpWindow:
    """The model's states of one answer's last tokens, and the guesses that the layer makes from them."""

    def __init__(self, head: MtpHead, most: int = WINDOW) -> None:
        """At most `most` tokens are read at once, when the layer has not seen what came before."""
        self.most = most
        self._head = head
        self._rows: States = np.zeros((0, head.width), np.float32)
        self._first = self._end = 0
        """The positions whose states there are."""
        self._true = 0
        """The layer's entries before this position are made of true states, not of guesses."""

    def saw(self, start: int, states: States) -> None:
        """The model's states after tokens `start`, `start` + 1, … A gap before them empties the window."""
        if not self._first <= start <= self._end:
            self._first = self._end = start
        if not len(self._rows):
            self._rows = np.zeros((2 * self.most, self._head.width), np.float32)
        dropped = max(len(states) - self.most, 0)
        if dropped:
            self._first = self._end = start = start + dropped
        count = len(states) - dropped
        if start + count - self._first > len(self._rows):
            kept = min(start - self._first, self.most)
            old = start - self._first
            self._rows[:kept] = self._rows[old - kept : old].copy()
            self._first = start - kept
        at = start - self._first
        self._rows[at : at + count] = states[dropped:]
        self._end = start + count
        self._true = min(self._true, start + 1)

    def behind(self, last: int) -> int:
        """Entries to be read before that of position `last`, whose token is the answer's newest.

        -1: there is nothing to guess from.
        """
        if self._end != last or self._first >= last:
            return -1
        return last - self._next(last)[0]

    def guesses(self, ids: Ids) -> Iterator[Guess]:
        """Guess what follows the last of `ids`, one after another. Ends where llama.cpp refuses.

        `behind` must not have been -1. Raises Interrupted.
        """
        head, last = self._head, len(ids) - 1
        start, goes_on = self._next(last)
        if goes_on:
            head.cut(start)
        else:
            head.clear(self, start)
        try:
            if not head.feed(ids[start:], self._rows[start - 1 - self._first : last - self._first]):
                return
        finally:
            self._true = head.end
        for _ in range(MOST):
            guess, state = head.guess()
            yield guess
            if not head.feed(np.asarray([guess.token], np.int32), state):
                return

    def _next(self, last: int) -> tuple[int, bool]:
        """The first entry to be read, and whether the layer goes on with what it holds."""
        head, true = self._head, min(self._true, last)
        goes_on = head.owner is self and max(self._first, head.start) < true <= head.end
        if goes_on and last + 1 + MOST - head.start <= CELLS:
            return true, True
        return max(self._first + 1, last + 1 - self.most), False


def _rows(first: Any, shape: tuple[int, int], skipped: int = 0) -> States:
    """A copy of llama.cpp's numbers from `skipped` on."""
    address = ctypes.addressof(first.contents) + 4 * skipped
    memory: Any = (ctypes.c_float * (shape[0] * shape[1])).from_address(address)
    return np.frombuffer(memory, np.float32).reshape(shape).copy()


def _parameters(placement: Placement) -> Any:
    params: Any = L.llama_context_default_params()
    params.ctx_type = L.LLAMA_CONTEXT_TYPE_MTP
    params.n_ctx = CELLS
    params.n_batch = params.n_ubatch = BATCH
    params.n_seq_max = 1
    params.n_threads = placement.threads
    params.n_threads_batch = placement.batch_threads or placement.threads
    params.flash_attn_type = 1
    params.type_k = params.type_v = KV_TYPES[placement.kv_type]
    params.kv_unified = True
    params.offload_kqv = params.op_offload = placement.gpu_layers != 0
    params.no_perf = True
    return params
