"""The closure's bench, on files whose uses are plain to see: its sums are right. No time is looked at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.bench_closure import HEADING, Tally, grep, imported_by, loaded, measure, read, recorded, row
from tests.bench.closure_truth import Used

FILES = {
    "a.py": b"def load():\n    return 1\n\n\nclass C:\n    def load(self):\n        return load()\n",
    "b.py": b"from a import load\n\n\nload()\n",
    "c.py": b"import json\n\njson.load(open('x'))\nx = '__all__'\n",
    "d.py": b"import b\n",
    "README.md": b"load\n",
}
USED = Used("a.py", "load", "function", 0, frozenset({("a.py", 0), ("a.py", 6), ("b.py", 0), ("b.py", 3)}))


def test_what_is_found_is_compared_line_by_line() -> None:
    tally = measure(loaded(FILES), [USED], lambda text: len(text.split()))
    assert (tally.tasks, tally.unnamed, tally.places) == (1, 0, 4)
    assert (tally.certain, tally.certain_right) == (4, 4)
    assert (tally.likely, tally.doubtful) == (0, 0)
    assert (tally.files, tally.files_found, tally.files_right) == (2, 2, 2)
    assert (tally.grep, tally.files_grep) == (6, 3)
    assert (tally.files_import, tally.files_import_right) == (3, 2)
    assert tally.tokens[0] > 0 and tally.tokens_grep[0] > 0


def test_what_is_missed_lowers_recall_and_is_told() -> None:
    more = Used("a.py", "load", "function", 0, USED.uses | {("c.py", 2)})
    tally = measure(loaded(FILES), [more], None, odd=1)
    assert (tally.places, tally.certain_right, tally.files_right) == (5, 4, 2)
    assert tally.odd == ["missed: load: c.py:3: b\"json.load(open('x'))\""]
    total = Tally()
    total.add(tally)
    total.add(tally)
    assert total.tasks == 2 and row("x", total)[3] == "80.0 / 100.0"


def test_grep_and_imports_are_what_they_say() -> None:
    known = loaded(FILES)
    assert ("README.md", 0) not in grep(FILES, "load") and ("c.py", 2) in grep(FILES, "C.load")
    assert imported_by(known.graph, "a.py") == {"a.py", "b.py", "d.py"}


def test_only_text_of_known_languages_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x = 1\n")
    (tmp_path / "b.py").write_bytes(b"\xff\xfe")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist/c.js").write_text("x\n")
    (tmp_path / "d.bin").write_text("x\n")
    assert dict(read(tmp_path)) == {"a.py": b"x = 1\n"}


@pytest.mark.parametrize(
    "before", ["# R\n", f"# R\n\n{HEADING}\n\nold\n", f"# R\n\n{HEADING}\n\nold\n\n## Z\n\nz\n"]
)
def test_a_section_takes_the_place_of_its_older_self(before: str) -> None:
    after = recorded(before, f"{HEADING}\n\nnew\n")
    assert after.count(HEADING) == 1 and "old" not in after and after.startswith("# R\n\n")
    assert ("## Z\n\nz\n" in after) == ("## Z" in before)
    assert recorded(after, f"{HEADING}\n\nnew\n") == after
