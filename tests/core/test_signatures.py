"""What the log tells of outlined files: what has changed, what is new, what is gone."""

from __future__ import annotations

from dataclasses import replace

from glm_lsp.core import ledger as ledgers
from glm_lsp.core.ledger import Definitions, Ledger
from glm_lsp.core.signatures import retracts, with_gone, with_signatures
from glm_lsp.core.values import Block, BlockKind, Span, Symbol, SymbolKind

HEAD = "class A:\n    def a(self):\ndef f():"


def count(text: str) -> int:
    return len(text)


def defined(source: str) -> Definitions:
    """A definition for each line; those with spaces before them are in the last class."""
    found: dict[str, tuple[Symbol, ...]] = {}
    owner = None
    for number, line in enumerate(source.split("\n")):
        signature = line.strip()
        name = signature.replace("(", " ").replace(":", " ").split()[1]
        kind = SymbolKind.CLASS if signature.startswith("class") else SymbolKind.FUNCTION
        owner = owner if line.startswith(" ") else None
        span = Span(number * 100, number * 100 + len(line))
        symbol = Symbol(name, kind, span, signature, parent=owner, start_line=number, end_line=number)
        found[symbol.qualified] = (symbol,)
        owner = name if kind is SymbolKind.CLASS else owner
    return found


def outlined(head: str = HEAD) -> Ledger:
    """An epoch whose head outlines `a.py`."""
    symbols = defined(head)
    text = ledgers.layout.outline_block("a.py", head.split("\n"))
    block = Block(BlockKind.SKELETON, "a.py", Span(0, 5), text, symbols=tuple(symbols))
    start = ledgers.begin(1, 10_000, "System.\n", blocks=(block,), files={}, count=count)
    return replace(start, outlined={"a.py": "1"}, known={"a.py": symbols})


def shown(old: Ledger, new: Ledger) -> str:
    """What has been told meanwhile."""
    return "".join(s.text for s in new.log[len(old.log) :] if s.text != ledgers.layout.LOG_TITLE)


def check(old: Ledger, now: str, told: str) -> Ledger:
    new = with_signatures(old, "a.py", now, defined(now), count)
    assert shown(old, new) == told and new.outlined["a.py"] == now
    assert with_signatures(new, "a.py", now, defined(now), count).log == new.log
    return new


def test_a_changed_signature_is_told_once() -> None:
    same = check(outlined(), HEAD, "")
    changed = check(same, HEAD.replace("f()", "f(x)"), "== a.py\ndef f(x):\n")
    check(changed, HEAD, "== a.py\ndef f():\n")


def test_a_signature_that_was_longer_is_told() -> None:
    check(outlined("class A extends B\nclass C"), "class A\nclass C", "== a.py\nclass A\n")


def test_what_came_after_the_head_is_told_below_its_class() -> None:
    check(
        outlined(),
        "class A:\n    def a(self):\n    def b(self):\ndef f():",
        "== a.py\nclass A:\n    def b(self):\n",
    )
    check(outlined(), f"{HEAD}\ndef g():", "== a.py\ndef g():\n")


def test_what_others_cannot_name_is_not() -> None:
    now = f"{HEAD}\ndef _g():"
    new = with_signatures(outlined(), "a.py", now, defined(now), count, private={"_g"})
    assert new.log == () and new.outlined["a.py"] == now


def test_what_the_head_left_out_is_not_new() -> None:
    ledger = replace(outlined("def f():"), known={"a.py": defined(HEAD)})
    check(ledger, f"{HEAD}\ndef g():", "== a.py\ndef g():\n")


def test_of_an_outdated_file_what_has_changed_is_told_and_the_rest_is_not() -> None:
    block = Block(
        BlockKind.BODY, "a.py", Span(0, 5), f"== a.py:1-3\n{HEAD}\n", 9, 0.0, 0, 2, tuple(defined(HEAD))
    )
    start = ledgers.begin(
        1, 10_000, "S\n", blocks=(block,), files={"a.py": tuple(HEAD.split("\n"))}, count=count
    )
    start = replace(start, known={"a.py": defined(HEAD)})
    ledger = ledgers.without(start, "a.py", count)
    assert ledger.outlined == {"a.py": ""}
    check(
        ledger,
        "class A:\n    def a(self, x):\ndef f():\ndef g():",
        "== a.py\nclass A:\n    def a(self, x):\ndef g():\n",
    )


def test_what_a_place_does_not_speak_of_waits_but_for_a_little_that_is_new() -> None:
    now = "\n".join((HEAD.replace("f()", "f(x)"), *(f"def new_{n}():" for n in range(9))))
    ledger, told = outlined(), ""
    for name in ("new_8", "new_8", "new_7", "f", *(f"new_{n}" for n in range(9))):
        new = with_signatures(ledger, "a.py", now, defined(now), count, names={name}, most=40)
        told += shown(ledger, new)
        ledger = new
    first = "== a.py\ndef new_0():\ndef new_1():\ndef new_8():\n"
    rest = "".join(f"== a.py\ndef new_{n}():\n" for n in (2, 3, 4, 5, 6))
    assert told == f"{first}== a.py\ndef new_7():\n== a.py\ndef f(x):\n{rest}"
    assert ledger.outlined["a.py"] == now


def test_what_an_edit_has_told_of_is_not_told_again() -> None:
    lines = tuple(HEAD.split("\n"))
    followed = ledgers.follow(outlined(), "a.py", lines)
    now = HEAD.replace("f()", "f(x)")
    edited = ledgers.with_edits(followed, "a.py", tuple(now.split("\n")), count)
    check(edited, now, "")


def test_what_is_gone_is_told_once_and_told_again_when_it_is_back() -> None:
    left = defined("class A:")
    gone = with_gone(outlined(), "a.py", left, count, 1000)
    assert shown(outlined(), gone) == "== a.py no longer defines A.a, f\n"
    assert with_gone(gone, "a.py", left, count, 1000).log == gone.log
    check(gone, HEAD, "== a.py\nclass A:\n    def a(self):\ndef f():\n")


def test_what_only_the_file_itself_names_is_gone_without_a_word() -> None:
    ledger = outlined("class A:\n    def a(self):\ndef _f():")
    assert with_gone(ledger, "a.py", defined("class A:"), count, 1000, names={"other"}).log == ()


def test_a_method_is_said_to_be_gone_where_a_place_speaks_of_it() -> None:
    ledger, left = outlined("class A:\n    def a(self):"), defined("class A:")
    for names, told in (({"b"}, ""), ({"a"}, "== a.py no longer defines A.a\n")):
        new = with_gone(ledger, "a.py", left, count, 1000, names=names)
        assert shown(ledger, new) == told
        done = with_signatures(new, "a.py", "2", left, count, names=names)
        assert done.outlined["a.py"] == ("2" if told else "1")


def test_what_was_told_in_part_is_looked_at_again_even_if_all_is_as_before() -> None:
    now = HEAD.replace("f()", "f(x)").replace("a(self)", "a(self, x)")
    part = with_signatures(outlined(), "a.py", "2", defined(now), count, names={"f"})
    assert part.outlined["a.py"] == ""
    gone = with_gone(outlined(), "a.py", defined("class A:\n    def a(self):"), count, 1000, names=())
    assert gone.outlined["a.py"] == ""


def test_what_is_said_to_be_gone_and_is_not_is_taken_back_unasked() -> None:
    gone = with_gone(outlined(), "a.py", defined("class A:"), count, 1000, names={"f"})
    back = with_signatures(gone, "a.py", HEAD, defined(HEAD), count, names=frozenset(), most=0)
    assert retracts(gone, "a.py", defined(HEAD)) and not retracts(back, "a.py", defined(HEAD))
    assert shown(gone, back) == "== a.py\ndef f():\n"


def test_of_much_that_is_gone_as_much_is_told_as_there_is_room_for() -> None:
    ledger, told = outlined("\n".join(f"def f{n}():" for n in range(40))), ""
    while (new := with_gone(ledger, "a.py", {}, count, 100)).log != ledger.log:
        told += shown(ledger, new)
        ledger = new
    assert all(s.tokens <= 100 for s in ledger.log)
    assert sorted(
        told.replace("== a.py no longer defines ", ", ").replace("\n", "").split(", ")[1:]
    ) == sorted(f"f{n}" for n in range(40))
    few = with_gone(outlined("def f():"), "a.py", {}, count, 3)
    assert few.log == () and with_signatures(few, "a.py", "", {}, count).outlined == {"a.py": "1"}
