"""What is wrong with files that configure a project, as sentences: in one, and with what it needs of others.

Only what imports are resolved by is looked at, and what no tool would take: whoever reads that an alias leads
nowhere should find out here why.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

Rows = tuple[tuple[str, ...], ...]
MOST_EXTENDS = 8
"""So many files that extend each other are followed."""
MOST_SHOWN = 60
_TYPES: Mapping[type, str] = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "a truth value",
    type(None): "null",
}
_DIRECTIVE = re.compile(r"[a-z]+")
_GO = ("module", "go", "toolchain", "godebug", "require", "exclude", "replace", "retract", "tool", "ignore")


def package(value: object) -> Iterator[str]:
    """Of a `package.json`."""
    if not isinstance(value, dict):
        yield _no_object(value)
        return
    table = cast("dict[str, Any]", value)
    yield from _wrong(table, {"name": str, "imports": dict})
    if isinstance(exports := table.get("exports"), dict):
        keys = cast("dict[str, object]", exports)
        dotted = sum(key.startswith(".") for key in keys)
        if 0 < dotted < len(keys):
            yield "`exports` has subpaths, which begin with a dot, beside conditions, which do not."
    elif isinstance(exports, (bool, int, float)):
        yield f"`exports` is {_called(exports)}; it should be a text, a list or an object."
    if isinstance(imports := table.get("imports"), dict):
        for key in cast("dict[str, object]", imports):
            if not key.startswith("#"):
                yield f"`imports` has {_short(key)}, which does not begin with #."
    spaces = table.get("workspaces")
    if isinstance(spaces, dict):
        spaces = cast("dict[str, Any]", spaces).get("packages")
    if spaces is not None and not _texts(spaces):
        yield "`workspaces` should be a list of patterns."


def tsconfig(value: object) -> Iterator[str]:
    """Of a `tsconfig.json`, a `jsconfig.json`, or what one extends."""
    if not isinstance(value, dict):
        yield _no_object(value)
        return
    table = cast("dict[str, Any]", value)
    extends = table.get("extends")
    if extends is not None and not isinstance(extends, str) and not _texts(extends):
        yield f"`extends` is {_called(extends)}; it should be a text or a list of texts."
    if extends == "" or (isinstance(extends, list) and "" in extends):
        yield "`extends` is empty."
    yield from _wrong(table, {"compilerOptions": dict})
    if not isinstance(options := table.get("compilerOptions"), dict):
        return
    known = cast("dict[str, Any]", options)
    yield from _wrong(known, {"baseUrl": str, "paths": dict}, "compilerOptions.")
    if not isinstance(paths := known.get("paths"), dict):
        return
    for pattern, targets in cast("dict[str, Any]", paths).items():
        if pattern.count("*") > 1:
            yield f"The pattern {_short(pattern)} of `paths` has more than one star."
        if not _texts(targets):
            yield f"The targets of {_short(pattern)} in `paths` should be a list of texts."
        elif not targets:
            yield f"{_short(pattern)} in `paths` has no target."
        for target in cast("list[str]", targets) if _texts(targets) else ():
            if target.count("*") > 1:
                yield f"The target {_short(target)} of `paths` has more than one star."


def pyproject(table: Mapping[str, Any]) -> Iterator[str]:
    """Of a `pyproject.toml`."""
    yield from _wrong(table, {"project": dict, "tool": dict, "build-system": dict}, what="table")
    if isinstance(project := table.get("project"), dict):
        yield from _wrong(cast("dict[str, Any]", project), {"name": str}, "project.", "table")


def go_mod(text: str) -> Iterator[str]:
    """Of a `go.mod`."""
    inside, modules, begun = "", 0, 0
    for number, whole in enumerate(text.split("\n"), 1):
        line = whole.split("//", 1)[0].strip()
        if not line:
            continue
        if inside and line == ")":
            inside = ""
            continue
        found = _DIRECTIVE.match(line)
        word = inside or (found[0] if found else "")
        said = line if inside else line[len(word) :].strip()
        if word not in _GO:
            yield f"Line {number} begins with no directive that there is: {_short(line)}."
        elif said == "(" and not inside:
            inside, begun = word, number
        elif word == "module":
            modules += 1
            if not said:
                yield f"Line {number} names no module."
        elif word == "replace" and not re.fullmatch(r"\S+(\s+v\S+)?\s*=>\s*\S+(\s+v\S+)?", said):
            yield f"Line {number} is no replacement, as in `replace MODULE => DIRECTORY`: {_short(line)}."
    if inside:
        yield f"The block that line {begun} opens is not closed."
    if modules != 1:
        yield f"It names {modules or 'no'} module{'s' if modules > 1 else ''}; one is needed."


def missing(configs: Mapping[str, Rows], holds: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """What files need of others that is not there, each with the path of who needs it.

    `configs` holds rows by path; `holds` says whether there is a file, or with a slash one below it.
    """
    for path, rows in configs.items():
        home = posixpath.dirname(path)
        for row in rows:
            if row[0] == "extends" and row[1].startswith((".", "/")):
                if said := _extends(path, home, row[1], configs, holds):
                    yield path, said
            elif row[0] == "replace":
                target = _joined(home, row[2])
                if target is None:
                    yield (
                        path,
                        f"{_short(row[1])} is replaced by {_short(row[2])}, outside of the repository.",
                    )
                elif not holds(f"{target}/" if target else ""):
                    said = "where nothing is indexed"
                    yield path, f"{_short(row[1])} is replaced by {_short(row[2])}, {said}."


def extended(path: str, said: str, configs: Mapping[str, Rows]) -> str | None:
    """The file that `extends` means in a configuration, there or not; None where it leads out of the root."""
    target = _joined(posixpath.dirname(path), said)
    if target is None or said.startswith("/"):
        return None
    return target if target.endswith(".json") or target in configs else f"{target}.json"


def _extends(
    path: str, home: str, said: str, configs: Mapping[str, Rows], holds: Callable[[str], bool]
) -> str:
    target = extended(path, said, configs)
    if target is None:
        return f"It extends {_short(said)}, outside of the repository."
    if not holds(target):
        return f"It extends {_short(said)}, but {_short(target)} is not among the indexed files."
    chain, pending = [path], target
    while pending is not None and len(chain) <= MOST_EXTENDS:
        if pending == path:
            around = "itself" if len(chain) == 1 else f"itself by way of {_short(chain[1])}"
            return f"It extends {around}."
        chain.append(pending)
        following = (
            extended(pending, row[1], configs)
            for row in configs.get(pending, ())
            if row[0] == "extends" and row[1].startswith(".")
        )
        pending = next((f for f in following if f is not None and (f == path or f not in chain)), None)
    if pending is not None:
        return f"More than {MOST_EXTENDS} files extend each other, beginning here; the rest is not read."
    return ""


def _wrong(
    table: Mapping[str, Any], wanted: Mapping[str, type], prefix: str = "", what: str = "object"
) -> Iterator[str]:
    for key, kind in wanted.items():
        if (value := table.get(key)) is not None and not isinstance(value, kind):
            should = f"a {what}" if what != "object" else "an object"
            yield f"`{prefix}{key}` is {_called(value)}; it should be {should if kind is dict else 'a text'}."


def _no_object(value: object) -> str:
    return f"It holds {_called(value)}; it should be an object."


def _called(value: object) -> str:
    return _TYPES.get(type(value), "a number")


def _texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("Sequence[object]", value))


def _short(text: str) -> str:
    return repr(text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + "…")


def _joined(home: str, said: str) -> str | None:
    whole = posixpath.normpath(posixpath.join(home, said))
    if whole.startswith(("../", "/")) or whole == "..":
        return None
    return "" if whole == "." else whole
