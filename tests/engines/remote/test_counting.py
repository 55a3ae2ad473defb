"""What a server counts for us is used where it can be believed, and never asked while somebody waits."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from remote_fakes import Fake, Reply, answer, refusal
from remote_kit import collect, prompt, remote_settings

from glm_lsp.core import profiles
from glm_lsp.core.generation import GenerateRequest
from glm_lsp.core.template import SPECIAL_TOKENS
from glm_lsp.engines.bounds import ApproximateTokenizer
from glm_lsp.engines.remote import RemoteEngine, RemoteTokenizer
from glm_lsp.engines.remote.counting import WORTH_ASKING, by_line
from glm_lsp.engines.remote.filters import disarm
from glm_lsp.engines.tokenizers import GgufTokenizer

NANO = profiles.load("nano").gguf_path
COUNTING = ("vllm", "sglang", "llama-server")
CODE = Path(os.__file__).read_text(encoding="utf-8")[:12_000].rpartition("\n")[0] + "\n"


@pytest.fixture(scope="module")
def nano() -> GgufTokenizer:
    if not Path(NANO).is_file():
        pytest.skip(f"the bundled model {NANO} is missing")
    return GgufTokenizer(NANO)


def counting(nano: GgufTokenizer, kind: str) -> Callable[[dict[str, Any]], Reply]:
    """A server's tokenize call, by the bundled model's vocabulary."""

    def reply(body: dict[str, Any]) -> Reply:
        if kind == "llama-server":
            pieces = [p.decode() if p.isascii() else list(p) for p in nano.pieces(body["content"])]
            return refusal(200, {"tokens": [{"id": 1, "piece": piece} for piece in pieces]})
        if kind == "sglang":
            each = [nano.encode(text) for text in body["prompt"]]
            return refusal(200, {"tokens": each, "count": list(map(len, each)), "max_model_len": 4096})
        tokens = nano._encoding(body["prompt"]).tokens
        ids = nano.encode(body["prompt"])
        return refusal(200, {"count": len(ids), "max_model_len": 4096, "tokens": ids, "token_strs": tokens})

    return reply


async def converse(fake: Fake, counter: RemoteTokenizer, times: int = 1) -> None:
    """Ask the engine something, and let it do what it does afterwards."""
    remote = RemoteEngine(remote_settings(fake.kind, fake.endpoint), profiles.load("glm-5.2"), counter)
    for _ in range(times):
        async for _chunk in remote.generate(GenerateRequest(prompt(), max_tokens=8)):
            pass
        if remote._counting is not None:
            await remote._counting
    await remote.close()


@pytest.mark.parametrize("kind", COUNTING)
async def test_lines_that_a_server_has_counted_are_exact(kind: str, nano: GgufTokenizer) -> None:
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    bound = counter.count(CODE)
    async with Fake(kind, Reply(answer(kind, "x"))) as fake:
        fake.tokenize = counting(nano, kind)
        await converse(fake, counter)
    assert counter.known_lines > 100
    assert counter.count(CODE) == nano.count(CODE) < bound
    assert counter.count("def new():\n" + CODE) <= nano.count(CODE) + 20
    assert len(fake.counted) == 1, "all of them at once"
    assert not counter.exact


@pytest.mark.parametrize("kind", COUNTING)
async def test_counting_asks_nobody(kind: str, nano: GgufTokenizer) -> None:
    """The call on the way of a keystroke only looks up; what is asked, is asked after an answer."""
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    async with Fake(kind, Reply(answer(kind, "x"))) as fake:
        fake.tokenize = counting(nano, kind)
        counter.count(CODE)
        await asyncio.sleep(0)
        assert fake.paths == []
        await converse(fake, counter)
        assert fake.paths[1:] == ["/tokenize"]
        counter.count("x = 1\n" * 9)
        await converse(fake, counter)
        assert fake.paths.count("/tokenize") == 1, "a few lines are not worth a question"


def test_no_secret_is_asked_about() -> None:
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    secret = "aws_secret_access_key = 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYzq8QkT3vN2'\n"
    counter.count(CODE + secret + "x = 1\n")
    wanted = counter.wanted()
    assert len(wanted) > WORTH_ASKING
    assert secret not in wanted


def test_lines_that_begin_no_word_are_not_asked_about() -> None:
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    counter.count("".join(f"a{n}\n" for n in range(WORTH_ASKING)) + "é = 1\n\nlast = 2")
    assert all(line.endswith("\n") for line in counter.wanted())


WRONG = (
    (lambda _: refusal(404, {"error": "Not Found"}), 3),
    (lambda _: refusal(500, "oh"), 3),
    (lambda _: refusal(200, {"tokens": [], "count": [], "token_strs": []}), 1),
    (lambda _: refusal(200, {"tokens": "many"}), 1),
    (lambda _: refusal(200, "<html>"), 1),
    (lambda _: refusal(200, {"tokens": [{"piece": [999]}], "count": [10**9], "token_strs": ["\u0000"]}), 1),
)


@pytest.mark.parametrize("kind", COUNTING)
@pytest.mark.parametrize(("reply", "asked"), WRONG)
async def test_a_server_that_counts_wrongly_is_not_asked_again(
    kind: str, reply: Callable[[dict[str, Any]], Reply], asked: int
) -> None:
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    plain = ApproximateTokenizer().count(CODE)
    async with Fake(kind, Reply(answer(kind, "x"))) as fake:
        fake.tokenize = reply
        remote = RemoteEngine(remote_settings(kind, fake.endpoint), profiles.load("glm-5.2"), counter)
        for turn in range(6):
            counter.count("".join(f"turn{turn}_{n} = {n}\n" for n in range(50)))
            chunks = [c async for c in remote.generate(GenerateRequest(prompt(), max_tokens=8))]
            assert chunks[-1].finish is not None, "the answer does not suffer"
            if remote._counting is not None:
                await remote._counting
        await remote.close()
    assert len(fake.counted) == asked
    assert counter.count(CODE) == plain


@pytest.mark.parametrize(
    ("pieces", "lines", "counts"),
    [
        ([b"a", b"\n", b"b\n"], ["a\n", "b\n"], [2, 1]),
        ([], [], []),
        ([b"\xc3", b"\xa9\n"], ["é\n"], [2]),
    ],
)
def test_tokens_fall_to_their_lines(pieces: list[bytes], lines: list[str], counts: list[int]) -> None:
    assert by_line(pieces, lines) == counts


@pytest.mark.parametrize(
    ("pieces", "lines", "said"),
    [
        ([b"a\nb\n"], ["a\n", "b\n"], "across the ends of lines"),
        ([b"a\n"], ["b\n"], "not those of the text"),
        ([b"a\n", b"b\n"], ["a\n"], "not those of the text"),
        ([b"", b"a\n"], ["a\n"], "not those of the text|across"),
    ],
)
def test_tokens_that_do_not_are_refused(pieces: list[bytes], lines: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        by_line(pieces, lines)


def test_text_is_counted_as_it_is_sent(nano: GgufTokenizer) -> None:
    counter = RemoteTokenizer(nano)
    assert counter.exact
    text = "".join(SPECIAL_TOKENS)
    assert counter.count(text) == nano.count(disarm(text)) != nano.count(text)


@pytest.mark.slow
@pytest.mark.embedded
async def test_the_real_llama_server_counts_as_its_own_vocabulary(nano: GgufTokenizer) -> None:
    import shutil  # noqa: PLC0415

    from test_real_servers import serving  # noqa: PLC0415

    found = os.environ.get("GLM_LSP_TEST_LLAMA_SERVER") or shutil.which("llama-server")
    if not found:
        pytest.skip("llama-server is not on the path; GLM_LSP_TEST_LLAMA_SERVER may name it")
    texts = [p.read_text(encoding="utf-8") for p in sorted(Path(os.__file__).parent.glob("a*.py"))[:6]]
    counter = RemoteTokenizer(ApproximateTokenizer(), asks=True)
    for text in texts:
        counter.count(text)
    command = [found, "-m", NANO, "-c", "1024", "-t", "1", "-np", "1", "--no-webui"]
    with serving(command, "/health") as base:
        remote = RemoteEngine(remote_settings("llama-server", base), profiles.load("nano"), counter)
        await collect(remote, GenerateRequest(prompt(), max_tokens=2))
        remote = RemoteEngine(remote_settings("llama-server", base), profiles.load("nano"), counter)
        for _ in range(4):
            await remote._count(counter)
        await remote.close()
    for text in texts:
        whole = text.rpartition("\n")[0] + "\n"
        known = [line for line in whole.splitlines(keepends=True) if line.strip()]
        assert counter.known_lines > len(known) // 4
        assert nano.count(whole) <= counter.count(whole) <= 1.1 * nano.count(whole)
