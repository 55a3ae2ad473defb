"""The bench of the live index measures what it says; its figures are nobody's test."""

from __future__ import annotations

from pathlib import Path

from tests.bench import bench_live


async def test_a_small_tree_gives_all_rows(tmp_path: Path) -> None:
    for number in range(6):
        lines = "".join(f"def f{n}(x):\n    return x + {n}\n" for n in range(80))
        (tmp_path / f"m{number}.py").write_text(lines)
    found = await bench_live.rows(tmp_path, 16, 4)
    assert [row.what.partition(",")[0] for row in found] == [
        "960 lines in 6 files: an edit to a new snapshot",
        "the same",
        "names and links of the index",
        "the same after an edit",
        "4 files changed at once",
    ]
    assert found[-1].beside == "1 revision"


def test_only_our_section_is_replaced() -> None:
    before = f"# Results\n\n{bench_live.HEADING}\n\nold\n\n## Worker\n\nkept\n"
    after = bench_live.recorded(before, f"{bench_live.HEADING}\n\nnew")
    assert "old" not in after
    assert "kept" in after
    assert after.endswith("new\n")
