"""Model files are judged before llama.cpp sees them; whatever is wrong is a sentence."""

import os
import shutil
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core import profiles
from glm_lsp.core.errors import ConfigError
from glm_lsp.engines import probe
from glm_lsp.engines.gguf import TENSOR_TYPES, read_head
from glm_lsp.engines.probe import gigabytes, model_facts


def check(path: Path, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        model_facts(path)
    assert str(caught.value).endswith(".")


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def gguf(path: Path, *, keys: dict[str, bytes] | None = None, tensors: bytes = b"", count: int = 0) -> Path:
    """Write a GGUF whose values are given as type and bytes."""
    keys = {"general.architecture": struct.pack("<I", 8) + text("glm-dsa"), **(keys or {})}
    body = b"".join(text(k) + v for k, v in keys.items()) + tensors
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, count, len(keys)) + body)
    return path


def part(path: Path, number: int, count: int) -> Path:
    return gguf(
        path / f"big-{number:05}-of-{count:05}.gguf",
        keys={"split.count": struct.pack("<IH", 2, count), "split.no": struct.pack("<IH", 2, number - 1)},
    )


def test_the_bundled_model_is_what_its_profile_says(model_path: str) -> None:
    facts = model_facts(model_path)
    assert facts.architecture == "glm-dsa"
    assert facts.trained_context_tokens == 4096
    assert facts.vocabulary == 8192
    assert facts.pretokenizer == "glm4"
    assert facts.parts == 1
    assert facts.kv_bytes_f16 == profiles.load("nano").kv_bytes_per_token_f16
    assert facts.size_bytes == Path(model_path).stat().st_size
    assert facts.quantisation in {name for name, _, _ in TENSOR_TYPES.values()}


def number(value: int) -> bytes:
    return struct.pack("<II", 4, value)


ORDINARY = {"block_count": 40, "embedding_length": 4096, "attention.head_count": 32}
LATENT = {"attention.kv_lora_rank": 512, "attention.key_length": 576, "attention.head_count_kv": 1}


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (ORDINARY, 40 * 32 * (128 + 128) * 2),
        ({**ORDINARY, "attention.head_count_kv": 8}, 40 * 8 * 256 * 2),
        ({**ORDINARY, **LATENT}, 40 * 576 * 2),
        ({**ORDINARY, **LATENT, "nextn_predict_layers": 1}, 39 * 576 * 2),
        ({}, 0),
    ],
)
def test_the_cache_by_the_shape_of_the_attention(
    tmp_path: Path, shape: dict[str, int], expected: int
) -> None:
    keys = {f"glm-dsa.{name}": number(value) for name, value in shape.items()}
    assert model_facts(gguf(tmp_path / "x.gguf", keys=keys)).kv_bytes_f16 == expected


def test_a_missing_file(tmp_path: Path) -> None:
    check(tmp_path / "none.gguf", "does not exist; set model.path")


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe would be waited for."""
    check(tmp_path, "is a directory; set model.path")
    os.mkfifo(tmp_path / "pipe.gguf")
    check(tmp_path / "pipe.gguf", "is not a regular file; set model.path")
    check(tmp_path / "pipe.gguf/below", "does not exist; set model.path")


def test_something_else(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"PK\3\4" * 100)
    check(tmp_path / "x.gguf", "is not a GGUF model file")


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").touch()
    check(tmp_path / "x.gguf", "is empty; set model.path")


def test_an_old_version(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 1, 0, 0))
    check(tmp_path / "x.gguf", "version 1")


def test_weights_that_are_cut_off(model_path: str, tmp_path: Path) -> None:
    data = Path(model_path).read_bytes()
    (tmp_path / "x.gguf").write_bytes(data[: len(data) // 2])
    check(tmp_path / "x.gguf", "is cut off: it has [0-9,]+ bytes and its tensors need [0-9,]+")


def one_tensor(path: Path, kind: int, *, offset: int = 0, size: int = 64) -> Path:
    """A file with a tensor of 32 elements of that type, and so many bytes after its description."""
    tensor = text("blk.0.attn_q.weight") + struct.pack("<IQIQ", 1, 32, kind, offset)
    made = gguf(path, tensors=tensor, count=1)
    made.write_bytes(made.read_bytes() + b"\0" * size)
    return made


def test_a_quantisation_that_is_unknown_here_is_for_llama_cpp_to_judge(tmp_path: Path) -> None:
    facts = model_facts(one_tensor(tmp_path / "x.gguf", 77))
    assert facts.quantisation == "type 77"
    assert facts.tensors[0].end == facts.size_bytes
    check(one_tensor(tmp_path / "y.gguf", 77, offset=1 << 20), "is cut off")


@pytest.mark.parametrize("kind", [4, 5, 31, 32, 33, 36, 37, 38])
def test_a_quantisation_that_nobody_reads_any_more(kind: int, tmp_path: Path) -> None:
    message = rf"tensor 'blk\.0\.attn_q\.weight' in a quantisation .* no longer reads \(type {kind}\); choose"
    check(one_tensor(tmp_path / "x.gguf", kind), message)


@pytest.mark.parametrize("kind", [9, 15, 24, 25, 26, 27, 28])
def test_a_type_that_is_not_for_weights(kind: int, tmp_path: Path) -> None:
    """llama.cpp loads such a matrix, and then crashes."""
    name = TENSOR_TYPES[kind][0]
    path = one_tensor(tmp_path / "x.gguf", kind, size=4096)
    check(path, rf"tensor 'blk\.0\.attn_q\.weight' as {name}, which is not for weights; choose")


def test_counts_that_no_file_could_hold(tmp_path: Path) -> None:
    path = gguf(tmp_path / "x.gguf", keys={"list": struct.pack("<IIQ", 9, 8, 2**60)})
    check(path, "is damaged")


def test_lists_of_lists(tmp_path: Path) -> None:
    path = gguf(tmp_path / "x.gguf", keys={"list": struct.pack("<IIQ", 9, 9, 1) + b"\0" * 64})
    check(path, "unknown type 9")


def test_no_architecture(tmp_path: Path) -> None:
    check(
        gguf(tmp_path / "x.gguf", keys={"general.architecture": struct.pack("<IB", 0, 1)}),
        "which architecture",
    )


def test_a_split_model_is_counted_together(tmp_path: Path) -> None:
    parts = [part(tmp_path, n, 3) for n in (1, 2, 3)]
    facts = model_facts(parts[0])
    assert facts.parts == 3
    assert facts.size_bytes == sum(p.stat().st_size for p in parts)


def test_a_part_in_the_place_of_another_is_named(tmp_path: Path) -> None:
    first, second, third = (part(tmp_path, n, 3) for n in (1, 2, 3))
    third.write_bytes(second.read_bytes())
    check(first, f"{third} is named like part 3 of 3, but holds part 2; fetch it again.")


def test_missing_parts_are_named(tmp_path: Path) -> None:
    first, second, _ = (part(tmp_path, n, 3) for n in (1, 2, 3))
    second.unlink()
    check(first, "lacks 1 of its 3 parts: big-00002-of-00003.gguf")


def test_not_the_first_part(tmp_path: Path) -> None:
    _, second = (part(tmp_path, n, 2) for n in (1, 2))
    check(second, "is part 2 of 2. Set model.path to the first part of the model, big-00001-of-00002.gguf")


def test_a_renamed_part(tmp_path: Path) -> None:
    check(part(tmp_path, 1, 2).rename(tmp_path / "model.gguf"), "published names")


@pytest.fixture(scope="session")
def head_bytes(model_path: str) -> bytes:
    """The bundled model up to its first weights."""
    head = read_head(Path(model_path))
    return Path(model_path).read_bytes()[: min(t.start for t in head.tensors)]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_damage_never_surprises(
    data: st.DataObject, head_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cut = data.draw(st.integers(0, len(head_bytes)))
    damaged = bytearray(head_bytes[:cut])
    for at in data.draw(st.lists(st.integers(0, 2000), max_size=6)):
        if at < len(damaged):
            damaged[at] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("damaged") / "x.gguf"
    path.write_bytes(damaged)
    with pytest.raises(ConfigError):
        model_facts(path)
    shutil.rmtree(path.parent)


def test_sizes_as_a_person_reads_them() -> None:
    assert gigabytes(238_580_000_000) == "238.6 GB"
    assert gigabytes(13_548_000) == "13.5 MB"


def test_this_machine() -> None:
    facts = probe.machine()
    assert facts.cores >= 1
    assert facts.ram_bytes is None or facts.free_bytes is None or 0 < facts.free_bytes <= facts.ram_bytes
    assert isinstance(probe.gpus(), tuple)
