"""Tokens that are being typed: how each begins, by which it is known long before it is whole. Pure.

What a rule says of a token's beginning is taken from its pattern: the letters that it begins with, and the
characters that follow them. Where that cannot be read off, its words do, or `unfinished` in `own.toml` says
it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from glm_lsp.core.secrets import looks

JUMBLE_BYTES = 12
"""Of a string without a head, before it is taken for drawn letters."""
LEAST_BYTES = 4
"""After the head. With fewer nothing is known of a token but its kind."""
STAND_IN_BYTES = 24
"""In a longer text a short word may stand by chance."""
_CERTAIN = re.compile(
    rb"gh[pousr]_|github_pat_|gl[a-z]{2,5}-|xox[a-z][-.]|AKIA|AIza|sk-(?:ant|proj)|[sr]k_(?:live|test)_|whsec_|"
    rb"dckr_[po]at_|sq0(?:csp|atp)-|CFPAT-|AT[AC]TT3|sntry[su]_|NRAK-|hooks\.slack|ya29\.|GOCSPX-"
)
"""Heads that stand before nothing but tokens."""
_SOURCE = re.compile(
    r"(?:\\b|\(\?<!\[[^\]]*\]\)|\(\?i\)|\(\?:|\()*((?:[A-Za-z0-9_-]|\\[.-])+?)(?:\(\?i:|\(\?:|\()?"
    r"(\[(?:[^\]\\]|\\.)+\]|\\w)[{+]"
)
_ENDS = "_-."
_VERSION = re.compile(r"v\d")
_APART = r"(?<![A-Za-z0-9_-])(?<!sha256=)"
_WORDS = re.compile(
    rb"(?:[A-Z]{0,2}[a-z]{2,}|[A-Z]{2,}|[a-z])(?:\d{1,3}(?=[_./-]))?"
    rb"(?:[A-Z][a-z]{2,}|[_./~+=-]{1,5}[A-Za-z]+(?:\d{1,3}(?=[_./-]|$))?|[_./-]\d{1,3})*"
    rb"[A-Z]?[_.-]{0,2}\d{0,3}[_./=-]{0,3}"
)
"""Words, as names are made of, and not letters that were drawn."""
_AMAZON = (b"ASIA", b"ABIA", b"ACCA")
_UNSPOKEN = re.compile(rb"(?=.*(?:Q[^U]|[B-DF-HJ-NP-TV-XZ]{4}|[2-7]{2}))[A-Z2-7]{8,16}")
"""Capitals in no order that a word has."""
_DIGIT = re.compile(rb"\d")
_NAME = re.compile(rb"[a-z]{5,}(?:_[a-z]+)*|[a-z]+(?:_[a-z]+)+")
_PORT = re.compile(rb"\+?\d{1,5}(?:[,.;:?)#\]}&].*)?", re.DOTALL)
_HOST = re.compile(rb"[0-9a-fA-F]{0,4}(?::[0-9a-fA-F]{0,5}){2,}")
"""The rest of an IPv6 address without its brackets."""
_IN_QUOTES = re.compile(rb"[\"'`]([A-Za-z0-9+/_.~%-]{12,})$")
_JOINT = re.compile(rb"[^A-Za-z0-9]")
_AFTER = b"+.,;:)]}&|"
"""What follows a string that ends, and begins none."""
_OPEN_FORM = re.compile(rb"[{}<>$%*|\[\]()]|\.\.\.|\\|[Pp](?:ort|ORT)\b")

_OPENED = re.compile(
    rb"(?:"
    rb"(?i:identified\s+(?:with\s+\S+\s+)?by(?:\s+password)?\s+'[^']+)|"
    rb"(?i:(?:with|encrypted|(?:user|role|login)\s+\S+)\s+password\s*=?\s*n?'[^']+)|"
    rb"(?i:<(?:(?:string|entry|property|prop|item)\s[a-z]{3,5}=\")?[\w:.-]{0,40}"
    rb"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|(?:secret|access|private)key)"
    rb"(?:\"|\s[^<>]{0,80})?>[^<\s][^<]*)|"
    rb"^[ \t]*ENV[ \t]+[A-Z0-9_]*(?:TOKEN|SECRET|PASSW(?:OR)?D|(?:API|ACCESS)_?KEY)[A-Z0-9_]*[ =][^\s$<{]\S*|"
    rb"\s--[a-z-]{0,30}(?:passw(?:or)?d|secret|token|api-?key)[ =][^\s$<{\"'-]\S*|"
    rb"\bsshpass\s+-p\s*[^\s$]\S*|\b(?:mysql|mariadb)\w*\s(?:.*\s)?-p[^\s$]+|"
    rb"\bcurl\s(?:.*\s)?(?:-u|--user)[ =]?\s*[^\s:]+:[^\s$]+|"
    rb"\blogin\s+\S+\s+password\s+\S+|"
    rb"(?i:\bauthorization\W{1,5}(?:bearer|basic|token)\s+[^\s$<{]\S*)|"
    rb"://[^\s:/@\"'<>?#]*:(?!\d{1,5}$)[^\s/@{$%<\[\"'`]+|"
    rb"[;\"'?&](?:AccountKey|SharedAccessKey|sig)=[^\s;\"']+|"
    rb"(?<![A-Za-z0-9_-])(?:gh[pousr]_|github_pat_|gl(?:pat|dt|rt|ptt)-|xox[abeprs][-.]|AKIA|AIza|"
    rb"sk-(?:ant|proj|svcacct|admin)-|[sr]k_(?:live|test)_|whsec_|dckr_[po]at_|sq0(?:csp|atp)-|CFPAT-|"
    rb"AT[AC]TT3|sntry[su]_|NRAK-|ya29\.|GOCSPX-|pypi-AgE|lin_api_|dop_v1_|shpat_|glsa_|dp\.pt\.|figd_|"
    rb"PMAK-|AGE-SECRET-KEY-1|rubygems_(?=[0-9a-f]))[\w.=+/-]*|"
    rb"hooks\.slack\.com/(?:services|workflows|triggers)/\S*|/api/webhooks/\d{16,20}/\S*|"
    rb"[\"'`](?:SG\.|hf_|npm_|r8_|gsk_|xai-|pplx-|hv[sbr]\.|dapi(?=[0-9a-f]*\d)|key-(?=[0-9a-f]*\d)|"
    rb"eyJ|EAA[A-Z]|\d{8,10}:AA)[\w.=+/-]+|"
    rb"[\"'`](?:SK)?(?=\d{0,30}[a-f])(?=[a-f]{0,30}\d)[0-9a-f]{12,}(?:-u?s?\d{0,2})?|"
    rb"[\s;?&\"'`](?i:password|passwd|pwd|(?:[a-z]{0,12}_)?token|api_?key)=[^\s;&\"'`<>${(]+|"
    rb"A{18,25}[A-Za-z0-9%]+|\bpat[A-Za-z0-9]{14}\.[0-9a-f]*|"
    rb"^[\w.-]{0,60}(?i:secret|passw|token|api_?key)[\w.-]{0,30}(?::[ \t]+|=)(?=\S{0,80}\d)[^\s\"'`$<{(,;)]+"
    rb")$"
)
"""What a line ends in, up to the cursor, while a secret is written there: the place where it begins, and what
stands of it. One character tells nothing of a value, but that nothing is to be suggested."""


def derived(source: str, words: Sequence[str], *, own: bool) -> str:
    """The pattern of a token that begins as the one of `source`: its group 1 is the head, 2 the rest.

    Empty where that cannot be told. `own`: all of the words begin the token.
    """
    found = _SOURCE.match(source)
    if found is not None:
        head, kind = found[1], found[2]
        if len(head) >= 3 and head[-1] in _ENDS + "1" and not _VERSION.match(head):
            flag = "(?i:" if "(?i" in source[: found.end()] else "(?:"
            return rf"{_APART}({head})({flag}{kind}){{{LEAST_BYTES},}}[A-Za-z0-9+/=_.~-]*)"
    heads = [
        re.escape(word)
        for word in words
        if own or (len(word) >= 5 and word[-1] in _ENDS and not _VERSION.match(word))
    ]
    return rf"{_APART}((?i:{'|'.join(heads)}))([A-Za-z0-9+/=_.~-]{{{LEAST_BYTES},}})" if heads else ""


def is_unfinished(head: bytes, rest: bytes) -> bool:
    """Whether `rest`, after the `head` of a token, is a part of one, and no word of the text's own."""
    if head.startswith((b"<", b"ENV")):  # of an open tag: after it stand words, or what was chosen
        plain = looks.is_stand_in(rest) or rest.isdigit() or looks.is_formatted(rest)
        return not plain and (_DIGIT.search(rest) is not None or not _WORDS.fullmatch(rest))
    if looks.is_stand_in(head + rest[:STAND_IN_BYTES]):
        return False
    if head in _AMAZON and _UNSPOKEN.fullmatch(rest):
        return True
    if _CERTAIN.match(head) is not None:
        return not _NAME.fullmatch(rest)
    return not _WORDS.fullmatch(rest.partition(b"=")[0])


def is_part(value: bytes) -> bool:
    """Whether what is given to the name of a secret is no word so far."""
    return len(value) >= LEAST_BYTES and value[:1] not in _AFTER and _WORDS.fullmatch(value) is None


def is_open_password(value: bytes) -> bool:
    """Whether what follows `://name:` in an address is a password whose `@` is still to come."""
    if _PORT.fullmatch(value) or _HOST.fullmatch(value) or _OPEN_FORM.search(value):
        return False
    return looks.is_written_password(value) and not _WORDS.fullmatch(value)


def opened(before: bytes) -> bool:
    """Whether a line, up to the cursor, ends in a secret: by the statement, tag or head before it, or by its
    letters, which no word has in this order."""
    return _OPENED.search(before) is not None or _is_jumble(before)


def _is_jumble(before: bytes) -> bool:
    found = _IN_QUOTES.search(before)
    if found is None or looks.is_stand_in(found[1]):
        return False
    value = _JOINT.sub(b"", found[1])
    digits = len(_DIGIT.findall(value))
    if len(value) < JUMBLE_BYTES or not 2 <= digits < len(value) * 2 // 3:
        return False
    return looks.is_choppy(value) and not looks.is_camel(found[1])
