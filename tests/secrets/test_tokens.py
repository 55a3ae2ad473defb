"""Tokens that begin with letters of their own: in code, in comments, half-typed; and words that begin so."""

from __future__ import annotations

import re
import tomllib
from importlib import resources

import pytest

from glm_lsp.core.secrets import being_typed, find, masked
from glm_lsp.core.secrets.rules import Rule, rules
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document
from tests.secrets.canaries import canary

_LISTED = tomllib.loads(resources.files("glm_lsp.core.secrets").joinpath("tokens.toml").read_text())
RULES = {rule.id: rule for rule in rules().rules if rule.id in {entry["id"] for entry in _LISTED["rule"]}}
LEAD = 16
"""Characters after the head that may be seen, before a token is known for what it is."""
HEX, ALNUM = (
    "9b3717bd5c2d6a9a5f04c5503b11606e4644e0d4887d6e120a578757563e68d1",
    "x7Kq2LpW5bT1vM8nR3cJ9dF4hG6s",
)

FORMS = {
    "a string": 'client = connect("{}")\n',
    "a comment": "# the old one was {} until May\n",
    "a docstring": 'def f():\n    """Use it so:\n\n        tool --run {} x\n    """\n',
    "a template": "const u = `{}`;\n",
}


def document(text: str) -> Document:
    data = text.encode()
    return Document("a.py", data, digest(data), "python")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rule", RULES)
def test_a_token_is_held_back_wherever_it_stands(rule: str, form: str) -> None:
    text, secret = canary(rule) or ("", "")
    assert secret
    shown = masked(document(FORMS[form].format(text))).data.decode()
    assert secret not in shown
    assert secret[-8:] not in shown


def _head(rule: Rule, text: str) -> int:
    """Where the token's own letters begin."""
    found = [text.lower().find(word) + len(word) for word in rule.words if word in text.lower()]
    return max(found)


@pytest.mark.parametrize("rule", [rule.id for rule in RULES.values() if not rule.before and rule.growing])
def test_a_token_is_known_by_its_first_characters(rule: str) -> None:
    text, _ = canary(rule) or ("", "")
    head = _head(RULES[rule], text)
    for end in range(head + LEAD, len(text) + 1):
        line = f'x = "{text[:end]}'
        shown = masked(document(f"import os\n\n{line}\n"))
        hidden = text[head:end].encode() not in shown.data
        assert hidden or being_typed(shown, 11 + len(line)), text[:end]


NAMES = (
    "handler",
    "getSomethingElseHere",
    "name_of_something_else",
    "2",
    "v2.read()",
    "",
    "api_key_id",
    "x" * 40,
)


@pytest.mark.parametrize("rule", RULES)
def test_names_that_begin_so_are_shown(rule: str) -> None:
    for word in RULES[rule].words:
        if word.startswith("%"):
            continue
        for name in NAMES:
            for case in (str.lower, str.upper):
                text = f'value = {case(word)}{name}\n# {case(word)}{name}, or "{case(word)}{name}"\n'
                assert find("a.py", text.encode()).places == (), text


PARTS = {
    "Airtable": "patP6KcDLKBbTiBfl." + HEX,
    "Airtable, typed": "patP6KcDLKBbTiBfl." + HEX[:30],
    "Discord": "MTIRL3JjQMKvoVNq0TEWcXPtPX.6JUJqG.b8mUtDZldrphAxHUtwudSF4-BSa1b2c3d4e5f6",
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_token_in_parts_is_held_back_whole(name: str, form: str) -> None:
    text = FORMS[form].format(PARTS[name])
    assert not any(part.encode() in masked(document(text)).data for part in PARTS[name].split("."))


PARTLY = (
    "ASIABHZNFRWV",
    "ASIALOQYQMPA",
    "ASIAE3YIPOUZ",
    "ASIAXIRHXO77",
    "ntn_q8Zr2mWk5tBx9vNcK3pL7wYd",
    "SK106fd287db7f1ad9e03c2",
    "xoxb-123456789012-1234567890123-lC2kx9pUolc8q8wd5J5b16dq",
    "xoxb-123456789012-lC2kx9pUolc8q8wd5J5b",
)


@pytest.mark.parametrize("value", PARTLY)
def test_a_part_of_a_token_is_held_back_though_its_letters_say_little(value: str) -> None:
    for text in (f'x = "{value}"\n', f'x = "{value}\n', f"# {value}\n"):
        assert value[-8:] not in masked(document(text)).data.decode()


ORDINARY = (
    "path.resolve(pattern.compile) and pattern1234567890.aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
    "SELECT t1.id, t1.created_at_of_the_first_row FROM a AS t1\n",
    "ssl.create_default_context_of_the_client(); xsl.transform\n",
    "en-us1 and 0.0.1-us2, region eu-west-us1\n",
    "suspicious precious cioppino socioeconomically\n",
    '"/%3Dabcdefgh" "%2Fusers%2Fname%2F"\n',
    "disk = ask(task) # sk0, skeleton, SKUs\n",
    '"ASIAPACIFIC" "ASIA_X", "ASIALIGHTS2" ntn_handler SK12345678901234567890\n',
    '"xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx" "xoxb-123456789012-your-token"\n',
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_shown(text: str) -> None:
    for path in ("a.py", "a.md", "a.sql"):
        assert find(path, text.encode()).places == ()


def test_a_text_full_of_words_that_begin_as_tokens_do_is_not_left_out() -> None:
    text = "SELECT " + ", ".join(f"t1.c{n}, t1.cio, apim" for n in range(60_000))
    assert find("a.sql", text.encode()).whole == ""


def test_each_rule_says_where_its_shape_is_published() -> None:
    for entry in _LISTED["rule"]:
        assert re.match(r"https://|the documentation", entry["source"])
