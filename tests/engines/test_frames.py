"""Frames survive any cutting of the stream, and nothing else is taken for one."""

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glm_lsp.core.generation import Finish
from glm_lsp.engines import frames
from glm_lsp.engines.frames import (
    FRAME_LIMIT,
    PROTOCOL,
    Alive,
    Ask,
    Cancel,
    Cancelled,
    Done,
    Failed,
    FrameError,
    Generate,
    Hello,
    JobStatus,
    Load,
    Loading,
    Progress,
    Ready,
    Refused,
    ReplyReader,
    RequestReader,
    Speed,
    Status,
    Stop,
    Text,
    Welcome,
    encode,
)

numbers = st.integers(-(2**63), 2**63 - 1)
counts = st.integers(0, 2**40)
floats = st.floats(allow_nan=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))
loads = st.builds(
    Load, texts, texts, counts, counts, counts, texts, counts, tensor_overrides=st.lists(texts).map(tuple)
)
requests = st.one_of(
    st.builds(Hello, texts, texts, counts, st.none() | loads),
    st.builds(
        Generate,
        id=numbers,
        pieces=st.lists(st.tuples(texts, st.booleans())).map(tuple),
        max_tokens=counts,
        stop=st.lists(texts).map(tuple),
        temperature=floats,
        grammar=texts,
        schema=texts,
        trunk=counts,
    ),
    st.builds(Cancel, numbers),
    st.just(Ask()),
    st.builds(Stop, st.booleans()),
)
replies = st.one_of(
    st.builds(Welcome, counts, texts),
    st.builds(Refused, texts, st.booleans()),
    st.builds(Alive, floats),
    st.builds(
        Status,
        *(counts, texts, texts, texts),
        clients=st.lists(texts).map(tuple),
        jobs=st.lists(st.builds(JobStatus, texts, counts, texts, counts, counts, floats)).map(tuple),
        speeds=st.lists(st.builds(Speed, counts, floats, floats)).map(tuple),
    ),
    st.builds(Loading, floats),
    st.builds(Ready, counts, counts, floats, counts),
    st.builds(Progress, numbers, counts, counts, floats, counts),
    st.builds(Text, numbers, texts, texts),
    st.builds(Done, numbers, st.sampled_from(Finish), counts, counts, counts, counts, floats, floats),
    st.builds(Cancelled, numbers, counts),
    st.builds(Failed, st.none() | numbers, texts, texts),
)


def check(reader: RequestReader | ReplyReader, messages: list[object], cuts: list[int]) -> None:
    stream = b"".join(encode(m) for m in messages)  # type: ignore[arg-type]
    edges = sorted({0, len(stream), *(c % (len(stream) + 1) for c in cuts)})
    read = [m for a, b in pairwise(edges) for m in reader.read(stream[a:b])]
    assert read == messages
    assert not reader.partial


@given(st.lists(requests, max_size=5), st.lists(counts, max_size=8))
def test_requests_survive_any_cutting(messages: list[object], cuts: list[int]) -> None:
    check(RequestReader(), messages, cuts)


@given(st.lists(replies, max_size=5), st.lists(counts, max_size=8))
def test_replies_survive_any_cutting(messages: list[object], cuts: list[int]) -> None:
    check(ReplyReader(), messages, cuts)


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_incomplete(data: bytes) -> None:
    reader = ReplyReader()
    try:
        assert reader.read(data) == []
    except FrameError as error:
        assert str(error).endswith(".")


def test_a_frame_claims_no_more_than_the_limit() -> None:
    with pytest.raises(FrameError, match="allowed"):
        RequestReader().read((FRAME_LIMIT + 1).to_bytes(4, "big"))


def test_a_long_message_is_not_sent() -> None:
    with pytest.raises(FrameError, match="longer than"):
        encode(Text(1, "x" * (FRAME_LIMIT + 1)))


def test_half_a_surrogate_pair_is_not_sent() -> None:
    with pytest.raises(FrameError, match="not Unicode"):
        encode(Text(1, "\ud800"))


@pytest.mark.parametrize("message", [Cancel(1), Progress(1, 2, 3)])
def test_requests_and_replies_are_not_mixed_up(message: Cancel | Progress) -> None:
    reader = ReplyReader() if isinstance(message, Cancel) else RequestReader()
    with pytest.raises(FrameError, match="is not a re"):
        reader.read(encode(message))


def test_unknown_fields_are_refused() -> None:
    body = b"\x83\xa4type\xa6cancel\xa2id\x01\xa4more\x01"
    with pytest.raises(FrameError, match="more"):
        RequestReader().read(len(body).to_bytes(4, "big") + body)


@given(st.dictionaries(texts, st.integers() | texts | st.lists(texts, max_size=2), max_size=3))
def test_any_versions_greeting_can_be_refused(more: dict[str, object]) -> None:
    """What a later version adds to a greeting does not keep this one from reading its token and protocol."""
    table = {**more, "type": "hello", "protocol": PROTOCOL + 1, "token": "t"}
    try:
        body = msgspec.msgpack.encode(table)
    except OverflowError:
        return
    assert frames.greeting(body) == frames.Greeting("t", PROTOCOL + 1)


def test_this_versions_greeting_is_one_of_any_version() -> None:
    hello = Hello("token", "editor", 1)
    assert frames.greeting(encode(hello)[4:]) == frames.Greeting("token", PROTOCOL)
    assert frames.request(encode(hello)[4:]) == hello


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x80", encode(Ask())[4:], encode(Hello("t", "c", 1))[4:-3]])
def test_what_is_no_greeting_is_refused(body: bytes) -> None:
    with pytest.raises(FrameError, match="no greeting"):
        frames.greeting(body)


@pytest.mark.parametrize("seed", [1 << 64, -(1 << 63) - 1])
def test_a_number_of_more_than_64_bits_is_not_sent(seed: int) -> None:
    with pytest.raises(FrameError, match="more than 64 bits"):
        encode(Generate(1, (("x", False),), 1, seed=seed))
