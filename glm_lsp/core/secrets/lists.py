"""A name and a string with a comma between them: a pair, or two elements of a list. Pure."""

from __future__ import annotations

import re

MOST_BYTES, MOST_CALL_BYTES = 400, 60
"""Before a name, where the bracket that it stands in is looked for: what begins further away is a list;
and before the bracket, where a call's name ends."""
_STRING = re.compile(rb"\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'|`[^`\n]*`")
_BRACKET = re.compile(rb"[()\[\]{}]")
_BARE = re.compile(rb"[\w.$>\[\]-]*\Z")
_PREFIX = re.compile(rb"(?<![\w)\]])[rbfuRBFU@$&]{1,2}\Z")
_OVER = re.compile(rb"\s{0,40}+\\?[\"'`]{1,3}+\s{0,80}+,?\s{0,80}+[)\]}]")
_CALL = re.compile(rb"[\w\])!?>]\Z")
_NO_CALL = re.compile(
    rb"\b(?:in|return|yield|and|or|not|if|else|elif|case|assert|print|await|of|when)\s{0,4}\Z"
)
_MAKES_LIST = re.compile(
    rb"(?:\b(?:[Aa]s_?[Ll]ist|(?:List|Set|Array|Stream|Sequence)\.of|\w*(?:list|set|array|List|Set|Array)Of|vec!)"
    rb"|(?<![.>:\w])(?:frozenset|set|list|tuple|array|c|(?:new\s)?\w*(?:Set|List|Array)))\Z"
)
_MAKES_SET = re.compile(rb"(?<![.\w])(?:set|\w*Set)(?:<[^<>\n]{0,40}>)?\(\s{0,40}\Z")
_COMMAND = re.compile(rb"[ \t]*[\w.:]+[!?]?[ \t]+[\"'][^\n]*\Z")
"""A call without brackets."""


def is_pair(data: bytes, start: int, end: int, over: int) -> bool:
    """Whether what follows the name that has its word at `start` is its value.

    `end`: where the name's own letters end; `over`: where the value does, before its quote. Arguments of a
    call may be pairs, and a bracket that holds nothing else is one. A list is none.
    """
    begun = _begins(data, start, end)
    if data[begun : begun + 2].lstrip(b"\"'`\\").startswith(b"-"):
        return True
    low = max(0, begun - MOST_BYTES)
    low = data.find(b"\n", low, begun) + 1 or low if low else 0
    before = data[low:begun].rstrip(b"\\")
    prefix = _PREFIX.search(before, max(0, len(before) - 2))
    before = before[: prefix.start() if prefix else None].rstrip()
    if before[-1:] in (b"(", b"[", b"{"):
        head = before[-MOST_CALL_BYTES:-1]
        if before[-1:] == b"(" and _is_call(head):
            return True
        return _OVER.match(data, over) is not None and not _MAKES_SET.search(head)
    plain = _STRING.sub(b"", before)
    depth = 0
    for bracket in reversed(list(_BRACKET.finditer(plain))):
        depth += 1 if bracket[0] in b")]}" else -1
        if depth < 0:
            return bracket[0] == b"(" and _is_call(plain[: bracket.start()])
    if not before.endswith(b","):
        return not before.endswith(b"=") or data[over : over + 4].lstrip(b"\\\"'` ")[:1] != b","
    return _COMMAND.match(data[data.rfind(b"\n", 0, begun) + 1 : begun]) is not None


def _begins(data: bytes, start: int, end: int) -> int:
    """Where the name begins, with its quote."""
    quote = data[end : end + 2].lstrip(b"\\")[:1]
    if quote in (b'"', b"'", b"`") and quote:
        begun = data.rfind(quote, max(0, start - 200, data.rfind(b"\n", 0, start)), start)
        if begun >= 0:
            return begun
    low = max(0, start - 80)
    bare = _BARE.search(data, low, start)
    return bare.start() if bare else start


def _is_call(head: bytes) -> bool:
    """Whether a round bracket after this one holds arguments, and makes no list of them."""
    head = head[-MOST_CALL_BYTES:].rstrip(b" ")
    return bool(_CALL.search(head)) and not _NO_CALL.search(head) and not _MAKES_LIST.search(head)
