"""What the gate for secrets holds back of real packages, and what it costs. Nothing of a finding is printed
without `--show`, which is for tuning.

    python -m tests.bench.bench_secrets DIR [--show N]
    python -m tests.bench.bench_secrets --hostile

The second one looks for the texts that take longest, for each rule: its own shape, broken off and repeated.
DIR holds source distributions as `pip download --no-deps --no-binary :all:` and `npm pack` leave them.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from glm_lsp.core.secrets import find
from glm_lsp.core.secrets.rules import rules
from glm_lsp.workspace.files import Unreadable, as_text, check_name
from tests.secrets.canaries import canary

MOST_BYTES = 1_000_000
HOSTILE_BYTES = 60_000


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
    parser.add_argument("--show", type=int, default=0)
    args = parser.parse_args()
    began = time.process_time()
    known = rules()
    print(f"{len(known.rules)} rules, {len(known.words)} words, ready in {time.process_time() - began:.3f} s")
    if args.hostile or args.directory is None:
        return hostile()
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
