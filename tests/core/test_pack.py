"""Packing: never over the room, the same bytes for the same input, and what is left out is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core import layout, pack
from glm_lsp.core.generation import Prompt, Role, Segment, Thinking
from glm_lsp.core.graph import Graph
from glm_lsp.core.rank import Candidate
from glm_lsp.core.syntax import outline
from glm_lsp.core.values import RepoIndex

FILES = {
    "b.py": """class B:
    def one(self):
        return 1

    def two(
        self,
        x,
    ):
        return x
""",
    "a.py": "def f(x):\n    return x\n\n\ndef long():\n" + "    x = 1\n" * 30,
}
GRAPH = Graph(RepoIndex({p: outline(p, t.encode(), "python") for p, t in FILES.items()}))
LINES = {p: pack.lines_of(t.encode()) for p, t in FILES.items()}
ALL = tuple(
    Candidate(path, symbols[0], 1.0 / (n + 1), f"reason {n}", True)
    for n, (path, symbols) in enumerate((p, s) for p in FILES for s in GRAPH.symbols(p).values())
)


def count(text: str) -> int:
    """Fewer tokens for a whole than for its parts, as with real tokenizers."""
    return len(text.split()) + text.count("\n\n") + 1


def test_an_outline_is_by_file_and_in_its_order() -> None:
    packed = pack.outline(GRAPH, ALL, count, 1000)
    assert [b.text for b in packed.blocks] == [
        "== a.py\ndef f(x):\ndef long():\n",
        "== b.py\nclass B:\n    def one(self):\n    def two(\n        self,\n        x,\n    ):\n",
    ]
    assert packed.dropped == () and packed.blocks[1].symbols == ("B", "B.one", "B.two")


def test_a_method_brings_its_class() -> None:
    method = next(c for c in ALL if c.symbol.name == "one")
    (block,) = pack.outline(GRAPH, [method], count, 100).blocks
    assert block.text == "== b.py\nclass B:\n    def one(self):\n"


def test_a_statement_with_several_names_is_told_once() -> None:
    data = b"A, B = 1, 2\n\nclass C:\n    D = E = 3\n    F = 4\n"
    graph = Graph(RepoIndex({"c.py": outline("c.py", data, "python")}))
    candidates = [Candidate("c.py", symbols[0], 1.0, "") for symbols in graph.symbols("c.py").values()]
    (block,) = pack.outline(graph, candidates, count, 1000).blocks
    assert block.text == "== c.py\nA, B = 1, 2\nclass C:\n    D = E = 3\n    F = 4\n"
    assert block.symbols == ("A", "B", "C", "C.D", "C.E", "C.F")
    tight = block.tokens + count(layout.OUTLINE_TITLE)
    shown = pack.outline(graph, candidates[:2], count, tight).blocks[0].symbols
    assert shown == ("A", "B")


def test_the_most_relevant_body_is_last() -> None:
    functions = [c for c in ALL if c.symbol.name in ("f", "one")]
    packed = pack.bodies(functions, LINES, count, 1000)
    assert [b.symbols for b in packed.blocks] == [("f",), ("B.one",)]
    assert packed.blocks[0].text == "== a.py:1-2\ndef f(x):\n    return x\n"


def test_what_lies_in_a_chosen_body_is_not_shown_twice() -> None:
    packed = pack.bodies([c for c in ALL if c.path == "b.py"], LINES, count, 1000)
    assert [b.symbols for b in packed.blocks] == [("B",)]


def test_what_does_not_fit_is_told() -> None:
    packed = pack.bodies(ALL, LINES, count, 30)
    assert ("long",) in {d.symbols for d in packed.dropped}
    assert all("does not fit" in d.reason and d.tokens > 0 for d in packed.dropped)


@given(st.permutations(ALL), st.integers(0, 80))
def test_the_room_is_never_exceeded(candidates: list[Candidate], room: int) -> None:
    for packed, title in (
        (pack.outline(GRAPH, candidates, count, room), layout.OUTLINE_TITLE),
        (pack.bodies(candidates, LINES, count, room), layout.SOURCE_TITLE),
    ):
        used = sum(count(b.text) for b in packed.blocks) + (count(title) if packed.blocks else 0)
        assert used == packed.tokens <= room or not packed.blocks
        assert all(b.tokens == count(b.text) for b in packed.blocks)


@given(st.permutations(ALL), st.integers(0, 80))
def test_the_same_input_gives_the_same_bytes(candidates: list[Candidate], room: int) -> None:
    assert pack.outline(GRAPH, candidates, count, room) == pack.outline(GRAPH, candidates, count, room)


@given(st.integers(0, 50), st.integers(-1, 60))
def test_the_most_that_fits(most: int, limit: int) -> None:
    assert pack.most_that_fits(most, lambda n: n <= limit) == min(most, max(limit, -1))


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", ("",)),
        (b"a\n", ("a", "")),
        (b"a\r\nb", ("a", "b")),
        (b"a\rb\n", ("a\rb", "")),
        ("é\u2028x\n".encode(), ("é\u2028x", "")),
    ],
)
def test_lines_end_at_newlines_only(data: bytes, lines: tuple[str, ...]) -> None:
    assert pack.lines_of(data) == lines


def test_offsets_of_lines() -> None:
    assert [pack.line_offset(b"a\nbc\n", n) for n in range(5)] == [0, 2, 5, 5, 5]


def test_the_templates_tokens_count() -> None:
    prompt = Prompt((Segment(Role.USER, "a b c"),), 0)
    assert pack.prompt_tokens(prompt, lambda text: len(text.split())) == 3 + 6
    thinking = pack.prompt_tokens(prompt, lambda text: len(text.split()), Thinking.HIGH)
    assert thinking == 3 + 6 - 1 + 4
