"""A large file is cut into units that fit, and what fits none is told with its true size."""

from __future__ import annotations

import re

from glm_lsp.core.edits import EditFormat
from glm_lsp.core.site import Part, Site
from glm_lsp.core.values import Span
from glm_lsp.engines.scripted import ScriptedEngine, words
from glm_lsp.features.editing import instruction_for
from glm_lsp.features.refactor import propose
from glm_lsp.features.units import Unit, around, split
from tests.features.stage import document, session, snapshot, tail

IMPORTS = "".join(f"import module_{n} as name_{n}\n" for n in range(40))
SMALL = "\n\ndef small(a, b):\n    return a + b\n"
LARGE = "\n\ndef large(a):\n" + "".join(f"    a = a + {n} * a\n" for n in range(150)) + "    return a\n"


def size(unit: Unit) -> int:
    return len(words(instruction_for(unit, "x", EditFormat.ANCHORED, "")))


def test_a_definition_that_does_not_fit_below_the_imports_is_shown_without_them() -> None:
    whole = document(IMPORTS + SMALL + LARGE)
    units, refusals = split(whole, size, room := 500)
    assert size(Unit(whole, ((0, 40), (42, 44)), "")) > room
    assert [unit.ranges for unit in units] == [((42, 44),)]
    assert all(size(unit) <= room for unit in units)
    large = size(Unit(whole, ((46, 198),), ""))
    assert [refusal.reason for refusal in refusals] == [
        "large is too long for one request: with a number at each line and the rules for the answer it "
        f"takes {large:,} tokens, and 500 fit; cut it first."
    ]


def test_with_room_the_imports_are_shown_too() -> None:
    units, refusals = split(document(IMPORTS + SMALL + LARGE), size, 1000)
    assert units[0].ranges == ((0, 44),) and len(refusals) == 1


async def test_every_unit_that_is_planned_fits_when_it_is_asked_about() -> None:
    """From place to place the context tells more of what is used there: `a.py` first, then all of it."""
    helpers = {
        f"pkg/h{n}.py": f"def helper_{n}(first, second, third):\n    return first + second * third + {n}\n"
        for n in range(8)
    }
    calls = "".join(
        f"\n\ndef caller_{n}(value):\n" + f"    value = helper_{n}(value, 1, 2)\n" * 8 + "    return value\n"
        for n in range(8)
    )
    imports = "".join(f"from pkg.h{n} import helper_{n}\n" for n in range(8))
    files = {**helpers, "pkg/a.py": imports + calls, "pkg/__init__.py": ""}
    engine = ScriptedEngine("=== end\n")
    shown = snapshot(files, settings={"context.budget_tokens": 1200, "edits.max_tokens": 100})
    plan = await propose(session(files, engine), shown, "Rename value", ["pkg/a.py"])
    assert plan.refusals == ()
    assert len(engine.requests) > 1 and "caller_7" in "".join(map(tail, engine.requests))


def test_a_long_function_full_of_places_is_cut_between_them() -> None:
    """No place is left out as long as its own line fits."""
    body = "".join(f"    a = load(a, {n})\n" + "\n" * (n % 7 == 0) for n in range(200))
    whole = document(f"from b import load\n\n\ndef many(a):\n{body}    return a\n")
    text = whole.data.decode()
    found = [
        Site(
            whole.path, Span(m.start(), m.end()), text.count("\n", 0, m.start()), Part.USE, "many", "uses it"
        )
        for m in re.finditer(r"\bload\b", text)
    ]
    units, refusals = around(whole, found, size, 400)
    assert refusals == ()
    assert all(size(unit) <= 400 for unit in units)
    lines = [line for unit in units for start, end in unit.ranges for line in range(start, end)]
    assert {site.line for site in found} <= set(lines)
    assert len([n for n in lines if n > 3]) == len({n for n in lines if n > 3}), "no line is in two units"


def test_a_single_line_that_is_too_long_is_refused() -> None:
    whole = document("def load():\n    pass\n\n\nx = [" + "load(), " * 500 + "]\n")
    at = whole.data.rindex(b"load")
    site = Site(whole.path, Span(at, at + 4), 4, Part.USE, "", "uses it")
    units, (refusal,) = around(whole, [site], size, 400)
    assert units == () and refusal.reason.startswith("The text from line 5 to 5 is too long")
