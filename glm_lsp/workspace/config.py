"""Settings from the user's TOML file, the environment, the command line and the client.

Each setting declares the sources it may come from. A value from another source, a bad value, an unknown name
and a broken file are never errors here: each becomes a `Problem`, and the value below it, in the end the
default, stands. What was said for one call (on the command line, by GLM_LSP_CONFIG) is marked as a mistake of
the call, with which a caller may end it. A repository is no source at all; `problems_in` reports settings
files that lie in one.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from glm_lsp.core.settings import BY_NAME, Problem, Setting, Settings, Source

FILE_VARIABLE = "GLM_LSP_CONFIG"
PREFIX = "GLM_LSP_"
OTHER_VARIABLES = frozenset({FILE_VARIABLE, "GLM_LSP_CACHE", "GLM_LSP_STATE", "GLM_LSP_RUNTIME"})
MAX_FILE_BYTES = 1_000_000
REPOSITORY_NAMES = ("glm-lsp.toml", ".glm-lsp.toml", ".glm-lsp/settings.toml")
_ORDER = (Source.CLIENT, Source.USER, Source.ENVIRONMENT, Source.ARGUMENT)
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class _Given:
    """A value as one source gave it; `label` names its place for the user."""

    name: str
    value: Any
    source: Source
    label: str


def settings_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's own settings live; the file need not exist."""
    if given := environ.get(FILE_VARIABLE, ""):
        return Path(os.path.expanduser(given))  # noqa: PTH111 (this one never raises)
    import platformdirs  # noqa: PLC0415 (costs every start otherwise)

    return Path(platformdirs.user_config_dir("glm-lsp", appauthor=False)) / "settings.toml"


def load(
    client: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    environ: Mapping[str, str] = os.environ,
    user_file: Path | None = None,
) -> Settings:
    """Return the settings in force. Never raises for what a source says: see `Settings.problems`.

    `client` is nested (`{"completion": {"max_tokens": 9}}`) or dotted; `argv` holds `section.key=value`
    texts.
    """
    problems: list[Problem] = []
    path = user_file if user_file is not None else settings_file(environ)
    given = [
        *_from_table(client or {}, Source.CLIENT, "the editor's settings"),
        *_from_file(path, problems, named=user_file is not None or bool(environ.get(FILE_VARIABLE))),
        *_from_environment(environ),
        *_from_argv(argv or (), problems),
    ]
    values: dict[str, Any] = {}
    origin: dict[str, Source] = {}
    for item in sorted(given, key=lambda g: _ORDER.index(g.source)):
        if (taken := _take(item, problems)) is not None:
            values[item.name], origin[item.name] = taken[0], item.source
    return Settings(values, origin, tuple(problems))


def problems_in(root: Path) -> tuple[Problem, ...]:
    """Report settings files that lie in a repository: they are ignored, whatever they say."""
    return tuple(
        Problem(
            name,
            Source.REPOSITORY,
            f"{name} in the repository is ignored: a repository cannot set anything. "
            "Put settings into your own file; `glm-lsp settings` shows where it is.",
        )
        for name in REPOSITORY_NAMES
        if os.path.lexists(root / name)
    )


def _from_table(table: Mapping[str, Any], source: Source, label: str, prefix: str = "") -> Iterator[_Given]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if name in BY_NAME or name.count(".") > 1 or not isinstance(value, Mapping):
            # A client sends null for what the user left alone.
            if value is not None or source is not Source.CLIENT:
                yield _Given(name, value, source, label)
        else:
            yield from _from_table(cast(Mapping[str, Any], value), source, label, f"{name}.")


def _from_file(path: Path, problems: list[Problem], *, named: bool) -> Iterator[_Given]:
    def broken(why: str) -> None:
        said = f"The settings file {path} {why}"
        mistake = f"{said}; correct it, or {FILE_VARIABLE}, which names it." if named else ""
        problems.append(Problem(str(path), Source.USER, f"{said}; the defaults stand in its place.", mistake))

    try:
        if path.exists() and not path.is_file():
            return broken("is not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return broken("does not exist") if named else None
    except (OSError, ValueError) as error:
        return broken(f"cannot be read ({error})")
    if len(data) > MAX_FILE_BYTES:
        return broken(f"is larger than {MAX_FILE_BYTES} bytes")
    try:
        table = tomllib.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return broken("is not UTF-8")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return broken(f"is not valid TOML ({error})")
    yield from _from_table(table, Source.USER, str(path))


def _from_environment(environ: Mapping[str, str]) -> Iterator[_Given]:
    variables = {s.variable: s.name for s in BY_NAME.values()}
    for variable, value in environ.items():
        if variable in variables:
            yield _Given(variables[variable], value, Source.ENVIRONMENT, f"the environment ({variable})")
        elif variable.startswith(PREFIX) and variable not in OTHER_VARIABLES:
            dotted = variable.removeprefix(PREFIX).lower().replace("_", ".", 1)
            yield _Given(dotted, value, Source.ENVIRONMENT, f"the environment ({variable})")


def _from_argv(argv: Sequence[str], problems: list[Problem]) -> Iterator[_Given]:
    for text in argv:
        name, equals, value = text.partition("=")
        if equals:
            yield _Given(name.strip(), value, Source.ARGUMENT, "the command line")
        else:
            said = f"`--set {name}` lacks a value; write `--set section.key=value`."
            problems.append(Problem(name, Source.ARGUMENT, said, said))


def _take(item: _Given, problems: list[Problem]) -> tuple[Any] | None:
    """The value in a tuple, or None after adding a problem."""

    def refuse(said: str, then: str = "") -> None:
        mistake = said if item.source is Source.ARGUMENT else ""
        problems.append(Problem(item.name, item.source, said + then, mistake))

    setting = BY_NAME.get(item.name)
    if setting is None:
        import difflib  # noqa: PLC0415

        # A variable that resembles no setting may be somebody else's.
        environment = item.source is Source.ENVIRONMENT
        near = difflib.get_close_matches(item.name[:80], BY_NAME, 1, 0.75 if environment else 0.5)
        if environment and not near:
            return None
        hint = f"did you mean `{near[0]}`?" if near else "`glm-lsp settings` lists them all."
        refuse(f"There is no setting `{item.name:.80}` ({item.label}); {hint}")
        return None
    if item.source not in setting.sources:
        # Editors send their defaults along; only a value that would change something is worth a word.
        if item.value not in (setting.default, list(_tuple(setting.default))):
            where = "your settings file, the environment or the command line"
            refuse(f"`{item.name}` is ignored from {item.label}: it is taken from {where} only.")
        return None
    textual = item.source in (Source.ENVIRONMENT, Source.ARGUMENT)
    value, why = _read_text(setting, str(item.value)) if textual else _read(setting, item.value)
    why = why or _out_of_bounds(setting, value)
    if why:
        shown = "The value" if setting.secret else f"{item.value!r:.80}"
        refuse(f"{shown} from {item.label} does not fit `{item.name}`: it must be {why}.", " It is ignored.")
        return None
    return (value,)


def _tuple(value: object) -> tuple[object, ...]:
    return cast(tuple[object, ...], value) if isinstance(value, tuple) else (value,)


def _read_text(setting: Setting, text: str) -> tuple[Any, str]:
    """A value from a source that has only text: (value, "") or (None, what it must be)."""
    default = setting.default
    if isinstance(default, bool):
        word = text.strip().lower()
        return (word in _TRUE, "") if word in _TRUE | _FALSE else (None, "true or false")
    if isinstance(default, int):
        try:
            return int(text.strip().replace("_", "")), ""
        except ValueError:
            return None, "a whole number"
    if isinstance(default, float):
        try:
            return float(text), ""
        except ValueError:
            return None, "a number"
    if isinstance(default, tuple):
        if text.startswith("["):
            return _read_list(setting, text)
        return tuple(part.strip() for part in text.split(",") if part.strip()), ""
    return text, ""


def _read_list(setting: Setting, text: str) -> tuple[Any, str]:
    """A list written as JSON, which may hold commas."""
    try:
        return _read(setting, json.loads(text))
    except (ValueError, RecursionError):
        return None, "a list of texts"


def _read(setting: Setting, value: Any) -> tuple[Any, str]:
    """A value from a source that has types: (value, "") or (None, what it must be)."""
    default = setting.default
    if isinstance(default, bool):
        return (value, "") if isinstance(value, bool) else (None, "true or false")
    if isinstance(default, int):
        return (value, "") if type(value) is int else (None, "a whole number")
    if isinstance(default, float):
        return (float(value), "") if type(value) in (int, float) else (None, "a number")
    if isinstance(default, tuple):
        items = cast(list[object], value) if isinstance(value, list | tuple) else [None]
        return (tuple(items), "") if all(isinstance(i, str) for i in items) else (None, "a list of texts")
    return (value, "") if isinstance(value, str) else (None, "a text")


def _out_of_bounds(setting: Setting, value: Any) -> str:
    """What the value must be instead, or an empty string."""
    if setting.choices and value not in setting.choices:
        return "one of " + ", ".join(c or "(empty)" for c in setting.choices)
    if isinstance(value, str) and "\0" in value:
        return "a text without null characters"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if not math.isfinite(value):
        return "a finite number"
    low, high = setting.minimum, setting.maximum
    if low is not None and high is not None and not low <= value <= high:
        return f"from {low:g} to {high:g}"
    if low is not None and value < low:
        return f"at least {low:g}"
    if high is not None and value > high:
        return f"at most {high:g}"
    return ""
