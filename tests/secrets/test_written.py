"""Values of secret names as build files, macros, settings and programs write them."""

from __future__ import annotations

import pytest

from glm_lsp.core.secrets import find

HELD = {
    "set once": ("Makefile", "DB_PASSWORD ?= {}\n", "p0WmzR8uq"),
    "set once, close": ("Makefile", "DB_PASSWORD?={}\n", "p0WmzR8uq"),
    "added": ("Makefile", "export DB_PASSWORD += {}\n", "p0WmzR8uq"),
    "set at once": ("a.mk", "DB_PASSWORD ::= {}\n", "p0WmzR8uq"),
    "a macro": ("a.c", "#define PASSWORD {}\n", "p0WmzR8u"),
    "a macro with a remark": ("a.h", "#  define DB_PASSWORD  {} /* of the test */\n", "p0WmzR8u"),
    "a wide string": ("a.c", '#define PASSWORD L"{}"\n', "p0$WmzR8u"),
    "a macro in two lines": ("a.c", '#define PASSWORD \\\n    "{}"\n', "p0$WmzR8u"),
    "folded": ("x.yml", "password: >-\n  {}\n", "p0WmzR8uq"),
    "as it stands": ("x.yml", "db:\n  password: |\n    {}\n  user: bob\n", "p0WmzR8uq"),
    "a type of YAML": ("x.yml", "password: !!str {}\n", "p0WmzR8uq"),
    "an anchor": ("x.yml", "password: &pw {}\n", "p0WmzR8uq"),
    "Go": ("a.go", 'const (\n\tPassword string = "{}"\n)\n', "p0$WmzR8u"),
    "TypeScript": ("a.ts", 'class A {{ password?: string = "{}"; }}\n', "p0$WmzR8u"),
    "TypeScript, set later": ("a.ts", 'password!: string = "{}";\n', "p0$WmzR8u"),
    "a semicolon": ("x.ini", "password = {}\n", "x9;KqvT2w"),
}


@pytest.mark.parametrize("name", HELD)
def test_a_value_is_held_back_as_it_is_written(name: str) -> None:
    path, pattern, secret = HELD[name]
    data = pattern.format(secret).encode()
    assert [data[p.span.start : p.span.end].decode() for p in find(path, data).places] == [secret]


SECOND = "p0$WmzR8u"
SEVERAL = {
    "a list": ("x.yml", "passwords:\n  - {0}\n  - {1}\nusers:\n  - bob1\n"),
    "a list at the margin": ("x.yml", "db:\n  passwords:\n  - '{0}'\n  - short1\n  - \"{1}\"\n"),
    "branches": ("a.py", 'password = "{0}" if a else "{1}"\n'),
    "comparisons": ("a.py", 'if "{0}" == password or "{1}" != self.db.password:\n    pass\n'),
    "comparisons in JavaScript": ("a.js", "if ('{0}' === user.password || '{1}' !== pwd) {{}}\n"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_each_of_several_values_is_held_back(name: str) -> None:
    path, pattern = SEVERAL[name]
    data = pattern.format("x9$KqvT2w", SECOND).encode()
    held = [data[p.span.start : p.span.end].decode() for p in find(path, data).places]
    assert held == ["x9$KqvT2w", SECOND]


SHOWN = {
    "lists of names": (
        "a.yml",
        "secrets:\n  - db_password_v2\n  - DOCKER_HUB1\n  - source: app1Key\n  - my-app-tls-2024\n"
        "tokens:\n  - *anchor1X\n  - https://x.org/a1B2\npasswords:\n  - $DB_PASSWORD1\n",
    ),
    "comparisons": (
        "a.py",
        'if "STRING_LITERAL_2" == token.kind or "password1" == password or "utf-8-sig" == x.token:\n'
        'if "x9$KqvT2w" == name and password:\n',
    ),
    "branches": ("a.py", 'password = "required" if a else "optional"\ntoken = "a" if b else "None12345"\n'),
    "macros": (
        "a.c",
        "#define TOKEN_PASTE(a, b) a##b\n#define PASSWORD_MAX 64\n#define TOKEN_MASK 0xFF00AB12UL\n"
        "#define SECRET_HASH Sha256Init2\n#define PASSWORD_LEN 123456789ULL\n#define TOKEN_FN fnX2 (1)\n",
    ),
    "blocks": (
        "a.yml",
        "password: |\n  the words of it\ntoken: >-\n  {{ secret1 }}\nsecret: >\n  $PASSWORD1A\n",
    ),
    "commands after a value": ("a.sh", "PASSWORD=$1; export PASSWORD\nTOKEN=none; ls -l1A\n"),
    "a parameter": ("a.go", "func f(password string, token string) {}\n"),
    "a type": ("a.ts", 'password?: string | "none";\ntoken?: Token;\n'),
    "parts of a build": ("Makefile", "TOKEN_OBJS += token1.o lexer2.o\nPASSWORD ?= password\n"),
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_only_looks_like_a_value_is_shown(name: str) -> None:
    path, text = SHOWN[name]
    assert find(path, text.encode()).places == ()
