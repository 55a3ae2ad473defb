"""What the files that configure a project say about imports, as rows: a key and its values.

`package.json`: `name`, `main`, `export` (subpath, target), `import` (#name, target), `workspace` (pattern).
`tsconfig.json`, `jsconfig.json`: `extends`, `base`, `roots` (directories…), `path` (pattern, targets…).
`go.mod`: `module`, `replace` (module, directory). What is broken in a file gives rows `broken` with a
sentence each; of `pyproject.toml` these are all, for Python's imports need none of it.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from glm_lsp.core.imports.objections import go_mod, package, pyproject, tsconfig

MOST_BYTES = 1 << 20
BROKEN = "broken"
Rows = tuple[tuple[str, ...], ...]
_PACKAGE = re.compile(rb'"(?:name|main|module|types|exports|imports|workspaces)"\s*:')
_OPTIONS = re.compile(rb'"(?:compilerOptions|extends)"\s*:')
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*(?:[\s\S]*?\*/|[\s\S]*)')
_TRAILING = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_VISIBLE = re.compile(r"[^\n]")
_TSCONFIG = re.compile(r"[tj]sconfig(?:\.[\w.-]+)?\.json")
_NAMES = ("package.json", "go.mod", "pyproject.toml")
_ENTRIES = ("source", "types", "typings", "module", "main")
_CONDITIONS = ("source", "types", "import", "module", "require", "node", "browser", "development", "default")


def project_facts(data: bytes, language: str, path: str = "") -> Rows:
    """The rows of a file; none for one that configures nothing. Never raises.

    Without its path a file is known by what is in it: one that nothing extends configures nothing.
    """
    name = path.rpartition("/")[2]
    if language not in ("json", "jsonc", "go.mod") and name != "pyproject.toml":
        return ()
    if len(data) > MOST_BYTES:
        known = configures(path) or language == "go.mod"
        return ((BROKEN, f"It is larger than {MOST_BYTES >> 20} MiB, and not read."),) if known else ()
    text = data.decode("utf-8", "replace")
    if language == "go.mod":
        return (*_go_mod(text), *_rows(go_mod(text)))
    if name == "pyproject.toml":
        return _rows(_pyproject(text))
    script, own = _TSCONFIG.fullmatch(name) is not None, name == "package.json"
    options = script or (not own and _OPTIONS.search(data) is not None)
    manifest = own or (not script and _PACKAGE.search(data) is not None)
    if not (manifest or options) or (script and not text.strip()):
        return ()  # a compiler takes an empty file for one that says nothing
    try:
        value = read_json(text)
    except (ValueError, RecursionError) as error:
        return _rows([f"It is no JSON: {str(error)[:100]}."])
    broken = tsconfig(value) if options else package(value)
    if not isinstance(value, dict):
        return _rows(broken)
    table = cast("dict[str, Any]", value)
    said = (*(_package(table) if manifest else ()), *(_options(table) if options else ()))
    return (*said, *_rows(broken))


def configures(path: str) -> bool:
    """Whether a file configures a project, by its name."""
    name = path.rpartition("/")[2]
    return name in _NAMES or _TSCONFIG.fullmatch(name) is not None


def _rows(broken: Iterable[str]) -> Rows:
    return tuple((BROKEN, said) for said in broken)


def _pyproject(text: str) -> list[str]:
    try:
        return list(pyproject(tomllib.loads(text)))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return [f"It is no TOML: {str(error)[:100]}."]


def read_json(text: str) -> object:
    """JSON with comments and trailing commas. Raises ValueError, which tells of a place in the text."""
    try:
        return json.loads(text)
    except ValueError:
        bare = _STRING_OR_COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else _VISIBLE.sub(" ", m[0]), text)
        return json.loads(_TRAILING.sub(lambda m: m[1] or " ", bare))


def _package(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    if isinstance(name := table.get("name"), str):
        yield "name", name
    for key in _ENTRIES:
        if isinstance(entry := table.get(key), str):
            yield "main", entry
    for key, word in (("exports", "export"), ("imports", "import")):
        yield from _targets(table.get(key), word)
    spaces = table.get("workspaces")
    if isinstance(spaces, dict):
        spaces = cast("dict[str, Any]", spaces).get("packages")
    if isinstance(spaces, list):
        yield from (("workspace", item) for item in cast("list[object]", spaces) if isinstance(item, str))


def _targets(value: object, word: str) -> Iterator[tuple[str, ...]]:
    if not isinstance(value, dict):
        yield from ((word, ".", target) for target in _conditional(value))
        return
    table = cast("dict[str, Any]", value)
    if not any(key.startswith((".", "#")) for key in table):
        yield from ((word, ".", target) for target in _conditional(table))
        return
    for key, target in table.items():
        yield from ((word, key, found) for found in _conditional(target))


def _conditional(value: object, depth: int = 0) -> Iterator[str]:
    """The targets of an entry, those first that are nearest to the source."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list) and depth < 8:
        for item in cast("list[object]", value):
            yield from _conditional(item, depth + 1)
    elif isinstance(value, dict) and depth < 8:
        table = cast("dict[str, object]", value)
        keys = [k for k in _CONDITIONS if k in table] + [k for k in table if k not in _CONDITIONS]
        for key in keys:
            yield from _conditional(table[key], depth + 1)


def _options(table: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    extends = table.get("extends")
    for base in cast("list[object]", extends) if isinstance(extends, list) else [extends]:
        if isinstance(base, str):
            yield "extends", base
    options = table.get("compilerOptions")
    if not isinstance(options, dict):
        return
    known = cast("dict[str, Any]", options)
    if isinstance(base := known.get("baseUrl"), str):
        yield "base", base
    roots = known.get("rootDirs")
    if isinstance(roots, list):
        yield "roots", *(r for r in cast("list[object]", roots) if isinstance(r, str))
    paths = known.get("paths")
    if isinstance(paths, dict):
        for pattern, targets in cast("dict[str, Any]", paths).items():
            if isinstance(targets, list):
                yield "path", pattern, *(t for t in cast("list[object]", targets) if isinstance(t, str))


_GO_LINE = re.compile(r"^\s*(?:(module|replace)\s+)?([^\s()]+)(?:\s+v\S+)?(?:\s*=>\s*([^\s()]+))?")


def _go_mod(text: str) -> Iterator[tuple[str, ...]]:
    inside = ""
    for whole in text.split("\n"):
        line = whole.split("//", 1)[0].strip()
        if line.endswith("("):
            inside = line[:-1].strip()
        elif line == ")":
            inside = ""
        elif match := _GO_LINE.match(f"{inside} {line}" if inside else line):
            word, name, target = match[1], match[2].strip('"'), (match[3] or "").strip('"')
            if word == "module":
                yield "module", name
            elif word == "replace" and target.startswith(("./", "../")):
                yield "replace", name, target
