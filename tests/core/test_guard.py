"""An edit that would damage a file is refused; one that needs a second look carries a note."""

from __future__ import annotations

import pytest

from glm_lsp.core.guard import check as judge
from glm_lsp.core.text import digest
from glm_lsp.core.values import Change, Document, RefusalKind, Span, TextEdit

SOURCE = '''\
import os


def area(w, h):
    """Say how large it is."""
    if w < 0:
        raise ValueError(w)
    return w * h


def _helper(x):
    return x


class Box:
    def edge(self):
        return 4
'''


def check(
    old: str,
    new: str,
    *,
    source: str = SOURCE,
    task: str = "Tidy up",
    path: str = "a.py",
    language: str = "python",
    refused: str = "",
    note: str = "",
) -> None:
    """Replacing `old` by `new` in `source` is refused for a reason, or gets a note, or passes."""
    assert old in source
    data = source.encode()
    document = Document(path, data, digest(data), language)
    start = len(source[: source.index(old)].encode())
    edit = TextEdit(Span(start, start + len(old.encode())), new)
    verdict = judge(document, Change(path, document.digest, (edit,)), task)
    if refused:
        assert verdict.refusal and refused in verdict.refusal.reason
        assert verdict.refusal.reason.isprintable()
    else:
        assert verdict.refusal is None
        assert (note in verdict.notes[0].text) if note else not verdict.notes


def test_a_plain_edit_passes() -> None:
    check("return w * h", "return h * w")


@pytest.mark.parametrize("new", ["return w * (h", "return w ** ", "if w:\nreturn 1", "return 'x"])
def test_new_syntax_errors_are_refused(new: str) -> None:
    check("return w * h", new, refused="syntax error")


def test_old_syntax_errors_are_not_the_edits_fault() -> None:
    broken = SOURCE + "\n\ndef bad(:\n    pass\n"
    check("return w * h", "return h * w", source=broken)
    check("return w * h", "return h * (w", source=broken, refused="syntax error")


def test_an_edit_that_the_parser_chokes_on_is_refused_and_not_waited_for() -> None:
    bomb = "const a=()=>{" * 4000
    check(
        "int a;", bomb, source="int a;\n", path="a.c", language="c", refused="after the edit takes the parser"
    )
    check("// x", "// y", source=f"// x\n{bomb}", path="a.c", language="c", refused="before the edit takes")


@pytest.mark.parametrize(
    ("old", "new", "lost"),
    [
        ("def area", "def surface", "area"),
        ("class Box", "class Crate", "Box"),
        ("def edge", "def side", "Box.edge"),
    ],
)
def test_public_names_are_lost_only_when_the_task_says_so(old: str, new: str, lost: str) -> None:
    check(old, new, refused=lost)
    check(old, new, task="Rename it")


def test_private_names_may_go() -> None:
    check("def _helper(x):\n    return x\n", "")


@pytest.mark.parametrize(
    "body", ["pass", "...", "raise NotImplementedError", "raise NotImplementedError('x')"]
)
def test_a_body_is_not_emptied(body: str) -> None:
    check("return 4", body, refused="empties the body of Box.edge")
    check("return w * h", "return w * h", source=SOURCE)


ELISIONS = [
    *("# ... rest of the code unchanged", "# existing code", "# ... existing code ...", "# (rest unchanged)"),
    *("// rest of the function remains the same", "# other methods remain unchanged", "# unchanged"),
    *(
        "# same as before",
        "# implementation goes here",
        "/* ... existing imports ... */",
        "... rest of the file",
    ),
    *("# remaining code omitted for brevity", "# the remaining methods stay the same", "# your code here"),
    "... rest of the file",
]


@pytest.mark.parametrize("comment", ELISIONS)
def test_comments_that_stand_for_code_are_refused(comment: str) -> None:
    check("return w * h", f"{comment}\n", language="", refused="in place of code")


HONEST = [
    *(
        "# The rest of the arguments are passed on.",
        "# unchanged values are skipped below",
        "x = existing_code()",
    ),
    *("# Other methods call this one.", "# same order as before the sort", "# code points, not bytes"),
]


@pytest.mark.parametrize("comment", HONEST)
def test_honest_comments_pass(comment: str) -> None:
    check("return w * h", f"{comment}\n    return w * h")


def test_elisions_that_were_there_may_stay() -> None:
    check("return w * h", "return h * w", source=SOURCE + "# ... rest of the code unchanged\n")


def test_a_file_is_not_wiped() -> None:
    text = "".join(f"line {i}\n" for i in range(100))
    check(text[20:], "", source=text, language="", refused="3 of 100")
    check(text[20:], "", source=text, language="", task="Remove all but the first lines")


@pytest.mark.parametrize(
    "hidden", ["\u202e", "\u200b", "\u2066", "\ufeff", "\U000e0041", "\x1b[31m", "\x00", "\u00ad"]
)
def test_characters_that_cannot_be_seen_are_refused(hidden: str) -> None:
    check("return w * h", f"return w * h  # {hidden}", refused="cannot be seen")
    check("return w * h", "return h * w", source=SOURCE + f"# {hidden}\n")


@pytest.mark.parametrize(
    ("new", "note"),
    [
        ("import os\nimport socket", "imports socket"),
        ("import os\nfrom urllib.request import urlopen", "imports urllib"),
        ("import os\nimport subprocess as sp", "imports subprocess"),
        ("import os\nos.system('x')", "calls os.system"),
        ("import os\neval('x')", "calls eval"),
    ],
)
def test_new_ways_out_are_noted(new: str, note: str) -> None:
    check("import os", new, note=note)


def test_an_import_that_was_there_needs_no_note() -> None:
    check("return 4", "return 5", source="import socket\n" + SOURCE)


def test_protected_files_and_other_content_are_refused() -> None:
    check("return 4", "return 5", path=".github/x.py", refused="is not edited")
    document = Document("a.py", b"x = 1\n", digest(b"x = 1\n"), "python")
    verdict = judge(document, Change("a.py", "0" * 32, ()))
    assert verdict.refusal and verdict.refusal.kind is RefusalKind.CONFLICT


BODY = "return order.lines.length;"
TYPESCRIPT = f"export function total(order: Order): number {{\n  {BODY}\n}}\n"


@pytest.mark.parametrize(
    ("old", "new", "refused"),
    [
        (BODY, "return (order;", "syntax error at line 2"),
        (BODY, "// later", "empties the body of total"),
        (BODY, 'throw new Error("later");', "empties the body of total"),
        ("total", "sum", "loses total"),
        (BODY, "return order.lines.size;", ""),
    ],
)
def test_other_languages_are_guarded_by_their_own_grammars(old: str, new: str, refused: str) -> None:
    check(old, new, source=TYPESCRIPT, path="a.ts", language="typescript", refused=refused)


@pytest.mark.parametrize(
    ("new", "path", "language", "note"),
    [
        ('import { exec } from "node:child_process";\n', "a.ts", "typescript", "imports child_process"),
        ('package a\n\nimport "os/exec"\n', "a.go", "go", "imports os/exec"),
    ],
)
def test_what_reaches_out_is_told_in_other_languages(new: str, path: str, language: str, note: str) -> None:
    old = "package a\n" if language == "go" else "f();\n"
    check(old, new, source=old, path=path, language=language, note=note)
