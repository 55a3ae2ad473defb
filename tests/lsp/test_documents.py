"""The text store against an independent model, in every encoding, with every kind of awkward text."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from glm_lsp.core.text import digest
from glm_lsp.lsp.documents import Documents, Edit, Lines, OpenDocument, Place, split
from glm_lsp.lsp.positions import Encoding
from tests.lsp.model import TextModel

AWKWARD = "ab é€𝄞\n\r\t\f\v\u2028\u2029\x85\x1c\ufeff"
TEXTS = st.text(alphabet=AWKWARD, max_size=24) | st.sampled_from(["\r\n", "\n", "x\r\ny", ""])
PLACES = st.tuples(st.integers(0, 8), st.integers(0, 12) | st.just(2**31 - 1))


class Sync(RuleBasedStateMachine):
    """Edits of a session; the store and the model must agree on every byte."""

    encoding = Encoding.UTF16

    @initialize(text=TEXTS)
    def open(self, text: str) -> None:
        self.model = TextModel(text, self.encoding.value)
        self.document = OpenDocument("file:///a.py", "python", 1, text, self.encoding)

    @rule(start=PLACES, end=PLACES, text=TEXTS)
    def change(self, start: tuple[int, int], end: tuple[int, int], text: str) -> None:
        first, last = sorted((start, end))
        self.document.change([Edit(text, Place(*first), Place(*last))], self.document.version + 1)
        a, b = (self.model.index({"line": line, "character": char}) for line, char in (first, last))
        a, b = min(a, b), max(a, b)
        self.model.text = self.model.text[:a] + text + self.model.text[b:]

    @rule(texts=st.lists(TEXTS, min_size=1, max_size=3))
    def insert_several(self, texts: list[str]) -> None:
        self.document.change(
            [Edit(text, Place(0, 0), Place(0, 0)) for text in texts], self.document.version + 1
        )
        self.model.text = "".join(reversed(texts)) + self.model.text

    @rule(text=TEXTS)
    def replace_everything(self, text: str) -> None:
        self.document.change([Edit(text)], self.document.version + 1)
        self.model.text = text

    @invariant()
    def same(self) -> None:
        frozen = self.document.freeze("a.py")
        assert frozen.data.decode() == self.model.text
        assert frozen.digest == digest(frozen.data)
        assert frozen.version == self.document.version
        assert self.document.lines == self.model.text.count("\n") + 1

    @rule(place=PLACES)
    def offsets_agree(self, place: tuple[int, int]) -> None:
        index = self.model.index({"line": place[0], "character": place[1]})
        offset = len(self.model.text[:index].encode())
        assert self.document.offset(Place(*place)) == offset
        assert Lines(self.document.freeze("a.py").data, self.encoding).offset(Place(*place)) == offset


@pytest.mark.parametrize("encoding", Encoding)
def test_a_session_of_edits_leaves_the_clients_text(encoding: Encoding) -> None:
    machine = type(f"Sync{encoding.name}", (Sync,), {"encoding": encoding})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=60, stateful_step_count=20, deadline=None)
    )


@given(text=TEXTS, encoding=st.sampled_from(Encoding), data=st.data())
def test_places_and_offsets_are_inverse(text: str, encoding: Encoding, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(text)))
    if text[index - 1 : index + 1] == "\r\n" and index:
        index -= 1  # between the two there is no position
    lines = Lines(text.encode(), encoding)
    offset = len(text[:index].encode())
    place = lines.place(offset)
    assert place._asdict() == TextModel(text, encoding.value).position(index)
    assert lines.offset(place) == offset


@given(text=TEXTS)
def test_lines_join_to_the_text(text: str) -> None:
    assert b"".join(split(text.encode())) == text.encode()


LONE = {"high": "\ud834", "low": "\udd1e", "inside": "a\ud834b", "swapped": "\udd1e\ud834"}


@pytest.mark.parametrize("name", LONE)
def test_half_a_character_keeps_its_width(name: str) -> None:
    """JSON can carry a lone surrogate; the text stays UTF-8, and later positions stay right."""
    document = OpenDocument("file:///a.py", "python", 1, LONE[name] + "\n", Encoding.UTF16)
    width = len(LONE[name])
    document.change([Edit("X", Place(0, width), Place(0, width))], 2)
    assert document.freeze("a").data.decode().endswith("X\n")


def test_a_range_written_backwards_is_turned_round() -> None:
    document = OpenDocument("file:///a.py", "python", 1, "abc\ndef\n", Encoding.UTF16)
    document.change([Edit("-", Place(1, 1), Place(0, 2))], 2)
    assert document.freeze("a").data == b"ab-ef\n"


def test_what_was_handed_out_never_changes() -> None:
    document = OpenDocument("file:///a.py", "python", 1, "a", Encoding.UTF16)
    before = document.freeze("a.py")
    document.change([Edit("b")], 2)
    assert (before.data, before.version) == (b"a", 1)
    assert document.freeze("a.py").data == b"b"


def test_documents_are_found_by_uri_until_they_close() -> None:
    documents = Documents()
    documents.open("file:///a.py", "python", 1, "a")
    documents.open("file:///a.py", "python", 5, "b")
    assert [d.version for d in documents] == [5]
    assert documents.close("file:///a.py") is not None
    assert documents.get("file:///a.py") is None
    assert documents.close("file:///a.py") is None
