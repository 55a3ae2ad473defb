"""Indexing, from outside: `python -m tests.bench.bench_index [--record] [--files 100000]`.

About a million lines of real packages (`index_trees`): `glm-lsp index` with a fresh cache and then a warm
one, raw tree-sitter parsing of the same files as the limit, and universal-ctags, turn about; beside the warm
starts a bare Python, and one that walks the tree. Wall and processor time are of whole process trees, memory
is the sum of their processes' peaks. With `--files` a made tree of so many files, too. A busy machine gives
poor wall figures: processor time is told beside them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench import index_trees
from tests.bench.rows import RESULTS, Row, block, circumstances

ROOT = Path(__file__).parents[2]
HEADING = "## Index"
COMMAND = "python -m tests.bench.bench_index --record"
TITLE = "Cold indexing"
SAMPLE_S = 0.1
"""What is looked at only ever grows; looking takes time that a cold run would use."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command took, with all the processes that it started."""

    wall_s: float
    processor_s: float
    peak_mb: float
    """The sum of the peaks of its processes."""
    out: str = ""


WARM = 5
"""Warm starts for each cold one: they are short, and so are the pauses that spoil them."""
COMPILED = {"PYTHONDONTWRITEBYTECODE": ""}
"""As an installed package is: its modules are compiled once, and not at each start."""


def measured(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Ran:
    """Run a command; its peaks are looked at while it runs, from outside."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **COMPILED, **(environ or {})},
        stdout=subprocess.PIPE,
        text=True,
    )
    peaks: dict[int, int] = {}
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(process.pid, peaks, done))
    watcher.start()
    try:
        out, _ = process.communicate()
    finally:
        done.set()
        watcher.join()
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(wall_s, spent, sum(peaks.values()) / 1024, out)


def _watch(pid: int, peaks: dict[int, int], done: threading.Event) -> None:
    """Note the highest resident sizes, in KiB, of a process and those below it."""
    while not done.wait(SAMPLE_S):
        for one in (pid, *_below(pid)):
            try:
                status = Path(f"/proc/{one}/status").read_text()
            except OSError:
                continue
            if found := re.search(r"VmHWM:\s+(\d+)", status):
                peaks[one] = max(peaks.get(one, 0), int(found[1]))


def _below(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *_below(child)]
    except OSError:
        pass
    return found


def ours(root: Path, cache: Path, form: str = "json") -> Ran:
    """`glm-lsp index` of all files: what rules leave out is included, for the others read it too.

    JSON lists every place that is held back, and reads its file again; `text` shows the first few.
    """
    command = (sys.executable, "-m", "glm_lsp", "index", str(root), "--format", form)
    run = short if form == "text" else measured
    return run(command, {"GLM_LSP_CACHE": str(cache), "GLM_LSP_INDEX_INCLUDE": "*"})


_RAW = """
import json, os, sys, time
from pathlib import Path
from tree_sitter import Parser
from glm_lsp.core.syntax.languages import grammar, language_of, supported
spent = {}
for path in map(Path, json.loads(sys.stdin.read())):
    language = language_of(path.name)
    if supported(language):
        data = path.read_bytes()
        parser = Parser(grammar(language))
        start = time.process_time()
        tree = parser.parse(data)
        del tree
        one = spent.setdefault("typescript" if language == "typescriptreact" else language, [0, 0.0])
        one[0] += data.count(b"\\n")
        one[1] += time.process_time() - start
print(json.dumps(spent))
"""
_OURS = """
import json, sys, time, gc
from pathlib import Path
from glm_lsp.core.secrets import attributed
from glm_lsp.core.syntax import language_of, outline, parse
from glm_lsp.workspace.encoding import pack
from glm_lsp.workspace.files import Unreadable, load, shown
gc.disable()
spent = {}
for path in map(Path, json.loads(sys.stdin.read())):
    start = time.process_time()
    try:
        document = shown(load(path.parent, path.name, 10**6, look=False))
    except Unreadable:
        continue
    language = document.language
    tree = parse(document.data, language)
    pack(attributed(outline("", document.data, language, tree=tree, halt=lambda: False), document))
    language = language_of(path.name)
    one = spent.setdefault("typescript" if language == "typescriptreact" else language, [0, 0.0])
    one[0] += document.data.count(b"\\n")
    one[1] += time.process_time() - start
print(json.dumps(spent))
"""


_PASS = (sys.executable, "-c", "pass")
_WALK = """
import os, sys
count, left = 0, [sys.argv[1]]
while left:
    with os.scandir(left.pop()) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                left.append(entry.path)
            else:
                count += entry.stat(follow_symlinks=False).st_size > 0
"""


def short(command: Sequence[str], environ: Mapping[str, str] | None = None) -> Ran:
    """Run a command that takes less than a second, with nobody who looks at it meanwhile."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **COMPILED, **(environ or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    wall_s, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(wall_s, spent, 0.0, done.stdout)


def by_language(code: str, paths: Sequence[Path]) -> tuple[dict[str, tuple[int, float]], float]:
    """Lines and seconds of processor time by language, in one process, and the seconds of it all."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        (sys.executable, "-c", code),
        input=json.dumps([str(p) for p in paths]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {name: (int(n), float(s)) for name, (n, s) in json.loads(done.stdout).items()}, spent


def ctags(root: Path) -> Ran | None:
    """Universal Ctags: definitions alone; None where it is not installed."""
    program = shutil.which("ctags")
    if program is None:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        return measured((program, "--quiet=yes", "-R", "-f", str(Path(scratch) / "tags"), str(root)))


def rows(tree: index_trees.Tree, rounds: int = ROUNDS) -> list[Row]:
    """The figures of one tree."""
    lines = sum(tree.lines.values())
    million = lines / 1e6
    paths = sorted(p for p in tree.root.rglob("*") if p.is_file())
    cold: list[Ran] = []
    warm: list[Ran] = []
    bare: list[tuple[float, float]] = []
    limits: list[float] = []
    tags: list[Ran] = []
    raw: list[dict[str, tuple[int, float]]] = []
    own: list[dict[str, tuple[int, float]]] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(ours(tree.root, Path(cache)))
            for _ in range(WARM):
                warm.append(ours(tree.root, Path(cache), "text"))
                walk = short((sys.executable, "-c", _WALK, str(tree.root)))
                bare.append((short(_PASS).wall_s, walk.wall_s))
        for code, found in ((_RAW, raw), (_OURS, own)):
            found.append(by_language(code, paths)[0])
        limits.append(sum(s for _, s in raw[-1].values()))
        if (ran := ctags(tree.root)) is not None:
            tags.append(ran)
    report = json.loads(cold[0].out)
    wall, spent = (statistics.median(getattr(r, n) for r in cold) for n in ("wall_s", "processor_s"))
    limit = statistics.median(limits)
    found = [
        Row(
            f"{lines:,} lines, {report['files']:,} files, cold: wall",
            f"{wall:.2f} s ({wall / million:.2f} s per million lines)",
            f"{limit / (os.cpu_count() or 1):.2f} s (raw parsing, on all cores)",
            "6 s per million lines (goal 4)",
            wall / million <= 6,
        ),
        Row(
            "the same: processor time, all processes",
            f"{spent:.2f} s ({spent / million:.2f} s per million lines)",
            f"{limit:.2f} s (raw parsing), ratio {spent / limit:.2f}",
            "12 s per million lines",
            spent / million <= 12,
        ),
        Row(
            "the same: sum of the processes' peaks of memory",
            f"{statistics.median(r.peak_mb for r in cold):.0f} MB",
        ),
        _warm(warm, bare),
    ]
    if tags:
        tag_wall = statistics.median(r.wall_s for r in tags)
        found.append(
            Row(
                "universal-ctags -R on the same, definitions only, one core",
                f"{tag_wall:.2f} s wall, {statistics.median(r.processor_s for r in tags):.2f} s processor",
                f"ours {wall / tag_wall:.2f} of its wall time",
            )
        )
    for language in sorted(tree.lines):
        speeds = [
            statistics.median(
                one[language][0] / max(one[language][1], 1e-9) for one in kind if language in one
            )
            for kind in (own, raw)
        ]
        found.append(
            Row(
                f"{language}, {tree.lines[language]:,} lines, one core, all but the pipes",
                f"{speeds[0]:,.0f} lines/s",
                f"{speeds[1]:,.0f} lines/s (raw parsing), {speeds[0] / speeds[1]:.2f} of it",
            )
        )
    found += [Row("NOT FETCHED", said) for said in tree.missing]
    return found


def _warm(warm: Sequence[Ran], bare: Sequence[tuple[float, float]]) -> Row:
    """Warm starts, and what none can be without: a Python that starts, and `stat` of each file."""
    walls, spent = [r.wall_s for r in warm], statistics.median(r.processor_s for r in warm)
    passes, walks = ([pair[at] for pair in bare] for at in (0, 1))
    return Row(
        f"again, warm, {len(warm)} times: wall, process start included",
        f"{statistics.median(walls):.2f} s median, {min(walls):.2f} s least, {spent:.2f} s processor time",
        f"{statistics.median(walks):.2f} s median, {min(walks):.2f} s least (python that walks and stats the "
        f"tree; {min(passes):.3f} s least: python -c pass)",
        "0.5 s median",
        statistics.median(walls) <= 0.5,
    )


def many(files: int) -> list[Row]:
    """The figures of a made tree of so many small files."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "tree"
        root.mkdir()
        index_trees.generated(root, files)
        first, again = (ours(root, Path(scratch) / "cache") for _ in range(2))
    found = json.loads(first.out)["files"]
    return [
        Row(
            f"{files:,} small files ({found:,} indexed), cold: sum of the processes' peaks of memory",
            f"{first.peak_mb:.0f} MB",
            f"{first.wall_s:.1f} s wall, {first.processor_s:.1f} s processor time",
            "under 1,000 MB",
            first.peak_mb < 1000,
        ),
        Row(
            f"{files:,} small files, warm: sum of the processes' peaks of memory",
            f"{again.peak_mb:.0f} MB",
            f"{again.wall_s:.2f} s wall, {again.processor_s:.2f} s processor time",
            "under 1,000 MB",
            again.peak_mb < 1000,
        ),
    ]


def recorded(text: str, blocks: Mapping[str, str]) -> str:
    """`text` of RESULTS.md with these parts of our section in place of earlier ones; all else stays."""
    before, found, after = text.partition(f"{HEADING}\n")
    body, mark, rest = after.partition("\n## ") if found else ("", "", "")
    known = {p.partition("\n")[0]: "### " + p.strip("\n") + "\n" for p in ("\n" + body).split("\n### ")[1:]}
    section = f"{HEADING}\n\n`{COMMAND}`\n\n" + "\n".join((known | dict(blocks)).values())
    return before.rstrip("\n") + "\n\n" + section + (f"\n## {rest}" if mark else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--files", type=int, default=0, help="also a made tree of so many files")
    parser.add_argument("--only-files", action="store_true", help="the made tree alone")
    args = parser.parse_args()
    parts: dict[str, list[Row]] = {}
    if not args.only_files:
        tree = index_trees.made(say=lambda text: print(text, file=sys.stderr))
        parts[TITLE] = rows(tree, args.rounds)
    if args.files:
        parts["Many files"] = many(args.files)
    blocks = {title: block(title, found, circumstances(raised=False)) for title, found in parts.items()}
    print("\n" + "\n".join(blocks.values()))
    if args.record:
        RESULTS.write_text(recorded(RESULTS.read_text(), blocks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
