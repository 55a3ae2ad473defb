"""The machinery of the bench for secrets, on a few lines; never a time."""

from __future__ import annotations

from collections import Counter

from tests.bench import bench_secrets as bench
from tests.bench.secrets_typing import share, typing

FILES = [
    ("a/one.py", b"def one(value):\n    return value\n" * 40),
    ("a/two.py", b"token = 'ghp_16C7e42F292c6912E7710c838347Ae178B4a'\nx = 1\n" * 3),
]


def test_keystrokes_are_counted_and_what_indexing_does_is() -> None:
    took = typing(FILES, 30)
    assert [(one.size_bytes, len(one.milliseconds)) for one in took] == [(len(d), 30) for _, d in FILES]
    looked, whole = share(FILES, 1)
    assert 0 <= looked <= whole
    assert "keystrokes" in bench.keystroke_row("x", took)[2]
    assert bench.indexing(FILES, rounds=1)[0] == "share of indexing"


def test_what_is_held_back_is_counted_by_lines() -> None:
    here: Counter[str] = Counter()
    for path, data in FILES:
        bench.count(path, data, here)
    assert (here["places"], here["held"], here["alone"], here["lines"]) == (3, 3, 3, 86)


def test_a_section_takes_the_place_of_its_earlier_one() -> None:
    text = "# Results\n\n## Secrets\n\nold\n\n## Other\n\nstays\n"
    assert bench.recorded(text, "## Secrets\n\nnew\n") == (
        "# Results\n\n## Other\n\nstays\n\n\n## Secrets\n\nnew\n"
    )
