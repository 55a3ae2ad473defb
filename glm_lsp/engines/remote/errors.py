"""What went wrong with a remote engine, as sentences that name the remedy. No key is ever in them.

A provider's own words are quoted, but cut, cleaned of control characters and of the key: they are as
untrusted as any other text from outside.
"""

from __future__ import annotations

import re
import ssl
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

import httpx

from glm_lsp.core.errors import EngineDied, EngineError, EngineStalled, EngineUnavailable, PromptTooLong
from glm_lsp.engines.remote.dialect import Problem, read_problem

QUOTE_CHARS = 200
LONGEST_WAIT_S = 60.0
"""A provider that asks for more patience than this gets none: the user hears of it instead."""


class TryAgain(Exception):  # noqa: N818 (never leaves this package)
    """A refusal that passes: ask again after `after_s`, or after a back-off of one's own where it is None."""

    def __init__(self, error: EngineError, after_s: float | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Place:
    """Who is spoken of. `origin` is scheme, host and port; `secret` the key, which no message may hold."""

    title: str
    origin: str
    model: str
    secret: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.title} at {self.origin}"

    def clean(self, text: str) -> str:
        """One line of at most QUOTE_CHARS characters, without control characters and without the key."""
        text = redact(text, self.secret)
        text = "".join(" " if unicodedata.category(c).startswith("C") else c for c in text)
        text = " ".join(text.split())
        return text if len(text) <= QUOTE_CHARS else text[: QUOTE_CHARS - 1] + "…"


def redact(text: str, secret: str) -> str:
    """Replace the secret by `***`, also where it is URL-encoded or escaped as in JSON."""
    if not secret:
        return text
    escaped = secret.encode("unicode_escape").decode("ascii")
    forms = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), escaped}
    forms |= {form.replace("/", "\\/").replace('"', '\\"') for form in forms}
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, "***", text, flags=re.IGNORECASE)


def transport(error: httpx.HTTPError, place: Place, stall_s: float, *, answered: bool) -> EngineError:
    """The sentence for a connection that failed; `answered` means that headers had come."""
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return EngineStalled(
            f"{place} showed no sign of life for {stall_s:g} seconds. Ask again, look at the server, or "
            "raise engine.stall_seconds if it needs longer for a prompt."
        )
    if _certificate(error):
        return EngineUnavailable(
            f"{place} shows a certificate that is not trusted, so nothing was sent. Correct remote.endpoint, "
            "or give the server a valid certificate (SSL_CERT_FILE may name your own authority)."
        )
    if isinstance(error, httpx.ConnectTimeout | httpx.ConnectError | httpx.PoolTimeout | httpx.ProxyError):
        return EngineUnavailable(
            f"{place} cannot be reached. Start it, or correct remote.endpoint "
            f"({place.clean(str(error)) or type(error).__name__})."
        )
    when = "in the middle of its answer" if answered else "before it answered"
    return EngineDied(f"{place} closed the connection {when}. Ask again; nothing was changed.")


def _certificate(error: BaseException) -> bool:
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLError):
            return True
        seen = seen.__cause__ or seen.__context__
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


def refusal(status: int, headers: Mapping[str, str], body: str, place: Place) -> EngineError | TryAgain:
    """The sentence for an answer that is no stream."""
    if 300 <= status < 400:
        return EngineUnavailable(
            f"{place} sends us on to {_host(headers.get('location', ''), place)}. Redirects are never "
            "followed; put the final address into remote.endpoint if you trust it."
        )
    if (told := read_problem(body)) is not None:
        return problem(told, place, status, headers)
    page = "html" in headers.get("content-type", "").lower() or body.lstrip()[:1] == "<"
    if page:
        sentence = (
            f"{place} answered {status} with a web page instead of a stream. Look whether remote.endpoint is "
            "the address of its interface, and whether a proxy or a login page stands in between."
        )
        return _passing(sentence, headers) if status == 503 else EngineUnavailable(sentence)
    if status == 200:
        return EngineUnavailable(
            f"{place} did not answer with a stream. Look whether remote.kind and remote.endpoint are right."
        )
    return problem(Problem(body), place, status, headers)


def problem(
    told: Problem, place: Place, status: int = 200, headers: Mapping[str, str] | None = None
) -> EngineError | TryAgain:
    """The sentence for a failure that the provider explains."""
    words = place.clean(told.message)
    said = f" It says: {words.rstrip('.')}." if words else ""
    code = f" (code {place.clean(told.code)})" if told.code and told.code != str(status) else ""
    if (remedy := ZAI.get(told.code)) is not None:
        error = EngineUnavailable(f"{place} refuses{code}: {remedy}.{said}")
        return TryAgain(error, _wait(headers)) if told.code in ZAI_PASSING else error
    if told.code in TOO_LONG_CODES or told.kind in TOO_LONG_CODES or _TOO_LONG.search(told.message):
        return PromptTooLong(
            f"{place} takes fewer tokens than this prompt has. Lower context.budget_tokens, or correct "
            f"remote.context_tokens.{said}",
            told.counted or _figure(_COUNTED, told.message),
            told.taken or _figure(_TAKEN, told.message),
        )
    if told.code in SPENT_CODES or told.kind in SPENT_CODES:
        return EngineUnavailable(f"{place} refuses{code}: the account has no credit left. Recharge it.{said}")
    status = _status(told, status)
    match status:
        case 401 | 403:
            key = "Set GLM_LSP_REMOTE_KEY" if not place.secret else "Correct GLM_LSP_REMOTE_KEY or remote.key"
            return EngineUnavailable(f"{place} refuses the key ({status}). {key}.{said}")
        case 402:
            return EngineUnavailable(f"{place} wants payment ({status}). Recharge the account.{said}")
        case 404 | 405:
            return EngineUnavailable(
                f"{place} knows neither this address nor, perhaps, the model '{place.model}' ({status}). "
                f"Correct remote.endpoint, remote.kind or remote.model.{said}"
            )
        case 413:
            return PromptTooLong(f"{place} takes no request of this size. Lower context.budget_tokens.{said}")
        case 429:
            return _passing(f"{place} is asked too often (429){code}. Wait a little.{said}", headers)
        case 503:
            return _passing(f"{place} is busy or still loading (503). Wait a little.{said}", headers)
        case 400 | 422:
            return EngineUnavailable(
                f"{place} does not accept the request ({status}){code}. Look whether remote.kind and "
                f"remote.model fit it.{said}"
            )
        case _ if status >= 500:
            return EngineDied(f"{place} failed ({status}){code}. Ask again, or look at its log.{said}")
        case 200:
            return EngineDied(f"{place} broke off with an error{code}. Ask again, or look at its log.{said}")
        case _:
            return EngineUnavailable(f"{place} refuses ({status}){code}.{said}")


def no_terminator(place: Place) -> EngineDied:
    return EngineDied(
        f"{place} ended its answer without saying that it is complete, so it was not used. Ask again, or "
        "look at its log."
    )


def not_understood(place: Place, what: str) -> EngineDied:
    sender = re.sub(r"\AThe ", "the ", str(place))
    return EngineDied(
        f"The answer of {sender} {what}, so it was not used. Look whether remote.kind is right."
    )


def reasoning_mixed(place: Place) -> EngineUnavailable:
    return EngineUnavailable(
        f"{place} mixes the model's reasoning into its answer, so it was not used. Start the server with a "
        "reasoning parser (vLLM and SGLang: --reasoning-parser glm45), or turn thinking off there."
    )


def reasoning_only(place: Place) -> EngineUnavailable:
    return EngineUnavailable(
        f"{place} returned reasoning and no answer although thinking is off. Choose the right remote.kind, "
        "so that the switch reaches the model, or a model whose thinking can be turned off."
    )


def filtered(place: Place, word: str) -> EngineUnavailable:
    return EngineUnavailable(f"{place} withheld the answer ({place.clean(word)}). Change what you ask for.")


def _passing(sentence: str, headers: Mapping[str, str] | None) -> EngineError | TryAgain:
    error = EngineUnavailable(sentence)
    wait = _wait(headers)
    return error if wait is not None and wait > LONGEST_WAIT_S else TryAgain(error, wait)


def _wait(headers: Mapping[str, str] | None) -> float | None:
    """Seconds of `Retry-After`. A date is ignored: our clock and theirs need not agree."""
    value = (headers or {}).get("retry-after", "").strip()
    return float(value) if re.fullmatch(r"\d{1,9}(\.\d{1,3})?", value) else None


def _status(told: Problem, status: int) -> int:
    """An error inside a stream comes with status 200; many servers then give the real one as the code."""
    return int(told.code) if status == 200 and re.fullmatch(r"[45]\d\d", told.code) else status


def _figure(pattern: re.Pattern[str], message: str) -> int:
    """A number of tokens that a provider tells in words; 0 where it does not."""
    found = pattern.search(message)
    return int(next(g for g in found.groups() if g)) if found else 0


def _host(location: str, place: Place) -> str:
    """Scheme, host and port of a redirect's target: what else it holds may be a secret."""
    try:
        url = httpx.URL(location)
    except (httpx.InvalidURL, TypeError, ValueError):
        return "an unreadable address"
    if not url.host:
        return "another address of its own"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return place.clean(f"{url.scheme}://{host}{'' if url.port is None else f':{url.port}'}")


_TOO_LONG = re.compile(
    r"maximum context length|longer than the model's context|exceeds? (the )?(available|maximum|model's)?\s*"
    r"(allowed )?(context|input|length)|context (size|length|window)( has been)? exceed|prompt is too long",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"(\d{1,9}) (?:in the (?:messages|prompt)|input tokens|tokens from the input)"
    r"|input (?:length )?\((\d{1,9}) tokens\)|resulted in (\d{1,9}) tokens",
    re.IGNORECASE,
)
_TAKEN = re.compile(r"(?:context|allowed) length (?:is |of )?\(?(\d{1,9}) tokens", re.IGNORECASE)
TOO_LONG_CODES = {"context_length_exceeded", "exceed_context_size_error", "1261"}
SPENT_CODES = {"insufficient_quota", "billing_hard_limit_reached"}
ZAI_PASSING = {"1302", "1305"}
ZAI = {
    "1000": "the key is not accepted; correct GLM_LSP_REMOTE_KEY",
    "1001": "no key was sent; set GLM_LSP_REMOTE_KEY",
    "1002": "the key is not valid; correct GLM_LSP_REMOTE_KEY",
    "1003": "the key has expired; make a new one and set GLM_LSP_REMOTE_KEY",
    "1004": "the key could not be verified; correct GLM_LSP_REMOTE_KEY",
    "1113": "no credit; recharge, or use the address that goes with the key "
    "(subscriptions: https://api.z.ai/api/coding/paas/v4)",
    "1211": "it does not know the model; correct remote.model",
    "1301": "its content filter objects; change what you ask for",
    "1302": "too many requests at the same time; wait a little",
    "1305": "it is overloaded; wait a little",
    "1308": "the limit of these five hours is used up; it says when it begins anew",
    "1310": "the limit of this week is used up; it says when it begins anew",
    "1313": "its fair-use policy; look at your account there",
}
