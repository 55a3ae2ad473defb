"""Model files as they come: in parts, cut off, of another kind, with a template that wants to be executed."""

import ctypes
import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models import BATCH, ENVIRONMENT, NANO, feed_all, load_of, rewrite, some_tokens

from glm_lsp.core.errors import ConfigError

pytestmark = pytest.mark.embedded
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'")
pytest.importorskip("gguf", reason="gguf is not installed: pip install 'glm-lsp[dev]'")

from glm_lsp.engines.gguf import TENSOR_TYPES  # noqa: E402
from glm_lsp.engines.probe import model_facts  # noqa: E402
from glm_lsp.engines.tokenizers import GgufTokenizer  # noqa: E402
from glm_lsp.engines.worker.loading import open_model  # noqa: E402

PROMPT = some_tokens(BATCH + 20)


def answer(path: str | Path) -> np.ndarray:
    """Load a file and evaluate a prompt with it."""
    loaded = open_model(load_of(path=str(path)))
    feed_all(loaded.context.sequence(), PROMPT)
    logits = loaded.context.logits().copy()
    loaded.close()
    return logits


def check_refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        open_model(load_of(path=str(path), **options))
    assert str(caught.value).endswith(".")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    directory = tmp_path_factory.mktemp("split")
    rewrite(directory / "nano.gguf", tensors_of_a_part=40)
    return sorted(directory.iterdir())


class TestParts:
    def test_a_model_in_parts_is_the_model(self, parts: list[Path]) -> None:
        assert [part.name for part in parts] == [f"nano-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
        assert np.array_equal(answer(parts[0]), answer(NANO.gguf_path))

    def test_experts_of_all_parts_can_be_placed(self, parts: list[Path]) -> None:
        loaded = open_model(load_of(path=str(parts[0]), cpu_expert_layers=-1))
        assert len(loaded.model.overridden) == 15
        assert loaded.facts.parts == 3
        loaded.close()

    def test_another_part_than_the_first(self, parts: list[Path]) -> None:
        check_refused(parts[1], r"is part 2 of 3\..* first part of the model, nano-00001-of-00003\.gguf")

    def test_missing_parts_are_named(self, parts: list[Path], tmp_path: Path) -> None:
        for part in (parts[0], parts[2]):
            (tmp_path / part.name).write_bytes(part.read_bytes())
        check_refused(tmp_path / parts[0].name, r"lacks 1 of its 3 parts: nano-00002-of-00003\.gguf")

    def test_a_part_that_is_cut_off(self, parts: list[Path], tmp_path: Path) -> None:
        for part in parts:
            data = part.read_bytes()
            (tmp_path / part.name).write_bytes(data[:-100] if part is parts[1] else data)
        check_refused(tmp_path / parts[0].name, r"nano-00002-of-00003\.gguf is cut off")


class TestBadFiles:
    def test_a_file_that_is_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.gguf"
        path.write_bytes(Path(NANO.gguf_path).read_bytes()[:-1000])
        check_refused(path, "is cut off: it has .* bytes and its tensors need")

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "x.gguf").write_bytes(b"\0" * 1000)
        check_refused(tmp_path / "x.gguf", "is not a GGUF model file")
        check_refused(tmp_path / "y.gguf", "does not exist; set model.path")

    def test_another_architecture_than_the_profile_s(self) -> None:
        check_refused(
            Path(NANO.gguf_path),
            "architecture 'glm-dsa', but the model profile is for 'glm4moe'",
            architecture="glm4moe",
        )

    def test_an_architecture_that_llama_cpp_does_not_know(self, tmp_path: Path) -> None:
        path = tmp_path / "other.gguf"
        rewrite(path, metadata={"general.architecture": "no-such-thing"})
        check_refused(path, "unknown model architecture: 'no-such-thing'", architecture="no-such-thing")

    def strange(self, path: Path, kind: int) -> Path:
        """The type of one tensor is another one."""
        data = bytearray(Path(NANO.gguf_path).read_bytes())
        name = b"blk.1.ffn_up_exps.weight"
        at = data.index(struct.pack("<Q", len(name)) + name) + 8 + len(name)
        dimensions = struct.unpack_from("<I", data, at)[0]
        struct.pack_into("<I", data, at + 4 + 8 * dimensions, kind)
        path.write_bytes(data)
        return path

    @pytest.mark.parametrize("kind", [43, 99, 0xFFFFFFFF])
    def test_an_unknown_quantisation(self, kind: int, tmp_path: Path) -> None:
        path = self.strange(tmp_path / "strange.gguf", kind)
        check_refused(
            path, r"tensor 'blk\.1\.ffn_up_exps\.weight' in a quantisation .* update llama-cpp-python"
        )

    def test_another_quantisation_than_the_weights_have(self, tmp_path: Path) -> None:
        """The bytes of one kind, said to be of another that takes fewer."""
        check_refused(self.strange(tmp_path / "strange.gguf", 2), r"cannot load the model file .* has offset")

    def test_what_only_llama_cpp_knows_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A quantisation that is newer than we are."""
        expected = answer(NANO.gguf_path)
        kinds = {
            k for k, (name, _, _) in TENSOR_TYPES.items() if name == model_facts(NANO.gguf_path).quantisation
        }
        for kind in kinds:
            monkeypatch.delitem(TENSOR_TYPES, kind)  # type: ignore[arg-type]
        assert model_facts(NANO.gguf_path).quantisation.startswith("type ")
        assert np.array_equal(answer(NANO.gguf_path), expected)

    def test_the_types_of_tensors_are_llama_cpp_s(self) -> None:
        from llama_cpp import _ggml  # noqa: PLC0415

        library = _ggml.libggml
        library.ggml_type_name.restype = ctypes.c_char_p
        library.ggml_blck_size.restype = ctypes.c_int64
        library.ggml_type_size.restype = ctypes.c_size_t
        for kind, (name, block, size) in TENSOR_TYPES.items():
            assert library.ggml_type_name(kind).decode().upper() == name.upper()
            assert (library.ggml_blck_size(kind), library.ggml_type_size(kind)) == (block, size)

    def test_a_tensor_that_is_missing(self, tmp_path: Path) -> None:
        def but_one(writer: Any, tensor: Any) -> None:
            if tensor.name != "blk.3.attn_q_b.weight":
                writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)

        rewrite(tmp_path / "lacking.gguf", tensor=but_one)
        check_refused(tmp_path / "lacking.gguf", r"llama\.cpp says: .*blk\.3\.attn_q_b\.weight")


HOSTILE = (
    "{{ self.__init__.__globals__.__builtins__.open('%s', 'w').write('executed') }}"
    "{%% for c in [].__class__.__base__.__subclasses__() %%}{%% if c.__name__ == 'catch_warnings' %%}"
    "{{ c()._module.__builtins__['open']('%s', 'w').write('executed') }}{%% endif %%}{%% endfor %%}"
    "{%% for i in range(10 ** 9) %%}x{%% endfor %%}"
)
"""What CVE-2024-34359 is about: a chat template is a program, and it comes with the model."""
WATCHED = """
import sys
import jinja2
def refuse(*_):
    raise SystemExit("a template was compiled")
jinja2.Environment.compile = jinja2.Environment.from_string = refuse
sys.path.insert(0, sys.argv[1])
from models import feed_all, load_of, some_tokens
from glm_lsp.engines.worker.loading import open_model
from glm_lsp.engines.tokenizers import GgufTokenizer
loaded = open_model(load_of(path=sys.argv[2]))
ids = GgufTokenizer(sys.argv[2]).encode("def f(x):\\n    return x\\n")
feed_all(loaded.context.sequence(), ids)
print(len(loaded.context.logits()))
"""


class TestTemplates:
    """The template of the file is never looked at: prompts are made by our own."""

    def check(self, path: Path) -> None:
        """The model answers, and nobody has compiled a template."""
        command = [sys.executable, "-c", WATCHED, str(Path(__file__).parent), str(path)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.strip() == "8192"

    def test_a_hostile_one_is_not_executed(self, tmp_path: Path) -> None:
        pytest.importorskip("jinja2", reason="jinja2 is not installed, so nothing could execute a template")
        trace, path = tmp_path / "trace", tmp_path / "hostile.gguf"
        rewrite(path, metadata={"tokenizer.chat_template": HOSTILE % (trace, trace)})
        self.check(path)
        assert not trace.exists()

    def test_a_huge_one_is_only_bytes(self, tmp_path: Path) -> None:
        pytest.importorskip("jinja2", reason="jinja2 is not installed, so nothing could execute a template")
        path = tmp_path / "huge.gguf"
        rewrite(path, metadata={"tokenizer.chat_template": "{{ messages }}" * (4 << 20)})
        self.check(path)

    def test_one_that_claims_to_be_larger_than_the_file(self, tmp_path: Path) -> None:
        key = b"tokenizer.chat_template"
        data = bytearray(Path(NANO.gguf_path).read_bytes())
        at = data.index(struct.pack("<Q", len(key)) + key) + 8 + len(key) + 4
        struct.pack_into("<Q", data, at, 1 << 60)
        path = tmp_path / "lying.gguf"
        path.write_bytes(data)
        check_refused(path, "is damaged: it ends in the middle of its own description")

    def test_nothing_of_the_embedded_engine_asks_for_it(self) -> None:
        root = Path(__file__).parents[3] / "glm_lsp" / "engines"
        asks = re.compile(r"chat_template|jinja", re.IGNORECASE)
        sources = [*root.glob("*.py"), *root.glob("worker/*.py")]
        found = [p.name for p in sources if asks.search(p.read_text(encoding="utf-8"))]
        assert not found

    def test_the_vocabulary_is_read_all_the_same(self) -> None:
        assert GgufTokenizer(NANO.gguf_path).size == 8192
