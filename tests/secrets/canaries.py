"""Made-up secrets: for every rule a text that it fires on, drawn from the rule's own shape."""

from __future__ import annotations

import random
import string
from functools import cache
from re import _constants as ops  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

from glm_lsp.core.secrets import find
from glm_lsp.core.secrets.rules import Rule, rules
from glm_lsp.core.secrets.scan import VAGUE

MOST_TRIES = 60
_ALNUM = string.ascii_letters + string.digits
_CLASSES = {
    ops.CATEGORY_WORD: _ALNUM,
    ops.CATEGORY_DIGIT: string.digits,
    ops.CATEGORY_SPACE: " ",
    ops.CATEGORY_NOT_SPACE: _ALNUM,
}


@cache
def canary(rule_id: str) -> tuple[str, str] | None:
    """A text that holds a secret of this rule, and the secret; None where none is found."""
    rule = next(r for r in rules().rules if r.id == rule_id)
    for seed in range(MOST_TRIES):
        text = drawn(rule, random.Random(f"{rule_id}{seed}"))
        data = f'"{text}"\n'.encode()
        match = rule.pattern.search(data)
        if match is None:
            continue
        group = (match.lastindex or 0) if rule.group < 0 else rule.group
        start, end = match.span(group)
        for place in find("a.py", data).places:
            alone = place.kind not in VAGUE or rule.assigned  # not for its looks only
            if alone and place.span.start <= start and end <= place.span.end:
                return text, data[start:end].decode()
    return None


def drawn(rule: Rule, dice: random.Random) -> str:
    return _of(parser.parse(rule.source), dice)


def _of(tree: Any, dice: random.Random, *, lazy: bool = False) -> str:
    return "".join(_item(kind, value, dice, lazy) for kind, value in tree)


def _item(kind: Any, value: Any, dice: random.Random, lazy: bool) -> str:
    if kind is ops.LITERAL:
        return chr(value)
    if kind is ops.ANY:
        return dice.choice("=" if lazy else _ALNUM)
    if kind is ops.NOT_LITERAL:
        return dice.choice(_ALNUM)
    if kind is ops.IN:
        return "=" if lazy else dice.choice(_members(value))
    if kind is ops.BRANCH:
        return _of(dice.choice(value[1][:1] if lazy else value[1]), dice, lazy=lazy)
    if kind is ops.SUBPATTERN:
        return _of(value[3], dice, lazy=lazy)
    if kind in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        least, most, what = value
        lazy = kind is ops.MIN_REPEAT and int(most) >= 8
        if lazy:
            return "".join(_of(what, dice, lazy=True) for _ in range(max(least, 1)))
        most = min(int(most), least + 30) if least > 3 or int(most) > 1000 else least
        return "".join(_of(what, dice) for _ in range(dice.randint(least, max(least, most))))
    if kind is ops.ATOMIC_GROUP:
        return _of(value, dice)
    return ""  # assertions and places


def _members(items: Any) -> str:
    if items[0][0] is ops.NEGATE:
        refused = _members(items[1:])
        return "".join(c for c in _ALNUM if c not in refused) or "~"
    found = ""
    for kind, value in items:
        if kind is ops.LITERAL:
            found += chr(value)
        elif kind is ops.RANGE:
            found += "".join(map(chr, range(value[0], min(value[1], 126) + 1)))
        elif kind is ops.CATEGORY:
            found += _CLASSES.get(value, "_")
    plain = "".join(c for c in found if c in _ALNUM)
    # What stands between a name and its value is often a set: one that names `=` is asked for that.
    return plain or ("=" if "=" in found else " " if " " in found else found)
