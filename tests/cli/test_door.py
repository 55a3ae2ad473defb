"""The front door: verbs, help, mistakes, signals, and output that a terminal cannot be made to obey."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp import __main__, __version__
from glm_lsp.cli import report
from tests.cli.conftest import Cli, check_refused


def test_help_and_version_import_next_to_nothing() -> None:
    code = (
        "import sys; before = set(sys.modules); from glm_lsp.__main__ import main; main(sys.argv[1:]);"
        "print(len(set(sys.modules) - before), *sorted(m for m in sys.modules if m.startswith('glm_lsp.')))"
    )
    for argument in ("--help", "-h", "--version", "-V"):
        done = subprocess.run(
            [sys.executable, "-I", "-c", code, argument], capture_output=True, text=True, check=True
        )
        count, *modules = done.stdout.splitlines()[-1].split()
        assert modules == ["glm_lsp.__main__"]
        assert int(count) < 20


def test_help_names_every_verb(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    assert all(f"  {verb} " in ran.out for verb in __main__.VERBS)
    assert cli("--version").out == f"glm-lsp {__version__}\n"


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_a_verb_says_of_itself_what_the_overview_says(verb: str) -> None:
    name, text = __main__.VERBS[verb]
    module = importlib.import_module(name)
    assert (verb, text) == (module.NAME, module.HELP)


@pytest.mark.parametrize("verb", __main__.VERBS)
def test_every_verb_explains_itself(verb: str, cli: Cli) -> None:
    ran = cli(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert "--set" in ran.out


MISTAKES = [
    ((), "No verb"),
    (("refactr",), "did you mean `glm-lsp refactor`?"),
    (("\x1b]0;x",), "--help"),
    (("complete",), "FILE:LINE:COL"),
    (("complete", "a.py"), "is not FILE:LINE:COL"),
    (("complete", "a.py:0:1"), "count from 1"),
    (("complete", "a.py:x:1"), "is not FILE:LINE:COL"),
    (("complete", "nowhere.py:1:1"), "There is no file nowhere.py"),
    (("complete", ".:1:1"), "is a directory"),
    (("complete", "a.py:1:1", "--format", "yaml"), "invalid choice"),
    (("context", "nowhere.py:1:1", "--budget", "-4"), "whole number"),
    (("context", "nowhere.py:1:1", "--budget", "many"), "whole number"),
    (("complete", "\udcff.py:1:1"), "not UTF-8"),
    (("complete", "a" * 4000 + ".py:1:1"), "aaa"),
    (("demo", "--completions", "0"), "whole number"),
    (("demo", "--seed", "luck"), "invalid int"),
    (("index", "nowhere"), "does not exist"),
    (("index", "a", "b"), "unrecognized"),
]


@pytest.mark.parametrize(("arguments", "words"), MISTAKES)
def test_a_mistake_is_one_sentence_and_code_2(arguments: tuple[str, ...], words: str, cli: Cli) -> None:
    ran = cli(*arguments)
    check_refused(ran, 2, words)
    assert ran.out == ""
    assert "\x1b" not in ran.err


def test_an_error_is_json_where_the_result_is(cli: Cli) -> None:
    ran = cli("complete", "nowhere.py:1:1", "--format", "json")
    check_refused(ran, 2, "There is no file")
    assert ran.json == {"error": "There is no file nowhere.py."}


def test_debug_shows_where_an_error_comes_from(cli: Cli) -> None:
    assert "Traceback" in cli("index", "nowhere", "--debug").err


def test_an_unexpected_error_is_a_sentence(cli: Cli) -> None:
    code = (
        "import sys; from glm_lsp import __main__; from glm_lsp.cli import index\n"
        "def run(args): raise RuntimeError('the moon')\n"
        "index.run = run; sys.exit(__main__.main())"
    )
    check_refused(cli("index", code=code), 2, "the moon", "--debug")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    for number in range(2000):
        (tmp_path / f"a{number}.py").write_bytes(b"\0")
    command = [sys.executable, "-m", "glm_lsp", "settings", "--format", "json"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert child.stderr
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_it_with_their_code_and_a_sentence(number: int, code: int, tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from glm_lsp import __main__; from glm_lsp.cli import door, index\n"
        "async def wait():\n"
        "    print('ready', flush=True)\n"
        "    try: await asyncio.sleep(60)\n"
        "    finally: print('closed', flush=True)\n"
        "index.run = lambda args: door.drive(wait()); sys.exit(__main__.main(['index']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stderr
        assert child.stdout.readline() == "ready\n"
        os.kill(child.pid, number)
        assert child.stdout.read() == "closed\n"
        assert "before it was done" in child.stderr.read()
    assert child.returncode == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_end_the_wait_for_a_silent_stdin(number: int, code: int, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    command = [sys.executable, "-u", "-m", "glm_lsp", "replay", "-", "--root", str(tmp_path)]
    with subprocess.Popen(
        [*command, "--format", "jsonl"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        child.stdin.write('{"op": "open", "path": "a.py"}\n{"op": "request", "path": "a.py", "offset": 0}\n')
        child.stdin.flush()
        assert '"event": 2' in child.stdout.readline()
        os.kill(child.pid, number)
        assert "before it was done" in child.stderr.read()
    assert child.returncode == code


PIPES = [
    ("replay", "pipe.toml", "--root", "."),
    ("replay", "-", "--root", ".", "--dump", "../pipe.toml"),
    ("replay", "-", "--root", ".", "--tokenizer", "pipe.toml"),
    ("refactor", "--task-file", "pipe.toml"),
    ("complete", "a.py:1:1", "--set", "model.profile=pipe.toml"),
]


@pytest.mark.parametrize("arguments", PIPES)
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    cli: Cli, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text("x = 1\n")
    for pipe in (root / "pipe.toml", tmp_path / "pipe.toml"):
        os.mkfifo(pipe)
    ran = cli(*arguments, cwd=root)
    check_refused(ran, 2, "pipe.toml", "is a pipe" if "--dump" in arguments else "is not a regular file")


HOSTILE = [
    ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
    ("a\u202egpj.exe", r"a\u202egpj.exe"),
    ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
    ("tag\U000e0041", r"tag\U000e0041"),
    ("\udce9", r"\udce9"),
    ("over\rwritten", r"over\x0dwritten"),
    ("dos\r\nlines\r\n", "dos\nlines\n"),
    ("tab\tand\nnewline stay", "tab\tand\nnewline stay"),
    ("ordinary π 🙂 é", "ordinary π 🙂 é"),
]


@pytest.mark.parametrize(("given", "shown"), HOSTILE)
def test_what_a_terminal_would_obey_is_shown_instead(given: str, shown: str) -> None:
    assert report.safe(given) == shown


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("::error::x", r":\x3aerror::x"),
        ("+  ::set-output name=a::b", r"+  :\x3aset-output name=a::b"),
        ("a ##[error]b", r"a #\x23[error]b"),
        ("std::string", "std::string"),
        ("## title", "## title"),
    ],
)
def test_a_ci_log_obeys_nothing_either(given: str, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert report.safe(given) == shown


@given(st.text())
def test_safe_text_is_printable_and_stays_so(text: str) -> None:
    shown = report.safe(text)
    shown.encode("utf-8")
    assert all(c in "\n\t" or ord(c) >= 32 for c in shown)
    assert report.safe(shown) == shown
    assert "\n" not in report.line(text)
