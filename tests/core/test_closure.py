"""A task's closure: what is named, and every line that speaks of it, marked in the sources themselves.

A line that ends with `!certain`, `!likely` or `!doubtful` (in a comment) is to be found so; no other line is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glm_lsp.core import closure
from glm_lsp.core.closure import Closure
from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.receivers import OTHER, before
from glm_lsp.core.site import Part
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, RepoIndex

MARK = re.compile(r"!(certain|likely|doubtful)\b")


def close(files: Mapping[str, str], task: str, *paths: str) -> Closure:
    texts = {path: text.encode() for path, text in files.items()}
    graph = Graph(RepoIndex({p: outline(p, t, language_of(p)) for p, t in texts.items()}, 1))
    named = closure.roots(graph, task, paths)
    words = {n.target.name.rpartition(".")[2].encode() for n in named.named}
    held = closure.candidates(graph, named) | {p for p, t in texts.items() if any(w in t for w in words)}
    documents = {p: Document(p, texts[p], digest(texts[p]), language_of(p), held=()) for p in held}
    return closure.close(graph, task, named, documents)


def check(files: Mapping[str, str], task: str, *names: str, paths: tuple[str, ...] = ()) -> Closure:
    """`task` names `names`, and the marked lines are what speaks of them."""
    found = close(files, task, *paths)
    named = {f"{d.target.path}:{d.target.name}" for d in found.definitions if d.part is Part.DEFINITION}
    assert named == set(names), found
    marked = {
        (path, number): mark[1]
        for path, text in files.items()
        for number, line in enumerate(text.split("\n"))
        if (mark := MARK.search(line))
    }
    told = {
        (s.path, s.line): "certain" if s.certain else "likely" if s.likely else "doubtful"
        for s in reversed(found.sites)
    }
    assert told == marked, [s for s in found.sites if marked.get((s.path, s.line)) is None]
    return found


CONFIG = {
    "pkg/__init__.py": (
        "from pkg.config import Config, parse as parse  # !certain\n"
        '__all__ = ["Config", "parse"]  # !certain\n'
    ),
    "pkg/config.py": """\
class Base:
    def load(self):  # !certain
        ...


class Config(Base):
    def load(self):  # !certain
        return parse(self.load)  # !certain

    def again(self):
        load = 1
        return load


class Other:
    def load(self):
        return self.load()


def parse(text):
    return text
""",
    "pkg/use.py": """\
from __future__ import annotations

import json

from pkg import Config
from pkg.config import Other


class Holder:
    def __init__(self, config: Config, other: Other):
        self.config = config
        self.other = other

    def run(self, unknown):
        self.config.load()  # !certain
        self.other.load()
        json.load(open("x"))
        unknown.load()  # !doubtful
        config = unknown
        config.load()  # !likely
        return Config().load()  # !certain


def make() -> Config:
    return Config()


def called():
    return make().load(), run(load=1)  # !certain
""",
    "tests/test_config.py": "def test_nothing():\n    assert True\n",
    "README.md": "Call `Config.load` first. !certain\nThe load is high.\nloading\n",
}
NO_PARSE = {p: t for p, t in CONFIG.items() if p != "pkg/__init__.py"} | {
    "pkg/__init__.py": "from pkg.config import Config, parse as parse\n__all__ = ['Config', 'parse']\n"
}


def test_uses_of_a_method_are_told_from_others_of_its_name() -> None:
    found = check(NO_PARSE, "rename Config.load to read and pass the encoding", "pkg/config.py:Config.load")
    parts = {d.target.name: (d.part, d.distance) for d in found.definitions}
    assert parts["Base.load"] == (Part.OVERRIDE, 1)
    assert parts["Config"] == (Part.TYPE, 1)
    assert found.tests == (("tests/test_config.py", "pkg/config.py"),)
    assert found.files()[0] == "pkg/config.py" and found.files()[-1] == "README.md"
    assert all(s.reason for s in found.sites)


def test_a_function_is_followed_through_what_passes_it_on() -> None:
    files = {
        "pkg/__init__.py": "from .core import send  # !certain\n",
        "pkg/core.py": "def send(x):  # !certain\n    return x\n",
        "app.py": (
            "from pkg import send as deliver  # !certain\nimport pkg\n\n\ndef go(send):\n    send(1)\n"
            "    deliver(2)  # !certain\n    pkg.send(3)  # !certain\n"
        ),
        "other.py": "from elsewhere import send\n\nsend(1)\n",
    }
    check(files, "make send() async", "pkg/core.py:send")


SCRIPT = {
    "src/client.ts": """\
export interface Sender {
  send(text: string): void; // !certain
}

export class Client implements Sender {
  send(text: string): void {} // !certain
}

export class Queue {
  send(text: string): void {}
}
""",
    "src/use.ts": """\
import { Client, Queue } from "./client";

export class App {
  constructor(private client: Client, private queue: Queue) {}

  run(anything: any) {
    this.client.send("a"); // !certain
    this.queue.send("b");
    const made = new Client();
    made.send("c"); // !certain
    "send"; // !doubtful
  }
}
""",
}


def test_types_of_fields_and_variables_tell_methods_apart_in_typescript() -> None:
    check(SCRIPT, "add a parameter priority to Client.send", "src/client.ts:Client.send")


GO = {
    "go.mod": "module example.org/m\n",
    "store/store.go": """\
package store

type Store struct{}

func (s *Store) Fetch(key string) string { // !certain
	return key
}

type Fetcher interface {
	Fetch(key string) string // !certain
}
""",
    "main.go": """\
package main

import "example.org/m/store"

func run(s *store.Store) {
	s.Fetch("a") // !certain
}
""",
}


def test_an_interface_and_what_has_its_methods_change_together_in_go() -> None:
    check(GO, "make Store.Fetch return an error", "store/store.go:Store.Fetch")


TWO = {
    "a.py": "def run():\n    pass\n",
    "b.py": "def run():\n    pass\n",
    "tests/test_a.py": "def run():\n    pass\n",
}


def test_several_definitions_of_a_name_are_reported_and_paths_decide() -> None:
    found = close(TWO, "make `run` async")
    (word,) = found.ambiguous
    assert word.word == "run" and word.taken
    assert word.targets == (Target("a.py", "run"), Target("b.py", "run"))
    assert close(TWO, "make `run` async", "b.py").files() == ("b.py",)
    assert close(TWO, "make `run` in a.py async").files() == ("a.py",)
    many = {f"m{i}.py": "def run():\n    pass\n" for i in range(9)}
    assert not close(many, "make `run` async").definitions
    assert not close(many, "make `run` async").ambiguous[0].taken


NAMES = {
    "m.py": "class TokenBucket:\n    def take(self):\n        pass\n\n\ndef read(x):\n    return x\n\n\n"
    "def load_all():\n    pass\n"
}


@pytest.mark.parametrize(
    ("task", "named"),
    [
        ("rename load_all to read", ["load_all"]),
        ("Rename TokenBucket to Bucket", ["TokenBucket"]),
        ("add a parameter read to load_all", ["load_all"]),
        ("let the token bucket refill faster", ["TokenBucket"]),
        ("TokenBucket.take should wait", ["TokenBucket.take"]),
        ("m.read must not fail", ["read"]),
        ("make `read` lazy", ["read"]),
        ("read() is slow", ["read"]),
        ("explain nothing at all", []),
        ("", []),
        ("rename `gone` to `here`", []),
    ],
)
def test_words_of_a_task_name_definitions(task: str, named: list[str]) -> None:
    found = close(NAMES, task)
    assert [d.target.name for d in found.definitions if d.part is Part.DEFINITION] == named


def test_what_is_written_like_a_name_and_is_none_is_told() -> None:
    assert close(NAMES, "rename `gone` to `here`").unknown == ("gone",)


@pytest.mark.parametrize(
    ("code", "receiver"),
    [
        ("x.send", "x"),
        ("a.b.send", "a.b"),
        ("a?.b!.send", "a.b"),
        ("p->send", "p"),
        ("A::send", "A"),
        ("make(1, (2)).send", "make()"),
        ("a[0].send", "…"),
        ('"".send', "…"),
        ("f().g.send", "…"),
        ("x\n    .send", "x"),
        ("if y:\n    x.send", "x"),
        ("def f() -> send", None),
        ("send", None),
        ("[...send", None),
    ],
)
def test_what_stands_before_a_name(code: str, receiver: str | None) -> None:
    assert before(code.encode(), len(code) - len("send")) == receiver


def test_the_same_input_gives_the_same_closure() -> None:
    backwards = dict(reversed(NO_PARSE.items()))
    assert close(NO_PARSE, "rename Config.load") == close(backwards, "rename Config.load")


@given(st.binary(max_size=200), st.text(max_size=80))
def test_any_bytes_and_any_task_give_a_closure(data: bytes, task: str) -> None:
    documents = {"a.py": Document("a.py", data, digest(data), "python", held=()), "b.ts": None}
    graph = Graph(
        RepoIndex({"a.py": outline("a.py", data, "python"), "b.ts": outline("b.ts", data, "typescript")}, 1)
    )
    named = closure.roots(graph, task, ())
    script = Document("b.ts", data, digest(data), "typescript", held=())
    found = closure.close(graph, task, named, {"a.py": documents["a.py"] or script, "b.ts": script})
    for site in found.sites:
        assert 0 <= site.span.start < site.span.end <= len(data)
        assert site.line == data.count(b"\n", 0, site.span.start)


@given(st.binary(max_size=80), st.integers(0, 80))
@example(b"\x80.", 2)
def test_any_place_has_a_receiver_or_none(data: bytes, at: int) -> None:
    receiver = before(data, min(at, len(data)))
    name = (receiver or "").rstrip("()")
    last = name.rpartition(".")[2]
    assert not name or name == OTHER or "\ufffd" in last or last.encode() in data


INHERITED = {
    "client.py": """\
class BaseClient:
    def build_request(self):  # !certain
        ...


class Client(BaseClient):
    def send(self):
        \"\"\"Made with `Client.build_request()`. !likely

        client.build_request(...)  !likely
        other.build_request !doubtful
        \"\"\"
        # see :meth:`~client.Client.build_request` !certain
""",
}


def test_a_mention_by_a_class_that_inherits_the_member_is_a_place() -> None:
    check(INHERITED, "rename BaseClient.build_request to make_request", "client.py:BaseClient.build_request")


SPELLED = {
    "p/__init__.py": "",
    "p/m.py": "def compute(x):  # !certain\n    return x\n",
    "p/part.py": "from .m import compute  # !certain\n\nprint(compute(1))  # !certain\n",
    "p/other.py": "def compute(x):\n    return x\n",
    "tests/test_part.py": """\
from unittest import mock

import p.m
import p.other
import p.part


@mock.patch("p.part.compute")  # !certain
@mock.patch("p.m.compute")  # !certain
@mock.patch("p.other.compute")
@mock.patch("part.compute")  # !doubtful
# part.compute is called
@mock.patch(f"{PART}.compute")  # !doubtful
def test_it(monkeypatch):
    monkeypatch.setattr("p.part.compute", 1)  # !certain
    monkeypatch.setattr(p.part, "compute", 1)  # !certain
    with mock.patch.object(p.m, "compute"):  # !certain
        pass
    with mock.patch.multiple("p.part", compute=1):  # !certain
        pass
    with mock.patch.multiple("p.other", compute=1):
        pass
    getattr(p.m, "compute")(1)  # !certain
""",
    "pyproject.toml": "[project.scripts]\nx = 'p.m:compute' # !certain\ny = 'p.other:compute'\n",
    "setup.cfg": "[options.entry_points]\nconsole_scripts =\n    x = p.m:compute !certain\n",
    "Dockerfile": 'CMD ["gunicorn", "p.part:compute"] # !certain\n',
}


def test_names_in_strings_are_followed_as_imports_are() -> None:
    check(SPELLED, "rename p.m.compute to calculate", "p/m.py:compute")


REPLACED = {
    "src/m.ts": "export function compute(x: number) { return x; } // !certain\n",
    "src/n.ts": "export const other = 1;\n",
    "src/m.test.ts": """\
import * as m from "./m";
import * as n from "./n";

jest.mock("./m", () => ({
  ...jest.requireActual("./m"),
  compute: jest.fn(), // !certain
}));
vi.mock(import("./m"), async () => {
  return { compute() {} }; // !certain
});
jest.mock("./n", () => ({ compute: jest.fn() }));
jest.mock("./m", () => ({ more: { compute: 1 } }));
jest.spyOn(m, "compute"); // !certain
m["compute"](1); // !certain
run({ compute: 1 });
""",
}


def test_what_a_test_puts_in_the_place_of_a_module_bears_its_names() -> None:
    check(REPLACED, "rename compute to calculate", "src/m.ts:compute")


SHAPES = {
    "i.ts": """\
export interface Shape {
  area(k: number): number; // !certain
}
export interface Plot {
  area: number;
}
export type Round = { radius: number };
""",
    "use.ts": """\
import type { Plot, Round, Shape } from "./i";

const one: Shape = { area: (k) => k }; // !certain
const more: Partial<Shape>[] = [{ area() { return 1; } }]; // !certain
const sure = { area: (k: number) => k } satisfies Shape; // !certain
const said = { area: (k: number) => k } as Shape; // !certain
const plot: Plot = { area: 1 };
const far = { area: 1 }; // !doubtful
function made(): Shape {
  return { area: (k) => k }; // !certain
}
const making = async (): Promise<Shape> => ({ area: (k) => k }); // !certain
const maker: () => Shape = () => ({ area: (k) => k }); // !certain
class Box {
  shape: Shape = { area: (k) => k }; // !certain
}
function taken({ area }: Shape) {} // !certain
function spread({ area: big }: Plot) {}
const { area: size } = one; // !certain
""",
}


def test_an_object_has_the_members_of_its_type_as_keys() -> None:
    check(SHAPES, "add a parameter to Shape.area", "i.ts:Shape.area")
