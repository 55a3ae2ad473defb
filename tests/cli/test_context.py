"""`context`: the pack for a place or a task, how its budget came to be, and by whose tokens it is counted."""

import json
import subprocess
from pathlib import Path

import pytest

from glm_lsp.cli.division import Wish, divided
from glm_lsp.core import profiles
from glm_lsp.core.errors import UsageError
from glm_lsp.engines.tokenizers import from_file
from tests.cli.conftest import Cli

NANO = profiles.load("nano").gguf_path
AT = ("context", "pkg/cart.py:5:12", "--format", "json")


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/money.py").write_text(
        'def rounded(amount, places=2):\n    """Round an amount."""\n    return round(amount, places)\n'
    )
    (tmp_path / "pkg/cart.py").write_text(
        "from pkg.money import rounded\n\n\ndef total(prices):\n    return rounded(sum(prices))\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    ("wish", "context", "setting", "profile", "parts"),
    [
        (Wish("completion", 96, "x"), 4096, 0, 2048, (96, 0, 1952, 2048)),
        (Wish("completion", 96, "x"), 4096, 1000, 2048, (96, 0, 3000, 1000)),
        (Wish("completion", 96, "x"), 2000, 0, 2048, (96, 0, 0, 1904)),
        (Wish("completion", 96, "x", 500), 2000, 0, 2048, (96, 500, 0, 1404)),
        (Wish("completion", 96, "x", asked=300), 4096, 1000, 2048, (96, 0, 3700, 300)),
    ],
)
def test_the_parts_add_up(
    wish: Wish, context: int, setting: int, profile: int, parts: tuple[int, ...]
) -> None:
    found = divided(wish, context, setting, profile)
    assert tuple(part.tokens for part in found.parts) == parts
    assert found.budget_tokens == parts[-1]
    assert sum(parts) == context
    assert all(part.reason for part in found.parts)


def test_a_reply_that_leaves_no_room_is_a_sentence() -> None:
    with pytest.raises(UsageError, match=r"reply may take 96 \(completion.max_tokens\).*Lower one of them"):
        divided(Wish("completion", 96, "completion.max_tokens", 4000), 4096, 0, 2048)


def test_each_part_of_the_context_has_a_reason(shop: Path, cli: Cli) -> None:
    found = cli(*AT, cwd=shop).json
    assert [part["part"] for part in found["division"]] == ["reply", "reasoning", "left alone", "prompt"]
    assert found["division"][-1]["tokens"] == found["budget_tokens"]
    assert found["counting"].startswith("Exact, by the vocabulary in ")
    text = cli("context", "pkg/cart.py:5:12", cwd=shop).out
    assert "completion.max_tokens" in text and "context.log_share" in text


def test_shares_are_the_users_to_set(shop: Path, cli: Cli) -> None:
    shares = ("--set", "context.log_share=0.3", "--set", "context.tail_share=0.2")
    found = cli(*AT, "--budget", "1000", *shares, cwd=shop).json["shares"]
    assert found["log"] + found["log_reserve"] == 300
    assert found["tail"] + found["tail_reserve"] <= 200


def test_shares_that_leave_no_room_are_a_sentence(shop: Path, cli: Cli) -> None:
    shares = ("--set", "context.log_share=0.6", "--set", "context.tail_share=0.4")
    ran = cli(*AT, "--budget", "1000", *shares, cwd=shop)
    assert ran.code == 2
    assert "Lower one of the shares" in ran.err


def test_a_task_shows_what_it_touches_and_why(shop: Path, cli: Cli) -> None:
    ran = cli("context", "--task", "rename rounded to nearest", "--format", "json", cwd=shop)
    assert ran.code == 0, ran.err
    assert ran.json["blocks"] or ran.json["notes"]
    assert all(block["reason"] and block["tokens"] for block in ran.json["blocks"])
    found = ran.json
    assert sum(found["shares"].values()) == found["budget_tokens"]
    assert found["tokens"] == max(unit["tokens"] for unit in found["units"])
    assert all(unit["own_tokens"] < unit["tokens"] <= unit["budget_tokens"] for unit in found["units"])
    assert all(unit["budget_tokens"] == found["budget_tokens"] for unit in found["units"])
    assert found["all_tokens"] > found["tokens"]
    text = cli("context", "--task", "rename rounded to nearest", cwd=shop)
    assert text.code == 0
    assert "edits.max_tokens" in text.out
    assert f"prompts of at most {found['budget_tokens']:,} tokens" in " ".join(text.out.split())


def test_a_task_that_names_nothing_says_so(shop: Path, cli: Cli) -> None:
    ran = cli("context", "--task", "make it nicer", "--format", "json", cwd=shop)
    assert ran.code == 9
    assert "names nothing" in ran.json["notes"][0]
    text = cli("context", "--task", "make it nicer", cwd=shop)
    assert (text.code, text.out) == (9, "") and "names nothing" in text.err


def test_a_budget_beyond_all_measure_is_told_the_limit(shop: Path, cli: Cli) -> None:
    ran = cli(*AT, "--budget", "99999999999", cwd=shop)
    assert ran.code == 2 and "from 1 to 2,147,483,647" in ran.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Name one place as FILE:LINE:COL"),
        (("pkg/cart.py:1:1", "pkg/money.py:1:1"), "Name one place as FILE:LINE:COL"),
        (("--task", "  "), "The task is empty"),
        (("--task", "rename total", "no/such.py"), "There is no file or directory no/such.py"),
        (("pkg/cart.py:5:12", "--tokenizer", "none.gguf"), "none.gguf does not exist"),
        (("pkg/cart.py:5:12", "--tokenizer", "pkg"), "pkg is a directory"),
        (("pkg/cart.py:5:12", "--tokenizer", "pkg/cart.py"), "neither a GGUF file nor a tokenizer.json"),
        (("pkg/cart.py:5:12", "--tokenizer", "empty.json"), "holds no vocabulary"),
        (("pkg/cart.py:5:12", "--tokenizer", "cut.gguf"), "damaged"),
        (("pkg/cart.py:5:12", "--tokenizer", "foreign.gguf"), "pre-tokenizer 'abcd'; known are"),
    ],
)
def test_mistakes_are_sentences(shop: Path, cli: Cli, arguments: tuple[str, ...], said: str) -> None:
    (shop / "empty.json").write_text("{}")
    (shop / "cut.gguf").write_bytes(Path(NANO).read_bytes()[:2000])
    (shop / "foreign.gguf").write_bytes(Path(NANO).read_bytes()[:400_000].replace(b"glm4", b"abcd", 1))
    ran = cli("context", *arguments, cwd=shop)
    assert ran.code == 2, ran.err
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_tokenizer_of_ones_own_counts(shop: Path, cli: Cli, tmp_path: Path) -> None:
    """Without merges every byte is a token: everything counts more than by the model's."""
    file = tmp_path / "tokenizer.json"
    nano = from_file(NANO)
    content = json.loads(nano._bpe.to_str())
    content["model"]["merges"] = []
    file.write_text(json.dumps(content))
    own, fine = cli(*AT, cwd=shop).json, cli(*AT, "--tokenizer", str(file), cwd=shop).json
    assert fine["counting"] == f"Exact, by the vocabulary in {file}."
    block = fine["blocks"][-1]
    assert block["tokens"] > own["blocks"][-1]["tokens"]
    same = cli(*AT, "--tokenizer", NANO, cwd=shop).json
    assert [b["tokens"] for b in same["blocks"]] == [b["tokens"] for b in own["blocks"]]
