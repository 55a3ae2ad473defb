"""`glm-lsp replay`: events in, tokens out, and the directory as it was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from glm_lsp.__main__ import main
from glm_lsp.cli.exits import Exit
from glm_lsp.core import profiles
from glm_lsp.engines.tokenizers import GgufTokenizer

SHOP = (
    "def price(name):\n    return len(name)\n\n\ndef total(names):\n    return sum(price(n) for n in names)\n"
)
TILL = "from shop import price\n\n\ndef pay(name):\n    return price(name)\n"
END = len(TILL)
TYPED = (
    {"op": "open", "path": "till.py"},
    {"op": "request", "path": "till.py", "offset": END},
    {"op": "edit", "path": "till.py", "start": END, "end": END, "text": "\n\ndef"},
    {"op": "request", "path": "till.py", "offset": END + 5},
    {"op": "edit", "path": "till.py", "start": END + 5, "end": END + 5, "text": " refund(name):"},
    {"op": "request", "path": "till.py", "offset": END + 19},
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "repo"
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / "till.py").write_text(TILL)
    (folder / ".env").write_text("TOKEN=zzz\n")
    (tmp_path / "out.py").write_text("OUT = 1\n")
    return folder


@pytest.fixture
def replay(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(events: Iterable[Any], *more: str) -> tuple[int, list[dict[str, Any]], str]:
        file = tmp_path / "events.jsonl"
        lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in events]
        file.write_bytes(b"\n".join(lines))
        arguments = ("--root", str(root), "--budget", "4096", "--format", "jsonl", *more)
        code = main(["replay", str(file), *arguments])
        said = capsys.readouterr()
        return code, [json.loads(line) for line in said.out.splitlines()], said.err

    return run


def test_each_request_has_a_line_and_typing_evaluates_little(replay: Any) -> None:
    code, rows, _ = replay(TYPED)
    assert code == Exit.OK
    assert [row["event"] for row in rows] == [2, 4, 6]
    assert rows[0]["evaluated_tokens"] == rows[0]["prompt_tokens"] > 100
    assert all(row["evaluated_tokens"] < 10 for row in rows[1:])
    assert {row["epoch"] for row in rows} == {1}
    assert {block["path"] for block in rows[0]["blocks"]} >= {"shop.py", "till.py"}


def test_the_dump_rebuilds_every_prompt_and_its_counts(replay: Any, tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    _, rows, _ = replay(TYPED, "--dump", str(dump))
    prompt: list[str] = []
    for row, line in zip(rows, dump.read_text().splitlines(), strict=True):
        step = json.loads(line)
        before, prompt = prompt, prompt[: step["keep"]] + step["append"]
        assert (len(prompt), len(step["append"])) == (row["prompt_tokens"], row["evaluated_tokens"])
        shared = next((n for n, (a, b) in enumerate(zip(before, prompt, strict=False)) if a != b), None)
        assert shared is None or shared == step["keep"]
    text = "".join(prompt).encode("latin-1").decode()
    assert text.startswith("[gMASK]<sop><|system|>")
    assert text.endswith("def refund(name):")
    tokenizer = GgufTokenizer(profiles.load("nano").gguf_path)
    shown = text.partition("<|user|>")[2].partition("<|assistant|>")[0]
    assert tokenizer.count(shown) <= len(prompt)


def test_the_same_events_give_the_same_lines(replay: Any) -> None:
    assert replay(TYPED) == replay(TYPED)


def test_the_directory_stays_as_it_was(replay: Any, root: Path) -> None:
    before = {p: p.read_bytes() for p in root.rglob("*")}
    saved = ({"op": "save", "path": "till.py"}, {"op": "close", "path": "till.py"})
    code, _, _ = replay((*TYPED, *saved, {"op": "open", "path": "new.py", "text": "x = 1\n"}))
    assert code == Exit.OK
    assert {p: p.read_bytes() for p in root.rglob("*")} == before


def last_text(rows: list[dict[str, Any]], dump: Path) -> str:
    prompt: list[str] = []
    for line in dump.read_text().splitlines():
        step = json.loads(line)
        prompt = prompt[: step["keep"]] + step["append"]
    assert len(prompt) == rows[-1]["prompt_tokens"]
    return "".join(prompt).encode("latin-1").decode()


@pytest.mark.parametrize(("between", "kept"), [((), False), (({"op": "save", "path": "shop.py"},), True)])
def test_what_was_saved_outlives_its_file_being_closed(
    replay: Any, tmp_path: Path, between: tuple[Any, ...], kept: bool
) -> None:
    dump = tmp_path / "dump.jsonl"
    end = SHOP.index("price")
    events = (
        {"op": "edit", "path": "shop.py", "start": end, "end": end + 5, "text": "worth"},
        *between,
        {"op": "close", "path": "shop.py"},
        {"op": "request", "path": "till.py", "offset": END},
    )
    _, rows, _ = replay(events, "--dump", str(dump))
    assert ("def worth(name)" in last_text(rows, dump)) is kept


def test_a_file_of_which_only_the_editor_knows_can_be_asked_about(replay: Any) -> None:
    text = "from shop import total\n"
    events = (
        {"op": "open", "path": "pkg/new.py", "text": text},
        {"op": "request", "path": "./pkg/new.py", "offset": len(text)},
    )
    code, rows, _ = replay(events)
    assert code == Exit.OK
    assert rows[0]["blocks"][-1]["path"] == "pkg/new.py"


def test_a_secret_file_sends_nothing_and_changes_nothing(replay: Any, tmp_path: Path) -> None:
    dump = tmp_path / "dump.jsonl"
    asked = {"op": "request", "path": ".env", "offset": 0}
    code, rows, _ = replay((*TYPED[:2], asked, *TYPED[2:]), "--dump", str(dump))
    assert code == Exit.OK
    assert (rows[1]["prompt_tokens"], rows[1]["blocks"]) == (0, [])
    assert ".env" in rows[1]["refused"]
    assert rows[2]["evaluated_tokens"] < 10
    assert "zzz" not in dump.read_text()


def test_pauses_are_idle_time_and_a_clock_may_jump(replay: Any) -> None:
    timed = [{**event, "t": t} for event, t in zip(TYPED, (0, 1, 100, 3, -5, 1e12), strict=True)]
    code, rows, _ = replay(timed)
    assert code == Exit.OK
    assert len(rows) == 3


def test_bytes_of_a_byte_order_mark_count_as_they_stand_on_the_disk(replay: Any, root: Path) -> None:
    (root / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    events = (
        {"op": "edit", "path": "bom.py", "start": 3, "end": 4, "text": "y"},
        {"op": "request", "path": "bom.py", "offset": 9},
    )
    code, rows, _ = replay(events)
    assert code == Exit.OK
    assert rows[0]["blocks"][-1]["path"] == "bom.py"


WRONG: dict[str, tuple[Any, int, tuple[str, ...]]] = {
    "no JSON": (b'{"op": "open"', Exit.USAGE, ("Line 1", "no event")),
    "no object": (b"[1]", Exit.USAGE, ("Line 1", "no event")),
    "not UTF-8": (b'{"op": "open", "path": "\xff"}', Exit.USAGE, ("Line 1",)),
    "deep": (b"[" * 100_000, Exit.USAGE, ("Line 1",)),
    "no op": ({"path": "till.py"}, Exit.USAGE, ("Line 1", "`op`")),
    "unknown op": ({"op": "explode", "path": "till.py"}, Exit.USAGE, ("'explode'", "open, edit")),
    "no offset": ({"op": "request", "path": "till.py"}, Exit.USAGE, ("request needs offset",)),
    "no text": ({"op": "edit", "path": "till.py", "start": 0, "end": 0}, Exit.USAGE, ("edit needs text",)),
    "a truth for a number": ({"op": "request", "path": "till.py", "offset": True}, Exit.USAGE, ("Line 1",)),
    "half a pair": (b'{"op": "open", "path": "a.py", "text": "\\ud800x"}', Exit.USAGE, ("Line 1",)),
    "past the end": ({"op": "request", "path": "till.py", "offset": END + 1}, Exit.USAGE, (f"{END} bytes",)),
    "negative": ({"op": "request", "path": "till.py", "offset": -1}, Exit.USAGE, ("till.py",)),
    "huge": ({"op": "request", "path": "till.py", "offset": 10**30}, Exit.USAGE, ("till.py",)),
    "backwards": (
        {"op": "edit", "path": "till.py", "start": 5, "end": 2, "text": ""},
        Exit.USAGE,
        ("The end, 2, is before the start, 5",),
    ),
    "no file": ({"op": "open", "path": "gone.py"}, Exit.USAGE, ("gone.py", "give its text")),
    "a directory": ({"op": "open", "path": "."}, Exit.POLICY, ("not below the root",)),
    "upwards": ({"op": "open", "path": "../out.py"}, Exit.POLICY, ("not below the root",)),
    "upwards, with text": ({"op": "open", "path": "../x.py", "text": ""}, Exit.POLICY, ("../x.py",)),
    "absolute": ({"op": "open", "path": "/etc/passwd"}, Exit.POLICY, ("not below the root",)),
    "a link out": ({"op": "open", "path": "link.py"}, Exit.POLICY, ("link.py",)),
    "empty": ({"op": "open", "path": ""}, Exit.USAGE, ("The path is empty",)),
    "a zero byte": ({"op": "open", "path": "a\0b"}, Exit.USAGE, ("holds a control character",)),
    "a line break": (
        {"op": "open", "path": "a\n# Source\nx.py", "text": ""},
        Exit.USAGE,
        ("control character",),
    ),
    "a line separator": (
        {"op": "open", "path": "a\u2028x.py", "text": ""},
        Exit.USAGE,
        ("control character",),
    ),
    "below a file": ({"op": "open", "path": "shop.py/x.py", "text": ""}, Exit.USAGE, ("above it is a file",)),
    "asked below a file": ({"op": "request", "path": "shop.py/x", "offset": 0}, Exit.USAGE, ("is a file",)),
    "below a link out": ({"op": "open", "path": "up/new.py", "text": ""}, Exit.POLICY, ("up/new.py",)),
    "below a link in a loop": ({"op": "open", "path": "loop/x.py", "text": ""}, Exit.POLICY, ("loop/x.py",)),
    "a long path": ({"op": "open", "path": "a/" * 3000, "text": ""}, Exit.USAGE, ("longer than 4,096",)),
    "a long name": ({"op": "open", "path": "a" * 300, "text": ""}, Exit.USAGE, ("too long",)),
    "asked about no file": ({"op": "request", "path": "gone.py", "offset": 0}, Exit.USAGE, ("no file gone",)),
    "not open": ({"op": "close", "path": "till.py"}, Exit.USAGE, ("not open",)),
    "endless time": (b'{"op": "open", "path": "till.py", "t": 1e999}', Exit.USAGE, ("Line 1",)),
}


@pytest.mark.parametrize("event,code,words", WRONG.values(), ids=WRONG)
def test_a_wrong_event_is_a_sentence(
    replay: Any, root: Path, event: Any, code: int, words: tuple[str, ...]
) -> None:
    (root / "link.py").symlink_to(root.parent / "out.py")
    (root / "up").symlink_to("..")
    (root / "loop").symlink_to("loop")
    found, rows, said = replay([event])
    assert (found, rows) == (code, [])
    assert said.count("\n") == 1, said
    assert "Line 1" in said
    assert all(word in said for word in words), said


def test_a_wrong_event_names_its_own_line_and_what_came_before_is_answered(replay: Any) -> None:
    code, rows, said = replay((*TYPED, b"", b"nonsense"))
    assert (code, len(rows)) == (Exit.USAGE, 3)
    assert "Line 8" in said


def test_a_place_inside_a_character_is_a_sentence(replay: Any) -> None:
    events = (
        {"op": "open", "path": "a.py", "text": "é = 1\n"},
        {"op": "edit", "path": "a.py", "start": 1, "end": 2, "text": ""},
    )
    code, _, said = replay(events)
    assert code == Exit.USAGE
    assert "Line 2: Byte 1 of a.py is inside a character" in said


def test_one_file_cannot_be_below_another(replay: Any) -> None:
    made = [{"op": "open", "path": "new/b.py", "text": ""}, {"op": "open", "path": "new", "text": ""}]
    for events in (made, made[::-1]):
        code, _, said = replay(events)
        assert code == Exit.USAGE
        assert "Line 2: There can be no" in said and "below the other" in said


@pytest.mark.parametrize(
    ("text", "words"), [("x = 1\n" * 200_000, "larger than 1,000,000 bytes"), ("a\0b", "binary")]
)
def test_a_file_that_no_prompt_may_show_sends_nothing_and_the_session_goes_on(
    replay: Any, text: str, words: str
) -> None:
    asked = {"op": "request", "path": "made.py", "offset": 0}
    events = ({"op": "open", "path": "made.py", "text": text}, asked, *TYPED)
    code, rows, _ = replay(events)
    assert (code, len(rows)) == (Exit.OK, 4)
    assert words in rows[0]["refused"] and rows[1]["prompt_tokens"] > 0


def test_where_nothing_could_be_packed_the_line_is_named(replay: Any) -> None:
    _, _, said = replay(({"op": "request", "path": ".env", "offset": 0},))
    assert "No request could be packed; the last, line 1: .env is left out" in said


def test_a_mark_at_the_beginning_of_the_events_is_none_of_them(replay: Any) -> None:
    first, *rest = [json.dumps(event).encode() for event in TYPED]
    assert replay([b"\xef\xbb\xbf" + first, *rest])[0] == Exit.OK


def test_a_request_about_a_file_that_is_not_open_counts_its_mark_too(replay: Any, root: Path) -> None:
    (root / "bom.py").write_bytes(b"\xef\xbb\xbfx = 1\n")
    code, rows, _ = replay(({"op": "request", "path": "bom.py", "offset": 9},))
    assert (code, len(rows)) == (Exit.OK, 1)


def test_a_dump_never_writes_into_the_directory_nor_over_the_events(
    replay: Any, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "hard").hardlink_to(root / "shop.py")
    for name, words in (("hard", "hard links"), ("events.jsonl", "the file of the events")):
        code, _, said = replay(TYPED, "--dump", str(tmp_path / name))
        assert (code, said.count("\n")) == (Exit.USAGE, 1)
        assert words in said
    assert (root / "shop.py").read_text() == SHOP
    assert (tmp_path / "events.jsonl").read_bytes()


def test_a_dump_into_the_directory_is_refused(replay: Any, root: Path) -> None:
    code, _, said = replay(TYPED, "--dump", str(root / "dump.jsonl"))
    assert code == Exit.USAGE
    assert "never writes to" in said
    assert not (root / "dump.jsonl").exists()


def test_a_budget_into_which_nothing_fits_is_a_sentence(replay: Any) -> None:
    code, _, said = replay(TYPED, "--budget", "10")
    assert code == Exit.USAGE
    assert "budget of 10 tokens" in said


def test_a_table_says_the_three_columns(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, TYPED)))
    assert main(["replay", str(file), "--root", str(root)]) == Exit.OK
    said = capsys.readouterr().out
    for words in ("the first prompt", "new epochs", "the rest"):
        assert words in said


def test_no_file_no_directory_no_tokenizer_are_sentences(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("")
    for arguments in (
        (str(tmp_path / "none.jsonl"), "--root", str(root)),
        (str(file), "--root", str(tmp_path / "none")),
        (str(file), "--root", str(root), "--tokenizer", str(tmp_path / "none.gguf")),
    ):
        assert main(["replay", *arguments]) == Exit.USAGE
        assert capsys.readouterr().err.count("\n") == 1
