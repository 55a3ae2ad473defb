"""Which model, engine and prompt shapes saved state belongs to: what differs in one of them is not loaded.

llama.cpp loads the state of other weights of the same shape without a word, so the weights' identity is ours
to know. All of a file of hundreds of gigabytes cannot be read at every start; what is read of it is said in
`weights`.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
from importlib import metadata
from pathlib import Path

from glm_lsp.core.errors import ModelFileError
from glm_lsp.engines.gguf import GgufHead, part_paths, read_head
from glm_lsp.engines.probe import ModelFacts

_SAMPLE_BYTES = 4096
_TITLE_LENGTH = 200
_HEAD_BYTES = 64 << 20
_WHOLE_BYTES = 32 << 20
"""Files up to this size are read as a whole."""


def identity(
    facts: ModelFacts,
    *,
    kv_type: str,
    flash_attention: bool,
    template: str,
    layout_version: int,
    engine_version: str,
    batch_tokens: int,
) -> str:
    """Return the identity as text, JSON with sorted keys: equal texts, and only those, may share state.

    Where layers are placed is no part of it: it changes a state's last bits, not its meaning or its shape.
    Raises ModelFileError if the model's files cannot be read.
    """
    return json.dumps(
        {
            # Texts of the file: of any length, and told apart by its digest in any case.
            "model": (facts.title or facts.path.stem)[:_TITLE_LENGTH],
            "architecture": facts.architecture[:_TITLE_LENGTH],
            "quantisation": facts.quantisation,
            "weights": weights(facts.path),
            "kv_type": kv_type,
            "flash_attention": flash_attention,
            "template": template,
            "layout": layout_version,
            "engine": engine_version,
            "batch_tokens": batch_tokens,
        },
        sort_keys=True,
    )


def weights(path: Path) -> str:
    """Return a digest that other weights do not have; the files' names are no part of it.

    Of each part: size, time of the last change, everything before the tensors, and 4 KiB from the middle of
    every tensor (a file of at most 32 MB: all of it). Weights changed elsewhere, with size and time put back
    on purpose, would not be noticed. Raises ModelFileError.
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in part_paths(read_head(path)):
        _part(digest, read_head(part))
    return digest.hexdigest()


def engine_version() -> str:
    """The version of the bindings and a digest of their libraries: a rebuilt one may lay state out anew."""
    try:
        version = metadata.version("llama-cpp-python")
    except metadata.PackageNotFoundError:
        version = "unknown"
    spec = importlib.util.find_spec("llama_cpp")
    places = spec.submodule_search_locations if spec is not None else None
    digest = hashlib.blake2b(digest_size=8)
    for place in places or ():
        for library in sorted((Path(place) / "lib").glob("*llama*")):
            if library.is_file():
                digest.update(library.read_bytes())
    return f"llama-cpp-python {version} {digest.hexdigest()}"


def _part(digest: hashlib.blake2b, head: GgufHead) -> None:
    try:
        with head.path.open("rb") as file:
            status = os.fstat(file.fileno())
            digest.update(b"%d %d " % (status.st_size, status.st_mtime_ns))
            if status.st_size <= _WHOLE_BYTES:
                digest.update(file.read(_WHOLE_BYTES))
                return
            first = min((tensor.start for tensor in head.tensors), default=_HEAD_BYTES)
            digest.update(file.read(min(first, _HEAD_BYTES)))
            for tensor in head.tensors:
                middle = (tensor.start + tensor.end) // 2
                file.seek(max(min(middle, tensor.end - _SAMPLE_BYTES), tensor.start))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"The model file {head.path} cannot be read: {reason}.") from error
