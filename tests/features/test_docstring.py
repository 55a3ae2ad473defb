"""The host knows where a docstring goes; the model's sentence is the only thing that is new."""

from __future__ import annotations

import ast
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.edits import apply_edits
from glm_lsp.core.values import RefusalKind
from glm_lsp.engines.scripted import FACTS, ScriptedEngine
from glm_lsp.features.asking import silent
from glm_lsp.features.docstring import MOST_CHARS, gaps, same_but_docstrings, sentence, write
from tests.features.stage import document, session, snapshot

SAID = "Say what this is for."


def check(source: str, after: str) -> None:
    """Every gap of `source`, filled with the same sentence, gives `after`."""
    doc = document(source)
    edits = sorted((gap.edit(SAID) for gap in gaps(doc) if not gap.problem), key=lambda e: e.span)
    data = apply_edits(doc.data, edits)
    assert data.decode() == after
    assert same_but_docstrings(doc.data, data, edits, "python")
    assert bare(doc.data) == bare(data)


def bare(data: bytes) -> str:
    """Python's own tree without docstrings, to compare."""
    tree = ast.parse(data)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


DOC = f'"""{SAID}"""'
CASES = {
    "function": ("def f():\n    return 1\n", f"def f():\n    {DOC}\n    return 1\n"),
    "tabs": ("def f():\n\treturn 1\n", f"def f():\n\t{DOC}\n\treturn 1\n"),
    "two spaces": ("def f():\n  return 1\n", f"def f():\n  {DOC}\n  return 1\n"),
    "CRLF": ("def f():\r\n    return 1\r\n", f"def f():\r\n    {DOC}\r\n    return 1\r\n"),
    "no final newline": ("def f():\n    return 1", f"def f():\n    {DOC}\n    return 1"),
    "comment on the header": (
        "def f():  # why\n    # first\n    return 1\n",
        f"def f():  # why\n    {DOC}\n    # first\n    return 1\n",
    ),
    "signature over lines": (
        "def f(\n    a: int,\n) -> dict[str, int]:\n    return a\n",
        f"def f(\n    a: int,\n) -> dict[str, int]:\n    {DOC}\n    return a\n",
    ),
    "one line": ("def f(): return 1\n", f"def f():\n    {DOC}\n    return 1\n"),
    "one line, two statements": ("def f(): a = 1; return a\n", f"def f():\n    {DOC}\n    a = 1; return a\n"),
    "one line in a file of tabs": (
        "if x:\n\tpass\n\nclass A: pass\n",
        f"if x:\n\tpass\n\nclass A:\n\t{DOC}\n\tpass\n",
    ),
    "one line with a comment": ("def f(): ...  # stub\n", f"def f():\n    {DOC}\n    ...  # stub\n"),
    "one line over lines": ("def f(): return [\n  1,\n]\n", f"def f():\n    {DOC}\n    return [\n  1,\n]\n"),
    "async": ("async def f():\n    return 1\n", f"async def f():\n    {DOC}\n    return 1\n"),
    "decorated": ("@a\n@b(1)\ndef f():\n    return 1\n", f"@a\n@b(1)\ndef f():\n    {DOC}\n    return 1\n"),
    "class, set apart": (
        "class A:\n    x = 1\n\n    def f(self):\n        return 1\n",
        f"class A:\n    {DOC}\n\n    x = 1\n\n    def f(self):\n        {DOC}\n        return 1\n",
    ),
    "class with a blank line already": ("class A:\n\n    x = 1\n", f"class A:\n    {DOC}\n\n    x = 1\n"),
    "nested": (
        "def f():\n    def g():\n        return 1\n    return g\n",
        f"def f():\n    {DOC}\n    def g():\n        {DOC}\n        return 1\n    return g\n",
    ),
    "the file's quotes": (
        "def a():\n    '''Has one.'''\n\ndef f():\n    return 1\n",
        f"def a():\n    '''Has one.'''\n\ndef f():\n    '''{SAID}'''\n    return 1\n",
    ),
    "documented already": ('def f():\n    "x"\n    return 1\n', 'def f():\n    "x"\n    return 1\n'),
    "documented in an odd way": ("def f():\n    ('a' 'b')\n", "def f():\n    ('a' 'b')\n"),
    "overloads": (
        "@overload\ndef f(x: int): ...\n@t.overload\ndef f(x: str): ...\ndef f(x):\n    return x\n",
        "@overload\ndef f(x: int): ...\n@t.overload\ndef f(x: str): ...\n"
        f"def f(x):\n    {DOC}\n    return x\n",
    ),
    "setters": (
        "class A:\n    '''Has one.'''\n    @x.setter\n    def x(self, v):\n        self.v = v\n",
        "class A:\n    '''Has one.'''\n    @x.setter\n    def x(self, v):\n        self.v = v\n",
    ),
    "astral names before": (
        "x = '🎈é'\ndef f():\n    return x\n",
        f"x = '🎈é'\ndef f():\n    {DOC}\n    return x\n",
    ),
    "continuation in the header": (
        "def f(a, \\\n      b):\n    return a\n",
        f"def f(a, \\\n      b):\n    {DOC}\n    return a\n",
    ),
    "lambda in a default": (
        "def f(a=lambda: 1): return a\n",
        f"def f(a=lambda: 1):\n    {DOC}\n    return a\n",
    ),
}


@pytest.mark.parametrize(("source", "after"), CASES.values(), ids=CASES.keys())
def test_a_docstring_stands_where_it_belongs(source: str, after: str) -> None:
    check(source, after)


def test_a_body_behind_a_continuation_is_a_problem_not_a_guess() -> None:
    (gap,) = gaps(document("def f(): \\\n    return 1\n"))
    assert "does not begin a line" in gap.problem


def test_a_line_that_ends_in_a_lone_carriage_return_is_left_alone() -> None:
    (gap,) = gaps(document("import m\ndef f(z):\r    return z\r"))
    assert "lone carriage return" in gap.problem


def test_stubs_broken_files_and_other_languages_have_no_gaps() -> None:
    assert gaps(document("def f(): ...\n", "a.pyi")) == ()
    assert gaps(document("fn f() {}\n", "a.rs")) == ()
    assert all(gap.problem for gap in gaps(document("def f(:\n    return 1\n")))


def test_what_is_private_or_inside_a_function_is_minor() -> None:
    source = "def f():\n  def g(): pass\ndef _h(): pass\n"
    source += "class _A:\n  def m(self): pass\nclass B:\n  def m(self): pass\n"
    assert {g.name: g.minor for g in gaps(document(source))} == {
        **{"f": False, "f.g": True, "_h": True, "_A": True, "_A.m": True, "B": False, "B.m": False}
    }


def test_the_model_sees_the_definition_dedented() -> None:
    (gap,) = gaps(document("class A:\n    'Has one.'\n    @p\n    def f(self):\r\n        return 1\r\n"))
    assert gap.source == "@p\ndef f(self):\n    return 1\n"


LIBRARY = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))


@pytest.mark.parametrize("path", LIBRARY[::6], ids=lambda p: p.name)
def test_real_files_change_by_their_docstrings_alone(path: Path) -> None:
    source = path.read_text(encoding="utf-8", errors="replace")
    doc = document(source)
    edits = sorted((gap.edit(SAID) for gap in gaps(doc) if not gap.problem), key=lambda e: e.span)
    data = apply_edits(doc.data, edits)
    assert same_but_docstrings(doc.data, data, edits, "python")
    assert bare(doc.data) == bare(data)


def test_any_other_difference_is_seen() -> None:
    before = b"def f():\n    return 1\n"
    (gap,) = gaps(document(before.decode()))
    good = gap.edit(SAID)
    assert not same_but_docstrings(before, before, [good], "python")
    for text in (
        f"    {DOC}\n    x = 1\n",
        f"    {DOC}\n    {DOC}\n",
        "    # no docstring\n",
        f"    {DOC}; x\n",
    ):
        bad = type(good)(good.span, text)
        assert not same_but_docstrings(before, apply_edits(before, [bad]), [bad], "python")


SENTENCES = {
    "plain": ("Return the sum of both.", "Return the sum of both."),
    "quotes around": ('"""Return the sum of both."""', "Return the sum of both."),
    "a fence around": ("```python\nReturn the sum of both.\n```", "Return the sum of both."),
    "more after it": ("Return the sum. And then some.", "Return the sum."),
    "the next line": ("Return the sum.\n\nArgs:\n    x: y.", "Return the sum."),
    "dots inside": ("Read os.path and e.g. a file.", "Read os.path and e.g. a file."),
    "no period": ("Return the sum of both", ""),
    "too short": ("Sum.", ""),
    "too long": ("Return " + "x" * MOST_CHARS + ".", ""),
    "a quote inside": ('Return the "sum" of both.', ""),
    "a backslash": ("Return the sum\\n of both.", ""),
    "invisible": ("Return\u202e the sum of both.", ""),
    "a special token": ("Return the <|user|> sum of both.", ""),
    "nothing": ("", ""),
    "code": ("    return a + b", ""),
    "other scripts": ("Gibt die größte Zahl zurück.", "Gibt die größte Zahl zurück."),
}


@pytest.mark.parametrize(("answer", "kept"), SENTENCES.values(), ids=SENTENCES.keys())
def test_only_one_whole_sentence_is_taken(answer: str, kept: str) -> None:
    assert sentence(answer) == kept


@given(st.text(max_size=200))
def test_whatever_is_taken_is_safe_inside_quotes(answer: str) -> None:
    for said in (sentence(answer), sentence(answer + " is what it does.")):
        if said:
            assert 10 <= len(said) <= MOST_CHARS and said.isprintable() and said.endswith(".")
            assert ast.literal_eval(f'"""{said}"""') == said == ast.literal_eval(f"'''{said}'''")


SOURCE = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


async def test_each_gap_is_asked_for_with_a_grammar_and_a_begun_answer() -> None:
    engine = ScriptedEngine(["Return one of them.", "Return two of them."])
    files = {"a.py": SOURCE}
    doc = document(SOURCE)
    change, refused = await write(session(files, engine), snapshot(files), doc, gaps(doc), silent)
    assert change and not refused
    assert apply_edits(doc.data, change.edits).decode() == (
        'def one():\n    """Return one of them."""\n    return 1\n\n\n'
        'def two():\n    """Return two of them."""\n    return 2\n'
    )
    assert [r.prompt.prefill for r in engine.requests] == ['"""', '"""']
    assert all(r.grammar.startswith("root ::=") for r in engine.requests)
    assert "# Document two in a.py" in engine.requests[1].prompt.segments[-2].text


async def test_an_engine_without_grammar_or_prefill_is_checked_all_the_same() -> None:
    facts = type(FACTS)(
        "plain", "plain", FACTS.context_tokens, prefill=False, grammar=False, fim=False, local=True
    )
    engine = ScriptedEngine(['"""Return one of them."""', "I would rather not say"], facts=facts)
    files = {"a.py": SOURCE}
    doc = document(SOURCE)
    change, refused = await write(session(files, engine), snapshot(files), doc, gaps(doc), silent)
    assert change and len(change.edits) == 1
    assert [(r.kind, "two: What the model wrote" in r.reason) for r in refused] == [
        (RefusalKind.FORMAT, True)
    ]
    assert engine.requests[0].grammar == "" and engine.requests[0].prompt.prefill == ""
