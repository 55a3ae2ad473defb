"""Following the edits of a text comes to what looking through the whole of it does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.secrets.follow import SMALL_BYTES, Follower, followed
from glm_lsp.core.secrets.rules import rules
from glm_lsp.core.secrets.scan import Found, find
from glm_lsp.core.text import common_end, common_start
from tests.secrets.canaries import canary

SECRETS = [found[0].encode() for rule in rules().rules[::12] if (found := canary(rule.id))]
BLOCK = (
    b"-----BEGIN PRIVATE KEY-----\n"
    + b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n" * 3
    + b"-----END PRIVATE KEY-----\n"
)


def text(seed: int, size: int, *, blocks: bool) -> bytes:
    dice = random.Random(seed)
    parts: list[bytes] = []
    while sum(map(len, parts)) < size:
        parts.append(b"def function(argument):\n    return argument + 1\n" * dice.randint(1, 40))
        parts.append(b"x = '" + dice.choice(SECRETS) + b"'\n")
        if blocks and dice.random() < 0.1:
            parts.append(BLOCK)
    return b"".join(parts)


@given(st.integers(0, 5), st.integers(0, 10**6), st.integers(0, 400), st.binary(max_size=80), st.booleans())
@settings(deadline=None, max_examples=60)
def test_one_edit(seed: int, at: int, removed: int, new: bytes, blocks: bool) -> None:
    old = text(seed, 3 * SMALL_BYTES, blocks=blocks)
    at %= len(old)
    edited = old[:at] + new + old[at + removed :]
    assert followed("a.py", old, find("a.py", old), edited) == find("a.py", edited)


PIECES = (
    b"x = 1\n" * 300,
    b"# " + b"-" * 70 + b"\n",
    b"-----BEGIN PRIVATE KEY-----\n",
    b"-----END PRIVATE KEY-----\n",
    b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCMIIEvQIBADAN\n" * 200,
    b"| name | password |\n|---|---|\n",
    b"| bob | k9#mQ2!vL7pX |\n" * 30,
    b"a basic token\n",
    b"token = '9f86d0Kx1e4fWq7bZ2Lp'\n",
    b"# 9f86d0Kx1e4fWq7bZ2Lp again\n",
    b"curl -u bob:k9#mQ2!vL7pX http://x\n",
    b"u,password\n",
    b"eve,k9#mQ2!vL7pX\n" * 200,
    b"---\nkind: Secret\ndata:\n",
    b"  key: k9mQ2vL7pX\n" * 200,
    b"kind: Secret\n",
    b"INSERT INTO t (a, password) VALUES ",
    b"(1, 'k9#mQ2!vL7pX'), \n" * 200,
    b"<tr><th>a</th><th>password</th></tr>\n",
    b"<tr><td>1</td><td>k9#mQ2!vL7pX</td></tr>\n" * 100,
    b"</table>\n",
    b"===  ========\n",
    b"bob  password\n",
    b"bob  k9#mQ2!vL7pX\n" * 100,
)


@given(
    st.lists(st.sampled_from(PIECES), min_size=12, max_size=40),
    st.lists(
        st.tuples(st.integers(0, 10**6), st.integers(0, 60), st.sampled_from((*PIECES, b"", b"-", b"B"))),
        max_size=6,
    ),
    st.sampled_from(["a.md", "a.csv", "a.yml", "a.py"]),
)
@settings(deadline=None, max_examples=60)
def test_edits_among_half_blocks_rulers_and_tables(
    parts: list[bytes], edits: list[tuple[int, int, bytes]], path: str
) -> None:
    """An edit may make a block, far away, of what was none, or end one."""
    now, follower = b"".join(parts), Follower()
    follower.veiled(path, now)
    for at, removed, new in edits:
        at %= len(now) + 1
        now = now[:at] + new + now[at + removed :]
        veiled, alone = follower.veiled(path, now), Follower().veiled(path, now)
        assert (veiled.found, veiled.places, veiled.shown) == (alone.found, alone.places, alone.shown)


@pytest.mark.parametrize("inserted", [b"\n" * 5, SECRETS[0], b"'" + SECRETS[3] + b"'", BLOCK, b"-----END "])
def test_many_edits_one_after_the_other(inserted: bytes) -> None:
    follower, now = Follower(), text(7, 3 * SMALL_BYTES, blocks=True)
    dice = random.Random(7)
    for _ in range(30):
        at = dice.randrange(len(now))
        now = now[:at] + inserted + now[at + dice.randint(0, 60) :]
        veiled = follower.veiled("a.py", now)
        alone = Follower().veiled("a.py", now)
        assert veiled.found == find("a.py", now)
        assert (veiled.places, veiled.shown) == (alone.places, alone.shown)


@given(st.binary(max_size=300), st.binary(max_size=300), st.binary(max_size=300), st.integers(0, 3))
@settings(deadline=None)
def test_what_two_texts_have_in_common(start: bytes, middle: bytes, end: bytes, times: int) -> None:
    """Also where both ends overlap, and over more than a chunk."""
    long = (start + b"x" * 70_000) * times
    old, new = long + start + end + long, long + start + middle + end + long
    first = common_start(old, new)
    assert old[:first] == new[:first]
    assert old[first : first + 1] != new[first : first + 1] or old == new
    last = common_end(old, new, min(len(old), len(new)) - first)
    assert first + last == min(len(old), len(new))
    assert old[len(old) - last :] == new[len(new) - last :]


def test_what_stands_again_is_followed_too() -> None:
    """A value that is named once, and stands elsewhere: held back as long as it is named."""
    value = "9f86d0Kx1e4fWq7bZ2Lp"
    lines = ["x = 1\n"] * 12_000
    lines[100], lines[9_000] = f"token = '{value}'\n", f"again = '{value}'\n"
    follower = Follower()
    for number, text in (
        (100, ""),
        (100, f"token = '{value}'\n"),
        (9_000, ""),
        (11_000, f"# {value}\n"),
        (50, ""),
    ):
        for changed in (text, lines[number]):
            lines[number], before = changed, lines[number]
            now = "".join(lines).encode()
            alone = Follower().veiled("a.py", now)
            veiled = follower.veiled("a.py", now)
            assert (veiled.places, veiled.shown) == (alone.places, alone.shown)
            if lines[100]:
                assert value.encode() not in veiled.shown
            lines[number] = before if changed is text else changed


def test_what_is_left_out_stays_so_while_it_is_edited() -> None:
    whole = Found(whole="too much")
    assert followed("a.py", b"x" * 100, whole, b"x" * 101) == whole
    assert followed("a.py", b"x" * 100, whole, b"x" * 10) == Found()
