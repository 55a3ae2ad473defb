"""Settings: who may say what, and that a mistake costs a sentence and never more."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.settings import BY_NAME, SETTINGS, TRUSTED, Source
from glm_lsp.workspace import config

NO_FILE = Path(os.devnull).with_name("there-is-no-such-file.toml")


def check(
    expected: Mapping[str, Any],
    problems: Sequence[str] = (),
    *,
    client: Mapping[str, Any] | None = None,
    user: str = "",
    environ: Mapping[str, str] | None = None,
    argv: Sequence[str] = (),
    tmp_path: Path,
) -> None:
    """Load from the sources given; `problems` are words that each problem's sentence must hold, in order."""
    file = tmp_path / "settings.toml"
    file.write_text(user, encoding="utf-8")
    found = config.load(client=client, argv=argv, environ=environ or {}, user_file=file)
    assert {name: found[name] for name in expected} == expected
    assert len(found.problems) == len(problems), found.problems
    for problem, words in zip(found.problems, problems, strict=True):
        assert words in problem.message
        assert problem.message.endswith((".", "?")), "a sentence"


def test_the_stronger_source_wins(tmp_path: Path) -> None:
    name = "completion.max_tokens"
    client, user, environ = {"completion": {"max_tokens": 10}}, "[completion]\nmax_tokens = 20", {}
    check({name: 10}, client=client, tmp_path=tmp_path)
    check({name: 20}, client=client, user=user, tmp_path=tmp_path)
    environ = {"GLM_LSP_COMPLETION_MAX_TOKENS": "30"}
    check({name: 30}, client=client, user=user, environ=environ, tmp_path=tmp_path)
    check({name: 40}, client=client, user=user, environ=environ, argv=[f"{name}=40"], tmp_path=tmp_path)


@pytest.mark.parametrize("name", [s.name for s in SETTINGS if s.sources == TRUSTED])
def test_a_client_cannot_choose_engine_address_key_model_or_path(name: str, tmp_path: Path) -> None:
    setting = BY_NAME[name]
    value: Any = (
        setting.choices[-1] if setting.choices else 17 if isinstance(setting.default, int) else "/evil"
    )
    section, key = name.split(".")
    value = value if value != setting.default else setting.choices[0]
    for client in ({name: value}, {section: {key: value}}):
        check({name: setting.default}, [f"`{name}` is ignored"], client=client, tmp_path=tmp_path)


def test_a_client_that_sends_the_defaults_along_is_not_scolded(tmp_path: Path) -> None:
    client = {s.name: list(s.default) if isinstance(s.default, tuple) else s.default for s in SETTINGS}
    check({s.name: s.default for s in SETTINGS}, client=client, tmp_path=tmp_path)
    check({}, client=dict.fromkeys(BY_NAME), tmp_path=tmp_path)


BAD = [
    ("completion.max_tokens", "x", "whole number"),
    ("completion.max_tokens", "0", "from 1 to 2048"),
    ("completion.max_tokens", "9999999", "from 1 to 2048"),
    ("completion.enabled", "perhaps", "true or false"),
    ("completion.popup", "sometimes", "one of auto, always, never"),
    ("engine.stall_seconds", "soon", "a number"),
    ("engine.stall_seconds", "nan", "finite"),
    ("engine.stall_seconds", "0", "at least 1"),
    ("engine.default", "teapot", "one of embedded, remote"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD)
def test_a_bad_value_is_a_sentence_and_the_default(name: str, text: str, words: str, tmp_path: Path) -> None:
    default = BY_NAME[name].default
    check({name: default}, [words], environ={BY_NAME[name].variable: text}, tmp_path=tmp_path)
    check({name: default}, [words], argv=[f"{name}={text}"], tmp_path=tmp_path)
    section, key = name.split(".")
    check({name: default}, [f"`{name}`"], user=f'[{section}]\n{key} = [["{text}"]]', tmp_path=tmp_path)


def test_a_bad_value_does_not_hide_a_good_one_below_it(tmp_path: Path) -> None:
    name = "completion.max_tokens"
    check(
        {name: 7}, ["whole number"], user="completion.max_tokens = 7", argv=[f"{name}=x"], tmp_path=tmp_path
    )


def test_an_unknown_name_gets_the_nearest_one(tmp_path: Path) -> None:
    check({}, ["did you mean `remote.endpoint`?"], user="[remote]\nendpint = 'x'", tmp_path=tmp_path)
    environ = {"GLM_LSP_REMOTE_ENDPINT": "x"}
    check({}, ["did you mean `remote.endpoint`?"], environ=environ, tmp_path=tmp_path)
    check({}, ["lists them all"], argv=["zzz=1"], tmp_path=tmp_path)
    others = dict.fromkeys(("GLM_LSP_CACHE", "GLM_LSP_STATE", "GLM_LSP_EDITORS", "GLM_LSP_TEST_SERVER"), "x")
    check({}, environ=others, tmp_path=tmp_path)
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"x": deep}
    check({}, ["There is no setting `x.x.x`"], client=deep, tmp_path=tmp_path)
    check({}, ["lacks a value"], argv=["completion.max_tokens"], tmp_path=tmp_path)


def test_texts_lists_and_truths_are_read_from_words(tmp_path: Path) -> None:
    environ = {"GLM_LSP_INDEX_EXCLUDE": "build/, *.gen.py", "GLM_LSP_COMPLETION_ENABLED": "off"}
    check(
        {"index.exclude": ("build/", "*.gen.py"), "completion.enabled": False},
        environ=environ,
        tmp_path=tmp_path,
    )
    check({"index.exclude": ("a,b", "c")}, argv=['index.exclude=["a,b", "c"]'], tmp_path=tmp_path)
    check({"index.exclude": ()}, ["a list of texts"], argv=['index.exclude=["a", 1]'], tmp_path=tmp_path)
    check({"index.exclude": ()}, ["a list of texts"], argv=["index.exclude=[a"], tmp_path=tmp_path)
    check({"index.exclude": ("a",)}, user='[index]\nexclude = ["a"]', tmp_path=tmp_path)


@pytest.mark.parametrize("text", ["[engine", "engine = ", "\x00", "a = 1\na = 2"])
def test_a_broken_file_is_a_sentence_and_the_defaults(text: str, tmp_path: Path) -> None:
    check({s.name: s.default for s in SETTINGS}, ["not valid TOML"], user=text, tmp_path=tmp_path)


def test_a_file_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "latin").write_bytes(b'a = "\xe9"')
    (tmp_path / "big").write_bytes(b"#" * 1_000_001)
    for name, words in (
        ("fifo", "not a regular file"),
        ("latin", "not UTF-8"),
        ("big", "larger"),
        (".", "not a regular file"),
        ("absent", "does not exist"),
    ):
        found = config.load(environ={config.FILE_VARIABLE: str(tmp_path / name)})
        assert [words in p.message for p in found.problems] == [True], found.problems
        assert not found.values


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    check({"completion.max_tokens": 5}, user="\ufeffcompletion.max_tokens = 5", tmp_path=tmp_path)


def test_without_any_file_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert not config.settings_file({}).exists()
    assert config.load(environ={}).problems == ()


def test_the_key_stands_in_no_sentence(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[remote]\nkey = ['s3cret']", encoding="utf-8")
    found = config.load(
        client={"remote.key": "s3cret"}, argv=["remote.key=s3cret\0"], environ={}, user_file=file
    )
    assert len(found.problems) == 3
    assert "s3cret" not in str(found.problems)


def test_a_settings_file_in_a_repository_is_ignored_and_reported(tmp_path: Path) -> None:
    (tmp_path / ".glm-lsp.toml").write_text('[remote]\nendpoint = "http://evil.example"', encoding="utf-8")
    (tmp_path / "glm-lsp.toml").symlink_to("nowhere")
    (tmp_path / ".env").write_text("GLM_LSP_REMOTE_ENDPOINT=http://evil.example", encoding="utf-8")
    reported = config.problems_in(tmp_path)
    assert {p.name for p in reported} == {".glm-lsp.toml", "glm-lsp.toml"}
    assert all(p.source is Source.REPOSITORY and "is ignored" in p.message for p in reported)
    old = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert config.load(environ={}, user_file=NO_FILE)["remote.endpoint"] == ""
    finally:
        os.chdir(old)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(sorted(BY_NAME)) | st.text()


@given(
    client=st.dictionaries(NAMES, JSON, max_size=6), argv=st.lists(NAMES.map(lambda n: f"{n}=x") | st.text())
)
def test_no_source_can_break_loading_or_step_out_of_bounds(client: dict[str, Any], argv: list[str]) -> None:
    found = config.load(client=client, argv=argv, environ={}, user_file=NO_FILE)
    for setting in SETTINGS:
        value = found[setting.name]
        assert type(value) is type(setting.default)
        assert not setting.choices or value in setting.choices
        if setting.minimum is not None:
            assert value >= setting.minimum
        assert found.origin.get(setting.name) in {*setting.sources, None}
