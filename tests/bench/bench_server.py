"""How fast the server is, as ratios within one run: `python -m tests.bench.bench_server [--record]`.

Start: from spawn to the `initialize` reply, beside a bare pygls server, turn about. Help: `glm-lsp --help`
beside importing pygls. Replies: inline completions on this project's tree with the scripted engine, typing
between them. Stalls: how late the event loop is while a generated tree of 10,000 files is indexed, beside
an idle loop that runs at the same time. `--record` writes the table into RESULTS.md.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from tests.bench.probe import percentile
from tests.conftest import apart
from tests.lsp.editor import Editor
from tests.lsp.wire import ROOT, Wire

BARE = "from pygls.lsp.server import LanguageServer\nLanguageServer('bare', '1').start_io()"
PROBED = ("-m", "tests.bench.probed_server")
RESULTS = Path(__file__).with_name("RESULTS.md")
Row = tuple[str, str, str, str]
STAY = 40
"""Keystrokes at one place."""
COMMAND = "python -m tests.bench.bench_server --record"


def seconds_to_initialize(command: tuple[str, ...]) -> float:
    start = time.perf_counter()
    with Wire(command) as wire:
        wire.request(0, "initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        return time.perf_counter() - start


def seconds_to_run(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - start


def turn_about(
    runs: int, ours: tuple[str, ...], other: tuple[str, ...], measure: object
) -> tuple[float, float]:
    """Medians of both, measured alternately so that whatever else the machine does falls on both."""
    pairs = [(measure(ours), measure(other)) for _ in range(runs)]  # type: ignore[operator]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs)


def bench_start(runs: int) -> Iterator[Row]:
    ours, bare = turn_about(runs, ("-m", "glm_lsp", "serve"), ("-c", BARE), seconds_to_initialize)
    yield (
        "spawn to `initialize` reply",
        f"{ours:.3f} s",
        f"{bare:.3f} s (bare pygls)",
        f"{ours / bare:.2f}, at most 1.5",
    )
    ours, other = turn_about(
        runs, ("-m", "glm_lsp", "--help"), ("-c", "import pygls.lsp.server"), lambda c: seconds_to_run(*c)
    )
    yield (
        "`glm-lsp --help`",
        f"{ours:.3f} s",
        f"{other:.3f} s (import pygls)",
        f"{ours / other:.2f}, under 0.5",
    )


def bench_replies(count: int, scratch: Path) -> Iterator[Row]:
    """Typing and asking at every keystroke in this project's own files, at a new place after each 40.

    What is asked at the first place is left out: client and server make their converters there.
    """
    rng = random.Random(0)
    paths = sorted((ROOT / "glm_lsp").rglob("*.py"), key=lambda path: -path.stat().st_size)[:5]
    took_s: list[float] = []
    listed_s: list[float] = []
    gc.collect()
    gc.freeze()
    gc.disable()  # the client's own pauses are not the server's
    with Editor("vscode", ROOT, command=PROBED, script={"typing": "answer"}, home=scratch) as editor:
        uris = [editor.open(str(path.relative_to(ROOT))) for path in paths]
        editor.settle()
        for number in range(count):
            if number % STAY == 0:
                uri = rng.choice(uris)
                at = rng.randrange(len(editor.documents[uri].text))
            editor.type(uri, at, "x")
            at += 1
            start = time.perf_counter()
            editor.result(editor.inline(uri, at, invoked=True))
            took_s.append(time.perf_counter() - start)
            if number % 10 == 0:
                start = time.perf_counter()
                editor.actions(uri, at, at)
                listed_s.append(time.perf_counter() - start)
        both_s: dict[str, list[float]] = editor.ask("test/cpu")
    gc.enable()
    cpu_s, cpu_listed_s = both_s["textDocument/inlineCompletion"], both_s["textDocument/codeAction"]
    listed_s, cpu_listed_s = listed_s[STAY // 10 :], cpu_listed_s[STAY // 10 :]
    on = [number for number in range(STAY, count) if number % STAY]
    new = list(range(STAY, count, STAY))
    for what, chosen, bound in (
        ("inline completion", list(range(STAY, count)), "p99 under 10 ms"),
        ("of these, while typing on", on, ""),
        ("of these, at a new place", new, ""),
    ):
        yield (
            f"{what}, request to reply ({len(chosen)})",
            quantiles([took_s[n] for n in chosen]),
            f"{quantiles([cpu_s[n] for n in chosen])} (its processor time)",
            bound,
        )
    yield (
        f"code actions, request to reply ({len(listed_s)})",
        quantiles(listed_s),
        f"{quantiles(cpu_listed_s)} (its processor time)",
        "",
    )


def quantiles(values_s: list[float]) -> str:
    return f"p50 {percentile(values_s, 0.5) * 1e3:.1f} ms, p99 {percentile(values_s, 0.99) * 1e3:.1f} ms"


def generate(root: Path, files: int) -> None:
    """A tree of modules with classes, functions and imports, by a fixed seed."""
    rng = random.Random(1)
    for number in range(files):
        folder = root / f"package_{number % 100}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [
            f"from package_{rng.randrange(100)}.module_{rng.randrange(files)} import name_{rng.randrange(9)}",
            "",
        ]
        for item in range(rng.randrange(1, 12)):
            lines += [
                f"class Class{item}:",
                f'    """What number {item} is for."""',
                "",
                f"    def method_{item}(self, first: int, second: str = '') -> int:",
                f"        return name_{rng.randrange(50)}(first) + len(second)",
                "",
                f"def name_{item}(value):",
                f"    return Class{item}().method_{item}(value)",
                "",
            ]
        (folder / f"module_{number}.py").write_text("\n".join(lines))


def bench_stalls(files: int, scratch: Path) -> Iterator[Row]:
    tree = scratch / "tree"
    generate(tree, files)
    with (
        subprocess.Popen(
            [sys.executable, "-m", "tests.bench.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as beside,
        Editor(
            "vscode", tree, command=PROBED, folders=[], home=scratch, restless=frozenset({"probe"})
        ) as editor,
    ):
        editor.ask("glm-lsp/status")
        editor.ask("test/probe")
        folder = {"uri": tree.as_uri(), "name": "tree"}
        start = time.perf_counter()
        editor.notify("workspace/didChangeWorkspaceFolders", {"event": {"added": [folder], "removed": []}})
        while editor.ask("glm-lsp/status")["files"] < files:
            time.sleep(0.2)
        took_s = time.perf_counter() - start
        ours = editor.ask("test/stalls")
        idle = json.loads(beside.communicate()[0])
    for q in ("p50", "p99", "p99.9", "max"):
        bound = "p99.9 under 50 ms" if q == "p99.9" else ""
        yield (
            f"event loop late, {q}, while {files:,} files are indexed",
            f"{ours[q]:.1f} ms",
            f"{idle[q]:.1f} ms (idle loop)",
            bound,
        )
    yield f"indexing {files:,} files", f"{took_s:.1f} s", "", ""


def table(
    rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ("what", "ours", "beside", "ratio or bound")
) -> str:
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]

    def line(row: tuple[str, ...]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"

    return "\n".join(
        [line(head), "|" + "|".join("-" * (width + 2) for width in widths) + "|", *map(line, rows)]
    )


def circumstances() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in ("pygls", "lsprotocol", "tree-sitter"))
    load, nice = os.getloadavg()[0], os.getpriority(os.PRIO_PROCESS, 0)
    busy = f"load {load:.1f} at the end" + (f", measured at nice {nice}" if nice else "")
    return f"Python {platform.python_version()}, {versions}; {os.cpu_count()} cores, {busy}."


def record(section: str) -> None:
    """Put the section in place of the one of an earlier run."""
    mark = "## Server\n"
    old = (
        RESULTS.read_text()
        if RESULTS.exists()
        else "# Results\n\nMeasured by the commands given; not asserted.\n\n"
    )
    before, found, after = old.partition(mark)
    rest = after[after.find("\n## ") + 1 :] if found and "\n## " in after else ""
    RESULTS.write_text(before + section + ("\n" + rest if rest else ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--files", type=int, default=10_000)
    args = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(ROOT), apart():
        for part in (
            bench_start(args.runs),
            bench_replies(args.requests, Path(scratch)),
            bench_stalls(args.files, Path(scratch)),
        ):
            for row in part:
                rows.append(row)
                print(*row, sep="\t", flush=True)
    text = f"## Server\n\n`{COMMAND}`\n\n{table(rows)}\n\n{circumstances()}\n"
    print("\n" + text)
    if args.record:
        record(text)


if __name__ == "__main__":
    main()
