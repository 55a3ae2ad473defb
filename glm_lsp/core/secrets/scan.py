"""Find the places of a text that must not be seen. Pure, and linear in practice.

One pass over the text finds the words that announce a secret; only around those are the shapes compared, each
within a bounded window. A text that would take more comparisons than its size allows is left out as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from glm_lsp.core.secrets import assigned, heads, looks, tables
from glm_lsp.core.secrets.escapes import unescaped
from glm_lsp.core.secrets.rules import Rule, Rules, rules
from glm_lsp.core.values import HeldBack, Span

FREE_LOOKS, BYTES_PER_LOOK = 8_000, 16
SHAPE_LOOKS, BLOCK_LOOKS = 4, 32
"""What comparing a shape counts; a value that is assigned counts one."""
TOO_DENSE = "too much in it resembles secrets to look through it"
MOST_BLOCK_BYTES = 40_000
LEAST_ENTROPY = 2.0
FEW_BEFORE = 12
_MOST_DECOYS = 4
"""Stand-ins before a secret that are passed over."""
BYTES_PER_CELL = 32
_QUOTES, _DOT = (b'"', b"'", b"`"), ord(".")
_RUNS = bytes(
    97 if (chr(b).isalnum() and b < 128) or chr(b) in "+/_=-" else 34 if chr(b) in "\"'`." else 32
    for b in range(256)
)
_RUN_END = re.compile(rb"[^a]")
LEAST_LITERAL_BYTES, MOST_LITERAL_BYTES = 32, 512
_LONG = b'"' + b"a" * 24
"""What a string of that many letters begins with, once translated: a quote, or the dot of a token."""
_PARTED = re.compile(
    rb"[MNO][A-Za-z0-9_-]{23,27}\.(?:[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{0,90}|[A-Za-z0-9_-]{0,6}(?=[\"'`\s]|\Z))"
)
"""A token of Discord, from its first dot on: before it stands a number in base64."""
_LINE_END = re.compile(rb"[ \t]*\r?(?:\n|\Z)")
_DOTTED = re.compile(rb"[\"'`]((?:[A-Za-z0-9_-]{5,80}\.){1,2})\Z")
"""The parts of a token before its last and longest one."""
_DIGEST = re.compile(rb"(?i)hash|sha\d|digest|integrity|checksum|fingerprint|etag|signature|challenge")
_KEYED = re.compile(rb"(?i)hmac|hashids|secret|api.?key")
_SHEET = re.compile(rb"(?i)sheet|drive|folder|docs?_?id|document|/d/")
_AIRTABLE = (
    re.compile(rb"(?<![A-Za-z0-9])pat(?=[A-Za-z0-9]*[A-Z])(?=[A-Za-z0-9]*[a-z])[A-Za-z0-9]{14}\.\Z"),
    re.compile(rb"(?=[a-f]{0,12}\d)[0-9a-f]{8,64}"),
    "Airtable token",
)
_DISCORD = (
    re.compile(rb"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.\Z"),
    re.compile(rb"[A-Za-z0-9_-]{24,38}"),
    "Discord token",
)
"""Tokens in parts, which are known by what stands before the last dot, and by what follows it."""
_NUMBERED = re.compile(rb"xox[a-z]-(?:\d{9,13}-){1,3}")
"""What stands before the drawn part of a token of Slack: numbers, which may be in order."""
_TAIL = re.compile(rb"[A-Za-z0-9+/=_.~-]*")
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
_PLAIN = """
ini cfg conf config yml yaml properties toml env sh bash zsh fish ps1 bat tf hcl cnf service dockerfile mk txt
md rst adoc log http rest ipynb creds repo list
local production prod development dev staging plist desktop reg inf ldif prefs settings
"""
PLAIN_SUFFIXES = frozenset(_PLAIN.split())
"""Files where values stand without quotes."""
_PLAIN_NAMES = ("dockerfile", "makefile", "jenkinsfile", "procfile", "config", "env.", ".env")
_COPY = re.compile(
    r"(?:~|\.(?:bak|backup|old|orig|save|swp|tmp|copy|dist|sample|example|template|\d{6,8}))+$"
)
"""What is put behind the name of a file that was kept, or is to be filled in."""


@dataclass(frozen=True, slots=True)
class Found:
    """`places` are sorted and apart; `whole`, if it is not empty, says why all of the text is left out.

    `reach`: the tables, from where to where. What is found in one depends on all of it.
    """

    places: tuple[HeldBack, ...] = ()
    whole: str = ""
    reach: tuple[tuple[int, int], ...] = ()


_NOTHING = Found()


def find(path: str, data: bytes, *, part: bool = False) -> Found:
    """What to hold back of a text: secrets, and what begins as one does, for it may be saved half-typed.

    `part`: the file begins before this text.
    """
    form = _form(path, part=part)
    try:
        scan = _looked(data, form)
        spans = scan.found
        if scan.escaped and (cut := unescaped(data)):
            spans += [(cut.back(a), cut.back(b), kind) for a, b, kind in _looked(cut.data, form).found]
    except _TooDenseError:
        return Found(whole=TOO_DENSE)
    if not spans and not scan.reach:
        return _NOTHING
    return Found(_placed(data, spans), reach=tuple(dict.fromkeys(scan.reach)))


def _looked(data: bytes, form: tuple[bool, bool, bool]) -> _Scan:
    known = rules()
    scan = _Scan(data, known, form)
    scan.announced(known.search.find_matches_as_indexes(data.lower(), overlapping=True))
    scan.found += scan.literals()
    return scan


class _TooDenseError(Exception):
    """Not an error of ours: the text is hostile, or no text."""


class _Scan:
    """One text on its way through the rules."""

    def __init__(self, data: bytes, known: Rules, form: tuple[bool, bool, bool]) -> None:
        self._data, self._rules = data, known
        self.found: list[tuple[int, int, str]] = []
        self.reach: list[tuple[int, int]] = []
        self.escaped = False
        self._plain, self._table, self._manifest = form
        self._looks = FREE_LOOKS + len(data) // BYTES_PER_LOOK
        self._past: dict[str, int] = {}
        self._block_end = self._manifest_end = 0

    def announced(self, hits: Sequence[tuple[int, int, int]]) -> None:
        """Find what the words at these places announce: start, end and kind. A hit is word, start, end.

        One loop without calls: there is a hit in every few hundred bytes, and nearly all announce nothing.
        """
        data, known, past, found = self._data, self._rules, self._past, self.found
        for word, start, end in hits:
            if word in known.apart:
                found += self._apart(word, start)
                continue
            for rule in known.by_word[word]:
                if rule.gated is not None and not rule.gated.match(data, end):
                    continue
                self._looks -= SHAPE_LOOKS
                if self._looks < 0:
                    raise _TooDenseError
                if start >= (done := past.get(rule.id, 0)):
                    limit, shape = start + rule.after + 16, None
                    if rule.before:
                        shape = self._shaped(rule, max(done, start - rule.before), start, limit)
                    elif (match := rule.pattern.match(data, start, limit)) is not None:
                        shape = self._shape(rule, match, limit)
                    if shape is not None:
                        past[rule.id] = shape[1]
                        found.append(shape)
                        continue
                if rule.is_prefix and (pieces := self._in_pieces(rule, start)):
                    found += pieces
                elif (growing := rule.growing) is not None:
                    found += self._unfinished(rule, growing, start)
            if word in known.assignments:
                self._look()
                found += self._assigned(start)

    def _apart(self, word: int, start: int) -> list[tuple[int, int, str]]:
        """What a word announces that is no rule's."""
        if word == self._rules.escape:
            self.escaped = True
            return []
        if word in self._rules.manifests:
            if not self._manifest or start < self._manifest_end:
                return []
            told = tables.manifest(self._data, start)
            self._manifest_end = told.last
            return self._told(told)
        if word != self._rules.block:
            return self._told(tables.statement(self._data, start))
        self._look(BLOCK_LOOKS)
        if start < self._block_end or not (block := self._block(start)):
            return []
        self._block_end = block[1]
        return [block]

    def _look(self, count: int = 1) -> None:
        self._looks -= count
        if self._looks < 0:
            raise _TooDenseError

    def _shaped(self, rule: Rule, first: int, start: int, limit: int) -> tuple[int, int, str] | None:
        """What `rule` finds for its word at `start`, no earlier than `first`, before `limit`."""
        data, pattern = self._data, rule.pattern
        if rule.before <= FEW_BEFORE:  # a search goes on past the word, as far as the limit
            for at in range(max(0, first), start + 1):
                match = pattern.match(data, at, limit)
                if match is not None and (shape := self._shape(rule, match, limit)):
                    return shape
            return None
        for _ in range(_MOST_DECOYS):
            match = pattern.search(data, max(0, first), limit)
            if match is None or match.start() > start:
                return None
            if shape := self._shape(rule, match, limit):
                return shape
            first = match.start() + 1
        return None

    def _shape(self, rule: Rule, match: re.Match[bytes], limit: int) -> tuple[int, int, str] | None:
        data = self._data
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
            numbered = _NUMBERED.match(value)
            told = value[numbered.end() :] if numbered else value
            good = not looks.is_stand_in(told) and looks.entropy(value) >= LEAST_ENTROPY
        return (first, last, rule.what) if good else None

    def _unfinished(self, rule: Rule, growing: re.Pattern[bytes], start: int) -> list[tuple[int, int, str]]:
        """A token that begins as `rule` says and is not whole yet, or no more."""
        limit = start + rule.after + 16
        if rule.before:
            match = growing.search(self._data, max(0, start - rule.before), limit)
        else:
            match = growing.match(self._data, start, limit)
        if match is None:
            return []
        end = match.end(2)
        if end == limit and (tail := _TAIL.match(self._data, end)):
            end = tail.end()
        head, rest = match[1], match[2]
        good = heads.is_open_password(rest) if rule.password else heads.is_unfinished(head, rest)
        return [(match.start(2 if rule.unfinished else 1), end, rule.what)] if good else []

    def _in_pieces(self, rule: Rule, start: int) -> list[tuple[int, int, str]]:
        """A token that begins as `rule` says, in strings which the language joins."""
        run = _TAIL.match(self._data, start, start + rule.after)
        pieces = assigned.pieces(self._data, start, run.end()) if run else []
        joined = b"".join(self._data[a:b] for a, b in pieces)
        if len(pieces) < 2 or not rule.pattern.match(joined) or looks.is_stand_in(joined):
            return []
        return [(a, b, rule.what) for a, b in pieces]

    def _assigned(self, start: int) -> list[tuple[int, int, str]]:
        """A value that looks random, given to something whose name is that of a secret; or below it."""
        data = self._data
        if found := assigned.places(data, start, plain=self._plain) + assigned.compared(data, start):
            return found
        if self._plain or self._table or data.find(b"<th", max(0, start - 220), start) >= 0:
            return self._told(tables.column(data, start, plain=self._plain, table=self._table))
        return []

    def _told(self, told: tables.Told) -> list[tuple[int, int, str]]:
        self._look(len(told.places) + (told.last - told.first) // BYTES_PER_CELL)
        if told.last > told.first:
            self.reach.append((told.first, told.last))
        return told.places

    def literals(self) -> Iterator[tuple[int, int, str]]:
        """Strings that look random by themselves, whatever they are given to."""
        data, runs, first = self._data, self._data.translate(_RUNS), 0
        while (first := runs.find(_LONG, first) + 1) > 0:
            end = _RUN_END.search(runs, first)
            last = end.start() if end else len(runs)
            begun = first
            if data[first - 1] == _DOT and (token := self._ended(first)):
                yield token
                begun = 0
            elif data[first - 1] == _DOT:
                parts = _DOTTED.search(data, max(0, first - 120), first)
                begun = parts.start(1) if parts else 0
            if last - first < LEAST_LITERAL_BYTES:
                token = _PARTED.match(data, first) if data[last : last + 1] == b"." else None
                if token is not None and looks.is_no_name(data[first:last]):
                    yield first, token.end(), "token"
            elif (
                begun
                and last - first <= MOST_LITERAL_BYTES
                and (data[last : last + 1] in _QUOTES or self._is_open(begun, last))
                and looks.is_drawn(data[first:last])
                and not self._is_known(first, last)
            ):
                yield begun, last, "random value"
            first = last

    def _ended(self, at: int) -> tuple[int, int, str] | None:
        """A token in parts whose last one begins at `at`."""
        data = self._data
        if data[at - 18 : at - 15] == b"pat":
            head, rest, what = _AIRTABLE
        elif data[at - 8 : at - 7] == b".":
            head, rest, what = _DISCORD
        else:
            return None
        before = head.search(data, max(0, at - 36), at)
        after = rest.match(data, at) if before else None
        return (before.start(), after.end(), what) if before and after else None

    def _is_known(self, first: int, last: int) -> bool:
        """Whether a drawn string is a digest, and named so, or a document's name."""
        value, low = self._data[first:last], max(0, first - 40)
        if looks.is_digest(value) and _DIGEST.search(self._data, low, first):
            return not _KEYED.search(self._data, low, first)
        return looks.is_document(value) and _SHEET.search(self._data, low, first) is not None

    def _is_open(self, first: int, last: int) -> bool:
        """Whether the string that begins at `first` is still being typed: its line ends with it.

        One that has the width of encoded text goes on in the next line.
        """
        data = self._data
        if 60 <= last - first <= 76:
            return False
        tripled = data[first - 2 : first - 1] == data[first - 1 : first]
        return not tripled and data[last : last + 1] not in _QUOTES and bool(_LINE_END.match(data, last))

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


def _form(path: str, *, part: bool) -> tuple[bool, bool, bool]:
    """Whether values stand without quotes in a file, its first line names columns, it may be a manifest."""
    name = _COPY.sub("", path.rpartition("/")[2].lower())
    stem, dot, suffix = name.rpartition(".")
    plain = not dot or not stem or suffix in PLAIN_SUFFIXES or name.startswith(_PLAIN_NAMES)
    return plain, not part and suffix in tables.SUFFIXES, plain or suffix == "json"


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
