"""The bench of indexing measures what it says; its figures are nobody's test."""

from __future__ import annotations

from pathlib import Path

from tests.bench import bench_index, index_trees
from tests.bench.rows import Row, block


def test_a_small_tree_gives_all_rows(tmp_path: Path) -> None:
    index_trees.generated(tmp_path, 30)
    lines = {"python": 60, "go": 50, "typescript": 50}
    tree = index_trees.Tree(tmp_path, lines, 30, ("x: cannot be had",))
    found = {row.what: row for row in bench_index.rows(tree, rounds=1)}
    assert any("30 files, cold: wall" in what for what in found)
    assert {what.partition(",")[0] for what in found} >= {"python", "go", "typescript", "again"}
    assert "NOT FETCHED" in found
    memory = next(row for what, row in found.items() if what.endswith("peaks of memory"))
    assert float(memory.figure.split()[0]) > 1


def test_many_files_are_all_found() -> None:
    cold, warm = bench_index.many(210)
    assert "(210 indexed)" in cold.what
    assert cold.met and warm.met


def test_only_our_section_is_replaced() -> None:
    text = "# Results\n\n## Index\n\n`x`\n\n### Cold indexing\n\nformer figures\n\n"
    text += "### Other\n\nkept\n\n## Worker\n\nkept\n"
    new = block("Cold indexing", [Row("a", "b")], "said")
    found = bench_index.recorded(text, {"Cold indexing": new})
    assert "former" not in found
    assert found.count("kept") == 2
    assert found.index("## Index") < found.index("### Other") < found.index("## Worker")
    assert bench_index.recorded(found, {"Cold indexing": new}) == found
    assert "## Index" in bench_index.recorded("# Results\n", {"Cold indexing": new})
