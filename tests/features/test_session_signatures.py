"""Outlined files that change: told where somebody works with them, and else when somebody comes to."""

from __future__ import annotations

from tests.features.test_session_lean import Desk, small_budgets_are_lean

__all__ = ["small_budgets_are_lean"]

_LONG = "    x = 1\n" * 150
FILES = {
    "main.py": "from used import one\n\n\ndef run():\n    return one()\n",
    "aside.py": "from far import away\n\n\ndef walk():\n    return away()\n",
    "used.py": f"def one():\n{_LONG}\n\ndef two():\n{_LONG}",
    "far.py": f"def away():\n{_LONG}\n\ndef home():\n{_LONG}",
}


async def log(desk: Desk, path: str) -> str:
    """What the log says at a request at the end of a file."""
    await desk.ask(path, len(desk.files[path]), "ask")
    return "".join(s.text for s in desk.session.trunks[-1].segments if s.text.startswith("== ")).partition(
        "# Edits"
    )[0]


async def begun() -> Desk:
    desk = Desk(900, dict(FILES))
    first = await log(desk, "main.py")
    assert "== used.py\ndef one():\ndef two():\n" in first and "== far.py\ndef away():" in first
    return desk


async def test_what_is_new_where_somebody_works_is_told() -> None:
    desk = await begun()
    desk.put(**{"used.py": FILES["used.py"] + "\n\ndef three(a):\n    return a\n"})
    assert "== used.py\ndef three(a):\n" in await log(desk, "main.py")


async def test_what_changed_elsewhere_is_told_when_somebody_comes_to_use_it() -> None:
    desk = await begun()
    desk.put(**{"far.py": FILES["far.py"].replace("away()", "away(a)")})
    assert "away(a)" not in await log(desk, "main.py")
    assert "== far.py\ndef away(a):\n" in await log(desk, "aside.py")


async def test_what_comes_back_meanwhile_is_never_told() -> None:
    desk = await begun()
    before = await log(desk, "main.py")
    desk.put(**{"far.py": FILES["far.py"].replace("away()", "away(a)")})
    await log(desk, "main.py")
    desk.put(**{"far.py": FILES["far.py"]})
    assert await log(desk, "aside.py") == before


async def test_an_import_typed_here_tells_what_waited() -> None:
    desk = await begun()
    desk.opened.add("main.py")
    desk.put(**{"far.py": FILES["far.py"].replace("away()", "away(a)")})
    await log(desk, "main.py")
    desk.put(**{"main.py": "from far import away\n" + FILES["main.py"]})
    assert "== far.py\ndef away(a):\n" in await log(desk, "main.py")


async def test_what_is_renamed_is_said_to_be_gone_where_its_file_is_used() -> None:
    desk = await begun()
    desk.put(**{"far.py": FILES["far.py"].replace("home", "abroad")})
    assert "far.py no longer defines" not in await log(desk, "main.py")
    told = await log(desk, "aside.py")
    assert "== far.py no longer defines home\n" in told and "== far.py\ndef abroad():\n" in told


async def test_a_deleted_file_is_said_to_be_outdated() -> None:
    desk = await begun()
    desk.put(**{"far.py": None})
    told = await log(desk, "main.py")
    assert told.count("== far.py is outdated\n") == 1
    assert await log(desk, "main.py") == told
    desk.put(**{"far.py": "def away(b):\n    return b\n"})
    assert "== far.py\ndef away(b):\n" in await log(desk, "aside.py")


async def test_a_changed_signature_is_told_when_its_name_is_typed() -> None:
    desk = await begun()
    desk.opened.add("main.py")
    desk.put(**{"used.py": FILES["used.py"].replace("two()", "two(a)")})
    assert "two(a)" not in await log(desk, "main.py")
    desk.put(**{"main.py": "import used\n" + FILES["main.py"]})
    assert "two(a)" not in await log(desk, "main.py")
    desk.put(**{"main.py": "import used\n" + FILES["main.py"] + "\n\nused.two(\n"})
    told = await log(desk, "main.py")
    assert told.count("def two(a):\n") == 1
    desk.put(**{"main.py": desk.files["main.py"] + "used.two(2)\n"})
    assert await log(desk, "main.py") == told


async def test_what_is_back_is_said_to_be_there_again_wherever_somebody_is() -> None:
    desk = await begun()
    desk.put(**{"far.py": FILES["far.py"].replace("home", "abroad")})
    assert "== far.py no longer defines home\n" in await log(desk, "aside.py")
    desk.put(**{"far.py": FILES["far.py"]})
    told = await log(desk, "main.py")
    assert told.index("== far.py no longer defines home\n") < told.rindex("def home():\n")


async def test_what_is_half_typed_takes_nothing_away() -> None:
    desk = await begun()
    desk.opened.add("used.py")
    desk.put(**{"used.py": 'def new(a, b="\n' + FILES["used.py"]})
    before = await log(desk, "main.py")
    assert "no longer defines" not in before and 'b="' not in before
    desk.put(**{"used.py": 'def new(a, b=""):\n    return a\n\n\n' + FILES["used.py"]})
    assert '== used.py\ndef new(a, b=""):\n' in await log(desk, "main.py")


async def test_a_branch_and_back_leaves_nothing_gone() -> None:
    desk = await begun()
    desk.put(**{"used.py": "def only():\n    pass\n"})
    assert "== used.py no longer defines one, two\n" in await log(desk, "main.py")
    desk.put(**{"used.py": FILES["used.py"]})
    told = (await log(desk, "main.py")).rpartition("no longer defines one, two\n")[2]
    assert "def one():\n" in told and "def two():\n" in told and "no longer defines only\n" in told
