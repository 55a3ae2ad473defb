"""An answer either says exactly what to do, or it is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from glm_lsp.core.blocks import SearchBlock, format_blocks
from glm_lsp.core.edits import (
    LineEdit,
    Lines,
    anchor,
    apply_edits,
    changed,
    format_edits,
    line_hash,
    numbered,
    parse,
    place,
)
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, Span, TextEdit

SOURCE = "import os\n\n\ndef area(w, h):\n    return w * h\n\n\ndef edge(w, h):\n    return 2 * (w + h)\n"
A = [anchor(i, line) for i, line in enumerate(SOURCE.split("\n"))]


def document(text: str, path: str = "pkg/a.py") -> Document:
    data = text.encode()
    return Document(path, data, digest(data), "python")


def check(answer: str, source: str = SOURCE, *, after: str | None = None, refused: str = "") -> None:
    """The answer turns `source` into `after`, or is refused with a reason that contains `refused`."""
    doc = document(source)
    parsed = parse(answer, {doc.path: doc})
    if refused:
        assert [r.reason for r in parsed.refusals if refused in r.reason], parsed
        assert not parsed.changes
    else:
        assert not parsed.refusals
        data = changed(doc, parsed.changes[0]).data if parsed.changes else doc.data
        assert data.decode() == after


def test_shown_lines_carry_number_and_hash() -> None:
    assert numbered("a\r\nb", start_line=9) == f"10#{line_hash('a')}|a\n11#{line_hash('b')}|b\n"
    assert numbered("") == ""


def test_replace_insert_and_delete() -> None:
    answer = (
        "=== file pkg/a.py\n"
        f"@@ delete {A[0]}..{A[2]}\n"
        f"@@ replace {A[4]}\n    return h * w\n"
        f"@@ insert after {A[8]}\n\n\nx = 1\n"
        "=== end\n"
    )
    after = "def area(w, h):\n    return h * w\n\n\ndef edge(w, h):\n    return 2 * (w + h)\n\n\nx = 1\n"
    check(answer, after=after)
    check(f"```python\n{answer}```\n", after=after)
    check(answer.replace("\n", "\r\n"), after=after)


def test_lines_go_to_the_top_of_a_file_and_into_an_empty_one() -> None:
    check("=== file pkg/a.py\n@@ insert after 0#000\nx = 1\n=== end", "y = 2\n", after="x = 1\ny = 2\n")
    check("=== file pkg/a.py\n@@ insert after 0#000\nx = 1\n=== end", "", after="x = 1\n")


def test_nothing_to_do_is_an_answer() -> None:
    check("=== end\n", after=SOURCE)


def test_a_line_that_looks_like_a_directive_is_escaped() -> None:
    check(
        f"=== file pkg/a.py\n@@ replace {A[0]}\n\\@@ x\n\\\\=== y\n=== end",
        after=SOURCE.replace("import os", "@@ x\n\\=== y", 1),
    )


@pytest.mark.parametrize(("ending", "final"), [("\n", True), ("\n", False), ("\r\n", True), ("\r\n", False)])
def test_line_endings_and_the_final_newline_stay(ending: str, final: bool) -> None:
    def text(*lines: str) -> str:
        return ending.join(lines) + (ending if final else "")

    source = text("a", "b", "c")
    a, b, c = (anchor(i, x) for i, x in enumerate("abc"))
    head = "=== file pkg/a.py\n"
    check(f"{head}@@ replace {c}\nC\n=== end", source, after=text("a", "b", "C"))
    check(f"{head}@@ insert after {c}\nd\n=== end", source, after=text("a", "b", "c", "d"))
    check(f"{head}@@ delete {b}..{c}\n=== end", source, after=text("a"))
    check(f"{head}@@ delete {c}\n@@ replace {a}..{b}\nx\n=== end", source, after=text("x"))
    check(f"{head}@@ replace {c}\nC\n@@ insert after {c}\nd\n=== end", source, after=text("a", "b", "C", "d"))


def test_lines_that_stay_keep_their_bytes_in_a_file_of_mixed_endings() -> None:
    source = "a\r\nb\nc\r\n"
    b, c = anchor(1, "b"), anchor(2, "c")
    check(f"=== file pkg/a.py\n@@ replace {b}..{c}\nb\nd\n=== end", source, after="a\r\nb\nd\r\n")


REFUSED = {
    "cut off": (f"=== file pkg/a.py\n@@ replace {A[0]}\nimport sys\n", "cut off"),
    "prose before": ("Sure!\n=== file pkg/a.py\n=== end", "must begin with"),
    "prose instead": ("I cannot do that.", "does not end with"),
    "empty": ("", "does not end with"),
    "unknown directive": ("=== pkg/a.py\n=== end", "no directive"),
    "unknown operation": (f"=== file pkg/a.py\n@@ append {A[0]}\nx\n=== end", "no operation"),
    "insert without after": (f"=== file pkg/a.py\n@@ insert {A[0]}\nx\n=== end", "no operation"),
    "no hash": ("=== file pkg/a.py\n@@ replace 1\nx\n=== end", "no operation"),
    "wrong hash": ("=== file pkg/a.py\n@@ replace 1#000\nx\n=== end", "is wrong"),
    "neighbour's hash": (
        f"=== file pkg/a.py\n@@ replace 5#{line_hash('def area(w, h):')}\nx\n=== end",
        "is wrong",
    ),
    "past the end": ("=== file pkg/a.py\n@@ replace 99#123\nx\n=== end", "no line 99"),
    "line zero": ("=== file pkg/a.py\n@@ replace 0#000\nx\n=== end", "no line 0"),
    "backwards": (f"=== file pkg/a.py\n@@ replace {A[4]}..{A[3]}\nx\n=== end", "ends before"),
    "overlap": (f"=== file pkg/a.py\n@@ delete {A[3]}..{A[4]}\n@@ replace {A[4]}\nx\n=== end", "same place"),
    "twice the same insert": (
        f"=== file pkg/a.py\n@@ insert after {A[0]}\nx\n@@ insert after {A[0]}\ny\n=== end",
        "same place",
    ),
    "delete with lines": (f"=== file pkg/a.py\n@@ delete {A[0]}\nx\n=== end", "takes no lines"),
    "replace without lines": (f"=== file pkg/a.py\n@@ replace {A[0]}\n=== end", "has no lines"),
    "text before an operation": ("=== file pkg/a.py\nimport sys\n=== end", "Expected an operation"),
    "file not shown": ("=== file pkg/b.py\n=== end", "was not shown"),
    "file named twice": ("=== file pkg/a.py\n=== file pkg/a.py\n=== end", "twice"),
    "outside": ("=== file ../a.py\n=== end", "steps out"),
    "absolute": ("=== file /etc/passwd\n=== end", "not relative"),
    "git": ("=== file .git/hooks/pre-commit\n=== end", "is not edited"),
    "mixed formats": (
        "=== file pkg/a.py\n<<<<<<< SEARCH\nx\n=======\n>>>>>>> REPLACE\n@@ delete 1#123\n=== end",
        "Expected",
    ),
}


@pytest.mark.parametrize(("answer", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_an_answer_that_is_off_is_refused_with_the_reason(answer: str, reason: str) -> None:
    check(answer, refused=reason)


def test_one_bad_edit_spoils_its_file_and_no_other() -> None:
    docs = {p: document(SOURCE, p) for p in ("a.py", "b.py")}
    answer = (
        f"=== file a.py\n@@ replace {A[0]}\nimport sys\n@@ replace 2#fff\nx\n"
        f"=== file b.py\n@@ replace {A[0]}\nimport sys\n=== end"
    )
    parsed = parse(answer, docs)
    assert [c.path for c in parsed.changes] == ["b.py"]
    assert [r.path for r in parsed.refusals] == ["a.py"]


def test_edits_that_overlap_or_leave_the_file_are_never_applied() -> None:
    for edits in ([TextEdit(Span(0, 3), ""), TextEdit(Span(2, 4), "")], [TextEdit(Span(3, 9), "")]):
        with pytest.raises(ValueError, match="overlaps another or leaves"):
            apply_edits(b"abcd", edits)


LINE = st.text(
    st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12
) | st.sampled_from(
    [
        "",
        "x",
        "    x",
        "@@ x",
        "=== end",
        "\\@@ x",
        "=======",
        "<<<<<<< SEARCH",
        "```",
        "\\=== end",
        "===",
        "é",
        "🎈",
    ]
)


@st.composite
def edited_file(draw: st.DrawFn) -> tuple[list[str], list[LineEdit], str, bool]:
    """Lines, disjoint edits on them, the line ending, and whether there is a final newline."""
    lines = draw(st.lists(LINE, max_size=12))
    edits: list[LineEdit] = []
    at = 0
    while at <= len(lines):
        start = draw(st.integers(at, len(lines) + 3))
        if start > len(lines):
            break
        end = draw(st.integers(start, min(len(lines), start + 3)))
        new = draw(st.lists(LINE, min_size=start == end, max_size=4))
        edits.append(LineEdit(start, end, tuple(new)))
        at = end + 1
    # Without a final newline, an empty last line would be the file without it, and one line shows no ending.
    final = draw(st.booleans()) or not lines or lines[-1] == ""
    ending = draw(st.sampled_from(["\n", "\r\n"])) if len(lines) > 1 or (lines and final) else "\n"
    return lines, edits, ending, final


def rebuilt(lines: list[str], edits: list[LineEdit]) -> list[str]:
    out, at = [], 0
    for edit in edits:
        out += [*lines[at : edit.start], *edit.lines]
        at = edit.end
    return out + lines[at:]


def joined(lines: list[str], ending: str, final: bool) -> str:
    return ending.join(lines) + (ending if final and lines else "")


@given(edited_file())
def test_what_is_formatted_is_applied(case: tuple[list[str], list[LineEdit], str, bool]) -> None:
    lines, edits, ending, final = case
    source = joined(lines, ending, final)
    target = rebuilt(lines, edits)
    check(format_edits("pkg/a.py", source.encode(), edits), source, after=joined(target, ending, final))


@given(edited_file(), st.data())
def test_an_edit_for_another_text_never_lands(
    case: tuple[list[str], list[LineEdit], str, bool], data: st.DataObject
) -> None:
    lines, edits, ending, final = case
    assume(lines and edits)
    answer = format_edits("pkg/a.py", joined(lines, ending, final).encode(), edits)
    where = data.draw(st.integers(0, len(lines)))
    drifted = [*lines[:where], data.draw(LINE), *lines[where:]]
    doc = document(joined(drifted, ending, final))
    parsed = parse(answer, {doc.path: doc})
    named = [
        i for e in edits for i in ((e.start, e.end - 1) if e.end > e.start else (e.start - 1,)) if i >= 0
    ]
    fits = all(i < len(drifted) and line_hash(drifted[i]) == line_hash(lines[i]) for i in named)
    assert fits or not parsed.changes


@given(edited_file())
def test_a_change_for_other_content_is_a_conflict(case: tuple[list[str], list[LineEdit], str, bool]) -> None:
    lines, edits, ending, final = case
    doc = document(joined(lines, ending, final))
    parsed = parse(format_edits(doc.path, doc.data, edits), {doc.path: doc})
    other = document(joined([*lines, "more"], ending, final))
    for change in parsed.changes:
        with pytest.raises(ValueError, match="other content"):
            changed(other, change)


@given(st.text(max_size=300))
def test_no_answer_is_too_strange_to_be_read(answer: str) -> None:
    """It is refused with a sentence, or it is edits that apply; never both for one file, never neither."""
    doc = document(SOURCE)
    for text in (answer, f"=== file pkg/a.py\n{answer}\n=== end"):
        parsed = parse(text, {doc.path: doc})
        assert all(r.reason.strip() for r in parsed.refusals)
        assert all(change.path == doc.path and changed(doc, change) for change in parsed.changes)
        if "=== end" not in text:
            assert parsed.refusals and not parsed.changes


@given(edited_file())
def test_search_replace_round_trip(case: tuple[list[str], list[LineEdit], str, bool]) -> None:
    """One block over the whole file always finds its place, and puts exactly the target there."""
    lines, edits, ending, final = case
    assume(any(line.strip() for line in lines))
    target = rebuilt(lines, edits)
    answer = format_blocks("pkg/a.py", [SearchBlock(tuple(lines), tuple(target))])
    assume("\ufeff" not in answer)
    check(answer, joined(lines, ending, final), after=joined(target, ending, final))


@given(st.lists(LINE, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_add_up_to_the_file(lines: list[str], ending: str, final: bool) -> None:
    data = joined(lines, ending, final).encode()
    cut = Lines.of(data)
    assert "".join(a + b for a, b in zip(cut.texts, cut.endings, strict=True)).encode() == data
    assert place(cut, []) == ()
