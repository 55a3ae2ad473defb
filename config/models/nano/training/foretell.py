"""Train a layer that foretells tokens (MTP) for a trained model, which itself stays as it is.

`python foretell.py RUN_DIRECTORY nano.gguf with-mtp.gguf --minutes 15` reads the run's checkpoint and the
model file made of it, and writes that file once more with the layer. What the layer learns is what the model
would choose next, not what the text has next: a guess is worth something where the model agrees.

The bundled file has no such layer. With fourteen minutes on one processor half of the model's choices are
foretold, which would pay by the costs of a large model. In one so small the table of embeddings is a third of
a step, and a guess reads it too: by a processor's costs it is never run (`tests/bench/bench_mtp.py`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import gguf
import torch
from corpus import load, load_tokenizer
from export import add_tensor, layer_tensors, load_model
from model import HeadLoss, Layer, Nano, Shape, linear, rms_norm, rotation
from optimiser import Optimiser
from stream import Batch, Stream
from torch import Tensor, nn
from train import held_rows

STEP_TOKENS, LENGTH = 4096, 512
WARM_UP = 20
FALL_SHARE = 0.5


class Foretelling(nn.Module):
    """The layer: a token and the state before it, mixed, through one decoder block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_norm = nn.Parameter(torch.ones(shape.width))
        self.state_norm = nn.Parameter(torch.ones(shape.width))
        self.mix = linear(2 * shape.width, shape.width)
        self.block = Layer(shape, shape.layers)
        self.out_norm = nn.Parameter(torch.ones(shape.width))
        for name, parameter in self.named_parameters():
            if "router" in name:
                nn.init.normal_(parameter, std=0.02)
            elif parameter.dim() > 1:
                into_stream = "out." in name or "down" in name
                nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5 * (0.2 if into_stream else 1.0))

    def forward(self, embedded: Tensor, states: Tensor) -> Tensor:
        """(batch, length, width) of tokens and of the states before them; the states that foretell."""
        s = self.shape
        parts = (rms_norm(embedded, self.token_norm, s.epsilon), rms_norm(states, self.state_norm, s.epsilon))
        x = self.block(self.mix(torch.cat(parts, -1)), rotation(s, embedded.shape[1]))
        return rms_norm(x, self.out_norm, s.epsilon)


def loss(model: Nano, layer: Foretelling, ids: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Nats per token of the model's choices, and the share that is foretold rightly (one row in four)."""
    head = model.embedding.weight
    with torch.no_grad():
        states = model.hidden(ids)
        embedded = model.embedding(ids[:, 1:])
    found = layer(embedded, states[:, :-1]).flatten(0, 1)
    counted = weights[:, 1:].flatten().nonzero()[:, 0]
    found, wanted = found[counted], states[:, 1:].flatten(0, 1)[counted]
    with torch.no_grad():
        choices = torch.cat([(part @ head.T).argmax(-1) for part in wanted.split(1024)])
        right = (found[::4] @ head.T).argmax(-1) == choices[::4]
    ones = torch.ones(len(choices))
    return HeadLoss.apply(found, head, choices, ones), right.float().mean().item()


def train(run: Path, minutes: float, seed: int) -> Foretelling:
    """One process, one thread; the learning rates follow the time."""
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    model = load_model(run).to_bfloat16()
    layer = Foretelling(model.shape).bfloat16()
    layer.block.mix.bias = layer.block.mix.bias.float()
    layer.block.mix.load = layer.block.mix.load.float()
    optimiser = Optimiser(layer)
    training, kept = load()
    tokenizer = load_tokenizer(run)
    held = held_rows(tokenizer, kept)
    stream = Stream(training, tokenizer, seed, run)
    began, smooth, tokens, slice_ = time.monotonic(), 0.0, 0, 0
    while (passed := (time.monotonic() - began) / (60 * minutes)) < 1:
        batches: list[Batch] = stream.build(slice_, 2, LENGTH, STEP_TOKENS, (0, 1), lambda mine: [mine])
        slice_ += 1
        for batch in batches:
            ids, weights = torch.from_numpy(batch.ids), torch.from_numpy(batch.weights)
            value, right = loss(model, layer, ids[:, :-1], weights[:, 1:])
            value.backward()
            passed = (time.monotonic() - began) / (60 * minutes)
            factor = min((optimiser.steps + 1) / WARM_UP, max((1 - passed) / FALL_SHARE, 0.01), 1.0)
            optimiser.step(factor)
            layer.block.mix.balance(0.003)
            tokens += batch.tokens
            smooth = right if not smooth else 0.95 * smooth + 0.05 * right
            if optimiser.steps % 20 == 0:
                print(
                    f"step {optimiser.steps} tokens {tokens} loss {value.item():.3f} right {smooth:.3f}",
                    flush=True,
                )
            if passed >= 1:
                break
    layer.eval()
    for name, rows in held.items():
        with torch.no_grad():
            ids = torch.stack([torch.from_numpy(r.ids.astype("int64")) for r in rows[:20]])
            value, right = loss(model, layer, ids, torch.ones(ids.shape))
        print(f"held out, {name}: loss {value.item():.3f}, right {right:.3f}", flush=True)
    state = {name: optimiser.master.get(name, part.float()) for name, part in layer.state_dict().items()}
    layer.float().load_state_dict(state)
    return layer


def write(layer: Foretelling, source: Path, target: Path, kind: str = "q8_0") -> None:
    """The model file `source` with the layer, its matrices as `kind`."""
    reader, shape = gguf.GGUFReader(source), layer.shape
    writer = gguf.GGUFWriter(target, "glm-dsa")
    count = "glm-dsa.block_count"
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name in {"general.architecture", count}:
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    writer.add_uint32(count, shape.layers + 1)
    writer.add_uint32("glm-dsa.nextn_predict_layers", 1)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    own = _arrays(layer)
    state = {n.removeprefix("block."): v for n, v in own.items() if n.startswith("block.")}
    found = layer_tensors(shape, shape.layers, state) | {
        "nextn.eh_proj.weight": own["mix.weight"],
        "nextn.enorm.weight": own["token_norm"],
        "nextn.hnorm.weight": own["state_norm"],
        "nextn.shared_head_norm.weight": own["out_norm"],
    }
    for name, value in found.items():
        add_tensor(writer, f"blk.{shape.layers}.{name}", value, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _arrays(layer: Foretelling) -> dict[str, Any]:
    return {name: value.detach().numpy() for name, value in layer.state_dict().items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("source", type=Path, help="the model's file")
    parser.add_argument("target", type=Path)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    layer = train(options.run, options.minutes, options.seed)
    write(layer, options.source, options.target)


if __name__ == "__main__":
    main()
