"""What the files that configure a project say about imports, as rows: a key and its values.

`package.json`: `name`, `main`, `export` (subpath, target), `import` (#name, target), `workspace` (pattern).
`tsconfig.json`, `jsconfig.json`: `extends`, `base`, `path` (pattern, targets…). `go.mod`: `module`,
`replace` (module, directory). A broken file gives the row `broken` with a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

MOST_BYTES = 1 << 20
Rows = tuple[tuple[str, ...], ...]
_PACKAGE = re.compile(rb'"(?:name|main|module|types|exports|imports|workspaces)"\s*:')
_OPTIONS = re.compile(rb'"(?:compilerOptions|extends)"\s*:')
_STRING_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*(?:[\s\S]*?\*/|[\s\S]*)')
_TRAILING = re.compile(r'("(?:[^"\\\n]|\\.)*")|,(?=\s*[}\]])')
_ENTRIES = ("source", "types", "typings", "module", "main")
_CONDITIONS = ("source", "types", "import", "module", "require", "node", "browser", "development", "default")


def project_facts(data: bytes, language: str) -> Rows:
    """The rows of a file; none for one that configures nothing. Never raises."""
    if len(data) > MOST_BYTES:
        return ()
    if language == "go.mod":
        return tuple(_go_mod(data.decode("utf-8", "replace")))
    if language not in ("json", "jsonc"):
        return ()
    package, options = _PACKAGE.search(data), _OPTIONS.search(data)
    if not package and not options:
        return ()
    try:
        value = read_json(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        return (("broken", f"It is no JSON: {str(error)[:100]}."),)
    if not isinstance(value, dict):
        return ()
    table = cast("dict[str, Any]", value)
    return (*(_package(table) if package else ()), *(_options(table) if options else ()))


def read_json(text: str) -> object:
    """JSON with comments and trailing commas. Raises ValueError."""
    try:
        return json.loads(text)
    except ValueError:
        bare = _STRING_OR_COMMENT.sub(lambda m: m[0] if m[0][0] == '"' else " ", text)
        return json.loads(_TRAILING.sub(lambda m: m[1] or "", bare))


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
