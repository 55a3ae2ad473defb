"""What each verb prints: JSON of the promised shape, or tables for people, and nothing else on stdout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from glm_lsp.core.settings import SETTINGS
from tests.cli.conftest import Cli


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/money.py").write_text(
        'def rounded(amount, places=2):\n    """Round an amount."""\n    return round(amount, places)\n',
        encoding="utf-8",
    )
    (tmp_path / "pkg/cart.py").write_text(
        "from pkg.money import rounded\n\n\ndef total(prices):\n    return rounded(sum(prices))\n",
        encoding="utf-8",
    )
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    return tmp_path


def test_index_counts_and_says_what_it_left_out(shop: Path, cli: Cli) -> None:
    ran = cli("index", shop, "--format", "json")
    assert ran.code == 0
    keys = ["files", "symbols", "references", "bytes", "seconds", "skipped", "held_back", "problems"]
    assert list(ran.json) == keys
    assert ran.json["files"] == 2
    assert ran.json["symbols"] >= 2
    assert ran.json["bytes"] == sum(p.stat().st_size for p in shop.rglob("*.py"))
    assert {"path", "reason"} == set(ran.json["skipped"][0])
    text = cli("index", shop)
    assert "references" in text.out
    assert "photo.png" in text.out


def test_context_shows_blocks_with_their_reasons(shop: Path, cli: Cli) -> None:
    ran = cli("context", "pkg/cart.py:5:12", "--budget", "1000", "--format", "json", cwd=shop)
    assert ran.code == 0
    keys = ["budget_tokens", "tokens", "blocks", "dropped", "held_back", "shares"]
    assert list(ran.json) == [*keys, "division", "counting", "notes"]
    keys = ["kind", "path", "start_line", "end_line", "symbols", "tokens", "reason", "text"]
    assert all(list(block) == keys for block in ran.json["blocks"])
    assert "pkg/money.py" in {block["path"] for block in ran.json["blocks"]}
    assert sum(block["tokens"] for block in ran.json["blocks"]) <= ran.json["tokens"] <= 1000
    tail = ran.json["blocks"][-1]
    assert (tail["kind"], tail["start_line"]) == ("tail", 1)
    text = cli("context", "pkg/cart.py:5:12", cwd=shop)
    assert "around the cursor" in text.out and "tail reserve" in text.out


@pytest.mark.parametrize("budget", [200, 400, 1500])
@pytest.mark.parametrize("form", ["chat", "fim"])
def test_context_says_where_every_token_of_the_budget_went(
    shop: Path, cli: Cli, budget: int, form: str
) -> None:
    found = cli(
        *("context", "pkg/cart.py:5:12", "--budget", str(budget), "--format", "json"),
        *("--set", f"completion.form={form}"),
        cwd=shop,
    ).json
    shares = found["shares"]
    assert sum(shares.values()) == found["budget_tokens"] == budget
    assert min(shares.values()) >= 0, shares
    inside = ("template", "system", "trunk", "log", "tail")
    assert sum(shares[name] for name in inside) == found["tokens"]
    assert shares["tail"] == found["blocks"][-1]["tokens"]
    assert shares["trunk"] >= sum(b["tokens"] for b in found["blocks"][:-1])
    assert shares["log"] == 0 and shares["log_reserve"] > 0


@pytest.mark.embedded
def test_complete_says_what_it_cost(shop: Path, cli: Cli) -> None:
    pytest.importorskip("llama_cpp", reason="completions come from the embedded engine here")
    ran = cli("complete", "pkg/cart.py:5:12", "--format", "json", cwd=shop)
    assert ran.code in (0, 9)
    assert (ran.json["line"], ran.json["column"]) == (5, 12)
    assert bool(ran.json["text"]) is (ran.code == 0)
    assert bool(ran.json["text"]) is not bool(ran.json["reason"])
    assert ran.json["prompt_tokens"] > 0
    text = cli("complete", "pkg/cart.py:5:12", cwd=shop)
    assert text.out == (f"{ran.json['text']}\n" if ran.code == 0 else "")


def test_settings_shows_values_and_where_they_come_from(shop: Path, cli: Cli) -> None:
    ran = cli(
        "settings",
        "--format",
        "json",
        "--set",
        "completion.max_tokens=9",
        environ={"GLM_LSP_REMOTE_KEY": "s3cret"},
    )
    assert (ran.code, ran.err) == (0, "")
    found = {s["name"]: s for s in ran.json["settings"]}
    assert set(found) == {s.name for s in SETTINGS}
    assert (found["completion.max_tokens"]["value"], found["completion.max_tokens"]["source"]) == (
        9,
        "argument",
    )
    assert found["remote.key"]["value"] == "(set)"
    assert "s3cret" not in ran.out
    assert "completion.max_tokens" in cli("settings").out


def test_a_wrong_setting_is_told_and_code_2_where_settings_are_shown(shop: Path, cli: Cli) -> None:
    ran = cli("settings", "--format", "json", "--set", "completion.max_tokns=9")
    assert ran.code == 2
    assert "completion.max_tokens" in ran.json["problems"][0]["message"]
    assert "completion.max_tokens" in ran.err
    # In the environment a mistake may be older than the call: the default stands and the work goes on.
    ran = cli("index", shop, "--format", "json", environ={"GLM_LSP_COMPLETION_MAX_TOKNS": "9"})
    assert (ran.code, ran.json["files"]) == (0, 2)
    assert "completion.max_tokens" in ran.err


MISTAKES = [
    ("--set=foo", "", "`--set foo` lacks a value"),
    ("--set=completion.max_tokns=9", "", "did you mean `completion.max_tokens`?"),
    ("--set=completion.max_tokens=many", "", "it must be a whole number."),
    ("--debug", "absent.toml", "absent.toml does not exist; correct it, or GLM_LSP_CONFIG"),
    ("--debug", ".", "is not a regular file; correct it, or GLM_LSP_CONFIG"),
    ("--debug", "broken.toml", "is not valid TOML"),
]
"""An argument, what GLM_LSP_CONFIG names below the repository, and words of the sentence."""


@pytest.mark.parametrize(("argument", "named", "words"), MISTAKES)
def test_a_mistake_in_the_call_ends_it_with_code_2(
    shop: Path, cli: Cli, argument: str, named: str, words: str
) -> None:
    (shop / "broken.toml").write_text("[engine", encoding="utf-8")
    environ = {"GLM_LSP_CONFIG": str(shop / named)} if named else {}
    for verb in (("index", shop), ("engines",), ("refactor", "x", "--write"), ("worker", "status")):
        ran = cli(*verb, argument, cwd=shop, environ=environ)
        assert (ran.code, ran.out) == (2, ""), ran
        assert words in ran.err and "ignored" not in ran.err and "defaults stand" not in ran.err
    for verb in ("settings", "doctor"):
        ran = cli(verb, argument, "--format", "json", cwd=shop, environ=environ)
        assert ran.code == 2 and len(ran.json["problems"]) == 1, ran


def test_a_repository_sets_nothing_and_is_told_so(shop: Path, cli: Cli) -> None:
    hostile = '[engine]\ndefault = "remote"\n[remote]\nendpoint = "http://127.0.0.1:9"\nkey = "x"\n'
    for name in ("glm-lsp.toml", ".glm-lsp.toml"):
        (shop / name).write_text(hostile, encoding="utf-8")
    (shop / ".env").write_text("GLM_LSP_ENGINE_DEFAULT=remote\nGLM_LSP_REMOTE_ENDPOINT=http://127.0.0.1:9\n")
    for folder, text in ((".vscode", '{"glm-lsp.engine.default": "remote"}'), (".glm-lsp", hostile)):
        (shop / folder).mkdir()
        (shop / folder / ("settings.json" if folder == ".vscode" else "settings.toml")).write_text(text)
    for verb in ("settings", "doctor"):
        problems = cli(verb, "--format", "json", cwd=shop / "pkg").json["problems"]
        assert {p["name"] for p in problems} == {"glm-lsp.toml", ".glm-lsp.toml", ".glm-lsp/settings.toml"}
        assert {p["source"] for p in problems} == {"repository"}
    routes = cli("engines", "--format", "json", cwd=shop).json["routes"]
    assert {route["engine"] for route in routes} == {"embedded"}


def test_engines_and_doctor_say_who_serves_what_and_why(cli: Cli) -> None:
    remote = {"GLM_LSP_ENGINE_REFACTOR": "remote", "GLM_LSP_REMOTE_ENDPOINT": "http://127.0.0.1:9/v1"}
    ran = cli("engines", "--format", "json", environ=remote)
    routes = {route["work"]: route for route in ran.json["routes"]}
    assert set(routes) == {"typing", "action", "refactor", "idle"}
    assert (routes["refactor"]["engine"], routes["refactor"]["local"]) == ("remote", True)
    assert (routes["typing"]["engine"], routes["typing"]["local"]) == ("embedded", True)
    assert all(route["reason"] for route in routes.values())
    doctor = cli("doctor", "--format", "json", environ=remote)
    assert doctor.json["routes"] == ran.json["routes"]
    assert {"pygls", "llama-cpp-python", "git"} <= {f["name"] for f in doctor.json["installed"]}
    assert doctor.json["machine"]["cores"] >= 1
    assert "which engine serves which work" in cli("doctor").out


def test_names_cannot_make_the_terminal_do_things(shop: Path, cli: Cli) -> None:
    (shop / "a\x1b]0;owned\x07\u202e.bin").write_bytes(b"\0")
    (shop / "two\nlines.bin").write_bytes(b"\0")
    ran = cli("index", shop)
    assert not set("\x1b\x07\u202e") & set(ran.out)
    assert "two\nlines" not in ran.out


@pytest.mark.skipif(os.name != "posix", reason="closes file descriptors as a shell does")
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)], ids=["stdout", "stderr", "all"])
def test_streams_that_are_closed_are_no_failure(closed: tuple[int, ...], cli: Cli, runtime: Path) -> None:
    shut = (
        "import os, sys\n"
        f"for number in {closed}: os.close(number)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'glm_lsp', *sys.argv[1:]])\n"
    )
    for arguments, code in ((("worker", "status"), 0), (("--version",), 0), (("nothing",), 2)):
        ran = cli(*arguments, code=shut)
        assert ran.code == code
        assert "AttributeError" not in ran.err
        assert 1 in closed or code or ran.out


@pytest.mark.skipif(sys.platform != "linux", reason="nothing can be made in /proc")
def test_doctor_names_directories_that_cannot_be_used(cli: Cli) -> None:
    environ = {"GLM_LSP_RUNTIME": "/proc/nope", "GLM_LSP_CACHE": "/proc/nope"}
    ran = cli("doctor", "--format", "json", environ=environ)
    assert ran.code == 7
    runtime, cache = (place["error"] for place in ran.json["directories"])
    assert "The runtime directory /proc/nope cannot be made" in runtime
    assert "set GLM_LSP_RUNTIME to a directory of your own" in runtime
    assert "The cache directory /proc/nope cannot be used" in cache
    assert "set GLM_LSP_CACHE to a directory of your own" in cache
    shown = cli("doctor", environ=environ)
    assert shown.code == 7 and runtime in shown.err and cache in shown.err
