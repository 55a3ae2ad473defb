"""The bundled model with a layer that foretells tokens (MTP), which it is published without.

The layer's block adds nothing to what goes through it, and what goes in is a linear mix of a token and a
state, fitted by least squares to the state that follows: a second's work, and right more often than not
where text repeats itself. Another one is random: it is wrong always, but all of it takes part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from models import BATCH, NANO, rewrite
from rooms import Room

from glm_lsp.engines.worker.context import Rows
from glm_lsp.engines.worker.costs import CostTable
from glm_lsp.engines.worker.generation import Machine
from glm_lsp.engines.worker.mtp import MtpHead, Shown
from glm_lsp.engines.worker.mtp_drafts import Mtp
from glm_lsp.engines.worker.mtp_policy import MtpCosts, MtpRecord

LAYER = 6
DECLARED = {"glm-dsa.block_count": LAYER + 1, "glm-dsa.nextn_predict_layers": 1}
WIDTH = 256
Weights = dict[str, np.ndarray]


def write(target: Path, own: Mapping[str, np.ndarray], without: tuple[str, ...] = ()) -> Path:
    """The bundled model with a layer like its last one; `own` are the tensors that differ."""
    prefix, source = f"blk.{LAYER}.", f"blk.{LAYER - 1}."

    def tensor(writer: Any, each: Any) -> None:
        writer.add_tensor(each.name, each.data, raw_dtype=each.tensor_type)
        if each.name == "output_norm.weight":
            for name, value in own.items():
                writer.add_tensor(prefix + name, np.ascontiguousarray(value, np.float32))
        part = each.name.removeprefix(source)
        if each.name.startswith(source) and part not in {*own, *without}:
            writer.add_tensor(prefix + part, each.data, raw_dtype=each.tensor_type)

    rewrite(target, metadata=DECLARED, tensor=tensor)
    return target


def random_layer(seed: int = 0) -> Weights:
    """What is particular to such a layer, and a norm that makes its choices."""
    random = np.random.default_rng(seed)
    return {
        "nextn.eh_proj.weight": random.standard_normal((WIDTH, 2 * WIDTH)) / 16,
        "nextn.enorm.weight": 1 + 0.1 * random.standard_normal(WIDTH),
        "nextn.hnorm.weight": 1 + 0.1 * random.standard_normal(WIDTH),
        "nextn.shared_head_norm.weight": 2 + 0.1 * random.standard_normal(WIDTH),
    }


def exact(weights: Weights) -> Weights:
    """The same with all tensors of the block in full precision, so that it can be computed anew."""
    prefix = f"blk.{LAYER - 1}."
    return {n.removeprefix(prefix): bundled(n) for n in _bundled() if n.startswith(prefix)} | weights


def fitted_layer(states: Callable[[np.ndarray], np.ndarray], ids: np.ndarray) -> Weights:
    """A layer that foretells what follows in a text like `ids`; `states` gives the model's after each."""
    found, gain = states(ids), bundled("output_norm.weight")
    embedded = bundled("token_embd.weight")[ids[1:]]
    inputs = np.concatenate([normed(embedded), normed(found[:-1])], axis=1)
    square = inputs.T @ inputs + 3.0 * np.eye(2 * WIDTH)
    mix = np.linalg.solve(square, inputs.T @ (found[1:] / gain)).T
    prefix = f"blk.{LAYER - 1}."
    parts = [n for n in _bundled() if n.startswith(prefix) and ("attn_output" in n or "ffn_down" in n)]
    return {
        **{name.removeprefix(prefix): np.zeros_like(bundled(name)) for name in parts},
        "nextn.eh_proj.weight": mix,
        "nextn.enorm.weight": np.ones(WIDTH),
        "nextn.hnorm.weight": np.ones(WIDTH),
        "nextn.shared_head_norm.weight": gain,
    }


def normed(rows: np.ndarray) -> np.ndarray:
    """Each of length sqrt(its size), as RMS norms make them."""
    return rows / np.sqrt((rows**2).mean(-1, keepdims=True) + 1e-5)


@cache
def _bundled() -> dict[str, Any]:
    import gguf  # noqa: PLC0415

    return {tensor.name: tensor for tensor in gguf.GGUFReader(NANO.gguf_path).tensors}


@cache
def bundled(name: str) -> np.ndarray:
    """A tensor of the bundled model."""
    import gguf  # noqa: PLC0415

    tensor = _bundled()[name]
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
    return values.reshape(tensor.shape[::-1]).astype(np.float32)


class MtpRoom(Room):
    """A room with such a layer, whose costs are as they are said to be."""

    def fresh(
        self,
        kv_tokens: int = 0,
        costs: CostTable | None = None,
        keeping: Any = None,
        mtp: MtpCosts | None = None,
    ) -> Machine:
        """With empty KV caches, and nothing known of the layer; without costs of it, it is not run."""
        assert self.loaded.mtp is not None
        self.loaded.mtp.close()
        super().fresh(kv_tokens, costs, keeping)
        head = MtpHead(self.loaded.model, self.loaded.placement, self.machine.context)
        self.loaded = replace(self.loaded, context=self.machine.context, mtp=head)
        record = MtpRecord(self.machine.costs, mtp) if mtp is not None else None
        self.machine = replace(self.machine, mtp=Mtp(head, record) if record is not None else None)
        return self.machine

    @property
    def head(self) -> MtpHead:
        assert self.loaded.mtp is not None
        return self.loaded.mtp

    def states(self, ids: np.ndarray, most: int = 1024) -> np.ndarray:
        """The model's after each token; a long text is cut into pieces."""
        self.head.show(Shown.ALL)
        sequence, found = self.machine.context.sequence(), []
        for at in range(0, len(ids), BATCH):
            if at % most == 0:
                sequence.cut(0)
            sequence.feed(ids[at : at + BATCH], Rows.NONE)
            found.append(self.head.shown(len(ids[at : at + BATCH])))
        sequence.close()
        self.head.show(Shown.NONE)
        return np.concatenate(found)

    def close(self) -> None:
        self.head.close()
        super().close()


def room_of(path: Path, **options: Any) -> MtpRoom:
    """Open a room for a file that `write` has made."""
    room = Room.open(path=str(path), **options)
    return MtpRoom(room.loaded, room.machine)


def fitted_file(directory: Path, text: str) -> Path:
    """The bundled model with a layer fitted to a text."""
    room = room_of(write(directory / "unfitted.gguf", random_layer()))
    ids = room.machine.vocabulary.encode([(text, False)]).ids
    weights = fitted_layer(room.states, ids)
    room.close()
    return write(directory / "fitted.gguf", weights)
