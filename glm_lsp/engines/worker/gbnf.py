"""Grammars and JSON schemas of requests, vetted before llama.cpp sees them.

Its parser and its check for left recursion recurse on the native stack, visit shared rules once per path,
loop over 2^64 rules for `{5,3}`, and miss recursion behind a rule that is empty only through another: each
ends or hangs the worker. What could do so is refused here, with a sentence.
"""

from __future__ import annotations

import importlib
import json
import re
from functools import lru_cache
from typing import Any, cast

from glm_lsp.core.errors import UsageError
from glm_lsp.engines.worker.grammar_paths import check_beginnings, check_ways
from glm_lsp.engines.worker.grammar_text import MOST_DEEP, parse

ROOT = "root"
LONGEST_TEXT = 128 << 10
"""Characters of a grammar, or of a schema."""
_MOST_NODES = 5_000
_MOST_COUNTED = 10_000
_MOST_PROPERTIES = 100
"""Of one object of a schema."""
_COUNTING = ("minLength", "maxLength", "minItems", "maxItems")


def literal(text: str) -> str:
    """The text as a literal of a grammar."""
    return '"' + "".join(f"\\U{ord(c):08X}" for c in text) + '"'


@lru_cache(maxsize=64)
def check(text: str, root: str = ROOT) -> None:
    """Raise UsageError, with the place, unless llama.cpp can work with this grammar."""
    if len(text) > LONGEST_TEXT:
        raise UsageError(
            f"The grammar of the request has {len(text):,} characters; at most {LONGEST_TEXT:,} are taken."
        )
    try:
        if 0 in text.encode():
            raise UsageError("The grammar of the request holds a character of number 0.")
    except UnicodeEncodeError as error:
        raise UsageError("The grammar of the request holds half of a surrogate pair.") from error
    rules = parse(text)
    if root not in rules:
        raise UsageError(f"The grammar of the request has no rule '{root}' to begin with.")
    for alternates in rules.values():
        for name in (item.rule for sequence in alternates for item in sequence if item.rule):
            if name not in rules:
                raise UsageError(f"The grammar of the request names a rule '{name}' that it does not have.")
    check_beginnings(rules)
    check_ways(rules)


def of_schema(schema: str) -> str:
    """Return the grammar of a JSON schema. Raises UsageError with what is wrong with it.

    llama.cpp's converter writes counts out and takes the square of optional properties: the schema is bounded
    before. It knows `$ref` within the document, but not beside or above other keys of the outermost object.
    """
    if len(schema) > LONGEST_TEXT:
        raise UsageError(
            f"The JSON schema of the request has {len(schema):,} characters; "
            f"at most {LONGEST_TEXT:,} are taken."
        )
    # By name: llama.cpp's own converter, without types.
    converter: Any = importlib.import_module("llama_cpp.llama_grammar")
    try:
        parsed: object = json.loads(schema)
        if not isinstance(parsed, dict):
            raise UsageError("The JSON schema of the request is not an object.")
        _vet(cast("dict[str, Any]", parsed))
        grammar = str(converter.json_schema_to_gbnf(schema))
    except json.JSONDecodeError as error:
        raise UsageError(f"The JSON schema of the request is not JSON: {error}.") from error
    except RecursionError as error:
        raise UsageError("The JSON schema of the request is nested too deeply.") from error
    except (AssertionError, AttributeError, LookupError, TypeError, ValueError, re.error) as error:
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"The JSON schema of the request cannot be used: {said}.") from error
    check(grammar)
    return grammar


def _vet(schema: dict[str, Any]) -> None:
    """Refuse a schema that would make the converter slow or its grammar huge."""
    waiting: list[tuple[Any, int]] = [(schema, 0)]
    counted = seen = 0
    while waiting:
        value, deep = waiting.pop()
        seen += 1
        if isinstance(value, list):
            waiting += [(v, deep + 1) for v in cast("list[Any]", value)]
        elif isinstance(value, dict):
            table = cast("dict[str, Any]", value)
            waiting += [(v, deep + 1) for v in table.values()]
            counted += sum(_counts(table.get(key)) for key in _COUNTING)
            counted += sum(int(n) for n in re.findall(r"[0-9]{1,18}", str(table.get("pattern", ""))))
            properties: Any = table.get("properties")
            if isinstance(properties, dict) and len(cast("dict[str, Any]", properties)) > _MOST_PROPERTIES:
                raise UsageError(
                    f"The JSON schema of the request has an object of over {_MOST_PROPERTIES} properties."
                )
        if deep > MOST_DEEP or seen + len(waiting) > _MOST_NODES:
            raise UsageError(
                f"The JSON schema of the request is nested more than {MOST_DEEP} deep, or has more than "
                f"{_MOST_NODES:,} values."
            )
        if counted > _MOST_COUNTED:
            raise UsageError(
                "The lengths and counts of the JSON schema of the request add up to more than "
                f"{_MOST_COUNTED:,}."
            )


def _counts(value: object) -> int:
    """What a count of a schema adds to the grammar's size."""
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise UsageError(
            f"The JSON schema of the request counts with {ascii(value)[:40]}, which is no count."
        )
    return value
