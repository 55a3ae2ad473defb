"""Whether a value looks like a secret: random, and not like a name, a path or a stand-in. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise

LEAST_BYTES = 16
LEAST_PASSWORD_BYTES = 8
LEAST_KEY_BYTES = 10
_STAND_IN = re.compile(
    rb"example|sample|placeholder|change[_-]?me|replace|dummy|fake|insert|redacted|secret[_-]?here|"
    rb"your[_-]|my[_-]|xxx|\*\*\*|\.\.\.|\$\{|\{\{|%\(|^<[a-z]|<[a-z][a-z _.-]*>|"
    rb"0{6}|1234567|abcdef|deadbeef|todo|none|null",
    re.IGNORECASE,
)
_PASSWORD_STAND_IN = re.compile(
    rb"(?i)(?:my|the|your|new|old|some|test|db|user|root|admin|secret)?[_-]?"
    rb"(?:p(?:ass)?w(?:or)?d?|pass(?:wd|phrase)?|secret|token|key|user(?:name)?|admin|root|test|guest|foo|bar|"
    rb"baz|demo|hunter2|postgres|mysql|letmein|changeme|redis|rabbit|mongo|example)[_-]?\d{0,4}[!?]?"
)
_FIELD = re.compile(rb"(?:[a-z]{2,6}_)?(?:secret_)?(?:access|api)_key(?:_id)?|aws_(?:secret|key)")
"""The name of a secret, where the secret is to stand."""
_TEMPLATE = re.compile(
    rb"\$[({]|[#%]\{|\{\{|<%|%>|\{[\w.:!-]{0,40}\}|%\(|%\w+%|%-?\d*(?:\.\d+)?[sdfrqvx](?![A-Za-z0-9])|"
    rb"(?<![A-Za-z0-9])\$(?:[\d@*?#](?![A-Za-z0-9])|(?:[A-Z][A-Z0-9_]*|[a-z_]+\d?(?:[A-Z][a-z]+)*)(?![A-Za-z0-9_]))|"
    rb"</?[A-Za-z][^<>]*>|\[[:@/]?[a-z_]+\]|^[:@/]|^[A-Za-z]:\\|\.\.\."
)
"""What something is put in for later."""
_CODE = re.compile(
    rb"\(\?|\.[*+]|\[\^|[\])][*+?{]|[A-Za-z0-9]-[A-Za-z0-9]\]|\\[dwsbntrDWSBux0]|[*+?]\$|^\^|\|\||[=!]=|->|=>|::|\[\]|\(\)"
)
"""Patterns, escapes, and pieces of programs."""
_ODD = re.compile(rb"[{}<>*|\\\[\] ]")
"""Rare in passwords, and everywhere in what is none."""
_WORDS = re.compile(
    rb"(?:[A-Za-z]?[a-z]+|[A-Z]+)(?:[_./:@ -]+(?:[A-Za-z]?[a-z]+|[A-Z]+|\d{1,4}))*[_./:-]?\d{0,4}"
)
_NAME = re.compile(rb"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*|[a-z][a-z0-9]*(?:[_:.-][a-z0-9]+)*")
_MAGIC = re.compile(
    rb"iVBORw0|R0lGOD|/9j/|PHN2Z|PD94b|UklGR|AAEAAA|AAABAA|d09G|T1RUT|JVBERi|H4sI|UEsDB|eJ[wxyz]|AGFzb|Qk[0-9]|"
    rb"sha\d|TVqQ|eyJ2ZXJzaW9u|-*WebKitFormBoundary"
)
"""How pictures, fonts, archives, digests, source maps and a form's boundaries begin."""
_ALL_KINDS = tuple(map(re.compile, (rb"\d", rb"[A-Z]", rb"[a-z]")))
_CAMELS = re.compile(rb"(?:[A-Z]{0,5}[a-z]{2,}+|[A-Z]{2,5}+|\d{1,3}+|[_/=+-])++")
"""Words without spaces: no run of small letters is a single one."""
_PART = re.compile(rb"[a-z]+|[A-Z]+|\d+|[^a-zA-Z0-9]+")
_SAYS = re.compile(rb"(?i)token|passw|secret|key")
_HEX = re.compile(rb"[0-9a-f-]+|[0-9A-F-]+")
_PARTS = re.compile(rb"[^A-Za-z0-9]*[A-Za-z]{1,40}\d{0,2}(?:[_.:/-]+[A-Za-z]{1,40}\d{0,2})+")
"""A name of several parts."""
_HUMP = rb"(?:[A-Z]{0,5}[a-z]{2,}+|[A-Z]{2,6}+|\d{1,3}+|_)"
_DOTTED = re.compile(rb"[@A-Za-z_]" + _HUMP + rb"*+(?:\.(?=[A-Za-z_])[a-z]?" + _HUMP + rb"++)++")
"""A name in another one's: a module's, a message's in a catalogue."""
_WORD = rb"(?:[A-Za-z]?[a-z]+(?:[A-Z][a-z]+){0,3}+|[A-Z]+|\d{1,4}+)"
_SNAKE = re.compile(_WORD + rb"(?:_{1,2}" + _WORD + rb"){3,}+")
"""A name of many words, as the keys of catalogues are."""
_SMALL = re.compile(rb"[a-z]{3,}")
_TYPE = re.compile(rb"[A-Za-z_][\w.]*\[[\w., \[\]|]*\]")
"""Of a generic type."""
_OPTIONS = re.compile(
    rb"[a-z_]{2,}(?::(?:[a-z_]{2,}\d?|[\d.,]{1,9}))?(?:\|[a-z_]{2,}(?::(?:[a-z_]{2,}\d?|[\d.,]{1,9}))?)+"
)
"""What a field must be, or where it comes from: words with bars between."""
_PATH = re.compile(
    rb"(?:[a-z]{2,9}:)?/{1,2}|urn:|\.{1,2}/|[A-Za-z]:\\|[A-Za-z]+\(|\\[ux]|[a-z_]{2,}\[[:@/][a-z]{2,}"
)


_ADDRESS = re.compile(rb"0x[0-9a-fA-F]{40}")
"""Of a contract or an account, which everybody may see."""
_DIGESTS = re.compile(
    rb"(?:[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{56}|[0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})|"
    rb"[A-Za-z0-9+/_-]{22}==|[A-Za-z0-9+/_-]{27}=|[A-Za-z0-9+/_-]{38}==|[A-Za-z0-9+/_-]{43}=?|"
    rb"[A-Za-z0-9+/_-]{64}|[A-Za-z0-9+/_-]{86}(?:==)?"
)
"""The letters of 16, 20, 28, 32, 48 or 64 bytes."""
_DOCUMENT = re.compile(rb"1[A-Za-z0-9_-]{32}|1[A-Za-z0-9_-]{43}")


def entropy(value: bytes) -> float:
    """Shannon entropy in bits per byte."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values()) if size else 0.0


def is_stand_in(value: bytes) -> bool:
    """Whether a value says of itself that it is none."""
    return _STAND_IN.search(value) is not None or len(set(value)) < 5


def is_random(value: bytes) -> bool:
    """Whether a value has the letters and digits of something that was drawn, in no order that a name has."""
    if len(value) < LEAST_BYTES or is_stand_in(value) or b"{" in value:
        return False
    if value[:2] == b"0x" and _ADDRESS.fullmatch(value):
        return False
    if b"\\" in value and b"\\x" not in value and _CODE.search(value):
        return False
    if _PATH.match(value) or _WORDS.fullmatch(value) or _PARTS.fullmatch(value):
        return False
    if is_dotted(value) or _TYPE.fullmatch(value) or _OPTIONS.fullmatch(value):
        return False
    kinds = [_kind(byte) for byte in value]
    digits, letters = kinds.count(1), len(value) - kinds.count(1) - kinds.count(0)
    if not letters or kinds.count(0) * 4 > len(value):
        return False
    turns = sum(a != b for a, b in pairwise(kinds))
    if not digits:
        return turns * 3 >= len(value) and entropy(value) >= 3.7
    least = 2.8 if _HEX.fullmatch(value) else 3.5 if len(value) >= 24 else 3.0
    return turns * 5 >= len(value) and entropy(value) >= least


def is_jumbled(value: bytes) -> bool:
    """Whether no element of a list of names looks like this."""
    return (
        is_random(value) and not _CAMELS.fullmatch(value) and len(_PART.findall(value)) * 9 >= len(value) * 4
    )


def is_dotted(value: bytes) -> bool:
    """Whether these are names with dots between, each made of words."""
    if b"." not in value or _DOTTED.fullmatch(value) is None:
        return False
    return sum(map(len, _SMALL.findall(value))) * 2 >= len(value)


def is_no_name(value: bytes) -> bool:
    """Whether what stands without quotes is neither a name nor a number of the language."""
    if not is_random(value) or _CAMELS.fullmatch(value) or value.startswith((b"0x", b"=")):
        return False
    return is_choppy(value) and _SAYS.search(value) is None


def is_camel(value: bytes) -> bool:
    """Whether these are words without spaces."""
    return _CAMELS.fullmatch(value) is not None


def is_choppy(value: bytes) -> bool:
    """Whether letters and digits of all kinds take turns, as in no name."""
    return b"_" not in value and len(_PART.findall(value)) * 3 >= len(value)


def is_drawn(value: bytes) -> bool:
    """Whether a string, longer than names are, was drawn from letters and digits of all kinds."""
    if (
        not all(kind.search(value) for kind in _ALL_KINDS)
        or _MAGIC.match(value)
        or _CAMELS.fullmatch(value)
        or _SNAKE.fullmatch(value)
        or not is_random(value)
    ):
        return False
    return entropy(value) >= 4.3 and len(_PART.findall(value)) * 9 >= len(value) * 4


def is_password(value: bytes) -> bool:
    """Whether a value reads as somebody's password: letters, digits and more, mixed."""
    if len(value) < LEAST_PASSWORD_BYTES or is_stand_in(value) or is_formatted(value):
        return False
    if (
        _PASSWORD_STAND_IN.fullmatch(value)
        or _WORDS.fullmatch(value)
        or _PATH.match(value)
        or is_dotted(value)
    ):
        return False
    kinds = {_kind(byte) for byte in value}
    return 1 in kinds and len(kinds) >= 3 and not _NAME.fullmatch(value) and entropy(value) >= 2.7


def is_short_key(value: bytes) -> bool:
    """Whether a value, shorter than keys mostly are, was drawn from letters and digits of all kinds."""
    if len(value) < LEAST_KEY_BYTES or _CAMELS.fullmatch(value) or not is_password(value):
        return False
    return all(kind.search(value) for kind in _ALL_KINDS) and len(_PART.findall(value)) * 2 >= len(value)


def is_written_password(value: bytes) -> bool:
    """Whether what stands where only a password stands is more than a stand-in for one."""
    plain = (
        is_formatted(value)
        or _PATH.match(value)
        or _PASSWORD_STAND_IN.fullmatch(value)
        or _FIELD.fullmatch(value)
        or _STAND_IN.search(value)
    )
    return not plain and len(set(value)) > 2


def is_digest(value: bytes) -> bool:
    """Whether a value has the length and the letters of a digest."""
    return _DIGESTS.fullmatch(value) is not None


def is_document(value: bytes) -> bool:
    """Whether a value has the form in which Google names a document."""
    return _DOCUMENT.fullmatch(value) is not None


def is_formatted(value: bytes) -> bool:
    """Whether something is put into a value, or it is a pattern or a piece of a program: what has brackets,
    bars or backslashes, and is not as mixed as only drawn text is."""
    if _TEMPLATE.search(value) or _TYPE.fullmatch(value) or _OPTIONS.fullmatch(value):
        return True
    if not _ODD.search(value):
        return False
    return _CODE.search(value) is not None or len(_PART.findall(value)) * 5 < len(value) * 2


def _kind(byte: int) -> int:
    """0 punctuation, 1 digit, 2 lower case (and what is beyond ASCII), 3 upper case."""
    if 48 <= byte <= 57:
        return 1
    if 65 <= byte <= 90:
        return 3
    return 2 if 97 <= byte <= 122 or byte >= 128 else 0
