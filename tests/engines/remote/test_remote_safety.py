"""Nothing leaves this machine unless its user says so, nothing goes astray, and the key stays secret."""

from __future__ import annotations

import base64
import logging
import shutil
import ssl
import subprocess
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_fakes import DONE, RESET, Fake, Reply, Wait, answer, chunk, event, refusal
from remote_kit import KEY, KINDS, ask, collect, connect, remote_settings, text_of

from glm_lsp.core import profiles
from glm_lsp.core.errors import EngineError, EngineUnavailable
from glm_lsp.core.settings import DEFAULTS, Settings
from glm_lsp.engines.remote import RemoteEngine, availability
from glm_lsp.engines.remote.client import check_endpoint
from glm_lsp.engines.remote.engine import dialect
from glm_lsp.engines.remote.errors import redact

every_kind = pytest.mark.parametrize("kind", KINDS)
PROFILE = profiles.load("glm-5.2")


@every_kind
@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("", "nothing is sent anywhere"),
        ("   ", "nothing is sent anywhere"),
        ("http://example.org/v1", "in the clear"),
        ("http://127.0.0.1.example.org/v1", "in the clear"),
        ("http://localhost.example.org", "in the clear"),
        ("http://10.0.0.7:8000", "in the clear"),
        ("http://[2001:db8::1]:8000", "in the clear"),
        ("http://0.0.0.0:8000", "in the clear"),
        ("http://2130706433:8000", "in the clear"),
        ("ftp://example.org", "must begin with https://"),
        ("example.org/v1", "must begin with https://"),
        ("file:///etc/passwd", "must begin with https://"),
        (f"https://user:{quote(KEY, safe='')}@example.org/v1", "no user name, key"),
        (f"https://example.org/v1?key={quote(KEY, safe='')}", "no user name, key"),
        ("https://example.org/v1#x", "no user name, key"),
        ("http://[::1", "is no address"),
        ("https://exa mple.org", "is no address"),
    ],
)
def test_an_address_that_must_not_be_contacted_is_refused(kind: str, endpoint: str, says: str) -> None:
    settings = remote_settings(kind, endpoint)
    with pytest.raises(EngineUnavailable, match=says) as caught:
        RemoteEngine(settings, PROFILE)
    assert availability(settings) == str(caught.value)
    assert not leaks(str(caught.value))


@pytest.mark.parametrize(
    ("kind", "endpoint", "root"),
    [
        ("zai", "https://api.z.ai", "https://api.z.ai/api/paas/v4"),
        ("zai", "https://api.z.ai/api/coding/paas/v4/", "https://api.z.ai/api/coding/paas/v4"),
        ("openai", "http://localhost:8000", "http://localhost:8000/v1"),
        ("openai", "https://example.org/openai/v1", "https://example.org/openai/v1"),
        ("vllm", "http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("sglang", "http://[::1]:30000", "http://[::1]:30000"),
        ("llama-server", "http://127.8.9.1:8080/v1", "http://127.8.9.1:8080"),
        ("llama-server", "https://example.org/llama/v1", "https://example.org/llama"),
    ],
)
def test_an_address_is_completed(kind: str, endpoint: str, root: str) -> None:
    assert check_endpoint(endpoint, dialect(kind)).root == root


def test_without_an_address_there_is_no_engine() -> None:
    assert "remote.endpoint" in availability(DEFAULTS)
    with pytest.raises(EngineUnavailable):
        RemoteEngine(DEFAULTS, PROFILE)


def test_zai_without_a_key_is_known_before_anything_is_sent() -> None:
    settings = Settings({"remote.kind": "zai", "remote.endpoint": "https://api.z.ai"})
    assert "GLM_LSP_REMOTE_KEY" in availability(settings)


@every_kind
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(kind: str, status: int) -> None:
    async with Fake(kind, Reply(answer(kind, "x"))) as other:
        origin = other.endpoint.removesuffix("/v1")
        to = f"{origin}/v1?key={quote(KEY, safe='')}"
        async with Fake(kind, Reply([], status, {"location": to})) as fake:
            with pytest.raises(EngineUnavailable, match="Redirects are never followed") as caught:
                await collect(connect(fake), ask())
        assert other.paths == []
    assert f"sends us on to {origin}. " in str(caught.value)
    assert not leaks(str(caught.value))


@pytest.mark.parametrize(
    "location", ["", "/elsewhere", "https://", "http://[", "javascript:alert(1)", "\x7f"]
)
async def test_any_location_makes_a_sentence(location: str) -> None:
    async with Fake("openai", Reply([], 302, {"location": location})) as fake:
        with pytest.raises(EngineUnavailable, match="Redirects are never followed"):
            await collect(connect(fake), ask())


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://user:pass@example.org/x?y", "https://example.org"),
        ("http://example.org:8080/x", "http://example.org:8080"),
        ("http://[::1]:81/", "http://[::1]:81"),
        ("/elsewhere", "another address of its own"),
    ],
)
async def test_a_redirect_names_where_it_leads_and_no_more(location: str, shown: str) -> None:
    async with Fake("openai", Reply([], 302, {"location": location})) as fake:
        with pytest.raises(EngineUnavailable) as caught:
            await collect(connect(fake), ask())
    assert f"sends us on to {shown}. Redirects" in str(caught.value)


@every_kind
async def test_a_certificate_that_is_not_trusted_ends_it_before_anything_is_sent(
    kind: str, tmp_path: Path
) -> None:
    context = self_signed(tmp_path)
    async with Fake(kind, Reply(answer(kind, "x")), tls=context) as fake:
        with pytest.raises(EngineUnavailable, match="certificate that is not trusted"):
            await collect(connect(fake), ask())
        assert fake.heads == []


async def test_an_authority_of_ones_own_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = self_signed(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    async with Fake("openai", Reply(answer("openai", "x")), tls=context) as fake:
        assert text_of(await collect(connect(fake), ask())) == "x"


async def test_this_machine_is_never_asked_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Fake("openai", Reply(answer("openai", "x"))) as fake, Fake("openai", Reply([])) as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.endpoint)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert text_of(await collect(connect(fake), ask())) == "x"
    assert proxy.paths == []


def self_signed(directory: Path) -> ssl.SSLContext:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "1",
        "-subj",
        "/CN=127.0.0.1",
    ]
    subprocess.run(
        [*command, "-keyout", key, "-out", certificate, "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def spellings(key: str) -> list[str]:
    return [
        key,
        quote(key),
        quote(key, safe=""),
        quote(key, safe="").lower(),
        quote_plus(key),
        base64.b64encode(key.encode()).decode(),
    ]


def leaks(text: str) -> list[str]:
    return [spelling for spelling in spellings(KEY) if spelling in text]


def trail(error: BaseException) -> list[str]:
    """Everything that a log, a traceback or a crash report could show of an exception."""
    shown: list[str] = []
    pending: list[BaseException] = [error]
    while pending:
        each = pending.pop()
        shown += [str(each), repr(each), *map(repr, each.args), repr(vars(each))]
        pending += [e for e in (each.__cause__, each.__context__) if e is not None]
    return shown


def echoes() -> list[Reply]:
    told = f"bad key {KEY} {quote(KEY, safe='')} {quote_plus(KEY)} {quote(KEY).lower()}"
    return [
        refusal(401, {"error": {"message": told, "code": told, "type": told}}),
        refusal(400, told),
        refusal(500, {"detail": told}),
        refusal(200, f"<html>{told}"),
        refusal(429, told),
        Reply([], 302, {"location": f"https://{quote(KEY, safe='')}.example/?k={quote(KEY, safe='')}"}),
        Reply([event({"error": {"message": told, "code": told}})]),
        Reply([chunk("openai", "x", finish=told), DONE]),
        Reply([chunk("openai", "x"), RESET]),
        Reply([Wait(60)]),
        Reply([f"data: {told}\n\n".encode()]),
    ]


@pytest.mark.parametrize("number", range(len(echoes())))
async def test_the_key_is_in_no_log_and_no_exception(number: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Fake("openai", echoes()[number]) as fake:
        remote = connect(fake, engine__stall_seconds=0.2)
        with pytest.raises(EngineError) as caught:
            await collect(remote, ask())
        assert fake.heads[0]["authorization"] == f"Bearer {KEY}"
    for text in (*trail(caught.value), repr(remote), repr(vars(remote)), *caplog.messages):
        assert not leaks(text), text
    for record in caplog.records:
        assert not leaks(repr(vars(record)))


@pytest.mark.parametrize("key", ["schlüssel", "🔑🔑🔑🔑", "k\r\nx-evil: 1", "two words", "tab\there"])
def test_a_key_that_no_header_can_carry_is_told_without_it(key: str) -> None:
    with pytest.raises(EngineUnavailable, match="characters that no key has") as caught:
        RemoteEngine(remote_settings("openai", "https://example.org", remote__key=key), PROFILE)
    assert not any(key in text for text in trail(caught.value))


def test_settings_do_not_show_the_key() -> None:
    assert not leaks(repr(remote_settings("zai", "https://api.z.ai")))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=4, max_size=40), st.text())
def test_no_spelling_survives(key: str, around: str) -> None:
    around = around.replace(key, "")
    for form in (key, quote(key), quote(key, safe=""), quote(key, safe="").lower(), quote_plus(key)):
        assert form not in redact(f"({form}) {around}".replace("***", ""), key) or form in "***"


async def test_what_a_provider_says_is_cut_and_cleaned() -> None:
    hostile = "\x1b]0;owned\x07\n::error::x\u202e" + "y" * 1000
    async with Fake("openai", refusal(400, {"error": {"message": hostile}})) as fake:
        with pytest.raises(EngineUnavailable) as caught:
            await collect(connect(fake), ask())
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 500
