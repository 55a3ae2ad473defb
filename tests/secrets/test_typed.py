"""A secret is hidden while it is typed, and where it is written in ways of its own."""

from __future__ import annotations

import random
import string
from pathlib import Path

import pytest

from glm_lsp.core.secrets import being_typed, censored, masked, rules
from glm_lsp.core.settings import Settings
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from glm_lsp.workspace import secrets
from glm_lsp.workspace.repository import Repository
from glm_lsp.workspace.secrets import rules_version

_DICE = random.Random(7)
ALNUM = string.ascii_letters + string.digits
LEAD = 12
"""Characters of the secret part that may be seen at most, before it is known for what it is."""


def drawn(count: int, letters: str = ALNUM) -> str:
    return "".join(_DICE.choice(letters) for _ in range(count))


def document(text: str, path: str = "a.py") -> Document:
    data = text.encode()
    return Document(path, data, digest(data), "")


HEADS = {
    "npm": ('v = "npm_', 36, ALNUM),
    "an address": ('u = "postgres://admin:', 18, ALNUM),
    "GitHub, fine-grained": ('v = "github_pat_', 82, ALNUM),
    "GitHub": ('v = "ghp_', 36, ALNUM),
    "GitLab": ('v = "glpat-', 20, ALNUM),
    "SendGrid": ('v = "SG.', 66, ALNUM),
    "Hugging Face": ('v = "hf_', 34, string.ascii_letters),
    "Telegram": ('v = "4484552834:AA', 33, ALNUM),
    "Discord": ('v = "https://discord.com/api/webhooks/287046557210141561/', 68, ALNUM),
    "AWS": ('v = "AKIA', 16, string.ascii_uppercase + "234567"),
    "Azure": ('v = "AccountName=x;AccountKey=', 86, ALNUM),
    "a header": ('h = {"Authorization": "Bearer ', 40, ALNUM),
    "a password": ('password = "', 20, ALNUM),
    "Slack": ('v = "xoxb-', 40, string.digits),
    "DigitalOcean": ('v = "dop_v1_', 64, "0123456789abcdef"),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_secret_is_hidden_long_before_its_last_character(name: str) -> None:
    head, count, letters = HEADS[name]
    for _ in range(3):
        secret = drawn(count, letters)
        known = 0
        for end in (*range(4, min(count, 20)), count // 2, count - 1):
            text = f"import os\n\n{head}{secret[:end]}"
            shown = masked(document(text), open_=True)
            if secret[:end] in shown.data.decode():
                known = max(known, end)
                continue
            assert being_typed(shown, len(text)), (name, end)
        assert known <= LEAD, (name, known)


def test_a_password_is_hidden_between_its_at_sign_and_the_host() -> None:
    text = f'u = "postgres://admin:{drawn(18)}@'
    shown = masked(document(text), open_=True)
    assert text.encode() != shown.data
    assert shown.data.endswith(b"@")


ORDINARY = (
    'npm_config_registry = "npm_package_json"',
    "hf_model = hf_hub_download(hf_token)",
    "sk-learn, sk-image and SG.Window",
    'u = "http://localhost:8080/a" + "redis://host:6379" + "docker://ubuntu:latest"',
    'u = f"http://{host}:{port}", "http://host:port/", "https://user:password@host"',
    'h = "Bearer realm", "Bearer token", "Basic authentication"',
    "token = request.headers.get(name)",
    "password = getUserPassword",
    "exports.oAuth1TokenStore = oAuth1TokenStore;",
    'zone = "asia-east1", "Asia/Ust-Nera"',
    "AKIA ASIA_PACIFIC",
)


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_code_is_not_hidden(line: str) -> None:
    shown = masked(document(line + "\n"), open_=True)
    assert shown.held == ()
    assert not being_typed(shown, len(line))


@pytest.mark.parametrize("path", ["a.py", "a.sh", "a.md"])
def test_a_password_without_quotes_is_held_back_in_any_file(path: str) -> None:
    shown = masked(document("import os\nDB_PASSWORD=PVStNKiaEdFrRgSnRFsT\n", path))
    assert b"PVStNKia" not in shown.data


def test_a_token_in_json_with_escapes_is_held_back() -> None:
    secret = "SG\\u002e" + drawn(22) + "\\u002e" + drawn(43)
    plain = document(f'{{"a": "\\u0041", "b": "{secret}", "c": 1}}\n', "a.json")
    shown = masked(plain)
    assert len(shown.data) == len(plain.data)
    assert secret[8:20].encode() not in shown.data
    assert secret[-20:].encode() not in shown.data
    assert shown.data.endswith(b'", "c": 1}\n')


@pytest.mark.parametrize("name", HEADS)
def test_what_was_saved_half_typed_is_hidden_in_every_file(name: str) -> None:
    """Whether it is open or not, and in words from elsewhere, as in the log of what was changed."""
    head, count, letters = HEADS[name]
    part = drawn(count, letters)[: max(12, count // 2)]
    text = f"import os\n\n{head}{part}"
    assert masked(document(text)) == masked(document(text), open_=True)
    assert part.encode() not in masked(document(text)).data
    assert part not in censored(f"== a.py\n@@ -1 +1,3 @@\n+{head}{part}\n")


async def test_what_was_saved_by_earlier_rules_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the index as it was nor the outline of a text: other rules would have let more through."""
    monkeypatch.setenv("GLM_LSP_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    repository = Repository(tmp_path, Settings({}))
    await repository.index()
    await repository.close()

    def known() -> list[str]:
        saved = Repository(tmp_path, Settings({}))._known
        saved.load()
        return list(saved.sure())

    assert known() == ["a.py"]
    before = rules_version()
    monkeypatch.setattr(rules, "ENGINE_VERSION", rules.ENGINE_VERSION + 1)
    for remembered in (rules.version, secrets._version):
        remembered.cache_clear()
    try:
        assert rules_version() != before
        assert known() == []
    finally:
        monkeypatch.undo()
        for remembered in (rules.version, secrets._version):
            remembered.cache_clear()


OPEN = {
    "a statement": ("CREATE USER bob IDENTIFIED BY '", 20, "a.sql", 3),
    "a role": ("ALTER ROLE bob WITH PASSWORD '", 20, "a.sql", 3),
    "a user": ("ALTER USER bob PASSWORD '", 20, "a.sql", 3),
    "a login": ("CREATE LOGIN bob WITH PASSWORD = N'", 20, "a.sql", 3),
    "a tag": ("  <password>", 20, "a.xml", 9),
    "a tag with a prefix": ("<ns:apiKey>", 20, "a.xml", 9),
    "a resource": ('<string name="api_key">', 20, "a.xml", 9),
    "Square": ('x = "sq0csp-', 43, "a.py", 3),
    "Contentful": ('x = "CFPAT-', 43, "a.py", 3),
    "Sentry": ('x = "sntrys_', 160, "a.py", 3),
    "Atlassian": ('x = "ATATT3', 186, "a.py", 3),
    "New Relic": ('x = "NRAK-', 27, "a.py", 3),
    "a hook of Slack": ('x = "https://hooks.slack.com/services/T', 45, "a.py", 5),
    "Google": ('x = "ya29.', 60, "a.py", 4),
    "Docker": ('x = "dckr_pat_', 27, "a.py", 4),
    "an image's environment": ("ENV API_TOKEN ", 30, "Dockerfile", 9),
    "an argument": ("deploy --password ", 20, "a.md", 9),
}
"""What stands before the secret, its length, the file, and how much of it may be seen at most."""


CAPITALS = string.ascii_uppercase + string.digits


@pytest.mark.parametrize("after", ["", "\n", "\r\n", "\n\ndef other():\n    pass\n"])
@pytest.mark.parametrize("name", OPEN)
def test_what_nothing_closes_yet_is_held_back_to_the_end_of_its_line(name: str, after: str) -> None:
    head, count, path, least = OPEN[name]
    dice = random.Random(name)
    letters = CAPITALS if name in ("a hook of Slack", "New Relic") else ALNUM
    for _ in range(5):
        # Not one that begins with a word by chance: those are known later.
        secret = letters[-3] + "".join(dice.choices(letters, k=count - 1))
        for end in range(1, count + 1):
            text = head + secret[:end]
            shown = masked(document(text + after, path))
            assert end <= least or secret[:end].encode() not in shown.data, (name, secret[:end])
            assert being_typed(shown, len(text)), (name, secret[:end])


DIGITS_IN_HEX = {"Databricks": 'x = "dapi', "Mailgun": 'mailgun = "key-'}


@pytest.mark.parametrize("name", DIGITS_IN_HEX)
def test_letters_of_hexadecimal_digits_are_a_token_before_they_are_all_there(name: str) -> None:
    head, secret = DIGITS_IN_HEX[name], "2b49c12a4b0062983475eb46c5296f62"
    for end in range(7, len(secret) + 1):
        shown = masked(document(head + secret[:end] + "\n"))
        assert secret[:end].encode() not in shown.data
        assert being_typed(shown, len(head) + end)


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_token_of_three_parts_is_held_back_from_its_first_dot_on(quote: str) -> None:
    first, second, third = "MTk4NjIyNDgzNDcxOTI1MjQ4Nz", "Cl2FMQ", "ZnCjm1XVW7vRze4b7Cq4se7kKWsXa1b2c3d4e5"
    secret = f"{first}.{second}.{third}"
    for end in range(len(first) + 1, len(secret) + 1):
        shown = masked(document(f'x = "{secret[:end]}{quote}\n'))
        assert first.encode() not in shown.data, secret[:end]


def test_a_drawn_string_is_held_back_without_its_second_quote() -> None:
    value = "q8Zr2LpW5xT1vK7nB3mJ9cF4hD6gS0aYeUiO"
    assert value.encode() not in masked(document(f'x = "{value}\ny = 1\n')).data


WRITTEN = (
    'x = "9261ff2d3c425c8d',
    'x = "SK106fd287db7f1ad',
    "client_secret: puxcmlzkO7",
    "spring.datasource.password=s0Hq",
    "API_TOKEN=a1",
    'u = "postgres://app:J',
    "curl -u admin:A",
    "mysql -u root -pN",
    'x = "hooks.slack.com/services/T',
)


@pytest.mark.parametrize("line", WRITTEN)
def test_nothing_is_suggested_where_a_secret_may_be_written(line: str) -> None:
    """Though it is not held back: too little of it stands there, or it may be none."""
    assert being_typed(masked(document(f"import os\n\n{line}")), len(line) + 11)


@pytest.mark.parametrize(
    "line",
    ["token = request1", "password: str", 'digest = "20261121153059', 'name = "abcdefabcdef', "token="],
)
def test_something_is_suggested_where_none_is_written(line: str) -> None:
    assert not being_typed(masked(document(f"import os\n\n{line}")), len(line) + 11)


PROSE = (
    "Users are identified by 'name', and groups are identified by 'number and name",
    "the password 'of the user",
    'sql = "CREATE USER x IDENTIFIED BY \'" + word + "\'"',
    "CREATE USER x IDENTIFIED BY '%s",
    "CREATE USER x IDENTIFIED BY 'your_password",
    "connect <user> <password>",
    "connect <user>:<password>@host1:8080/a",
    "<password>Password",
    '<label for="password">Password2',
    "return <Token>{value}",
    "std::vector<Token>tokens1;",
    "if token>limit2 then",
    "run --password PASSWORD --token TOKEN",
    "run --max-token 4096 --next-token 184627",
    "--password $PASSWORD --token ${TOKEN} --api-key <key>",
    "ENV API_TOKEN_FILE /run/secrets/token",
    "api-key-1234567, key-value, key-abcdef, pandapi2x",
    "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
    "dapi_handler, dapi2(x), cfpat-names, sentry_sntrys_",
)


@pytest.mark.parametrize("line", PROSE)
def test_what_only_looks_like_an_open_secret_is_shown(line: str) -> None:
    for path in ("a.py", "a.md", "a.tsx"):
        assert masked(document(line + "\nmore words\n", path)).held == (), path
