"""What the gate for secrets holds back of real packages, and what it costs. Nothing of a finding is printed
without `--show`, which is for tuning.

    python -m tests.bench.bench_secrets [--record]
    python -m tests.bench.bench_secrets DIR [--show N]
    python -m tests.bench.bench_secrets --hostile

The first one reports on real packages, with the cost of a keystroke and the share of indexing. DIR holds
source distributions as `pip download --no-deps --no-binary :all:` and `npm pack` leave them.
The last one looks for the texts that take longest, for each rule: its own shape, broken off and repeated.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from glm_lsp.core.secrets import find
from glm_lsp.core.secrets.rules import rules
from glm_lsp.workspace.files import Unreadable, as_text, check_name
from tests.bench import corpora
from tests.bench.bench_server import table
from tests.bench.rows import RESULTS
from tests.bench.secrets_typing import Typing, share, typing
from tests.secrets.canaries import canary

MOST_BYTES = 1_000_000
HOSTILE_BYTES = 60_000
PACKAGES = (
    *(
        (corpora.PYPI, name, version)
        for name, version in (
            ("celery", "5.4.0"),
            ("fastapi", "0.115.0"),
            ("google-auth", "2.35.0"),
            ("scrapy", "2.11.2"),
            ("salt", "3007.1"),
            ("twine", "5.1.1"),
            ("werkzeug", "3.0.6"),
            ("psutil", "7.0.0"),
        )
    ),
    *(
        (corpora.NPM, name, version)
        for name, version in (
            ("parse-server", "7.2.0"),
            ("next-auth", "4.24.7"),
            ("stripe", "16.12.0"),
            ("rxjs", "7.8.1"),
            ("fastify", "5.2.1"),
        )
    ),
)
"""The rules were made on others. Of later versions of celery, salt and stripe a sample of 100 findings was
judged: three kinds of false ones were mended."""
GOAL_MS, GOAL_SHARE = 1.0, 0.10
SIZES = ((0, 36_000), (36_000, 200_000), (200_000, MOST_BYTES))


def texts(archive: Path) -> Iterator[tuple[str, bytes]]:
    """What the index would read of an archive."""
    with tarfile.open(archive) as tar:
        for member in tar:
            path = member.name.partition("/")[2]
            if not member.isfile() or member.size > MOST_BYTES or not path:
                continue
            file = tar.extractfile(member)
            try:
                check_name(path)
                yield path, as_text(file.read() if file else b"")
            except Unreadable:
                continue


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--show", type=int, default=0)
    args = parser.parse_args()
    began = time.process_time()
    known = rules()
    print(f"{len(known.rules)} rules, {len(known.words)} words, ready in {time.process_time() - began:.3f} s")
    if args.hostile:
        return hostile()
    if args.directory is None:
        return report(record=args.record)
    total: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for archive in sorted([*args.directory.glob("*.tar.gz"), *args.directory.glob("*.tgz")]):
        here: Counter[str] = Counter()
        for path, data in texts(archive):
            began = time.process_time()
            found = find(path, data)
            here["ns"] += int(1e9 * (time.process_time() - began))
            here["files"] += 1
            here["bytes"] += len(data)
            here["lines"] += data.count(b"\n")
            here["left out"] += bool(found.whole)
            here["touched"] += bool(found.places)
            for place in found.places:
                kinds[place.kind] += 1
                here["places"] += 1
                lines = data.count(b"\n", place.span.start, place.span.end) + 1
                here["held"] += lines
                here["alone"] += lines == 1
                if args.show and kinds[place.kind] <= args.show:
                    start = max(data.rfind(b"\n", 0, place.span.start) + 1, place.span.start - 50)
                    shown = data[start : place.span.end][:140]
                    print(f"    {archive.name[:12]} {path[-45:]}:{place.line + 1} [{place.kind}] {shown!r}")
        total += here
        print(row(archive.name, here))
    print(row("all", total))
    print("kinds:", ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()))
    return 0


def report(*, record: bool) -> int:
    held: list[tuple[str, ...]] = []
    total: Counter[str] = Counter()
    files: list[tuple[str, bytes]] = []
    for package in PACKAGES:
        root = corpora.fetch(*package)
        here: Counter[str] = Counter()
        for path, data in unpacked(root):
            count(path, data, here)
            files.append((f"{root.name}/{path}", data))
        total += here
        held.append(cells(f"{package[1]} {package[2]}", here))
    held.append(cells("all", total))
    costs = [*typed(files), indexing(files)]
    parts = [
        "## Secrets\n\n`python -m tests.bench.bench_secrets --record`; `--hostile` for the slowest texts\n",
        table(held, ("what is looked through", "lines", "places", "lines held back per million", "left out"))
        + "\n",
        table(costs, ("processor time", "figure", "beside", "goal")) + "\n",
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end, {time.strftime('%Y-%m-%d')}. "
        "A keystroke: the text is looked through, masked, and a prompt of 32k tokens passes the last gate.\n",
    ]
    text = "\n".join(parts)
    print(text)
    if record:
        before = RESULTS.read_text(encoding="utf-8")
        RESULTS.write_text(recorded(before, text), encoding="utf-8")
    return 0


def recorded(results: str, section: str) -> str:
    """RESULTS.md with this section in place of an earlier one."""
    kept = re.sub(r"^## Secrets\n.*?(?=^## |\Z)", "", results, flags=re.MULTILINE | re.DOTALL)
    return kept.rstrip("\n") + "\n\n\n" + section


def unpacked(root: Path) -> Iterator[tuple[str, bytes]]:
    """What the index would read of a folder."""
    for file in sorted(root.rglob("*")):
        path = file.relative_to(root).as_posix()
        try:
            if file.is_file() and not file.is_symlink() and file.stat().st_size <= MOST_BYTES:
                check_name(path)
                yield path, as_text(file.read_bytes())
        except Unreadable:
            continue


def count(path: str, data: bytes, here: Counter[str]) -> None:
    began = time.process_time()
    found = find(path, data)
    here["ns"] += int(1e9 * (time.process_time() - began))
    here["files"] += 1
    here["bytes"] += len(data)
    here["lines"] += data.count(b"\n")
    here["left out"] += bool(found.whole)
    for place in found.places:
        lines = data.count(b"\n", place.span.start, place.span.end) + 1
        here["places"] += 1
        here["held"] += lines
        here["alone"] += lines == 1


def cells(name: str, c: Counter[str]) -> tuple[str, ...]:
    lines = c["lines"] or 1
    rate = f"{1e6 * c['held'] / lines:.0f}, of them {1e6 * c['alone'] / lines:.0f} that are no block"
    return name, f"{c['lines']:,}", str(c["places"]), rate, str(c["left out"])


def typed(files: list[tuple[str, bytes]], most: int = 40, keystrokes: int = 120) -> list[tuple[str, ...]]:
    """A row for each size of file."""
    rows: list[tuple[str, ...]] = []
    for low, high in SIZES:
        some = [file for file in files if low <= len(file[1]) < high]
        took = typing(random.Random(low).sample(some, min(most, len(some))), keystrokes)
        rows.append(keystroke_row(f"a keystroke, files of {low // 1000} to {high // 1000} KB", took))
    return rows


def keystroke_row(name: str, took: list[Typing]) -> tuple[str, ...]:
    every = Typing(0, tuple(ms for one in took for ms in one.milliseconds) or (0.0, 0.0))
    said = "met" if every.p95 < GOAL_MS else "MISSED"
    beside = f"{len(took)} files, {len(every.milliseconds)} keystrokes"
    figure = f"median {median(every.milliseconds):.2f} ms, p95 {every.p95:.2f} ms"
    return name, figure, beside, f"p95 under {GOAL_MS:g} ms ({said})"


def indexing(files: list[tuple[str, bytes]], most: int = 1_500, rounds: int = 3) -> tuple[str, ...]:
    some = random.Random(1).sample(files, min(most, len(files)))
    gate, whole = share(some, rounds)
    said = "met" if gate <= GOAL_SHARE * whole else "MISSED"
    megabytes = sum(len(data) for _, data in some) / 1e6
    beside = f"{megabytes / max(gate, 1e-9):.0f} MB/s; {len(some)} files, {whole:.1f} s in all"
    return "share of indexing", f"{gate / max(whole, 1e-9):.1%}", beside, f"at most {GOAL_SHARE:.0%} ({said})"


def hostile() -> int:
    took: list[tuple[float, str, bytes]] = []
    for rule in rules().rules:
        drawn = canary(rule.id)
        text = drawn[0].encode() if drawn else b""
        for at in range(len(text) // 4, len(text), len(text) // 6 or 1):
            for tail in (b"", b" ", b"~", b".", b"     "):
                unit = text[:at] + tail
                data = (unit * (HOSTILE_BYTES // len(unit) + 1))[:HOSTILE_BYTES]
                began = time.process_time()
                find("a.yml", data)
                took.append((time.process_time() - began, rule.id, unit[:40]))
    for seconds, name, unit in sorted(took, reverse=True)[:10]:
        print(f"{seconds / HOSTILE_BYTES * 1e6:6.2f} s per MB: {name} {unit!r}")
    return 0


def row(name: str, c: Counter[str]) -> str:
    lines = c["lines"] or 1
    speed = c["bytes"] / 1e6 / (c["ns"] / 1e9 or 1)
    held, alone = (f"{1e6 * c[key] / lines:.1f}" for key in ("held", "alone"))
    return (
        f"{name:28} {c['files']:6} files {c['lines']:9,} lines, {c['places']} places in {c['touched']} files,"
        f" {held} lines per million ({alone} without blocks), {c['left out']} left out, {speed:.0f} MB/s"
    )


if __name__ == "__main__":
    sys.exit(main())
