"""Whatever stands in a file of events: a prompt that can be rebuilt, or a sentence that names the line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glm_lsp.cli.player import Player, playing
from glm_lsp.cli.replay import events as read_events
from glm_lsp.core.errors import PolicyError, UsageError
from glm_lsp.core.settings import DEFAULTS
from glm_lsp.core.template import render
from glm_lsp.features.complete import mode
from glm_lsp.features.replay import Event
from glm_lsp.features.session import Session
from tests.bench.replay_checker import Checker

Texts = Callable[[str], Sequence[str]]

FILES = {
    "a.py": b"from pkg.b import price\n\n\ndef pay(name):\n    return price(name)\n",
    "pkg/b.py": "def price(näme):\n    return '€🎉' + näme\n".encode(),
    "bom.py": b"\xef\xbb\xbfx = 1\r\ny = 2\r\n",
    "latin.py": b"# caf\xe9\n",
    "binary.py": b"a\0b",
    ".env": b"TOKEN=zzz\n",
    "empty.py": b"",
}
PATHS = st.sampled_from(
    (
        *(*FILES, "new.py", "pkg/new.py", "a.py/below.py", "pkg", "up/x.py", "out.py", "./a.py", "x" * 300),
        *("../x.py", "/etc/passwd", "", ".", "loop", "gone/deep.py", "a\nb.py", "pkg/b.py/", ".git/x"),
    )
)
NUMBERS = st.integers(-2, 60) | st.sampled_from([10**9, -(10**30), 2**64])
TEXTS = st.text("ab(é🎉\n\r\0\t ", max_size=12) | st.sampled_from(["\ufeff", "x = 1\n" * 400, "y" * 5000])
TIMES = st.floats(-1e6, 1e6) | st.sampled_from([0, 1e308, -1e308, 3])
EVENTS = st.fixed_dictionaries(
    {"op": st.sampled_from(["open", "edit", "edit", "save", "close", "request", "request"]), "path": PATHS},
    optional={"start": NUMBERS, "end": NUMBERS, "text": TEXTS, "offset": NUMBERS, "t": TIMES},
)
JUNK = st.binary(max_size=30) | st.sampled_from(
    [b"", b"null", b"[]", b'{"op": "request"}', b"\xef\xbb\xbf{}"]
)
LINES = st.lists(st.one_of(EVENTS, EVENTS, EVENTS, EVENTS, JUNK), max_size=12)


@dataclass
class Stage:
    """A directory that is indexed once; each session of events begins anew."""

    loop: asyncio.AbstractEventLoop
    player: Player
    root: Path
    budget: int
    at: int = 0
    """The line of the request that was answered last."""

    def play(self, lines: list[bytes], texts: Texts | None = None) -> tuple[list[list[bytes]], str]:
        """The prompts that the dump gives back, and what ended the session.

        With `texts`, the files as the events have left them, each prompt must tell what it shows of them.
        """
        return self.loop.run_until_complete(self._play(lines, texts))

    async def _play(self, lines: list[bytes], texts: Texts | None) -> tuple[list[list[bytes]], str]:
        before = self.player.session
        session = Session(before.sources, before.engine, before.tokenizer, before.profile)
        player = Player(self.player.repository, session)
        checker = Checker(texts) if texts else None
        prompts: list[list[bytes]] = []
        rebuilt: list[bytes] = []
        named: set[str] = set()
        try:
            async for answer in player.play(_noted(iter_events(lines), named)):
                self.at = answer.event.number
                step = json.loads(answer.dump())
                rebuilt = [*rebuilt[: step["keep"]], *(t.encode("latin-1") for t in step["append"])]
                if answer.prompt is not None:
                    assert len(rebuilt) == answer.reading.tokens <= self.budget
                    pieces = render(answer.prompt, mode(player.repository.snapshot()), "glm-5.2")
                    assert b"".join(rebuilt).decode() == "".join(p.text for p in pieces)
                    prompts.append(rebuilt)
                    assert checker is None or not checker.check(answer.prompt).wrong
                else:
                    assert answer.refused.endswith(".")
                    assert step["append"] == []
        except (UsageError, PolicyError) as error:
            return prompts, str(error)
        finally:
            for path in named:
                player.repository.forget(path)
        return prompts, ""


def iter_events(lines: list[bytes]) -> Iterator[Event]:
    from io import BytesIO  # noqa: PLC0415

    return read_events(BytesIO(b"\n".join(lines)))


def _noted(found: Iterator[Event], named: set[str]) -> Iterator[Event]:
    for event in found:
        named.add(event.path.removeprefix("./"))
        yield event


@pytest.fixture(scope="module", params=[2048, 9000], ids=["definitions", "files"])
def stage(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Generator[Stage]:
    top = tmp_path_factory.mktemp("fuzz")
    root = top / "repo"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (top / "secret.py").write_text("OUTSIDE = 1\n")
    (root / "up").symlink_to("..")
    (root / "out.py").symlink_to("../secret.py")
    (root / "loop").symlink_to("loop")
    loop = asyncio.new_event_loop()
    stack = AsyncExitStack()
    player = loop.run_until_complete(stack.enter_async_context(playing(root, DEFAULTS, request.param)))
    yield Stage(loop, player, top, request.param)
    loop.run_until_complete(stack.aclose())
    loop.close()


def tree(top: Path) -> dict[str, Any]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in top.rglob("*")}


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES)
def test_whatever_the_events_are_prompts_can_be_rebuilt_or_a_sentence_names_the_line(
    stage: Stage, given_lines: list[Any]
) -> None:
    before = tree(stage.root)
    lines = [e if isinstance(e, bytes) else json.dumps(e).encode() for e in given_lines]
    prompts, ended = stage.play(lines)
    assert tree(stage.root) == before
    said = b"".join(token for prompt in prompts for token in prompt)
    assert b"OUTSIDE" not in said and b"zzz" not in said and b"root:" not in said
    if ended:
        assert ended.startswith("Line ") and ended.endswith("."), ended
        assert "\n" not in ended, ended


OPS = st.sampled_from(["edit", "edit", "edit", "request", "request", "open", "save", "close", "undo"])
STEP = st.tuples(
    OPS,
    st.sampled_from(["a.py", "pkg/b.py", "bom.py", "new.py", "empty.py"]),
    st.floats(0, 1),
    st.floats(0, 0.3),
    st.text("ab(é🎉\n:. ", max_size=9) | st.sampled_from(["def f(x):\n    return price(x)\n", "\n" * 9]),
    st.sampled_from([0.1, 0.5, 5.0, -3.0]),
)


class Account:
    """What the files are after each event, kept by hand."""

    def __init__(self) -> None:
        self.now = {path: data.decode("utf-8", "replace") for path, data in FILES.items()}
        self.saved, self.opened = dict(self.now), set[str]()
        self.done: list[tuple[str, str]] = []
        self.lines: list[bytes] = []
        self.states: dict[int, dict[str, str]] = {}
        self.t = 0.0

    def take(self, op: str, path: str, at: float, size: float, text: str, wait: float) -> None:
        self.t += wait
        if op == "open" or path not in self.opened:
            self._open(path)
        if op == "undo" and self.done:
            path, before = self.done.pop()
            self._replace(path, 0, len(self.now[path]), before)
        elif op == "edit":
            self.done.append((path, self.now[path]))
            start = int(at * len(self.now[path]))
            self._replace(path, start, start + int(size * (len(self.now[path]) - start)), text)
        elif op == "request":
            self._tell(op, path, offset=len(self.now[path][: int(at * len(self.now[path]))].encode()))
        elif op == "save":
            self.saved[path] = self.now[path]
            self._tell(op, path)
        elif op == "close":
            self.opened.discard(path)
            self._tell(op, path)
            self.now[path] = self.saved.get(path, "")

    def _open(self, path: str) -> None:
        more = {} if path in self.saved else {"text": ""}
        self.now[path] = self.saved.get(path, "")
        self.done = [(p, t) for p, t in self.done if p != path]
        self.opened.add(path)
        self._tell("open", path, **more)

    def _replace(self, path: str, start: int, end: int, text: str) -> None:
        if path not in self.opened:
            self._open(path)
        old = self.now[path]
        self.now[path] = old[:start] + text + old[end:]
        first, last = (len(old[:n].encode()) for n in (start, end))
        self._tell("edit", path, start=first, end=last, text=text)

    def _tell(self, op: str, path: str, **more: object) -> None:
        self.lines.append(json.dumps({"op": op, "path": path, "t": self.t, **more}).encode())
        self.states[len(self.lines)] = dict(self.now)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEP, min_size=5, max_size=60))
def test_whatever_is_edited_each_prompt_tells_the_files_as_they_are(stage: Stage, steps: list[Any]) -> None:
    account = Account()
    for step in steps:
        account.take(*step)

    def text(path: str) -> list[str]:
        shown = account.states[stage.at].get(path, "").removeprefix("\ufeff")
        return shown.replace("\r\n", "\n").split("\n")

    _, ended = stage.play(account.lines, text)
    assert ended == ""
