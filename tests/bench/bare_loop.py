"""The least that writing takes: evaluate a token, take the likeliest, again. A process beside a worker.

`python -m tests.bench.bare_loop LOAD`, the latter as JSON. Each line of stdin is `[prompt ids, steps]`, each
of stdout what that took: `[wall seconds, processor seconds, last token]` of the steps alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import time

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GGML_NO_BACKTRACE", "1")

import msgspec
import numpy as np

from glm_lsp.engines.frames import Load
from glm_lsp.engines.worker.context import Rows
from glm_lsp.engines.worker.llama import L
from glm_lsp.engines.worker.loading import open_model


def main(arguments: list[str]) -> None:
    opened = open_model(msgspec.json.decode(arguments[0], type=Load))
    size = opened.model.size
    handle = opened.context._handle
    memory = L.llama_get_memory(handle)
    batch = L.llama_batch_init(1, 0, 1)
    batch.n_tokens, batch.n_seq_id[0], batch.logits[0] = 1, 1, True
    print("ready", flush=True)
    for line in sys.stdin:
        ids, steps = json.loads(line)
        sequence = opened.context.sequence()
        for at in range(0, len(ids), opened.context.batch_tokens):
            sequence.feed(ids[at : at + opened.context.batch_tokens], Rows.LAST)
        token = int(opened.context.logits().argmax())
        batch.seq_id[0][0] = sequence.id
        address = ctypes.addressof(L.llama_get_logits(handle).contents)
        row = np.frombuffer((ctypes.c_float * size).from_address(address), np.float32)
        decode, count = L.llama_decode, len(ids)
        wall, processor = time.perf_counter(), time.process_time()
        for position in range(count, count + steps):
            batch.token[0], batch.pos[0] = token, position
            if decode(handle, batch):
                sys.exit("llama_decode failed")
            token = int(row.argmax())
        took = time.perf_counter() - wall, time.process_time() - processor
        assert ctypes.addressof(L.llama_get_logits(handle).contents) == address
        L.llama_memory_seq_rm(memory, sequence.id, -1, -1)
        sequence.close()
        print(json.dumps([*took, token]), flush=True)
    opened.close()


if __name__ == "__main__":
    main(sys.argv[1:])
