"""Which engine does which work, and what is said when none can."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.core.errors import ConfigError, EngineUnavailable, GlmError
from glm_lsp.core.generation import Prompt, Role, Segment, Work
from glm_lsp.core.profiles import load
from glm_lsp.core.settings import DEFAULTS, Settings
from glm_lsp.disk.store import CACHE_VARIABLE
from glm_lsp.engines import router as router_module
from glm_lsp.engines.remote import RemoteTokenizer
from glm_lsp.engines.router import Router, match_profile

HERE: dict[str, Any] = {"remote.endpoint": "http://127.0.0.1:1", "remote.kind": "vllm"}


def routes(**values: Any) -> dict[Work, tuple[str, str, bool]]:
    settings = Settings({name.replace("__", "."): value for name, value in values.items()})
    explained = Router(settings).explain()
    assert [r.work for r in explained] == list(Work)
    for route in explained:
        assert route.reason.endswith(".")
        assert route.available == (not route.remedy)
        here = "://127.0.0.1" in settings.text("remote.endpoint")
        assert route.local == (route.engine == "embedded" or here)
    return {r.work: (r.engine, r.model, r.available) for r in explained}


def test_everything_is_embedded_by_default() -> None:
    explained = Router(DEFAULTS).explain()
    assert {r.engine for r in explained} == {"embedded"}
    assert {r.model for r in explained} == {"nano"}


def test_each_class_of_work_may_have_its_own_engine() -> None:
    remote = {name.replace(".", "__"): value for name, value in HERE.items()}
    assert routes(engine__refactor="remote", **remote) | {Work.TYPING: (), Work.IDLE: ()} == {
        Work.TYPING: (),
        Work.ACTION: ("remote", "glm-5.2", True),
        Work.REFACTOR: ("remote", "glm-5.2", True),
        Work.IDLE: (),
    }
    mixed = routes(engine__default="remote", engine__typing="embedded", remote__model="glm-4.7", **remote)
    assert {work: (engine, model) for work, (engine, model, _) in mixed.items()} == {
        Work.TYPING: ("embedded", "nano"),
        Work.ACTION: ("remote", "glm-4.7"),
        Work.REFACTOR: ("remote", "glm-4.7"),
        Work.IDLE: ("remote", "glm-4.7"),
    }


def test_the_reason_names_the_setting() -> None:
    by_work = {r.work: r for r in Router(Settings({"engine.typing": "remote"})).explain()}
    assert by_work[Work.TYPING].reason.startswith("engine.typing chooses the remote engine")
    assert by_work[Work.IDLE].reason.startswith("engine.default is 'embedded'")


def test_no_address_no_remote_engine() -> None:
    router = Router(Settings({"engine.default": "remote"}))
    for route in router.explain():
        assert not route.available
        assert "Set remote.endpoint" in route.remedy
    with pytest.raises(EngineUnavailable, match=r"Set remote\.endpoint"):
        router.engine(Work.TYPING)


def test_a_missing_model_file_is_told(tmp_path: Path) -> None:
    gone = str(tmp_path / "glm-4.7-Q4.gguf")
    router = Router(Settings({"model.path": gone}))
    assert router.profile(Work.TYPING).name == "glm-4.7"
    assert not router.explain()[0].available
    assert not router.tokenizer(Work.TYPING).exact
    with pytest.raises(EngineUnavailable):
        router.engine(Work.TYPING)


def test_an_unknown_profile_is_told() -> None:
    router = Router(Settings({"model.profile": "glm-9"}))
    assert all("no model profile 'glm-9'" in r.remedy for r in router.explain())
    with pytest.raises(ConfigError, match="no model profile 'glm-9'"):
        router.profile(Work.ACTION)


async def test_one_engine_serves_all_of_its_work() -> None:
    router = Router(Settings(HERE | {"engine.default": "remote"}))
    assert {id(router.engine(work)) for work in Work} == {id(router.engine(Work.IDLE))}
    assert router.engine(Work.ACTION).facts.model == "glm-5.2"
    assert {id(router.tokenizer(work)) for work in Work} == {id(router.tokenizer(Work.IDLE))}
    first = router.engine(Work.TYPING)
    await router.close()
    assert router.engine(Work.TYPING) is not first
    await router.close()


async def test_a_second_model_for_typing_has_an_engine_of_its_own(tmp_path: Path) -> None:
    small, large = tmp_path / "nano.gguf", tmp_path / "glm-5.2-Q4.gguf"
    small.write_bytes(Path(load("nano").gguf_path).read_bytes())  # noqa: ASYNC240
    large.write_bytes(small.read_bytes())
    router = Router(Settings({"typing_model.path": str(small), "model.path": str(large)}))
    explained = {r.work: (r.engine, r.model, r.available, r.remedy) for r in router.explain()}
    assert explained[Work.TYPING] == ("embedded", "nano", True, "")
    assert {explained[w][1] for w in Work if w is not Work.TYPING} == {"glm-5.2"}
    assert router.explain()[0].reason == "typing_model.path names a model of its own for typing work."
    assert router.profile(Work.TYPING).name == "nano"
    typing, action = router.engine(Work.TYPING), router.engine(Work.ACTION)
    assert typing is not action
    assert router.engine(Work.IDLE) is action
    assert (typing.facts.model, action.facts.model) == ("nano", "glm-5.2")
    assert router.tokenizer(Work.TYPING) is not router.tokenizer(Work.ACTION)
    assert router.tokenizer(Work.TYPING).exact
    await router.close()


def test_the_second_models_profile_and_context_may_be_set(tmp_path: Path) -> None:
    path = str(tmp_path / "anything.gguf")
    settings = {
        "typing_model.path": path,
        "typing_model.profile": "glm-4.7",
        "typing_model.context_tokens": 777,
    }
    router = Router(Settings(settings))
    assert router.profile(Work.TYPING).name == "glm-4.7"
    assert router.profile(Work.ACTION).name == "nano"
    assert "set typing_model.path to a GGUF file" in router.explain()[0].remedy
    Path(path).write_bytes(b"GGUF")
    assert router.engine(Work.TYPING).facts.context_tokens == 777


def test_a_remote_engine_for_typing_needs_no_second_model() -> None:
    router = Router(Settings(HERE | {"engine.typing": "remote", "typing_model.path": "/none.gguf"}))
    assert router.explain()[0].engine == "remote"


def test_the_bundled_model_is_counted_exactly() -> None:
    router = Router(DEFAULTS)
    if not Path(router.profile(Work.TYPING).gguf_path).is_file():
        pytest.skip("the bundled model is missing")
    assert router.tokenizer(Work.TYPING).exact
    assert not Router(Settings(HERE | {"engine.default": "remote"})).tokenizer(Work.TYPING).exact


def test_the_profile_setting_speaks_of_the_default_engine() -> None:
    router = Router(Settings(HERE | {"engine.refactor": "remote", "model.profile": "glm-4.6"}))
    assert router.profile(Work.TYPING).name == "glm-4.6"
    assert router.profile(Work.REFACTOR).name == "glm-5.2"


NAMES = ("glm-4.6", "glm-4.7", "glm-5.2", "nano")


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("glm-5.2", "glm-5.2"),
        ("glm-5.2[1m]", "glm-5.2"),
        ("zai-org/GLM-4.7-FP8", "glm-4.7"),
        ("GLM_4.6 Q4", "glm-4.6"),
        ("glm-5.21", ""),
        ("xglm-5.2", ""),
        ("glm-5.20", ""),
        ("qwen3", ""),
        ("", ""),
    ],
)
def test_a_model_is_known_by_its_name(model: str, profile: str) -> None:
    assert match_profile(model, NAMES) == profile


def test_other_models_with_a_common_word_are_not_the_bundled_one() -> None:
    router = Router(Settings(HERE | {"engine.default": "remote", "remote.model": "gpt-nano"}))
    assert router.profile(Work.TYPING).name == router_module.FLAGSHIP


def test_a_router_that_is_only_asked_imports_no_client() -> None:
    program = (
        "import sys; from glm_lsp.engines.router import Router; from glm_lsp.core.settings import DEFAULTS;"
        "Router(DEFAULTS).explain(); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    imported = set(done.stdout.split())
    assert "glm_lsp.engines.router" in imported
    assert not {"httpx", "llama_cpp"} & imported


@pytest.mark.parametrize(
    ("endpoint", "local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://127.9.9.9:8000", True),
        ("http://[::1]:8000", True),
        ("http://localhost:8000", True),
        ("https://LOCALHOST/v1", True),
        ("https://localhost.example.org", False),
        ("https://127.0.0.1.example.org", False),
        ("https://192.168.1.7", False),
        ("https://0.0.0.0", False),
        ("", False),
    ],
)
def test_only_a_loopback_address_stays_on_this_machine(endpoint: str, local: bool) -> None:
    settings = Settings({"engine.default": "remote", "remote.kind": "vllm", "remote.endpoint": endpoint})
    router = Router(settings)
    assert {route.local for route in router.explain()} == {local}
    if endpoint:
        assert router.engine(Work.TYPING).facts.local == local


@pytest.mark.parametrize(
    ("endpoint", "error"),
    [("", EngineUnavailable), ("notaurl", ConfigError), ("ftp://example.org", ConfigError)],
)
def test_an_address_that_is_none_is_a_mistake_in_the_settings(endpoint: str, error: type[GlmError]) -> None:
    router = Router(Settings({"engine.default": "remote", "remote.endpoint": endpoint}))
    with pytest.raises(error, match=r"remote\.endpoint"):
        router.engine(Work.ACTION)


def test_a_remote_models_tokenizer_file_counts_exactly() -> None:
    file = load("nano").gguf_path
    if not Path(file).is_file():
        pytest.skip("the bundled model is missing")
    router = Router(Settings(HERE | {"engine.default": "remote", "remote.tokenizer": file}))
    tokenizer = router.tokenizer(Work.TYPING)
    assert tokenizer.exact
    assert tokenizer.count("def f(x):\n") == Router(DEFAULTS).tokenizer(Work.TYPING).count("def f(x):\n")
    assert router.counting(Work.TYPING) == f"Exact, by the vocabulary in {file}."
    assert isinstance(tokenizer, RemoteTokenizer)
    tokenizer.report(Prompt((Segment(Role.USER, "x"),), 1000), 1500, 32)
    assert "Of 1 prompts 1 had more" in router.counting(Work.TYPING)


@pytest.mark.parametrize("file", ["/none/such.json", "/", __file__])
def test_a_tokenizer_file_that_is_none_is_told(file: str) -> None:
    router = Router(Settings(HERE | {"engine.default": "remote", "remote.tokenizer": file}))
    with pytest.raises(ConfigError, match=r"remote\.tokenizer: The tokenizer file .*"):
        router.tokenizer(Work.TYPING)


def test_how_tokens_are_counted_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    settings = HERE | {"engine.default": "remote", "remote.kind": "openai"}
    router = Router(Settings(settings))
    assert "has learned nothing yet" in router.counting(Work.TYPING)
    tokenizer = router.tokenizer(Work.TYPING)
    assert isinstance(tokenizer, RemoteTokenizer)
    prompt = Prompt((Segment(Role.USER, "def f(x):\n" * 200),), 1000)
    for reported in (900, 1500):
        tokenizer.report(prompt, reported, 32)
    told = "after 2 reports of the engine; 1 of them was higher than the bound"
    assert told in router.counting(Work.TYPING)
    tokenizer.save()
    assert told in Router(Settings(settings)).counting(Work.TYPING), "the next process knows it"
    other = Router(Settings(settings | {"remote.model": "another"}))
    assert "has learned nothing yet" in other.counting(Work.TYPING)
    server = Router(Settings(settings | {"remote.kind": "vllm"}))
    assert server.counting(Work.TYPING).startswith("The server counts lines that it has seen")
    gone = Router(Settings({"model.path": str(tmp_path / "none.gguf")}))
    assert "is not there" in gone.counting(Work.TYPING)
