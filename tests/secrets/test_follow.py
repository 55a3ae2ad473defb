"""Following the edits of a text comes to what looking through the whole of it does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.secrets.follow import SMALL_BYTES, Follower, followed
from glm_lsp.core.secrets.rules import rules
from glm_lsp.core.secrets.scan import Found, find
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
    assert followed("a.py", old, find("a.py", old), edited, open_=False) == find("a.py", edited)


@pytest.mark.parametrize("inserted", [b"\n" * 5, SECRETS[0], b"'" + SECRETS[3] + b"'", BLOCK, b"-----END "])
def test_many_edits_one_after_the_other(inserted: bytes) -> None:
    follower, now = Follower(), text(7, 3 * SMALL_BYTES, blocks=True)
    dice = random.Random(7)
    for _ in range(30):
        at = dice.randrange(len(now))
        now = now[:at] + inserted + now[at + dice.randint(0, 60) :]
        assert follower.find("a.py", now, open_=True) == find("a.py", now, open_=True)


def test_what_is_left_out_stays_so_while_it_is_edited() -> None:
    whole = Found(whole="too much")
    assert followed("a.py", b"x" * 100, whole, b"x" * 101, open_=True) == whole
    assert followed("a.py", b"x" * 100, whole, b"x" * 10, open_=True) == Found()
