"""What a change must not do, checked on the file before and after it. Pure.

`check` refuses damage: new error nodes, lost public symbols, gutted bodies, shrinkage, elision comments,
invisible characters. What may be right but must be looked at (new network or process imports) becomes a note:
such a change is shown, and written only when a person says so.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter
from dataclasses import dataclass

from glm_lsp.core.edits import changed
from glm_lsp.core.paths import objection
from glm_lsp.core.secrets import MARKER
from glm_lsp.core.syntax import checked, outline, supported
from glm_lsp.core.values import (
    Change,
    Document,
    FileOutline,
    Note,
    Refusal,
    RefusalKind,
    SymbolKind,
)

_REMOVAL = re.compile(
    r"\b(?:delete|deletes|deleting|rename|renames|renaming|remove|removes|removing|drop|drops|dropping|"
    r"move|moves|moving|split|splitting|merge|merging)\b",
    re.IGNORECASE,
)
_CODE = (
    r"(?:code|file|functions?|class|methods?|module|body|implementation|imports?|tests?|logic|definitions?)"
)
_ELISIONS = (
    rf"(?:rest|remainder) of (?:the |this |your )?(?:existing |original )?{_CODE}\b",
    rf"(?:rest|existing|remaining|other|previous|original) (?:{_CODE} )?(?:is |are |stays? |remains? )?"
    r"(?:unchanged|the same|as before|goes here|here)\b",
    rf"(?:existing|remaining|previous|original|unchanged|other) {_CODE}$",
    rf"{_CODE} (?:is |are |stays? |remains? )?(?:unchanged|the same|omitted)\b",
    r"^(?:unchanged|same as (?:before|above)|as before|omitted|snip|truncated)(?: for brevity)?$",
    r"^(?:your|the|more|actual)? ?(?:code|implementation|logic) (?:goes )?here$",
    r"\bomitted for brevity\b",
)
_ELISION = re.compile("|".join(_ELISIONS), re.IGNORECASE)
_COMMENT_LINE = re.compile(r"\s*(?:#|//|/\*+|--|<!--|;|%|\.\.\.|…|\[)(.*)")
_INVISIBLE = re.compile(
    "[\u0000-\u0008\u000b\u000e-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0d\ufeff\uffa0\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
REVIEWED_MODULES = frozenset(
    {
        *("socket", "ssl", "http", "urllib", "urllib2", "urllib3", "requests", "httpx", "aiohttp", "ftplib"),
        *("smtplib", "poplib", "imaplib", "telnetlib", "xmlrpc", "websocket", "websockets", "paramiko"),
        *("pycurl", "grpc", "dns", "scapy", "socketserver", "webbrowser", "nntplib", "asyncssh", "fabric"),
        *("subprocess", "pty", "multiprocessing", "ctypes", "cffi", "pexpect", "sh", "plumbum", "invoke"),
        *("importlib", "runpy", "code", "codeop", "pickle", "marshal", "shelve"),
        *(
            "net",
            "net/http",
            "os/exec",
            "syscall",
            "unsafe",
            "plugin",
            "child_process",
            "dgram",
            "tls",
            "http2",
        ),
        *("https", "worker_threads", "vm", "axios", "node-fetch", "undici", "got", "ws", "execa", "shelljs"),
        *(
            "java.net",
            "java.rmi",
            "java.lang.reflect",
            "std::net",
            "std::process",
            "std::os",
            "reqwest",
            "tokio",
        ),
    }
)
_REVIEWED_CALLS = re.compile(
    r"\b(os\.(?:system|popen|exec\w+|spawn\w+|posix_spawn\w*|fork\w*)|eval\(|exec\(|__import__\(|compile\(|"
    r"create_subprocess_\w+|open_connection\(|create_connection\(|exec\.Command\w*\(|Command::new\(|"
    r"new Function\(|\.getRuntime\(|ProcessBuilder\(|dlopen\(|execve?\()"
)
_TRIVIAL = re.compile(
    r"(?:(?:pass|\.\.\.|return(?: (?:None|null|nil|undefined|0|false))?|raise NotImplementedError(?:\(.*\))?|"
    r"(?:throw|panic|todo|unimplemented|abort)\b[^\n;{}]*)\s*;?\s*)?"
)
_SHRINKAGE_LINES = 20
"""A file may always lose this many lines that are not blank; beyond that, at most half of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`refusal` is None for a change that may be shown; `notes` say what to look at before it is written."""

    refusal: Refusal | None = None
    notes: tuple[Note, ...] = ()


def check(document: Document, change: Change, task: str = "") -> Verdict:
    """Judge a change to `document`. What `task` asks to remove, rename or move may go."""
    path = document.path
    if reason := objection(path):
        return Verdict(Refusal(path, RefusalKind.POLICY, reason))
    try:
        after = changed(document, change)
    except ValueError as error:
        return Verdict(Refusal(path, RefusalKind.CONFLICT, f"The edits do not fit the file: {error}."))
    if reason := held_back(document, change):
        return Verdict(Refusal(path, RefusalKind.POLICY, reason))
    reason = _invisible(document, after) or _elided(document, after)
    may_remove = bool(_REMOVAL.search(task))
    if not reason and not may_remove:
        reason = _shrunk(document, after)
    if not reason and supported(document.language):
        reason = _broken(document, after)
    if reason:
        return Verdict(Refusal(path, RefusalKind.VERIFY, reason))
    before_outline = outline(path, document.data, document.language)
    after_outline = outline(path, after.data, after.language)
    reason = _gutted(document, after, before_outline, after_outline)
    if not reason and not may_remove:
        reason = _lost(before_outline, after_outline)
    if reason:
        return Verdict(Refusal(path, RefusalKind.VERIFY, reason))
    return Verdict(notes=_to_review(document, after, before_outline, after_outline))


def held_back(document: Document, change: Change) -> str:
    """Why a change must not be made: it touches a place that no model has seen; empty where it may.

    A marker that is written back, there or elsewhere, would put words in a secret's place.
    """
    for edit in change.edits:
        for place in document.held or ():
            if edit.span.start <= place.span.end and place.span.start <= edit.span.end:
                return (
                    f"The edit touches line {place.line + 1}, where a secret ({place.kind}) is held back "
                    "from the model; what stands there is for you to change."
                )
    written = Counter(found for edit in change.edits for found in MARKER.findall(edit.text))
    over = Counter(
        found
        for edit in change.edits
        for found in MARKER.findall(document.data[edit.span.start : edit.span.end].decode("utf-8", "replace"))
    )
    new = sorted(written - over)
    return f"The edit writes the marker of a held-back secret ({new[0]}) as if it were text." if new else ""


def _text(document: Document) -> str:
    return document.data.decode("utf-8", "replace")


def _new_lines(before: Document, after: Document) -> list[str]:
    """Lines that the file did not have, or had less often."""
    had = Counter(_text(before).split("\n"))
    return list((Counter(_text(after).split("\n")) - had).elements())


def _invisible(before: Document, after: Document) -> str:
    new = Counter(_INVISIBLE.findall(_text(after))) - Counter(_INVISIBLE.findall(_text(before)))
    shown = ", ".join(f"U+{ord(c):04X}" for c in sorted(new))
    return f"The edit brings in characters that cannot be seen ({shown})." if new else ""


def _elided(before: Document, after: Document) -> str:
    for line in _new_lines(before, after):
        comment = _COMMENT_LINE.match(line)
        if comment and _ELISION.search(re.sub(r"^\W+|\W+$", "", comment[1])):
            return f"The edit has a comment in place of code ({line.strip()[:60]!a}); write all of the code."
    return ""


def _shrunk(before: Document, after: Document) -> str:
    was, now = (sum(bool(line.strip()) for line in d.data.split(b"\n")) for d in (before, after))
    if was - now > _SHRINKAGE_LINES and now * 2 < was:
        return f"The edit leaves {now} of {was} lines, and the task does not speak of removing anything."
    return ""


def _broken(before: Document, after: Document) -> str:
    was, now = (checked(d.data, d.language) for d in (before, after))
    if was is None or now is None:
        when = "before" if was is None else "after"
        return f"The file {when} the edit takes the parser too long, so nobody can tell whether it is sound."
    line = 0
    if len(now) > len(was) or sum(map(len, now)) > sum(map(len, was)):
        at = next((span for span in now if span not in was), now[0])
        line = after.data.count(b"\n", 0, at.start) + 1
    elif before.language == "python" and not _python_error(before.data):
        line = _python_error(after.data)
    return (
        f"After the edit the file has a syntax error at line {line} that it did not have before."
        if line
        else ""
    )


def _python_error(data: bytes) -> int:
    """The line (1-based) at which Python's own parser stops, else 0. It sees what the grammar forgives:
    missing blocks, uneven indentation. Hostile nesting ends in an exception, not in a crash."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(data)
    except SyntaxError as error:
        return error.lineno or 1
    except (ValueError, RecursionError, MemoryError):
        return 1
    return 0


def _lost(before: FileOutline, after: FileOutline) -> str:
    def public(outline: FileOutline) -> set[str]:
        return {s.qualified for s in outline.symbols if not re.search(r"(?:^|\.)_(?!_\w+__$)", s.qualified)}

    lost = sorted(public(before) - public(after))
    if not lost:
        return ""
    return f"The edit loses {', '.join(lost[:5])}, and the task does not speak of removing or renaming."


def _gutted(before: Document, after: Document, old: FileOutline, new: FileOutline) -> str:
    def trivial(document: Document, outline: FileOutline) -> dict[str, bool]:
        bodies: dict[str, bool] = {}
        for s in outline.symbols:
            if s.kind in (SymbolKind.FUNCTION, SymbolKind.METHOD):
                body = document.data[s.body.start : s.body.end].decode("utf-8", "replace")
                bodies[s.qualified] = _TRIVIAL.fullmatch(_without_docstring(body)) is not None
        return bodies

    was, now = trivial(before, old), trivial(after, new)
    gutted = sorted(name for name, empty in now.items() if empty and was.get(name) is False)
    return f"The edit empties the body of {', '.join(gutted[:5])}." if gutted else ""


def _without_docstring(body: str) -> str:
    """A body without what documents it, nor the braces around it."""
    body = re.sub(r'\A[rRuU]?("""|\'\'\')[\s\S]*?\1', "", body.strip())
    if body.startswith("{") and body.endswith("}"):
        body = re.sub(r"//[^\n]*|/\*[\s\S]*?\*/", "", body[1:-1])
    return "\n".join(line for line in body.split("\n") if not line.strip().startswith("#")).strip()


def _names(module: str) -> set[str]:
    """How lists may call an imported module: whole, by its first part or by its first two."""
    bare = module.removeprefix("node:")
    parts = re.split(r"(\.|::|/)", bare)
    return {bare, parts[0], "".join(parts[:3])}


def _to_review(before: Document, after: Document, old: FileOutline, new: FileOutline) -> tuple[Note, ...]:
    had, has = (
        {name for i in o.imports if not i.level for name in _names(i.module)} & REVIEWED_MODULES
        for o in (old, new)
    )
    found = sorted(f"imports {module}" for module in has - had)
    calls = Counter(_REVIEWED_CALLS.findall(_text(after))) - Counter(_REVIEWED_CALLS.findall(_text(before)))
    found += sorted(f"calls {call.rstrip('(')}" for call in calls)
    if not found:
        return ()
    reach = "reaches the network, other processes or code made at run time"
    return (Note(before.path, f"The edit newly {' and '.join(found)}, which {reach}: review it."),)
