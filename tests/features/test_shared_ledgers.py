"""Two clients of one engine: the second goes on from what the first has told, and tells only the truth."""

from __future__ import annotations

import asyncio
import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.ledger import LOG_SHARE
from glm_lsp.core.settings import Settings
from glm_lsp.disk.ledgers import MOST_AGE_S, Offered, SharedLedgers
from glm_lsp.disk.store import Store
from glm_lsp.engines.scripted import ScriptedEngine
from glm_lsp.features.complete import Completion, suggest
from glm_lsp.features.session import Session
from glm_lsp.features.shared import rules
from glm_lsp.features.visit import Visit
from tests.bench.replay_checker import Checker
from tests.features.stage import PROFILE, Files, Words, snapshot
from tests.features.test_complete_ledger import ADDED, PATHS, REPOSITORY, check_told

FACTS: Mapping[str, object] = {"root": "/nowhere"}


class Window:
    """A client of its own on shared files, with one engine for all; `ask` completes at the end of a file."""

    def __init__(
        self,
        directory: Path,
        files: dict[str, str | None],
        engine: ScriptedEngine,
        budget: int = 2000,
        facts: Mapping[str, object] = FACTS,
        now: float = 1000.0,
        **named: bool,
    ) -> None:
        self.files = files
        self.ledgers = SharedLedgers(directory, now=lambda: now, **named)
        profile = replace(PROFILE, prompt_tokens=budget)
        shared = Offered(self.ledgers, facts)
        self.session = Session(Files(files), engine, Words(), profile, shared)

    async def ask(self, path: str, line: int = -1, *, opened: Mapping[str, str] | None = None) -> Completion:
        files = {**self.files, **(opened or {})}
        text = (files[path] or "").split("\n")
        offset = len("\n".join(text[: line + 1] if line >= 0 else text).encode())
        return await suggest(self.session, snapshot(files, opened=tuple(opened or ())), path, offset)


def trunk(done: Completion) -> tuple[str, ...]:
    return tuple(s.text for s in done.prompt.segments[: done.prompt.trunk_segments])


def room(window: Window) -> int:
    (ledger,) = window.session._ledgers.values()  # type: ignore[attr-defined]
    return ledger.log_room


def evaluated(done: Completion) -> int:
    assert done.usage is not None and done.usage.evaluated_tokens is not None
    return done.usage.evaluated_tokens


async def pair(
    tmp_path: Path, between: Mapping[str, str | None], path: str = "a.py", **second: object
) -> tuple[Completion, Completion]:
    """The first window's last prompt at a.py, and the second one's first at `path`, with files changed."""
    files: dict[str, str | None] = dict(REPOSITORY)
    engine = ScriptedEngine("x = 1")
    one = Window(tmp_path / "ledgers", files, engine)
    first = await one.ask("a.py")
    await one.ledgers.close()
    files.update(between)
    for gone in [p for p, text in between.items() if text == ""]:
        del files[gone]
    two = Window(tmp_path / "ledgers", files, engine, **second)  # type: ignore[arg-type]
    done = await two.ask(path)
    await two.ledgers.close()
    return first, done


async def test_at_the_same_place_nothing_is_evaluated_again(tmp_path: Path) -> None:
    first, second = await pair(tmp_path, {})
    assert second.prompt.segments == first.prompt.segments and evaluated(second) == 1 < evaluated(first)


def wide(name: str) -> str:
    """A definition whose signature takes much of a small log."""
    return f"def {name}({', '.join(f'value_{n} = {n}' for n in range(30))}):\n    return 1\n"


async def test_an_epoch_that_others_have_left_is_found_again_where_its_head_serves(tmp_path: Path) -> None:
    names = {"left.py": [f"tool_{n}" for n in range(3)], "right.py": [f"gear_{n}" for n in range(3)]}
    files: dict[str, str | None] = {f"m_{n}.py": wide(n) for used in names.values() for n in used}
    for path, used in names.items():
        calls = "".join(f"    {name}(x, x)\n" for name in used)
        files[path] = (
            "".join(f"from m_{n} import {n}\n" for n in used)
            + f"\n\ndef once(x):\n{calls}\n\ndef twice(x):\n{calls}"
        )
    engine = ScriptedEngine("x = 1")
    done = []
    for path, line in (("left.py", 10), ("right.py", 10), ("left.py", -1)):
        window = Window(tmp_path / "ledgers", files, engine)
        done.append(await window.ask(path, line))
        await window.ledgers.close()
    first, second, third = map(trunk, done)
    assert second[: len(first)] != first, "one head does not serve both places"
    assert third[: len(first)] == first


MANY = 22


async def test_what_a_head_had_no_room_for_is_not_told_by_the_next_window_at_the_same_place(
    tmp_path: Path,
) -> None:
    names = [f"tool_{n}" for n in range(MANY)]
    files: dict[str, str | None] = {
        f"m{n}.py": f"def {name}({', '.join(f'value_{n} = {n}' for n in range(9))}):\n    return 1\n"
        for n, name in enumerate(names)
    }
    used = "".join(f"from m{n} import {name}\n" for n, name in enumerate(names))
    files["use.py"] = used + "\n\ndef all_of_them(x):\n" + "".join(f"    {name}(x, x)\n" for name in names)
    files["other.py"] = used + f"\n\ndef some(x):\n    {names[-1]}(x, x)\n    {names[-2]}(x, x)\n"
    engine = ScriptedEngine("x = 1")
    done = []
    for path in ("use.py", "use.py", "other.py"):
        window = Window(tmp_path / "ledgers", files, engine)
        done.append(await window.ask(path))
        await window.ledgers.close()
    first, second, third = done
    told = trunk(first)
    assert not all(any(f"def {name}(" in text for text in told) for name in names)
    assert second.prompt.segments == first.prompt.segments and evaluated(second) == 1
    # Elsewhere what is needed most is told besides, after all that was there.
    assert trunk(third)[: len(told)] == told
    assert all(any(f"def {name}(" in text for text in trunk(third)) for name in names[-2:])


async def test_windows_that_are_opened_at_once_share_an_epoch(tmp_path: Path) -> None:
    files: dict[str, str | None] = dict(REPOSITORY)
    engine = ScriptedEngine("x = 1")
    windows = [Window(tmp_path / "ledgers", files, engine) for _ in range(3)]
    done = await asyncio.gather(*(window.ask("a.py") for window in windows))
    for window in windows:
        await window.ledgers.close()
    assert len({each.prompt.segments for each in done}) == 1


async def test_who_is_cancelled_while_it_waits_for_its_turn_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, go = threading.Event(), threading.Event()
    real = SharedLedgers._locked  # type: ignore[attr-defined]

    def slow(ledgers: SharedLedgers, key: str) -> int:
        handle = real(ledgers, key)
        going.set()
        go.wait()
        return handle

    one = Window(tmp_path / "ledgers", dict(REPOSITORY), ScriptedEngine("x = 1"))
    monkeypatch.setattr(SharedLedgers, "_locked", slow)
    asking = asyncio.create_task(one.ask("a.py"))
    await asyncio.to_thread(going.wait)
    asking.cancel()
    await asyncio.wait({asking})
    go.set()
    await one.ledgers.close()
    monkeypatch.setattr(SharedLedgers, "_locked", real)
    other = SharedLedgers(tmp_path / "ledgers")
    key = Offered(one.ledgers, FACTS)._key(2000)  # type: ignore[attr-defined]
    handle = await other._run(lambda: other._locked(key))  # type: ignore[attr-defined]
    assert asking.cancelled() and handle >= 0
    os.close(handle)
    await other.close()


def own_sources() -> dict[str, str | None]:
    """Some real code."""
    root = Path(__file__).parents[2] / "glm_lsp"
    return {
        found.relative_to(root).as_posix(): found.read_text()
        for folder in ("core", "features", "disk")
        for found in sorted((root / folder).glob("*.py"))
    }


@pytest.mark.parametrize("budget", [500, 700, 1200, 2000, 9000])
@pytest.mark.parametrize("path", ["features/visit.py", "core/ledger.py", "disk/ledgers.py"])
async def test_wherever_somebody_asks_again_nothing_is_evaluated_again(
    tmp_path: Path, path: str, budget: int
) -> None:
    files = own_sources()
    engine = ScriptedEngine("x = 1")
    for line in (40, 70, 100):
        directory = tmp_path / f"{line}"
        done = []
        for _ in range(2):
            window = Window(directory, files, engine, budget)
            done.append(await window.ask(path, line))
            await window.ledgers.close()
        assert done[1].prompt.segments == done[0].prompt.segments


async def test_a_head_for_the_whole_repository_serves_whoever_comes_elsewhere(tmp_path: Path) -> None:
    files = own_sources()
    engine = ScriptedEngine("x = 1")
    told: tuple[str, ...] = ()
    for path in (
        "features/visit.py",
        "core/ledger.py",
        "disk/ledgers.py",
        "core/shown.py",
        "features/warm.py",
    ):
        window = Window(tmp_path / "ledgers", files, engine, 9000)
        now = trunk(await window.ask(path, 40))
        await window.ledgers.close()
        assert now[: len(told)] == told
        told = now


async def test_in_another_file_what_was_told_stands_and_the_rest_is_evaluated(tmp_path: Path) -> None:
    first, second = await pair(tmp_path, {}, "c.py")
    assert trunk(second)[: len(trunk(first))] == trunk(first)
    told = sum(len(re.findall(r"\w+|\s+|[^\w\s]", text)) for text in trunk(first))
    assert second.usage and (second.usage.cached_tokens or 0) >= told


async def test_an_edit_between_is_told_by_the_log(tmp_path: Path) -> None:
    first, second = await pair(tmp_path, {"b.py": REPOSITORY["b.py"].replace("y = x", "y = x + 1")}, "c.py")
    assert trunk(second)[: len(trunk(first))] == trunk(first)
    assert "== b.py line 2 -1 +1\n    y = x + 1\n" in trunk(second)


REFUSED: dict[str, tuple[dict[str, str | None], dict[str, object]]] = {
    "a shown file became a secret": ({"b.py": None}, {}),
    "a shown definition is gone": ({"b.py": "z = 1\n"}, {}),
    "another repository": ({}, {"facts": {"root": "/elsewhere"}}),
    "another budget": ({}, {"budget": 1500}),
    "too old": ({}, {"now": 1001.0 + MOST_AGE_S}),
    "from the future": ({}, {"now": 1.0}),
}


@pytest.mark.parametrize(("between", "second"), REFUSED.values(), ids=REFUSED.keys())
async def test_what_is_not_taken_over(
    tmp_path: Path, between: dict[str, str | None], second: dict[str, object]
) -> None:
    first, other = await pair(tmp_path, between, "c.py", **second)
    assert trunk(other)[: len(trunk(first))] != trunk(first)
    if None in between.values():
        assert not any("== b.py" in text or "def two" in text for text in trunk(other))


@pytest.mark.parametrize("gone", [True, False])
async def test_a_file_of_which_only_signatures_are_shown_is_asked_for_too(tmp_path: Path, gone: bool) -> None:
    many = "".join(f"def f{n}(x):\n    return x\n\n\n" for n in range(9))
    files: dict[str, str | None] = {"use.py": "import tool\n\nx = 1\n", "tool.py": many}
    engine = ScriptedEngine("x = 1")
    one = Window(tmp_path / "ledgers", files, engine)
    first = await one.ask("use.py")
    await one.ledgers.close()
    assert any("def f1(x):" in text for text in trunk(first))
    assert not any(text.startswith("== tool.py:") for text in trunk(first))
    two = Window(tmp_path / "ledgers", files, engine)
    now = {"use.py": files["use.py"]} | ({} if gone else {"tool.py": None})
    two.session.sources = Files(now)  # the index has not heard of it yet
    told = await two.session._shared.latest(2000)  # type: ignore[union-attr]
    document = await two.session.document(snapshot(files), "use.py")
    visit = Visit(two.session, snapshot(files), document, 0, budget=2000)
    assert told and [await visit.take_over(each, 1) for each in told] == [None] * len(told)
    await two.ledgers.close()


def test_other_rules_are_other_facts() -> None:
    def facts(**settings: object) -> dict[str, object]:
        named = {name.replace("__", "."): value for name, value in settings.items()}
        return rules(Settings(named), PROFILE)

    assert facts(completion__max_tokens=9) == facts()
    for other in ({"index__exclude": ("b.py",)}, {"index__max_file_bytes": 9}, {"model__path": "m.gguf"}):
        assert facts(**other) != facts()
    assert rules(Settings(), replace(PROFILE, template="glm-4.7")) != facts()


async def test_text_that_another_window_never_saved_is_taken_back(tmp_path: Path) -> None:
    engine = ScriptedEngine("x = 1")
    one = Window(tmp_path / "ledgers", dict(REPOSITORY), engine)
    await one.ask("a.py")
    unsaved = {"b.py": REPOSITORY["b.py"].replace("y = x", "y = unsaved")}
    first = await one.ask("a.py", opened=unsaved)
    await one.ledgers.close()
    assert any("unsaved" in text for text in trunk(first))
    two = Window(tmp_path / "ledgers", dict(REPOSITORY), engine)
    second = await two.ask("c.py")
    await two.ledgers.close()
    assert trunk(second)[: len(trunk(first))] == trunk(first)
    check_told(second.prompt.segments[: second.prompt.trunk_segments], REPOSITORY, ("c.py", 0))


async def test_who_has_an_epoch_keeps_it(tmp_path: Path) -> None:
    files: dict[str, str | None] = dict(REPOSITORY)
    engine = ScriptedEngine("x = 1")
    one, two = (Window(tmp_path / name, files, engine) for name in ("one", "ledgers"))
    kept = await one.ask("c.py")
    other = await two.ask("a.py")
    assert trunk(kept) != trunk(other)
    await two.ledgers.close()
    one.session._shared = Offered(SharedLedgers(tmp_path / "ledgers"), FACTS)  # type: ignore[attr-defined]
    again = await one.ask("c.py")
    assert trunk(again) == trunk(kept)
    await one.ledgers.close()
    await one.session._shared._ledgers.close()  # type: ignore[attr-defined,union-attr]


async def test_who_only_reads_publishes_nothing(tmp_path: Path) -> None:
    window = Window(tmp_path / "ledgers", dict(REPOSITORY), ScriptedEngine("x = 1"), publishes=False)
    await window.ask("a.py")
    await window.ledgers.close()
    assert not any((tmp_path / "ledgers").rglob("*.val"))
    other = Window(tmp_path / "ledgers", dict(REPOSITORY), ScriptedEngine("x = 1"))
    assert await other.session._shared.latest(2000) == ()  # type: ignore[union-attr]
    await other.ledgers.close()


@pytest.mark.parametrize(
    "damage", [b"", b"\x94\x01", b"not msgpack", b"\x94\x01\xcb" + b"\x00" * 8 + b"\x00\x80"]
)
async def test_a_damaged_entry_is_not_there_and_is_removed(tmp_path: Path, damage: bytes) -> None:
    files: dict[str, str | None] = dict(REPOSITORY)
    one = Window(tmp_path / "ledgers", files, ScriptedEngine("x = 1"))
    await one.ask("a.py")
    await one.ledgers.close()
    assert stat.S_IMODE((tmp_path / "ledgers").stat().st_mode) == 0o700
    key = Offered(one.ledgers, FACTS)._key(2000)  # type: ignore[attr-defined]
    store = Store(tmp_path / "ledgers", 64 << 20)
    names = (f"{key}/latest", f"{key}/first")
    assert all(store.get(name) for name in names)
    store.set_many(dict.fromkeys(names, damage))
    assert await Offered(one.ledgers, FACTS).latest(2000) == ()
    await one.ledgers.close()
    assert [store.get(name) for name in names] == [None, None]
    store.close()


async def test_a_full_log_is_left_behind_and_its_head_goes_on(tmp_path: Path) -> None:
    files: dict[str, str | None] = dict(REPOSITORY)
    engine = ScriptedEngine("x = 1")
    one = Window(tmp_path / "ledgers", files, engine)
    first = await one.ask("a.py")
    for n in range(40):
        files["b.py"] = REPOSITORY["b.py"].replace("y = x", f"y = x + {n}")
        last = await one.ask("a.py")
        if room(one) < 0.3 * int(2000 * LOG_SHARE):
            break
    assert trunk(last)[: len(trunk(first))] == trunk(first)
    await one.ledgers.close()
    two = Window(tmp_path / "ledgers", files, engine)
    second = await two.ask("c.py")
    await two.ledgers.close()
    assert trunk(second)[: len(trunk(first))] == trunk(first)
    assert trunk(second)[: len(trunk(last))] != trunk(last)
    assert room(two) > room(one)


STEPS = st.tuples(
    st.sampled_from(("edit", "unsaved", "ask", "ask", "new")),
    st.integers(0, 2),
    st.sampled_from(PATHS),
    st.integers(0, 12),
    st.integers(0, 3),
    st.sampled_from(ADDED),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(STEPS, min_size=2, max_size=14), st.sampled_from((700, 2000, 9000)))
async def test_whoever_takes_over_tells_its_own_view(
    steps: list[tuple[str, int, str, int, int, str]], budget: int
) -> None:
    disk: dict[str, str | None] = dict(REPOSITORY)
    with TemporaryDirectory() as directory:
        engine = ScriptedEngine("x = 1")

        def window() -> Window:
            return Window(Path(directory) / "ledgers", disk, engine, budget)

        windows = [window() for _ in range(3)]
        unsaved: list[dict[str, str]] = [{}, {}, {}]
        for kind, who, path, line, count, text in steps:
            view = {p: unsaved[who].get(p) or t or "" for p, t in disk.items()}
            lines = view[path].split("\n")
            line = min(line, len(lines) - 1)
            changed = "\n".join([*lines[:line], *text.split("\n"), *lines[line + count :]])
            if kind == "edit":
                disk[path] = changed
            elif kind == "unsaved":
                unsaved[who][path] = changed
            elif kind == "new":
                await windows[who].ledgers.close()
                windows[who], unsaved[who] = window(), {}
            else:
                done = await windows[who].ask(path, line, opened=unsaved[who])
                checker = Checker(lambda name, view=view: view[name].replace("\r\n", "\n").split("\n"))
                assert checker.check(done.prompt).wrong == []
        for each in windows:
            await each.ledgers.close()
