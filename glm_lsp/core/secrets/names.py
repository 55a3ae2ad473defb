"""What is taken for a secret, and is the name of something that the same text defines or calls. Pure."""

from __future__ import annotations

import re

from glm_lsp.core.values import HeldBack

MOST_PLACES, MOST_USES = 60, 200
"""Of a text with more places nothing is looked up."""
KINDS = ("random value", "password")
"""What is held back for its looks and for what stands beside it; a token of known shape is no name."""
_NAME = re.compile(rb"(?=\w*[A-Za-z][a-z]{3})[A-Za-z_]\w{7,80}")
"""One that holds a word."""
_BEFORE = re.compile(
    rb"[ \t]*(?:[a-z]{2,12}(?:\([a-z]{1,9}\))?[ \t]+){0,3}"
    rb"(?:class|def|function|func|fn|struct|enum|interface|trait|protocol|type|macro_rules!)[ \t*&]+"
)
_AFTER = re.compile(rb"[ \t]{0,4}(?:[(:{<;\[\r\n=]|\Z|(?:extends|implements|struct|interface|func)\b)")
"""What surrounds the name where it is defined."""
_IMPORTED = re.compile(
    rb"[ \t]*(?:from[ \t]+[\w.]+[ \t]+import\b|"
    rb"(?:im|ex)port[ \t]+(?:type[ \t]+)?\{|import[ \t]+(?:static[ \t]+)?[\w.]+\.\Z)"
)
_CALLED = re.compile(rb"(?:[=(,\[{!&|+][ \t]{1,4}|[(\[{!]|\b(?:new|return|await|yield|defer)[ \t]{1,4})\Z")


def apart(data: bytes, places: tuple[HeldBack, ...]) -> tuple[HeldBack, ...]:
    """The places without those names."""
    if not places or len(places) > MOST_PLACES:
        return places
    known: dict[bytes, bool] = {}
    for place in places:
        value = data[place.span.start : place.span.end]
        if place.kind in KINDS and value not in known and _NAME.fullmatch(value):
            known[value] = _is_code(data, value)
    if not any(known.values()):
        return places
    return tuple(p for p in places if not known.get(data[p.span.start : p.span.end]))


def _is_code(data: bytes, value: bytes) -> bool:
    """Whether this name is defined or called somewhere."""
    at = data.find(value)
    for _ in range(MOST_USES):
        if at < 0:
            return False
        end = at + len(value)
        line = data.rfind(b"\n", max(0, at - 200), at) + 1
        if _BEFORE.fullmatch(data, line, at) and _AFTER.match(data, end):
            return True
        if data[end : end + 1] == b"(" and _CALLED.search(data, max(line, at - 12), at):
            return True
        if _IMPORTED.match(data, line, at):
            return True
        at = data.find(value, end)
    return False
