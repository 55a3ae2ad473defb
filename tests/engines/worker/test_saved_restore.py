"""The bundled model: what one process has read and saved, another one restores, and writes the same words."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import BATCH, ENVIRONMENT, NANO, feed_all, load_of, rewrite
from saving import files, put, saving

from glm_lsp.engines import probe
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.engines.worker.identity import engine_version, identity, weights

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")

from glm_lsp.engines.worker.keeping import Keeping  # noqa: E402
from glm_lsp.engines.worker.loading import Loaded, open_model  # noqa: E402

HERE = Path(__file__).parent
TRUNK_TOKENS, TAIL_TOKENS, WRITTEN = 500, 120, 24


def told(path: str | Path = NANO.gguf_path, **other: Any) -> str:
    """The identity of a model file as the tests run it."""
    values: dict[str, Any] = {
        "kv_type": "f32",
        "flash_attention": True,
        "template": "glm-5.2",
        "layout_version": 1,
        "engine_version": engine_version(),
        "batch_tokens": BATCH,
    }
    return identity(probe.model_facts(path), **{**values, **other})


def prompt() -> np.ndarray:
    """The beginning of this project's own text."""
    text = (HERE.parents[2] / "README.md").read_text(encoding="utf-8")
    ids = GgufTokenizer(NANO.gguf_path).encode(text)
    return np.asarray(ids[: TRUNK_TOKENS + TAIL_TOKENS], np.int32)


def write(context: Any, sequence: Any) -> list[int]:
    """The greedy continuation."""
    written: list[int] = []
    for _ in range(WRITTEN):
        written.append(int(context.logits().argmax()))
        sequence.feed([written[-1]])
    return written


def keeping(saved: Any) -> Keeping:
    """As on a machine that reads 100 tokens a second."""
    return Keeping(saved, 1000.0, lambda start, end: (end - start) / 100)


def first_process(directory: Path) -> dict[str, Any]:
    """Read all of the prompt, save its trunk, write on."""
    loaded, ids = open_model(load_of()), prompt()
    with saving(directory, told()) as (saved, said):
        sequence = loaded.context.sequence()
        feed_all(sequence, ids)
        trunk = sequence.fork(TRUNK_TOKENS)
        kept = keeping(saved).save_last([trunk], 60.0)
    return {"written": write(loaded.context, sequence), "kept": kept, "said": said}


def second_process(directory: Path) -> dict[str, Any]:
    """Restore, read the rest, write on."""
    loaded, ids = open_model(load_of()), prompt()
    with saving(directory, told()) as (saved, said):
        keep = keeping(saved)
        found = keep.better(ids, 0)
        assert found is not None
        sequence = keep.restore(loaded.context, found, ids)
    assert sequence is not None
    restored = sequence.count
    feed_all(sequence, ids[restored:])
    return {"written": write(loaded.context, sequence), "restored": restored, "said": said}


def in_a_process(name: str, directory: Path) -> dict[str, Any]:
    code = (
        "import json, sys, test_saved_restore as t; from pathlib import Path; "
        "print(json.dumps(getattr(t, sys.argv[1])(Path(sys.argv[2]))))"
    )
    paths = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code, name, str(directory)],
        env={**ENVIRONMENT, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    loaded = open_model(load_of())
    yield loaded
    loaded.close()


def test_another_process_goes_on_with_the_same_words(tmp_path: Path) -> None:
    first = in_a_process("first_process", tmp_path)
    second = in_a_process("second_process", tmp_path)
    assert first["kept"] == 1
    assert second["restored"] == TRUNK_TOKENS, "so only the rest is evaluated"
    assert second["written"] == first["written"]
    assert len(set(first["written"])) > 1
    assert first["said"] == second["said"] == []


def test_a_restored_prompt_is_cut_to_what_the_request_begins_with(tmp_path: Path, loaded: Loaded) -> None:
    context, ids = loaded.context, prompt()
    sequence = context.sequence()
    feed_all(sequence, ids)
    wanted = np.concatenate([ids[:300], ids[:40]])
    with saving(tmp_path, told()) as (saved, _):
        put(saved, sequence.tokens, sequence.save())
        sequence.cut(300)
        feed_all(sequence, ids[:40])
        expected = context.logits().copy()
        sequence.close()
        keep = keeping(saved)
        found = keep.better(wanted, 0)
        assert found is not None
        restored = keep.restore(context, found, wanted)
    assert restored is not None
    assert restored.tokens.tolist() == ids[:300].tolist()
    feed_all(restored, ids[:40])
    assert np.array_equal(context.logits(), expected)
    restored.close()
    assert context.used_cells == 0


def test_the_state_of_other_weights_of_the_same_shape_is_refused_though_llama_cpp_takes_it(
    tmp_path: Path, loaded: Loaded
) -> None:
    def other_weights(writer: Any, tensor: Any) -> None:
        data = tensor.data
        if tensor.name == "output_norm.weight":
            data = data + np.float32(0.01)
        writer.add_tensor(tensor.name, data, raw_dtype=tensor.tensor_type)

    other = tmp_path / "nano.gguf"
    rewrite(other, tensor=other_weights)
    ids = prompt()[:300]
    sequence = loaded.context.sequence()
    feed_all(sequence, ids)
    with saving(tmp_path / "kv", told(other)) as (saved, _):
        put(saved, ids, sequence.save())
    data = sequence.save()
    sequence.close()
    taken = loaded.context.restore(data, ids)
    assert taken is not None
    taken.close()
    with saving(tmp_path / "kv", told()) as (saved, said):
        assert saved.best(ids) is None
        assert keeping(saved).better(ids, 0) is None
        assert said == []


def test_a_state_that_llama_cpp_refuses_is_removed(tmp_path: Path, loaded: Loaded) -> None:
    ids = prompt()
    with saving(tmp_path, told()) as (saved, said):
        put(saved, ids, memoryview(bytes(1000)))
        keep = keeping(saved)
        found = keep.better(ids, 0)
        assert found is not None
        assert keep.restore(loaded.context, found, ids) is None
        assert files(tmp_path) == []
        assert len(said) == 1
    assert loaded.context.used_cells == 0


class TestIdentity:
    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ("kv_type", "q8_0"),
            ("flash_attention", False),
            ("template", "glm-4.7"),
            ("layout_version", 2),
            ("engine_version", "llama-cpp-python 0.3.37"),
            ("batch_tokens", 128),
        ],
    )
    def test_whatever_changes_a_state_changes_it(self, name: str, other: object) -> None:
        assert told() != told(**{name: other})
        assert told() == told()

    def test_it_says_what_a_person_calls_the_model(self) -> None:
        facts = probe.model_facts(NANO.gguf_path)
        said = json.loads(told())
        assert (said["model"], said["quantisation"]) == (facts.title, facts.quantisation)

    def test_a_files_name_and_place_are_no_part_of_it(self, tmp_path: Path) -> None:
        shutil.copy2(NANO.gguf_path, tmp_path / "other.gguf")
        assert told(tmp_path / "other.gguf") == told()

    def test_a_file_that_was_written_again_is_another(self, tmp_path: Path) -> None:
        shutil.copyfile(NANO.gguf_path, tmp_path / "same.gguf")
        assert weights(tmp_path / "same.gguf") != weights(Path(NANO.gguf_path))

    @pytest.mark.parametrize("limit", [0, 1 << 30], ids=["sampled", "whole"])
    def test_other_weights_of_the_same_size_and_time_are_others(
        self, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("glm_lsp.engines.worker.identity._WHOLE_BYTES", limit)
        path = tmp_path / "model.gguf"
        shutil.copy2(NANO.gguf_path, path)
        before, status = weights(path), path.stat()
        content = bytearray(path.read_bytes())
        content[len(content) * 2 // 3 :] = bytes(len(content) - len(content) * 2 // 3)
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert weights(path) != before

    def test_every_part_of_a_split_model_counts(self, tmp_path: Path) -> None:
        rewrite(tmp_path / "model.gguf", tensors_of_a_part=20)
        parts = sorted(tmp_path.glob("model-*.gguf"))
        assert len(parts) > 2
        before = weights(parts[0])
        last = bytearray(parts[-1].read_bytes())
        last[-1] ^= 1
        status = parts[-1].stat()
        parts[-1].write_bytes(last)
        os.utime(parts[-1], ns=(status.st_atime_ns, status.st_mtime_ns))
        assert weights(parts[0]) != before

    @pytest.mark.parametrize(
        ("title", "shown"),
        [("", Path(NANO.gguf_path).stem), ("x" * 100_000, "x" * 200)],
        ids=["none", "long"],
    )
    def test_a_title_may_be_missing_or_of_any_length(self, title: str, shown: str, tmp_path: Path) -> None:
        said = identity(
            replace(probe.model_facts(NANO.gguf_path), title=title),
            kv_type="f16",
            flash_attention=True,
            template="",
            layout_version=1,
            engine_version="",
            batch_tokens=256,
        )
        assert json.loads(said)["model"] == shown
        with saving(tmp_path, said) as (saved, notes):
            put(saved, prompt(), memoryview(bytes(10)))
            assert saved.best(prompt()) is not None
            assert notes == []
