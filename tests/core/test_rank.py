"""What a place needs: names resolved through imports, scopes and classes, before merely equal ones."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.graph import Graph, Target
from glm_lsp.core.rank import Candidate, Place, needed, prepare, rank, rank_for_task
from glm_lsp.core.signals import RESEMBLING, WEIGHTS
from glm_lsp.core.syntax import language_of, outline
from glm_lsp.core.values import RepoIndex, Span

REPOSITORY = {
    "src/shop/__init__.py": "from .model import Order as Order\n",
    "src/shop/model.py": (
        "class Base:\n    def save(self): ...\n\n\n"
        "class Order(Base):\n    def pay(self): ...\n    def _hidden(self): ...\n"
    ),
    "src/shop/price.py": 'def total(order):\n    """Sum the prices of an order."""\n\n\nRATE = 2\n',
    "src/shop/deep/__init__.py": "",
    "src/shop/deep/till.py": "from ..price import total\nfrom .. import price\n\n\ndef run(): ...\n",
    "other/price.py": "def total(x): ...\n",
    "other/common.py": "def get(): ...\ndef rare_helper(): ...\n",
    "scripts/use.py": "import common\n",
    "scripts/common.py": "def local(): ...\n",
    **{f"many/f{n}.py": "def get(): ...\n" for n in range(8)},
}


def index_of(files: Mapping[str, str]) -> RepoIndex:
    return RepoIndex({p: outline(p, t.encode(), language_of(p)) for p, t in files.items()})


def ranked(text: str, path: str = "src/shop/here.py", **files: str) -> dict[str, Candidate]:
    """By `path:name`, the candidates for ▮ in `text`, best first."""
    before, _, after = text.partition("▮")
    graph = Graph(index_of({**REPOSITORY, **files, path: before + after}))
    place = Place(path, len(before.encode()), before + after, before.count("\n"))
    return {f"{c.path}:{c.symbol.qualified}": c for c in rank(graph, place)}


def check_first(text: str, name: str, reason: str, path: str = "src/shop/here.py") -> None:
    """The best candidate, and why."""
    found = ranked(text, path)
    first = next(iter(found))
    assert (first, found[first].reason) == (name, reason)
    assert found[first].certain


def test_an_imported_name() -> None:
    text = "from shop.price import total\n\n\ntotal(▮"
    check_first(text, "src/shop/price.py:total", "imported here, used on this line")


def test_a_relative_import() -> None:
    text = "from ..price import total\n\nx = total\n▮"
    reason = "imported here, used 1 line above"
    check_first(text, "src/shop/price.py:total", reason, "src/shop/deep/here.py")


def test_a_module() -> None:
    check_first(
        "from shop import price\n\n\nprice.total(▮",
        "src/shop/price.py:total",
        "imported here, used on this line",
    )


def test_an_alias() -> None:
    check_first(
        "import shop.price as p\n\n\np.total(▮", "src/shop/price.py:total", "imported here, used on this line"
    )


def test_a_name_that_a_package_exports() -> None:
    check_first(
        "from shop import Order\n\n\nOrder(▮", "src/shop/model.py:Order", "imported here, used on this line"
    )


def test_a_method_through_an_annotation_and_one_through_a_base_class() -> None:
    text = "from shop import Order\n\n\ndef f(order: Order):\n    order.pay()\n    order.save()\n    ▮"
    found = ranked(text)
    assert found["src/shop/model.py:Order.pay"].reason == "in Order, used 2 lines above"
    assert found["src/shop/model.py:Base.save"].certain
    assert (
        "src/shop/model.py:Order._hidden" not in found or not found["src/shop/model.py:Order._hidden"].certain
    )


FIELDS = """
class Order(Model):
    title = CharField(max_length=9)
    paid = False
    low, high = 1, 2
    def send(self): ...


class Color(Enum):
    RED = 1
    green = 2


class Made:
    size = 1
    def __init__(self, size): ...
"""
ALL = "Order.title Order.paid Order.low Order.high"
"""The fields of an order."""
MADE = [
    ("from fields import Order\n\n\norder = Order(▮", ALL),
    ("from fields import Order\n\n\norder = Order(\n    1,\n    ▮\n)", ALL),
    ("from fields import Order\n\n\ndef f(order: Order):\n    x = order.▮", ALL),
    ("import fields\n\n\nx = [fields.Order(▮)]", ALL),
    ("from fields import Color\n\n\nx = Color.▮", "Color.RED Color.green"),
    ("from fields import Order\n\n\nx = Order\n▮", ""),
    ("from fields import Made\n\n\nx = Made(▮", ""),
    ("from fields import Order\n\n\nOrder(1)\n▮", ""),
    ("from fields import Order\n\n\nx = (Order(1),\n    [▮", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "names"), MADE)
def test_what_is_made_or_asked_for_a_member_shows_its_fields(text: str, names: str) -> None:
    found = ranked(text, **{"src/shop/fields.py": FIELDS})
    sure = [c.symbol for c in found.values() if c.certain and "." in c.symbol.qualified]
    sure.sort(key=lambda s: s.name_span.start)
    assert " ".join(s.qualified for s in sure) == names
    before, _, after = text.partition("▮")
    place = Place("src/shop/here.py", len(before.encode()), before + after, before.count("\n"))
    graph = Graph(index_of({**REPOSITORY, "src/shop/fields.py": FIELDS, "src/shop/here.py": before + after}))
    late = {c.symbol.qualified for c in needed(graph, place)}
    assert late >= set(names.split())


def test_every_name_of_an_imported_assignment_is_found() -> None:
    text = "from conf import Alias, WIDTH, HEIGHT, F, G\n\n\nx = WIDTH * HEIGHT * F * G * ▮"
    found = ranked(text, **{"conf.py": "type Alias[T] = list[T]\nWIDTH, HEIGHT = 3, 4\nF = G = 5\n"})
    assert {"Alias", "WIDTH", "HEIGHT", "F", "G"} == {c.symbol.name for c in found.values() if c.certain}


def test_self_is_the_class_around() -> None:
    text = "class A:\n    def one(self): ...\n\n    def two(self):\n        self.one(▮\n"
    check_first(text, "src/shop/here.py:A.one", "defined in this file, used on this line")


def test_a_merely_equal_name_is_weaker_and_a_common_one_is_nothing() -> None:
    found = ranked("rare_helper(get(▮")
    assert found["other/common.py:rare_helper"].reason == "the same name stands on this line"
    assert not found["other/common.py:rare_helper"].certain
    assert not any(name.endswith(":get") and name.startswith("many/") for name in found)


@pytest.mark.parametrize(
    ("used", "hinted"),
    [
        ("request.close()", {"lib/a.py:Request.close"}),
        ("self.last_request.close()", {"lib/a.py:Request.close"}),
        ("the.close()", set[str]()),
        ("the.only()", {"lib/b.py:Connection.only"}),
        ("quest.close()", {"lib/a.py:Request.close"}),
    ],
)
def test_a_member_of_an_unknown_value_is_that_of_the_class_that_it_is_called_like(
    used: str, hinted: set[str]
) -> None:
    files = {
        "lib/a.py": "class Request:\n    def close(self): ...\n",
        "lib/b.py": "class Connection:\n    def close(self): ...\n    def only(self): ...\n",
        "use.py": f"def f(the, request, quest):\n    {used}\n",
    }
    found = Graph(index_of(files)).uses("use.py").hints
    assert {f"{t.path}:{t.name}" for t in found} == hinted


@pytest.mark.parametrize(
    ("name", "qualifier", "found"),
    [
        ("grow", "lib", "inc/deep.h:grow"),
        ("grow", "", "inc/deep.h:grow"),
        ("make", "lib.Box", "inc/lib.h:Box.make"),
        ("make", "Box", "inc/lib.h:Box.make"),
        ("grow", "std", ""),
        ("far", "lib", ""),
    ],
)
def test_namespaces_of_c_plus_plus_and_headers_that_include_others(
    name: str, qualifier: str, found: str
) -> None:
    files = {
        "src/use.cc": '#include "inc/lib.h"\n\nint f() { return 1; }\n',
        "inc/lib.h": '#include "inc/deep.h"\nnamespace lib {\nclass Box { public: int make(); };\n}\n',
        "inc/deep.h": "namespace lib {\nint grow(int x);\n}\n",
        "inc/far.h": "namespace lib {\nint far(int x);\n}\n",
    }
    outlines = {p: outline(p, t.encode(), language_of(p, t.encode())) for p, t in files.items()}
    target = Graph(RepoIndex(outlines)).resolve("src/use.cc", name, qualifier)
    assert (f"{target.path}:{target.name}" if target else "") == found


def test_functions_named_alike_tell_what_is_used() -> None:
    text = (
        "from lib import needed, other\n\n\ndef write_line():\n    needed()\n\n\n"
        "def close():\n    other()\n\n\ndef write_word():\n    ▮\n"
    ).replace("▮", "")
    files = {"lib.py": "def needed(): ...\ndef other(): ...\n", "use.py": text}
    graph, place = Graph(index_of(files)), Place("use.py", len(text) - 1, text, text.count("\n") - 1)
    whole = {c.symbol.name: c.score for c in rank(graph, place)}
    without = {c.symbol.name: c.score for c in rank(graph, place, {**WEIGHTS, RESEMBLING: 0.0})}
    assert whole["needed"] - without["needed"] > 0.3
    assert whole["other"] == without["other"]


def test_an_import_means_the_nearest_module_of_its_name() -> None:
    graph = Graph(index_of(REPOSITORY))
    assert graph.module("common", "scripts/use.py") == "scripts/common.py"
    assert graph.module("price", "src/shop/deep/till.py", 2) == "src/shop/price.py"
    assert graph.module("shop.price", "scripts/use.py") == "src/shop/price.py"
    assert graph.module("no.such", "scripts/use.py") == ""
    assert graph.module("x", "a.py", 5) == ""


def test_what_is_hidden_is_no_candidate() -> None:
    text = "def above(): ...\n\n\ndef near(): ...\nabove(); near()\n"
    graph = Graph(index_of({"a.py": text}))
    found = rank(graph, Place("a.py", len(text), text, 5, hidden=(Span(19, len(text)),)))
    assert [c.symbol.name for c in found] == ["above"]


def test_a_cold_place_gets_what_most_files_import() -> None:
    users = {f"u{n}.py": "from shop.price import total\n" for n in range(5)}
    found = ranked("▮", "empty.py", **users)
    assert next(iter(found)) == "src/shop/price.py:total"
    assert "imported by 5 files" in found["src/shop/price.py:total"].reason


def test_what_was_prepared_changes_no_answer() -> None:
    graph, prepared = (Graph(index_of(REPOSITORY)) for _ in range(2))
    prepare(prepared, "src/shop/deep/till.py")
    place = Place("src/shop/deep/till.py", 0, "total(price.total, Order, run)", 0)
    assert rank(prepared, place) == rank(graph, place) == rank(prepared, place)


def test_a_task_gets_what_its_files_use_and_what_its_words_name() -> None:
    graph = Graph(index_of(REPOSITORY))
    found = rank_for_task(graph, ["src/shop/deep/till.py"], "rename Order.pay")
    names = [c.symbol.qualified for c in found]
    assert {"Order", "Order.pay", "total"} <= set(names)
    spoken = rank_for_task(graph, [], "sum all prices")
    assert "its docstring speaks of the task" in {c.reason for c in spoken if c.symbol.name == "total"}


EDITS = st.dictionaries(
    st.sampled_from(sorted(REPOSITORY)), st.sampled_from(sorted(REPOSITORY.values())), max_size=3
)


@given(EDITS, EDITS)
@settings(deadline=None)
def test_a_renewed_graph_answers_as_a_new_one(first: dict[str, str], second: dict[str, str]) -> None:
    one = index_of(REPOSITORY)
    graph = Graph(one)
    for edits in (first, second):
        rank(graph, Place("src/shop/deep/till.py", 0, "total Order get", 0))
        outlines = {**graph.index.outlines, **index_of(edits).outlines}
        graph = graph.renewed(RepoIndex(outlines, graph.index.revision + 1))
    fresh = Graph(graph.index)
    for path in REPOSITORY:
        place = Place(path, 0, "total(Order.pay, price.total, get, rare_helper, Base)", 0)
        found = rank(graph, place)
        assert found == rank(fresh, place)
        assert needed(fresh, place) == tuple(c for c in found if c.certain)
        assert graph.importers(path) == fresh.importers(path)


@pytest.mark.parametrize(
    "text", ["class A(A): ...\nA().x", "class A(B): ...\nclass B(A): ...\nA.x\nB.x", "from . import *\nx.y.z"]
)
def test_circles_end(text: str) -> None:
    found = ranked(text + "\nself.x▮", "src/shop/__init__.py", **{"src/shop/star.py": "from . import *\n"})
    assert "src/shop/price.py:total" in found


def test_a_class_is_found_through_its_module() -> None:
    graph = Graph(index_of(REPOSITORY))
    assert graph.resolve("src/shop/deep/till.py", "total", "price") == Target("src/shop/price.py", "total")
    assert graph.resolve("src/shop/deep/till.py", "nothing", "price") is None
    assert graph.resolve("no/such.py", "x", "y.z") is None


@pytest.mark.parametrize(
    ("line", "fields"), [("total(o)", []), ("o := Order{}\n\to.Weight", ["Order.Weight"])]
)
def test_a_field_of_go_is_shown_only_to_who_uses_it(line: str, fields: list[str]) -> None:
    files = {
        "pay/order.go": "package pay\n\ntype Order struct {\n\tWeight int\n\tsize int\n}\n",
        "pay/total.go": "package pay\n\nfunc total(o Order) int { return 1 }\n",
    }
    found = ranked(f"package pay\n\nfunc f(o Order) {{\n\t{line}▮\n}}\n", "pay/here.go", **files)
    assert {"pay/order.go:Order", "pay/total.go:total"} <= found.keys()
    shown = [
        c.symbol.qualified for c in found.values() if c.symbol.kind == "variable" and c.path[:3] == "pay"
    ]
    assert set(fields) <= set(shown)
    assert bool(shown) is bool(fields)


def test_what_is_not_called_by_its_name_is_not_shown() -> None:
    source = "namespace shop {\nclass Order {\n public:\n  ~Order();\n  bool operator<(const Order&);\n"
    files = {"order.hh": source + "  int total();\n};\n}\nint operators();\n"}
    found = ranked('#include "order.hh"\n\nvoid f(Order o) {\n  ▮\n}\n', "here.cc", **files)
    shown = {name for name in found if name.startswith("order.hh:")}
    assert shown == {"order.hh:Order", "order.hh:Order.total", "order.hh:operators"}
