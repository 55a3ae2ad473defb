"""The replay's bench measures what it says: sessions, the checker, other layouts. Never how much."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from glm_lsp.core import profiles
from glm_lsp.core.generation import Prompt, Role, Segment
from glm_lsp.core.values import FileOutline, Span, Symbol, SymbolKind
from glm_lsp.engines.tokenizers import from_file
from tests.bench import bench_replay, corpora, replay_recall, sessions
from tests.bench.edits import cache
from tests.bench.llama_bench import Missing
from tests.bench.replay_checker import Checker
from tests.bench.replay_peers import Meter
from tests.bench.replay_picture import picture
from tests.bench.replay_truth import Truth, later

OLD = {
    "app/store.py": '"""Where things are."""\n\n\ndef load_all(path):\n    return open(path).read()\n'
    + "".join(f"\n\ndef part_{n}(value):\n    return value * {n}\n" for n in range(30)),
    "app/main.py": "from app.store import load_all, part_3\n\n\n"
    "def run(path):\n    return part_3(load_all(path))\n",
    "app/view.py": "from app.store import part_4\n\n\ndef show(value):\n    print(part_4(value))\n",
    "app/still.py": "from app.store import part_3\n\nKEPT = part_3(1)\n",
}
NEW = {
    **OLD,
    "app/main.py": "from app.store import load_all, part_3, part_5\n\n\ndef run(path, count):\n"
    "    found = load_all(path)\n    for _ in range(count):\n        found = part_5(found)\n"
    "    return part_3(found)\n\n\ndef run_twice(path):\n    return run(path, 2)\n",
    "app/view.py": "from app.store import part_4\n\n\n"
    "def show(value, *, twice=False):\n    print(part_4(value))\n"
    "    if twice:\n        print(part_4(value))\n",
    "app/store.py": OLD["app/store.py"].replace("value * 7", "value * 7 + part_6(value)"),
    "app/fresh.py": "from app.main import run\n\n\ndef main():\n    run('things.txt', 3)\n",
}


@pytest.fixture
def made(tmp_path: Path) -> sessions.Session:
    root = tmp_path / "old"
    for path, text in OLD.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return sessions.typed(root, {path: text.encode() for path, text in NEW.items()}, 500, seed=3)


def test_a_session_types_the_difference_and_nothing_else(made: sessions.Session) -> None:
    texts = bench_replay.Texts(made.root)
    for event in made.events:
        texts.apply(event)
    changed = [
        p for p in NEW if texts.text(p) != NEW[p] and texts.text(p.replace(".py", "_moved.py")) != NEW[p]
    ]
    assert changed == [] or all("part_" in texts.text(p) for p in changed), changed
    assert made.requests > 30


def test_the_same_seed_gives_the_same_session(made: sessions.Session, tmp_path: Path) -> None:
    again = sessions.typed(made.root, {path: text.encode() for path, text in NEW.items()}, 500, seed=3)
    other = sessions.typed(made.root, {path: text.encode() for path, text in NEW.items()}, 500, seed=4)
    assert again.events == made.events
    assert other.events != made.events


def test_edits_stand_within_the_text_and_between_characters(made: sessions.Session) -> None:
    texts = bench_replay.Texts(made.root)
    for event in made.events:
        size = len(texts.text(event["path"]).encode())
        if event["op"] == "edit":
            assert 0 <= event["start"] <= event["end"] <= size
        texts.apply(event)
        if event["op"] == "request":
            assert event["offset"] <= len(texts.text(event["path"]).encode())


def test_a_replay_counts_every_request_once_and_is_rebuilt_at_each(made: sessions.Session) -> None:
    tokenizer = from_file(profiles.load("nano").gguf_path)
    found = asyncio.run(bench_replay.replayed(made, tokenizer, 32_768))
    assert found.wrong == []
    assert found.requests + 1 + found.refused == made.requests
    assert all(len(cost.evaluated) == made.requests - found.refused for cost in found.costs.values())
    assert len(found.costs) == 5
    assert found.costs[bench_replay.OURS].needed > 0
    section = bench_replay.report([found])
    for heading in ("first prompt", "turns, per request", "llama.vim", "Continue", "live file"):
        assert heading in section


NEEDED = {
    "app/store.py": b"class Store:\n    def load(self, path):\n        pass\n\n\ndef plain(x):\n    pass\n",
    "app/main.py": b"from app.store import Store, plain\n\n\ndef run(store: Store):\n    pass\n",
    "web/shop.ts": b"export class Shop {\n  price(of: string) { return 1; }\n}\nexport function sum() {}\n",
    "web/till.ts": b'import { Shop } from "./shop";\n\nexport function pay(shop: Shop) {\n  1;\n}\n',
}


def needed(truth: Truth, path: str, old: bytes, new: str) -> list[tuple[str, str]]:
    """What `path` needs where `old` is about to become `new`: files and first lines of definitions."""
    at = NEEDED[path].index(old)
    event = {"start": at, "end": at + len(old), "text": new}
    text, start, end = later(NEEDED[path], at, [event])
    return [(need.path, need.line) for need in truth.needs(NEEDED, path, text, start, end)]


def test_an_independent_tool_says_what_is_needed_for_what_is_going_to_be_typed(tmp_path: Path) -> None:
    pytest.importorskip("jedi", reason="the truth of Python's names is jedi's")
    with Truth(tmp_path) as truth:
        found = needed(truth, "app/main.py", b"pass", "return store.load(plain(1))")
    assert found == [
        ("app/store.py", "class Store"),
        ("app/store.py", "def load(self, path)"),
        ("app/store.py", "def plain(x)"),
    ]


def test_the_compiler_says_what_a_script_needs(tmp_path: Path) -> None:
    compiler = cache() / "node/node_modules/typescript"
    if not compiler.exists() or not shutil.which("node"):
        pytest.skip("the TypeScript compiler is fetched by the bench")
    with Truth(tmp_path, compiler) as truth:
        found = needed(truth, "web/till.ts", b"1;", 'return shop.price("x");')
    assert found == [("web/shop.ts", "class Shop"), ("web/shop.ts", "price(of: string) { return 1; }")]


TRUTH = {"a.py": ("one", "two", "three", "four", "five", ""), "b.py": ("x = 1", "y = 2", "")}
TRUNK = (
    "# Source\n",
    "== b.py:1-2\nx = 1\ny = 0\n",
    "== a.py:1-5\none\n2\nthree\nfour\nfive\n",
    "# Edits since then\n",
    "== b.py line 2 -1 +1\ny = 2\n",
)
TAIL = (
    "# Complete a.py line 2 in f\nThe code after the gap:\n```\n\nthree\n```\nWrite the code.\n",
    "```python\ntwo",
)


def said(trunk: Sequence[str] = TRUNK, tail: tuple[str, str] = TAIL) -> Prompt:
    user = [Segment(Role.USER, text) for text in (*trunk, tail[0])]
    return Prompt((Segment(Role.SYSTEM, "You."), *user, Segment(Role.ASSISTANT, tail[1])), 0)


def check(prompt: Prompt, *wrong: str) -> None:
    found = Checker(lambda path: TRUTH.get(path, ("",))).check(prompt).wrong
    assert len(found) == len(wrong), found
    for what, words in zip(found, wrong, strict=True):
        assert words in what


def test_edits_and_tail_over_source_give_the_text() -> None:
    check(said())


def test_an_edit_that_is_not_told_is_found() -> None:
    check(said(TRUNK[:3]), "b.py: line 2 is told as 'y = 0'")


def test_an_edit_that_is_told_twice_is_found() -> None:
    check(said((*TRUNK, "== b.py line 1 -0 +1\nx = 0\n")), "b.py: line 1 is told as 'x = 0'")


def test_a_tail_with_another_text_is_found() -> None:
    check(said(tail=(TAIL[0].replace("three", "3"), TAIL[1])), "in the tail, line 3")
    check(said(tail=(TAIL[0].replace("line 2", "line 3"), TAIL[1])), "in the tail, line 3")


def test_lines_below_the_tail_that_moved_untold_are_found() -> None:
    extra = TRUNK[2].replace("four\n", "four\nfour and a half\n").replace("1-5", "1-6")
    check(said((*TRUNK[:2], extra, *TRUNK[3:])), "a.py: line 5 is told as 'four and a half'")


def test_a_window_whose_new_lines_wait_is_in_its_place() -> None:
    shorter = "== a.py:1-3\none\nfour\nfive\n"
    tail = (
        "# Complete a.py line 2\nThe code after the gap:\n```\n\nfour\n```\nWrite.\n",
        "```python\ntwo\nthree",
    )
    check(said((*TRUNK[:2], shorter, *TRUNK[3:]), tail))


def test_signatures_that_no_longer_stand_are_counted() -> None:
    trunk = ("# Outline of the repository\n", "== b.py\nx = 1\ndef gone():\n", *TRUNK)
    verdict = Checker(lambda path: TRUTH.get(path, ("",))).check(said(trunk))
    assert (verdict.signatures, verdict.stale, verdict.wrong) == (2, 1, [])


def test_what_is_needed_is_what_one_other_file_defines() -> None:
    def outline(path: str, *names: str) -> FileOutline:
        symbols = [Symbol(n, SymbolKind.FUNCTION, Span(0, 1), f"def {n}():") for n in names]
        return FileOutline(path, "", "python", tuple(symbols))

    outlines = {
        o.path: o for o in (outline("a.py", "here"), outline("b.py", "far", "both"), outline("c.py", "both"))
    }
    wanted = replay_recall.needs(outlines, "a.py", "here()\nboth()\n", 0, "far()")
    assert [(n.path, n.name) for n in wanted] == [("b.py", "far")]
    assert replay_recall.recall(wanted, "== b.py\ndef far():\n") == (1, 1)
    assert replay_recall.recall(wanted, "far()") == (0, 1)


def test_a_meter_counts_from_the_first_change_on_and_what_a_server_can_move() -> None:
    meter = Meter(from_file(profiles.load("nano").gguf_path))
    lines = [f"value_{n} = {n}\n" for n in range(400)]
    total, evaluated = meter.cost(["".join(lines)])
    assert total == evaluated == meter.count("".join(lines))
    assert meter.cost(["".join(lines)]) == (total, 0)
    without = meter.count("".join(lines[1:]))
    assert meter.cost(["".join(lines[1:])], reuse=256)[1] < without // 4
    assert meter.cost(["".join(lines)])[1] > without // 2


def test_an_archive_that_leads_out_of_its_folder_is_refused(tmp_path: Path) -> None:
    import io  # noqa: PLC0415
    import tarfile  # noqa: PLC0415

    packed = tmp_path / "evil-1.tar.gz"
    with tarfile.open(packed, "w:gz") as archive:
        info = tarfile.TarInfo("../out.py")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(Missing, match="cannot be unpacked"):
        corpora.unpacked(packed, tmp_path / "tree")
    assert not (tmp_path / "out.py").exists()


def test_tuned_and_reported_packages_are_others() -> None:
    assert not {p.package for p in corpora.TUNED_ON} & {p.package for p in corpora.REPORTED}
    assert len({p.language for p in corpora.REPORTED}) >= 4


def test_a_picture_names_each_layout() -> None:
    drawn = picture({"ours": [1, 2, 3], "theirs & others": [100, 20_000]})
    assert drawn.startswith("<svg")
    assert "theirs &amp; others: mean 10,050" in drawn


def test_a_section_takes_the_place_of_the_one_before() -> None:
    text = "# Results\n\n## Replay\n\nold\n\n## Worker\n\nkept\n"
    once = bench_replay.recorded(text, "## Replay\n\nnew\n")
    assert once == "# Results\n\n## Replay\n\nnew\n\n## Worker\n\nkept\n"
    assert bench_replay.recorded(once, "## Replay\n\nnew\n") == once


def test_an_event_reads_as_it_was_written(made: sessions.Session) -> None:
    assert [json.loads(line) for line in made.lines()] == list(made.events)
    assert replace(made, events=made.events[:3]).requests <= 3
