"""Which language a path is in, and what is known about each: one row a language.

A language with a grammar has its query in `queries/` and a fixture in the tests; adding one is those two and
a row. Only Python is read by a walk of its own (`python`), which is faster. Grammars are loaded when asked
for.
"""

from __future__ import annotations

import hashlib
import importlib
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources

from tree_sitter import Language

OUTLINE_VERSION = 7
"""Raise it with every change to what `outline` yields: stored outlines are keyed by it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One language, by its LSP id."""

    id: str
    suffixes: str
    """With dots, separated by spaces."""
    names: str = ""
    """Whole file names, likewise."""
    package: str = ""
    """The module that holds the grammar; empty: there is none."""
    function: str = "language"
    queries: tuple[str, ...] = ()
    """Files of `queries/`, without suffix."""
    lexicon: str = ""
    """What strings, comments and names look like (`lexicon.LEXICONS`)."""
    blocks: frozenset[str] = frozenset()
    """Nodes that are blocks of statements or members."""
    depth: int = 14
    """Definitions that stand deeper in the tree are not looked for."""
    holders: frozenset[str] = frozenset()
    """Nodes whose children may be definitions; what is in others is looked at where `inner` finds something
    in it, if there are any holders."""
    bodies: frozenset[str] = frozenset()
    """Of the others, those that are definitions: what stands before their first brace counts for nothing."""
    inner: re.Pattern[bytes] | None = None
    """Looked for from the end of the line before a node on."""
    words: tuple[bytes, ...] = ()
    """One of them is in all that `inner` finds, if there are any: they are found in less time."""
    braces: bool = True
    """Blocks are in braces; in a language without, indentation makes them."""
    documents: str = "comment"
    """What documents a definition: the `comment` above it, or the `string` in it."""
    prose: bool = False
    """Text or data: its words are no identifiers."""


_SCRIPT = frozenset(
    {"statement_block", "class_body", "interface_body", "enum_body", "switch_body", "object_type"}
)
_TYPED = ("ecmascript", "typescript")
_C = frozenset({"compound_statement", "field_declaration_list", "declaration_list", "enumerator_list"})
_RUST_INNER = re.compile(
    rb"[\n{};\]][ \t]*+(?:pub(?:\([^)\n]*+\))?\s+)?(?:(?:const|async|unsafe|default|extern|\"C\")\s+){0,5}"
    rb"(?:fn|struct|enum|union|trait|mod|type|impl|macro_rules!)\s"
)

ROWS = (
    Row(
        "python", ".py .pyi .pyw", "SConstruct SConscript", "tree_sitter_python",
        blocks=frozenset({"block"}), braces=False, documents="string",
    ),
    Row(
        "javascript", ".js .mjs .cjs", "", "tree_sitter_javascript", queries=("ecmascript", "javascript"),
        lexicon="script", blocks=_SCRIPT,
    ),
    Row(
        "javascriptreact", ".jsx", "", "tree_sitter_javascript", queries=("ecmascript", "javascript"),
        lexicon="script", blocks=_SCRIPT,
    ),
    Row(
        "typescript", ".ts .mts .cts", "", "tree_sitter_typescript", "language_typescript", _TYPED,
        lexicon="script", blocks=_SCRIPT,
    ),
    Row(
        "typescriptreact", ".tsx", "", "tree_sitter_typescript", "language_tsx", _TYPED,
        lexicon="script", blocks=_SCRIPT,
    ),
    Row(
        "go", ".go", "", "tree_sitter_go", queries=("go",), lexicon="go",
        blocks=frozenset({"block", "field_declaration_list", "interface_type", "import_spec_list"}),
        holders=frozenset({"source_file"}),
        bodies=frozenset({"type_declaration"}),
        inner=re.compile(rb"[\n{;][ \t]*+type[ \t(]|interface\s?\{\s*\w"),
        words=(b"type", b"interface"),
    ),
    Row(
        "rust", ".rs", "", "tree_sitter_rust", queries=("rust",), lexicon="rust",
        blocks=frozenset(
            {"block", "declaration_list", "field_declaration_list", "enum_variant_list", "match_block"}
        ),
        holders=frozenset(
            {"source_file", "mod_item", "declaration_list", "impl_item", "trait_item", "foreign_mod_item"}
        ),
        bodies=frozenset({"function_item", "struct_item", "enum_item", "union_item", "macro_definition"}),
        inner=_RUST_INNER,
    ),
    Row(
        "java", ".java", "", "tree_sitter_java", queries=("java",), lexicon="java",
        blocks=frozenset(
            {"block", "class_body", "interface_body", "enum_body", "constructor_body", "switch_block"}
        ),
    ),
    Row("c", ".c .h", "", "tree_sitter_c", queries=("c", "prototypes"), lexicon="c", blocks=_C),
    Row(
        "cpp", ".cc .cpp .cxx .c++ .hpp .hh .hxx .h++ .ipp .inl .cu .cuh", "", "tree_sitter_cpp",
        queries=("c", "cpp"), lexicon="c", blocks=_C,
    ),
    Row("kotlin", ".kt .kts", lexicon="script"),
    Row("csharp", ".cs", lexicon="java"),
    Row("ruby", ".rb", lexicon="hash"),
    Row("php", ".php", lexicon="script"),
    Row("swift", ".swift", lexicon="java"),
    Row("scala", ".scala", lexicon="java"),
    Row("lua", ".lua"),
    Row("shellscript", ".sh .bash", lexicon="hash"),
    Row("sql", ".sql"),
    Row("makefile", "", "Makefile", lexicon="hash"),
    Row("dockerfile", "", "Dockerfile", lexicon="hash"),
    Row("go.mod", "", "go.mod", prose=True),
    Row("markdown", ".md", prose=True),
    Row("restructuredtext", ".rst", prose=True),
    Row("toml", ".toml", prose=True),
    Row("yaml", ".yaml .yml", prose=True),
    Row("json", ".json", prose=True),
    Row("jsonc", ".jsonc", "tsconfig.json jsconfig.json", prose=True),
    Row("html", ".html", prose=True),
    Row("css", ".css", prose=True),
    Row("xml", ".xml", prose=True),
    Row("plaintext", ".txt", prose=True),
)  # fmt: skip

_BY_ID = {row.id: row for row in ROWS}
_BY_SUFFIX = {suffix: row.id for row in ROWS for suffix in row.suffixes.split()}
_BY_NAME = {name: row.id for row in ROWS for name in row.names.split()}
_UNKNOWN = Row("", "")


_CPP_HEADER = re.compile(
    rb"^[ \t]*(?:namespace\b[^;\n]*\{|template\s*<|class\s+\w[^;\n]*[{:]|(?:public|private|protected)\s*:"
    rb"|using\s+(?:namespace\s+)?\w[\w:]*\s*[;=])",
    re.MULTILINE,
)
HEADER_BYTES = 1 << 16


def language_of(path: str, data: bytes = b"") -> str:
    """The LSP language id of a file by its name; empty where unknown. Headers of C++ are told by their text,
    `data`, where their name is that of C headers."""
    name = path.rpartition("/")[2]
    stem, dot, end = name.rpartition(".")
    found = _BY_NAME.get(name) or (_BY_SUFFIX.get(dot + end.lower(), "") if stem else "")
    if data and end == "h" and found == "c" and _CPP_HEADER.search(data, 0, HEADER_BYTES):
        return "cpp"
    return found


def row(language: str) -> Row:
    """What is known about a language; little about an unknown one."""
    return _BY_ID.get(language, _UNKNOWN)


def supported(language: str) -> bool:
    """Whether there is a grammar, so that outlines, errors and blocks mean something."""
    return bool(row(language).package)


@cache
def grammar(language: str) -> Language:
    """The grammar of a supported language."""
    known = row(language)
    if not known.package:
        raise ValueError(f"no grammar for {language or 'an unknown language'}")
    pointer: object = getattr(importlib.import_module(known.package), known.function)()
    return Language(pointer)


@cache
def query_text(language: str) -> str:
    """The query of a supported language: what its definitions, imports and exports are."""
    folder = resources.files("glm_lsp.core.syntax") / "queries"
    return "\n".join((folder / f"{name}.scm").read_text(encoding="utf-8") for name in row(language).queries)


@cache
def recipe(language: str) -> str:
    """What an outline depends on besides the file: versions of grammar and outline, and the query.

    Empty without a grammar.
    """
    if not supported(language):
        return ""
    known = grammar(language)
    version = ".".join(map(str, known.semantic_version or (known.abi_version,)))
    query = hashlib.blake2b(query_text(language).encode(), digest_size=4).hexdigest()
    return f"{language}-{version}-o{OUTLINE_VERSION}-{query}"
