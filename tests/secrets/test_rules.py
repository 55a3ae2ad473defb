"""What is found, what is left alone, and what a marker keeps."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from importlib import resources
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glm_lsp.core.secrets import MARKER, being_typed, censored, find, mask, masked
from glm_lsp.core.secrets.rules import rules
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document, HeldBack, Span
from tests.secrets.canaries import canary

RULES = [rule.id for rule in rules().rules]


def document(text: str, path: str = "a.py") -> Document:
    return Document(path, text.encode(), digest(text.encode()), "python")


def check(text: str, *held: str, path: str = "a.py") -> bytes:
    """Exactly these parts of a text are held back; the masked text."""
    data = text.encode()
    places = find(path, data).places
    assert [data[p.span.start : p.span.end].decode() for p in places] == list(held)
    shown = mask(data, places)
    assert len(shown) == len(data)
    assert not any(part.encode() in shown for part in held)
    return shown


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_finds_what_has_its_shape(rule: str) -> None:
    drawn = canary(rule)
    assert drawn is not None
    text, secret = drawn
    data = f'# before\nvalue = """{text}"""  # after\n'.encode()
    found = find("a.py", data)
    shown = mask(data, found.places)
    assert secret.encode() not in shown
    assert len(shown) == len(data)
    assert shown.startswith(b"# before\nvalue =")
    assert shown.endswith(b"  # after\n")


RANDOM = "9f86d0Kx1e4fWq7bZ2Lp"
HEX = "5d41402abc4b2a76b9719d911017c592"
ASSIGNED = {
    "a string": ('token = "{}"', "a.py"),
    "a typed name": ("api_key: str = '{}'", "a.py"),
    "a keyword argument": ('connect(auth_key="{}")', "a.py"),
    "a dictionary": ('{{"client_secret": "{}"}}', "a.json"),
    "an index": ('os.environ["ACCESS_KEY"] = "{}"', "a.py"),
    "Go": ('apiKey := "{}"', "a.go"),
    "JavaScript": ("const accessToken = `{}`;", "a.ts"),
    "a hash": ("'password' => '{}'", "a.php"),
    "a call": ('setToken("{}")', "a.java"),
    "a default": ('os.getenv("SECRET", "{}")', "a.py"),
    "XML": ("<apiKey>{}</apiKey>", "a.xml"),
    "YAML": ("password: {}", "a.yml"),
    "ini": ("db_password = {}", "a.ini"),
    "a shell": ("export TOKEN={}", "a.sh"),
    "a make file": ("SECRET_KEY={}", "Makefile"),
}


@pytest.mark.parametrize("name", ASSIGNED)
@pytest.mark.parametrize("value", [RANDOM, HEX])
def test_random_values_of_secret_names(name: str, value: str) -> None:
    pattern, path = ASSIGNED[name]
    check(pattern.format(value) + "\n", value, path=path)


B64 = "mJ8vQ2ZkW4nT8vB3cR6mF1h5Jd0Gs7Kq2Wx9Ev4Zt8"
KEY = base64.b64encode(b"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIOj98rAhc4ToQkHby" * 4).decode()
PLACED = {
    "two strings": ("token = 'ghp_16C7e42F292c' + '6912E7710c838347Ae178B4a'\n", "a.py", None),
    "lines": ("TOKEN = (\n    'x7Yq2Lp9'\n    'ZkW4nT8vB3cR'\n)\n", "a.py", None),
    "a JSON web token in lines": (
        "t = (b'eyJhbGciOiJIUzI1NiJ9.'\n b'eyJzdWIiOiIxMjM0NTY3In0.'\n b'dBjftJeZ4CVPmB92K27uhbUJU1p')\n",
        "a.py",
        None,
    ),
    "a value below its name": (f'{{"token":\n   "{RANDOM}"}}\n', "a.json", [RANDOM]),
    "escaped quotes": (f's = "{{\\"token\\": \\"{RANDOM}\\"}}"\n', "a.py", [RANDOM]),
    "Rust": (f'const API_KEY: &str = "{RANDOM}";\n', "a.rs", [RANDOM]),
    "an address": (f"get('https://a.org/x?access_token={RANDOM}&b=1')\n", "a.py", [RANDOM]),
    "an argument": (f"tool --db-token {RANDOM} --quiet\n", "a.sh", [RANDOM]),
    "a build file": (f"ENV API_TOKEN {RANDOM}\n", "Dockerfile", [RANDOM]),
    "YAML": ("db:\n  pass: k9#mQ2!vL7pX\n", "a.yml", ["k9#mQ2!vL7pX"]),
    "SQL": ("CREATE USER a IDENTIFIED BY 'k9#mQ2!vL7pX';\n", "a.sql", ["k9#mQ2!vL7pX"]),
    "an encoded key": (f"tls.key: {KEY}\n", "a.yml", [KEY]),
    "a random string": (f"Fernet(b'{B64}=')\n", "a.py", [B64 + "="]),
}


@pytest.mark.parametrize("name", PLACED)
def test_wherever_a_secret_stands(name: str) -> None:
    text, path, held = PLACED[name]
    check(text, *(held or [p for p in re.findall(r"'([^']*)'", text)]), path=path)


@pytest.mark.parametrize("word", ["gitleaks:allow", "pragma: allowlist secret", "nosec", "noqa"])
def test_nothing_in_the_text_turns_the_gate_off(word: str) -> None:
    check(f'token = "{RANDOM}"  # {word}\n', RANDOM)


BLOCK = """KEY = (
    "-----BEGIN RSA PRIVATE KEY-----\\n"
    "MIIEpAIBAAKCAQEAx7Zb2V2rX0m2mQw9v8s7y6t5r4e3w2q1p0o9i8u7y6t5r4e3\\n"
    "abc=\\n"
    "-----END RSA PRIVATE KEY-----\\n"
)
"""


def test_a_block_keeps_its_lines_and_quotes() -> None:
    data = BLOCK.encode()
    places = find("a.py", data).places
    assert [(p.kind, p.line) for p in places] == [("private key", 1)]
    assert mask(data, places).decode() == (
        'KEY = (\n    "-----BEGIN RSA PRIVATE KEY-----\\n"\n'
        f'    "[held back: private key]{"*" * 40}\\n"\n    "****\\n"\n'
        '    "-----END RSA PRIVATE KEY-----\\n"\n)\n'
    )


def test_a_block_that_is_not_finished_is_held_back_as_far_as_it_goes() -> None:
    text = "-----BEGIN PRIVATE KEY-----\n" + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC" * 2 + "\nMIIEow\n\ndef f():\n"
    data = text.encode()
    shown = mask(data, find("a.txt", data).places)
    assert b"MIIE" not in shown
    assert shown.endswith(b"\ndef f():\n")


ORDINARY = {
    "a header alone": 'HEADER = "-----BEGIN PRIVATE KEY-----"\n',
    "a public key": "-----BEGIN PUBLIC KEY-----\n" + "MIIEow" * 20 + "\n-----END PUBLIC KEY-----\n",
    "documentation's own key": "AKIAIOSFODNN7EXAMPLE\n",
    "a prefix": "# see ghp_ tokens, sk-ant- keys and xoxb- ones\n",
    "a lock file": '"integrity": "sha512-9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15=="\n',
    "a digest": 'content-hash = "5d41402abc4b2a76b9719d911017c592"\nsum = "9f86d081884c7d659a2fea"\n',
    "an identifier": 'id = "7f1c2e9a-3b5d-4c6e-8f7a-1b2c3d4e5f60"\n',
    "base64 data": 'IMAGE = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHEl"\n',
    "a name": 'token = "authorization_code"\nPASSWORD_FIELD = "password_field_2"\nSECRET = "APP_SECRET_2"\n',
    "a name of parts": 'TOKEN_TYPE = "urn:ietf:params:aws4:token-type:aws4"\nKEY = get("s3_access_key_id")\n',
    "a pattern": 'store("master_keys", f"{self.master_id}.pem")\ntoken: V2.Core.AccountTokenCreateParams\n',
    "names of events": "`V1CustomerSubscriptionCancelAtEvent`, 'TokenUrnIetfParamsOauth2TypeAccess1Token'\n",
    "a picture": 'x = "iVBORw0KGgoAAAANSUhEUgAAAAUAAAAFCAYAAACNbyblAAAAHEl"\n',
    "a digest of an archive": "integrity = 'mJ8vQ2ZkW4nT8vB3cR6mF1h5Jd0Gs7Kq2Wx9Ev4Zt80='\n",
    "a stand-in": 'password = "your-password-123"\napi_key = "xxxxxxxxxxxxxxxxxxxx"\ntoken = "<TOKEN_1>"\n',
    "a variable": 'password = "${DB_PASSWORD_2}"\ntoken = f"{prefix}{suffix1}abcdefgh"\n',
    "a path": 'token_file = "/var/run/secrets/token1"\npassword_url = "https://a.example/reset1"\n',
    "an address": "https://user:password@a.org/\nhttp://localhost:8080/@scope/x\nhttps://[user[:pass]]@x\n",
    "a type": "def token(self, tokenizer: Tokenizer2 = Tokenizer2()) -> Token1:\n",
    "no text": "\x00\x01\ufffd\U0010ffff",
    "nothing": "",
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_text_is_left_as_it_is(name: str) -> None:
    assert check(ORDINARY[name]) == ORDINARY[name].encode()


@given(
    st.text(st.characters(codec="utf-8"), max_size=60),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.text(st.characters(codec="utf-8"), max_size=60),
)
@settings(deadline=None)
def test_a_marker_takes_the_bytes_characters_and_lines_of_what_it_stands_for(
    before: str, held: str, after: str
) -> None:
    start = len(before.encode())
    data = (before + held + after).encode()
    place = HeldBack(Span(start, start + len(held.encode())), "key", 0)
    shown = mask(data, (place,)).decode()
    assert (shown.startswith(before), shown.endswith(after)) == (True, True)
    inner = shown[len(before) : len(shown) - len(after)]
    for encoding in ("utf-8", "utf-16-le", "utf-32-le"):
        assert [len(line.encode(encoding)) for line in inner.split("\n")] == [
            len(line.encode(encoding)) for line in held.split("\n")
        ]
    letters = {c for c in held if c.isalnum() and c not in "[held back: key]"}
    assert not letters & set(inner)


@given(st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_can_be_looked_through(data: bytes) -> None:
    found = find("a.txt", data)
    assert len(mask(data, found.places)) == len(data)


WORDS = st.sampled_from([w.decode() for w in rules().words])


@given(st.lists(st.one_of(WORDS, st.text("aZ3_=:\"' \n./@-+", max_size=30)), max_size=40))
@settings(deadline=None)
def test_what_is_masked_holds_nothing_more_to_mask(parts: list[str]) -> None:
    data = "".join(parts).encode()
    shown = mask(data, find("a.yml", data).places)
    kinds = {MARKER.sub("", place.kind) for place in find("a.yml", shown).places}
    assert kinds <= {"password in an address", "private key", "certificate"}


def test_a_document_is_masked_once_and_keeps_its_digest() -> None:
    plain = document(f'token = "{RANDOM}"\n')
    shown = masked(plain)
    assert (shown.digest, shown.path) == (plain.digest, plain.path)
    assert shown.held == (HeldBack(Span(9, 29), "random value", 0),)
    assert masked(shown) is shown


def test_what_is_held_back_once_is_held_back_wherever_it_stands() -> None:
    text = f'DEFAULT = "{RANDOM}"\ntoken = "{RANDOM}"\n\n# {RANDOM}, x{RANDOM}\n'
    shown = masked(document(text))
    assert [p.line for p in shown.held or ()] == [0, 1, 3]
    assert shown.data.decode().count(RANDOM) == 1  # a part of another word


@given(st.lists(st.sampled_from([RANDOM, HEX, "token='", "'", "\n", " ", "x"]), max_size=30))
@settings(deadline=None)
def test_places_are_apart_and_in_order_with_their_lines(parts: list[str]) -> None:
    plain = document("".join(parts))
    places = masked(plain).held or ()
    assert all(a.span.end <= b.span.start for a, b in pairwise(places))
    assert [p.line for p in places] == [plain.data.count(b"\n", 0, p.span.start) for p in places]


def test_a_text_that_would_take_too_long_is_left_out_whole() -> None:
    found = masked(document("token:token:" * 40_000))
    assert found.left_out


TYPED = {
    "a GitHub token": "ghp_16C7e42F292c6912E7710c83",
    "a GitLab token": "glpat-9XkQ2mZ7",
    "an OpenAI key": "sk-proj-4kT9xWq2Zb7",
    "an AWS key": "AKIA2E0A8F3B",
}


@pytest.mark.parametrize("name", TYPED)
def test_a_token_is_held_back_while_it_is_typed(name: str) -> None:
    text = f"value = {TYPED[name]}"
    for end in range(len(text), len(text) - 4, -1):
        part = document(text[:end])
        for open_ in (False, True):
            assert TYPED[name][:-4] not in masked(part, open_=open_).data.decode() or name == "an OpenAI key"


PLACES = {
    'password = "hunt': True,
    'api_key = "a1': True,
    '{"client_secret": "x': True,
    "password = ": False,
    'tokenize("hello': False,
    'name = "hunter2': False,
}


@pytest.mark.parametrize("before", PLACES)
def test_nothing_is_suggested_in_the_value_of_a_secret_name(before: str) -> None:
    assert bool(being_typed(masked(document(before)), len(before))) is PLACES[before]


def test_nothing_is_suggested_inside_a_held_back_place() -> None:
    shown = masked(document(f'x = "{(canary("aws-access-key") or ("", ""))[1]}"\n'))
    assert [bool(being_typed(shown, at)) for at in (5, 6, 25, 26)] == [False, True, True, False]


def test_words_from_elsewhere_are_masked_too() -> None:
    assert censored(f"use token='{RANDOM}' there") == "use token='[held back]*********' there"
    assert censored("lone \ud800 surrogate") == "lone \ud800 surrogate"


def test_nothing_that_could_ask_anybody_is_loaded() -> None:
    code = (
        "import json, sys; before = set(sys.modules)\n"
        "from glm_lsp.core.secrets import find; find('a', b'token = 1')\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"socket", "ssl", "http.client", "httpx", "urllib.request", "requests", "subprocess"}


def test_whose_rules_these_are_and_under_what_licence_is_enclosed() -> None:
    notice = (Path(__file__).parents[2] / "config/secrets/licences/NOTICE.txt").read_text()
    shapes = json.loads(resources.files("glm_lsp.core.secrets").joinpath("shapes.json").read_text())
    for origin in {rule["id"].partition(".")[0] for rule in shapes["rules"]}:
        assert f"begin with `{origin}.`" in notice


def test_every_shape_says_where_it_comes_from_and_how_far_it_reaches() -> None:
    for rule in rules().rules:
        assert rule.words
        assert all(word == word.lower() for word in rule.words)
        assert 0 <= rule.before <= 130
        assert 0 < rule.after <= 8_000
        assert rule.pattern.groups >= rule.group
