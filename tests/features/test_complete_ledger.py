"""The ledger through the session: over any edits and requests the trunk only grows and tells the truth."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.generation import Prompt, Role, Segment
from glm_lsp.core.pack import prompt_tokens
from glm_lsp.core.values import Budget
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import suggest
from glm_lsp.features.session import Session, Trunk
from tests.features.stage import PROFILE, Files, Words, snapshot

REPOSITORY = {
    "a.py": """from b import two, Three


def one(x):
    return two(x)


def more(x):
    return Three(x)
""",
    "b.py": """def two(x):
    y = x
    return y


class Three:
    def four(self):
        return two(self)
""",
    "c.py": "import a\n\nvalue = a.one(1)\n",
    "d.txt": "words\nand more words\n",
}
PATHS = sorted(REPOSITORY)
ADDED = (
    "x = two(1)\n",
    "    pass\n",
    "\n",
    "def new(x):\n    return one(x)\n",
    "# note",
    "é🙂\r\n",
    "one",
    "",
)
STEPS = st.tuples(
    st.sampled_from(("type", "edit", "ask", "act")),
    st.sampled_from(PATHS),
    st.integers(0, 30),
    st.integers(0, 4),
    st.sampled_from(ADDED),
)
_SOURCE = re.compile(r"== (.+):(\d+)-(\d+)\n")
_OUTDATED = re.compile(r"== (.+) is outdated\n")
_EDIT = re.compile(r"== (.+) line (\d+) -(\d+) \+(\d+)\n")


def replay(segments: tuple[Segment, ...]) -> dict[str, list[str | None]]:
    """What the prompt alone says about each file: its lines, None where it does not say."""
    files: dict[str, list[str | None]] = {}
    for segment in segments:
        lines = segment.text.split("\n")[1:-1]
        if found := _OUTDATED.match(segment.text):
            files.pop(found[1], None)
        elif found := _EDIT.match(segment.text):
            path, start, removed = found[1], int(found[2]) - 1, int(found[3])
            assert len(lines) == int(found[4])
            file = files.setdefault(path, [])
            file += [None] * (start + removed - len(file))
            file[start : start + removed] = lines
        elif found := _SOURCE.match(segment.text):
            path, start, end = found[1], int(found[2]) - 1, int(found[3])
            assert len(lines) == end - start
            file = files.setdefault(path, [])
            file += [None] * (end - len(file))
            file[start:end] = lines
    return files


def check_told(segments: tuple[Segment, ...], files: dict[str, str], window: tuple[str, int] | None) -> None:
    """What the trunk says is what the files say, except from the window's first line on."""
    for path, told in replay(segments).items():
        lines = files[path].replace("\r\n", "\n").split("\n")
        most = window[1] if window and window[0] == path else len(told)
        for number, line in enumerate(told[:most]):
            assert line is None or line == lines[number], (path, number)


def check_grown(old: Trunk | None, new: Trunk) -> None:
    """Within an epoch what was said stays, byte for byte."""
    if old is not None and old.epoch == new.epoch:
        assert new.segments[: len(old.segments)] == old.segments


def trunk_of(prompt: Prompt) -> tuple[Segment, ...]:
    shown = tuple(s for s in prompt.segments if s.role is not Role.ASSISTANT)
    return shown[:-1] if prompt.segments[-1].role is Role.ASSISTANT else shown


class Recorded(Session):
    """Remembers the trunks that it gave."""

    trunks: list[Trunk]

    async def _advance(self, visit):  # type: ignore[no-untyped-def]
        trunk = await super()._advance(visit)
        self.trunks.append(trunk)
        return trunk


@settings(deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=14), st.sampled_from((400, 700, 2000)))
async def test_the_trunk_grows_and_tells_the_truth(
    steps: list[tuple[str, str, int, int, str]], budget: int
) -> None:
    files: dict[str, str] = dict(REPOSITORY)
    disk = Files(dict(files))
    kept = Recorded(disk, ScriptedEngine("x = 1"), Words(), replace(PROFILE, prompt_tokens=budget))
    kept.trunks = []
    opened: set[str] = set()
    for kind, path, line, count, text in steps:
        starts = [0, *(m.end() for m in re.finditer("\n", files[path]))]
        start = starts[min(line, len(starts) - 1)]
        if kind in ("type", "edit"):
            end = starts[min(line + count, len(starts) - 1)] if kind == "edit" else start
            files[path] = files[path][:start] + text + files[path][max(start, end) :]
            opened.add(path)
            start += len(text)
        disk.files = dict(files)
        shown = snapshot(files, opened=tuple(opened))
        offset = len(files[path][:start].encode())
        before = kept.trunks[-1] if kept.trunks else None
        if kind == "act":
            trunk = await kept.gather(shown, path, offset, Budget(32_768, 100))
            check_told(trunk.segments, files, None)
            assert trunk.tokens <= budget
        elif kind in ("type", "ask"):
            prompt = (await suggest(kept, shown, path, offset)).prompt
            trunk = kept.trunks[-1]
            check_told(trunk.segments, files, (path, trunk.window_start))
            assert trunk_of(prompt) == trunk.segments
            assert prompt.tokens == prompt_tokens(prompt, Words().count) <= budget
        else:
            continue
        check_grown(before, kept.trunks[-1])


async def test_who_comes_back_to_a_place_finds_the_trunk_that_was_left() -> None:
    files: dict[str, str | None] = {}
    for name in ("one", "two", "three"):
        files[f"{name}.py"] = "".join(f"def {name}_{n}(x):\n    return x + {n}\n\n\n" for n in range(30))
        uses = "".join(f"    {name}_{n}(x)\n" for n in range(30))
        files[f"use_{name}.py"] = f"from {name} import *\n\n\ndef use(x):\n{uses}"
    kept = Session(Files(files), ScriptedEngine("x = 1"), Words(), replace(PROFILE, prompt_tokens=700))
    trunks: list[tuple[Segment, ...]] = []
    for path in ("use_one.py", "use_three.py", "use_one.py", "use_three.py"):
        done = await suggest(kept, snapshot(files), path, len(files[path] or ""))
        trunks.append(done.prompt.segments[: done.prompt.trunk_segments])
        files["one.py"] = (files["one.py"] or "").replace("x + 29\n", "x + 290\n")
    assert trunks[0] != trunks[1] == trunks[3] and trunks[2][: len(trunks[0])] == trunks[0]
    assert any("x + 290\n" in segment.text for segment in trunks[2][len(trunks[0]) :])
