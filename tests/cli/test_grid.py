"""The plain tables and the progress of `glm-lsp index`."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.cli import grid

ROWS = [("src/a very long name of a file.py", "is minified"), ("ö/漢字.js", "is a link")]


def test_a_table_folds_what_is_too_long_and_cuts_nothing() -> None:
    assert grid.drawn("left out: 2", ("path", "reason"), ROWS, 40) == (
        "left out: 2\n"
        "╭────────────────────────┬─────────────╮\n"
        "│ path                   │ reason      │\n"
        "├────────────────────────┼─────────────┤\n"
        "│ src/a very long name   │ is minified │\n"
        "│ of a file.py           │             │\n"
        "│ ö/漢字.js              │ is a link   │\n"
        "╰────────────────────────┴─────────────╯\n"
    )


@given(
    rows=st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["C", "Z"]), max_size=60)] * 2)),
    width=st.integers(30, 100),
)
def test_no_line_is_wider_than_the_terminal_and_every_character_is_there(
    rows: list[tuple[str, str]], width: int
) -> None:
    made = grid.drawn("", ("one", "two"), rows, width)
    lines = made.splitlines()
    assert all(grid.cells(line) <= width for line in lines)
    assert len({grid.cells(line) for line in lines}) == 1
    cells = [line.strip("│").split("│") for line in lines if line.startswith("│")]
    told = ["".join(row[at].strip() for row in cells) for at in (0, 1)]
    if not any("│" in text for row in rows for text in row):
        assert told == ["one" + "".join(row[0] for row in rows), "two" + "".join(row[1] for row in rows)]


def test_on_a_terminal_it_tells_how_far_it_is_and_leaves_the_line_clean(tmp_path: Path) -> None:
    for n in range(300):
        (tmp_path / f"f{n}.py").write_text(f"def f{n}(): ...\n" * 40)
    ours, theirs = pty.openpty()
    cache = tmp_path.with_name("cache-of-grid")
    process = subprocess.Popen(
        [sys.executable, "-m", "glm_lsp", "index", str(tmp_path)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        env={**os.environ, "GLM_LSP_CACHE": str(cache), "TERM": "xterm"},
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # the terminal is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    told = [part for part in said.decode().split("\r\x1b[K") if part]
    assert told[0] == "indexing: listing files"
    assert told[-1] == "indexing: 300 files, saving"
    assert said.endswith(b"\r\x1b[K")
    assert all(re.fullmatch(r"indexing: [\d,]+ of 300 files(, \d+ s left)?", t) for t in told[1:-1])


HEAVY = (
    *("rich", "diskcache", "sqlite3", "pathspec", "httpx", "glm_lsp.engines", "glm_lsp.features"),
    *("glm_lsp.core.syntax.reader", "glm_lsp.core.secrets.scan", "glm_lsp.lsp"),
)


def test_a_warm_start_imports_no_parser_no_store_and_no_rich_text(tmp_path: Path) -> None:
    """Half of its time went into modules that it did not use."""
    root = tmp_path / "repo"
    root.mkdir()
    (root / "a.py").write_text("def f(): ...\n")
    code = (
        "import sys; from glm_lsp.__main__ import main; main(['index', sys.argv[1]]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, str(root)]
    environ = {**os.environ, "GLM_LSP_CACHE": str(tmp_path / "cache")}
    subprocess.run(command, env=environ, capture_output=True, check=True)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "glm_lsp.workspace.repository" in loaded
    assert loaded.isdisjoint(HEAVY)
