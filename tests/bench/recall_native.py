"""What function bodies of C, C++, Rust and Java need from other files: rows of their own beside the goals.

C and C++: libclang parses each source with its headers and says what every name refers to. For Rust and Java
no tool that resolves names can be had from a package registry, so the truth is lexical, as for Go: a name
that is called, made or qualified in the body and bound by nothing in it, that the file imports by name or
its package has (Java), and that one file of the repository alone defines at its top.
"""

from __future__ import annotations

import posixpath
import random
import re
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from glm_lsp.core.syntax import language_of

LIBCLANG = "libclang==18.1.1"
LEAST_BODY_LINES = 3
_DEFINED = ("-DLEVELDB_PLATFORM_POSIX", "-DOS_LINUX")
"""What the sources of leveldb are told on the command line."""
_PYTHON = ("/usr/include/python3.11",)
_NATIVE = frozenset({"c", "cpp"})
_WORD = re.compile(r"(?<![\w.\"'])([A-Za-z_]\w*)(?=\s*(?:::|[({<!]))")
_RUST_TOP = re.compile(
    r"^(?:pub(?:\([^)]*\))?\s+)?(?:(?:const|unsafe|async|extern\s+\"C\")\s+)*"
    r"(?:fn|struct|enum|trait|type|union|macro_rules!|static|const)\s+(\w+)",
    re.MULTILINE,
)
_RUST_FUNCTION = re.compile(
    r"^( *)(?:pub(?:\([^)]*\))? )?(?:(?:const|unsafe|async) )*fn (\w+)[^;{]*\{\n(.*?)^\1\}",
    re.MULTILINE | re.DOTALL,
)
_RUST_USE = re.compile(r"^\s*(?:pub\s+)?use\s+([^;]+);", re.MULTILINE)
_JAVA_CLASS = re.compile(r"^(?:[a-z]+\s+)*(?:class|interface|enum|@interface|record)\s+(\w+)", re.MULTILINE)
_JAVA_METHOD = re.compile(
    r"^( +)(?:[\w@<>\[\],.? ]+ )?(\w+)\([^;{}]*\)[^;{}]*\{\n(.*?)^\1\}", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)

Row = tuple[str, str, int, int, list[tuple[str, int, str]]]


def clang(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    """Functions of C and C++ in the order of chance."""
    ensure_libclang()
    from clang import cindex  # noqa: PLC0415

    index = cindex.Index.create()
    sources = [p for p in sorted(among) if language_of(p) in _NATIVE and not p.endswith((".h", ".hpp"))]
    chance.shuffle(sources)
    within = _included(files)
    found = 0
    for path in sources[: most * tries]:
        language = ["-xc++", "-std=c++17"] if language_of(path) == "cpp" else ["-xc"]
        paths = [f"-I{root / folder}" for folder in within] + _system(language[0])
        unit = index.parse(str(root / path), args=[*language, *_DEFINED, "-ferror-limit=0", *paths])
        rows = list(_functions(cindex, unit.cursor, root, path, files))
        if rows:
            yield chance.choice(rows)
            found += 1
        if found == most:
            return


def _included(files: Mapping[str, bytes]) -> list[str]:
    """The folders from which quoted includes of the repository are to be found."""
    found: dict[str, None] = {"": None}
    for data in files.values():
        for name in set(re.findall(r'#\s*include\s+"([^"]+)"', data.decode("utf-8", "replace"))):
            for path in files:
                if path.endswith(f"/{name}"):
                    found.setdefault(path[: -len(name) - 1])
    return list(found)


def _functions(cindex: Any, cursor: Any, root: Path, path: str, files: Mapping[str, bytes]) -> Iterator[Row]:
    kinds = cindex.CursorKind
    holders = (kinds.NAMESPACE, kinds.LINKAGE_SPEC, kinds.CLASS_DECL, kinds.STRUCT_DECL, kinds.UNEXPOSED_DECL)
    wanted = (kinds.FUNCTION_DECL, kinds.CXX_METHOD, kinds.CONSTRUCTOR, kinds.FUNCTION_TEMPLATE)
    for child in cursor.get_children():
        if child.location.file is None or child.location.file.name != str(root / path):
            continue
        if child.kind in holders:
            yield from _functions(cindex, child, root, path, files)
        elif child.kind in wanted and child.is_definition():
            body = next((c for c in child.get_children() if c.kind == kinds.COMPOUND_STMT), None)
            if body is None or body.extent.end.line - body.extent.start.line < LEAST_BODY_LINES:
                continue
            data, start = files[path], body.extent.start.offset + 1
            end = data.rfind(b"}", start, body.extent.end.offset)
            needs = sorted(set(_needs(cindex, body, root, path, files)))
            if needs and end > start:
                yield path, child.spelling, start, end, needs


def _needs(
    cindex: Any, body: Any, root: Path, own: str, files: Mapping[str, bytes]
) -> Iterator[tuple[str, int, str]]:
    """What the names in a body refer to, in other files of the repository; parameters and fields left out."""
    kinds = cindex.CursorKind
    counts = (
        *(kinds.FUNCTION_DECL, kinds.CXX_METHOD, kinds.CLASS_DECL, kinds.STRUCT_DECL, kinds.ENUM_DECL),
        *(kinds.TYPEDEF_DECL, kinds.TYPE_ALIAS_DECL, kinds.FUNCTION_TEMPLATE, kinds.CLASS_TEMPLATE),
        *(kinds.UNION_DECL, kinds.MACRO_DEFINITION),
    )
    for node in body.walk_preorder():
        target = node.referenced
        if target is None or target.kind not in counts or target.location.file is None:
            continue
        try:
            where = Path(target.location.file.name).resolve().relative_to(root.resolve()).as_posix()
        except ValueError:
            continue
        if where != own and where in files and target.spelling:
            yield where, target.location.line - 1, target.spelling


def rust(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    """By the lexical rule: what a file imports by name, and one file of the repository defines at its top."""
    texts = {p: data.decode("utf-8", "replace") for p, data in files.items() if p.endswith(".rs")}
    defined: dict[str, list[tuple[str, int]]] = {}
    for path, text in texts.items():
        for m in _RUST_TOP.finditer(text):
            defined.setdefault(m[1], []).append((path, text.count("\n", 0, m.start(1))))
    rows: list[Row] = []
    for path in sorted(set(among) & texts.keys()):
        text = texts[path]
        imported = {name for m in _RUST_USE.finditer(text) for name in re.findall(r"\w+", m[1])}
        for m in _RUST_FUNCTION.finditer(text):
            rows += _lexical(path, m, text, defined, imported)
    chance.shuffle(rows)
    yield from rows[:most]


def java(
    root: Path,
    files: Mapping[str, bytes],
    chance: random.Random,
    most: int,
    tries: int,
    among: Collection[str],
) -> Iterator[Row]:
    """By the lexical rule: classes that the body names, of which the repository has one of that name."""
    texts = {p: data.decode("utf-8", "replace") for p, data in files.items() if p.endswith(".java")}
    defined: dict[str, list[tuple[str, int]]] = {}
    for path, text in texts.items():
        for m in _JAVA_CLASS.finditer(text):
            defined.setdefault(m[1], []).append((path, text.count("\n", 0, m.start(1))))
    rows: list[Row] = []
    for path in sorted(set(among) & texts.keys()):
        package = {
            n for n in defined if any(posixpath.dirname(p) == posixpath.dirname(path) for p, _ in defined[n])
        }
        imported = set(
            re.findall(r"^import\s+(?:static\s+)?[\w.]*?(\w+)(?:\.\w+)?;", texts[path], re.MULTILINE)
        )
        for m in _JAVA_METHOD.finditer(texts[path]):
            rows += _lexical(
                path, m, texts[path], defined, package | imported, re.compile(r"(?<![\w.\"])([A-Z]\w*)")
            )
    chance.shuffle(rows)
    yield from rows[:most]


def _lexical(
    path: str,
    match: re.Match[str],
    text: str,
    defined: Mapping[str, list[tuple[str, int]]],
    known: Collection[str],
    word: re.Pattern[str] = _WORD,
) -> list[Row]:
    body = match[3]
    if body.count("\n") < LEAST_BODY_LINES:
        return []
    names = set(word.findall(_COMMENT.sub(" ", body))) & set(known)
    bound = set(re.findall(r"\blet\s+(?:mut\s+)?(\w+)", body))
    needs = sorted(
        (*defined[name][0], name)
        for name in names - bound
        if len(defined.get(name, ())) == 1 and defined[name][0][0] != path
    )
    start = len(text[: match.start(3)].encode())
    return [(path, match[2], start, start + len(body.encode()), needs)] if needs else []


def _system(language: str) -> list[str]:
    """Where the compiler of this machine has its headers; nothing where there is none."""
    try:
        done = subprocess.run(
            ["g++", language, "-E", "-v", "-"], input="", capture_output=True, text=True, check=False
        )
    except OSError:
        return []
    inside = done.stderr.partition("search starts here:\n")[2].partition("End of search")[0]
    folders = [line.strip() for line in inside.splitlines() if line.startswith(" ")]
    return [f"-isystem{folder}" for folder in (*folders, sysconfig.get_path("include"), *_PYTHON)]


def ensure_libclang() -> None:
    """Install what the truth of C and C++ needs, where it is missing."""
    try:
        import clang.cindex  # noqa: F401, PLC0415
    except ImportError:
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", LIBCLANG], check=True)


FINDERS = {"c": clang, "cpp": clang, "rust": rust, "java": java}
VERSIONS = dict.fromkeys(FINDERS, 1)
"""Of the rules above: a truth made by other rules is not used."""
