"""Between the protocol's values and ours: whatever text, encoding and client, the same edits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lsprotocol import converters, types

from glm_lsp.core.text import digest
from glm_lsp.core.values import Change, Document, EditPlan, Span, TextEdit
from glm_lsp.lsp.client import Client, client_of, options_of, settings_of
from glm_lsp.lsp.convert import name_of, path_of, span_of, text_for, uri_of, workspace_edit
from glm_lsp.lsp.documents import Lines
from glm_lsp.lsp.positions import Encoding
from tests.lsp import rules
from tests.lsp.editor import CLIENTS, NAMES
from tests.lsp.model import TextModel

CONVERTER = converters.get_converter()
TEXTS = st.text(alphabet="ab é€𝄞\n\t\f\u2028", max_size=30)


def document(text: str, path: str = "a.py", version: int | None = 3) -> Document:
    data = text.encode()
    return Document(path, data, digest(data), "python", version)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, list[tuple[int, int, str]]]:
    """A text, and sorted disjoint edits at code points."""
    text = draw(TEXTS)
    cuts = (
        sorted(
            draw(
                st.lists(st.integers(0, len(text)), min_size=2, max_size=6, unique=True).filter(
                    lambda c: len(c) % 2 == 0
                )
            )
        )
        if len(text) > 1
        else [0, 0]
    )
    return text, [(a, b, draw(TEXTS)) for a, b in zip(cuts[::2], cuts[1::2], strict=True)]


@given(case=edited(), encoding=st.sampled_from(Encoding), versioned=st.booleans(), annotated=st.booleans())
def test_a_client_that_applies_the_edit_gets_our_text(
    case: tuple[str, list[tuple[int, int, str]]], encoding: Encoding, versioned: bool, annotated: bool
) -> None:
    text, edits = case
    base = document(text)

    def offset(index: int) -> int:
        return len(text[:index].encode())

    change = Change(
        "a.py", base.digest, tuple(TextEdit(Span(offset(a), offset(b)), new) for a, b, new in edits)
    )
    client = Client(encoding=encoding, document_changes=versioned, change_annotations=versioned and annotated)
    made = workspace_edit(EditPlan("Work", (change,)), {"a.py": base}, {"a.py": "file:///a.py"}, client)
    plain = CONVERTER.unstructure(made)
    takes = {"documentChanges": True, "changeAnnotationSupport": {}} if versioned else {}
    rules.check_edit(plain, {"workspace": {"workspaceEdit": takes}})
    model = TextModel(text, encoding.value)
    if versioned:
        assert plain["documentChanges"][0]["textDocument"] == {"uri": "file:///a.py", "version": 3}
        model.apply(plain["documentChanges"][0]["edits"])
    else:
        model.apply(plain["changes"]["file:///a.py"])
    wanted = text
    for a, b, new in reversed(edits):
        wanted = wanted[:a] + new + wanted[b:]
    assert model.text == wanted


def test_files_that_are_not_open_have_no_version_and_several_files_ask_first() -> None:
    bases = {"a.py": document("a\n"), "b.py": document("b\n", "b.py", None)}
    changes = tuple(Change(p, d.digest, (TextEdit(Span(0, 1), "c"),)) for p, d in bases.items())
    uris = {path: f"file:///{path}" for path in bases}
    client = Client(document_changes=True, change_annotations=True)
    made = workspace_edit(EditPlan("Rename", changes), bases, uris, client)
    assert [c.text_document.version for c in made.document_changes] == [3, None]
    (annotation,) = made.change_annotations.values()
    assert (annotation.label, annotation.needs_confirmation) == ("Rename", True)


@pytest.mark.parametrize(
    ("data", "wanted"), [(b"a\r\nb\r\n", "x\r\ny"), (b"a\nb\r\n", "x\ny"), (b"", "x\ny")]
)
def test_text_gets_the_line_ends_of_most_lines(data: bytes, wanted: str) -> None:
    lines = Lines(data, Encoding.UTF16)
    assert text_for(lines, "x\ny") == text_for(lines, text_for(lines, "x\ny")) == wanted


def test_a_range_written_backwards_is_turned_round() -> None:
    lines = Lines(b"abc\ndef\n", Encoding.UTF16)
    backwards = types.Range(types.Position(1, 1), types.Position(0, 2))
    assert span_of(lines, backwards) == Span(2, 5)


@given(
    parts=st.lists(
        st.text(min_size=1).filter(lambda p: not set(p) & set("/\0") and p not in (".", "..")), min_size=1
    )
)
def test_a_path_survives_its_uri(parts: list[str]) -> None:
    path = Path("/", *[part.encode("utf-8", "replace").decode() for part in parts])
    assert path_of(uri_of(path)) == path


NO_FILES = [
    "untitled:Untitled-1",
    "git:/a.py",
    "file://host/share/a.py",
    "file:relative",
    "http://x/y",
    "",
    "file:///%00",
    "//[",
]


@pytest.mark.parametrize("uri", NO_FILES)
def test_a_uri_that_names_no_file_here_is_none(uri: str) -> None:
    assert path_of(uri) is None
    assert isinstance(name_of(uri), str)


def test_windows_drives_are_paths() -> None:
    assert str(path_of("file:///c%3A/x/a.py")) == "c:/x/a.py"
    assert uri_of(Path("c:/x/a.py")) == "file:///c:/x/a.py"


def client_from(name: str, options: object = None) -> Client:
    stored = json.loads((CLIENTS / f"{name}.json").read_text())
    params = {**stored, "processId": None, "rootUri": None, "initializationOptions": options}
    return client_of(CONVERTER.structure(params, types.InitializeParams))


def test_what_each_editor_can_do_is_read_from_its_capabilities() -> None:
    seen = {name: client_from(name) for name in NAMES}

    def those(what: str) -> set[str]:
        return {name for name, client in seen.items() if getattr(client, what)}

    assert those("inline_completion") == {"vscode", "neovim"}
    assert those("document_changes") == {"vscode", "helix", "emacs"}
    assert those("change_annotations") == {"vscode"}
    assert those("llm_tag") == {"vscode"}
    assert those("quick_commands") == {"helix"}
    assert those("prompts") == {"vscode", "neovim", "neovim-0.11"}
    assert those("register_files") == {"vscode", "helix", "emacs"}
    assert those("progress") == those("apply_edit") == those("configuration") == set(NAMES)
    assert {name: seen[name].encoding for name in NAMES} == {
        "emacs": Encoding.UTF32,
        "helix": Encoding.UTF8,
        "neovim": Encoding.UTF8,
        "neovim-0.11": Encoding.UTF8,
        "vscode": Encoding.UTF16,
    }


def test_a_client_that_says_nothing_gets_the_least() -> None:
    params = types.InitializeParams(capabilities=types.ClientCapabilities())
    assert client_of(params) == Client()


@pytest.mark.parametrize("options", [None, 7, "x", [], {}])
def test_odd_options_are_no_options(options: object) -> None:
    assert client_from("vscode", options) == client_from("vscode")


def test_options_hold_settings_bare_or_under_the_sections_name() -> None:
    for options in (
        {"completion": {"popup": "never"}, "results": True},
        {"glm-lsp": {"completion": {"popup": "never"}}},
    ):
        params = types.InitializeParams(types.ClientCapabilities(), initialization_options=options)
        assert settings_of(options_of(params)) == {"completion": {"popup": "never"}}
