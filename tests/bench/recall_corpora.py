"""The packages that recall is measured on, loaded: their files, their graph, and places to complete."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from glm_lsp.core import pack
from glm_lsp.core.graph import Graph
from glm_lsp.core.syntax import language_of
from tests.bench.corpora import NPM, PYPI
from tests.bench.edits import cache
from tests.bench.index_trees import DEBIAN, Source, fetched
from tests.bench.recall_peers import Count
from tests.bench.recall_places import index_of, overloads
from tests.bench.recall_truth import Held, places

LARGE_SKELETON = 50_000
"""Tokens of signatures above which a repository counts as large."""
MOST_FILE_BYTES = 300_000
_LEFT_OUT = (
    "/node_modules/",
    "/dist/",
    "/build/",
    "/_cjs/",
    "/_esm/",
    "/_types/",
    "/lib.commonjs/",
    "/lib.esm/",
)
_AIDER = (
    *("aider-chat==0.86.2", "grep-ast==0.9.0", "diskcache==5.6.3", "networkx==3.4.2", "numpy==1.26.4"),
    *("scipy==1.15.3", "pygments==2.19.2", "tqdm==4.67.3", "tree-sitter==0.25.2", "pathspec==1.0.4"),
    *("tree-sitter-language-pack==0.13.0", "tree-sitter-c-sharp==0.23.1", "tree-sitter-yaml==0.7.2"),
    *("tree-sitter-embedded-template==0.25.0", "rich==14.3.2", "tokenizers==0.22.2", "wcwidth==0.6.0"),
    *("prompt-toolkit==3.0.52", "typing-extensions", "packaging", "markdown-it-py", "mdurl"),
    "huggingface-hub",
)
"""What aider's repository map needs of aider's requirements, in the versions that aider asks for."""


@dataclass(frozen=True)
class Package:
    language: str
    registry: str
    name: str
    version: str
    below: str = ""
    """The folder that is taken of it."""

    @property
    def key(self) -> str:
        return f"{self.name} {self.version}".rstrip()

    def root(self) -> Path:
        """Its files on disk. Raises Missing."""
        source = Source(self.language, self.registry, self.name, self.version)
        return fetched(source) / self.below


GOCODE = "usr/share/gocode/src/github.com"
RUST = "usr/src/rustc-1.63.0/library"
TUNED_ON = (
    Package("python", PYPI, "starlette", "0.46.2"),
    Package("python", PYPI, "tomlkit", "0.13.2"),
    Package("python", PYPI, "aiohttp", "3.11.11"),
    Package("python", PYPI, "pydantic", "2.10.4"),
    Package("python", PYPI, "black", "24.10.0"),
    Package("python", PYPI, "sqlalchemy", "2.0.36"),
    Package("typescript", NPM, "effect", "3.11.9"),
    Package("typescript", NPM, "mobx", "6.13.1"),
    Package("javascript", NPM, "preact", "10.25.3"),
    Package("typescript", NPM, "rxjs", "7.8.1"),
    Package("typescript", NPM, "next-auth", "4.24.7"),
    Package("python", PYPI, "httpx", "0.28.1"),
    Package("python", PYPI, "scrapy", "2.11.2"),
    Package("go", DEBIAN, "golang-github-spf13-cobra-dev", "", f"{GOCODE}/spf13/cobra"),
    Package("go", DEBIAN, "golang-github-spf13-viper-dev", "", f"{GOCODE}/spf13/viper"),
    Package("go", DEBIAN, "golang-github-gorilla-mux-dev", "", f"{GOCODE}/gorilla/mux"),
    Package("go", DEBIAN, "golang-github-go-chi-chi-dev", "", f"{GOCODE}/go-chi/chi"),
    Package("go", DEBIAN, "golang-github-labstack-echo-dev", "", f"{GOCODE}/labstack/echo"),
    Package("go", DEBIAN, "golang-github-zclconf-go-cty-dev", "", f"{GOCODE}/zclconf/go-cty"),
    Package("go", DEBIAN, "golang-github-hashicorp-memberlist-dev", "", f"{GOCODE}/hashicorp/memberlist"),
    Package("go", DEBIAN, "golang-github-urfave-cli-v2-dev", "", f"{GOCODE}/urfave/cli"),
    Package(
        "go", DEBIAN, "golang-github-prometheus-client-golang-dev", "", f"{GOCODE}/prometheus/client_golang"
    ),
)
"""What the weights were fitted on; none of them is reported."""
REPORTED = (
    Package("python", PYPI, "werkzeug", "3.0.6"),
    Package("python", PYPI, "jinja2", "3.1.6"),
    Package("python", PYPI, "click", "8.2.1"),
    Package("python", PYPI, "rich", "14.0.0"),
    Package("typescript", NPM, "@reduxjs/toolkit", "2.5.1"),
    Package("typescript", NPM, "@tanstack/query-core", "5.62.7"),
    Package("javascript", NPM, "fastify", "5.2.1"),
    Package("go", DEBIAN, "golang-github-gin-gonic-gin-dev", "", f"{GOCODE}/gin-gonic/gin"),
    Package("go", DEBIAN, "golang-github-hashicorp-hcl-v2-dev", "", f"{GOCODE}/hashicorp/hcl/v2"),
    Package("python", PYPI, "django", "5.1.4"),
    Package("python", PYPI, "sympy", "1.13.3"),
    Package("typescript", NPM, "viem", "2.21.57"),
)
NATIVE = (
    Package("cpp", NPM, "leveldown", "6.1.0", "deps/leveldb/leveldb-1.20"),
    Package("cpp", NPM, "re2", "1.21.4", "vendor/re2"),
    Package("c", PYPI, "psutil", "7.0.0", "psutil"),
    Package("rust", DEBIAN, "rust-src", "", f"{RUST}/alloc"),
    Package("java", PYPI, "jpype1", "1.5.1", "native/java"),
)
"""In no goal's mean: their truth is another, and for Rust and Java it is lexical (`recall_native`)."""


@dataclass
class Loaded:
    """A package on disk and in memory. `skeleton_tokens` counts all its signatures."""

    package: Package
    root: Path
    files: dict[str, bytes]
    graph: Graph
    held: list[Held]
    skeleton_tokens: int
    same: dict[tuple[str, int], frozenset[int]]

    @property
    def large(self) -> bool:
        return self.skeleton_tokens > LARGE_SKELETON


def load(package: Package, most: int, count: Count, among: Collection[str] = ()) -> Loaded:
    """Fetch, read, index, and find places. Raises Missing where the package cannot be had."""
    return loaded(package, package.root(), most, count, among)


def loaded(package: Package, root: Path, most: int, count: Count, among: Collection[str] = ()) -> Loaded:
    files = dict(sources(root, _FAMILIES.get(package.language, _LANGUAGES)))
    graph = Graph(index_of(files))
    symbols = (s for outline in graph.index.outlines.values() for s in outline.symbols)
    skeleton = sum(count(pack.signature_lines(s) + "\n") for s in symbols)
    held = places(package.key, package.language, root, files, most, among=among)
    return Loaded(package, root, files, graph, held, skeleton, overloads(graph, files))


def sources(root: Path, languages: Collection[str] | None = None) -> Iterator[tuple[str, bytes]]:
    """The source files, tests included; what is built, minified or vendored is left out."""
    for at in sorted(root.rglob("*")):
        path = at.relative_to(root).as_posix()
        known = language_of(path) in (languages or _LANGUAGES) or at.name in (
            "tsconfig.json",
            "package.json",
            "go.mod",
        )
        if not known or at.is_symlink() or not at.is_file() or any(part in f"/{path}" for part in _LEFT_OUT):
            continue
        data = at.read_bytes()
        if len(data) <= MOST_FILE_BYTES and not path.endswith((".d.ts", ".d.mts", ".min.js")):
            try:
                data.decode()
            except UnicodeDecodeError:
                continue
            yield path, data.replace(b"\r\n", b"\n")


_LANGUAGES = frozenset({"python", "go", "javascript", "javascriptreact", "typescript", "typescriptreact"})
_FAMILIES = {
    **dict.fromkeys(("c", "cpp"), frozenset({"c", "cpp"})),
    **{language: frozenset({language}) for language in ("rust", "java")},
}


class Aider:
    """aider's repository map for one package, in a process of its own environment; answers are kept, for
    its version and the package's never change."""

    def __init__(self, found: Loaded, tokenizer: Path) -> None:
        self._found, self._tokenizer = found, tokenizer
        name = found.package.key.replace("/", "+").replace(" ", "-")
        self._kept = cache() / "aider" / f"{name}.jsonl"
        self._known: dict[str, list[str]] = {}
        if self._kept.exists():
            for line in self._kept.read_text().splitlines():
                key, maps = json.loads(line)
                self._known[key] = maps
        self._process: subprocess.Popen[str] | None = None

    def maps(self, key: str, path: str, data: bytes, idents: list[str], budgets: list[int]) -> list[str]:
        """The map for each budget, with `path` in the chat, as it is in `data`."""
        if key not in self._known:
            maps = self._known[key] = self._ask(path, data, idents, budgets)
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            with self._kept.open("a") as file:
                file.write(json.dumps([key, maps]) + "\n")
        return self._known[key]

    def _ask(self, path: str, data: bytes, idents: list[str], budgets: list[int]) -> list[str]:
        if self._process is None:
            self._process = self._start()
        at = self._found.root / path
        before = at.read_bytes()
        try:
            at.write_bytes(data)
            said = {"file": path, "idents": idents, "budgets": budgets}
            stdin, stdout = _pipes(self._process)
            stdin.write(json.dumps(said) + "\n")
            stdin.flush()
            return json.loads(stdout.readline())["maps"]
        finally:
            at.write_bytes(before)

    def _start(self) -> subprocess.Popen[str]:
        script = Path(__file__).with_name("recall_aider.py")
        process = subprocess.Popen(
            [str(aider_python()), str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        files = [p for p in self._found.files if language_of(p) in _LANGUAGES]
        first = {"root": str(self._found.root), "tokenizer": str(self._tokenizer), "files": files}
        stdin, _ = _pipes(process)
        stdin.write(json.dumps(first) + "\n")
        stdin.flush()
        return process

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def _pipes(process: subprocess.Popen[str]) -> tuple[IO[str], IO[str]]:
    pipes: Any = (process.stdin, process.stdout)
    return pipes


def aider_python() -> Path:
    """The interpreter that has aider's map, made where it is missing."""
    home = cache() / "aider-venv"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--no-deps", *_AIDER], check=True)
        (home / "ready").touch()
    return python
