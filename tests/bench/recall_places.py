"""A place to complete: a function's body held out, warm or cold, and how much of what it needs a pack shows.

Warm: the rest of the file stays, so that the names may appear elsewhere in it. Cold: every import that the
body uses is stripped, and every other use of the needed names. Bare: every import of the file is stripped.
Begun: half of the body is written, and the imports are not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from glm_lsp.core import layout, pack
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.rank import Place
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.values import Block, RepoIndex, Span, Symbol
from tests.bench.recall_peers import Shown
from tests.bench.recall_truth import Held, Need

NEAR_BEFORE, NEAR_AFTER = 60, 20
WARM, COLD, BARE, BEGUN = "warm", "cold", "bare", "begun"
_NAME = re.compile(r"[^\W\d]\w*")
_IMPORTS = {
    "python": re.compile(
        r"^[ \t]*(?:from[ \t]+\S+[ \t]+import[ \t]+(?:\([^)]*\)|[^\n]*)|import[ \t]+[^\n]*)\n?", re.MULTILINE
    ),
    "go": re.compile(r'^(?:import[ \t]+|[ \t]+)(?:[\w.]+[ \t]+)?"[^"\n]+"[ \t]*\n', re.MULTILINE),
    **dict.fromkeys(("c", "cpp"), re.compile(r"^[ \t]*#[ \t]*include[ \t]+[^\n]*\n?", re.MULTILINE)),
    "rust": re.compile(r"^[ \t]*(?:pub[ \t]+)?use[ \t]+[^;]+;[^\n]*\n?", re.MULTILINE),
    "java": re.compile(r"^import[ \t]+[^;]+;[^\n]*\n?", re.MULTILINE),
    "script": re.compile(
        r"^(?:import\b[^;'\"]*?(?:from\s*)?['\"][^'\"\n]+['\"][^\n]*"
        r"|(?:const|let|var)\s[^;=]*=\s*require\([^)]*\)[^\n]*)\n?",
        re.MULTILINE,
    ),
}


@dataclass(frozen=True)
class Case:
    """What an editor would show: the file without the body, and the cursor where it stood."""

    held: Held
    form: str
    data: bytes
    offset: int

    @property
    def place(self) -> Place:
        lines = pack.lines_of(self.data)
        line = self.data.count(b"\n", 0, self.offset)
        first = max(0, line - NEAR_BEFORE)
        near = "\n".join(lines[first : line + NEAR_AFTER])
        whole = (Span(0, len(self.data)),)
        return Place(self.held.path, self.offset, near, line - first, whole)

    def graph(self, graph: Graph) -> Graph:
        """The repository's graph as it is while the body is not there."""
        path = self.held.path
        new = outline(path, self.data, language_of(path, self.data))
        return graph.renewed(RepoIndex({**graph.index.outlines, path: new}, graph.index.revision + 1))


def case(held: Held, data: bytes, form: str) -> Case:
    """The body is gone, or its second half; what `form` says is stripped of the rest."""
    if form == BEGUN:
        half = data.find(b"\n", (held.start + held.end) // 2, held.end) + 1 or held.start
        parts = (data[:half], data[held.end :])
        before, after = (_without_imports(part.decode("utf-8", "replace"), held.path) for part in parts)
        return Case(held, form, f"{before}\n{after}".encode(), len(before.encode()))
    before = data[: held.start].decode("utf-8", "replace")
    body = data[held.start : held.end].decode("utf-8", "replace")
    after = data[held.end :].decode("utf-8", "replace")
    gap = "" if body.startswith("\n") is False else "\n" + re.match(r"\n?([ \t]*)", body)[1]  # type: ignore[index]
    if body.endswith("\n") or held.path.endswith(".go"):
        after = "\n" + after
    if form != WARM:
        used = frozenset(_NAME.findall(body))
        needed = frozenset(need.name for need in held.needs)
        before, after = (_stripped(text, held.path, used, needed, form) for text in (before, after))
    text = before + gap
    return Case(held, form, (text + after).encode(), len(text.encode()))


def _without_imports(text: str, path: str) -> str:
    return _IMPORTS.get(language_of(path), _IMPORTS["script"]).sub("", text)


def _stripped(text: str, path: str, used: frozenset[str], needed: frozenset[str], form: str) -> str:
    language = language_of(path)
    statement = _IMPORTS.get(language, _IMPORTS["script"])

    def strip(match: re.Match[str]) -> str:
        whole = match[0]
        if form == BARE:
            return ""
        bound = _bound(whole, language)
        gone = bound & (used | needed)
        if not gone:
            return whole
        if gone == bound or language == "go":
            return ""
        for name in gone:
            item = rf"(?:type\s+)?(?:[\w.$]+\s+as\s+|[\w$]+\s*:\s*)?\b{re.escape(name)}\b\s*,?"
            head, mark, names = whole.partition("import") if language == "python" else ("", "", whole)
            whole = head + mark + re.sub(item, "", names, count=1)
        return whole

    text = statement.sub(strip, text)
    return re.sub(rf"(?<!\w)(?:{'|'.join(map(re.escape, sorted(needed)))})\b", "_", text)


def _bound(statement: str, language: str) -> frozenset[str]:
    """The names that an import makes known in the file."""
    if language == "go":
        found = re.search(r'([\w.]+)?[ \t]*"(?:[^"]*/)?([^"/]+)"', statement)
        return frozenset(
            {(found[1] or found[2]) if found and found[1] != "import" else found[2]} if found else ()
        )
    if language == "python":
        names = re.sub(r"#[^\n]*", "", statement.partition("import")[2]).strip(" ()\n")
        parts = [part.split() for part in names.split(",") if part.strip()]
        return frozenset(part[-1].partition(".")[0].strip("()") for part in parts)
    head = re.split(r"from\s*['\"]|=\s*require", statement)[0]
    head = re.sub(r"\b(?:import|type|const|let|var)\b", " ", head)
    parts = [re.split(r"\s+as\s+|:", part)[-1].strip(" {}*\n\t\r") for part in head.split(",")]
    return frozenset(part for part in parts if part)


def recall(needs: Sequence[Need], shown: Shown, same: Mapping[tuple[str, int], frozenset[int]]) -> float:
    """The share of the needed definitions that a pack shows. `same`: see `overloads`."""
    found = 0
    for need in needs:
        lines = same.get((need.path, need.line), frozenset({need.line}))
        found += not lines.isdisjoint(shown.get(need.path, ()))
    return found / len(needs)


def overloads(graph: Graph, files: Mapping[str, bytes]) -> dict[tuple[str, int], frozenset[int]]:
    """For a definition that has several of its name (overloads, a property's getter and setter) the lines of
    all: who sees one knows it. The same for every method that is measured."""
    found: dict[tuple[str, int], frozenset[int]] = {}
    for path, data in files.items():
        for symbols in graph.symbols(path).values():
            if len(symbols) > 1:
                lines = frozenset(name_line(symbol, data) for symbol in symbols)
                found.update({(path, line): lines for line in lines})
    return found


def name_line(symbol: Symbol, data: bytes) -> int:
    """The line on which the name of a definition stands."""
    return symbol.start_line + data.count(b"\n", symbol.span.start, symbol.name_span.start)


def shown_by(blocks: Sequence[Block], graph: Graph, files: Mapping[str, bytes]) -> Shown:
    """The lines that blocks of a pack show: of an outline those on which the definitions' names stand."""
    shown: Shown = {}
    for block in blocks:
        lines = shown.setdefault(block.path, set())
        if block.text.startswith(layout.source_block(block.path, block.start_line, block.end_line, "")):
            lines.update(range(block.start_line, block.end_line + 1))
            continue
        for name in block.symbols:
            if symbol := graph.symbol(Target(block.path, name)):
                lines.add(name_line(symbol, files[block.path]))
    return shown


def index_of(files: Mapping[str, bytes]) -> RepoIndex:
    return RepoIndex({path: outline(path, data, language_of(path, data)) for path, data in files.items()})


def on_disk(root: Path, files: Mapping[str, bytes]) -> None:
    for path, data in files.items():
        at = root / path
        at.parent.mkdir(parents=True, exist_ok=True)
        if not at.exists() or at.read_bytes() != data:
            at.write_bytes(data)
