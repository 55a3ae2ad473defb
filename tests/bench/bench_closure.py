"""How much of what a refactor must touch is found, and what else: `python -m tests.bench.bench_closure`.

Functions, methods and classes of released packages are drawn by chance; where they are used is known from
jedi, pyright and the TypeScript compiler, not from our index (`closure_truth`). For each the task "rename …
in FILE" is taken, and its closure compared, line by line and file by file. Beside it: `git grep -w`, and the
import closure (the file and all that import it, directly or not). The rules were made by looking at flask,
rich, attrs and `TUNED_ON`; what differed in the TypeScript packages reported was looked at once, and mended.
Times are processor time. `--record` writes the section of RESULTS.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from glm_lsp.core import closure
from glm_lsp.core.closure import Closure
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.core.site import Part
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, RepoIndex
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.engines.tokenizers import GgufTokenizer
from glm_lsp.features.retrieval import Gathered, touched, work
from glm_lsp.features.session import Session
from glm_lsp.workspace.repository import Repository
from tests.bench import corpora
from tests.bench.bench_server import table
from tests.bench.closure_truth import Place, Used, truth
from tests.bench.corpora import NPM, PYPI
from tests.bench.llama_bench import Missing
from tests.bench.rows import circumstances
from tests.features.stage import PROFILE

RESULTS = Path(__file__).with_name("RESULTS.md")
HEADING = "## Closure"
COMMAND = "python -m tests.bench.bench_closure --record"
REPORTED = (
    ("python", PYPI, "werkzeug", "3.0.6"),
    ("python", PYPI, "jinja2", "3.1.6"),
    ("python", PYPI, "click", "8.2.1"),
    ("typescript", NPM, "@reduxjs/toolkit", "2.5.1"),
    ("typescript", NPM, "@tanstack/query-core", "5.62.7"),
    ("typescript", NPM, "rxjs", "7.8.1"),
    ("javascript", NPM, "fastify", "5.2.1"),
)
TUNED_ON = (("python", PYPI, "httpx", "0.28.1"), ("typescript", NPM, "mobx", "6.13.1"))
LARGEST = (PYPI, "sympy", "1.13.3")
LARGE_TASKS = ("rename Symbol to Sign", "make Basic.subs lazy", "add a parameter deep to simplify()")
ROOM_TOKENS = 8_000
"""What a unit may take."""
MOST_FILE_BYTES = 300_000
_BUILT = ("/node_modules/", "/dist/", "/build/", "/_cjs/", "/_esm/", "/_types/")
Count = Callable[[str], int]


@dataclass
class Tally:
    """Sums over the tasks of a package; places are lines of files."""

    tasks: int = 0
    places: int = 0
    certain: int = 0
    certain_right: int = 0
    likely: int = 0
    likely_right: int = 0
    doubtful: int = 0
    doubtful_right: int = 0
    grep: int = 0
    files: int = 0
    files_found: int = 0
    files_right: int = 0
    files_grep: int = 0
    files_import: int = 0
    files_import_right: int = 0
    tokens: list[int] = field(default_factory=list[int])
    tokens_grep: list[int] = field(default_factory=list[int])
    seconds: list[float] = field(default_factory=list[float])
    unnamed: int = 0
    odd: list[str] = field(default_factory=list[str])

    def add(self, other: Tally) -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(frozen=True)
class Loaded:
    files: Mapping[str, bytes]
    graph: Graph
    documents: Mapping[str, Document]


def loaded(files: Mapping[str, bytes]) -> Loaded:
    outlines = {path: outline(path, data, language_of(path)) for path, data in files.items()}
    documents = {p: Document(p, d, digest(d), language_of(p), held=()) for p, d in files.items()}
    return Loaded(files, Graph(RepoIndex(outlines, 1)), documents)


def read(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files of known languages under `root`, without what is built or minified."""
    for at in sorted(root.rglob("*")):
        path = at.relative_to(root).as_posix()
        if (
            not language_of(path)
            or at.is_symlink()
            or not at.is_file()
            or any(b in f"/{path}" for b in _BUILT)
        ):
            continue
        data = at.read_bytes()
        if len(data) <= MOST_FILE_BYTES and not path.endswith((".d.ts", ".d.mts", ".min.js")) and _text(data):
            yield path, data


def _text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def measure(known: Loaded, used: Sequence[Used], count: Count | None, *, odd: int = 0) -> Tally:
    """What the closures of these definitions have of their uses; `odd` differences of each are told."""
    tally = Tally()
    for one in used:
        began = time.process_time()
        found = close(known, f"rename `{one.name}` in {one.path} to `renamed_by_the_bench`")
        seconds = time.process_time() - began
        named = {d.target for d in found.definitions if d.part is Part.DEFINITION}
        if Target(one.path, one.name) not in named:
            tally.unnamed += 1
            continue
        tally.seconds.append(seconds)
        _compare(tally, known, one, found, odd)
        if count is not None:
            gathered = Gathered(found, known.documents)
            units, _ = work(gathered, lambda unit: count(unit.shown(anchors=True)), ROOM_TOKENS)
            tally.tokens.append(sum(count(unit.shown(anchors=True)) for unit in units))
            hits = {path for path, _ in grep(known.files, one.name)}
            tally.tokens_grep.append(sum(count(known.files[path].decode()) for path in hits))
    return tally


def close(known: Loaded, task: str) -> Closure:
    named = closure.roots(known.graph, task, ())
    paths = closure.candidates(known.graph, named)
    return closure.close(known.graph, task, named, {p: known.documents[p] for p in paths})


def _compare(tally: Tally, known: Loaded, one: Used, found: Closure, odd: int) -> None:
    code = [s for s in found.sites if s.part is not Part.MENTION or (s.certain and outline_has_code(s.path))]
    certain = {(s.path, s.line) for s in code if s.certain}
    likely = {(s.path, s.line) for s in code if s.likely} - certain
    doubtful = {(s.path, s.line) for s in code} - certain - likely
    right = set(one.uses)
    hits = grep(known.files, one.name)
    tally.tasks += 1
    tally.places += len(right)
    tally.certain += len(certain)
    tally.certain_right += len(certain & right)
    tally.likely += len(likely)
    tally.likely_right += len(likely & right)
    tally.doubtful += len(doubtful)
    tally.doubtful_right += len(doubtful & right)
    tally.grep += len(hits)
    files, ours = {p for p, _ in right}, {p for p, _ in certain | likely}
    importing = imported_by(known.graph, one.path)
    tally.files += len(files)
    tally.files_found += len(ours)
    tally.files_right += len(files & ours)
    tally.files_grep += len({p for p, _ in hits})
    tally.files_import += len(importing)
    tally.files_import_right += len(files & importing)
    for what, lines in (
        ("missed", right - certain - likely - doubtful),
        ("not certain", right & (likely | doubtful)),
        ("certain, and not in the truth", certain - right),
    ):
        for path, line in sorted(lines)[:odd]:
            text = known.files[path].split(b"\n")[line].strip()[:90]
            tally.odd.append(f"{what}: {one.name}: {path}:{line + 1}: {text!r}")


def grep(files: Mapping[str, bytes], name: str) -> set[Place]:
    """As `git grep -w` finds it, in code."""
    word = re.compile(rb"\b" + re.escape(name.rpartition(".")[2].encode()) + rb"\b")
    return {
        (path, number)
        for path, data in files.items()
        if outline_has_code(path) and word.search(data)
        for number, line in enumerate(data.split(b"\n"))
        if word.search(line)
    }


@cache
def outline_has_code(path: str) -> bool:
    return language_of(path) in ("python", "typescript", "typescriptreact", "javascript", "javascriptreact")


def imported_by(graph: Graph, path: str) -> set[str]:
    """A file and all that import it, directly or through others."""
    found, pending = {path}, [path]
    while pending:
        new = set(graph.importers(pending.pop())) - found
        found |= new
        pending += sorted(new)
    return found


async def timed(root: Path, tasks: Sequence[str]) -> list[tuple[str, float, int, int]]:
    """For each task over a whole repository: processor seconds with everything warm, places, files read."""
    repository = Repository(root, DEFAULTS)
    await repository.index()
    session = Session(repository, ScriptedEngine(""), _Bytes(), PROFILE)
    snapshot = repository.snapshot()
    await session.graph(snapshot)
    found: list[tuple[str, float, int, int]] = []
    for task in tasks:
        gathered = await touched(session, snapshot, task)
        spent: list[float] = []
        for _ in range(3):
            began = time.process_time()
            gathered = await touched(session, snapshot, task)
            spent.append(time.process_time() - began)
        found.append((task, statistics.median(spent), len(gathered.closure.sites), len(gathered.documents)))
    await repository.close()
    return found


class _Bytes:
    exact = False

    def count(self, text: str) -> int:
        return len(text) // 4


def row(name: str, t: Tally) -> tuple[str, ...]:
    sure, all_ = t.certain_right, t.certain_right + t.likely_right
    per_task = statistics.median(t.seconds) * 1000 if t.seconds else 0.0
    tokens = f"{statistics.median(t.tokens):,.0f}" if t.tokens else ""
    theirs = f"{statistics.median(t.tokens_grep):,.0f}" if t.tokens_grep else ""
    return (
        name,
        f"{t.tasks}",
        f"{t.places:,}",
        f"{_share(sure, t.places)} / {_share(sure, t.certain)}",
        f"{_share(all_, t.places)} / {_share(all_, t.certain + t.likely)}",
        f"{_share(all_ + t.doubtful_right, t.places)}",
        f"100.0 / {_share(t.places, t.grep)}",
        f"{_share(t.files_right, t.files)} / {_share(t.files_right, t.files_found)}",
        f"100.0 / {_share(t.files, t.files_grep)}",
        f"{_share(t.files_import_right, t.files)} / {_share(t.files_import_right, t.files_import)}",
        f"{tokens} / {theirs}",
        f"{per_task:.0f}",
    )


HEAD = (
    "package", "tasks", "places", "certain: recall / precision", "with likely", "with what is in doubt",
    "git grep -w", "files", "files by grep", "files by imports", "tokens: units / files by grep", "ms",
)  # fmt: skip


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else "-"


def recorded(text: str, section: str) -> str:
    before, _, after = text.partition(f"{HEADING}\n")
    _, mark, rest = after.partition("\n## ")
    return before.rstrip("\n") + "\n\n" + section + (f"\n## {rest}" if mark else "")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--record", action="store_true", help="write the section of RESULTS.md")
    parser.add_argument("--tuned", action="store_true", help="the packages that the rules were made by")
    parser.add_argument("--most", type=int, default=60, help="definitions of each package")
    parser.add_argument("--packages", default="", help="only these, separated by commas")
    parser.add_argument("--odd", type=int, default=0, help="tell so many differences of each task")
    args = parser.parse_args()
    count = lru_cache(maxsize=100_000)(GgufTokenizer(corpora.vocabulary()).count)
    rows: list[tuple[str, ...]] = []
    total = Tally()
    wanted = set(filter(None, args.packages.split(",")))
    for language, registry, name, version in TUNED_ON if args.tuned else REPORTED:
        if wanted and name not in wanted:
            continue
        sys.stderr.write(f"{name} {version}\n")
        try:
            root = corpora.fetch(registry, name, version)
        except Missing as missing:
            sys.stderr.write(f"left out: {missing}\n")
            continue
        files = dict(read(root))
        tally = measure(
            loaded(files), truth(f"{name} {version}", language, root, files, args.most), count, odd=args.odd
        )
        sys.stderr.write("".join(f"  {line}\n" for line in tally.odd))
        if tally.unnamed:
            sys.stderr.write(f"  {tally.unnamed} definitions were not taken for what the task names\n")
        rows.append(row(f"{name} {version}", tally))
        total.add(tally)
    rows.append(row("all", total))
    large = asyncio.run(timed(corpora.fetch(*LARGEST), LARGE_TASKS)) if not wanted else []
    text = table(rows, HEAD)
    if large:
        shown = [(t, f"{s:.2f}", f"{n:,}", f"{f:,}") for t, s, n, f in large]
        head = (f"task, in {' '.join(LARGEST[1:])}", "processor seconds", "places", "files looked through")
        text += "\n\n" + table(shown, head)
    print(text)
    if args.record:
        said = (
            "Recall and precision in %, of lines that speak of a definition; the truth is what jedi, pyright "
            "or the TypeScript compiler say. They leave out names in `__all__`, quoted annotations, uses "
            "through an alias, a package's imports of itself, and what they cannot follow (146 of werkzeug's "
            "are `adapter.match` in its tests, 652 of jinja2's `env.from_string`): what of these is found "
            "counts as wrong here. "
            "`git grep -w` has all lines by definition."
        )
        load = os.getloadavg()[0]
        section = f"{HEADING}\n\n`{COMMAND}`\n\n{text}\n\n{said}\n\n{circumstances(raised=load < 0)}\n"
        RESULTS.write_text(recorded(RESULTS.read_text(), section))
    return 0


if __name__ == "__main__":
    sys.exit(main())
