"""Values that stand away from the name that tells what they are: in columns, and in manifests. Pure.

A table is looked at as far as it goes, so each answer says how far that was: whoever looks through a part of
a text again must take the whole of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from glm_lsp.core.secrets import looks

SUFFIXES = frozenset({"csv", "tsv", "tab", "psv"})
"""Of files whose first line names their columns."""
MOST_MANIFEST_BYTES = 200_000
LEAST_HEADS = 2
MOST_HEAD_BYTES = 4_000
"""Of the row that names columns, on both sides of a name."""
LEAST_BYTES, LEAST_IN_MANIFEST = 6, 4
_DELIMITERS = (b",", b";", b"\t", b"|")
_HEAD_CELL = re.compile(rb"[ \"'*`]{0,4}[A-Za-z][\w .()/-]{0,48}[ \"'*`\r]{0,4}")
_FIELD = re.compile(rb'[ ]?"(?P<quoted>(?:[^"\n]|"")*)"|(?P<bare>[^\n]*)')
_BAR_ROW = re.compile(rb"[ \t#*/]{0,12}+[|+][^\n]*")
_BAR_RULER = re.compile(rb"[ \t#*/]{0,12}+[|+][ \t:|+=-]{3,}\r?")
_SIMPLE_RULER = re.compile(rb"[ \t]{0,40}+=+(?:[ \t]+=+)+[ \t]*\r?")
_BULLET = re.compile(rb"[ \t]*(\*[ \t]+)?-[ \t]([^\n]*)")
_HTML_HEAD = re.compile(rb"<th\b[^>]{0,200}>", re.IGNORECASE)
_HTML_ROW = re.compile(rb"</?tr\b|</table", re.IGNORECASE)
_HTML_CELL = re.compile(
    rb"<t[dh]\b[^>]{0,200}>\s{0,40}+(?:<(?:code|b|p|span)>)?([^<\n]{0,600})", re.IGNORECASE
)
_HTML_PART = re.compile(rb"<tr\b|(<t[dh]\b)", re.IGNORECASE)
_INSERT = re.compile(rb"(?i)(?:insert into|copy) [\w.\"`\[\]]{1,120}\s{0,4}\(([^()]{1,4000}+)")
_VALUES = re.compile(rb"(?i)\)\s*values\s*")
_STDIN = re.compile(rb"(?i)\)\s*from\s+stdin[^\n]{0,80}\n")
_SQL_FIELD = re.compile(
    rb"\s*(?:[eEnN]?'((?:[^'\\]|''|\\.){0,4000}+)'|([^,()']{0,400}(?:\([^()]{0,200}\)[^,()']{0,80})?))\s*([,)])"
)
_GAP = re.compile(rb"\s*,\s*")
_EXACT = re.compile(rb"(?i)(?:.*[\W_])?(?:p(?:ass)?w(?:or)?d|pass(?:wd|phrase)?|passcode|secret)[\W_]*")
_PASSES = re.compile(rb"(?i)pass(?:w|phrase|code)|pwd|secret|credential")
_SECRETS = re.compile(
    rb"(?i)passw|passphrase|pwd|secret|token|credential|api_?key|access_?key|private_?key|\\bpw\\b"
)
_NO_VALUE = re.compile(
    rb"[\d.,:eE+/ TZ-]*|[A-Za-z]+|[a-z]+(?:[ _./:-]+[a-z]+)*|[^@\s]+@[\w.-]+\.[a-z]{2,}|(?:https?:/)?/.*"
)
_KIND = re.compile(rb"kind[\"']?:[ \t]*[\"']?Secret\b")
_DATA = re.compile(
    rb"^([ \t]*)(?:data|stringData):[ \t]*\r?\n((?:\1[ \t]+[^\n]*\n?|[ \t]*\r?\n)+)", re.MULTILINE
)
_ENTRY = re.compile(
    rb"^([ \t]+)[\w.\"'/-]{1,120}:[ \t]+(?![|>&*{])[\"']?([^\s\"'#][^\n\"']*?)[\"']?[ \t]*\r?$", re.MULTILINE
)
_SCALAR = re.compile(
    rb"^([ \t]+)[\w.\"'/-]{1,120}:[ \t]+[|>][+-]?\d?[ \t]*\r?\n((?:\1[ \t]+[^\n]*\n?)+)", re.MULTILINE
)
_JSON_DATA = re.compile(rb"\"(?:data|stringData)\"\s*:\s*\{([^{}]*)\}")
_JSON_ENTRY = re.compile(rb":\s*\"((?:[^\"\\\n]|\\.)+)\"")
_FORMATTED = re.compile(rb"\{\{|\$\{|\$\(|^<")


@dataclass(slots=True)
class Told:
    """Places with their kinds, and from where to where was looked for them: an empty range for nowhere."""

    places: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    first: int = 0
    last: int = 0


def column(data: bytes, start: int, *, plain: bool, table: bool) -> Told:
    """The values below the name at `start`, where that is the head of a column.

    `plain`: in a text without strings; `table`: in a file that is nothing else.
    """
    first = data.rfind(b"\n", 0, start) + 1
    end = data.find(b"\n", start)
    end = len(data) if end < 0 else end
    if table:
        return _separated(data, start, end) if not first else Told()
    if (made := data.rfind(b"<th", max(first, start - 220), start)) >= 0:
        return _html(data, made)
    if plain:
        if b"|" in data[first:start]:
            return _bars(data, start, first, end)
        ruler = data.find(b"\n", end + 1)
        if ruler >= 0 and _SIMPLE_RULER.fullmatch(data, end + 1, ruler):
            return _simple(data, start, first, ruler)
        if bullet := _BULLET.fullmatch(data, first, end):
            return _bullets(data, start, first, bullet)
    return Told()


def is_value(value: bytes, head: bytes) -> bool:
    """Whether what stands in a column of this name is to be held back."""
    if looks.is_random(value):
        return True
    if len(value) < LEAST_BYTES or b" " in value or not _PASSES.search(head):
        return False
    if _EXACT.fullmatch(head):
        return looks.is_written_password(value) and not _NO_VALUE.fullmatch(value)
    return looks.is_password(value)


def _place(value: bytes, at: int, head: bytes) -> Iterator[tuple[int, int, str]]:
    """The place of a cell's text, which begins at `at`."""
    lead = len(value) - len(value.lstrip(b" \t`*\"'"))
    value = value.strip(b" \t`*\"'\r")
    if value and is_value(value, head):
        kind = "random value" if looks.is_random(value) else "password"
        yield at + lead, at + lead + len(value), kind


def _separated(data: bytes, start: int, end: int) -> Told:
    """A file whose first line names what its lines hold."""
    line = data[:end]
    delimiter = max(_DELIMITERS, key=line.count)
    cells = line.split(delimiter)
    if len(cells) < 2 or not all(_HEAD_CELL.fullmatch(cell) for cell in cells if cell.strip()):
        return Told()
    wanted = line.count(delimiter, 0, start)
    told, at = Told(last=len(data)), end + 1
    head = cells[wanted].strip(b" \"'\r")
    while at < len(data):
        stop = data.find(b"\n", at)
        stop = len(data) if stop < 0 else stop
        place = _nth(data, at, stop, delimiter, wanted)
        if place is not None:
            told.places += _place(data[place[0] : place[1]], place[0], head)
        at = stop + 1
    return told


def _nth(data: bytes, at: int, stop: int, delimiter: bytes, wanted: int) -> tuple[int, int] | None:
    """Where the wanted field of a line stands."""
    if data.find(b'"', at, stop) < 0:
        for _ in range(wanted):
            at = data.find(delimiter, at, stop) + 1
            if not at:
                return None
        end = data.find(delimiter, at, stop)
        return at, stop if end < 0 else end
    for number in range(wanted + 1):
        match = _FIELD.match(data, at, stop)
        if match is None:
            return None
        if match["quoted"] is not None:
            place = match.span("quoted")
            end = match.end()
        else:
            end = data.find(delimiter, at, stop)
            end = stop if end < 0 else end
            place = (at, end)
        if number == wanted:
            return place
        if data[end : end + 1] != delimiter:
            return None
        at = end + 1
    return None


def _bars(data: bytes, start: int, first: int, end: int) -> Told:
    """A table of Markdown, or a grid."""
    after = data.find(b"\n", end + 1)
    after = len(data) if after < 0 else after
    if not _BAR_ROW.fullmatch(data, first, end) or not _BAR_RULER.fullmatch(data, end + 1, after):
        return Told()
    wanted = data.count(b"|", first, start)
    cells = data[first:end].split(b"|")
    head = cells[wanted].strip(b" \t`*\r")
    told, at = Told(first=first, last=after), after + 1
    while at < len(data) and (row := _BAR_ROW.match(data, at)):
        cells = row[0].split(b"|")
        if wanted < len(cells) and not _BAR_RULER.fullmatch(row[0]):
            told.places += _place(cells[wanted], at + sum(len(c) + 1 for c in cells[:wanted]), head)
        told.last = row.end()
        at = row.end() + 1
    return told


def _simple(data: bytes, start: int, first: int, ruler: int) -> Told:
    """A table whose columns are as wide as the rulers say."""
    line = data.rfind(b"\n", 0, ruler) + 1
    bounds = [match.span() for match in re.finditer(rb"=+", data[line:ruler])]
    wanted = max((n for n, (low, _) in enumerate(bounds) if low <= start - first), default=0)
    low = bounds[wanted][0]
    high = bounds[wanted + 1][0] if wanted + 1 < len(bounds) else None
    head = data[first : line - 1][low:high].strip()
    told, at = Told(first=first, last=ruler), ruler + 1
    while at < len(data):
        stop = data.find(b"\n", at)
        stop = len(data) if stop < 0 else stop
        row = data[at:stop]
        told.last = stop
        if not row.strip() or _SIMPLE_RULER.fullmatch(row):
            break
        told.places += _place(row[low:high], at + low, head)
        at = stop + 1
    return told


def _bullets(data: bytes, start: int, first: int, bullet: re.Match[bytes]) -> Told:
    """A list of lists: `* - name`, `  - password`."""
    wanted, at = 0, first
    begun = bullet
    while begun[1] is None:
        at = data.rfind(b"\n", 0, max(0, at - 1)) + 1
        found = _BULLET.match(data, at)
        if found is None or wanted > 40 or at == begun.start():
            return Told()
        begun, wanted = found, wanted + 1
    told, number = Told(first=at, last=bullet.end()), wanted
    at = bullet.end() + 1
    while at < len(data) and (row := _BULLET.match(data, at)):
        number = 0 if row[1] is not None else number + 1
        if number == wanted:
            told.places += _place(row[2], row.start(2), bullet[2].strip())
        told.last = row.end()
        at = row.end() + 1
    return told


def _html(data: bytes, at: int) -> Told:
    """The cells below a `<th>` that stands among others."""
    begun = data.rfind(b"<tr", max(0, at - MOST_HEAD_BYTES), at)
    over = _HTML_ROW.search(data, at, at + MOST_HEAD_BYTES) if begun >= 0 else None
    if over is None or len(_HTML_HEAD.findall(data, begun, over.start())) < LEAST_HEADS:
        return Told()
    close = data.find(b"</table", at)
    close = len(data) if close < 0 else close
    wanted = len(_HTML_HEAD.findall(data, begun, at))
    cell = _HTML_CELL.match(data, at)
    head = cell[1].strip() if cell else b""
    told, number = Told(first=begun, last=close), -1
    for match in _HTML_PART.finditer(data, over.start(), close):
        if match[1] is None:
            number = -1
            continue
        number += 1
        found = _HTML_CELL.match(data, match.start())
        if number == wanted and found is not None:
            told.places += _place(found[1], found.start(1), head)
    return told


def statement(data: bytes, start: int) -> Told:
    """Rows that a statement puts into columns that it names. `start`: its beginning, or `) FROM stdin`."""
    begun = _INSERT.match(data, start)
    if begun is None:
        first = max(
            data.rfind(b"COPY ", low := max(0, start - 4_200), start), data.rfind(b"copy ", low, start)
        )
        begun = _INSERT.match(data, first) if first >= 0 else None
    if begun is None:
        return Told()
    heads = [head.strip(b" \t\"`'[]\r\n") for head in begun[1].split(b",")]
    wanted = {number: head for number, head in enumerate(heads) if _SECRETS.search(head)}
    if not wanted:
        return Told()
    told = Told(first=begun.start(), last=begun.end())
    if made := _STDIN.match(data, begun.end()):
        at = made.end()
        while at < len(data) and not data.startswith(b"\\.", at):
            stop = data.find(b"\n", at)
            stop = len(data) if stop < 0 else stop
            for number, head in wanted.items():
                if (place := _nth(data, at, stop, b"\t", number)) is not None:
                    told.places += _place(data[place[0] : place[1]], place[0], head)
            told.last = stop
            at = stop + 1
    elif made := _VALUES.match(data, begun.end()):
        at = made.end()
        while data.startswith(b"(", at):
            at += 1
            for number in range(len(heads)):
                match = _SQL_FIELD.match(data, at)
                if match is None:
                    return told
                if number in wanted and match[1]:
                    told.places += _place(match[1], match.start(1), wanted[number])
                at = told.last = match.end()
                if match[3] == b")":
                    break
            gap = _GAP.match(data, at)
            at = gap.end() if gap else at
    return told


def manifest(data: bytes, start: int) -> Told:
    """What a manifest holds that says of itself that it is a Secret; `start`: where it says so."""
    if not _KIND.match(data, start):
        return Told()
    low, high = max(0, start - MOST_MANIFEST_BYTES), min(len(data), start + MOST_MANIFEST_BYTES)
    first = max(low, data.rfind(b"\n---", low, start))
    last = data.find(b"\n---", start, high)
    last = high if last < 0 else last
    told = Told(first=first, last=last)
    for block in _DATA.finditer(data, first, last):
        for entry in _ENTRY.finditer(data, block.start(2), block.end(2)):
            value = entry[2]
            if len(value) >= LEAST_IN_MANIFEST and not _FORMATTED.search(value):
                told.places.append((entry.start(2), entry.end(2), "value of a Secret"))
        for scalar in _SCALAR.finditer(data, block.start(2), block.end(2)):
            for line in re.finditer(rb"[^\s][^\n\r]*", scalar[2]):
                at = scalar.start(2)
                told.places.append((at + line.start(), at + line.end(), "value of a Secret"))
    for block in _JSON_DATA.finditer(data, first, last):
        for entry in _JSON_ENTRY.finditer(data, block.start(1), block.end(1)):
            told.places.append((entry.start(1), entry.end(1), "value of a Secret"))
    return told
