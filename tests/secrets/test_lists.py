"""What stands after the name of a secret and is not its value; and values in three quotes."""

from __future__ import annotations

import random

import pytest

from glm_lsp.core.secrets import being_typed, find, masked
from glm_lsp.core.secrets.follow import Follower
from glm_lsp.core.text import digest
from glm_lsp.core.values import Document

PASSWORD = "zahGImaHt8RVkGYZ"
DRAWN = "9f86d0Kx1e4fWq7bZ2Lp"
HELD = {
    "three quotes": ("a.py", 'DB_PASSWORD = """{p}"""\n'),
    "three single quotes": ("a.py", "DB_PASSWORD = '''{p}'''\n"),
    "three quotes in a key": ("a.py", 'x = {{"password": """{p}"""}}\n'),
    "raw, in three quotes": ("a.py", 'f(password=r"""{p}""")\n'),
    "three quotes in lines": ("a.py", 'PASSWORD = """\n{p}\n"""\n'),
    "TOML": ("a.toml", 'password = """{p}"""\n'),
    "TOML, literally": ("a.toml", "password = '''\n{p}'''\n"),
    "escaped three quotes": ("a.ipynb", '"x = 1\\n", "password = \\"\\"\\"{p}\\"\\"\\"\\n"\n'),
    "a pair in brackets": ("a.py", '[("user", "bob"), ("password", "{p}")]\n'),
    "a pair in a list": ("a.rb", 'x = [["user", "bob"], ["password", "{p}"]]\n'),
    "a pair of C": ("a.c", 'static const struct kv t[] = {{ {{"password", "{p}"}}, }};\n'),
    "a call": ("a.java", 'p.setProperty("db.password", "{p}");\n'),
    "a call with more": ("a.java", 'Map.of("user", "bob", "password", "{p}")\n'),
    "a call of a map": ("a.go", 'client.HSet(ctx, "conf", "password", "{p}")\n'),
    "a call without brackets": ("a.rb", 'config.set "password", "{p}"\n'),
    "a default": ("a.py", 'os.getenv("SECRET", "{p}")\n'),
    "arguments of a command": ("a.py", 'run(["mysql", "-u", "root", "--password", "{p}", "-h", "db"])\n'),
    "a name and a value in a call": ("a.py", 'login(password, "{p}")\n'),
    "drawn, in a list": ("a.py", 'x = ["bob", "password", "{d}", "mail"]\n'),
    "a Twilio key": ("a.py", 'x = "SK5d41402abc4b2a76b9719d911017c592"\n'),
    "a New Relic key": ("a.py", 'x = "NRAK-M2PLPPJSMUEZQP67OG3CGA4O2XC"\n'),
}


@pytest.mark.parametrize("name", HELD)
def test_a_value_is_held_back(name: str) -> None:
    path, pattern = HELD[name]
    text = pattern.format(p=PASSWORD, d=DRAWN)
    held = [text.encode()[p.span.start : p.span.end].decode() for p in find(path, text.encode()).places]
    assert held
    assert held[0] in (PASSWORD, DRAWN) or held[0] in text.partition('"')[2]


NAMES = '''__all__ = ["check_password", "PBKDF2PasswordHasher", "Argon2PasswordHasher", "is_password_usable",
           "ScryptV2Hasher"]


class PBKDF2PasswordHasher:
    """Made for a test."""


class ScryptV2Hasher(PBKDF2PasswordHasher):
    pass
'''
STRUCT = "type netrcLine struct {\n\tmachine  string\n\tlogin    string\n\tpassword string\n}\n"
LEFT = {
    "names of a module": ("a.py", NAMES),
    "classes by their paths": (
        "a.py",
        'HASHERS = [\n    "org.auth.PasswordHasher",\n    "org.auth.PBKDF2SHA1PasswordHasher",\n]\n',
    ),
    "a path of a class": ("a.py", 'PASSWORD_ENCODER2 = "org.app.crypto2.Argon2PasswordEncoder"\n'),
    "a key of a catalogue": ("a.ts", "const m = { forgotPassword: 'auth.forgotPassword2' }\n"),
    "a key after a message": ("a.json", '{"a_1": "not a token", "Imported_via_0_of_packageId_1394": "b"}\n'),
    "a long key": ("a.json", '{"Imported_via_0_from_file_1_with_packageId_2_1394": "b"}\n'),
    "a set": ("a.js", "const kinds = new Set(['secret', 'utf8String'])\n"),
    "a list of many": ("a.py", f"x = [{'0, ' * 400}'pem_password_cb',\n 'X509_info_st', 'x509_store']\n"),
    "a test of membership": ("a.py", 'if kind in ("password", "PBKDF2Hasher", "other"):\n    pass\n'),
    "a list that is made": ("a.java", 'Arrays.asList("secret", "utf8String", "x")\n'),
    "a part of a page": ("a.js", "const password = document.getElementById('passwordInput2')\n"),
    "a type": ("a.py", 'def f(tokens_data: "llama_cpp.Array[llama_cpp.llama_token_2]") -> None: ...\n'),
    "a field": ("a.go", STRUCT),
    "a field of another type": ("a.go", STRUCT.replace("string\n}", "sql.NullString\n}")),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_no_value_is_left(name: str) -> None:
    path, text = LEFT[name]
    assert find(path, text.encode()).places == ()


CODE = {
    "a class": ("password = 'Argon2Hasher'\n\n\nclass Argon2Hasher(Base):\n    pass\n", True),
    "a function": ("const token = 'makeToken2Value';\nexport async function makeToken2Value() {}\n", True),
    "a type of Go": ('password := "Argon2Hasher"\ntype Argon2Hasher struct {\n', True),
    "a call": ("password = 'Argon2Hasher'\nx = Argon2Hasher(3)\n", True),
    "an import": ("from hashers import (Other, Argon2Hasher)\npassword = 'Argon2Hasher'\n", True),
    "a word before a bracket": ("password = 'Summer2Rain'\n# the password Summer2Rain(old)\n", False),
    "a word of a text": ("password = 'Argon2Hasher'\n# the class Argon2Hasher of bob\n", False),
    "a password that is told": ("password = 'Summer2Rain'\n# log in with Summer2Rain (or ask)\n", False),
    "nothing": ("password = 'Argon2Hasher'\n", False),
    "what was drawn": (f"password = '{PASSWORD}'\n\n\nclass {PASSWORD}:\n", False),
}


@pytest.mark.parametrize("name", CODE)
def test_the_name_of_what_the_text_defines_is_no_secret(name: str) -> None:
    text, left = CODE[name]
    data = text.encode()
    for open_ in (False, True):
        shown = masked(Document("a.py", data, digest(data), "python"), open_=open_)
        assert (shown.data == data) is left


def test_nothing_is_suggested_in_three_quotes() -> None:
    data = b'DB_PASSWORD = """zahGI'
    assert being_typed(masked(Document("b.py", data, digest(data), "python")), len(data))


PARTS = (
    b"def function(argument):\n    return argument + 1\n" * 12,
    b"class Argon2Hasher:\n    pass\n",
    b"password = 'Argon2Hasher'\n",
    b"call(\n" + b"    'some_other', 'words of it',\n" * 12 + b"    'password', 'zahGImaHt8RVkGYZ')\n",
    b"__all__ = [\n" + b"    'some_other', 'words of it',\n" * 12 + b"    'password', 'zahGImaHt8RVkGYZ']\n",
    b"x = [",
    b")\n",
)


@pytest.mark.parametrize("seed", range(12))
def test_edits_near_lists_and_definitions(seed: int) -> None:
    """What decides about a place may stand far before it, or anywhere."""
    dice = random.Random(seed)
    now, follower = b"".join(dice.choices(PARTS, k=60)), Follower()
    follower.veiled("a.py", now)
    for _ in range(12):
        at = dice.randrange(len(now))
        now = now[:at] + dice.choice((*PARTS, b"", b"(", b"x\n")) + now[at + dice.randrange(40) :]
        assert follower.veiled("a.py", now).places == masked(Document("a.py", now, "", "python")).held
