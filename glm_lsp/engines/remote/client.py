"""The wire: one POST, one event stream. What may be contacted, and how long silence may last.

Nothing is followed, nothing is guessed: plain HTTP goes to this machine only, redirects end the request, a
certificate that is not trusted ends it before a byte was sent. There is no wall clock: any byte is a sign of
life.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import cast

import httpx

from glm_lsp.core.errors import EngineUnavailable
from glm_lsp.engines.remote.dialect import Body, Dialect
from glm_lsp.engines.remote.errors import Place, not_understood, redact, refusal, transport
from glm_lsp.engines.remote.sse import Event, SseError, SseParser

CONNECT_SECONDS = 15.0
KEEPALIVE_SECONDS = 3.0
ERROR_BODY_BYTES = 64 * 1024
ANSWER_BYTES = 16 << 20


_HOST = re.compile(r"[A-Za-z0-9._:-]+")
# At DEBUG these write whole headers, and a server may send a key back in one.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Address:
    """A checked base address. `root` has no slash at its end; `origin` is fit to be shown."""

    root: str
    origin: str
    loopback: bool


def check_endpoint(endpoint: str, dialect: Dialect) -> Address:
    """Return where to send requests. Raises EngineUnavailable with a sentence that never repeats a secret."""
    if not endpoint.strip():
        raise EngineUnavailable(
            "No remote engine is set, and nothing is sent anywhere without one. "
            "Set remote.endpoint to its address."
        )
    try:
        url = httpx.URL(endpoint.strip())
    except (httpx.InvalidURL, ValueError) as error:
        raise EngineUnavailable(
            "remote.endpoint is no address. Give one such as https://api.z.ai/api/paas/v4."
        ) from (error)
    if url.scheme not in ("http", "https") or not url.host:
        raise EngineUnavailable(
            "remote.endpoint must begin with https:// (or http:// on this machine) and a host."
        )
    if url.userinfo or url.query or url.fragment:
        raise EngineUnavailable(
            "remote.endpoint must hold no user name, key, query or fragment. "
            "Give the key as GLM_LSP_REMOTE_KEY."
        )
    origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
    loopback = is_loopback(url.host)
    if url.scheme == "http" and not loopback:
        raise EngineUnavailable(
            f"{origin} would carry your code and key in the clear, so nothing is sent. Use https, or "
            "a tunnel to an address of this machine."
        )
    if not _HOST.fullmatch(url.raw_host.decode("ascii")):
        raise EngineUnavailable("remote.endpoint is no address: its host holds characters that no host has.")
    path = url.path.rstrip("/") or dialect.default_path
    path = path.removesuffix(dialect.cut_path) if dialect.cut_path else path
    return Address(origin + path, origin, loopback)


def is_loopback(host: str) -> bool:
    """This machine and no other. Names are not looked up: only `localhost` counts."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(slots=True)
class Client:
    """Connections to one remote engine, kept open between requests."""

    address: Address
    place: Place
    stall_s: float
    _http: httpx.AsyncClient | None = field(default=None, repr=False)

    async def stream(self, path: str, body: Body) -> AsyncGenerator[str, None]:
        """Yield the data of each event as it comes. Closing the generator closes the connection.

        Raises an EngineError, or TryAgain where the refusal passes.
        """
        answered = False
        try:
            request = (await self._client()).stream(
                "POST", self.address.root + path, json=body, headers=self._headers()
            )
            async with request as response:
                answered = True
                kind = response.headers.get("content-type", "").split(";")[0].strip().lower()
                if response.status_code != 200 or kind != "text/event-stream":
                    text = await _read(response)
                    raise refusal(response.status_code, response.headers, text, self.place)
                parser = SseParser()
                async with aclosing(_bytes(response)) as chunks:
                    async for chunk in chunks:
                        for item in parser.feed(chunk):
                            if isinstance(item, Event):
                                yield item.data
        except SseError as error:
            raise not_understood(self.place, str(error)) from None
        except httpx.HTTPError as error:
            # The original holds the request and with it the key: not even as a cause may it travel on.
            raise transport(error, self.place, self.stall_s, answered=answered) from None

    async def ask(self, path: str, body: Body) -> bytes:
        """The answer to a question that needs no stream, at most ANSWER_BYTES. Raises as `stream` does."""
        try:
            request = (await self._client()).stream(
                "POST", self.address.root + path, json=body, headers=self._headers("application/json")
            )
            async with request as response:
                if response.status_code != 200:
                    raise refusal(response.status_code, response.headers, await _read(response), self.place)
                found = bytearray()
                async with aclosing(_bytes(response)) as chunks:
                    async for chunk in chunks:
                        found += chunk
                        if len(found) > ANSWER_BYTES:
                            raise not_understood(self.place, "is far longer than what was asked for")
                return bytes(found)
        except httpx.HTTPError as error:
            raise transport(error, self.place, self.stall_s, answered=False) from None

    async def close(self) -> None:
        if self._http is not None:
            client, self._http = self._http, None
            await client.aclose()

    async def _refuse_redirect(self, response: httpx.Response) -> None:
        """Before httpx looks where it leads: even an address that it cannot read makes our sentence."""
        if 300 <= response.status_code < 400:
            raise refusal(response.status_code, response.headers, "", self.place)

    def _headers(self, accept: str = "text/event-stream") -> dict[str, str]:
        headers = {"accept": accept, "accept-encoding": "identity", "user-agent": "glm-lsp"}
        if self.place.secret:
            headers["authorization"] = f"Bearer {self.place.secret}"
        return headers

    async def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            trusted = await _trusted(self.address)
            if self._http is not None:
                return self._http
            self._http = httpx.AsyncClient(
                verify=trusted,
                timeout=httpx.Timeout(self.stall_s, connect=CONNECT_SECONDS, pool=None),
                # Many servers drop an idle connection after five seconds: one that might be on its way out is
                # not used again.
                limits=httpx.Limits(
                    max_connections=None, max_keepalive_connections=4, keepalive_expiry=KEEPALIVE_SECONDS
                ),
                follow_redirects=False,
                event_hooks={"response": [self._refuse_redirect]},
                # A proxy from the environment is the user's own word for hosts outside; nothing on this
                # machine is ever asked through one.
                trust_env=not self.address.loopback,
            )
        return self._http


async def _trusted(address: Address) -> ssl.SSLContext:
    """Whom to believe. Reading the authorities takes long enough to be felt in an editor: not on the loop."""
    if address.root.startswith("http:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # knows no authority and so trusts nobody
    return await asyncio.to_thread(httpx.create_ssl_context)


def _bytes(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """As they came, never unpacked: compression was not asked for. It is a generator, whatever its annotation
    says, and wants closing like one."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_raw())


async def _read(response: httpx.Response) -> str:
    """The beginning of a body that is no stream."""
    body = bytearray()
    async with aclosing(_bytes(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) >= ERROR_BODY_BYTES:
                break
    return bytes(body[:ERROR_BODY_BYTES]).decode("utf-8", "replace")


def shown(endpoint: str, key: str) -> str:
    """An address as it may stand in a report: origin only, never a key."""
    try:
        url = httpx.URL(endpoint.strip())
        return redact(f"{url.scheme}://{url.host}" + (f":{url.port}" if url.port else ""), key)
    except (httpx.InvalidURL, ValueError):
        return "an unreadable address"
