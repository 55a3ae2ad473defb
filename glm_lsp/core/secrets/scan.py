"""Find the places of a text that must not be seen. Pure, and linear in practice.

One pass over the text finds the words that announce a secret; only around those are the shapes compared, each
within a bounded window. A text that would take more comparisons than its size allows is left out as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from glm_lsp.core.secrets import looks
from glm_lsp.core.secrets.rules import ASSIGNMENTS, Rule, Rules, rules
from glm_lsp.core.values import HeldBack, Span

FREE_LOOKS, BYTES_PER_LOOK = 8_000, 16
SHAPE_LOOKS, BLOCK_LOOKS = 4, 32
"""What comparing a shape counts; a value that is assigned counts one."""
TOO_DENSE = "too much in it resembles secrets to look through it"
MOST_BLOCK_BYTES = 40_000
LEAST_ENTROPY = 2.0
UNFINISHED_BYTES = 8
_NAME_END = rb"[\w-]{0,40}+[\"'`\])]{0,3}+(?::[ \t]?[\w.\[\]|]{1,40}+)?[ \t]{0,20}+"
_OPERATOR = rb"(?:=>|:=|\?=|={1,3}|!==?|:|,|\()[ \t]{0,20}+"
_QUOTED = re.compile(
    _NAME_END + _OPERATOR + rb"(?:[rbfu@]{0,2}+|[\w.]{0,30}+\()([\"'`])([^\"'`\s]{8,512})\1", re.IGNORECASE
)
_PLAIN = re.compile(
    rb"[\w-]{0,40}+[\"']?[ \t]{0,20}+[:=][ \t]{0,20}+([^\s\"'`#;,<>{}()\[\]$|&]{8,512})(?=[\s;,#]|$)"
)
_ELEMENT = re.compile(rb"[\w-]{0,40}+>([^<>\s]{8,512})</")
_PASSWORD = re.compile(rb"passw|passphrase|pwd|secret|credential")
_BEGINS = re.compile(
    rb"(" + b"|".join(map(re.escape, ASSIGNMENTS)) + rb")" + _NAME_END + rb"(?:=>|:=|=|:)[ \t]{0,20}+"
    rb"[\"'`]([^\"'`\s]{1,200})$"
)
_TAIL = re.compile(rb"[A-Za-z0-9+/=_.~-]*")
_RUN = re.compile(rb"[A-Za-z0-9+/=_.-]{8,}")
_HEADER = re.compile(rb"-----BEGIN [A-Z0-9][A-Z0-9 ]{0,60}-----")
_KEYS = re.compile(rb"PRIVATE KEY|CERTIFICATE-----")
_FOOTER = re.compile(rb"-----END [A-Z0-9][A-Z0-9 ]{0,60}-----")
_BODY_LINE = re.compile(
    rb"[ \t\"'`#*+/>|]*+(?:([A-Za-z0-9+/=]{1,200})|[A-Z][A-Za-z0-9-]{2,20}: [^\n]{1,100})?+"
    rb"(?:\\[nr]|[ \t\r\"'`+,;)])*+\n?"
)
_SHORT_END = re.compile(rb"[A-Za-z0-9]*(?:[0-9+/=]|[a-z][A-Z]|[A-Z]{2})")
_BASE64 = re.compile(rb"[A-Za-z0-9+/=]{40}")
VAGUE = ("random value", "password")
"""Kinds that say less than others of the same place."""
PLAIN_SUFFIXES = (
    *(".ini", ".cfg", ".conf", ".config", ".yml", ".yaml", ".properties", ".toml", ".env", ".sh", ".bash"),
    *(
        ".zsh",
        ".fish",
        ".ps1",
        ".bat",
        ".tf",
        ".hcl",
        ".cnf",
        ".service",
        ".dockerfile",
        ".mk",
        ".txt",
        ".md",
    ),
)
"""Files where values stand without quotes."""
_PLAIN_NAMES = ("dockerfile", "makefile", "jenkinsfile", "procfile", "config")


@dataclass(frozen=True, slots=True)
class Found:
    """`places` are sorted and apart; `whole`, if it is not empty, says why all of the text is left out."""

    places: tuple[HeldBack, ...] = ()
    whole: str = ""


def find(path: str, data: bytes, *, open_: bool = False) -> Found:
    """What to hold back of a text. In an open document (`open_`) also a token that is being written."""
    known = rules()
    hits = known.search.find_matches_as_indexes(data.lower(), overlapping=True)
    if not hits:
        return Found()
    scan = _Scan(data, known, plain=_plain(path), open_=open_)
    try:
        spans = [found for hit in hits for found in scan.at(*hit)]
    except _TooDenseError:
        return Found(whole=TOO_DENSE)
    return Found(_placed(data, spans))


def begins(before: bytes) -> bool:
    """Whether a line, up to the cursor, ends in the open value of a name that is a secret's."""
    match = _BEGINS.search(before.lower())
    return match is not None and bool(_PASSWORD.match(match[1]) or any(48 <= b <= 57 for b in match[2]))


class _TooDenseError(Exception):
    """Not an error of ours: the text is hostile, or no text."""


class _Scan:
    """One text on its way through the rules."""

    def __init__(self, data: bytes, known: Rules, *, plain: bool, open_: bool) -> None:
        self._data, self._rules, self._plain, self._open = data, known, plain, open_
        self._looks = FREE_LOOKS + len(data) // BYTES_PER_LOOK
        self._past: dict[str, int] = {}
        self._block_end = 0

    def at(self, word: int, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """What the word at `start` announces: start, end and kind of secrets."""
        if word == self._rules.block:
            self._look(BLOCK_LOOKS)
            if start >= self._block_end and (block := self._block(start)):
                self._block_end = block[1]
                yield block
            return
        for rule in self._rules.by_word[word]:
            self._look(SHAPE_LOOKS)
            if start >= self._past.get(rule.id, 0) and (found := self._shape(rule, start)):
                self._past[rule.id] = found[1]
                yield found
            elif self._open and rule.own and (found := self._unfinished(rule, start)):
                yield found
        if word in self._rules.assignments:
            self._look()
            if found := self._assigned(start):
                yield found

    def _look(self, count: int = 1) -> None:
        self._looks -= count
        if self._looks < 0:
            raise _TooDenseError

    def _shape(self, rule: Rule, start: int) -> tuple[int, int, str] | None:
        data, limit = self._data, min(start + rule.after + 16, len(self._data))
        if rule.before:
            match = rule.pattern.search(data, max(0, start - rule.before), limit)
        else:
            match = rule.pattern.match(data, start, limit)
        if match is None:
            return None
        group = (match.lastindex or 0) if rule.group < 0 else rule.group
        first, last = match.span(group)
        if first < 0:
            first, last = match.span()
        if last == limit and (tail := _TAIL.match(data, last)):
            last = tail.end()
        value = data[first:last]
        if rule.password:
            good = looks.is_written_password(value)
        elif rule.assigned:
            good = looks.is_random(value)
        else:
            good = not looks.is_stand_in(value) and looks.entropy(value) >= LEAST_ENTROPY
        return (first, last, rule.what) if good else None

    def _unfinished(self, rule: Rule, start: int) -> tuple[int, int, str] | None:
        """A token that begins as `rule` says and is not whole yet, or no more."""
        if rule.before or rule.group or rule.assigned or rule.password:
            return None
        run = _RUN.match(self._data, start, start + rule.after)
        if run is None or self._data[max(0, start - 1) : start].isalnum():
            return None
        value = run[0]
        digits = sum(48 <= byte <= 57 for byte in value)
        if len(value) < UNFINISHED_BYTES or not digits or looks.is_stand_in(value):
            return None
        return start, run.end(), rule.what

    def _assigned(self, start: int) -> tuple[int, int, str] | None:
        """A value that looks random, given to something whose name is that of a secret."""
        data = self._data
        if match := _QUOTED.match(data, start, start + 800):
            first, last = match.span(2)
        elif (match := _ELEMENT.match(data, start, start + 600)) or (
            self._plain and (match := _PLAIN.match(data, start, start + 700))
        ):
            first, last = match.span(1)
        else:
            return None
        value = data[first:last]
        if looks.is_random(value):
            return first, last, "random value"
        if _PASSWORD.match(data[start : start + 12].lower()) and looks.is_password(value):
            return first, last, "password"
        return None

    def _block(self, start: int) -> tuple[int, int, str] | None:
        """A key or certificate in text form, from its first line to its last, or as far as it goes."""
        header = _HEADER.match(self._data, start)
        if header is None or _KEYS.search(header[0]) is None:
            return None
        most = min(start + MOST_BLOCK_BYTES, len(self._data))
        footer = _FOOTER.search(self._data, header.end(), most)
        end = footer.end() if footer else self._block_tail(header.end(), most)
        if _BASE64.search(self._data, header.end(), end) is None:
            return None
        return start, end, "private key" if b"PRIVATE KEY" in header[0] else "certificate"

    def _block_tail(self, at: int, most: int) -> int:
        """The end of a block without a last line."""
        while at < most:
            end = self._data.find(b"\n", at, most)
            end = most if end < 0 else end + 1
            line = _BODY_LINE.fullmatch(self._data, at, min(end, at + 400))
            short = line is not None and line[1] is not None and len(line[1]) < 20
            if line is None or (short and not _SHORT_END.match(line[1])):
                return at
            at = end
            if short:
                return at
        return at


def _plain(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    return name.endswith(PLAIN_SUFFIXES) or name.startswith(_PLAIN_NAMES) or "." not in name


def _placed(data: bytes, spans: list[tuple[int, int, str]]) -> tuple[HeldBack, ...]:
    """Places in order; those that overlap are one, which has the first one's kind."""
    merged: list[tuple[int, int, str]] = []
    for start, end, kind in sorted(spans, key=lambda s: (s[0], -s[1], s[2] in VAGUE)):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end), merged[-1][2])
        else:
            merged.append((start, end, kind))
    places: list[HeldBack] = []
    line = at = 0
    for start, end, kind in merged:
        line += data.count(b"\n", at, start)
        at = start
        places.append(HeldBack(Span(start, end), kind, line))
    return tuple(places)
