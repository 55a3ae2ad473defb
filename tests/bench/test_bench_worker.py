"""The parts of the worker's bench that judge and record, and one small section from end to end."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gguf", reason="gguf is not installed: pip install 'glm-lsp[dev]'")

from glm_lsp.core.generation import Finish
from glm_lsp.engines.frames import Done
from tests.bench import bench_drafts, llama_bench, real, worker_drafts, worker_yield
from tests.bench.edits import Edit
from tests.bench.rows import HEADING, Clock, Options, Row, block, recorded
from tests.lsp.wire import ROOT

OTHERS = "# Results\n\n## Server\n\nrows\n\n## Copy-heavy edits\n\nmore rows\n"
ORDER = ("First", "Second", "Third")


def part(title: str, figure: str) -> str:
    return block(title, [Row("what", figure, "beside", "at most 2", met=True)], "A machine.")


def test_a_section_is_recorded_in_its_place_and_the_others_stay() -> None:
    text = recorded(OTHERS, {"Second": part("Second", "one")}, ORDER)
    assert text.startswith(OTHERS.rstrip("\n"))
    text = recorded(text + "\n## Last\n\nkept\n", {"First": part("First", "two")}, ORDER)
    text = recorded(text, {"Second": part("Second", "three")}, ORDER)
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        *("# Results", "## Server", "## Copy-heavy edits", HEADING, "### First", "### Second", "## Last"),
    ]
    assert "| two " in text
    assert "| three " in text
    assert "| one " not in text
    assert recorded(text, {"Second": part("Second", "three")}, ORDER) == text


def test_a_row_says_whether_its_goal_was_met() -> None:
    said = [Row("a", "b", goal="at most 2", met=met).cells[3] for met in (True, False, None)]
    assert said == ["at most 2 (met)", "at most 2 (MISSED)", "at most 2"]


def test_what_is_left_is_told_while_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock({"a": 3.0, "b": 4.0})
    for name in "ab":
        clock.begin(name)
        clock.end()
    told = capsys.readouterr().err.splitlines()
    assert [line.partition("] ")[0].rpartition(", ")[2] for line in told] == [
        *("7 min left", "4 min left", "4 min left", "0 min left"),
    ]


def test_what_llama_bench_says_is_read_by_kind() -> None:
    rows = [{"n_prompt": 512, "n_gen": 0, "avg_ts": 300.5}, {"n_prompt": 0, "n_gen": 64, "avg_ts": 20.25}]
    assert llama_bench.speeds(rows) == (300.5, 20.25)
    prompt, generation = llama_bench.speeds(rows[1:])
    assert prompt != prompt
    assert generation == 20.25


def test_a_program_that_is_none_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(llama_bench.Missing, match="is no program"):
        llama_bench.found(str(tmp_path / "llama-bench"))


def test_texts_have_so_many_tokens() -> None:
    model = Options(1).nano()
    for tokens in (1, 2, 17, 40, 513):
        text = real.text_of(model, tokens, random.Random(tokens).randrange(99))
        assert len(real.tokenizer(model).encode(text)) == tokens


@pytest.mark.embedded
def test_a_real_worker_writes_what_the_bare_loop_writes() -> None:
    pytest.importorskip(
        "llama_cpp", reason="llama-cpp-python is not installed: pip install 'glm-lsp[embedded]'"
    )
    import msgspec  # noqa: PLC0415

    model, steps = Options(1).nano(), 12
    load = real.load_of(model, context=512, threads=1)

    async def written() -> real.Answered:
        async with real.worker(load) as worker:
            return await real.answer(worker, real.request(real.opening(0), most=steps + 1))

    found = asyncio.run(written())
    assert found.sent < found.begun < found.read < found.end
    assert found.token_s > 0
    ids = list(map(int, real.tokenizer(model).encode(real.opening(0))))
    command = (sys.executable, "-m", "tests.bench.bare_loop", msgspec.json.encode(load).decode())
    done = subprocess.run(
        command, input=json.dumps([ids, steps]) + "\n", capture_output=True, text=True, check=True, cwd=ROOT
    )
    ready, said = done.stdout.splitlines()
    wall_s, processor_s, token = json.loads(said)
    assert ready == "ready"
    assert min(wall_s, processor_s) > 0
    last = real.tokenizer(model).encode(found.text)[-1]
    assert (found.result.output_tokens, token) == (steps + 1, last)
    assert os.environ["GLM_LSP_RUNTIME"]


def test_the_bench_of_drafts_still_fits_what_it_sums_up(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "def total(values):\n    return sum(values)\n\n" * 12
    edit = Edit("none", "a.py", "", "whole file", text, text.replace("values", "items", 2), text)
    computed = bench_drafts.tables(measure=False)
    monkeypatch.setattr(worker_drafts, "edits", lambda: [edit])
    monkeypatch.setattr(bench_drafts, "tables", lambda measure: computed)

    async def rows() -> list[Row]:
        return [row async for row in worker_drafts.drafts(Options(1))]

    found = asyncio.run(rows())
    assert len(found) == len(computed) * len(bench_drafts.CODERS)
    assert {row.met is None for row in found} == {False}


def test_a_step_of_an_answer_that_slows_down_is_known_at_each_time() -> None:
    def seconds(tokens: int) -> float:
        return 0.002 * tokens + 0.000_004 * tokens**2 / 2

    done = Done(1, Finish.LENGTH, 10, 0, 1000, 0, 0.1, seconds(1000))
    pace = worker_yield.slowing(250, seconds(250), real.Answered(0.0, done=done))
    for tokens in (0, 250, 700, 1000):
        step_s = 0.002 + 0.000_004 * tokens
        assert pace(seconds(tokens) / seconds(1000)) == pytest.approx(step_s)
