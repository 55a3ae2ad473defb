"""What this machine has and what a model file is, without llama.cpp: memory, cores, GPUs, GGUF facts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from glm_lsp.core.errors import ModelFileError
from glm_lsp.engines.gguf import (
    GgufHead,
    Tensor,
    check_extents,
    check_parts,
    check_types,
    part_paths,
    read_head,
)

KV_SCALE = {"f16": 1.0, "q8_0": 34 / 64, "q4_0": 18 / 64, "f32": 2.0}
"""Bytes of the KV cache by its type, as a share of f16's."""
_INDEXER = re.compile(r"blk\.(\d+)\.indexer\.attn_k\.weight")


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Memory in bytes (None: unknown), physical cores that this process may use."""

    ram_bytes: int | None
    free_bytes: int | None
    cores: int


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    memory_bytes: int
    free_bytes: int


MTP_CARRIED = (
    "The model file carries a layer that foretells tokens (MTP). The worker drafts with it where that is "
    "measured to pay; `glm-lsp worker status` says whether it does."
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model file, all its parts together."""

    path: Path
    parts: int
    size_bytes: int
    title: str
    architecture: str
    quantisation: str
    """The type that holds most of the weights' bytes."""
    trained_context_tokens: int
    layers: int
    vocabulary: int
    pretokenizer: str
    tensors: tuple[Tensor, ...] = field(default=(), repr=False)
    """Of all parts. `start` and `end` are places in their own part."""
    draft_layers: int = 0
    """Layers that foretell tokens (MTP, "nextn") which the file carries, after its other layers."""
    experts: int = 0
    """Routed experts of a layer; 0: none."""
    experts_used: int = 0
    """Per token."""
    kv_bytes_f16: int = 0
    """Of the KV cache, per token, by the shape of the attention; 0: the file does not tell."""

    @property
    def tensor_names(self) -> tuple[str, ...]:
        return tuple(tensor.name for tensor in self.tensors)


def machine() -> MachineFacts:
    """Look at this machine. Cheap; reads a few small files at most."""
    ram, free = _memory()
    return MachineFacts(ram, free, _cores())


def gpus() -> tuple[Gpu, ...]:
    """Ask nvidia-smi, if it is there; empty where it is not, which does not mean that there is no GPU."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    query = [program, "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found: list[Gpu] = []
    for line in answer.stdout.splitlines():
        name, *sizes = (field.strip() for field in line.rsplit(",", 2))
        if len(sizes) == 2 and all(size.isdigit() for size in sizes):
            found.append(Gpu(name, int(sizes[0]) << 20, int(sizes[1]) << 20))
    return tuple(found)


def model_facts(path: str | Path) -> ModelFacts:
    """Read a model file's facts and check that all of it is there. Raises ModelFileError with the remedy."""
    head = read_head(Path(path))
    heads = [head, *(read_head(part) for part in part_paths(head)[1:])]
    check_parts(heads)
    for part in heads:
        check_types(part)
        check_extents(part)
    architecture = head.text("general.architecture")
    tensors = tuple(tensor for part in heads for tensor in part.tensors)
    if not architecture:
        raise ModelFileError(f"The model file {path} does not say which architecture it is; fetch another.")
    return ModelFacts(
        path=head.path,
        parts=len(heads),
        size_bytes=sum(part.size_bytes for part in heads),
        title=head.text("general.name"),
        architecture=architecture,
        quantisation=_quantisation(heads),
        trained_context_tokens=head.integer(f"{architecture}.context_length"),
        layers=head.integer(f"{architecture}.block_count"),
        vocabulary=len(head.texts("tokenizer.ggml.tokens")),
        pretokenizer=head.text("tokenizer.ggml.pre"),
        tensors=tensors,
        draft_layers=sum(tensor.name.endswith(".nextn.eh_proj.weight") for tensor in tensors),
        experts=head.integer(f"{architecture}.expert_count"),
        experts_used=head.integer(f"{architecture}.expert_used_count"),
        kv_bytes_f16=_kv_bytes(head, architecture, (tensor.name for tensor in tensors)),
    )


def gigabytes(count: int) -> str:
    """Bytes as a person reads them, in GB of 10^9."""
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _kv_bytes(head: GgufHead, architecture: str, names: Iterable[str]) -> int:
    """Keys and values of all layers. Latent attention has one key, its value too; an indexer has a key."""

    def number(name: str) -> int:
        return head.integer(f"{architecture}.{name}")

    layers = number("block_count") - number("nextn_predict_layers")
    heads = head.integers(f"{architecture}.attention.head_count_kv")[:layers]
    keys = sum(heads) or layers * (number("attention.head_count_kv") or number("attention.head_count"))
    width = number("embedding_length") // (number("attention.head_count") or 1)
    value = 0 if number("attention.kv_lora_rank") else number("attention.value_length") or width
    found = (_INDEXER.match(name) for name in names)
    indexers = sum(1 for match in found if match and int(match[1]) < layers)
    row = (number("attention.key_length") or width) + value
    return 2 * (keys * row + indexers * number("attention.indexer.key_length"))


def _quantisation(heads: list[GgufHead]) -> str:
    sizes: Counter[str] = Counter()
    for head in heads:
        for tensor in head.tensors:
            sizes[tensor.type_name] += tensor.end - tensor.start
    return sizes.most_common(1)[0][0] if sizes else ""


def _memory() -> tuple[int | None, int | None]:
    if sys.platform == "linux":
        return _linux_memory()
    if sys.platform == "darwin":
        total = _sysctl("hw.memsize")
        page, free = _sysctl("hw.pagesize"), _sysctl("vm.page_free_count")
        inactive = _sysctl("vm.page_pageable_external_count")
        return total, (page * (free + (inactive or 0)) if page and free else None)
    return None, None


def _linux_memory() -> tuple[int | None, int | None]:
    fields: dict[str, int] = {}
    for line in _text("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        number = value.split()
        if number and number[0].isdigit():
            fields[name] = int(number[0]) << 10
    total, free = fields.get("MemTotal"), fields.get("MemAvailable")
    # A container may be allowed less than the machine has.
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit() and total is not None and free is not None:
        reclaimable = 0
        for line in _text("/sys/fs/cgroup/memory.stat").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "active_file") and value.isdigit():
                reclaimable += int(value)
        total, free = min(total, int(limit)), min(free, max(int(limit) - int(used) + reclaimable, 0))
    return total, free


def _cores() -> int:
    """Physical cores that this process may use: two threads on one core only take turns."""
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or 1
    if sys.platform != "linux":
        return max((os.cpu_count() or 2) // 2, 1)
    usable = os.sched_getaffinity(0)
    siblings = {
        _text(f"/sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list").strip() or str(n)
        for n in usable
    }
    cores = len(siblings)
    quota, _, period = _text("/sys/fs/cgroup/cpu.max").strip().partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, max(int(quota) // int(period), 1))
    return cores


def _sysctl(name: str) -> int | None:
    try:
        answer = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    text = answer.stdout.strip()
    return int(text) if text.isdigit() else None


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
