"""A value that is given to something whose name is that of a secret: where it stands. Pure."""

from __future__ import annotations

import re

from glm_lsp.core.secrets import heads, lists, looks
from glm_lsp.core.secrets.rules import ASSIGNMENTS

_NAME_END = (
    rb"[\w-]{0,40}+(?:\[\w{0,20}\])?+[\\\"'`\])]{0,4}+"
    rb"(?:[?!]?:[ \t]?[\w.\[\]|&<>?, ']{1,40}+|[ \t]{1,9}(?:string|\[\]byte)(?=[ \t]))??[ \t]{0,20}+"
)
_OPERATOR = rb"(?:=>|:=|\?=|={1,3}|!==?|:|,|\(|\|\||\?\?|\?:|or\b)[ \t]{0,20}+"
_UNLESS = (
    rb"(?:[\w.$]{1,60}+(?:\([\w'\".,$ -]{0,60}+\)|\[[\w'\".$-]{0,60}+\])?+\s{0,4}+"
    rb"(?:\|\||\?\?|\?:|or\b)\s{0,40}+)?+"
)
"""Something else, which comes first if there is any."""
_KEYWORD = rb"(?:(?:default(?:_?value)?|value|fallback|initial)\s{0,2}+[=:]\s{0,4}+)?+"
_VALUE = (
    rb"(?:((\\?[\"'])\4\4)\s{0,40}+((?:(?!\3)(?:\\[^\n]|[^\s\\])){8,512}+)\s{0,40}+\3"
    rb"|(\\?[\"'`])((?:(?!\6)(?:\\[^\n]|[^\s\\])){8,512}+)\6)"
)
"""The last group is the value: in three quotes, or in one."""
_QUOTED = re.compile(
    _NAME_END
    + (rb"(" + _OPERATOR + rb")\s{0,40}+" + _UNLESS + rb"(?:([\w.]{0,30}+)\(\s{0,40}+)?")
    + (_KEYWORD + rb"[rbfu@]{0,2}+" + _VALUE),
    re.IGNORECASE,
)
_BESIDE = re.compile(
    rb"[\w-]{0,40}+(?:[ \t]{1,40}+|[ \t]{0,40}+\\\r?\n[ \t]{0,40}+)\(?(?:L|u8?|U)?"
    rb"([\"'])([^\s\\\"'`,;:.+)\]}=&|?][^\s\\\"'`]{7,512}+)\1(?![ \t]*[:,.])"
)
"""A string after a name, with nothing between them: of a macro, or in a build file."""
_SPACED = re.compile(
    _NAME_END + _OPERATOR + rb"[rbfu@]{0,2}+([\"'`])([^\s\\\"'`]{2,60}+(?: [^\s\\\"'`]{2,60}+){1,3}+)\1",
    re.IGNORECASE,
)
_SELECTS = re.compile(
    rb"(?i)(?:getElements?By|querySelector|(?:find|get|query|all)_?(?:element_?)?By_?|locator)\w*$"
)
"""What takes the name of a part of a page."""
_OPEN_QUOTE = re.compile(
    _NAME_END + _OPERATOR + rb"[rbfu@]{0,2}+(?:\"{3}|'{3}|[\"'`])([^\s\"'`]{8,512})[ \t]{0,20}+\r?(?:\n|$)",
    re.IGNORECASE,
)
"""A string that is being typed: nothing closes it in its line."""
_BARE = re.compile(
    rb"[\w-]{0,40}+[ \t]{0,4}+[:=][ \t]{0,4}+([A-Za-z0-9+/=_-]{16,512}+)[ \t]{0,20}+(?:[\r\n;#]|$)"
)
"""A value without quotes, where values have them: only one that no name looks like is held back."""
_PIECE = re.compile(
    rb"(?:\\?[\"'`]\s{0,60}+[+.\\]?\s{0,60}+[rbfu]{0,2}+\\?[\"'`])([A-Za-z0-9+/=_.~-]{4,512}+)(?=\\?[\"'`])"
)
"""A string that goes on in another one, which the language joins."""
_MOST_PIECES_BYTES = 1_200
_PLAIN = re.compile(
    rb"[\w-]{0,40}+[\"'*_]{0,3}+[ \t]{0,20}+(?:[?+]=|:{1,3}=|[:=]{1,2}+)[*_]{0,2}+[ \t]{0,20}+"
    rb"(?:(?:!!str|&\w{1,30})[ \t]{1,9})?+"
    rb"([^\s\"'`;,<>{}()\[\]$|](?:[^\s\"'`;,()]|;(?=[^\s\"'`;,()=]{2,60}[ \t]{0,9}(?:[\r\n]|$))){7,512})"
    rb"(?=[\s;,\"'`]|$)"
)
_ARGUMENT = re.compile(
    rb"[\w-]{0,40}+[ \t]{1,4}([^\s\"'`;,<>{}()\[\]$|=-][^\s\"'`;,()]{7,512})(?=[\s;,\"'`]|$)"
)
_FOLDED = re.compile(
    rb"[\w-]{0,40}+[\"']?:[ \t]{1,9}[|>][+-]?[ \t]{0,9}\r?\n"
    rb"[ \t]{1,40}([^\s\"'`#<>{}$|][^\s\"'`]{7,512})[ \t]{0,9}(?:\r?\n|$)"
)
"""A value of YAML in a line of its own."""
_MACRO = re.compile(rb"[\w-]{0,40}+[ \t]{1,40}+([A-Za-z0-9]{8,512}+)[ \t]{0,9}(?:[\r\n]|/[/*]|$)")
_BEFORE_MACRO = re.compile(rb"#[ \t]{0,9}define[ \t]{1,9}\w{0,40}$")
_NUMBER = re.compile(rb"(?i)0x[0-9a-f]+u?l{0,2}|\d+[a-z]{0,3}|0b[01]+")
_BEFORE_ARGUMENT = re.compile(rb"(?:\s--[\w-]{0,40}|\bENV[ \t]+\w{0,40})$")
_ELEMENT = re.compile(
    rb"[\w-]{0,40}+(?:</\w{1,10}>\s{0,40}+(?:<\w{1,10}>\s{0,20}+){0,2}<\w{1,10})?>([^<>\s]{8,512})</"
)
_NAMED = re.compile(
    rb"[\w-]{0,40}+\\?[\"']?[ \t]{0,9}+(?:,|:\s{0,4}+\{)?+\s{0,80}+\\?[\"']?value\\?[\"']?"
    rb"\s{0,4}+[:=]\s{0,4}+\\?([\"'])?"
    rb"((?(1)[^\s\"'\\]|[^\s\"',;<>{}()\[\]$|]){8,512}+)",
    re.IGNORECASE,
)
"""A value that stands beside a name: `name: X`, `value: Y`."""
_CELL = re.compile(
    rb"[\w -]{0,40}+[*_`]{0,3}[ \t]{0,40}+\|[ \t]{0,40}+[*_`]{0,3}([^\s|`]{8,512})`?[*_]{0,3}[ \t]{0,200}+\|"
)
_SAID = re.compile(
    rb"[\w-]{0,40}+[ \t]{1,4}+(?:(?:is|was|to)[ \t]{1,4})?"
    rb"([^\s\"'`,;<>{}()\[\]$|][^\s\"'`,;()]{7,512})(?=[\s;,\"'`)]|$)"
)
_BELOW = re.compile(
    rb"[\w ]{0,24}+[\"'`*_]{0,3}+:{0,2}[\"'`*_]{0,3}+[ \t]{0,9}+\r?\n(?:[ \t]{0,9}+\r?\n){0,2}+"
    rb"(?:[ \t>]{0,12}+(?:`{3}|~{3})\w{0,12}+[ \t]{0,9}+\r?\n)?+[ \t>*:-]{0,16}+[`\"']{0,2}+"
    rb"([^\s`\"'<>{}()\[\]$|]{8,512}+)[`\"']{0,2}+[ \t]{0,20}+(?:\r?\n|$)"
)
"""A value in a line of its own, below its name."""
_KEY = re.compile(rb"\\?[\"'`]{1,3}+\s{0,8}+(?::(?!:)|=>)")
"""After a string that is a name itself."""
_SPECIAL = re.compile(rb"[#!@^&~?+=%]")
_PASSWORD = re.compile(rb"_?pass(?:w|phrase|\W)|pwd|pw\W|secret|credential")
_BEGINS = re.compile(
    rb"(" + b"|".join(map(re.escape, ASSIGNMENTS)) + rb")" + _NAME_END + rb"(?:=>|:=|=|:)[ \t]{0,20}+"
    rb"(?:(?:\"{3}|'{3}|[\"'`])([^\"'`\s]{1,200})|([a-z0-9+/=-]{8,200}))$"
)
_RESULT = b"--- "
"""What stands before `PASS: test` in a log."""
_ELSE = re.compile(
    rb"\\?[\"'`][ \t]{1,4}if\b[^\n\"'`]{1,80}?\belse[ \t]{1,4}[rbfu]{0,2}([\"'`])([^\s\\\"'`]{8,512}+)\1"
)
"""What a name is given otherwise."""
_COMPARED = re.compile(
    rb"([\"'`])([^\s\\\"'`]{8,200}+)\1[ \t]{0,4}[!=]==?[ \t]{0,4}(?:[\w$]{1,30}(?:\.|->)){0,3}[\w$]{0,30}\Z"
)
"""A string before the name that it is compared with."""
_MOST_BEFORE_BYTES = 340
_ITEMS = re.compile(rb"[\w-]{0,40}+[\"']?:[ \t]{0,9}\r?\n(?=[ \t]{0,40}-[ \t])")
_ITEM = re.compile(
    rb"[ \t]{0,40}-[ \t]{1,9}(?:([\"']?)([^\s\"'`#&*!|>{}\[\]$-][^\s\"'`]{7,200}+)\1[ \t]{0,9}"
    rb"|[^\n]{0,200}+)(?:\n|\r\n|$)"
)
"""An element of a list in YAML, below its name."""
_MOST_LIST_BYTES = 1_200
_NAME = re.compile(rb"[\w-]{0,40}+")
_TOKENIZER = re.compile(rb"(?i)tokeni[sz]")
_REPOSITORY = re.compile(rb"[/.-]")
_PUBLIC = re.compile(rb"(?i)public[_-]?key[_-]?\Z")
_SHORT_HASH = re.compile(rb"[0-9a-fA-F]{16}")
"""Of the key that signs an assembly: everybody may see it."""
_MAY_FOLLOW = frozenset(b"\\\"'`[])(:=!?,<>|* \t\r\n")
"""What stands between a name and its value."""
_BEFORE_PAIR, _BEFORE_BARE = b"\\\"' \t\r\n,:", b" \t:="


def places(data: bytes, start: int, *, plain: bool) -> list[tuple[int, int, str]]:
    """The value of the name that has its word at `start`. `plain`: values may stand without quotes."""
    name = _NAME.match(data, start)
    end = name.end() if name else start
    after = data[end] if end < len(data) else 10
    if after not in _MAY_FOLLOW:
        return []
    if plain and after in b":\"'" and (items := _items(data, start)):
        return items
    found: list[tuple[int, int]] = []
    others: list[tuple[int, int, str]] = []
    said = comma = bare = False
    if match := _QUOTED.match(data, start, start + 800):
        if match[2] and _SELECTS.search(match[2]):
            return []
        first, last = match.span(match.lastindex or 0)
        found = pieces(data, first, last)
        comma = match[1][:1] == b","
        if (other := _ELSE.match(data, found[-1][1], found[-1][1] + 700)) and (
            kind := _kind(data, start, other[2], said=False)
        ):
            others = [(*other.span(2), kind)]
    elif (
        (after in b"<>" and (match := _ELEMENT.match(data, start, start + 600)))
        or (plain and (match := _PLAIN.match(data, start, start + 700)))
        or (plain and after in b":\"'" and (match := _FOLDED.match(data, start, start + 700)))
        or (
            after in b" \t"
            and (match := _MACRO.match(data, start, start + 700))
            and _BEFORE_MACRO.search(data, max(0, start - 60), start)
            and _is_drawn_word(match[1])
        )
        or (
            after in b" \t"
            and (match := _ARGUMENT.match(data, start, start + 700))
            and _BEFORE_ARGUMENT.search(data, max(0, start - 60), start)
        )
    ):
        found, bare = [match.span(1)], True
    elif (
        (after in b" \t" and (match := _BESIDE.match(data, start, start + 700)))
        or ((match := _SPACED.match(data, start, start + 400)) and looks.is_choppy(match[2]))
        or (
            after in _BEFORE_PAIR
            and (match := _NAMED.match(data, start, start + 800))
            and (match[1] or plain)
        )
    ):
        found = [match.span(2)]
    elif plain and (match := _CELL.match(data, start, start + 900)):
        found = [match.span(1)]
    elif plain and (
        (match := _SAID.match(data, start, start + 600))
        or ((match := _BELOW.match(data, start, start + 800)) and looks.is_choppy(match[1]))
    ):
        found, said, bare = [match.span(1)], True, True
    elif match := _OPEN_QUOTE.match(data, start, start + 700):
        typed = heads.is_part(match[1]) and not looks.is_stand_in(match[1])
        return [(*match.span(1), "random value")] if typed else []
    elif (
        after in _BEFORE_BARE
        and (match := _BARE.match(data, start, start + 700))
        and looks.is_no_name(match[1])
    ):
        found = [match.span(1)]
    if not found:
        return []
    value = b"".join(data[a:b] for a, b in found)
    if _is_public(data, start, value):
        return []
    if bare and looks.is_formatted(value):
        return []
    if comma and not looks.is_jumbled(value):
        over = found[-1][1]
        if not looks.is_password(value) and not looks.is_random(value):
            return []
        if _KEY.match(data, over) or not lists.is_pair(data, start, end, over):
            return []
    kind = _kind(data, start, value, said=said)
    return [(a, b, kind) for a, b in found if kind] + others


def compared(data: bytes, start: int) -> list[tuple[int, int, str]]:
    """The string that stands before the name that has its word at `start`, and is compared with it."""
    equals = data.rfind(b"=", max(0, start - 80), start)
    if equals < 1 or data[equals - 1] not in b"=!":
        return []
    match = _COMPARED.search(data, max(0, start - _MOST_BEFORE_BYTES), start)
    if match is None or looks.is_camel(match[2]):
        return []
    kind = _kind(data, start, match[2], said=False)
    return [(*match.span(2), kind)] if kind else []


def _items(data: bytes, start: int) -> list[tuple[int, int, str]]:
    """The elements of a list of secrets, which stands below the name that has its word at `start`."""
    head = _ITEMS.match(data, start, start + 200)
    if head is None:
        return []
    found: list[tuple[int, int, str]] = []
    at, most = head.end(), start + _MOST_LIST_BYTES
    while at < most and (item := _ITEM.match(data, at)) and item.end() > at:
        at, value = item.end(), item[2]
        if value and not looks.is_camel(value) and not looks.is_formatted(value):
            kind = _kind(data, start, value, said=False)
            found += [(*item.span(2), kind)] if kind else []
    return found


def _kind(data: bytes, start: int, value: bytes, *, said: bool) -> str:
    """What a value of the name that has its word at `start` is; empty where it is no secret."""
    if looks.is_random(value) or (not said and looks.is_short_key(value)):
        return "random value"
    password = (
        _PASSWORD.match(data[start : start + 12].lower())
        and looks.is_password(value)
        and (not said or _SPECIAL.search(value))
        and not data.endswith(_RESULT, 0, start)
    )
    return "password" if password else ""


def _is_drawn_word(value: bytes) -> bool:
    """Whether letters and digits without quotes are neither a number nor a name."""
    return looks.is_choppy(value) and not looks.is_camel(value) and not _NUMBER.fullmatch(value)


def _is_public(data: bytes, start: int, value: bytes) -> bool:
    """Whether the name is one of what everybody may see, though it holds the word of a secret."""
    if _TOKENIZER.match(data, start):
        return _REPOSITORY.search(value) is not None or not looks.is_no_name(value)
    return (
        _SHORT_HASH.fullmatch(value) is not None
        and _PUBLIC.search(data, max(0, start - 12), start) is not None
    )


def pieces(data: bytes, first: int, last: int) -> list[tuple[int, int]]:
    """A string's place, and those of the strings that it goes on in."""
    found = [(first, last)]
    most = first + _MOST_PIECES_BYTES
    while found[-1][1] < most and (match := _PIECE.match(data, found[-1][1])):
        found.append(match.span(1))
    return found


def begins(before: bytes) -> bool:
    """Whether a line, up to the cursor, ends in the open value of a name that is a secret's."""
    match = _BEGINS.search(before.lower())
    if match is None:
        return False
    if match[3]:
        return looks.is_choppy(before[match.start(3) :]) and heads.is_part(before[match.start(3) :])
    value = before[match.start(2) :]
    return bool(_PASSWORD.match(match[1])) or any(48 <= b <= 57 for b in value) or heads.is_part(value)
