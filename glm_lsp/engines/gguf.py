"""Read the head of a GGUF file: metadata and tensor extents, never the weights.

The file is untrusted: every count and length is checked against what is left of the file before anything is
read or allocated, and whatever is wrong becomes a ModelFileError. Nothing is mapped, so that a file cut short
while we look at it is an error and not a signal. Layout: the published GGUF specification, versions 2 and 3,
little-endian.
"""

from __future__ import annotations

import bisect
import errno
import re
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from glm_lsp.core.errors import ModelFileError

Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]

_MAGIC = b"GGUF"
_HEAD_LIMIT = 512 << 20
"""Most bytes of metadata; vocabularies of 200,000 tokens need about 10 MB."""
_COUNT_LIMIT = 1 << 20
_UNKNOWN = -1
_STRING = 8
_ARRAY = 9
_FORMATS = {
    **{0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"},
    **{10: "<Q", 11: "<q", 12: "<d"},
}

TENSOR_TYPES: Mapping[int, tuple[str, int, int]] = {
    **{0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22)},
    **{7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 36), 10: ("Q2_K", 256, 84)},
    **{11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210)},
    **{15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98)},
    **{19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82)},
    **{23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8)},
    **{28: ("F64", 1, 8), 29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54)},
    **{35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36)},
    **{41: ("Q1_0", 128, 18), 42: ("Q2_0", 64, 18)},
}
"""By ggml type: name, elements per block, bytes per block."""
_REMOVED = frozenset(f"type {kind}" for kind in (4, 5, 31, 32, 33, 36, 37, 38))
"""ggml's types of old that nobody reads any more."""
_NO_WEIGHTS = frozenset({"Q8_1", "Q8_K", "I8", "I16", "I32", "I64", "F64"})
"""llama.cpp loads a matrix of these, and its first evaluation is a segmentation fault: they are not for
weights."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where one tensor's bytes lie in its file. Of a type that we do not know: up to the next tensor."""

    name: str
    shape: tuple[int, ...]
    type_name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class GgufHead:
    """The metadata and tensors of one file; `size_bytes` is the file's."""

    path: Path
    size_bytes: int
    metadata: Mapping[str, Value]
    tensors: tuple[Tensor, ...] = field(default=())

    def text(self, key: str) -> str:
        """A text value; empty if there is none."""
        value = self.metadata.get(key, "")
        return value if isinstance(value, str) else ""

    def integer(self, key: str) -> int:
        """A whole number; 0 if there is none."""
        value = self.metadata.get(key, 0)
        return value if isinstance(value, int) else 0

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts; empty if there is none."""
        value = self.metadata.get(key, ())
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, tuple) else ()

    def integers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers; empty if there is none."""
        value = self.metadata.get(key, ())
        return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()


def unusable(path: Path) -> str:
    """What `path` is if it is no file with anything in it, as the end of a sentence; else empty."""
    try:
        status = path.stat()
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
        return "does not exist" if missing else f"cannot be read ({error.strerror or error})"
    if stat.S_ISDIR(status.st_mode):
        return "is a directory"
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    return "" if status.st_size else "is empty"


def read_head(path: Path) -> GgufHead:
    """Read one file's metadata and tensor table. Raises ModelFileError if it is missing or no sound GGUF."""
    if why := unusable(path):
        raise ModelFileError(f"The model file {path} {why}; set model.path to a GGUF file.")
    try:
        with path.open("rb") as file:
            return _Reader(path, file, path.stat().st_size).head()
    except OSError as error:
        raise ModelFileError(f"The model file {path} cannot be read: {error.strerror or error}.") from error


def check_extents(head: GgufHead) -> None:
    """Raise ModelFileError if a tensor lies beyond the end of its file: the file was cut off."""
    needed = max((t.end for t in head.tensors), default=0)
    if needed > head.size_bytes:
        raise ModelFileError(
            f"The model file {head.path} is cut off: it has {head.size_bytes:,} bytes and its tensors need "
            f"{needed:,}. Fetch it again."
        )


def check_types(head: GgufHead) -> None:
    """Raise ModelFileError if a tensor is of a type that llama.cpp cannot work with.

    One that is unknown here is for llama.cpp to judge: it may be newer than we are.
    """
    for tensor in head.tensors:
        if tensor.type_name in _NO_WEIGHTS:
            wrong = f"as {tensor.type_name}, which is not for weights"
        elif tensor.type_name in _REMOVED:
            wrong = f"in a quantisation that llama.cpp no longer reads ({tensor.type_name})"
        else:
            continue
        raise ModelFileError(
            f"The model file {head.path} has tensor '{tensor.name}' {wrong}; choose a file with another one."
        )


_PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


def part_paths(head: GgufHead) -> tuple[Path, ...]:
    """Return the files of a split model, in order; one file is its own only part.

    Raises ModelFileError if `head` is not the first part, or if parts are missing, naming them.
    """
    count = head.integer("split.count")
    if count <= 1:
        return (head.path,)
    match = _PART.fullmatch(head.path.name)
    if count > 99_999 or match is None or int(match["count"]) != count:
        raise ModelFileError(
            f"The model file {head.path} is one of {count} parts, but is not named like it "
            f"(…-00001-of-{count:05}.gguf); give the parts their published names."
        )
    paths = tuple(
        head.path.with_name(f"{match['stem']}-{n:05}-of-{count:05}.gguf") for n in range(1, count + 1)
    )
    if int(match["number"]) != 1:
        raise ModelFileError(
            f"The model file {head.path} is part {int(match['number'])} of {count}. Set model.path to the "
            f"first part of the model, {paths[0].name}."
        )
    if missing := [p.name for p in paths if not p.is_file()]:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        raise ModelFileError(
            f"The model in {head.path.parent} lacks {len(missing)} of its {count} parts: {shown}."
        )
    return paths


def check_parts(heads: Sequence[GgufHead]) -> None:
    """Raise ModelFileError if a part of a split model is another one than its name says."""
    for number, head in enumerate(heads):
        if len(heads) > 1 and head.integer("split.no") != number:
            raise ModelFileError(
                f"The model file {head.path} is named like part {number + 1} of {len(heads)}, but holds part "
                f"{head.integer('split.no') + 1}; fetch it again."
            )


class _Reader:
    """A cursor over the head of a file, read in growing pieces."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size
        self._data = b""
        self._at = 0

    def head(self) -> GgufHead:
        if self._take(4) != _MAGIC:
            raise ModelFileError(f"{self._path} is not a GGUF model file: it does not begin with 'GGUF'.")
        version = self._integer("<I")
        if version not in (2, 3):
            raise ModelFileError(
                f"The model file {self._path} is GGUF version {version} or of another byte order; "
                "versions 2 and 3, little-endian, are known."
            )
        tensors, keys = self._integer("<Q"), self._integer("<Q")
        if tensors > _COUNT_LIMIT or keys > _COUNT_LIMIT:
            raise self._broken(f"it claims {tensors} tensors and {keys} keys")
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self._string()
            metadata[key] = self._value(self._integer("<I"), key)
        infos = [self._tensor() for _ in range(tensors)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or alignment < 1 or alignment > 1 << 20:
            raise self._broken("its alignment is not a sensible number")
        base = -(-self._at // alignment) * alignment
        return GgufHead(self._path, self._size, metadata, _placed(infos, base, self._size))

    def _value(self, kind: int, key: str) -> Value:
        if kind != _ARRAY:
            return self._scalar(kind, key)
        kind, count = self._integer("<I"), self._integer("<Q")
        if kind == _STRING:
            self._room(count * 8)
            return tuple(self._string() for _ in range(count))
        if kind not in _FORMATS:
            raise self._broken(f"'{key}' has values of an unknown type {kind}")
        form = _FORMATS[kind][1:]
        return struct.unpack(f"<{count}{form}", self._take(count * struct.calcsize(form)))

    def _scalar(self, kind: int, key: str) -> Scalar:
        if kind == _STRING:
            return self._string()
        if kind not in _FORMATS:
            raise self._broken(f"'{key}' has an unknown type {kind}")
        return self._unpack(_FORMATS[kind])

    def _tensor(self) -> Tensor:
        name = self._string()
        dimensions = self._integer("<I")
        if dimensions > 8:
            raise self._broken(f"tensor '{name}' has {dimensions} dimensions")
        shape = tuple(self._integer("<Q") for _ in range(dimensions))
        kind, offset = self._integer("<I"), self._integer("<Q")
        if kind not in TENSOR_TYPES:
            return Tensor(name, shape, f"type {kind}", offset, _UNKNOWN)
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        elements = 1
        for size in shape:
            elements *= size
        return Tensor(name, shape, type_name, offset, offset + -(-elements // block) * block_bytes)

    def _string(self) -> str:
        data = self._take(self._integer("<Q"))
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            # Token texts of some vocabularies are raw bytes; they must not end the reading.
            return data.decode("utf-8", "replace")

    def _integer(self, form: str) -> int:
        return int(self._unpack(form))

    def _unpack(self, form: str) -> bool | int | float:
        value: bool | int | float = struct.unpack(form, self._take(struct.calcsize(form)))[0]
        return value

    def _take(self, count: int) -> bytes:
        self._room(count)
        end = self._at + count
        if end > len(self._data):
            self._data += self._file.read(max(end - len(self._data), len(self._data), 1 << 16))
        if end > len(self._data):
            raise self._broken("it ends in the middle of its own description")
        taken, self._at = self._data[self._at : end], end
        return taken

    def _room(self, count: int) -> None:
        """Refuse a length that the file cannot hold, before anything of that size is made."""
        if self._at + count > self._size:
            raise self._broken("it ends in the middle of its own description")
        if self._at + count > _HEAD_LIMIT:
            raise self._broken(f"its description is longer than {_HEAD_LIMIT >> 20} MiB")

    def _broken(self, what: str) -> ModelFileError:
        return ModelFileError(f"The model file {self._path} is damaged: {what}. Fetch it again.")


def _placed(tensors: list[Tensor], base: int, size: int) -> tuple[Tensor, ...]:
    """The tensors with places in the file: `base` is where the first one lies."""
    starts = sorted({tensor.start + base for tensor in tensors})

    def end(tensor: Tensor) -> int:
        if tensor.end != _UNKNOWN:
            return tensor.end + base
        after = bisect.bisect_right(starts, tensor.start + base)
        return starts[after] if after < len(starts) else max(size, tensor.start + base + 1)

    return tuple(Tensor(t.name, t.shape, t.type_name, t.start + base, end(t)) for t in tensors)
