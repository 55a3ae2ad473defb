"""A refactor that is stopped by its limits, or by a signal, is gone on with by the same command."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from glm_lsp.core.generation import Chunk, Finish, GenerateRequest
from glm_lsp.engines.scripted import ScriptedEngine, words
from tests.cli.conftest import check_refused
from tests.cli.scripted import (
    DOCUMENTED,
    ONE,
    SAID,
    TWO,
    Scripted,
    commit,
    edit,
    events,
    finished,
    hold,
    started,
    texts,
    wait_for_first,
)

DOCSTRINGS = ("--recipe", "docstrings")
FITS = str(len(words(SAID)))
"""A limit into which one answer fits, and none more."""
SUMMARY = {"exit", "units_from_checkpoint", "files_landed_before", "changed", "written", "checkpoint"}


def summary(refactor: Scripted, *arguments: str, said: dict[str, str] | None = None) -> dict[str, object]:
    ran = refactor(*arguments, "--format", "jsonl", said=said)
    return {k: v for k, v in events(ran)[-1].items() if k in SUMMARY}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The questions that reached the engine."""
    questions: list[str] = []
    real = ScriptedEngine.generate

    def generate(engine: ScriptedEngine, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        questions.append(request.prompt.segments[-2 if request.prompt.prefill else -1].text.split("\n")[0])
        return real(engine, request)

    monkeypatch.setattr(ScriptedEngine, "generate", generate)
    return questions


QUESTIONS = ["# Document one in pkg/one.py", "# Document two in pkg/two.py"]


def test_spent_tokens_are_code_6_and_the_same_command_goes_on(
    refactor: Scripted, tree: Path, asked: list[str]
) -> None:
    ran = refactor(*DOCSTRINGS, "--diff", "--token-limit", FITS)
    assert ran.code == 6
    assert "+++ b/pkg/one.py" in ran.out and "pkg/two.py" not in ran.out
    assert re.fullmatch(
        rf"glm-lsp: 1 file would change\. The token limit is spent \({FITS} of {FITS} tokens written\)\. "
        r"1 file left; 1 answer is kept\. Run the same command again to go on\.\n",
        ran.err,
    )
    assert asked == QUESTIONS[:1]
    ran = refactor(*DOCSTRINGS, "--diff", "--token-limit", FITS)
    assert (ran.code, ran.err) == (1, "glm-lsp: 2 files would change; 1 unit from the checkpoint.\n")
    assert asked == QUESTIONS
    assert texts(tree) == (ONE, TWO)


def test_no_answer_is_longer_than_what_is_left(refactor: Scripted, tree: Path, asked: list[str]) -> None:
    """The second answer needs as much as the first, and one token is left for it."""
    limited = (*DOCSTRINGS, "--diff", "--token-limit", str(int(FITS) + 1))
    ran = refactor(*limited)
    assert ran.code == 6 and "pkg/two.py" not in ran.out
    assert f"({int(FITS) + 1} of {int(FITS) + 1} tokens written). 1 file left; 1 answer is kept." in ran.err
    assert asked == QUESTIONS
    assert refactor(*limited).code == 1
    assert asked == [*QUESTIONS, QUESTIONS[1]]


def test_a_limit_into_which_no_answer_fits_is_told(refactor: Scripted, tree: Path) -> None:
    for _ in range(2):
        ran = refactor(*DOCSTRINGS, "--write", "--token-limit", "2")
        assert (ran.code, ran.err) == (
            6,
            "glm-lsp: 0 files changed. The token limit is spent (2 of 2 tokens written). 2 files left; "
            "there is no answer to keep yet. No whole answer fitted into that; the same command with more "
            "goes on.\n",
        )
    assert texts(tree) == (ONE, TWO)


def test_what_landed_is_not_asked_about_again(refactor: Scripted, tree: Path, asked: list[str]) -> None:
    limited = (*DOCSTRINGS, "--write", "--token-limit", FITS)
    first = summary(refactor, *limited)
    assert first == {
        "exit": 6,
        "units_from_checkpoint": 0,
        "files_landed_before": [],
        "changed": ["pkg/one.py"],
        "written": ["pkg/one.py"],
        "checkpoint": "1 answer is kept",
    }
    assert texts(tree) == (DOCUMENTED.format("one", 1), TWO)
    second = summary(refactor, *limited)
    assert second == {
        "exit": 0,
        "units_from_checkpoint": 0,
        "files_landed_before": ["pkg/one.py"],
        "changed": ["pkg/two.py"],
        "written": ["pkg/two.py"],
        "checkpoint": "",
    }
    assert texts(tree) == (DOCUMENTED.format("one", 1), DOCUMENTED.format("two", 2))
    assert asked == QUESTIONS


def test_a_task_in_words_is_gone_on_with_too(refactor: Scripted, tree: Path, asked: list[str]) -> None:
    said = {
        "Edit pkg/one.py": edit("pkg/one.py", ONE, 2, "    return 3"),
        "Edit pkg/two.py": edit("pkg/two.py", TWO, 2, "    return 4"),
    }
    limited = ("add two", "pkg", "--write", "--token-limit", str(len(words(said["Edit pkg/one.py"]))))
    assert refactor(*limited, said=said).code == 6
    assert texts(tree) == (ONE.replace("1", "3"), TWO)
    ran = refactor(*limited, said=said)
    assert (ran.code, ran.err) == (0, "glm-lsp: 1 file changed; 1 file landed before.\n")
    assert asked == ["# Edit pkg/one.py", "# Edit pkg/two.py"]
    assert texts(tree) == (ONE.replace("1", "3"), TWO.replace("2", "4"))


def test_a_refusal_in_a_file_that_landed_is_told_again(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/one.py").write_text(ONE + "\n\ndef other():\n    return 5\n")
    commit(tree)
    said = {"Document other": "?", "": SAID}
    limited = (*DOCSTRINGS, "--write", "--token-limit", "9")
    first = refactor(*limited, said=said)
    assert first.code == 6
    assert "pkg/one.py: other: What the model wrote is not one sentence" in first.err
    second = refactor(*limited, said=said)
    assert second.code == 3
    assert "pkg/one.py: other: What the model wrote is not one sentence" in second.err


def test_a_run_that_ends_by_itself_is_forgotten(refactor: Scripted, asked: list[str]) -> None:
    for _ in range(2):
        assert refactor(*DOCSTRINGS, "--check").code == 1
    assert asked == 2 * QUESTIONS


def test_another_state_task_or_model_is_asked_anew(refactor: Scripted, tree: Path, asked: list[str]) -> None:
    limited = ("--check", "--token-limit", FITS, "pkg")
    assert refactor(*DOCSTRINGS, *limited).code == 6
    (tree / "pkg/one.py").write_text(ONE.replace("1", "7"))
    assert refactor(*DOCSTRINGS, *limited).code == 6
    assert asked == 2 * QUESTIONS[:1]
    assert refactor(*DOCSTRINGS, *limited, "--set", "edits.max_tokens=900").code == 6
    assert asked == 3 * QUESTIONS[:1]
    assert refactor(*DOCSTRINGS, *limited, "--set", "edits.max_tokens=900").code == 1
    assert asked == [*3 * QUESTIONS[:1], QUESTIONS[1]]


def test_the_time_limit_stops_an_answer_in_the_middle(tree: Path) -> None:
    """Each answer takes minutes: without the cancellation the child would not end."""
    with started(tree, *DOCSTRINGS, "--write", "--time-limit", "3s", DELAY="100") as child:
        out, _ = child.communicate()
    assert child.returncode == 6
    told = [json.loads(line) for line in out.splitlines()]
    assert [e.get("kind", "") for e in told if e["event"] == "refusal"] == ["spent", "spent"]
    assert "The time limit of 3 s is spent." in told[-2]["reason"] and told[-1]["changed"] == []
    assert texts(tree) == (ONE, TWO)


def test_a_signal_leaves_the_checkpoint(refactor: Scripted, tree: Path, asked: list[str]) -> None:
    hold(tree)
    with started(tree, *DOCSTRINGS, "--write") as child:
        wait_for_first(child)
        child.send_signal(signal.SIGTERM)
        assert finished(child) == 143
    assert texts(tree) == (ONE, TWO)
    ran = refactor(*DOCSTRINGS, "--write")
    assert (ran.code, ran.err) == (0, "glm-lsp: 2 files changed; 1 unit from the checkpoint.\n")
    assert asked == QUESTIONS[1:]


def test_a_damaged_or_closed_cache_costs_answers_and_nothing_else(refactor: Scripted, tree: Path) -> None:
    limited = (*DOCSTRINGS, "--check", "--token-limit", FITS)
    assert refactor(*limited).code == 6
    database = tree.parent / "cache/checkpoints/cache.db"
    database.write_bytes(b"\x00" * 5000)
    assert refactor(*limited).code == 6
    assert refactor(*limited).code == 1
    blocked = tree.parent / "file"
    blocked.write_text("")
    ran = refactor(*limited, environ={"GLM_LSP_CACHE": str(blocked)})
    assert ran.code == 6 and "not all answers are kept" in ran.err


def test_nothing_of_the_prompt_is_written_down(refactor: Scripted, tree: Path) -> None:
    (tree / "pkg/one.py").write_text(ONE.replace("1", "'kilimanjaro'"))
    limited = ("say marmalade", "pkg", "--check", "--token-limit", str(len(words("=== end"))))
    assert refactor(*limited, said={"": "=== end"}).code == 6
    kept = b"".join(p.read_bytes() for p in (tree.parent / "cache/checkpoints").rglob("*") if p.is_file())
    assert b"=== end" in kept and Finish.STOP.encode() in kept
    assert b"kilimanjaro" not in kept and b"marmalade" not in kept and b"pkg" not in kept


@pytest.mark.parametrize("time_limit", ["0s", "5", "x", "1s2h", "-3s", "", "9" * 30 + "s"])
def test_a_time_that_is_none_is_code_2(refactor: Scripted, time_limit: str) -> None:
    check_refused(refactor(*DOCSTRINGS, f"--time-limit={time_limit}"), 2, "is not a time")
